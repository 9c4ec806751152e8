"""What a look at a large heap costs: a census, a pause, and how both compare to a plain copy of the same bytes."""

import ctypes
import json
import mmap
import os
import subprocess
import tempfile
import time

from .machine import BENCHES, ENVIRONMENT, Unable, median
from .table import number

DEFAULT_PYTHONS = ["3.11"]
# The goals: how often as long as a plain copy of the same bytes, and memory of ours as a share of the arenas.
GOAL_CENSUS = 4.0
GOAL_PAUSE = 1.3
GOAL_MEMORY = 1.5
# The share of a core that following the heap takes.
GOAL_FOLLOW = 4.0
# How long it is followed.
FOLLOWED = 10
PAUSE = "60s"
# What one call copies: the fastest there is, or near to it.
PIECE = 16 << 20
# Mappings smaller than this are not of the heap, and not copied.
LEAST = 1 << 20


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def spans(pid):
    """The large mappings that a process may write and no file stands behind."""
    with open("/proc/%d/maps" % pid) as maps:
        for line in maps:
            words = line.split()
            start, end = (int(word, 16) for word in words[0].split("-"))
            if words[1].startswith("rw") and words[4] == "0" and end - start >= LEAST:
                yield start, end


def plain_copy(pid):
    """The seconds that a plain copy of the heap takes, and its bytes. The room is there, and written to, beforehand."""
    library = ctypes.CDLL(None, use_errno=True)
    library.process_vm_readv.restype = ctypes.c_ssize_t
    wanted = list(spans(pid))
    size = sum(end - start for start, end in wanted)
    room = mmap.mmap(-1, size)
    for at in range(0, size, mmap.PAGESIZE):
        room[at] = 1
    base = ctypes.addressof(ctypes.c_char.from_buffer(room))
    began, copied = time.monotonic(), 0
    for start, end in wanted:
        while start < end:
            length = min(PIECE, end - start)
            ours, theirs = Vector(base + copied, length), Vector(start, length)
            got = library.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
            if got <= 0:
                break
            start, copied = start + got, copied + got
    return time.monotonic() - began, copied


class Heap:
    """The measurements of one call of scripts/bench heap."""

    def __init__(self, pythons, pitviper, cores, repeats, tuples):
        self.pythons, self.pitviper, self.repeats = pythons, pitviper, repeats
        self.target_core, self.core = cores
        self.tuples, self.figures, self.reasons = tuples, {}, {}

    def measure(self, names):
        for name in names:
            try:
                self.figures[name] = self.of_python(name)
            except Unable as unable:
                self.reasons[name] = str(unable)

    def of_python(self, name):
        if name not in self.pythons:
            raise Unable("this Python is not here (scripts/interpreters)")
        runs = {"copy": [], "copied": [], "census": [], "memory": [], "pause": [], "paused_memory": [], "arenas": [], "follow": []}
        with self.pythons[name].start(BENCHES / "programs" / "heap.py", [str(self.tuples)], self.target_core) as target:
            for _ in range(self.repeats):
                seconds, copied = plain_copy(target.pid)
                runs["copy"].append(seconds)
                runs["copied"].append(copied)
                seconds, memory, census = self.run("census", target.pid)
                runs["census"].append(seconds)
                runs["memory"].append(memory)
                _, memory, paused = self.run("census", target.pid, "--pause", PAUSE)
                runs["pause"].append(paused["paused"])
                runs["paused_memory"].append(memory)
                seconds, _, arenas = self.run("arenas", target.pid)
                runs["arenas"].append(seconds)
                without, _ = self.follow(target.pid, "off")
                cpu, behind = self.follow(target.pid, "pools")
                runs["follow"].append(100 * (cpu - without) / FOLLOWED)
        found = {key: median(values) for key, values in runs.items()}
        found["objects"] = census["objects"]
        found["behind"] = behind
        found["arena_bytes"] = arenas["bytes"]["arenas"]
        return found

    def run(self, what, pid, *options):
        """Seconds, the most memory in bytes, and what was said."""
        seconds, usage, said = self.call("heap", what, "--json", "--pid", pid, *options)
        return seconds, usage.ru_maxrss * 1024, json.loads(said)

    def follow(self, pid, depth):
        """The seconds of CPU that recording takes, and what it says of having been held back."""
        with tempfile.TemporaryDirectory() as where:
            path = os.path.join(where, "heap.pit")
            asked = ["-p", pid, "-r", 1, "--schedule", "fixed", "-d", FOLLOWED, "--heap", depth, "-o", path]
            _, usage, _ = self.call("attach", *asked)
            _, _, said = self.call("info", "--json", path)
        behind = [of["text"] for of in json.loads(said)["troubles"] if (of["text"] or "").startswith("heap")]
        return usage.ru_utime + usage.ru_stime, behind

    def call(self, *words):
        """Seconds, what it used, and what it said."""

        def settle():
            os.sched_setaffinity(0, {self.core})

        began = time.monotonic()
        command = [self.pitviper, "-q", *words]
        process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, env=ENVIRONMENT, preexec_fn=settle
        )
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        if status != 0:
            raise Unable("%s failed" % " ".join(str(word) for word in words[:2]))
        return seconds, usage, said

    def text(self):
        lines = []
        for name, told in self.figures.items():
            mib = 1 << 20
            lines += [
                "%s: %d objects, arenas of %s MiB" % (name, told["objects"], number(told["arena_bytes"] / mib)),
                "  a plain copy of %s MiB    %s s" % (number(told["copied"] / mib), number(told["copy"])),
                "  heap census              %s s, %s MiB of memory" % (number(told["census"]), number(told["memory"] / mib)),
                "  heap census --pause      held for %s s, %s MiB of memory"
                % (number(told["pause"]), number(told["paused_memory"] / mib)),
                "  heap arenas              %s s" % number(told["arenas"]),
                "  attach --heap pools      %s %% of a core more than --heap off" % number(told["follow"]),
                *("    %s" % text for text in told["behind"]),
                "",
            ]
            for what, ratio, goal in (
                ("a census takes at most %g times as long as the copy" % GOAL_CENSUS, told["census"] / told["copy"], GOAL_CENSUS),
                ("a pause at most %g times" % GOAL_PAUSE, told["pause"] / told["copy"], GOAL_PAUSE),
                (
                    "a paused census takes at most %g times the memory of the arenas" % GOAL_MEMORY,
                    told["paused_memory"] / told["arena_bytes"],
                    GOAL_MEMORY,
                ),
            ):
                lines.append("goal: %s: %s times: %s" % (what, number(ratio), "met" if ratio <= goal else "MISSED"))
            follow, met = number(told["follow"]), "met" if told["follow"] <= GOAL_FOLLOW else "MISSED"
            lines.append("goal: following it takes at most %g %% of a core: %s: %s" % (GOAL_FOLLOW, follow, met))
        lines += ["%s: %s" % pair for pair in self.reasons.items()]
        return "\n".join(lines)

    def as_json(self):
        return {"heap": self.figures}
