"""Threads, generators, made functions and interpreters are born and die as fast as can be.

A function `made_N` is written in a file `made_N.py`, and nothing else is; `host_N` calls it. What is of this file is
called what is in this file.
"""
import os
import sys
import threading

try:
    import _interpreters as interpreters
except ImportError:
    try:
        import _xxsubinterpreters as interpreters
    except ImportError:
        interpreters = None

SOURCE = "def made_%d(depth):\n    return made_%d(depth - 1) + 1 if depth else sum(i for i in range(9))\n"


def make(number):
    names = {}
    exec(compile(SOURCE % (number, number), "made_%d.py" % number, "exec"), names)
    return names["made_%d" % number]


def functions():
    number = 0
    while True:
        number += 1
        make(number % 5000)(number % 7)


def under(count):
    for number in range(count):
        yield number


def over(count):
    for number in under(count):
        yield number + 1


def generators():
    while True:
        sum(over(10))
        next(over(3))


def brief():
    sum(over(5))


def threads():
    while True:
        born = [threading.Thread(target=brief) for _ in range(4)]
        for thread in born:
            thread.start()
        for thread in born:
            thread.join()


def worlds():
    while interpreters is not None:
        number = interpreters.create()
        interpreters.run_string(number, "sum(range(99))")
        interpreters.destroy(number)


for target in (functions, generators, threads, worlds):
    thread = threading.Thread(target=target)
    thread.daemon = True
    thread.start()
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
os._exit(0)
