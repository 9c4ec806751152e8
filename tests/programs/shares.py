"""Spends about 70, 20 and 10 % of its time in three functions, and says what it really spent when it is asked.

Each line on standard input is answered by the nanoseconds spent in each function so far.
"""
import select
import sys
import time

clock = getattr(time, "perf_counter", time.time)


def much(seconds):
    end = clock() + seconds
    total = 0
    while clock() < end:
        for step in range(50):
            total += step
    return total


def some(seconds):
    end = clock() + seconds
    total = 0
    while clock() < end:
        for step in range(50):
            total += step
    return total


def little(seconds):
    end = clock() + seconds
    total = 0
    while clock() < end:
        for step in range(50):
            total += step
    return total


def main():
    spent = {"much": 0.0, "some": 0.0, "little": 0.0}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for function, seconds in ((much, 0.007), (some, 0.002), (little, 0.001)):
            began = clock()
            function(seconds)
            spent[function.__name__] += clock() - began
        if select.select([sys.stdin], [], [], 0)[0]:
            if not sys.stdin.readline():
                return
            sys.stdout.write(" ".join("%d" % (spent[name] * 1e9) for name in ("much", "some", "little")) + "\n")
            sys.stdout.flush()


main()
