# -*- coding: utf-8 -*-
"""Parks in a function with locals of every kind, and says in one line of JSON what each of them is called in words.

Written for Python 2.7 and for all of Python 3. `"at"` at the end of an expectation stands for any address.
"""
import json
import sys

NEW = sys.version_info >= (3,)


class Thing(object):
    def __init__(self):
        self.name = 'thing'


class Slotted(object):
    __slots__ = ['x']


class Meters(int):
    pass


def words(value):
    """What simple values are called, from the interpreter's own `repr`."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        inside = ', '.join(words(item) for item in value)
        if isinstance(value, list):
            return '[%s]' % inside
        return '(%s,)' % inside if len(value) == 1 else '(%s)' % inside
    if isinstance(value, dict):
        return '{%s}' % ', '.join('%s: %s' % (words(k), words(v)) for k, v in value.items())
    return repr(value).rstrip('L')


def local_variable_lookup(arg1="foo", arg2=None, arg3=True):
    local1 = [-1234, 5678]
    local2 = ("a", "b", "c")
    local3 = 123456789123456789
    local4 = 3.1415
    local5 = {"a": False, "b": (1, 2, 3)}
    one = (1,)
    empty = ""
    nothing = [(), [], {}]
    big = -2 ** 100 * 3 ** 77
    zero, small = 0, -5
    floats = [0.1 + 0.2, 1e16, 1e-05, -0.0, float('inf'), 1.7976931348623157e+308, 2.0]
    nested = [[[[1, {"deep": [2]}]]]]
    escapes = 'a"b\\c\nd\te'
    expected = dict((name, words(value)) for name, value in locals().items())

    cycle = [1]
    cycle.append(cycle)
    expected['cycle'] = '[1, [1, [1, [1, [1, [1, [...]]]]]]]'
    kinds = {7}
    kinds.add(8)
    kinds.discard(8)
    expected['kinds'] = '{7}'
    frozen = frozenset(['x'])
    expected['frozen'] = 'frozenset({"x"})'
    empty_set = set()
    expected['empty_set'] = 'set()'
    thing = Thing()
    expected['thing'] = '<Thing at'
    slotted = Slotted()
    expected['slotted'] = '<Slotted at'
    meters = Meters(5)
    expected['meters'] = '<Meters at'
    function = words
    expected['function'] = '<function at'
    password = "hunter2"
    api_token = ["t0ken"]
    expected['password'] = expected['api_token'] = '***'
    settings = {"host": "db", "DB_PASSWORD": "hunter2"}
    expected['settings'] = words(settings).replace('"hunter2"', '***')
    bytes_ = b'raw\x00\xff'
    expected['bytes_'] = 'b"raw\\x00\\xff"' if NEW else u'"raw\\x00\xff"'
    long_text = "x" * 5000
    expected['long_text'] = '"' + 'x' * 127 + '..."'
    long_list = list(range(10000))
    begin = '[0'
    for n in long_list[1:]:
        begin += ', '
        if len(begin) >= 128:
            break
        begin += str(n)
    expected['long_list'] = begin + '...]'
    del begin, n
    many = dict((n, n) for n in range(100000))
    expected['many'] = '<dict of 100000 items>'
    shared = "shared"
    expected['shared'] = '"shared"'
    unset = 1
    del unset
    if NEW:
        wide = u"\u4e2d" * 200
        expected['wide'] = '"' + u"\u4e2d" * 127 + '..."'
        face = u"\U0001f4a9"
        expected['face'] = u'"\U0001f4a9"'
    else:
        wide = eval('u"\\u4e2d" * 200')
        expected['wide'] = eval('u\'"\' + u"\\u4e2d" * 127 + u\'..."\'')

    def inner():
        return shared, expected

    expected['inner'] = '<function at'
    expected['expected'] = None
    sys.stdout.write('ready\n' + json.dumps(expected) + '\n')
    sys.stdout.flush()
    sys.stdin.read()


local_variable_lookup()
