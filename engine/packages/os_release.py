"""The name and version of the operating system in an image, from `etc/os-release` and its predecessors.

The format is that of os-release(5): assignments as in a shell, with quotes and backslashes, but without expansion.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING, Record

from .reader import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

OS_FILES = (
    b"etc/os-release",
    b"usr/lib/os-release",
    b"etc/alpine-release",
    b"etc/debian_version",
    b"etc/redhat-release",
    b"etc/system-release",
)
"""The files that `read_os` reads, relative to the root. `etc/os-release` is usually a link to the second."""
MAX_OS_FILE = 64 << 10
"""The most bytes of such a file that are of interest."""

_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=")
_SINGLE = re.compile(r"[^']*")
_DOUBLE = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)
_BARE = re.compile(r"(?:[^\s'\"\\]|\\.)+", re.DOTALL)
_ESCAPE = re.compile(r"\\([\"$`\\])|\\\n", re.DOTALL)
_BARE_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_RED_HAT = re.compile(r"(.+?)(?: Linux)?(?: release)? (\d[\w.]*)(?: \(([^)]+)\))?")
_RED_HAT_IDS = {
    "red hat enterprise": "rhel", "red hat enterprise linux server": "rhel", "red hat enterprise server": "rhel",
    "centos": "centos", "centos stream": "centos", "fedora": "fedora", "rocky": "rocky", "almalinux": "almalinux",
    "oracle": "ol", "oracle linux server": "ol", "scientific": "scientific",
    "amazon": "amzn", "amazon linux ami": "amzn",
}  # fmt: skip


class OsRelease(Record):
    """The operating system of an image. An unknown value is ""."""

    id: str
    """In lower case, as in package URLs: `debian`, `alpine`, `rhel`."""
    version_id: str = ""
    pretty_name: str = ""
    codename: str = ""
    """`bookworm`."""
    id_like: tuple[str, ...] = ()
    """The systems that this one derives from, the closest first: `rhel`, `fedora`."""
    name: str = ""
    variant_id: str = ""


def parse_os_release(content: bytes) -> dict[str, str]:
    """Return the assignments of an os-release file. Lines that are none are skipped; the last assignment counts."""
    text, at, found = decode(content[:MAX_OS_FILE]).replace("\r\n", "\n"), 0, {}
    while at < len(text):
        name = _NAME.match(text, at)
        if name is not None:
            value, at = _parse_value(text, name.end())
            found[name[1]] = value
        end = text.find("\n", at)
        at = len(text) if end < 0 else end + 1
    return found


def _parse_value(text: str, at: int) -> tuple[str, int]:
    """Return the value of an assignment: quoted and bare pieces without space between them, and where it ends."""
    pieces = []
    while at < len(text):
        quote = text[at]
        if quote in "'\"":
            inner = (_SINGLE if quote == "'" else _DOUBLE).match(text, at + 1)
            if inner is None or text[inner.end() : inner.end() + 1] != quote:  # the quote is never closed
                end = text.find("\n", at)
                end = len(text) if end < 0 else end
                pieces.append(text[at + 1 : end])
                return "".join(pieces), end
            pieces.append(inner[0] if quote == "'" else _ESCAPE.sub(lambda found: found[1] or "", inner[0]))
            at = inner.end() + 1
            continue
        bare = _BARE.match(text, at)
        if bare is None:
            break
        pieces.append(_BARE_ESCAPE.sub(lambda found: "" if found[1] == "\n" else found[1], bare[0]))
        at = bare.end()
    return "".join(pieces), at


def read_os(files: Mapping[bytes, bytes]) -> OsRelease | None:
    """Return the operating system by the contents of those of `OS_FILES` that an image has; None if it has none.

    os-release of Debian's testing has no version, and CentOS 6 has no os-release: then the older files are read.
    """
    content = files.get(b"etc/os-release") or files.get(b"usr/lib/os-release")
    if content is None:
        return _read_older(files)
    values = parse_os_release(content)
    version = values.get("VERSION_ID", "")
    codename = values.get("VERSION_CODENAME") or values.get("UBUNTU_CODENAME", "")
    in_version = re.search(r"\(([^)]+)\)", values.get("VERSION", ""))
    if "VERSION_CODENAME" not in values and in_version is not None and in_version[1] != values.get("VARIANT"):
        codename = codename or in_version[1].lower()
    found = OsRelease(
        id=values.get("ID", "linux").lower(),
        version_id=version,
        pretty_name=values.get("PRETTY_NAME") or values.get("NAME", "Linux"),
        codename=codename,
        id_like=tuple(values.get("ID_LIKE", "").lower().split()),
        name=values.get("NAME", "Linux"),
        variant_id=values.get("VARIANT_ID", ""),
    )
    if not version and (older := _read_older(files)) is not None and older.id == found.id:
        return found.replace(version_id=older.version_id, codename=codename or older.codename)
    return found


def _read_older(files: Mapping[bytes, bytes]) -> OsRelease | None:
    def first_line(path: bytes) -> str:
        return decode(files.get(path, b"")[:MAX_OS_FILE]).strip().partition("\n")[0].strip()

    if alpine := first_line(b"etc/alpine-release"):
        return OsRelease("alpine", alpine, f"Alpine Linux v{alpine}", name="Alpine Linux")
    red_hat = first_line(b"etc/redhat-release") or first_line(b"etc/system-release")
    if match := _RED_HAT.fullmatch(red_hat):
        system = _RED_HAT_IDS.get(match[1].lower().removesuffix(" linux"))
        system = system or match[1].lower().partition(" ")[0]
        return OsRelease(system, match[2], red_hat, codename=(match[3] or "").lower(), name=match[1])
    if debian := first_line(b"etc/debian_version"):
        if debian[0].isdigit():
            return OsRelease("debian", debian, f"Debian GNU/Linux {debian}", name="Debian GNU/Linux")
        codename = debian.partition("/")[0]
        return OsRelease("debian", "", f"Debian GNU/Linux {debian}", codename, name="Debian GNU/Linux")
    return None
