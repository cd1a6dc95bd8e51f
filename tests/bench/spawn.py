"""Starts one command, waits for it, and tells over a pipe how long it took and the most memory it held.

A process of its own because the kernel counts what a process held from before its exec: a child of a large process is
never seen to hold less than that one did. This one imports nothing and holds next to nothing.

usage: python -I -S starter.py DESCRIPTOR COMMAND…
"""

import os
import sys
import time

descriptor, command = int(sys.argv[1]), sys.argv[2:]
start = time.perf_counter()
process = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, descriptor)])
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - start
os.write(descriptor, f"{seconds!r} {usage.ru_maxrss * 1024} {os.waitstatus_to_exitcode(status)}".encode())
