"""Two generators and their consumers in turn: a generator runs under its own consumer's `for`, and nowhere else."""
import sys


def under_a(count):
    for number in range(count):
        yield number * number


def under_b(count):
    for number in range(count):
        yield number + number


def gen_a(count):
    for number in under_a(count):
        yield number + 1


def gen_b(count):
    for number in under_b(count):
        yield number + 2


def sum_a():
    total = 0
    for number in gen_a(20):
        total += number * 3 % 7
    return total


def sum_b():
    total = 0
    for number in gen_b(20):
        total += number * 5 % 7
    return total


def drive():
    while True:
        sum_a()
        sum_b()


sys.stdout.write("ready\n")
sys.stdout.flush()
drive()
