"""What following the collector adds to the cost of a look: the same sampling with it and without it, in turn."""

import collections
import pathlib
import tempfile
import time

from .judges import find
from .machine import BENCHES, CHECKOUT, Reading, Unable, median
from .profilers import Pitviper, Run
from .table import number

PYTHONS = ["3.8", "3.13", "3.15-debian"]
# What a program is called here, its file, and its arguments.
PROGRAMS = {"still": ("work", ["1", "50", "0"]), "collect": ("collect", [])}
RATE = 1000
GOAL = 1.1
# How long a profiler runs before it is measured.
SETTLE = 0.4

Row = collections.namedtuple("Row", "python program")


class Cost:
    """The measurements of one call of scripts/bench gc."""

    def __init__(self, pythons, tool, cores, repeats, window):
        self.pythons, self.tool, self.repeats, self.window = pythons, tool, repeats, window
        self.target_core, self.core = cores
        self.figures, self.reasons = {}, {}

    def measure(self, rows):
        with tempfile.TemporaryDirectory() as directory:
            blind(pathlib.Path(directory))
            without = Pitviper(self.tool.path, layouts=directory)
            for row in rows:
                try:
                    self.figures[row] = self.row(row, without)
                except Unable as unable:
                    self.reasons[row] = str(unable)

    def row(self, row, without):
        if row.python not in self.pythons:
            raise Unable("this Python is not here (scripts/interpreters)")
        name, arguments = PROGRAMS[row.program]
        pairs = []
        with self.pythons[row.python].start(find(name, BENCHES), arguments, self.target_core) as target:
            for turn in range(self.repeats):
                # Whoever comes second in a pair comes first in the next.
                order = [self.tool, without] if turn % 2 == 0 else [without, self.tool]
                cost = {tool: self.once(tool, target) for tool in order}
                pairs.append((cost[self.tool], cost[without]))
        collected = median([counted.collections for (_, counted), _ in pairs])
        if median([counted.collections for _, (_, counted) in pairs]):
            raise Unable("the collector was followed where it should not be")
        return {
            "with_us": median([one for (one, _), _ in pairs]),
            "without_us": median([other for _, (other, _) in pairs]),
            "ratio": median([one / other for (one, _), (other, _) in pairs]),
            "collections_per_second": collected / (SETTLE + self.window),
        }

    def once(self, tool, target):
        """Microseconds of CPU time a look, and the run's own account."""
        with tempfile.TemporaryDirectory() as directory:
            run = Run(tool, target.pid, RATE, SETTLE + self.window + 0.1, directory + "/out", core=self.core)
            try:
                time.sleep(SETTLE)
                before = Reading(run.pid)
                time.sleep(self.window)
                after = Reading(run.pid)
                counted = run.end(1)
            finally:
                run.kill()
            rows = tool.ask("export", directory + "/out.pit", "-f", "gc-csv").splitlines()[1:]
            counted.collections = sum(int(row.split(",")[7]) for row in rows)
        return after.cpu_share(before) * 1e6 / counted.rate, counted

    def text(self):
        shape = "%-12s %-8s %10s %12s %7s %14s"
        lines = [shape % ("python", "program", "µs a look", "without gc", "ratio", "collections/s")]
        for row, told in self.figures.items():
            figures = ("with_us", "without_us", "ratio", "collections_per_second")
            lines.append(shape % (*row, *(number(told[key]) for key in figures)))
        worst = max((told["ratio"] for told in self.figures.values()), default=0)
        lines += ["", "goal: at most %g: %s" % (GOAL, "met" if worst <= GOAL else "MISSED")]
        lines += ["%s, %s: %s" % (*row, why) for row, why in self.reasons.items()]
        return "\n".join(lines)

    def as_json(self):
        return {"gc": [{**row._asdict(), **told} for row, told in self.figures.items()]}


def blind(directory):
    """Writes all layouts into a directory, none of which says where a collector is."""
    for layout in (CHECKOUT / "layouts").glob("[0-9]*.toml"):
        lines = layout.read_text().splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith("gc.where"))
        (directory / layout.name).write_text(text)
