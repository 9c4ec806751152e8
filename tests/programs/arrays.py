# Arrays of numpy: three that own their memory, one whose elements have no bytes, and two that show another's. It says of each:
# id, bytes, whether it owns them, type and shape.
import os

import numpy

floats = numpy.zeros((500, 1000))
floats[:] = 1.5
ints = numpy.ones((7, 100, 300), dtype="int32")
bytes_ = numpy.full(5, 7, dtype="uint8")
nothing = numpy.zeros(7, dtype=[])
view = floats[::2, 10:20]
text = b"0123456789" * 1000
shown = numpy.frombuffer(text, dtype="uint16")
for each in floats, ints, bytes_, nothing, view, shown:
    words = [id(each), each.nbytes, int(each.flags.owndata), id(each.base), each.dtype.type.__name__] + list(each.shape)
    os.write(1, (" ".join(str(word) for word in ["array"] + words) + "\n").encode())
os.write(1, b"done\n")
os.read(0, 64)
