"""Runs a loop of known instructions for ever. Says `ready`, then what `dis` says is in it once it is specialised: a line number and
an instruction a line; the line and the instruction that take nearly all of the time; and `end`.
"""
import dis
import sys


class Box:
    def __init__(self):
        self.number = 3 ** 40000


def spin(box, times):
    total = 0
    for step in range(times):
        big = box.number
        total = big * big
    return total


def lines(code):
    line = None
    for instruction in dis.get_instructions(code, adaptive=True):
        where = getattr(instruction, "positions", None)
        line = where.lineno if where is not None and where.lineno else line
        yield line, instruction


box = Box()
spin(box, 200)
sys.stdout.write("ready\n")
for line, instruction in lines(spin.__code__):
    sys.stdout.write("%d %s\n" % (line, instruction.opname))
    if instruction.opname.startswith("BINARY_OP"):
        slow = (line, instruction.opname)
sys.stdout.write("slow %d %s\nend\n" % slow)
sys.stdout.flush()
while True:
    spin(box, 100000)
