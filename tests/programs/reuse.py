"""Makes a function, calls it and throws it away, all the time: addresses of code objects, names and tables come back for others.

Function number N is called `fN`, was written in file `/fN.py`, and calls on line 10 + N % 50.
"""
import sys


def step(number):
    source = "\n" * (8 + number % 50) + "def f%d():\n    leaf()\n" % number
    scope = {"leaf": leaf}
    exec(compile(source, "/f%d.py" % number, "exec"), scope)
    for _ in range(100):
        scope["f%d" % number]()


def leaf():
    for _ in range(50):
        pass


def main():
    number = 0
    while True:
        step(number)
        number = (number + 1) % 1000


sys.stdout.write("ready\n")
sys.stdout.flush()
main()
