# Phases of a millisecond on a processor or so, one after the other until its input ends: three that keep memory, about as much each,
# one that throws away all that it makes, and one that makes nothing.
import gc
import os
import sys
import threading

gc.disable()
over = threading.Event()
KEPT = []


class Item(object):
    __slots__ = ("a", "b")


def lists(kept):
    for n in range(2000, 2200):
        kept.append([n])
        sum(range(150))


def texts(kept):
    for n in range(300):
        kept.append("%d" % (10000 + n))
        sum(range(100))


def items(kept):
    for n in range(450):
        kept.append(Item())
        sum(range(60))


def churn():
    for n in range(450):
        [n, [n]]
        sum(range(60))


def compute():
    total = 0
    for n in range(200):
        total += sum(range(150))
    return total


def wait():
    os.read(0, 1)
    over.set()


threading.Thread(target=wait).start()
os.write(1, b"ready\n")
while not over.is_set():
    lists(KEPT)
    churn()
    texts(KEPT)
    compute()
    items(KEPT)
