"""What the client is told from outside, and which hosts may be spoken to without TLS."""

from __future__ import annotations

import re

from imq.engine.oci.manifest import LARGEST_DOCUMENT
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCKER_HUB = "docker.io"
_DOCKER_HUB_SERVER = "registry-1.docker.io"
DOCKER_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io", _DOCKER_HUB_SERVER})
_LOOPBACK_ADDRESS = re.compile(r"127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}\Z")


class Host(Record):
    """What is set for one host; "" is not set. All are paths but the names of a user, a variable and a helper.

    Of `password_variable`, `password_file`, `helper` and `credentials_file`, where credentials are, one at most is set.
    """

    authority: str = ""
    certificate: str = ""
    key: str = ""
    user: str = ""
    password_variable: str = ""
    password_file: str = ""
    helper: str = ""
    credentials_file: str = ""


class Settings(Record):
    """How to speak to registries. Times are in seconds, speeds in bytes a second.

    `insecure` holds hosts (`host`, `host:port` or an address range such as `10.0.0.0/8`) that may be spoken to over
    plain http or TLS that is not verified. `environment` is where proxies, certificates and credentials are found, but
    for what `hosts` says of single ones; `authority` is a file of trusted authorities that it may override. `mirrors`
    are, by the place (`host`, or `host/namespace`) that they are of, places where the same is to be had first. `jobs`
    are transfers at once, `requests` small questions at once to one host. A connection that for a `speed_window` is
    slower than `least_speed` is given up like one that breaks. The headers of an answer have `read_timeout`, all of it
    has `answer_timeout`, unless it is a blob. `largest_document` are the most bytes of a manifest or config,
    `list_pages` the most pages of a list.
    """

    insecure: frozenset[str] = frozenset()
    environment: Mapping[str, str] = {}
    jobs: int = 4
    requests: int = 24
    user_agent: str = "imq"
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    answer_timeout: float = 300.0
    helper_timeout: float = 60.0
    retries: int = 4
    first_wait: float = 0.25
    longest_wait: float = 30.0
    least_speed: int = 1000
    speed_window: float = 30.0
    largest_document: int = LARGEST_DOCUMENT
    list_pages: int = 10_000
    authority: str = ""
    hosts: Mapping[str, Host] = {}
    mirrors: Mapping[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        """Leave the environment out: it may hold secrets."""
        return f"Settings(insecure={sorted(self.insecure)!r}, jobs={self.jobs}, user_agent={self.user_agent!r})"

    def __hash__(self) -> int:
        """Hash without the environment: a mapping cannot be hashed."""
        return hash((self.insecure, self.jobs, self.user_agent, self.retries))

    def host(self, host: str) -> Host | None:
        """Return what is set for a host, docker.io by whichever of its names."""
        return self.hosts.get(DOCKER_HUB if host in DOCKER_HUB_NAMES else host)

    def trusts(self, host: str) -> bool:
        """Whether `host` may be spoken to over plain http: the loopback, and what `insecure` names."""
        return is_loopback(host) or self.names_insecure(host)

    def names_insecure(self, host: str) -> bool:
        """Whether `insecure` names `host`, with or without its port, or a range that its address is in."""
        name = hostname(host)
        if host in self.insecure or name in self.insecure:
            return True
        ranges = [entry for entry in self.insecure if "/" in entry]
        return any(_within(name, entry) for entry in ranges)


def server_of(registry: str) -> str:
    """Return the host that serves the API of `registry`: docker.io is only a name for another one."""
    return _DOCKER_HUB_SERVER if registry == DOCKER_HUB else registry


def hostname(host: str) -> str:
    """Return `host` without its port and without the brackets around an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, whatever the port: what goes there crosses no network."""
    name = hostname(host).lower()
    if name in ("localhost", "::1"):
        return True
    return _LOOPBACK_ADDRESS.match(name) is not None


def _within(name: str, entry: str) -> bool:
    from ipaddress import ip_address, ip_network  # only those who write ranges pay for it

    try:
        return ip_address(name) in ip_network(entry, strict=False)
    except ValueError:
        return False
