"""The user and the groups of a container, by the passwd and group files of its image, as docker finds them."""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_ID = (1 << 31) - 1


class User(Record):
    """A user of a container: its IDs, and its home folder when passwd has one."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = ""


def find_user(text: str, read: Callable[[str], bytes | None]) -> User:
    """Return the user that `USER[:GROUP]` means, each a name or a number; "" is root.

    `read` returns the content of a file of the image, None when it has none. Raises `StatementError` (`no-such-user`).
    """
    name, _, group = text.partition(":")
    uid, gid, home, login = 0, 0, "", ""
    number = _parse_id(name) if name else 0
    for fields in _read_rows(read("/etc/passwd"), 7):
        matches = fields[0] == name if number is None else _parse_id(fields[2]) == number
        user_id, group_id = _parse_id(fields[2]), _parse_id(fields[3])
        if matches and user_id is not None and group_id is not None:
            uid, gid, home, login = user_id, group_id, fields[5], fields[0]
            break
    else:
        if number is None:
            raise StatementError(
                f"unable to find user {name}: no matching entries in passwd file",
                code="no-such-user",
                hints=("give the number of the user, or the name of one of the image",),
            )
        uid = number
    groups: list[int] = []
    group_number = _parse_id(group) if group else None
    is_found = not group
    for fields in _read_rows(read("/etc/group"), 4):
        own = _parse_id(fields[2])
        if own is None:
            continue
        if group and (fields[0] == group or (group_number is not None and own == group_number)):
            gid, is_found = own, True
        elif not group and login and login in fields[3].split(","):
            groups.append(own)
    if not is_found:
        if group_number is None:
            raise StatementError(
                f"unable to find group {group}: no matching entries in group file", code="no-such-user"
            )
        gid = group_number
    return User(uid, gid, tuple(dict.fromkeys(one for one in groups if one != gid)), home)


def has_names(text: str) -> bool:
    """Whether `USER[:GROUP]` has a name, which the files of an image may lack."""
    return any(part and _parse_id(part) is None for part in text.split(":", 1))


def _parse_id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text[:12]) <= _MAX_ID else None


def _read_rows(content: bytes | None, count: int) -> Iterator[list[str]]:
    """Yield the fields of the lines of a passwd or group file that have enough of them."""
    for line in (content or b"").decode("utf-8", "surrogateescape").splitlines():
        fields = line.strip().split(":")
        if not line.startswith("#") and fields[0]:
            yield fields + [""] * (count - len(fields))
