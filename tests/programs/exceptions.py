"""Parks a thread in every place where an exception is handled or is not, and says of each whether `sys.exc_info()` has one.

Written for Python 2.7 and for all of Python 3.
"""
import json
import sys
import threading

NEW = sys.version_info >= (3,)
gate = threading.Lock()
gate.acquire()
truth = {}


def park():
    truth[threading.current_thread().name] = sys.exc_info()[0] is not None
    gate.acquire()


def boom():
    raise ValueError('boom')


def nothing():
    park()


def in_except():
    try:
        boom()
    except ValueError:
        park()


def called_in_except():
    try:
        boom()
    except ValueError:
        nothing()


def nested():
    try:
        boom()
    except ValueError:
        try:
            {}['no']
        except KeyError:
            park()


def after_except():
    try:
        boom()
    except ValueError:
        pass
    park()


def after_a_call_that_handled():
    handles()
    park()


def handles():
    try:
        boom()
    except ValueError:
        pass


def after_inner_except():
    try:
        boom()
    except ValueError:
        try:
            {}['no']
        except KeyError:
            pass
        park()


def finally_propagating():
    try:
        boom()
    finally:
        park()


def finally_after_handled():
    try:
        boom()
    except ValueError:
        pass
    finally:
        park()


def plain_finally():
    try:
        pass
    finally:
        park()


def in_else():
    try:
        pass
    except ValueError:
        pass
    else:
        park()


class Manager(object):
    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        park()


def with_exit_raising():
    with Manager():
        boom()


def with_exit_plain():
    with Manager():
        pass


def yields_in_except():
    try:
        boom()
    except ValueError:
        yield 1
        park()


def generator_suspended_in_except():
    generator = yields_in_except()
    next(generator)
    park()


def generator_running_in_except():
    for _ in yields_in_except():
        pass


def parks():
    park()
    yield 1


def generator_called_from_except():
    try:
        boom()
    except ValueError:
        next(parks())


def delegating():
    exec('def outer():\n    yield from yields_in_except()\nfor _ in outer(): pass', {'yields_in_except': yields_in_except})


def coroutine():
    names = {'boom': boom, 'park': park}
    exec('async def inner():\n    try:\n        boom()\n    except ValueError:\n        park()\n'
         'async def outer():\n    await inner()\nouter().send(None)', names)


def exception_group():
    exec('try:\n    raise ExceptionGroup("g", [ValueError()])\nexcept* ValueError:\n    park()', {'park': park})


def thrown_into_generator():
    def waits():
        try:
            yield 1
        except KeyError:
            park()
    generator = waits()
    next(generator)
    generator.throw(KeyError('thrown'))


CASES = [nothing, in_except, called_in_except, nested, after_except, after_a_call_that_handled, after_inner_except,
         finally_propagating, finally_after_handled, plain_finally, in_else, with_exit_raising, with_exit_plain,
         generator_suspended_in_except, generator_running_in_except, generator_called_from_except,
         thrown_into_generator]
if NEW:
    CASES += [delegating, coroutine]
if sys.version_info >= (3, 11):
    CASES += [exception_group]
for case in CASES:
    thread = threading.Thread(target=case, name=case.__name__)
    thread.daemon = True
    thread.start()
while len(truth) < len(CASES):
    pass
sys.stdout.write('ready\n' + json.dumps(truth) + '\n')
sys.stdout.flush()
sys.stdin.read()
