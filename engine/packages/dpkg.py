"""Reads dpkg's database: `var/lib/dpkg/status`, the lists in `info/`, and `status.d/` of distroless images.

The formats are those of deb-control(5) and deb-md5sums(5).
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .package import OwnedFiles, Package, Problem
from .reader import batch_files, decode, decode_path, drop_partial_line, iter_paragraphs, split_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .package import Rows

_FIELD = re.compile(rb"\n([A-Za-z-]+):([^\n]*)")
_NAMES = frozenset({
    b"package", b"status", b"version", b"architecture", b"source", b"installed-size", b"maintainer", b"homepage",
})  # fmt: skip
_CONFFILES = re.compile(rb"\n[Cc][Oo][Nn][Ff][Ff][Ii][Ll][Ee][Ss]:[^\n]*((?:\n[ \t].*)*)")
"""The field after the end of a line: this pattern is searched ten times as fast as one that ignores case."""
_SOUND_LINES = re.compile(rb"(?:(?:[ \t#][^\n]*+|[!-9;-~]++:[^\n]*+)?\n)*+")
"""Lines that are a field, the continuation of one, a comment or empty."""
_STRAY_LINE = re.compile(rb"^(?![ \t#]|[!-9;-~]+:|$).", re.MULTILINE)
"""A line that is neither a field, the continuation of one, a comment nor empty."""
_LINE = re.compile(rb"[^\n]+")
_MD5 = re.compile(rb"[0-9a-f]{32}")
_MD5_LINE = re.compile(r"^([0-9a-fA-F]{32}) [ *]?(?:\./|/)?(.+)$", re.MULTILINE)
_SOUND_CHECKSUMS = re.compile(rb"(?:[0-9a-fA-F]{32} [ *]?[^\n]++\n)*+")
_UNPACKED = frozenset({b"installed", b"unpacked", b"half-configured", b"triggers-awaited", b"triggers-pending"})
"""The states in which the files of a package are in place. In the others they were removed, or never unpacked."""
_KIB = 1024


def read_status(content: bytes, path: str) -> Rows:
    """Yield the installed packages of `var/lib/dpkg/status`, and their configuration files with checksums.

    A package counts as installed in every state in which its files are unpacked: configuring can be unfinished.
    """
    return _read_paragraphs(content, path, needs_status=True)


def is_sound_list(content: bytes) -> bool:
    """Whether `read_file_list` has no problem with a content: its last line ends."""
    return not content or content.endswith(b"\n")


def has_sound_checksums(content: bytes) -> bool:
    """Whether `read_checksums` has no problem with a content."""
    return _SOUND_CHECKSUMS.fullmatch(content) is not None


def read_distroless(content: bytes, path: str) -> Rows:
    """Yield the package of a file in `var/lib/dpkg/status.d/`: a control file without a status."""
    return _read_paragraphs(content, path, needs_status=False)


def read_journal(content: bytes, path: str) -> Rows:
    """Yield a problem: dpkg was interrupted before it has brought a file of `updates/` into the status."""
    if content.strip(b"#\n"):
        yield Problem(path, 0, "changes that status does not have yet: its packages can be older")


def _read_paragraphs(content: bytes, path: str, *, needs_status: bool) -> Rows:
    if needs_status:
        content, problem = drop_partial_line(content, path)
        if problem is not None:
            yield problem
    is_sound = _SOUND_LINES.fullmatch(content) is not None
    for offset, text in iter_paragraphs(content):
        if not is_sound and (stray := _STRAY_LINE.search(text)):
            yield Problem(path, offset + stray.start(), "neither a field nor the continuation of one")
        lines = b"\n" + text
        fields: dict[bytes, bytes] = {}
        for written, value in _FIELD.findall(lines):
            if (name := written.lower()) in _NAMES:
                fields.setdefault(name, value.strip())
        state = fields.get(b"status", b"").split()
        if state[-1:] and state[-1] not in _UNPACKED:
            continue
        name, version = fields.get(b"package"), fields.get(b"version")
        if missing := [word for word, value in (("package", name), ("version", version)) if not value]:
            if fields:
                yield Problem(path, offset, f"an entry without {' and '.join(missing)}")
            continue
        if needs_status and not state:
            yield Problem(path, offset, f"the entry of {decode(name or b'')} has no status")
            continue
        source, source_version = _split_source(fields.get(b"source", b""))
        size = fields.get(b"installed-size", b"")
        package = Package(
            "deb",
            decode(name or b""),
            decode(version or b""),
            path,
            architecture=decode(fields.get(b"architecture", b"")),
            source=source,
            source_version=source_version,
            size=int(size) * _KIB if size.isdigit() and len(size) < 16 else None,
            maintainer=decode(fields.get(b"maintainer", b"")),
            homepage=decode(fields.get(b"homepage", b"")),
        )
        yield package
        if conffiles := _CONFFILES.search(lines):
            yield from batch_files(OwnedFiles("deb", package.key, path, ()), _iter_conffiles(conffiles[1]))


def _iter_conffiles(lines: bytes) -> Iterator[tuple[str, str]]:
    """Yield the configuration files of lines such as ` /etc/profile 0123…`. Those of older versions are omitted."""
    for line in _LINE.finditer(lines):
        name, _, digest = line[0].strip().rpartition(b" ")
        if name.startswith(b"/") and _MD5.fullmatch(digest):
            yield decode_path(name.strip(b"/ ")), f"md5:{decode(digest)}"


def _split_source(source: bytes) -> tuple[str, str]:
    """Split `glibc (2.36-9)` into name and version; the version is omitted if it is that of the package."""
    name, _, rest = decode(source).partition("(")
    return name.strip(), rest.rstrip(") ").strip()


def read_file_list(content: bytes, path: str) -> Rows:
    """Yield the files and folders of `info/NAME.list`."""
    content, problem = drop_partial_line(content, path)
    if problem is not None:
        yield problem
    names = (line.lstrip("/") for line in decode_path(content).split("\n"))
    yield from split_files(_owner(path), [(name, "") for name in names if name not in {"", "."}])


def read_checksums(content: bytes, path: str) -> Rows:
    """Yield the files of `info/NAME.md5sums`, or of distroless' `status.d/NAME.md5sums`, with their checksums."""
    content, problem = drop_partial_line(content, path)
    if problem is not None:
        yield problem
    lines = _MD5_LINE.findall(decode_path(content))
    yield from split_files(_owner(path), [(name, f"md5:{digest.lower()}") for digest, name in lines])
    if wrong := content.count(b"\n") - len(lines):
        yield Problem(path, None, f"{wrong} of its lines are no checksum and name")


def _owner(path: str) -> OwnedFiles:
    """Return the package for which the file is named, without files."""
    return OwnedFiles("deb", path.rpartition("/")[2].rpartition(".")[0], path, ())
