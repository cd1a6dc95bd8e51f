"""Addresses of engines: `unix://PATH`, `tcp://HOST:PORT`, `ssh://[USER@]HOST[:PORT][/PATH]`."""

from __future__ import annotations

from imq.grammar.errors import EngineError
from imq.grammar.record import Record

SCHEMES = ("unix://", "tcp://", "ssh://")
DEFAULT_SOCKET = "/var/run/docker.sock"
_PORT = "2375"
_TLS_PORT = "2376"


class HostAddress(Record):
    """The parts of a TCP or ssh address. `port` 0 is the default port; `path` is that of a socket on an ssh host."""

    host: str
    port: int = 0
    user: str = ""
    path: str = ""


def normalize_address(text: str, *, tls: bool) -> str:
    """Return an address with its scheme and, for TCP, its port. The default ports are 2375, and 2376 with TLS.

    Raises `EngineError` (code `engine-context`) for an address that is invalid or not supported.
    """
    text = text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//") or DEFAULT_SOCKET
        if not path.startswith("/"):
            raise _invalid_address(text, "the path of its socket is not absolute")
        return f"unix://{path}"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "tcp", text
    if scheme not in ("tcp", "ssh"):
        raise _invalid_address(text, f"the scheme {scheme[:20]}:// is not supported")
    parts = split_address(f"{scheme}://{rest}")
    if scheme == "ssh":
        return f"ssh://{rest}"
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    return f"tcp://{host}:{parts.port or (_TLS_PORT if tls else _PORT)}"


def split_address(address: str) -> HostAddress:
    """Return the parts of a TCP or ssh address. Raises `EngineError` (code `engine-context`) for an invalid one."""
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, location = authority.rpartition("@")
    if ":" in user:
        raise _invalid_address(f"{scheme}://…@{location}", "a password in an address is not supported")
    if location.startswith("["):
        host, _, port = location[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = location.partition(":")
    valid = bool(host) and not host.startswith("-") and not user.startswith("-") and bool(user) == bool(at)
    if not valid or not (host + user).isprintable() or " " in host + user or (scheme == "tcp" and (user or path)):
        raise _invalid_address(address, f"expected {scheme}://{'[USER@]' if scheme == 'ssh' else ''}HOST[:PORT]")
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise _invalid_address(address, "its port is invalid")
    return HostAddress(host, int(port or 0), user, slash + path if path else "")


def _invalid_address(text: str, reason: str) -> EngineError:
    return EngineError(
        f"{text[:200]} is not the address of an engine: {reason}",
        code="engine-context",
        hints=("examples: unix:///var/run/docker.sock, tcp://127.0.0.1:2375, ssh://user@host",),
    )
