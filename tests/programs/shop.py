"""A small realistic program: orders come in as JSON, are checked, priced, indexed and summed up, for ever.

Runs on every Python from 2.7 on. With a number as its argument it stops after so many rounds.
"""
import json
import re
import sys
import threading

NAMES = ["anaconda", "boa", "cobra", "mamba", "pitviper", "python", "rattler", "taipan"]
WORD = re.compile(r"[a-z]+")


class Order(object):
    def __init__(self, number, name, amount, note):
        self.number = number
        self.name = name
        self.amount = amount
        self.note = note

    def price(self):
        return self.amount * (3 + len(self.name)) - discount(self.amount)


def discount(amount):
    total = 0
    for step in range(amount % 40):
        total += step * step % 7
    return total


def feed(rounds):
    number = 0
    for _ in range(rounds):
        number += 1
        note = " ".join(NAMES[(number + k * k) % len(NAMES)] for k in range(12))
        yield json.dumps({"number": number, "name": NAMES[number % len(NAMES)], "amount": number % 97, "note": note})


def parse(line):
    data = json.loads(line)
    return Order(data["number"], data["name"], data["amount"], data["note"])


def check(order):
    words = WORD.findall(order.note)
    return [word for word in words if word in NAMES]


class Index(object):
    def __init__(self):
        self.by_word = {}

    def add(self, order, words):
        for word in words:
            found = self.by_word.setdefault(word, [])
            found.append(order.number)
            if len(found) > 500:
                del found[:250]


def report(index):
    return sorted((len(numbers), word) for word, numbers in index.by_word.items())


def work(rounds):
    index, income = Index(), 0
    for line in feed(rounds):
        order = parse(line)
        index.add(order, check(order))
        income += order.price()
        if order.number % 100 == 0:
            report(index)
    return income


def wait_for_orders(done):
    done.wait()


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else sys.maxsize
    done = threading.Event()
    waiter = threading.Thread(target=wait_for_orders, args=(done,), name="waiter")
    waiter.daemon = True
    waiter.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        if rounds == sys.maxsize:
            while True:
                work(100000)
        else:
            work(rounds)
    except KeyboardInterrupt:
        pass
    done.set()


if __name__ == "__main__":
    main()
