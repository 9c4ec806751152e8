"""Starts threads that live for some milliseconds, all the time: each bears the name of the function that it runs, and most get the
`pthread_t` of one that has ended.
"""
import os
import sys
import threading
import time


def hare(end):
    while time.time() < end:
        pass


def tortoise(end):
    while time.time() < end:
        pass


sys.stdout.write("ready\n")
sys.stdout.flush()
parent = os.getppid()
while os.getppid() == parent:
    for work in (hare, tortoise):
        thread = threading.Thread(target=work, args=(time.time() + 0.03,), name=work.__name__)
        thread.start()
        thread.join()
