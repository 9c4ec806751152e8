# Memory of known places, traced. Told "sites", it says what its own tracemalloc has of each of its lines that keep something, as
# `site LINE BYTES BLOCKS`, what that has in all, and "done".
import os
import sys
import tracemalloc

tracemalloc.start(5)


class Leaf(object):
    def __init__(self, n):
        self.n = n
        self.pad = bytes(bytearray(100))


def texts(kept):
    for n in range(20000):
        kept.append("%d text" % n)


def leaves(kept):
    for n in range(10000):
        kept.append(Leaf(n))


def large(kept):
    kept.extend([bytearray(100000) for _ in range(50)])


def say(line):
    os.write(1, (line + "\n").encode())


texts_kept, leaves_kept, large_kept = [], [], []
texts(texts_kept)
leaves(leaves_kept)
large(large_kept)
say("ready")
while os.read(0, 64).startswith(b"sites"):
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, __file__)])
    for site in snapshot.statistics("lineno"):
        if site.traceback[0].lineno in (12, 13, 17, 18, 22, 23, 27):
            say("site %d %d %d" % (site.traceback[0].lineno, site.size, site.count))
    del snapshot, site
    say("total %d" % tracemalloc.get_traced_memory()[0])
    say("done")
os._exit(0)
