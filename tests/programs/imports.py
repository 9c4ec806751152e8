"""Imports a module that takes a known time, and in turn imports another one that does. Says how long each took, in seconds: the outer
one with all that it imported, the inner one, and a loop that imports nothing.
"""
import os
import shutil
import sys
import tempfile
import time

INNER = """import time
begin = time.time()
while time.time() < begin + 0.25:
    pass
took = time.time() - begin
"""
OUTER = """import time
begin = time.time()
def work(end):
    while time.time() < end:
        pass
work(begin + 0.15)
import slow_shop.inner
work(time.time() + 0.1)
took = time.time() - begin
"""

# Whoever starts it and looks on may come a little late on a busy machine.
begin = time.time()
while time.time() < begin + 0.15:
    pass

folder = tempfile.mkdtemp()
os.mkdir(os.path.join(folder, "slow_shop"))
for name, text in [("outer", OUTER), ("inner", INNER), ("__init__", "import time\nend = time.time() + 0.25\nwhile time.time() < end:\n    pass\n")]:
    with open(os.path.join(folder, "slow_shop", name + ".py"), "w") as file:
        file.write(text)
sys.path.insert(0, folder)
try:
    import slow_shop.outer
finally:
    shutil.rmtree(folder)
begin = time.time()
while time.time() < begin + 0.2:
    pass
took = time.time() - begin
sys.stdout.write("%f %f %f\n" % (slow_shop.outer.took, slow_shop.inner.took, took))
