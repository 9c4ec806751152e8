"""Functions that are made, run once and thrown away, so that new code lands where old code lay.

The function `made_K_N` lies in the file `made_K_N.py` and is run by `host_K`: any other pair is a name out of a cache.
"""
import sys

SOURCE = """
def made_%d_%d():
    total = 0
    for step in range(300):
        total += step
    return total
"""


def host_0(made): return made()
def host_1(made): return made()
def host_2(made): return made()
def host_3(made): return made()
def host_4(made): return made()
def host_5(made): return made()
def host_6(made): return made()
def host_7(made): return made()


HOSTS = [host_0, host_1, host_2, host_3, host_4, host_5, host_6, host_7]


def drive():
    number = 0
    while True:
        number = (number + 1) % 1000
        kind = number % 8
        name = "made_%d_%d" % (kind, number)
        scope = {}
        exec(compile(SOURCE % (kind, number), name + ".py", "exec"), scope)
        HOSTS[kind](scope[name])


sys.stdout.write("ready\n")
sys.stdout.flush()
drive()
