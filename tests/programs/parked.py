# -*- coding: utf-8 -*-
"""Parks a thread in every kind of frame, and says what it knows of its own stacks whenever a line comes in.

Written for Python 2.7 and for all of Python 3; what one of them cannot parse stands in a string and is compiled where it can.
Each answer is one line of JSON: `threads`, by their names, with `ident`, `native` (3.8 and later) and `frames`, innermost first:
name, qualname, file, line, and the three other parts of the position (3.11 and later). What is no character is U+FFFD. The
clerk's own leaf is where it asks, not where it waits.
"""
import functools
import json
import os
import sys
import threading

NEW = sys.version_info >= (3,)
ONLY = None  # or the names of the cases that are wanted
gate = threading.Lock()
gate.acquire()


def park():
    gate.acquire()


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def recursion(n=300):
    if n:
        return recursion(n - 1)
    park()


def nested():
    def inner():
        def innermost():
            return park()
        return innermost()
    return inner()


class Methods(object):
    def method(self):
        return self.class_method()

    @classmethod
    def class_method(cls):
        return cls.static_method()

    @staticmethod
    def static_method():
        return Methods().prop

    @property
    def prop(self):
        return self.anything

    def __getattr__(self, name):
        return self[name]

    def __getitem__(self, name):
        with self:
            return 1

    def __enter__(self):
        return self(1, key=2)

    def __exit__(self, *error):
        pass

    @decorated
    def __call__(self, *args, **kwargs):
        return park()


def lambdas():
    return (lambda f: (lambda: f())())(lambda: park())


def generator():
    try:
        yield 1
        yield park()
    finally:
        pass


def generators():
    def pipe(source):
        for item in source:
            yield item
    for _ in pipe(pipe(generator())):
        pass


def comprehensions():
    return [[k for k in dict((i, park()) for i in (1,))] for _ in {1}]


def sorting():
    return sorted([2, 1], key=lambda n: park())


def class_body():
    class Parked(object):
        class Inner(object):
            here = park()


def handling():
    try:
        raise ValueError("in vain")
    except ValueError:
        try:
            park()
        finally:
            pass


def backwards():
    return max(
        1,
        len(
            [
                1
            ]
        ),
        park(
        ) or 2,
    )


def partial():
    return functools.partial(functools.reduce, lambda a, b: park())([1, 2])


CASES = [
    ("recursion", recursion), ("nested", nested), ("methods", lambda: Methods().method()), ("lambdas", lambdas),
    ("generators", generators), ("comprehensions", comprehensions), ("sorting", sorting), ("class body", class_body),
    ("handling", handling), ("backwards", backwards), ("partial", partial), (u"w\xf6rker", nested),
    (u"\u043f\u043e\u0442\u043e\u043a", nested), (u"\U00020000 thread", nested), ("n" * 200, nested),
]


def add(name, source, filename="<string>", function="case"):
    if not NEW and not isinstance(filename, str):
        filename = filename.encode("utf-8")
    scope = {"park": park, "functools": functools, "__name__": "cases"}
    exec(compile(source, filename, "exec"), scope)
    CASES.append((name, scope[function]))


SIMPLE = "def case():\n    return park()\n"
add("latin-1 file", SIMPLE, u"/tmp/na\xefve.py")
add("two-byte file", SIMPLE, u"/tmp/\u0444\u0430\u0439\u043b.py")
add("four-byte file", SIMPLE, u"/tmp/\U0001f4a9.py")
add("far lines", "def case():\n" + "    x = 1\n" + "\n" * 1000 + "    y = [\n" + "\n" * 300 + "        park()]\n" + "\n" * 200 + "    z = 3\n")
add("far back", "def case():\n    return dict(\n        a=1," + "\n" * 400 + "        b=park(\n" + "\n" * 300 + "    ))\n")
add("long code", "def case():\n" + "".join("    x%d = (%d,\n        [])\n" % (i, i) for i in range(3000)) + "    park()\n")
add("wide line", "def case():\n    return (" + " " * 600 + "park(), 1 +" + " " * 300 + " 1)\n")
add("first line far down", "\n" * 70000 + SIMPLE)
add("semicolons", "def case(): x = 1; y = 2; park(); z = 3\n")
if NEW:
    add("latin-1 name", "def na\xefve():\n    return park()\n", function="na\xefve")
    add("two-byte name", "def \u043a\u0438\u0440\u0438\u043b\u043b\u0438\u0446\u0430():\n    return park()\n", function="\u043a\u0438\u0440\u0438\u043b\u043b\u0438\u0446\u0430")
    add("four-byte name", "class \U00020000:\n    def \U00020000(self):\n        return park()\ndef case():\n    return \U00020000().\U00020000()\n")
    add("surrogate file", SIMPLE, "/tmp/\udcff.py")
    add("keyword-only", "def case(*, a=1, b: int = 2):\n    return park()\n")
    add("nonlocal cells", "def case():\n    a = b = 1\n    def inner():\n        nonlocal a\n        a = park() or b\n        return a\n    return inner()\n")
    add("yield from", "def one():\n    yield park()\ndef two():\n    yield from one()\ndef case():\n    return list(two())\n")
    add("await", "class Wait:\n    def __await__(self):\n        yield park()\nasync def inner():\n    async with Manager():\n        await Wait()\n"
        "class Manager:\n    async def __aenter__(self):\n        return 1\n    async def __aexit__(self, *e):\n        pass\n"
        "async def outer():\n    return [await inner() for _ in (1,)]\ndef case():\n    outer().send(None)\n")
    add("async generator", "async def agen():\n    yield park()\nasync def outer():\n    async for _ in agen():\n        pass\ndef case():\n    outer().send(None)\n")
    add("metaclass", "class Meta(type):\n    def __new__(cls, name, bases, space):\n        park()\ndef case():\n    class X(metaclass=Meta): pass\n")
if sys.version_info >= (3, 8):
    add("walrus", "def case():\n    return f'{(x := park())}'\n")
if sys.version_info >= (3, 10):
    add("match", "def case():\n    match [1, 2]:\n        case [a, b] if park():\n            return 1\n")
if sys.version_info >= (3, 12):
    add("type parameters", "def case():\n    class X[T: park()]: pass\n    return X.__type_params__[0].__bound__\n")


def frames_of(frame):
    frames = []
    while frame is not None:
        code = frame.f_code
        rest = [None, None, None]
        if hasattr(code, "co_positions"):
            line, rest[0], rest[1], rest[2] = list(code.co_positions())[frame.f_lasti // 2]
            assert line == frame.f_lineno, (line, frame.f_lineno)
        name = code.co_name
        filename = code.co_filename
        if NEW:
            filename = "".join(u"\ufffd" if u"\ud800" <= c <= u"\udfff" else c for c in filename)
        else:
            filename = filename.decode("utf-8")
        frames.append([name, getattr(code, "co_qualname", None), filename, frame.f_lineno] + rest)
        frame = frame.f_back
    return frames


def clerk():
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.read(0, 1):
        stacks = sys._current_frames()
        threads = {}
        for thread in threading.enumerate():
            threads[thread.name] = {
                "ident": thread.ident,
                "native": getattr(thread, "native_id", None),
                "frames": frames_of(stacks[thread.ident]),
            }
        del stacks
        sys.stdout.write(json.dumps({"threads": threads}) + "\n")
        sys.stdout.flush()
    os._exit(0)


sys.setrecursionlimit(2000)
for case_name, case in CASES:
    if ONLY is not None and case_name not in ONLY:
        continue
    if not NEW:
        case_name = case_name.encode("utf-8")
    worker = threading.Thread(target=case, name=case_name)
    worker.daemon = True
    worker.start()
worker = threading.Thread(target=clerk, name="clerk")
worker.daemon = True
worker.start()
park()
