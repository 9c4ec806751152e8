# Objects of three types: of Leak there are a thousand more each second, of Entry more and more up to a limit, and of Temp always as
# many, each of which is replaced all the time. A line that it reads is answered by how many there are of Leak, Entry and Temp.
import os
import select
import sys
import time

LIMIT = 3000
ALWAYS = 500


class Leak(object):
    __slots__ = ["a%d" % n for n in range(4)]


class Entry(object):
    __slots__ = ["a%d" % n for n in range(10)]


class Temp(object):
    __slots__ = ["a%d" % n for n in range(20)]


leaks, cache, temps = [], [], [None] * ALWAYS
began = time.time()
os.write(1, b"ready\n")
while True:
    seconds = time.time() - began
    leaks.extend(Leak() for _ in range(int(1000 * seconds) - len(leaks)))
    cache.extend(Entry() for _ in range(min(LIMIT, int(3000 * seconds)) - len(cache)))
    for n in range(ALWAYS):
        temps[n] = Temp()
    if select.select([0], [], [], 0.01)[0]:
        if not os.read(0, 64):
            break
        os.write(1, ("%d %d %d\n" % (len(leaks), len(cache), len(temps))).encode())
