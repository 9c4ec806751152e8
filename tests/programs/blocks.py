# A heap with holes in it: every size class, full, half-empty and emptied pools. Each line that it reads is answered by what
# the allocator says of itself, by "blocks N", and by "done". "more" makes 10,000 tuples first, and says their size.
import gc
import os
import sys


def hole():
    kept = [b"x" * n for n in range(480) for _ in range(40)]
    doomed = [str(n) for n in range(60000)]
    del doomed, kept[::3]
    return kept


def answer(kept, more):
    while True:
        asked = os.read(0, 64)
        if not asked:
            return
        if asked.startswith(b"more"):
            for n in range(10000):
                more[n] = tuple([None] * 25)
            os.write(1, ("size %d\n" % sys.getsizeof(more[0])).encode())
        if hasattr(sys, "_debugmallocstats"):
            sys._debugmallocstats()
            os.write(1, ("blocks %d\n" % sys.getallocatedblocks()).encode())
        os.write(1, b"done\n")


gc.collect()
gc.disable()
os.dup2(1, 2)
made = hole()
os.write(1, b"ready\n")
answer(made, [None] * 10000)
