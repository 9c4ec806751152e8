"""One thread computes and holds the GIL, one waits; main waits for the end."""
import sys
import threading

gate = threading.Lock()
gate.acquire()
started = threading.Event()


def compute():
    started.set()
    n = 0
    while True:
        n += 1


def wait():
    gate.acquire()


for name, work in [("waits", wait), ("computes", compute)]:
    thread = threading.Thread(target=work, name=name)
    thread.daemon = True
    thread.start()
started.wait()
sys.stdout.write("ready\n")
sys.stdout.flush()
gate.acquire()
