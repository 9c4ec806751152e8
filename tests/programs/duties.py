"""Threads that share their time in a known way, each noting what it used: a name, and pairs of wall-clock time and CPU time.

Written for Python 2.7 and for all of Python 3. Prints the notes as JSON when a line comes in.
"""
import ctypes
import json
import sys
import threading
import time
import zlib

ROLES = []  # filled in by whoever starts it
CLOCK_THREAD_CPUTIME_ID = 3
notes = {}


class Timespec(ctypes.Structure):
    _fields_ = [('seconds', ctypes.c_long), ('nanoseconds', ctypes.c_long)]


if hasattr(time, 'thread_time'):
    cpu_time = time.thread_time
else:
    libc = ctypes.CDLL(None)

    def cpu_time():
        now = Timespec()
        libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, ctypes.byref(now))
        return now.seconds + now.nanoseconds / 1e9


def note(name):
    notes.setdefault(name, []).append((time.time(), cpu_time()))


def duty(name):
    """Uses 30 % of a core, as far as it gets that."""
    while True:
        note(name)
        until = cpu_time() + 0.006
        while cpu_time() < until:
            pass
        time.sleep(0.014)


def sleep(name):
    note(name)
    while True:
        time.sleep(600)


def crunch(name):
    """Computes in C, without the GIL but for moments: some 150 ms at a time, however fast the machine is.

    It may wait up to 6 ms for the GIL in between, and falls into step with who works every 20 ms.
    """
    block = b'x' * (4 << 20)
    began = cpu_time()
    zlib.compress(block, 1)
    block *= int(0.15 / max(cpu_time() - began, 0.0005)) + 1
    while True:
        note(name)
        zlib.compress(block, 1)


def spin(name):
    """Computes in Python."""
    while True:
        note(name)
        for _ in range(20000):
            pass


kinds = {'duty': duty, 'sleep': sleep, 'crunch': crunch, 'spin': spin}
for role in ROLES:
    thread = threading.Thread(target=kinds[role.split('-')[0]], args=(role,), name=role)
    thread.daemon = True
    thread.start()
while len(notes) < len(ROLES):
    time.sleep(0.001)
sys.stdout.write('ready\n')
sys.stdout.flush()
sys.stdin.readline()
before = dict((name, len(notes[name])) for name in ROLES if name != 'sleep')
while any(len(notes[name]) == count for name, count in before.items()):
    time.sleep(0.001)
sys.stdout.write(json.dumps(notes) + '\n')
sys.stdout.flush()
