# Arenas in which next to nothing is left. It says at which addresses: "pin ADDRESS", then "done".
import gc
import os


class Pin(object):
    __slots__ = ("next",)


gc.disable()
made = [Pin() for n in range(150000)]
kept = made[::1499]
del made
os.write(1, b"ready\n")
for pin in kept:
    os.write(1, ("pin %d\n" % id(pin)).encode())
os.write(1, b"done\n")
os.read(0, 64)
