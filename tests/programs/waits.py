# -*- coding: utf-8 -*-
"""Parks a thread in every kind of wait, and says in one line of JSON what each of them waits for, by the thread's name.

Written for Python 2.7 and for all of Python 3. Ends when its input ends.
"""
import fcntl
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

try:
    import queue
except ImportError:
    import Queue as queue

LONG = 600
kept = []
expected = {}


def keep(*things):
    kept.extend(things)
    return things[0]


def park(name, wait, function, *arguments):
    """Starts a thread that calls the function and stays in it."""
    expected[name] = wait
    thread = threading.Thread(target=function, args=arguments, name=name)
    thread.daemon = True
    thread.start()


def connected(family, address):
    """Both ends of a connection: the one that connected, and the one that was accepted."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(1)
    client = socket.socket(family, socket.SOCK_STREAM)
    client.connect(listener.getsockname())
    server = listener.accept()[0]
    keep(client, server, listener)
    return client, server


def name_of(address):
    return ('[%s]:%d' if ':' in address[0] else '%s:%d') % address[:2]


def accepting(family, address):
    listener = keep(socket.socket(family, socket.SOCK_STREAM))
    listener.bind(address)
    listener.listen(1)
    return listener


def fill(descriptor):
    """Writes until nobody takes it any more."""
    while True:
        os.write(descriptor, b'x' * 4096)


def epoll():
    poller = keep(select.epoll())
    poller.register(keep(os.pipe())[0], select.EPOLLIN)
    poller.poll(LONG)


def poll():
    poller = select.poll()
    poller.register(keep(os.pipe())[0], select.POLLIN)
    poller.poll(LONG * 1000)


def lock_file(path):
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def lock_record(path):
    with open(path, 'r+') as file:
        fcntl.lockf(file, fcntl.LOCK_EX)


def child(held):
    """Another process that holds locks on the file and sleeps: a process does not wait for its own record locks."""
    program = (
        'import fcntl, sys\n'
        'a, b = open(sys.argv[1]), open(sys.argv[2], "r+")\n'
        'fcntl.flock(a, fcntl.LOCK_EX); fcntl.lockf(b, fcntl.LOCK_EX)\n'
        'sys.stdout.write("held\\n"); sys.stdout.flush(); sys.stdin.read()\n')
    process = subprocess.Popen([sys.executable, '-c', program] + held, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    return keep(process)


def main():
    held = threading.Lock()
    held.acquire()
    park('sleep', 'sleep', time.sleep, LONG)
    park('lock', 'lock', held.acquire)
    park('queue', 'lock', queue.Queue().get)
    park('event', 'lock', threading.Event().wait)
    two = keep(os.pipe())[0], keep(os.pipe())[0]
    park('select', 'select on pipe', select.select, two[:1], [], [], LONG)
    park('two selected', 'select', select.select, two, [], [], LONG)
    park('poll', 'poll on pipe', poll)
    park('epoll', 'epoll on pipe', epoll)
    listener = accepting(socket.AF_INET, ('127.0.0.1', 0))
    park('accept', 'accept on tcp ' + name_of(listener.getsockname()), listener.accept)
    client, server = connected(socket.AF_INET, ('127.0.0.1', 0))
    park('recv', 'recv from tcp ' + name_of(client.getpeername()), client.recv, 1)
    _, server = connected(socket.AF_INET, ('127.0.0.1', 0))
    park('send', 'send to tcp ' + name_of(server.getpeername()), server.sendall, b'x' * (64 << 20))
    if socket.has_ipv6:
        try:
            client, _ = connected(socket.AF_INET6, ('::1', 0))
            park('recv6', 'recv from tcp ' + name_of(client.getpeername()), client.recv, 1)
        except socket.error:
            pass  # no IPv6 here
    client, _ = connected(socket.AF_INET, ('127.0.0.1', 0))
    client.settimeout(LONG)
    park('recv with timeout', 'poll on tcp ' + name_of(client.getpeername()), client.recv, 1)
    datagrams = keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    datagrams.bind(('127.0.0.1', 0))
    park('udp', 'recv from udp ' + name_of(datagrams.getsockname()), datagrams.recvfrom, 1)
    ours, theirs = socket.socketpair()
    keep(ours, theirs)
    park('unix', 'recv from unix socket', ours.recv, 1)
    path = os.path.join(tempfile.mkdtemp(), 'socket')
    _, server = connected(socket.AF_UNIX, path)
    park('unix path', 'recv from unix ' + path, server.recv, 1)
    readable, writable = os.pipe()
    park('pipe', 'read from pipe', os.read, readable, 1)
    _, writable = os.pipe()
    park('full pipe', 'write to pipe', fill, writable)
    flocked, recorded = os.path.join(os.path.dirname(path), 'flock'), os.path.join(os.path.dirname(path), 'lockf')
    for name in flocked, recorded:
        open(name, 'w').close()
    process = child([flocked, recorded])
    park('flock', 'file lock on ' + flocked, lock_file, flocked)
    park('lockf', 'file lock on ' + recorded, lock_record, recorded)
    park('child', 'child %d' % process.pid, process.wait)
    park('fifo', 'open', open, fifo(path))
    expected[threading.current_thread().name] = 'read from pipe'
    sys.stdout.write('ready\n' + json.dumps(expected) + '\n')
    sys.stdout.flush()
    sys.stdin.read()
    process.kill()
    shutil.rmtree(os.path.dirname(path))
    os._exit(0)


def fifo(path):
    name = os.path.join(os.path.dirname(path), 'fifo')
    os.mkfifo(name)
    return name


main()
