"""The table of truth: how much of what a profiler reports never happened, and how far the rest is from what did."""

import collections
import itertools
import tempfile
import time

from . import judges
from .machine import BENCHES, Unable
from .profilers import Run
from .speed import MAX, USELESS, progress
from .table import NONE, number

# How long a tool starts before it samples, at most; the time asked for comes on top.
START = 0.3
Row = collections.namedtuple("Row", "program python")
# What the truth is measured by: a profiler that stops the target for every sample.
REFERENCE_RATE = 1000
REFERENCE_RUNS = 3

DEFAULT_PYTHONS = ["2.7", "3.8", "3.11", "3.13", "3.15-debian"]
QUICK_PYTHONS = ["3.13"]


class Seen:
    """What one tool reported of one program at one rate."""

    def __init__(self, judge, profile, counted):
        verdicts, self.reasons, self.kept = judges.share_out(judge, profile)
        self.verdicts = verdicts
        self.samples = sum(verdicts.values()) - verdicts[judges.OTHER]
        self.rate = counted.rate
        # A tool names the samples that it gave up in its own account, or as stacks without frames.
        self.errors = max(counted.errors, profile.errors / max(profile.errors + self.samples, 1))
        self.more = counted.more
        self.distance = None

    def share(self, verdict):
        return self.verdicts[verdict] / self.samples * 100 if self.samples else None

    def as_json(self):
        worst = sorted(self.reasons.items(), key=lambda pair: -pair[1])[:10]
        return {
            "samples": self.samples,
            "rate": self.rate,
            "verdicts": self.verdicts,
            "errors": self.errors * 100,
            "impossible": self.share(judges.IMPOSSIBLE),
            "distance": self.distance,
            "worst": worst,
            **self.more,
        }


class Truth:
    """The measurements of one call of `scripts/bench truth`."""

    def __init__(self, pythons, tools, references, cores, rates, seconds):
        self.pythons, self.tools, self.references = pythons, tools, references
        self.target_core, self.core = cores
        self.rates, self.seconds = rates, seconds
        self.seen, self.repeats, self.by = {}, {}, {}
        self.reasons = collections.OrderedDict()
        self.unable = set()

    def measure(self, rows):
        for index, row in enumerate(rows):
            progress("program %d of %d: %s on %s" % (index + 1, len(rows), *row))
            try:
                self.row(row)
            except Unable as unable:
                self.reasons.setdefault(row.python, str(unable))
        progress("")

    def row(self, row):
        if row.python not in self.pythons:
            raise Unable("this Python is not here (scripts/interpreters)")
        judge = judges.judge_of(row.program, BENCHES)
        program = judges.find(row.program, BENCHES)
        with self.pythons[row.python].start(program, [], self.target_core) as target:
            with tempfile.TemporaryDirectory() as directory:
                time.sleep(START)
                look = lambda tool, rate: self.look(tool, rate, row, judge, target, directory)
                truth = self.reference(row, look)
                for tool in self.tools:
                    for rate in self.rates:
                        seen = look(tool, rate)
                        if seen:
                            seen.distance = mean_distance((seen.kept, kept) for kept in truth)
                            self.seen[row, tool.name, rate] = seen

    def reference(self, row, look):
        """What the first reference that can do it sees, several times over; how far these are from each other."""
        for tool in self.references:
            runs = [look(tool, REFERENCE_RATE) for _ in range(REFERENCE_RUNS)]
            if None in runs:
                continue
            kept = [run.kept for run in runs]
            self.by[row] = tool.name
            self.repeats[row] = mean_distance(itertools.combinations(kept, 2))
            runs[0].distance = self.repeats[row]
            self.seen[row, tool.name, REFERENCE_RATE] = runs[0]
            return kept
        return []

    def look(self, tool, rate, row, judge, target, directory):
        """What a tool reports; None where it cannot, which is remembered."""
        if (tool.name, row.python) in self.unable:
            return None
        run = Run(tool, target.pid, rate, START + self.seconds, directory + "/out", stacks=True, core=self.core)
        try:
            counted = run.end(2 if row.program == "shop" else 1)
            seen = Seen(judge, tool.profile(directory + "/out"), counted)
            if not seen.samples or seen.errors > USELESS:
                raise Unable("it reported no stack")
            return seen
        except (Unable, ValueError, OSError) as unable:
            self.reasons.setdefault("%s on %s" % (tool.name, row.python), str(unable))
            self.unable.add((tool.name, row.python))
            return None
        finally:
            run.kill()

    COLUMNS = ("stacks", "impossible %", "partial %", "error %", "missed %", "distance", "× repeat")

    def text(self, rows):
        lines = []
        names = [(tool.name, rate) for tool in self.tools for rate in self.rates]
        for row in rows:
            told = self.by.get(row)
            lines.append("%s on %s" % row)
            lines.append("  %-22s" % "" + "".join("%14s" % title for title in self.COLUMNS))
            for name, rate in ([(told, REFERENCE_RATE)] if told else []) + names:
                lines.append(self.line(row, name, rate))
            lines.append("")
        return "\n".join(
            lines + self.digest(rows) + ["%s  %s: %s" % (NONE, what, why) for what, why in self.reasons.items()]
        )

    def digest(self, rows):
        """All programs at a glance: impossible stacks in percent, one column a tool and rate."""
        shown = [(tool.name, rate) for tool in self.tools for rate in self.rates]
        lines = ["impossible %"]
        for titles in ([name for name, _ in shown], ["%d Hz" % rate if rate else "max" for _, rate in shown]):
            lines.append("  %-32s" % "" + "".join("%13s" % title for title in titles))
        for row in rows:
            seen = [self.seen.get((row, *key)) for key in shown]
            shares = [fine(one.share(judges.IMPOSSIBLE)) if one else NONE for one in seen]
            lines.append("  %-32s" % ("%s on %s" % row) + "".join("%13s" % share for share in shares))
        return lines + [""]

    def line(self, row, name, rate):
        label = "%s, %s" % (name, "%d Hz" % rate if rate != MAX else "max")
        seen = self.seen.get((row, name, rate))
        if not seen:
            return "  %-22s" % label + ("%14s" % NONE) * len(self.COLUMNS)
        repeat = self.repeats.get(row)
        times = seen.distance / repeat if seen.distance is not None and repeat else None
        shares = [fine(seen.share(judges.IMPOSSIBLE)), fine(seen.share(judges.PARTIAL)), fine(seen.errors * 100)]
        shares.append(number(seen.more["missed"] * 100) if "missed" in seen.more else NONE)
        if name == self.by.get(row):
            label, times = label + " = truth", None
        figures = [
            number(seen.samples, 9),
            *shares,
            "%.3f" % seen.distance if seen.distance is not None else NONE,
            number(times),
        ]
        return "  %-22s" % label + "".join("%14s" % figure for figure in figures)

    def as_json(self):
        rows = collections.defaultdict(dict)
        for (row, name, rate), seen in self.seen.items():
            rows[row]["%s at %s" % (name, rate or "max")] = seen.as_json()
        told = lambda row: {"truth": self.by.get(row), "repeat": self.repeats.get(row)}
        return {
            "rows": [{**row._asdict(), **told(row), "tools": tools} for row, tools in rows.items()],
            "reasons": dict(self.reasons),
        }


def mean_distance(pairs):
    found = [judges.distance(*pair) for pair in pairs]
    return sum(found) / len(found) if found else None


def fine(share):
    """A share in percent, to a thousandth: one in a hundred thousand must show."""
    return NONE if share is None else "0" if share == 0 else "%.3f" % share
