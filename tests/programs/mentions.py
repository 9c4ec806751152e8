"""Says what its own instructions load and make, then rests in calls that stand in the source and in one that does not.

A line for each function: where its code object is, name, where each instruction is that loads a name, and where that name is; where
those are that make functions, and those that return.
"""
import argparse
import dis
import json
import opcode
import sys

LOADS = ("LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD", "LOAD_NAME", "LOAD_SUPER_ATTR")
MAKES = ("MAKE_FUNCTION", "MAKE_CLOSURE")
RETURNS = ("RETURN_VALUE", "RETURN_CONST")


def instructions(code):
    if hasattr(dis, "get_instructions"):
        for one in dis.get_instructions(code):
            yield one.offset, one.opname, one.argval
        return
    at, upper, code_bytes = 0, 0, bytearray(code.co_code)
    while at < len(code_bytes):
        name, start = opcode.opname[code_bytes[at]], at
        argument, at = None, at + 1
        if code_bytes[start] >= opcode.HAVE_ARGUMENT:
            argument, at = code_bytes[at] | code_bytes[at + 1] << 8 | upper, at + 2
        upper = argument << 16 if name == "EXTENDED_ARG" else 0
        yield start, name, code.co_names[argument] if code_bytes[start] in opcode.hasname else argument


def within(code):
    yield code
    for inner in code.co_consts:
        if hasattr(inner, "co_code"):
            for one in within(inner):
                yield one


def functions(module):
    for thing in list(vars(module).values()):
        for one in [thing] + list(vars(thing).values() if isinstance(thing, type) else ()):
            code = getattr(one, "__code__", None)
            if code is not None and code.co_filename == getattr(module, "__file__", "").replace(".pyc", ".py"):
                for inner in within(code):
                    yield inner


class Thing(object):
    def __init__(self, number):
        self.rest(number)

    def rest(self, number):
        by_another_name(
            wait, number
        )


def by_another_name(function, number):
    return function(number)


def wait(number):
    if number == 0:
        return None
    sys.stdout.write("rests\n")
    sys.stdout.flush()
    sys.stdin.readline()


def make(number):
    return Thing(number)


def main():
    for number in [0] * 200 + [1]:
        list(make(one) for one in [number])


parser = argparse.ArgumentParser(prog="none")
parser.add_argument("--number", type=int)
for _ in range(200):
    parser.parse_args(["--number", "7"])
    json.loads(json.dumps({"a": [1, 2, {"b": "c"}]}))
sys.stdout.write("ready\n")
for module in [argparse, json.decoder, json.encoder, sys.modules[__name__]]:
    for code in functions(module):
        loads = [(at, id(name)) for at, kind, name in instructions(code) if kind in LOADS]
        makes = [at for at, kind, _ in instructions(code) if kind in MAKES]
        returns = [at for at, kind, _ in instructions(code) if kind in RETURNS]
        sys.stdout.write(json.dumps([id(code), code.co_name, loads, makes, returns]) + "\n")
sys.stdout.write("done\n")
main()
