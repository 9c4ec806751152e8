"""Reads a recording by docs/recording.md alone, with nothing of pitviper's: python3 read_pit.py FILE prints counts.

A reader that somebody else might write. Python's zstd came with 3.14; before that only stored blocks can be read.
"""

import json
import struct
import sys
import zlib

MAGIC = b"\x89PIT\r\n\x1a\n"
KINDS = (
    "end meta strings files frames stacks tracks processes waits sources "
    "process_events samples gc heap counters marks troubles censuses allocations"
).split()
NEWEST = {"samples": 2, "heap": 2}
LATEST = 96
NUMBERED = {"strings", "files", "frames", "stacks", "processes", "waits"}


class Payload:
    def __init__(self, data):
        self.data, self.at = data, 0

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def table(self):
        """The rows of a table, each a list of cells."""
        columns, rows = self.varint(), self.varint()
        return list(zip(*[[self.varint() for _ in range(rows)] for _ in range(columns)]))

    def take(self, length):
        self.at += length
        return self.data[self.at - length : self.at]


def unzigzag(value):
    return (value >> 1) ^ -(value & 1)


def stacks(cells, version):
    """The stack of each sample, None where there is none."""
    latest, new = [], 0
    for cell in cells:
        if version == 1:
            stack = cell
        elif cell < LATEST:
            stack = latest.pop(cell)
        else:
            stack = new = new + unzigzag(cell - LATEST)
        latest.insert(0, stack)
        del latest[LATEST:]
        yield stack - 1 if stack else None


def cpu(cell, weight, version):
    """CPU time in microseconds, None where it is unknown."""
    if version == 1 or cell < 2:
        return cell - 1 if cell else None
    return weight - unzigzag(cell - 2)


def blocks(data):
    assert data[:8] == MAGIC, "not a recording"
    assert struct.unpack_from("<I", data, 8)[0] in (1, 2), "not a version that we know"
    at = 12
    while at < len(data):
        kind, version, codec, _, stored, raw, crc = struct.unpack_from("<BBBBIII", data, at)
        payload = data[at + 16 : at + 16 + stored]
        assert zlib.crc32(data[at : at + 12] + payload) == crc, f"the block at {at} is corrupt"
        at += 16 + stored
        if kind >= len(KINDS) or version > NEWEST.get(KINDS[kind], 1):
            continue
        if codec == 1:
            from compression import zstd

            payload = zstd.decompress(payload)
        assert len(payload) == raw
        yield KINDS[kind], version, Payload(payload)


def main(path):
    counts = dict.fromkeys(KINDS, 0)
    strings, track, until, tracks, weight, looks, samples = [], 0, 0, set(), 0, 0, 0
    arenas, pools, meta, ended, used, stack_ids = 0, 0, {}, False, 0, 0
    with open(path, "rb") as file:
        data = file.read()
    for kind, version, payload in blocks(data):
        if kind == "end":
            ended = True
        elif kind == "meta":
            meta = json.loads(payload.data)
        elif kind == "strings":
            assert payload.varint() == len(strings)
            lengths = payload.table()
            strings += [payload.take(length).decode() for (length,) in lengths]
        elif kind == "samples":
            looks += payload.varint()
            track = until = 0
            rows = payload.table()
            for row, stack in zip(rows, stacks((row[4] for row in rows), version)):
                track += unzigzag(row[0])
                begin = until + unzigzag(row[1])
                until = begin + row[2]
                samples += row[3]
                weight += row[2] + unzigzag(row[5])
                used += cpu(row[6], row[2] + unzigzag(row[5]), version) or 0
                stack_ids += row[3] * stack if stack else 0
            counts[kind] += 1
        elif kind == "heap":
            counts[kind] += len(payload.table())
            arenas += len(payload.table())
            payload.table()
            # Earlier writers told of no pools.
            pools += len(payload.table()) if payload.at < len(payload.data) else 0
        else:
            if kind in NUMBERED:
                assert payload.varint() == counts[kind], f"{kind} are out of order"
            rows = payload.table()
            counts[kind] += len(rows)
            if kind == "tracks":
                tracks |= {row[0] for row in rows}
    print(
        json.dumps(
            {
                "tool": meta["tool"],
                "ended": ended,
                "strings": len(strings),
                "longest": max(strings, key=len, default=""),
                "files": counts["files"],
                "frames": counts["frames"],
                "stacks": counts["stacks"],
                "tracks": len(tracks),
                "processes": counts["processes"],
                "looks": looks,
                "samples": samples,
                "weight_us": weight,
                "cpu_us": used,
                "stack_ids": stack_ids,
                "gc": counts["gc"],
                "heaps": counts["heap"],
                "arenas": arenas,
                "pools": pools,
                "counters": counts["counters"],
                "marks": counts["marks"],
                "troubles": counts["troubles"],
            }
        )
    )


main(sys.argv[1])
