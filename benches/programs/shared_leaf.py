"""One leaf under two callers under two callers, in turn: each caller only ever runs its own half of the leaf."""
import sys


def shared(left):
    total = 0
    if left:
        for step in (1, 2, 3, 4, 5, 6, 7, 8):
            total += step
        total = total * 2
    else:
        for step in (1, 2, 3, 4, 5, 6, 7, 8):
            total -= step
        total = total * 3
    return total


def inner_a():
    return shared(True) + 1


def inner_b():
    return shared(False) + 1


def outer_a():
    return inner_a() + 1


def outer_b():
    return inner_b() + 1


def drive():
    while True:
        outer_a()
        outer_b()


sys.stdout.write("ready\n")
sys.stdout.flush()
drive()
