"""What a report has to show, for ever: two threads that work by turns, one that sleeps, exceptions, collections of garbage, and a heap
that fills up and empties again, but never quite.

Once a second it makes much garbage that refers to itself, so that a heat map has a level line.
"""
import json
import sys
import threading
import time


class Node(object):
    def __init__(self):
        self.itself = self


def parse(number):
    return json.loads(json.dumps({"number": number, "squares": [step * step for step in range(200)]}))


def price(order):
    total = 0
    for square in order["squares"]:
        total += square % 7
    return total


def refuse(number):
    try:
        return {}[number]
    except KeyError:
        return price(parse(number))


def serve():
    number = 0
    while True:
        number += 1
        price(parse(number))
        if number % 5 == 0:
            refuse(number)


def litter():
    while True:
        for _ in range(30000):
            Node()
        time.sleep(0.3)


def hoard():
    kept = []
    while True:
        pieces = [bytes(bytearray(400)) for _ in range(20000)]
        kept.append([Node() for _ in range(2000)])
        time.sleep(0.6)
        del pieces
        time.sleep(0.5)


def idle():
    while True:
        time.sleep(60)


for job in (serve, litter, hoard, idle):
    thread = threading.Thread(target=job, name=job.__name__)
    thread.daemon = True
    thread.start()
print("ready")
sys.stdout.flush()
sys.stdin.readline()
