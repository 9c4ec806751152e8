"""What the recording costs: bytes a sample of a realistic program, and samples a second that its writer keeps up with."""

import collections
import json
import os
import subprocess
import tempfile

from .judges import find
from .machine import BENCHES, ENVIRONMENT, Unable
from .profilers import Run
from .table import number

DEFAULT_PYTHONS = ["3.8", "3.13"]
RATES = [1000, 10_000]
# The goals: at the highest rate, and of the writer.
GOAL_BYTES = 4.0
GOAL_PACE = 300_000
PACE_SECONDS = 5

Row = collections.namedtuple("Row", "python rate")


class Record:
    """The measurements of one call of scripts/bench record."""

    def __init__(self, pythons, tool, writer, cores, seconds):
        self.pythons, self.tool, self.writer, self.seconds = pythons, tool, writer, seconds
        self.target_core, self.core = cores
        self.figures, self.reasons, self.paced = {}, {}, None

    def measure(self, rows):
        for row in rows:
            try:
                self.figures[row] = self.of_program(row)
            except Unable as unable:
                self.reasons[row] = str(unable)
        self.paced = self.of_writer()

    def of_program(self, row):
        """One recording of the realistic program: how it was sampled, and what it takes."""
        if row.python not in self.pythons:
            raise Unable("this Python is not here (scripts/interpreters)")
        with self.pythons[row.python].start(find("shop", BENCHES), [], self.target_core) as target:
            with tempfile.TemporaryDirectory() as directory:
                out = directory + "/out"
                Run(self.tool, target.pid, row.rate, self.seconds, out, core=self.core).end(2)
                told = json.loads(self.tool.ask("info", "--json", out + ".pit"))
                size = os.path.getsize(out + ".pit")
        busy = max(thread["samples"] for thread in told["threads"])
        return {
            "looks_per_second": told["rate"]["achieved"],
            "missed": told["missed"] / max(told["looks"] + told["missed"], 1),
            "samples": told["samples"],
            "rows": told["counts"]["rows"],
            "bytes": size,
            "bytes_per_sample": size / max(told["samples"], 1),
            "bytes_per_busy_sample": size / max(busy, 1),
        }

    def of_writer(self):
        """Made samples through the channel at a pace."""
        with tempfile.TemporaryDirectory() as directory:
            command = [self.writer, str(GOAL_PACE), str(PACE_SECONDS), directory + "/out.pit"]
            done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
        if done.returncode != 0:
            raise Unable(done.stderr.strip())
        return json.loads(done.stdout)

    def text(self):
        shape = "%-12s %8s %9s %9s %9s %9s %9s %13s %11s"
        head = "python", "rate", "looks/s", "missed %", "samples", "rows", "bytes", "bytes/sample", "busy only"
        lines = [shape % head]
        for row, told in self.figures.items():
            shares = [number(told[key]) for key in ("bytes_per_sample", "bytes_per_busy_sample")]
            lines.append(
                shape
                % (
                    row.python,
                    "%d Hz" % row.rate,
                    number(told["looks_per_second"]),
                    number(told["missed"] * 100),
                    told["samples"],
                    told["rows"],
                    told["bytes"],
                    *shares,
                )
            )
        lines.append("")
        lines.append(
            "the writer: %s samples a second for %d s, %s dropped; a sample took %s bytes and %s µs of its CPU time"
            % (
                number(self.paced["rate"]),
                PACE_SECONDS,
                self.paced["dropped"],
                number(self.paced["bytes"] / self.paced["samples"]),
                number(self.paced["writer_cpu_ns"] / 1000 / self.paced["samples"]),
            )
        )
        lines.append("")
        lines += self.goals()
        lines += ["%s at %d Hz: %s" % (*row, why) for row, why in self.reasons.items()]
        return "\n".join(lines)

    def goals(self):
        worst = [told["bytes_per_busy_sample"] for row, told in self.figures.items() if row.rate == max(RATES)]
        for what, met in (
            ("at most %g bytes a sample of the busy thread at %d Hz" % (GOAL_BYTES, max(RATES)), max(worst, default=0) <= GOAL_BYTES),
            ("%s samples a second with no drop" % number(GOAL_PACE), not self.paced["dropped"]),
        ):
            yield "goal: %s: %s" % (what, "met" if met else "MISSED")

    def as_json(self):
        rows = [{**row._asdict(), **told} for row, told in self.figures.items()]
        return {"record": rows, "writer": self.paced}
