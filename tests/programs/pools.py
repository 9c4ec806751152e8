# Many objects of three sizes, so that whole pools hold one size alone. It says of one in the middle of each where it lies and what its
# block takes. Objects of these have no head of the collector's; a debug build puts up to four words around each.
import os
import sys

AROUND = 32 if hasattr(sys, "gettotalrefcount") else 0
SIZES = 80, 208, 400

kept = [[bytes(bytearray(size - AROUND - sys.getsizeof(b""))) for _ in range(2000)] for size in SIZES]
os.write(1, b"ready\n")
os.write(1, "".join("%d %d\n" % (id(many[1000]), size) for many, size in zip(kept, SIZES)).encode())
os.read(0, 1)
