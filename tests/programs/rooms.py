# Memory of every kind, of known sizes: mapped, shared, of a file, of objects large and small. What it is told on its input it
# does: "trace" starts tracemalloc.
import ctypes
import mmap
import os
import struct
import sys
import threading

MIB = 1 << 20


class Entry(object):
    def __init__(self, n):
        self.n = n


def touch(room, size):
    for at in range(0, size, 4096):
        room[at : at + 1] = b"x"
    return room


private = touch(mmap.mmap(-1, 24 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 12 * MIB)
# What it reads without having written it are pages of zeros, which count as nobody's; others it knows only the addresses of.
zeros = [private[at : at + 1] for at in range(16 * MIB, 17 * MIB, 4096)]
first = ctypes.addressof(ctypes.c_char.from_buffer(private))
stale = [bytearray(struct.pack("Q", first + at)) for at in range(20 * MIB, 24 * MIB, 65536)]
shared = touch(mmap.mmap(-1, 8 * MIB), 8 * MIB)
with open(os.path.join("/tmp", "rooms-%d" % os.getpid()), "w+b") as file:
    file.write(b"y" * (6 * MIB))
    file.flush()
    mapped = mmap.mmap(file.fileno(), 6 * MIB, access=mmap.ACCESS_READ)
    sum(len(mapped[at : at + 1]) for at in range(0, 6 * MIB, 4096))
    os.unlink(file.name)
large = [b"%05d" % n * 2000 for n in range(1000)]
small = [Entry(n + 0.5) for n in range(50000)]
# Half of each pool is free when all that lies between is given back.
holes = [str(n) * 9 for n in range(40000)][::2]
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start() if sys.version_info > (3,) else None
os.write(1, b"ready\n")
while True:
    asked = os.read(0, 64)
    if asked.startswith(b"trace"):
        import tracemalloc

        tracemalloc.start(5)
        os.write(1, b"done\n")
    elif not asked:
        os._exit(0)
