"""Collects garbage only after a line has come in, in all generations and at last in `forced`; then says what happened.

The line is the time in seconds for which it makes garbage.

The last line of its answer is JSON: `before` and `after`, the three dicts of `gc.get_stats()`; `log`, what `gc.callbacks` was
told: generation, start, stop, collected.
"""
import gc
import json
import sys
import time

gc.disable()
clock = getattr(time, "monotonic", time.time)
log = []
begun = []


def note(phase, info):
    now = clock()
    if phase == "start":
        begun.append(now)
    else:
        log.append((info["generation"], begun.pop(), now, info["collected"]))


def forced():
    gc.collect()


def churn(seconds):
    kept = []
    end = clock() + seconds
    while clock() < end:
        for turn in range(1000):
            item = []
            item.append(item)
            kept.append([item])
        if len(kept) > 5000:
            del kept[:]


def rest():
    """Lets some looks pass in which nothing is collected: where nothing counts, they alone tell what was before from `forced`."""
    end = clock() + 0.03
    while clock() < end:
        pass


def stats():
    return gc.get_stats() if hasattr(gc, "get_stats") else None


if hasattr(gc, "callbacks"):
    gc.callbacks.append(note)
ballast = [[n] for n in range(150000)]
gc.collect()
sys.stdout.write("ready\n")
sys.stdout.flush()
seconds = float(sys.stdin.readline())
del log[:]
before = stats()
gc.enable()
churn(seconds)
gc.disable()
rest()
for turn in range(5):
    forced()
after = stats()
print(json.dumps({"before": before, "after": after, "log": log}))
sys.stdout.flush()
sys.stdin.read()
