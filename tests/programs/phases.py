# Phases of a millisecond on a processor or so, one after the other until its input ends: three that keep memory, about as much each,
# one that throws away all that it makes, and one that makes nothing.
import gc
import os
import sys
import threading
import time

gc.disable()
over = threading.Event()
KEPT = []
clock = getattr(time, "perf_counter", time.time)
# How often more each phase does what it does, on a faster machine. What they throw away on the way is larger than 512 bytes on Python 2:
# else a pool would come and go with it, and no glance at the pools would hold still.
times = 1


class Item(object):
    __slots__ = ("a", "b")


def lists(kept):
    for n in range(2000, 2000 + 200 * times):
        kept.append([n])
        sum(range(150))


def texts(kept):
    for n in range(300 * times):
        kept.append("%d" % (10000 + n))
        sum(range(100))


def items(kept):
    for n in range(450 * times):
        kept.append(Item())
        sum(range(70))


def churn():
    for n in range(450 * times):
        [n, [n]]
        sum(range(70))


def compute():
    total = 0
    for n in range(200 * times):
        total += sum(range(150))
    return total


def wait():
    os.read(0, 1)
    over.set()


def took():
    began = clock()
    compute()
    return clock() - began


times = max(1, int(round(0.001 / min(took() for _ in range(50)))))
threading.Thread(target=wait).start()
os.write(1, b"ready\n")
while not over.is_set():
    lists(KEPT)
    churn()
    texts(KEPT)
    compute()
    items(KEPT)
