"""Installs distributions of its own making, runs the code of each in a thread for ever, and says `ready` and where they lie: one with a dist-info, two that share a
package, and one with an egg-info.
"""
import os
import sys
import tempfile
import threading
import time

CODE = """def %s(end, time):
    while time() < end:
        pass
"""
site = os.path.join(tempfile.mkdtemp(), "lib", "python", "site-packages")


def write(path, text):
    path = os.path.join(site, path)
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    with open(path, "w") as file:
        file.write(text)


write("tools/__init__.py", "")
write("tools/work.py", CODE % "tools_work")
write("Shop_Tools-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: Shop-Tools\nVersion: 1.0\n")
write("Shop_Tools-1.0.dist-info/RECORD", "tools/__init__.py,,\ntools/work.py,,\n")
write("shared/__init__.py", "")
write("shared/one.py", CODE % "one_work")
write("shared/two.py", CODE % "two_work")
write("one-1.dist-info/RECORD", "shared/one.py,,\n")
write("two-1.dist-info/RECORD", "shared/two.py,,\n")
write("old.py", CODE % "old_work")
write("old-2.egg-info/PKG-INFO", "Name: old-fashioned\n")
write("old-2.egg-info/top_level.txt", "old\n")
sys.path.insert(0, site)

import old
import shared.one
import shared.two
import tools.work

parent = os.getppid()


def run(work):
    while os.getppid() == parent:
        work(time.time() + 0.01, time.time)


works = (tools.work.tools_work, shared.one.one_work, shared.two.two_work, old.old_work)
threads = [threading.Thread(target=run, args=(work,)) for work in works]
for thread in threads:
    thread.start()
sys.stdout.write("ready\n%s\n" % site)
sys.stdout.flush()
for thread in threads:
    thread.join()
