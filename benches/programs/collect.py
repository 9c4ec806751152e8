"""Makes garbage that only the collector frees, for ever: hundreds of collections a second, in all generations.

Runs on every Python from 2.7 on.
"""
import sys


class Node(object):
    pass


def make():
    node = Node()
    node.itself = node


def main():
    kept = [[number] for number in range(20000)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while kept:
        make()


main()
