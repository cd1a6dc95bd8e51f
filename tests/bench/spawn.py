"""Runs one command, and reports its duration, processor time, peak memory and exit code over a pipe.

The kernel's peak of a process includes the memory of its parent before exec. This separate process is small, so the
peak is that of the command.

usage: python -I -S spawn.py DESCRIPTOR COMMAND…
"""

import os
import sys
import time

descriptor, command = int(sys.argv[1]), sys.argv[2:]
start = time.perf_counter()
process = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, descriptor)])
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - start
cpu = usage.ru_utime + usage.ru_stime  # with that of the children that the command has waited for
os.write(descriptor, f"{seconds!r} {cpu!r} {usage.ru_maxrss * 1024} {os.waitstatus_to_exitcode(status)}".encode())
