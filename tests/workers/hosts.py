"""Where the processes of a cluster run: all on this machine, or each in a network namespace, as on hosts of their own.

The namespaces are connected by a bridge, which is in one more of them: the network of the machine is not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

NAMES = ("coordinator", "registry", "bucket", "scheduler", "worker-0", "worker-1")
_SUBNET = "10.77.0"
_PLAIN_HTTP = f"{_SUBNET}.0/24"


class Hosts(Protocol):
    """The hosts of processes, by their names."""

    insecure: str
    """The address range whose registries are reached by plain HTTP; "" if they need no permission."""

    def address(self, name: str, /) -> str:
        """Return the address of a host."""

    def command(self, name: str, arguments: Sequence[str], /) -> list[str]:
        """Return the command that runs a command on a host."""


class Loopback:
    """This machine, for all names."""

    insecure = ""

    def address(self, name: str) -> str:  # noqa: ARG002 - all have the same
        return "127.0.0.1"

    def command(self, name: str, arguments: Sequence[str]) -> list[str]:  # noqa: ARG002
        return list(arguments)


class Namespaces:
    """Network namespaces whose names begin with `prefix`. The `with` block of the process that makes them has them."""

    insecure = _PLAIN_HTTP

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def address(self, name: str) -> str:
        return f"{_SUBNET}.{NAMES.index(name) + 2}"

    def command(self, name: str, arguments: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", f"{self.prefix}-{name}", *arguments]

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        switch = f"{self.prefix}-switch"
        _run("netns", "add", switch)
        _run("-n", switch, "link", "add", "br0", "type", "bridge")
        _run("-n", switch, "link", "set", "br0", "up")
        for number, name in enumerate(NAMES):
            host, port = f"{self.prefix}-{name}", f"port{number}"
            _run("netns", "add", host)
            _run("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
            _run("-n", switch, "link", "set", port, "master", "br0", "up")
            _run("-n", host, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _run("-n", host, "link", "set", device, "up")

    def __exit__(self, *_: object) -> None:
        for name in (*NAMES, "switch"):
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{name}"], capture_output=True, check=False)


def _run(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, check=True)


def find_obstacle() -> str:
    """Return why this process cannot make network namespaces; "" if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the program ip"
    try:
        with Namespaces(f"imq-probe-{os.getpid()}"):
            return ""
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made: {error.stderr.decode(errors='replace').strip()}"
