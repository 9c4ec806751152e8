"""What is measured of speed: what a look costs, how many there can be, and what the target loses."""

import collections
import os
import subprocess
import sys
import tempfile
import time

from . import floor
from .judges import find
from .machine import BENCHES, ENVIRONMENT, Reading, Unable, median, peak_rss
from .profilers import Run

WORK = BENCHES / "programs" / "work.py"
# How long the target runs alone before a run and after it, and a profiler before it is measured.
ALONE, SETTLE = 0.3, 0.4
# Runs that keep the target stopped are for comparison only, and are repeated less.
REPEATS_STOPPING = 3
DUMPS = 7
# A tool whose samples are all errors cannot do this Python, although it says nothing.
USELESS = 0.99

Row = collections.namedtuple("Row", "python threads depth waiting rate")
# The Python on which rivals are measured where none can do a Python.
STAND_IN = {"3.13t": "3.13"}


def rows_of(pythons, shapes, rates):
    """Rows of every Python with every shape, `(threads, depth)` or `(threads, depth, waiting)`, at every rate."""
    shapes = [shape if len(shape) == 3 else (*shape, 0) for shape in shapes]
    return [Row(python, *shape, rate) for python in pythons for shape in shapes for rate in rates]


MAX, FIXED = 0, 1000
DEFAULT = [
    *rows_of(["3.13"], [(1, 10), (1, 50), (1, 200), (8, 50), (64, 50), (64, 50, 60)], [MAX]),
    *rows_of(["3.15-debian"], [(1, 10), (1, 50), (1, 200), (8, 50), (64, 50)], [MAX]),
    *rows_of(["3.8"], [(1, 50), (8, 50)], [MAX]),
    *rows_of(["3.11"], [(1, 50)], [MAX]),
    *rows_of(["3.13t"], [(1, 50), (8, 50), (64, 50)], [MAX]),
    *rows_of(["3.13", "3.15-debian"], [(1, 50), (8, 50), (64, 50)], [FIXED]),
    *rows_of(["3.13", "3.15-debian"], [(1, 50)], [100]),
]
QUICK = [
    *rows_of(["3.13"], [(1, 50), (64, 50)], [MAX]),
    *rows_of(["3.15-debian"], [(1, 50)], [MAX]),
    *rows_of(["3.13"], [(1, 50)], [FIXED]),
]
FULL = rows_of(
    ["3.8", "3.11", "3.13", "3.15-debian"],
    [(threads, depth) for threads in (1, 8, 64) for depth in (10, 50, 200)],
    [MAX],
) + [row for row in DEFAULT if row.rate or row.waiting or row.python == "3.13t"]


def goals(row):
    """What is wanted of a row, as ratios to the best rival: rounds a second at least, the others at most."""
    if row.rate == MAX:
        if row.python == "3.13t":
            return {"us": 0.4}
        if row.threads == 1:
            return {"us": 0.3 if row.depth >= 200 else 0.5, **({"rounds": 2} if row.depth == 50 else {})}
        return {"us": 0.1, "rounds": 10} if row.threads == 8 else {"us": 0.03, "rounds": 50}
    if row.rate == FIXED:
        return {"cpu": {1: 0.95, 8: 0.5, 64: 0.2}.get(row.threads)}
    return {}


class Cell:
    """What one tool did in one row: the figures of every run."""

    FIGURES = ("us", "rounds", "cpu", "errors", "stopped", "rss")

    def __init__(self):
        self.runs, self.reason = [], None

    def figure(self, name):
        return median([run.get(name) for run in self.runs])

    def as_json(self):
        medians = {name: self.figure(name) for name in self.FIGURES}
        return {**medians, "runs": self.runs, "reason": self.reason}


class Bench:
    """The measurements of one call of scripts/bench."""

    def __init__(self, pythons, tools, floor_program, cores, repeats, window):
        self.pythons, self.tools, self.floor_program = pythons, tools, floor_program
        self.target_core, self.core = cores
        self.repeats, self.window = repeats, window
        self.cells, self.floors, self.first = {}, {}, {}
        self.reasons = collections.OrderedDict()
        self.unable = set()

    def measure(self, rows):
        for number, row in enumerate(rows):
            progress("row %d of %d: %s" % (number + 1, len(rows), name_of(row)))
            try:
                self.row(row)
            except Unable as unable:
                self.reasons[name_of(row)] = str(unable)
        for name in collections.OrderedDict((row.python, None) for row in rows):
            progress("first samples on %s" % name)
            try:
                self.first_samples(name)
            except Unable as unable:
                self.reasons[name] = str(unable)
        progress("")

    def python(self, name):
        if name not in self.pythons:
            raise Unable("this Python is not here (scripts/interpreters)")
        return self.pythons[name]

    def row(self, row):
        python = self.python(row.python)
        arguments = [str(word) for word in (row.threads, row.depth, row.waiting)]
        with python.start(WORK, arguments, self.target_core) as target, tempfile.TemporaryDirectory() as directory:
            time.sleep(ALONE)
            for repeat in range(self.repeats):
                for tool in self.tools:
                    if tool.stops and repeat >= REPEATS_STOPPING or (tool.name, row.python) in self.unable:
                        continue
                    cell = self.cells.setdefault((row, tool.name), Cell())
                    try:
                        cell.runs.append(self.run(tool, target, row, directory))
                    except Unable as unable:
                        cell.reason = str(unable)
                        self.reasons.setdefault("%s on %s" % (tool.name, row.python), str(unable))
                        if not cell.runs:
                            self.unable.add((tool.name, row.python))
            self.floor(row, target)

    def run(self, tool, target, row, directory):
        """One run of one tool: the target alone, both, the target alone again."""
        alone = Reading(target.pid)
        time.sleep(ALONE)
        before = Reading(target.pid)
        seconds = SETTLE + self.window + 0.1
        run = Run(tool, target.pid, row.rate, seconds, directory + "/out", core=self.core)
        try:
            time.sleep(SETTLE)
            from_target, from_tool = Reading(target.pid), Reading(run.pid)
            time.sleep(self.window)
            to_target, to_tool, rss = Reading(target.pid), Reading(run.pid), peak_rss(run.pid)
            threads = row.threads + (row.threads > 1)
            counted = run.end(threads)
        finally:
            run.kill()
        if counted.errors > USELESS:
            raise Unable("all its samples are errors")
        after = Reading(target.pid)
        time.sleep(ALONE)
        end = Reading(target.pid)
        cpu = to_tool.cpu_share(from_tool)
        if row.threads == 1:
            stopped = before.ready_share(alone) - to_target.ready_share(from_target)
        else:
            undisturbed = (before.cpu - alone.cpu + end.cpu - after.cpu) / (before.at - alone.at + end.at - after.at)
            stopped = 1 - to_target.cpu_share(from_target) / undisturbed
        figures = {"us": cpu * 1e6 / counted.rate, "rounds": counted.rate, "cpu": cpu * 100}
        figures.update(errors=counted.errors * 100, stopped=stopped * 100, rss=rss, **counted.more)
        return figures

    def floor(self, row, target):
        ours = self.tools[0]
        if (ours.name, row.python) in self.unable:
            return
        try:
            parts = floor.segments(ours, target.pid, self.core)
            costs = lambda what: median(
                floor.measure(self.floor_program, target.pid, what, row.rate, 0.3, self.core)
                for _ in range(self.repeats)
            )
            figures = {"us": costs(parts), "segments": len(parts), "bytes": sum(length for _, length in parts)}
            if row.rate:
                figures["wake_us"] = costs([])
            self.floors[row] = figures
        except Unable as unable:
            self.reasons.setdefault("floor", str(unable))

    def first_samples(self, name):
        """Milliseconds from start to end of one look: no tool can have its first sample later than that."""
        with self.python(name).start(WORK, ["1", "50", "0"], self.target_core) as target:
            for tool in self.tools:
                if (tool.name, name) in self.unable:
                    continue
                times = [self.once(tool, target) for _ in range(DUMPS)]
                self.first[name, tool.name] = median(times)

    def once(self, tool, target):
        """Started without a fork of this process, which would count as the tool's time; so this process is pinned."""
        here = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core})
        try:
            command = [str(word) for word in tool.once(target.pid)]
            environment = {**ENVIRONMENT, **tool.environment}
            began = time.monotonic()
            done = subprocess.run(
                command, env=environment, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            lasted = (time.monotonic() - began) * 1000
        finally:
            os.sched_setaffinity(0, here)
        return lasted if done.returncode == 0 else None


def soak(python, tool, cores, seconds):
    """The peak of a tool's memory in MB, and its looks a second, on a realistic program at 1 kHz for so long."""
    target_core, core = cores
    with python.start(find("shop", BENCHES), [], target_core) as target, tempfile.TemporaryDirectory() as directory:
        run = Run(tool, target.pid, FIXED, seconds, directory + "/out", core=core)
        try:
            rss, end = 0.0, time.monotonic() + seconds
            while time.monotonic() < end and run.process.poll() is None:
                time.sleep(min(1.0, max(end - time.monotonic(), 0.0)))
                rss = max(rss, peak_rss(run.pid))
            return rss, run.end(2).rate
        finally:
            run.kill()


def progress(text):
    """Says on a terminal what is under way, on one line."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K" + text)
        sys.stderr.flush()


def name_of(row):
    threads = "%d threads" % row.threads if row.threads > 1 else "1 thread"
    waiting = ", %d waiting" % row.waiting if row.waiting else ""
    rate = "%d Hz" % row.rate if row.rate else "max"
    return "%s, %s%s, depth %d, %s" % (row.python, threads, waiting, row.depth, rate)
