"""The profilers: how each is had, started and ended, and how its figures and stacks are read out of what it writes."""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import formats
from .machine import CACHE, ENVIRONMENT, Unable, spawn

RIVALS = CACHE / "rivals"
PACKAGES = ["py-spy==0.4.3", "austin-dist==4.0.0"]
# The root that `scripts/interpreters` brings; it has the Python whose standard library holds Tachyon.
ROOT = CACHE / "forky"
TACHYON_PYTHON = "python3.15"
# What is asked where a tool knows no “as fast as you can”.
ASK_MAX = 200_000


class Counted:
    """What one run was, by its tool's own account: looks at all threads, how many a second, the share that failed."""

    def __init__(self, rate, rounds, errors, **more):
        self.rate, self.rounds, self.errors, self.more = rate, rounds, errors, more


class Profiler:
    """A profiler. `out` is a path without its last part's ending, which each tool chooses."""

    # Whether it keeps the target stopped while it reads.
    stops = False
    # Whether it must not be interrupted, but ends when its time is over.
    ends_itself = False

    def prepare(self):
        """Raises Unable where it cannot be had."""

    def attach(self, pid, rate, seconds, out, stacks):
        """The command that samples for so long or until it is interrupted; `rate` 0 is as fast as can be. With `stacks`
        it writes what `profile` reads, else what costs it least."""
        raise NotImplementedError

    def once(self, pid):
        """The command that takes one look at all stacks."""
        raise NotImplementedError

    def counted(self, out, said, seconds, threads):
        """Reads a finished run."""
        raise NotImplementedError

    def profile(self, out):
        """Reads the stacks of a finished run."""
        raise NotImplementedError

    environment = {}


class Pitviper(Profiler):
    def __init__(self, path, consistency=None, layouts=None):
        self.path, self.consistency, self.layouts = path, consistency, layouts
        self.name = "pitviper" + ("" if consistency is None else " " + consistency)
        self.stops = consistency == "stop"

    def prepare(self):
        if not os.access(self.path, os.X_OK):
            raise Unable("%s is not there" % self.path)

    def attach(self, pid, rate, seconds, out, stacks):
        how = [] if self.consistency is None else ["--consistency", self.consistency]
        how += [] if self.layouts is None else ["--layouts", self.layouts]
        return [self.path, "attach", "--quiet", "-p", pid, "--rate", rate or "max", *how, "-o", out + ".pit"]

    def once(self, pid):
        # `dump` watches for a tenth of a second, to say how busy each thread is.
        out = os.path.join(tempfile.gettempdir(), "pitviper-once-%s.pit" % pid)
        return [self.path, "attach", "-q", "--pid", pid, "-d", "1ms", "-o", out]

    def ask(self, *arguments):
        done = subprocess.run([self.path, *arguments], capture_output=True, text=True, env=ENVIRONMENT)
        if done.returncode != 0:
            raise Unable(complaint(done.stderr))
        return done.stdout

    def counted(self, out, said, seconds, threads):
        if not os.path.exists(out + ".pit"):
            raise Unable(complaint(said))
        info = json.loads(self.ask("info", "--json", out + ".pit"))
        looks, samples = info["looks"], max(info["samples"], 1)
        shares = {key: info.get(key, 0) / samples for key in ("retried", "probable", "partial")}
        shares["missed"] = info["missed"] / max(looks + info["missed"], 1)
        shares["bytes"] = os.path.getsize(out + ".pit") / samples
        return Counted(info["rate"]["achieved"], looks, info["errors"] / max(looks + info["errors"], 1), **shares)

    def profile(self, out):
        said = self.ask("export", out + ".pit", "-f", "folded", "--metric", "samples", "--idle")
        return formats.folded(said)


class PySpy(Profiler):
    path = RIVALS / "venv" / "bin" / "py-spy"

    def __init__(self, stops):
        self.stops = stops
        self.name = "py-spy" if stops else "py-spy nb"
        self.how = [] if stops else ["--nonblocking"]

    def prepare(self):
        install(self.path)

    def attach(self, pid, rate, seconds, out, stacks):
        # Its `-d` counts samples, not seconds: without it, and with SIGINT, it ends when it should.
        options = ["-i", "-f", "raw", "-r", rate or ASK_MAX, "-o", out + ".raw", *self.how]
        return [self.path, "record", "-p", pid, *options]

    def once(self, pid):
        return [self.path, "dump", "-p", pid, *self.how]

    def counted(self, out, said, seconds, threads):
        found = re.search(r"Samples: (\d+) Errors: (\d+)", said)
        if not found:
            raise Unable(complaint(said))
        samples, errors = int(found[1]), int(found[2])
        seen = sum(formats.folded(pathlib.Path(out + ".raw").read_text(errors="replace")).stacks.values())
        # With `Samples` it counts what it wrote: a stack a thread.
        rounds = max(samples, seen) / threads
        return Counted(rounds / seconds, rounds, errors / max(samples + errors, 1))

    def profile(self, out):
        return formats.folded(pathlib.Path(out + ".raw").read_text(errors="replace"))


class Austin(Profiler):
    name = "austin"
    path = RIVALS / "venv" / "bin" / "austin"
    launcher = []

    def prepare(self):
        install(self.path)
        # It is built for a newer glibc than some machines have; the root's own linker starts it then.
        for launcher in ([], linker()):
            said = subprocess.run([*launcher, self.path, "--version"], capture_output=True, text=True)
            if said.returncode == 0:
                self.launcher = launcher
                return
        raise Unable(complaint(said.stderr))

    def attach(self, pid, rate, seconds, out, stacks):
        interval = max(1, round(1_000_000 / rate)) if rate else 1
        return [*self.launcher, self.path, "-i", interval, "-o", out + ".mojo", "-p", pid]

    def once(self, pid):
        return [*self.launcher, self.path, "-w", pid]

    def counted(self, out, said, seconds, threads):
        try:
            tail = pathlib.Path(out + ".mojo").read_bytes()[-400:]
        except OSError:
            tail = b""
        facts = dict(re.findall(r"\x01(count|duration|errors)\0([^\0]*)\0", tail.decode("latin-1")))
        if len(facts) < 3 or facts["count"] == "0":
            raise Unable(complaint(said))
        errors, all_samples = (int(part) for part in facts["errors"].split("/"))
        rounds = int(facts["count"]) / threads
        return Counted(rounds * 1e6 / int(facts["duration"]), rounds, errors / max(all_samples, 1))

    def profile(self, out):
        return formats.mojo(pathlib.Path(out + ".mojo").read_bytes())


class Tachyon(Profiler):
    # It is started by the root's linker, not in the root: there it would have no /proc.
    environment = {"PYTHONHOME": str(ROOT / "usr"), "PYTHONPYCACHEPREFIX": str(RIVALS / "pycache")}
    environment["PYTHONDONTWRITEBYTECODE"] = ""

    def __init__(self, stops):
        self.stops = stops
        self.name = "tachyon blk" if stops else "tachyon"
        self.how = ["--blocking"] if stops else []
        # With --blocking and many threads it hears no SIGINT.
        self.ends_itself = stops

    def command(self):
        python = ROOT / "usr" / "bin" / TACHYON_PYTHON
        return [*linker(), "--argv0", python, python, "-m", "profiling.sampling"]

    def prepare(self):
        words = [str(word) for word in self.command()]
        said = subprocess.run(
            [*words, "--help"], capture_output=True, text=True, env={**ENVIRONMENT, **self.environment}
        )
        if said.returncode != 0:
            raise Unable(complaint(said.stderr))

    def attach(self, pid, rate, seconds, out, stacks):
        what = ["--collapsed", "-o", out + ".collapsed"] if stacks else ["--binary", "-o", out + ".tach"]
        return [*self.command(), "attach", pid, "-r", rate or ASK_MAX, "-d", math.ceil(seconds), "-a", *self.how, *what]

    def once(self, pid):
        return [*self.command(), "dump", pid, *self.how]

    def counted(self, out, said, seconds, threads):
        rate = re.search(r"Sample rate: ([\d.]+)", said)
        errors = re.search(r"Error rate: ([\d.]+)", said)
        captured = re.search(r"Captured ([\d,]+) samples", said)
        if not (rate and errors and captured):
            raise Unable(complaint(said))
        rounds = int(captured[1].replace(",", ""))
        return Counted(float(rate[1]), rounds, float(errors[1]) / 100)

    def profile(self, out):
        return formats.collapsed(pathlib.Path(out + ".collapsed").read_text(errors="replace"))


COMPLAINT = re.compile(r"error|can't|cannot|fail|unable|not support", re.IGNORECASE)


def complaint(text):
    """Why a program failed: its first line that complains, else its last one."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    complaining = [line for line in lines if COMPLAINT.search(line)]
    return (complaining or lines[-1:] or ["it said nothing"])[0]


def linker():
    """The command that starts programs with the root's own C library."""
    found = sorted((ROOT / "usr").glob("lib*/ld-linux-*.so.*"))
    libraries = sorted((ROOT / "usr" / "lib").glob("*-linux-gnu"))
    if not found or not libraries:
        raise Unable("%s is not there: run scripts/interpreters" % ROOT)
    return [found[0], "--library-path", libraries[0]]


def install(path):
    """Brings the rivals from PyPI into the cache, once."""
    mark = RIVALS / "packages"
    if path.exists() and mark.exists() and mark.read_text().split() == PACKAGES:
        return
    RIVALS.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(RIVALS / "venv", ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", RIVALS / "venv"],
        [RIVALS / "venv/bin/pip", "-q", "install", *PACKAGES],
    ):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unable("cannot be installed: " + complaint(done.stderr))
    mark.write_text("\n".join(PACKAGES))


class Run:
    """A profiler at work on a process, until `end`."""

    # How long a tool may take to write its files.
    PATIENCE = 60

    def __init__(self, profiler, pid, rate, seconds, out, stacks=False, core=None):
        self.profiler, self.out, self.seconds = profiler, out, seconds
        self.said = tempfile.TemporaryFile("w+")
        command = profiler.attach(pid, rate, seconds, out, stacks)
        streams = {"stdout": self.said, "stderr": subprocess.STDOUT}
        self.began = time.monotonic()
        self.process = spawn(command, core, environment=profiler.environment, **streams)
        self.pid = self.process.pid

    def end(self, threads):
        """Ends it, once its time is over, as Ctrl-C does; its own account of the run, when it has written its files."""
        try:
            left = self.began + self.seconds - time.monotonic()
            try:
                self.process.wait(max(left, 0.0) + (self.PATIENCE if self.profiler.ends_itself else 0.0))
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGINT)
            lasted = time.monotonic() - self.began
            try:
                self.process.wait(self.PATIENCE)
            except subprocess.TimeoutExpired:
                raise Unable("it did not end within %d s of SIGINT" % self.PATIENCE)
            self.said.seek(0)
            return self.profiler.counted(self.out, self.said.read(), lasted, threads)
        finally:
            self.kill()

    def kill(self):
        """Makes sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.said.close()
