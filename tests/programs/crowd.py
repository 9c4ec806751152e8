"""Two hundred threads that wait most of the time, each replaced after a while; three that work."""
import sys
import threading
import time

CROWD = 200
LIFE = 20.0


def sip(seconds):
    time.sleep(seconds)


def guest(number):
    end = time.time() + LIFE * (0.5 + number % 100 / 100.0)
    while time.time() < end:
        sip(0.25)
    welcome(number)


def welcome(number):
    thread = threading.Thread(target=guest, args=(number,), name="guest-%d" % number)
    thread.daemon = True
    thread.start()


def work(depth):
    if depth > 0:
        return work(depth - 1)
    return sum(n * n for n in range(2000))


def busy(number):
    while True:
        for depth in range(20):
            work(depth + number)
        time.sleep(0.01)


for number in range(CROWD):
    welcome(number)
for number in range(3):
    thread = threading.Thread(target=busy, args=(number,), name="busy-%d" % number)
    thread.daemon = True
    thread.start()
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.read()
