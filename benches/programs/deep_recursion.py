"""Two recursions of 300 frames in turn, each with a leaf of its own: a leaf has exactly 300 frames of its own kind below."""
import sys

DEPTH = 300


def bottom_a():
    total = 0
    for step in range(200):
        total += step
    return total


def bottom_b():
    total = 0
    for step in range(200):
        total -= step
    return total


def down_a(left):
    if left > 1:
        return down_a(left - 1)
    return bottom_a()


def down_b(left):
    if left > 1:
        return down_b(left - 1)
    return bottom_b()


def drive():
    while True:
        down_a(DEPTH)
        down_b(DEPTH)


sys.setrecursionlimit(DEPTH + 100)
sys.stdout.write("ready\n")
sys.stdout.flush()
drive()
