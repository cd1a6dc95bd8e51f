"""The flags of `docker run` and `docker create`, as values of `with` for containers."""

from __future__ import annotations

import re

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from .flags import ParsedFlags

_TEXT_FLAGS = {
    "name": "name", "user": "user", "workdir": "workdir", "hostname": "hostname", "stop-signal": "stop_signal",
    "stop-timeout": "stop_timeout", "cpus": "cpu_limit", "pids-limit": "pids_limit", "entrypoint": "entrypoint",
    "cpu-shares": "cpu_shares", "cpuset-cpus": "cpuset_cpus", "cpuset-mems": "cpuset_mems", "pid": "pid_mode",
    "oom-score-adj": "oom_score_adj", "ipc": "ipc_mode", "uts": "uts_mode", "restart": "restart_policy",
    "timeout": "timeout", "detach-keys": "detach_keys", "cidfile": "id_file", "health-cmd": "health_cmd",
    "health-interval": "health_interval", "health-retries": "health_retries", "health-timeout": "health_timeout",
    "health-start-period": "health_start_period", "health-start-interval": "health_start_interval",
}  # fmt: skip
"""Flags with a text, and the names of their values in `with`."""
_SWITCHES = {
    "rm": "auto_remove", "read-only": "read_only", "interactive": "stdin", "tty": "terminal", "detach": "detach",
    "privileged": "privileged", "init": "init", "no-healthcheck": "no_healthcheck",
}  # fmt: skip
_LISTS = {
    "env": "env", "env-file": "env_file", "label": "label", "label-file": "label_file", "volume": "mount",
    "mount": "mount", "tmpfs": "tmpfs", "cap-add": "cap_add", "cap-drop": "cap_drop", "security-opt": "security_opt",
    "device": "device", "ulimit": "ulimit", "sysctl": "sysctl", "add-host": "add_host", "dns": "dns",
    "dns-search": "dns_search", "dns-option": "dns_option", "dns-opt": "dns_option", "group-add": "group_add",
    "expose": "expose",
}  # fmt: skip
_SIZES = {
    "memory": "memory_limit", "memory-swap": "memory_swap", "memory-reservation": "memory_reservation",
    "shm-size": "shm_size",
}  # fmt: skip
_ENGINE_FLAGS = {"publish": "publish", "volumes-from": "volumes_from"}
"""Flags that only engines support, and the names of their values in `with`."""
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def list_creation_values(parsed: ParsedFlags) -> list[tuple[str, str]]:
    """Return the values of a command line, each with its name in `with`. Raises `StatementError` for invalid sizes."""
    pairs = [(name, parsed.get_last(flag)) for flag, name in _TEXT_FLAGS.items() if parsed.get_all(flag)]
    pairs += [(name, text) for flag, name in _LISTS.items() for text in parsed.get_all(flag)]
    pairs += [(name, "true") for flag, name in _SWITCHES.items() if parsed.is_on(flag)]
    for flag, name in _SIZES.items():
        if text := parsed.get_last(flag):
            pairs.append((name, text if text == "-1" else f"{_parse_memory(flag, text)}B"))
    if network := parsed.get_last("network") or parsed.get_last("net"):
        pairs.append(("network_mode", network))
    return [*pairs, *((name, text) for flag, name in _ENGINE_FLAGS.items() for text in parsed.get_all(flag))]


def _parse_memory(flag: str, text: str) -> int:
    """Return a size of docker's flags in bytes: its units are binary."""
    match = re.match(r"(?i)(\d+(?:\.\d+)?) ?([kmgt]?)i?(b?)\Z", text)
    if match is None:
        name = {"memory": "-m, --memory"}.get(flag, f"--{flag}")
        raise StatementError(f'invalid argument "{text}" for "{name}" flag: invalid size', code="option")
    return int(float(match[1]) * _UNITS[match[2].lower()])
