"""Enters a user namespace in which an ordinary user is root, with the IDs that /etc/subuid and /etc/subgid give it.

As with podman, the user's own ID is root in it, and newuidmap and newgidmap, which are setuid, add the other IDs. Where
a user has no such IDs, root is the only one.
"""

from __future__ import annotations

import errno
import os

from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOOLS = {"newuidmap": "/etc/subuid", "newgidmap": "/etc/subgid"}
_FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin")
_CLONE_NEWUSER = 0x10000000
_LIMIT = 60.0
"""The maximum seconds that newuidmap takes, which may look the user up in a directory service."""
_HINTS = (
    "settings of sysctl may forbid it: user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns",
    "root needs none",
)


def read_ranges(path: str, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the IDs that a file as /etc/subuid gives a user, as the first of each range and their number.

    `names` are the name and the ID of the user. Lines that are no ranges are skipped.
    """
    ranges = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, numbers = line.strip().partition(":")
                first, _, count = numbers.partition(":")
                if name in names and first.isdecimal() and count.isdecimal() and int(count):
                    ranges.append((int(first), int(count)))
    except OSError:
        return []
    return ranges


def make_map(own: int, ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the arguments of newuidmap: root is the user's own ID, and the IDs from 1 on are those of the ranges."""
    words = [0, own, 1]
    inside = 1
    for first, count in ranges:
        words += [inside, first, count]
        inside += count
    return words


def enter_user_namespace() -> None:
    """Make this process, which has no threads, root of a new user namespace.

    Raises `StoreError` (`permission`) when the kernel refuses it, and `user-namespace` when the IDs cannot be mapped.
    """
    from .system_calls import unshare

    commands = _list_commands()
    entered, entering = os.pipe()
    helper = os.fork() if commands else 0
    if commands and not helper:
        os.close(entering)
        os._exit(0 if os.read(entered, 1) and _map_ids(commands) else 1)
    own = os.getuid(), os.getgid()
    os.close(entered)
    try:
        unshare(_CLONE_NEWUSER)
        if helper:
            os.write(entering, b"\0")
    except OSError as problem:
        raise StoreError(
            f"a user namespace, which containers of ordinary users need, cannot be made: {problem.strerror}",
            code="permission",
            hints=_HINTS,
        ) from None
    finally:
        os.close(entering)
        is_mapped = bool(helper) and os.waitpid(helper, 0)[1] == 0
    if helper and not is_mapped:
        raise StoreError(
            "the user and group IDs of containers cannot be mapped: newuidmap or newgidmap failed",
            code="user-namespace",
            hints=("/etc/subuid and /etc/subgid have to give this user IDs that no other user has",),
        )
    if not helper:
        _map_own_ids(*own)


def _list_commands() -> list[list[str]] | None:
    """Return the command lines that map the IDs of this process; None when it has no further IDs."""
    commands = []
    names = [str(os.getuid())]
    try:
        import pwd

        names.append(pwd.getpwuid(os.getuid()).pw_name)
    except (ImportError, KeyError):
        pass  # newuidmap does not know the user either
    for tool, path in _TOOLS.items():
        program = next((one for one in (f"{folder}/{tool}" for folder in _FOLDERS) if os.access(one, os.X_OK)), None)
        ranges = read_ranges(path, names)
        if program is None or not ranges or len(names) == 1:
            return None
        own = os.getuid() if tool == "newuidmap" else os.getgid()
        commands.append([program, str(os.getpid()), *map(str, make_map(own, ranges))])
    return commands


def _map_ids(commands: Sequence[Sequence[str]]) -> bool:
    from .runtime import spawn, wait_for

    try:
        return all(wait_for(spawn(command), _LIMIT) == 0 for command in commands)
    except OSError:
        return False


def _map_own_ids(uid: int, gid: int) -> None:
    """Make the user's own ID the only one of the user namespace. Its processes cannot change their groups."""
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(content)
        except OSError as problem:
            if name == "setgroups" and problem.errno == errno.ENOENT:
                continue  # before Linux 3.19
            raise StoreError(
                f"the user ID of this process cannot be mapped: {problem.strerror}", code="permission", hints=_HINTS
            ) from None
