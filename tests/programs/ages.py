# Objects of all generations. Each line that it reads is answered by "age GENERATION TYPE COUNT" for each and by "done".
import gc
import os


class Old(object):
    pass


class Middle(object):
    pass


class Young(object):
    pass


def name(of):
    module = of.__module__
    own = getattr(of, "__qualname__", of.__name__)
    return own if module in ("builtins", "__builtin__") else "%s.%s" % (module, own)


gc.disable()
old = [Old() for _ in range(3000)]
gc.collect()
middle = [Middle() for _ in range(2000)]
gc.collect(0)
young = [Young() for _ in range(1000)]
os.write(1, b"ready\n")
while os.read(0, 64):
    for generation in range(3):
        counts = {}
        for of in gc.get_objects(generation=generation):
            counts[name(type(of))] = counts.get(name(type(of)), 0) + 1
        for of in counts:
            os.write(1, ("age %d %s %d\n" % (generation, of, counts[of])).encode())
    os.write(1, b"done\n")
