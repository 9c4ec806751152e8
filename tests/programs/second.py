"""One busy thread, and beside it a second one from the moment on at which a line comes in: says "there" then.

Written for Python 2.7 and for all of Python 3.
"""
import select
import sys
import threading

gate = threading.Lock()
gate.acquire()
sys.stdout.write('ready\n')
sys.stdout.flush()
while True:
    for _ in range(1000):
        pass
    if select.select([sys.stdin], [], [], 0)[0]:
        sys.stdin.readline()
        break
thread = threading.Thread(target=gate.acquire)
thread.daemon = True
thread.start()
sys.stdout.write('there\n')
sys.stdout.flush()
while True:
    pass
