"""Which stacks a program can have: its own source says who calls whom on which line, and a rule or two add the rest.

A frame may stand on another where the source has a call of it on the line that the lower one is on. Whatever breaks
that never existed, whichever tool reports it.
"""

import ast
import re

from .formats import TORN

WHOLE, PARTIAL, IMPOSSIBLE, OTHER = "whole", "partial", "impossible", "other"
# The lowest frames of threads that the threading module started; the judged thread is always the main one.
THREAD_ROOTS = {"_bootstrap", "__bootstrap", "_bootstrap_inner", "__bootstrap_inner"}
COMPREHENSIONS = {
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}


class Judge:
    """Judges the stacks of one program."""

    def __init__(self, path):
        self.file = path.name
        # (file, function) → its lines; (file, caller, callee) → the lines of the calls.
        self.lines, self.calls = {}, {}
        self.classes = set()
        tree = ast.parse(path.read_text())
        self.learn(self.file, tree)
        for node in tree.body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "SOURCE" and self.generated:
                self.learn(self.generated, ast.parse(node.value.value))
        self.files = {file for file, _ in self.lines}

    # The file name under which the program compiles its SOURCE.
    generated = None

    def learn(self, file, tree):
        self.classes |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self.define(file, "<module>", tree.body, 1, max(node.end_lineno for node in tree.body))

    def define(self, file, name, body, first, last):
        """Takes in a function, and those within it."""
        self.lines.setdefault((file, name), set()).update(range(first, last + 1))
        pending = list(body)
        while pending:
            node = pending.pop()
            if isinstance(node, ast.FunctionDef):
                self.define(file, node.name, node.body, node.lineno, node.end_lineno)
                continue
            if isinstance(node, ast.Call):
                callee = getattr(node.func, "id", getattr(node.func, "attr", None))
                self.call(file, name, "__init__" if callee in self.classes else callee, node)
            if type(node) in COMPREHENSIONS:
                # It has a frame of its own, or none from 3.12 on: its calls count as its function's too.
                inner = COMPREHENSIONS[type(node)]
                self.call(file, name, inner, node)
                self.define(file, inner, ast.iter_child_nodes(node), node.lineno, node.end_lineno)
            pending.extend(ast.iter_child_nodes(node))

    def call(self, file, caller, callee, node):
        lines = self.calls.setdefault((file, caller, callee), set())
        lines.update(range(node.lineno, node.end_lineno + 1))

    def judge(self, stack):
        """One of the four verdicts, and why a stack is impossible."""
        if stack[0].name in THREAD_ROOTS:
            return OTHER, ""
        parts, part = [], []
        for frame in stack:
            if frame == TORN:
                parts.append(part)
                part = []
            else:
                part.append(frame)
        parts.append(part)
        if parts[0] and parts[0][0][:2] != ("<module>", self.file):
            return IMPOSSIBLE, "no base"
        for part in filter(None, parts):
            for caller, callee in zip(part, part[1:]):
                if not self.follows(caller, callee):
                    return IMPOSSIBLE, "%s:%d → %s" % (caller.name, caller.line, callee.name)
            if not self.within(part[-1]):
                return IMPOSSIBLE, "%s is not on line %d" % (part[-1].name, part[-1].line)
        torn = len(parts) > 1
        wrong = self.wrong(parts[0], torn)
        return (IMPOSSIBLE, wrong) if wrong else (PARTIAL if torn else WHOLE, "")

    def within(self, frame):
        lines = self.lines.get((frame.file, frame.name), ())
        return self.foreign(frame) or frame.line in lines or bool(lines) and unknown(frame)

    def foreign(self, frame):
        return frame.file not in self.files

    def follows(self, caller, callee):
        """Whether `callee` can stand on `caller`."""
        if self.foreign(callee):
            return self.within(caller)
        if self.foreign(caller):
            return False
        return self.calls_it(caller, callee)

    def calls_it(self, caller, callee):
        lines = self.calls.get((caller.file, caller.name, callee.name), ())
        return caller.line in lines or bool(lines) and unknown(caller)

    def wrong(self, stack, torn):
        """What else is wrong with a stack whose every step is right; `torn` ones go on where we cannot see."""
        return ""

    def key(self, stack):
        """What of a stack counts where distributions are compared: its functions."""
        return tuple(frame.name for frame in stack)


class SharedLeaf(Judge):
    """The halves of the leaf belong to one caller each."""

    def __init__(self, path):
        super().__init__(path)
        branch = next(node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.If))
        span = lambda body: set(range(body[0].lineno, body[-1].end_lineno + 1))
        self.halves = {"inner_a": span(branch.orelse), "inner_b": span(branch.body)}

    def wrong(self, stack, torn):
        for caller, callee in zip(stack, stack[1:]):
            if callee.name == "shared" and callee.line in self.halves[caller.name]:
                return "%s runs the other's half of the leaf" % caller.name
        return ""


class DeepRecursion(Judge):
    """A leaf has exactly so many frames of its recursion below."""

    DEPTH = 300

    def wrong(self, stack, torn):
        deep = sum(frame.name.startswith("down_") for frame in stack)
        at_leaf = bool(stack) and stack[-1].name.startswith("bottom_")
        if deep > self.DEPTH or at_leaf and deep != self.DEPTH:
            return "%d frames of the recursion under %s" % (deep, stack[-1].name)
        return ""

    def key(self, stack):
        # Six hundred depths would need a hundred times as many samples: twenty depths count as one.
        kinds = [frame.name for frame in stack if not frame.name.startswith("down_")]
        deep = [frame.name for frame in stack if frame.name.startswith("down_")]
        return (*kinds, *deep[:1], len(deep) // 20)


class OversizedChunk(Judge):
    generated = "wide.py"

    def follows(self, caller, callee):
        # What the source of the program calls lies in the generated file, and the other way round.
        if self.foreign(caller) or self.foreign(callee):
            return False
        return self.calls_it(caller, callee) and (callee.file, callee.name) in self.lines


class CodeObjectReuse(Judge):
    """A made function lies in the file of its name, and its own host runs it."""

    MADE = re.compile(r"made_(\d+)_(\d+)")
    MADE_LINES = range(1, 7)

    def foreign(self, frame):
        return super().foreign(frame) and not self.MADE.match(frame.file)

    def within(self, frame):
        if self.MADE.match(frame.file):
            named = frame.name == "<module>" or frame.name + ".py" == frame.file
            return named and (frame.line in self.MADE_LINES or unknown(frame))
        return super().within(frame)

    def follows(self, caller, callee):
        made = self.MADE.fullmatch(callee.name)
        if made:
            return self.within(callee) and self.within(caller) and caller.name == "host_" + made.group(1)
        if callee.name.startswith("host_") or self.MADE.match(callee.file):
            return caller.name == "drive" and self.within(caller) and self.within(callee)
        return super().follows(caller, callee)

    def key(self, stack):
        return tuple(frame.name.partition("_")[0] for frame in stack)


def unknown(frame):
    """Whether a tool says that it could not tell the line: that is no lie."""
    return frame.line <= 0


KINDS = {
    "call_churn": Judge,
    "flat_alternating": Judge,
    "shared_leaf": SharedLeaf,
    "gen_alternating": Judge,
    "deep_recursion": DeepRecursion,
    "code_object_reuse": CodeObjectReuse,
    "oversized_chunk": OversizedChunk,
    "shop": Judge,
}
PROGRAMS = list(KINDS)


def find(name, benches):
    """The path of a program."""
    realistic = benches.parent / "tests" / "programs"
    return (realistic if name == "shop" else benches / "programs") / (name + ".py")


def judge_of(name, benches):
    """The judge of a program."""
    return KINDS[name](find(name, benches))


def share_out(judge, profile):
    """Verdicts counted, the reasons of the impossible ones, and the distribution of what is not."""
    verdicts = dict.fromkeys((WHOLE, PARTIAL, IMPOSSIBLE, OTHER), 0)
    reasons, kept = {}, {}
    for stack, count in profile.stacks.items():
        verdict, reason = judge.judge(stack)
        verdicts[verdict] += count
        if verdict == IMPOSSIBLE:
            reasons[reason] = reasons.get(reason, 0) + count
        if verdict != OTHER:
            key = judge.key(stack)
            kept[key] = kept.get(key, 0) + count
    return verdicts, reasons, kept


def distance(one, other):
    """The total-variation distance of two distributions that are given as counts: 0 is equal, 1 is disjoint."""
    total_one, total_other = sum(one.values()), sum(other.values())
    if not total_one or not total_other:
        return None
    keys = set(one) | set(other)
    return sum(abs(one.get(key, 0) / total_one - other.get(key, 0) / total_other) for key in keys) / 2
