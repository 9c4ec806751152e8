"""The table of speed as text and as JSON."""

from .speed import FIXED, STAND_IN, goals, name_of

COLUMNS = [
    ("µs/round", "us"),
    ("rounds/s", "rounds"),
    ("CPU %", "cpu"),
    ("error %", "errors"),
    ("stopped %", "stopped"),
    ("RSS MB", "rss"),
]
NONE = "–"

# Goals that are no ratio to a rival: see speed.goals for those.
GOAL_FLOOR = 1.6
GOAL_FIRST_MS = 15
GOAL_ABOVE_WAKE_US = 15
GOAL_STOPPED = 1.0
GOAL_RSS = 15
# Who takes fewer of the looks that were asked for uses less for it, and is no measure.
KEEPS_UP = 0.9


def number(value, digits=3):
    """A figure to three digits, however large."""
    if value is None:
        return NONE
    if abs(value) >= 1000:
        return "{:,.0f}".format(float("%.*g" % (digits, value))).replace(",", " ")
    if abs(value) < 0.005:
        return "0"
    return "%.*g" % (digits, value) if abs(value) >= 1 else "%.2f" % value


class Table:
    """One run's figures, looked at row by row."""

    def __init__(self, bench, rows):
        self.bench, self.rows = bench, rows
        self.ours = bench.tools[0].name
        self.names = [tool.name for tool in bench.tools]

    def figure(self, row, tool, name):
        cell = self.bench.cells.get((row, tool))
        return cell.figure(name) if cell else None

    def best(self, row, name, most=False):
        """The best rival's figure and its name, on this Python or on the one that stands in for it."""
        for on in (row, row._replace(python=STAND_IN.get(row.python, row.python))):
            tools = [tool for tool in self.names[1:] if name != "cpu" or self.keeps_up(on, tool)]
            found = [(self.figure(on, tool, name), tool) for tool in tools]
            found = [pair for pair in found if pair[0] is not None]
            if found:
                value, tool = (max if most else min)(found)
                return value, tool if on == row else "%s on %s" % (tool, on.python)
        return None, None

    def keeps_up(self, row, tool):
        """Whether it takes the looks that are asked for, or most of them."""
        return (self.figure(row, tool, "rounds") or 0) >= KEEPS_UP * row.rate

    def ratios(self, row):
        """Ours by the best rival's, and ours by the floor."""
        said = {}
        for name, most in (("us", False), ("rounds", True), ("cpu", False)):
            ours, (best, tool) = self.figure(row, self.ours, name), self.best(row, name, most)
            # At max rate everybody uses a whole core.
            if ours is not None and best and (name != "cpu" or row.rate):
                said[name] = {"ratio": ours / best, "best": best, "tool": tool, "goal": goals(row).get(name)}
        under, ours = self.bench.floors.get(row), self.figure(row, self.ours, "us")
        if under and ours is not None:
            said["floor"] = {"ratio": ours / under["us"], "best": under["us"], "tool": "floor"}
            said["floor"]["goal"] = None if row.rate else GOAL_FLOOR
        return said

    def text(self):
        lines = []
        for row in self.rows:
            if not any((row, tool) in self.bench.cells for tool in self.names):
                continue
            lines.append(name_of(row))
            lines.append("  %-12s" % "" + "".join("%11s" % title for title, _ in COLUMNS))
            for tool in self.names:
                figures = [number(self.figure(row, tool, name)) for _, name in COLUMNS]
                lines.append("  %-12s" % tool + "".join("%11s" % figure for figure in figures))
            lines += ["  " + line for line in self.below(row)] + [""]
        return "\n".join(lines + self.summary() + self.first() + self.because())

    def below(self, row):
        """What stands under a row's tools: the floor, and the ratios."""
        lines = []
        under = self.bench.floors.get(row)
        if under:
            wake = ", waking up alone %s" % number(under["wake_us"]) if row.rate else ""
            segments = "%d segments, %s bytes" % (under["segments"], number(under["bytes"], 6))
            lines.append("%-12s%11s   (%s%s)" % ("floor", number(under["us"]), segments, wake))
        said = []
        for name, ratio in self.ratios(row).items():
            unit = {"us": "µs", "rounds": "rounds", "cpu": "CPU", "floor": "µs"}[name]
            said.append("%s × %s (%s)" % (number(ratio["ratio"]), ratio["tool"], unit))
        return lines + (["%-12s  %s" % ("pitviper is", " · ".join(said))] if said else [])

    def goals(self, row):
        """Goals of a row: the figure, what it is, the bound, whether that is a lower one, the unit, and of what."""
        for name, ratio in self.ratios(row).items():
            if ratio["goal"] is not None:
                figure = {"us": "µs/round", "rounds": "rounds/s", "cpu": "CPU", "floor": "µs/round"}[name]
                yield figure, ratio["ratio"], ratio["goal"], name == "rounds", "×", ratio["tool"]
        if row.rate != FIXED:
            return
        ours = {name: self.figure(row, self.ours, name) for name in ("us", "stopped", "rss")}
        under = self.bench.floors.get(row)
        if under and ours["us"] is not None:
            yield "µs/round", ours["us"], under[
                "wake_us"
            ] + GOAL_ABOVE_WAKE_US, False, "µs", "waking up + %d" % GOAL_ABOVE_WAKE_US
        if ours["stopped"] is not None:
            yield "stopped", ours["stopped"], GOAL_STOPPED, False, "%", "the target's time"
            yield "memory", ours["rss"], GOAL_RSS, False, "MB", "RSS"

    def summary(self):
        """The goals, one line each."""
        lines = ["%-42s %-9s %9s %10s  %s" % ("", "figure", "is", "goal", "of")]
        for row in self.rows:
            for figure, value, goal, least, unit, of in self.goals(row):
                wanted = "%s %s %s" % ("≥" if least else "≤", number(goal), unit)
                met = value >= goal if least else value <= goal
                cells = (name_of(row), figure, "%s %s" % (number(value), unit), wanted, of, "" if met else "   missed")
                lines.append("%-42s %-9s %9s %10s  %s%s" % cells)
        return lines + [""]

    def first(self):
        """The time to the first sample."""
        names = sorted({python for python, _ in self.bench.first}, key=[row.python for row in self.rows].index)
        if not names:
            return []
        lines = ["ms from start to end of one look (goal ≤ %d)" % GOAL_FIRST_MS]
        lines.append("  %-12s" % "" + "".join("%13s" % tool for tool in self.names))
        for python in names:
            figures = [number(self.bench.first.get((python, tool))) for tool in self.names]
            lines.append("  %-12s" % python + "".join("%13s" % figure for figure in figures))
        return lines + [""]

    def because(self):
        """Why there is a – above."""
        return ["%s  %s: %s" % (NONE, what, why) for what, why in self.bench.reasons.items()]

    def as_json(self):
        rows = []
        for row in self.rows:
            cells = {
                tool: self.bench.cells[row, tool].as_json() for tool in self.names if (row, tool) in self.bench.cells
            }
            rows.append(
                {**row._asdict(), "tools": cells, "floor": self.bench.floors.get(row), "ratios": self.ratios(row)}
            )
        first = [{"python": python, "tool": tool, "ms": ms} for (python, tool), ms in self.bench.first.items()]
        return {"rows": rows, "first_sample": first, "reasons": dict(self.bench.reasons)}
