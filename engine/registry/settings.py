"""The settings of the client, and the hosts that allow connections without TLS."""

from __future__ import annotations

import re

from imq.engine.oci.media_types import DEFAULT_MAX_DOCUMENT
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCKER_HUB = "docker.io"
_DOCKER_HUB_SERVER = "registry-1.docker.io"
DOCKER_HUB_NAMES = frozenset({DOCKER_HUB, "index.docker.io", _DOCKER_HUB_SERVER})
_LOOPBACK_ADDRESS = re.compile(r"127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}\Z")


class HostSettings(Record):
    """The settings of one host; "" means not set. Values are paths, or names of a user, variable or helper.

    At most one of `password_variable`, `password_file`, `helper` and `credentials_file` is set.
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
    """The settings of the client. Times are in seconds, speeds in bytes a second.

    `insecure` holds hosts (`host`, `host:port` or an address range such as `10.0.0.0/8`) that allow plain HTTP or
    unverified TLS. `environment` holds the variables for proxies, certificates and credentials; `hosts` overrides it
    for single hosts. `authority` is a file of trusted authorities that the environment may override. `mirrors` maps a
    prefix (`host` or `host/namespace`) to the locations of its mirrors.

    `jobs` is the number of concurrent transfers, `requests` the number of concurrent small requests to one host. A
    connection below `least_speed` for a `speed_window` is closed and retried. The headers of a response have
    `read_timeout`; a whole response has `answer_timeout`, unless it is a blob. `largest_document` is the maximum size
    of a manifest or config in bytes, `list_pages` the maximum number of pages of a list. Without `waits_for_limits` a
    request that exceeds the rate limit of a host fails at once: the caller waits.
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
    largest_document: int = DEFAULT_MAX_DOCUMENT
    list_pages: int = 10_000
    authority: str = ""
    hosts: Mapping[str, HostSettings] = {}
    mirrors: Mapping[str, tuple[str, ...]] = {}
    waits_for_limits: bool = True

    def __repr__(self) -> str:
        """Omit the environment: it may contain secrets."""
        return f"Settings(insecure={sorted(self.insecure)!r}, jobs={self.jobs}, user_agent={self.user_agent!r})"

    def __hash__(self) -> int:
        """Hash without the environment: a mapping is unhashable."""
        return hash((self.insecure, self.jobs, self.user_agent, self.retries))

    def get_host_settings(self, host: str) -> HostSettings | None:
        """Return the settings of a host; docker.io has several names."""
        return self.hosts.get(DOCKER_HUB if host in DOCKER_HUB_NAMES else host)

    def allows_insecure(self, host: str) -> bool:
        """Whether `host` allows plain HTTP: the loopback, and the hosts in `insecure`."""
        return is_loopback(host) or self.is_insecure(host)

    def is_insecure(self, host: str) -> bool:
        """Whether `insecure` contains `host`, with or without its port, or a range with its address."""
        name = get_hostname(host)
        if host in self.insecure or name in self.insecure:
            return True
        ranges = [entry for entry in self.insecure if "/" in entry]
        return any(_is_in_range(name, entry) for entry in ranges)


def get_server(registry: str) -> str:
    """Return the API host of `registry`: docker.io is served by another host."""
    return _DOCKER_HUB_SERVER if registry == DOCKER_HUB else registry


def get_hostname(host: str) -> str:
    """Return `host` without its port and without the brackets around an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, on any port: its traffic crosses no network."""
    name = get_hostname(host).lower()
    if name in ("localhost", "::1"):
        return True
    return _LOOPBACK_ADDRESS.match(name) is not None


def _is_in_range(name: str, entry: str) -> bool:
    from ipaddress import ip_address, ip_network  # slow to import, and rarely needed

    try:
        return ip_address(name) in ip_network(entry, strict=False)
    except ValueError:
        return False
