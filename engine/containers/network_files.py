"""The files of a container that name hosts and servers: /etc/hosts, /etc/hostname and /etc/resolv.conf."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_MAX_SIZE = 1 << 20


def make_network_files(host: Mapping[str, Any], hostname: str) -> dict[str, bytes]:
    """Return the content of the files by their names, for a container with this `HostConfig`."""
    own = f"{_HOSTS}127.0.0.1\t{hostname}\n".encode()
    hosts = _read_file("/etc/hosts") if host["NetworkMode"] == "host" else own
    if added := host.get("ExtraHosts"):
        hosts = hosts if not hosts or hosts.endswith(b"\n") else hosts + b"\n"
        pairs = (text.partition(":") for text in added)
        hosts += "".join(f"{address}\t{name}\n" for name, _, address in pairs).encode()
    return {"hosts": hosts, "hostname": f"{hostname}\n".encode(), "resolv.conf": _make_resolver_file(host)}


def _make_resolver_file(host: Mapping[str, Any]) -> bytes:
    """Return the resolv.conf of this machine, in which the lines of what the container is given are replaced."""
    given: dict[str, list[str] | None] = {
        "nameserver": host.get("Dns"),
        "search": host.get("DnsSearch"),
        "options": host.get("DnsOptions"),
    }
    content = _read_file("/etc/resolv.conf")
    if not any(given.values()):
        return content
    replaced = {name.encode() for name, values in given.items() if values}
    if b"search" in replaced:
        replaced.add(b"domain")
    lines = [line for line in content.splitlines() if line.split(maxsplit=1)[:1] not in [[one] for one in replaced]]
    lines += [f"nameserver {address}".encode() for address in given["nameserver"] or ()]
    for name in ("search", "options"):
        words = given[name] or []
        if words and words != ["."]:
            lines.append(" ".join((name, *words)).encode())
    return b"".join(line + b"\n" for line in lines)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_SIZE)
    except OSError:
        return b""
