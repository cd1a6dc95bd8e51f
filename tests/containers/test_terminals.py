"""Containers with a terminal, and processes that attach to containers."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Machine

LIMIT = 30.0


class Terminal:
    """A command line of imq on a terminal."""

    def __init__(self, machine: Machine, *words: str) -> None:
        self._pid, self._screen = pty.fork()
        if self._pid == 0:
            arguments = [sys.executable, "-m", "imq", "--root", machine.root, *words]
            os.execve(sys.executable, arguments, dict(os.environ))
        self.shown = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def wait_for(self, text: bytes) -> None:
        """Wait until a text is shown, and forget what was shown up to it."""
        deadline = time.monotonic() + LIMIT
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._screen], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._screen, 4096)
                except OSError:
                    break
        assert text in self.shown, self.shown
        self.shown = self.shown.partition(text)[2]

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            if select.select([self._screen], [], [], 0.02)[0]:
                try:
                    self.shown += os.read(self._screen, 4096)
                except OSError:
                    pass
            done, status = os.waitpid(self._pid, os.WNOHANG)
            if done:
                os.close(self._screen)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(self.shown)


def test_run_on_a_terminal(machine: Machine) -> None:
    terminal = Terminal(machine, "run", "-it", "--rm", "box:1", "sh")
    terminal.resize(33, 77)
    terminal.wait_for(b"# ")
    terminal.type(b"busybox stty size; echo $TERM\n")
    terminal.wait_for(b"33 77")
    terminal.wait_for(b"xterm")
    terminal.resize(11, 22)
    terminal.type(b"while ! busybox stty size | busybox grep -q '11 22'; do :; done; echo re''sized\n")
    terminal.wait_for(b"resized")
    terminal.type(b"exit 7\n")
    assert terminal.wait() == 7
    assert b"unpack" not in terminal.shown


def test_keys_reach_the_program_as_signals(machine: Machine) -> None:
    script = "trap 'exit 9' INT; echo started; while true; do sleep 0.05; done"
    terminal = Terminal(machine, "run", "-it", "--rm", "box:1", "sh", "-c", script)
    terminal.wait_for(b"started")
    terminal.type(b"\x03")
    assert terminal.wait() == 9


@pytest.mark.usefixtures("each_runtime")
def test_detach_and_attach(machine: Machine) -> None:
    terminal = Terminal(machine, "run", "-it", "--name", "shell", "box:1", "sh")
    terminal.wait_for(b"# ")
    terminal.type(b"X=kept\n")
    terminal.wait_for(b"# ")
    terminal.type(b"\x10")
    terminal.type(b"\x11")
    assert terminal.wait() == 0
    assert machine.container("shell")["status"] == "running"
    again = Terminal(machine, "attach", "--detach-keys", "ctrl-x,y", "shell")
    again.type(b"echo $X-$((1+1))\n")
    again.wait_for(b"kept-2")
    again.type(b"\x18y")
    assert again.wait() == 0
    third = Terminal(machine, "start", "-ai", "shell")
    third.type(b"exit 4\n")
    assert third.wait() == 4
    row = machine.container("shell")
    assert (row["status"], row["exit_code"]) == ("exited", 4)
    fourth = Terminal(machine, "start", "-a", "-i", "shell")
    fourth.wait_for(b"# ")
    fourth.type(b"exit 5\n")
    assert fourth.wait() == 5


@pytest.mark.usefixtures("each_runtime")
def test_exec_on_a_terminal(machine: Machine) -> None:
    machine.do("run box:1 sleep 100 as host with detach = true")
    terminal = Terminal(machine, "exec", "-it", "host", "sh", "-c", "busybox tty; exit 6")
    terminal.wait_for(b"/dev/pts/")
    assert terminal.wait() == 6
    shell = Terminal(machine, "exec", "-it", "host", "sh")
    shell.wait_for(b"# ")
    shell.resize(31, 117)
    shell.type(b"busybox stty size; exit 7\n")
    shell.wait_for(b"31 117")
    assert shell.wait() == 7


@pytest.mark.usefixtures("each_runtime")
def test_exec_with_a_terminal_of_its_own(machine: Machine) -> None:
    machine.do("run box:1 sleep 100 as host with detach = true")
    piped = machine.command("exec", "-t", "host", "sh", "-c", "busybox tty; exit 6", stdin=subprocess.DEVNULL)
    assert (piped.returncode, piped.stdout, piped.stderr) == (6, "/dev/pts/0\n", "")
    written = machine.command("exec", "-t", "host", "seq", "20000", stdin=subprocess.DEVNULL)
    assert written.stdout.split() == [str(number) for number in range(1, 20_001)]
    assert machine.command("exec", "-dt", "host", "sh", "-c", "busybox tty > /tty").returncode == 0
    assert {name for name in os.listdir(machine.folder("host")) if name.startswith("program.")} == set()


@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("flags", [(), ("-t",)])
def test_exec_of_what_is_no_program(machine: Machine, flags: tuple[str, ...]) -> None:
    machine.do("run box:1 sleep 100 as host with detach = true")
    for word, code in (("nosuch", 127), ("/nosuch", 127), ("/etc", 126), ("/etc/passwd", 126)):
        failed = machine.command("exec", *flags, "host", word, stdin=subprocess.DEVNULL)
        assert (failed.returncode, failed.stdout) == (code, ""), failed.stderr
        assert word in failed.stderr or "open executable" in failed.stderr


def test_attach_without_a_terminal(machine: Machine) -> None:
    machine.do('run box:1 sh -c "while read x; do echo got $x; done" as reader with detach = true, stdin = true')
    arguments = [sys.executable, "-m", "imq", "--root", machine.root, "attach", "reader"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write("one\n")
        first.stdin.flush()
        assert first.stdout.readline() == "got one\n"
        first.kill()  # the container goes on
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as second:
        assert second.stdin is not None
        assert second.stdout is not None
        second.stdin.write("two\n" * 20_000)
        second.stdin.flush()
        assert [second.stdout.readline() for _ in range(20_000)] == ["got two\n"] * 20_000
        machine.do("kill reader")
        assert second.wait(LIMIT) == 137
    assert machine.failure_code("attach reader") == "not-running"
    assert len(machine.rows("logs of reader")) == 20_001
