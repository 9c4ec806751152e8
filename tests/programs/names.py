"""Starts threads whose names lie in every way that attributes can lie; then says `ready`, and the names by their idents as JSON."""
import json
import sys
import threading

try:
    import _thread
except ImportError:
    import thread as _thread

gate = threading.Lock()
gate.acquire()
renamed = threading.Event()
idents = {}


class Many(threading.Thread):
    def __init__(self, **options):
        threading.Thread.__init__(self, **options)
        for n in range(80):
            setattr(self, "attribute%d" % n, n)


class Slotted(threading.Thread):
    __slots__ = ("one", "two")


class Tuple(tuple):
    pass


def park():
    gate.acquire()


def bare():
    idents[_thread.get_ident()] = None
    renamed.set()
    gate.acquire()


def late():
    threading.current_thread().name = "late"
    renamed.set()
    gate.acquire()


def start(thread):
    thread.daemon = True
    thread.start()
    idents[thread.ident] = thread.name
    return thread


start(threading.Thread(target=park, name="plain"))
vars(start(threading.Thread(target=park, name="looked at")))["other"] = 1
for n in range(40):
    start(threading.Thread(target=park, name="one of many %d" % n))
start(Many(target=park, name="with many attributes"))
start(Slotted(target=park, name="with slots")).one = 1
again = start(threading.Thread(target=park, name="wrong"))
# 2.7 says that it has started a moment before it puts itself into the table, by the ident that is taken from it here.
while again not in list(threading._active.values()):
    pass
del again.__dict__["_ident" if "_ident" in again.__dict__ else "_Thread__ident"]
again.__dict__["_ident" if "_Thread__ident" not in dir(again) else "_Thread__ident"] = 1
again.name = "taken apart"
for ident in idents:
    if idents[ident] == "wrong":
        idents[ident] = "taken apart"
thread = start(threading.Thread(target=late, name="early"))
renamed.wait()
idents[thread.ident] = thread.name
renamed.clear()
_thread.start_new_thread(bare, ())
renamed.wait()
idents[_thread.get_ident()] = "MainThread"
sys.stdout.write("ready\n" + json.dumps(idents) + "\n")
sys.stdout.flush()
gate.acquire()
