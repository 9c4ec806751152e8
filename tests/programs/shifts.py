"""Four threads compute in turns, eight sleep and wake up, eight only wait."""
import sys
import threading
import time


def deep(depth):
    if depth:
        return deep(depth - 1) + 1
    return sum(range(20))


def compute():
    while True:
        for depth in range(30):
            deep(depth)


def nap():
    while True:
        time.sleep(0.0005)
        deep(3)


def wait():
    threading.Event().wait()


for target, number in ((compute, 4), (nap, 8), (wait, 8)):
    for _ in range(number):
        thread = threading.Thread(target=target)
        thread.daemon = True
        thread.start()
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
