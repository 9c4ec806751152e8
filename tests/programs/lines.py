"""Says where every instruction of its own standard library was written, as its interpreter itself sees it.

After `ready` it prints a line of JSON for each code object: first line, line table in hex, length of the code in bytes, and the
ranges of code from [offset, line, end line, column, end column] on to the next.
"""
import binascii
import dis
import glob
import json
import os
import sys

FILES = 12
ODD = "x = [\n  1,\n\n\n" + "\n" * 500 + "  f(\n" + "\n" * 300 + "),\n" + "y" * 300 + "(" + " " * 900 + "z)]\n" + "\n" * 70000 + "\nlast = 1\n"


def ranges(code):
    if hasattr(code, "co_positions"):
        return [[2 * n] + list(place) for n, place in enumerate(code.co_positions())]
    if hasattr(code, "co_lines"):
        return [[start, line] for start, end, line in code.co_lines() if start != end]
    return [list(pair) for pair in dis.findlinestarts(code)]


def tell(code):
    known = []
    for place in ranges(code):
        place += [None] * (5 - len(place))
        if not known or known[-1][1:] != place[1:]:
            known.append(place)
    table = getattr(code, "co_linetable", None)
    if table is None:
        table = code.co_lnotab
    table = binascii.hexlify(table).decode("ascii")
    sys.stdout.write(json.dumps([code.co_firstlineno, table, len(code.co_code), known]) + "\n")
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            tell(constant)


sys.stdout.write("ready\n")
tell(compile(ODD, "odd", "exec"))
for name in sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "*.py")))[:FILES]:
    with open(name, "rb") as file:
        try:
            code = compile(file.read(), name, "exec")
        except (SyntaxError, ValueError):
            continue
    tell(code)
sys.stdout.write("done\n")
sys.stdout.flush()
sys.stdin.read()
