"""Two pairs of functions in turn, a microsecond each: no leaf ever ran under the other's caller."""
import sys


def leaf_a():
    total = 0
    for step in (1, 2, 3, 4, 5, 6, 7, 8):
        total += step
    return total


def leaf_b():
    total = 0
    for step in (1, 2, 3, 4, 5, 6, 7, 8):
        total -= step
    return total


def hot_a():
    first = leaf_a()
    return first + 1


def hot_b():
    first = leaf_b()
    return first + 1


def drive():
    while True:
        hot_a()
        hot_b()


sys.stdout.write("ready\n")
sys.stdout.flush()
drive()
