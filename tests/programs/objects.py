# Objects of many types, known by number. Each line that it reads is answered by "tracked TYPE COUNT" for every type that the
# collector tracks, by "size TYPE BYTES" for the types below, and by "done". "more" makes 20,000 floats, ints, str and bytes first.
import collections
import functools
import gc
import os
import sys
import weakref


class Record(object):
    def __init__(self, number):
        self.number = number
        self.other = None


class Slotted(object):
    __slots__ = ("one", "two")


class Outer(object):
    class Inner(object):
        pass


class List(list):
    __slots__ = ()


class Tuple(tuple):
    __slots__ = ()


class Text(str):
    __slots__ = ()


class Whole(int):
    __slots__ = ()


class Real(float):
    __slots__ = ()


class Set(set):
    __slots__ = ()


class Frozen(frozenset):
    __slots__ = ()


class Dict(dict):
    __slots__ = ()


class Error(Exception):
    pass


def generator():
    yield


SIZED = [List, Tuple, Text, Whole, Real, Set, Frozen, Slotted]


def make():
    made = [Record(n) for n in range(10000)]
    made += [List(range(n % 90)) for n in range(300)]
    made += [Tuple(range(n % 90)) for n in range(310)]
    made += [Text("x" * (n * 3)) for n in range(320)]
    made += [Whole(1 << n % 62) for n in range(330)]
    made += [Real(n) for n in range(340)]
    made += [Set(range(n % 60)) for n in range(350)]
    made += [Frozen(range(n % 60)) for n in range(360)]
    made += [Dict.fromkeys(range(n % 60)) for n in range(370)]
    made += [Slotted() for n in range(380)]
    made += [Outer.Inner() for n in range(390)]
    made += [Error(n) for n in range(400)]
    made += [collections.OrderedDict.fromkeys(range(9)) for n in range(410)]
    made += [collections.defaultdict(list, {n: []}) for n in range(420)]
    made += [collections.deque(range(n)) for n in range(430)]
    made += [functools.partial(make, n) for n in range(440)]
    made += [generator() for n in range(450)]
    made += [weakref.ref(made[n]) for n in range(460)]
    made += [weakref.proxy(made[n]) for n in range(470)]
    made += [property(make) for n in range(480)]
    made += [classmethod(make) for n in range(490)]
    made += [staticmethod(make) for n in range(500)]
    made += [made[n].__init__ for n in range(510)]
    made += [(lambda n: lambda: n)(n) for n in range(520)]
    made += [iter([n]) for n in range(530)]
    made += [enumerate([n]) for n in range(540)]
    made += [set([n]) for n in range(550)]
    made += [frozenset([n]) for n in range(560)]
    made += [slice(made, n) for n in range(570)]
    made += [[made] for n in range(580)]
    made += [(made, n) for n in range(590)]
    made += [{"made": made} for n in range(600)]
    made += [type("Made", (object,), {}) for n in range(20)]
    gc.collect()
    for n in range(2500):
        cycle = Record(n)
        cycle.other = cycle
    return made


def name(of):
    module = of.__module__
    own = getattr(of, "__qualname__", of.__name__)
    return own if module in ("builtins", "__builtin__") else "%s.%s" % (module, own)


def answer(made):
    more = []
    counts = {}
    while True:
        asked = os.read(0, 64)
        if not asked:
            return
        if asked.startswith(b"more"):
            more = [None] * 80000
            for n in range(20000):
                more[4 * n : 4 * n + 4] = n + 0.5, n + (1 << 40), "text %d" % n, b"%d" % n + b"xyz"
        counts.clear()
        for of in gc.get_objects():
            of = name(type(of))
            counts[of] = counts.get(of, 0) + 1
        for of in counts:
            os.write(1, ("tracked %s %d\n" % (of, counts[of])).encode())
        for of in SIZED:
            size = sum(sys.getsizeof(each) for each in made if type(each) is of)
            os.write(1, ("size %s %d\n" % (name(of), size)).encode())
        os.write(1, b"done\n")


gc.collect()
gc.disable()
made = make()
# 3.12 puts immortal tuples away with each collection, and then does not name them.
if hasattr(gc, "unfreeze"):
    gc.unfreeze()
os.write(1, b"ready\n")
answer(made)
