"""Runs one command, and reports its duration, processor time, peak memory and exit code over a pipe.

The kernel's peak of a process includes the memory of its parent before exec. This separate process is small, so the
peak is that of the command.

With `all`, the processor time is that of all processes that the command has started, also of those that it does not
wait for: they become children of this process, which waits for their ends after it has taken the duration.

usage: python -I -S spawn.py DESCRIPTOR own|all COMMAND…
"""

import os
import resource
import sys
import time

descriptor, processes, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if processes == "all":
    from ctypes import CDLL

    CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
start = time.perf_counter()
process = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, descriptor)])
while True:
    ended, status, usage = os.wait4(-1, 0)
    if ended == process:
        break
seconds = time.perf_counter() - start
peak = usage.ru_maxrss * 1024
if processes == "all":
    try:
        while True:
            os.wait()
    except ChildProcessError:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = usage.ru_utime + usage.ru_stime  # with that of the children that the command has waited for
os.write(descriptor, f"{seconds!r} {cpu!r} {peak} {os.waitstatus_to_exitcode(status)}".encode())
