"""The machine: which core is whose, what a process has used of it, and the Pythons that are here."""

import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
BENCHES = CHECKOUT / "benches"
CACHE = pathlib.Path(
    os.environ.get("PITVIPER_CACHE")
    or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pitviper")
)
# Locales of this machine may be missing within a root; this one is built into glibc.
ENVIRONMENT = dict(os.environ, LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1", NO_COLOR="1")
# How much more of a core the measured processes get than what else runs here, where that may be set.
AUTOGROUP_NICE = "-12"


class Unable(Exception):
    """Something cannot be measured here; its text says why."""


def cores():
    """The core of the targets and that of the profilers."""
    here = sorted(os.sched_getaffinity(0))
    if len(here) < 2:
        raise Unable("two cores are needed, one for the target and one for the profiler")
    return here[0], here[1]


def spawn(command, core, **options):
    """Starts a command on one core, in a session of its own, so that what else runs here is less in its way."""

    def settle():
        os.sched_setaffinity(0, {core})
        try:
            with open("/proc/self/autogroup", "w") as file:
                file.write(AUTOGROUP_NICE)
        except OSError:
            pass

    options.setdefault("stdin", subprocess.DEVNULL)
    environment = dict(ENVIRONMENT, **options.pop("environment", {}))
    return subprocess.Popen(
        [str(word) for word in command], env=environment, start_new_session=True, preexec_fn=settle, **options
    )


def family(pid):
    """A process and all that come from it."""
    found = [pid]
    for task in list_tasks(pid):
        try:
            children = pathlib.Path("/proc/%d/task/%s/children" % (pid, task)).read_text().split()
        except OSError:
            continue
        for child in children:
            found += family(int(child))
    return found


def list_tasks(pid):
    try:
        return os.listdir("/proc/%d/task" % pid)
    except OSError:
        return []


class Reading:
    """What a process and its children have used so far, by the scheduler's own count, in seconds."""

    def __init__(self, pid):
        self.at, self.cpu, self.queued, self.tasks = time.monotonic(), 0.0, 0.0, 0
        for member in family(pid):
            for task in list_tasks(member):
                try:
                    words = pathlib.Path("/proc/%d/task/%s/schedstat" % (member, task)).read_text().split()
                except OSError:
                    continue
                self.cpu += int(words[0]) / 1e9
                self.queued += int(words[1]) / 1e9
                self.tasks += 1

    def cpu_share(self, earlier):
        """Of one core, since an earlier reading."""
        return (self.cpu - earlier.cpu) / (self.at - earlier.at)

    def ready_share(self, earlier):
        """The share of the time in which a lone thread ran or could have run: the rest it was stopped."""
        return (self.cpu - earlier.cpu + self.queued - earlier.queued) / (self.at - earlier.at)


def peak_rss(pid):
    """The most memory that a process and its children have held, in MB."""
    total = 0
    for member in family(pid):
        try:
            status = pathlib.Path("/proc/%d/status" % member).read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return total / 1024


def median(values):
    """The median of what was measured; None of nothing."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


class Python:
    """A Python of this machine, by its name in `scripts/interpreters --list`."""

    def __init__(self, name, version, command):
        self.name, self.version, self.command = name, version, command.split()
        chroot = [at for at, word in enumerate(self.command) if word.endswith("chroot")]
        self.root = pathlib.Path(self.command[chroot[0] + 1]) if chroot else pathlib.Path("/")

    def start(self, program, arguments, core):
        """A process that runs a program and has said that it is ready."""
        return Target(self, program, arguments, core)


class Target:
    """A running program, ended when the block is left."""

    def __init__(self, python, program, arguments, core):
        self.directory = tempfile.mkdtemp(prefix="pitviper-bench-", dir=python.root / "tmp")
        os.chmod(self.directory, 0o755)
        copy = pathlib.Path(shutil.copy(program, self.directory))
        inside = "/" / copy.relative_to(python.root)
        command = python.command + ["-B", inside, *arguments]
        self.process = spawn(command, core, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        if self.process.stdout.readline() != b"ready\n":
            self.__exit__()
            raise Unable("%s does not run %s" % (python.name, program.name))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def pythons():
    """The Pythons of this machine, by name."""
    listed = subprocess.run(
        [CHECKOUT / "scripts" / "interpreters", "--list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    found = [Python(*line.split("\t")) for line in listed.stdout.splitlines()]
    return {python.name: python for python in found}
