"""Frames with 1800 locals, which do not fit into a usual chunk of the data stack: chunks are born and die at every call."""
import sys

# NAMES and NONES are replaced by 1800 names and as many values.
SOURCE = """
def wide_a(value):
    NAMES = NONES
    return inner_a(value)


def wide_b(value):
    NAMES = NONES
    return inner_b(value)
"""


def inner_a(value):
    for step in (1, 2, 3, 4, 5, 6, 7, 8):
        value += step
    return value


def inner_b(value):
    for step in (1, 2, 3, 4, 5, 6, 7, 8):
        value -= step
    return value


def step_a():
    return wide_a(1)


def step_b():
    return wide_b(2)


def drive():
    while True:
        step_a()
        step_b()


names = ", ".join("local_%d" % number for number in range(1800))
source = SOURCE.replace("NAMES", names).replace("NONES", "(None,) * 1800")
exec(compile(source, "wide.py", "exec"), globals())
sys.stdout.write("ready\n")
sys.stdout.flush()
drive()
