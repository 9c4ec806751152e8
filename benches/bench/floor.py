"""The floor: what the bare system calls cost that a round of ours makes, by the segments that it really reads."""

import collections
import json
import re
import shutil
import subprocess
import tempfile

from .machine import Unable, spawn

# A call, or the end of one that another task's came between.
CALL = re.compile(r"^(?P<task>\d+) +(?:(?P<name>\w+)\(|<\.\.\. (?P<resumed>\w+) resumed>)(?P<rest>.*)")
SEGMENT = re.compile(r"\{iov_base=(0x[0-9a-f]+|NULL), iov_len=(\d+)\}")
# Calls by which a sampler waits for its next look; the reads between two of them are a round.
WAITS = {"futex", "clock_nanosleep", "ppoll", "poll", "epoll_wait", "nanosleep"}
# The traced rate: fast enough that threads seldom change places between two looks, slow enough to wait at all.
TRACED_RATE = 1000
TRACED_SECONDS = 1
# Rounds at the end are usual ones; at the start, everything is new.
LAST_ROUNDS = 50


def segments(profiler, pid, core):
    """The segments that a usual round reads, seen by strace: lists of (address, length)."""
    if not shutil.which("strace"):
        raise Unable("no floor: strace is not installed")
    with tempfile.TemporaryDirectory() as directory:
        trace = directory + "/trace"
        calls = ",".join(sorted(WAITS | {"process_vm_readv"}))
        command = ["strace", "-f", "-s", "0", "-e", "abbrev=none", "-e", "trace=" + calls, "-o", trace]
        command += profiler.attach(pid, TRACED_RATE, TRACED_SECONDS, directory + "/traced", False)
        command += ["--schedule", "fixed", "--duration", TRACED_SECONDS]
        done = spawn(command, core, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done.wait()
        with open(trace, errors="replace") as file:
            rounds = read_rounds(file)
    if not rounds:
        raise Unable("no floor: strace saw no reads")
    rounds.sort(key=lambda parts: (len(parts), sum(length for _, length in parts)))
    return rounds[len(rounds) // 2]


def read_rounds(lines):
    """The rounds of the task that made most of them."""
    rounds = collections.defaultdict(list)
    under_way = collections.defaultdict(list)
    for line in lines:
        call = CALL.match(line)
        if not call:
            continue
        task, name, rest = call["task"], call["name"] or call["resumed"], call["rest"]
        if name == "process_vm_readv":
            # PID, the local segments, their count, the remote ones: the third part in brackets is the remote list.
            remote = rest[rest.find("], ") + 3 :]
            found = [(int(base, 16), int(size)) for base, size in SEGMENT.findall(remote) if base != "NULL"]
            # A sampler that is late does not wait; then its next round shows by starting where this one did.
            if found[:1] == under_way[task][:1] != []:
                rounds[task].append(under_way.pop(task))
            under_way[task] += found
        elif name in WAITS and under_way[task]:
            rounds[task].append(under_way.pop(task))
    most = max(rounds.values(), key=len, default=[])
    return most[-LAST_ROUNDS:]


def measure(program, pid, parts, rate, seconds, core):
    """Microseconds of CPU a round of reading these segments at this rate; no segments is a bare wake-up."""
    text = "".join("%x %d\n" % part for part in parts)
    run = spawn(
        [program, pid, seconds, rate], core, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complaint = run.communicate(text.encode())
    if run.returncode != 0:
        raise Unable("no floor: " + complaint.decode().strip())
    told = json.loads(said)
    return told["cpu_ns"] / 1000 / max(told["rounds"], 1)
