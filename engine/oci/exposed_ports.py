"""Parses the ports of `EXPOSE` and `docker run --publish`: `80`, `53/udp`, `8000-8002`, `127.0.0.1:8080:80`.

Errors are `ValueError`s with docker's messages.
"""

from __future__ import annotations

_MAX_PORT = 65535
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})


def parse_container_ports(text: str) -> list[str]:
    """Return the container ports of a port specification, each in the form `80/tcp`."""
    address, host, container = _split_parts(text)
    number, _, rest = container.partition("/")
    protocol = rest.partition("/")[0] or "tcp"
    if ":" in address and not (address.startswith("[") and address.endswith("]")):
        raise ValueError(f"Invalid ip address {address}: address {address}:: too many colons in address")
    if not _is_address(address):
        raise ValueError(f"Invalid ip address: {address}")
    if not number:
        raise ValueError(f"No port specified: {text}<empty>")
    first, last = _parse_range(number, "containerPort")
    if host:
        host_first, host_last = _parse_range(host, "hostPort")
        if last - first not in (0, host_last - host_first):
            raise ValueError(f"Invalid ranges specified for container and host Ports: {number} and {host}")
    if protocol.lower() not in _PROTOCOLS:
        raise ValueError(f"Invalid proto: {protocol}")
    return [f"{port}/{protocol.lower()}" for port in range(first, last + 1)]


def _split_parts(text: str) -> tuple[str, str, str]:
    """Split `address:host:container`. An IPv6 address has further colons, with or without brackets."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", "", parts[0]
    if len(parts) == 2:
        return "", parts[0], parts[1]
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _is_address(text: str) -> bool:
    if not text:
        return True
    from ipaddress import ip_address

    try:
        ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return False
    return True


def _parse_range(text: str, name: str) -> tuple[int, int]:
    first, *last = text.split("-")  # docker ignores the part after a second dash
    numbers = (first, *last[:1]) if last else (first, first)
    for number in numbers:
        if not (number.isascii() and number.isdigit() and int(number[:9]) <= _MAX_PORT and len(number) <= 9):
            raise ValueError(f"Invalid {name}: {text}")
    if int(numbers[0]) > int(numbers[1]):
        raise ValueError(f"Invalid {name}: {text}")
    return int(numbers[0]), int(numbers[1])
