# A heap of about a gibibyte: tuples, floats and strings, by default 5.4 million of each. Then it waits.
import gc
import signal
import sys

count = int(sys.argv[1]) if len(sys.argv) > 1 else 5400000
gc.disable()
made = [(n + 0.5, str(n)) for n in range(count)]
sys.stdout.write("ready\n")
sys.stdout.flush()
signal.pause()
