"""Three threads compute, and whoever runs writes into memory that others can map: its `threading.get_ident()`, how often
another one took over, and how often it has written.

Says where that file is. Who writes holds the GIL, and has held it since it wrote before if nobody took over meanwhile.
"""
import mmap
import os
import struct
import sys
import threading

ident = getattr(threading, "get_ident", None) or threading._get_ident
if sys.version_info < (3,):
    # Else it is passed on every hundred instructions.
    sys.setcheckinterval(100000)

path = "/tmp/pitviper-holder-%d" % os.getpid()
with open(path, "wb") as file:
    file.write(b"\0" * mmap.PAGESIZE)
file = open(path, "r+b")
page = mmap.mmap(file.fileno(), mmap.PAGESIZE)


last, turns = None, 0


def compute():
    global last, turns
    me, writes = ident(), 0
    while True:
        if last != me:
            last = me
            turns += 1
        writes += 1
        page[0:24] = struct.pack("QQQ", me, turns, writes)


for _ in range(3):
    thread = threading.Thread(target=compute)
    thread.daemon = True
    thread.start()
sys.stdout.write("ready\n" + path + "\n")
sys.stdout.flush()
sys.stdin.readline()
