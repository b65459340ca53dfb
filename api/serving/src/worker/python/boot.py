"""The first lines that a worker's interpreter runs: they fetch the program and start it.

Standard input is a socket to the supervisor. It sends the modules of the program, then what to load. A model that reads
standard input finds it empty.
"""
import json
import linecache
import os
import socket
import struct
import sys
import types

control = socket.socket(fileno=os.dup(0))
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def receive(length):
    pieces = []
    while length:
        piece = control.recv(min(length, 1 << 20))
        if not piece:
            sys.exit(0)
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


first = json.loads(receive(struct.unpack("<Q", receive(8))[0]))
for name, source in first["modules"]:
    module = types.ModuleType(name)
    sys.modules[name] = module
    place = "<" + name + ">"
    # So that tracebacks show these lines.
    linecache.cache[place] = (len(source), None, source.splitlines(True), place)
    exec(compile(source, place, "exec"), module.__dict__)
sys.modules["runlode_worker_main"].main(control, first["model"])
