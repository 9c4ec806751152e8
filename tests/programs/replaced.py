# A table of records of which one after the other is replaced, as fast as can be: whenever one looks there are as many as at
# any other time, or one more that is about to take its place. It says first how many blocks too large for a pool it has, which
# do not change any more: "large N", or "large" where it cannot say. On SIGUSR1 it says "alive".
import os
import signal
import sys


class Record(object):
    def __init__(self, n):
        self.n = n + 0.5
        self.name = "record %d" % n


class Node(object):
    __slots__ = ("next",)


def large():
    if not hasattr(sys, "_debugmallocstats"):
        return ""
    ours, theirs = os.pipe()
    kept = os.dup(2)
    os.dup2(theirs, 2)
    sys._debugmallocstats()
    blocks = sys.getallocatedblocks()
    os.dup2(kept, 2)
    rows = [line.split() for line in os.read(ours, 1 << 16).splitlines()]
    small = sum(int(row[3]) for row in rows if len(row) == 5 and all(word.isdigit() for word in row))
    return blocks - small


SLOTS = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
records = [Record(n) for n in range(SLOTS)]
nodes = [Node() for n in range(SLOTS)]
room = b"x" * (int(sys.argv[2]) << 20) if len(sys.argv) > 2 else b""
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"alive\n"))
os.write(1, ("ready\nlarge %s\n" % large()).encode())
while True:
    for n in range(SLOTS):
        records[n] = Record(n)
        nodes[n] = Node()
