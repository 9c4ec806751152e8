"""Runs each line that comes in, and says what the collector of its interpreter is like then, as one line of JSON.

The counts are taken last, and between that and the next line nothing is made that the collector counts: what stands in
the process while it waits is what it says.
"""
import gc
import json
import os


def frozen_count():
    return str(gc.get_freeze_count()) if hasattr(gc, "get_freeze_count") else "null"


os.write(1, b"ready\n")
while True:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            os._exit(0)
        line += more
    exec(line.decode())
    enabled = gc.isenabled()
    gc.disable()
    stats = None
    if hasattr(gc, "get_stats"):
        stats = [[g["collections"], g["collected"], g["uncollectable"]] for g in gc.get_stats()]
    told = json.dumps({
        "threshold": gc.get_threshold(),
        "stats": stats,
        "garbage": len(gc.garbage),
        "enabled": enabled,
    })[:-1]
    if enabled:
        gc.enable()
    turn = 0
    while turn < 50:
        frozen = frozen_count()
        count = gc.get_count()
        turn += 1
    os.write(1, (told + ', "frozen": ' + frozen + ', "count": [%d, %d, %d]}\n' % count).encode())
