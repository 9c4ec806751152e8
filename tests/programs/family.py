"""A process with children of every kind. Says `ready`, and then the pids of the Pythons: itself, one that burns, one that
rests, and one that a shell started. A program that is no Python and a child that has ended and is not asked for stand by.
"""
import os
import subprocess
import sys

PARENT = os.getpid()


def burn():
    while os.getppid() == PARENT:
        for _ in range(1000):
            pass


def rest():
    os.read(alive, 1)


def fork(work):
    pid = os.fork()
    if pid == 0:
        try:
            os.close(living)
            os.write(running, b".")
            work()
        finally:
            os._exit(0)
    os.read(started, 1)
    return pid


alive, living = os.pipe()
started, running = os.pipe()
burning, resting = fork(burn), fork(rest)
ended = os.fork()
if ended == 0:
    os._exit(0)

spawned = """import os, sys

def spawned():
    sys.stdin.read()

sys.stdout.write(str(os.getpid()) + chr(10))
sys.stdout.flush()
spawned()
"""
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "close_fds": True}
command = [sys.executable, "-c", spawned]
if os.path.exists("/bin/sh"):
    command = ["/bin/sh", "-c", '"$@"; exit 0', "sh"] + command
shell = subprocess.Popen(command, **pipes)
inner = int(shell.stdout.readline())
if os.path.exists("/bin/cat"):
    stranger = subprocess.Popen(["/bin/cat"], **pipes)
    stranger.stdin.write(b"up\n")
    stranger.stdin.flush()
    stranger.stdout.readline()

sys.stdout.write("ready\n%d %d %d %d\n" % (PARENT, burning, resting, inner))
sys.stdout.flush()
sys.stdin.read()
