"""A stack that stands still: THREADS threads, each DEPTH frames deep, WAITING of them asleep, the others busy for ever.

Runs on every Python from 2.7 on: work.py THREADS DEPTH WAITING. One thread is the main thread; otherwise the main
thread waits beside them.
"""
import sys
import threading


def spin():
    turns = 0
    while True:
        turns = turns + 1 & 0xFFFF


def descend(frames, leaf):
    if frames <= 1:
        leaf()
    else:
        descend(frames - 1, leaf)


def main(threads, depth, waiting):
    sys.setrecursionlimit(depth + 100)
    gate, never, there = threading.Event(), threading.Event(), threading.Semaphore(0)
    if threads == 1:
        say_ready()
        # This frame, that of the module and the leaf count too.
        descend(depth - 3, spin)

    def work():
        # All get to their depth before any is busy: to start many threads beside busy ones takes long.
        there.release()
        gate.wait()
        spin()

    def wait():
        there.release()
        never.wait()

    for number in range(threads):
        # Three frames of the threading module are below, and two above.
        leaf = wait if number < waiting else work
        thread = threading.Thread(target=descend, args=(max(depth - 5, 1), leaf))
        thread.daemon = True
        thread.start()
    for _ in range(threads):
        there.acquire()
    say_ready()
    gate.set()
    never.wait()


def say_ready():
    sys.stdout.write("ready\n")
    sys.stdout.flush()


main(*[int(word) for word in sys.argv[1:4]])
