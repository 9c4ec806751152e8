"""Goes down to a depth and comes back, all the time; no stack of it is deeper than 22 frames or ends elsewhere."""
import sys


def go_down(depth):
    if depth:
        go_down(depth - 1)


def main():
    while True:
        go_down(20)


sys.stdout.write("ready\n")
sys.stdout.flush()
main()
