# What is counted beside types. Told "more", it makes some of each and says how many: "made WEAK DEAD CALLBACKS CODES BYTECODE INTERNED
# VIEWS SHOWN GARBAGE".
import gc
import mmap
import os
import sys
import weakref

intern = getattr(sys, "intern", None) or intern


class Thing(object):
    pass


def gone(_):
    pass


def make(number):
    things = [Thing() for _ in range(1000)]
    weak = [weakref.ref(thing) for thing in things[:500]]
    weak += [weakref.ref(thing, gone) for thing in things[500:700]]
    weak += [weakref.proxy(thing) for thing in things[700:]]
    # 400 of them go, and 100 callbacks are called, and are no more.
    del things[600:]
    codes = [compile("x = %d" % (number + n), "<made>", "exec") for n in range(400)]
    names = [intern("name_%d_%d" % (number, n)) for n in range(700)]
    data = bytearray(1000)
    views = [memoryview(data)[n : n + 10] for n in range(50)]
    # Those that were released show nothing.
    released = [memoryview(data) for _ in range(30)]
    if sys.version_info > (3,):
        [view.release() for view in released]
    else:
        del released[:]
    if sys.version_info > (3,):
        views.append(memoryview(mmap.mmap(-1, 8192)))
    gc.garbage.extend(Thing() for _ in range(7))
    return things, weak, codes, names, released, data, views


# What encodes is imported when it is used first.
kept = [make(1000), "".encode()]
gc.collect()
os.write(1, b"ready\n")
while os.read(0, 64).startswith(b"more"):
    made = make(5000)
    kept.append(made)
    bytecode = sum(len(code.co_code) for code in made[2])
    views = made[-1]
    numbers = (1000, 400, 100, 400, bytecode, 700, len(views), sum(map(len, views)), 7)
    os.write(1, ("made %s\n" % " ".join(map(str, numbers))).encode())
os._exit(0)
