"""Runs a server, and waits for the processes that it leaves behind: its processor time then includes theirs.

The shim of a container of dockerd is such a process.

usage: python -I -S reap.py COMMAND…
"""

import os
import signal
import sys
from ctypes import CDLL

CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
server = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
signal.signal(signal.SIGTERM, lambda *_: os.kill(server, signal.SIGTERM))
while os.wait()[0] != server:
    pass
