# Objects whose threads run, are gone, or have others free what they made: 5,000 Kept of a thread that is gone, 5,000 of one that
# waits, and 4,000 Freed of that one which the main thread gave back. It has blocks of every size. Each line that it reads is
# answered by "blocks N".
import gc
import os
import sys
import threading


class Kept(object):
    __slots__ = ("number",)


class Freed(object):
    __slots__ = ("number",)


class Gone(object):
    __slots__ = ("number",)


def leave():
    left.extend(Kept() for _ in range(5000))
    left.extend([Gone() for _ in range(3000)][::1000])


def stay():
    kept = [Kept() for _ in range(5000)]
    made.extend(Freed() for _ in range(4000))
    there.set()
    taken.wait()
    del made[:]
    given.set()
    threading.Event().wait()
    del kept


left, made = [], []
there, taken, given = threading.Event(), threading.Event(), threading.Event()
gc.collect()
gc.disable()
first = threading.Thread(target=leave)
first.start()
first.join()
second = threading.Thread(target=stay)
second.daemon = True
second.start()
there.wait()
took = list(made)
taken.set()
given.wait()
del took[:]
blocks = [b"x" * n for n in (600, 9000, 100000, 1 << 20, 40 << 20)]
blocks += [b"y" * (n << 20) for n in (1, 17)]
os.write(1, b"ready\n")
while os.read(0, 64):
    count = sys.getallocatedblocks() if hasattr(sys, "getallocatedblocks") else 0
    os.write(1, ("blocks %d\n" % count).encode())
