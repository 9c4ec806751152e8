"""What profilers write, read into one shape: stacks from the root on, each with how often it was seen."""

import collections
import os
import re

# A frame. The name is the function's own, without its class; the file is the last part of its path.
Frame = collections.namedtuple("Frame", "name file line")

# What stands in a stack where a part of it is missing, and the tool says so.
TORN = Frame("<torn>", "", 0)
TORN_MARKS = {"<torn>", "<truncated>"}
# Frames that a tool adds and no program has.
ADDED = {"<GC>", "<gc>", "<native>"}
# The interpreter's own frame between a class that is called and its `__init__` (3.12 on), which some tools show.
INIT_CLEANUP = ("__init__", "__init__")


class Profile:
    """Stacks and how often each was seen; `errors` are samples that the tool itself gave up."""

    def __init__(self):
        self.stacks = collections.Counter()
        self.errors = 0
        self.facts = {}

    def add(self, frames, count):
        frames = tuple(frame for frame in frames if frame.name not in ADDED and frame[:2] != INIT_CLEANUP)
        if frames:
            self.stacks[frames] += count
        else:
            self.errors += count


def frame(name, path, line):
    if name in TORN_MARKS:
        return TORN
    if "<locals>" in name or not name.startswith("<"):
        name = name.rpartition(".")[2]
    return Frame(name, os.path.basename(path), int(line))


FOLDED_FRAME = re.compile(r"(?P<name>.*) \((?P<path>.*?)(:(?P<line>\d+))?\)")


def folded(text):
    """`name (file:line);… COUNT`: pitviper's folded stacks and py-spy's raw ones."""
    profile = Profile()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = []
        for part in stack.split(";"):
            found = FOLDED_FRAME.fullmatch(part)
            frames.append(frame(found["name"], found["path"], found["line"] or 0) if found else frame(part, "", 0))
        profile.add(frames, int(count))
    return profile


COLLAPSED_FRAME = re.compile(r"(?P<path>.*):(?P<name>[^:]*):(?P<line>-?\d+)")


def collapsed(text):
    """`tid:N;file:function:line;… COUNT`: Tachyon's collapsed stacks."""
    profile = Profile()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = []
        for part in stack.split(";")[1:]:
            found = COLLAPSED_FRAME.fullmatch(part)
            frames.append(frame(found["name"], found["path"], found["line"]) if found else frame(part, "", 0))
        profile.add(frames, int(count))
    return profile


class Cut(Exception):
    """The file ends within an event, as it does when its writer was stopped."""


class Mojo:
    """A reader of austin's binary format, by its description at p403n1x87.github.io/austin."""

    MAGIC = b"MOJ"
    METADATA, STACK, FRAME, INVALID, REFERENCE, KERNEL, GC, IDLE, TIME, MEMORY, STRING, STRING_REFERENCE = range(1, 13)

    def __init__(self, data):
        self.data, self.at = data, 0
        self.strings, self.frames = {0: "", 1: "<unknown>"}, {}
        self.profile = Profile()
        self.thread, self.stack, self.bad = None, None, False
        self.threads = collections.Counter()

    def number(self):
        try:
            byte = self.data[self.at]
            self.at += 1
            value, shift, negative = byte & 0x3F, 6, byte & 0x40
            while byte & 0x80:
                byte = self.data[self.at]
                self.at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
            return -value if negative else value
        except IndexError:
            raise Cut

    def text(self):
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise Cut
        text = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return text

    def close(self):
        """Puts down the stack that was under way."""
        if self.stack is not None:
            self.threads[self.thread] += 1
            if self.bad:
                self.profile.errors += 1
            else:
                self.profile.add(self.stack, 1)
        self.stack = None

    def read(self):
        if not self.data.startswith(self.MAGIC):
            raise ValueError("not a MOJO file")
        self.at = len(self.MAGIC)
        self.version = self.number()
        try:
            while self.at < len(self.data):
                self.event()
        except Cut:
            self.stack = None
        self.close()
        self.profile.facts["threads"] = len(self.threads)
        self.profile.facts["rounds"] = max(self.threads.values(), default=0)
        return self.profile

    def event(self):
        kind = self.data[self.at]
        self.at += 1
        if kind == self.METADATA:
            key = self.text()
            self.profile.facts[key] = self.text()
        elif kind == self.STACK:
            self.close()
            process = self.number()
            interpreter = self.number() if self.version >= 3 else 0
            self.thread = (process, interpreter, self.text())
            self.stack, self.bad = [], False
        elif kind == self.FRAME:
            key, path, name, line = [self.number() for _ in range(4)]
            if self.version >= 2:
                for _ in range(3):
                    self.number()
            self.frames[key] = frame(self.strings.get(name, "?"), self.strings.get(path, "?"), line)
        elif kind == self.REFERENCE:
            found = self.frames.get(self.number())
            self.bad = self.bad or found is None or self.stack is None
            if not self.bad:
                self.stack.append(found)
        elif kind == self.INVALID:
            self.bad = True
        elif kind == self.KERNEL:
            self.text()
        elif kind in (self.TIME, self.MEMORY):
            self.number()
        elif kind == self.STRING:
            key = self.number()
            self.strings[key] = self.text()
        elif kind == self.STRING_REFERENCE:
            self.number()
        elif kind not in (self.GC, self.IDLE):
            raise ValueError("event %d at byte %d is none that we know" % (kind, self.at - 1))


def mojo(data):
    """austin's binary format."""
    return Mojo(data).read()
