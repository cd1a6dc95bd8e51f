"""Reads the metadata of installed Python distributions: `*.dist-info/METADATA`, `*.egg-info/PKG-INFO`, `RECORD`.

The formats are those of the core metadata and of recording installed projects in PyPA's specifications.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .package import OwnedFiles, Package, Problem
from .reader import batch_files, decode, decode_path, drop_partial_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .package import Rows

_HEADER_END = re.compile(rb"\r?\n[ \t]*\r?\n|\Z")
_FIELD = re.compile(r"^([A-Za-z][A-Za-z-]*):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
_LICENCE_PREFIX = re.compile(r"License :: (?:OSI Approved :: |DFSG approved :: )?")
_NO_VALUE = frozenset({"", "unknown", "none", "n/a"})
_MAX_LICENCE = 200
"""The most characters of a licence's name; longer ones are the text of the licence."""
_HASH_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
_LINE = re.compile(rb"[^\n\r]+")
_MAX_DIGITS = 16
_SOUND_RECORD = re.compile(rb'(?:[^",\r\n\0]{1,8192}+,[^",\r\n\0]{,8192}+,[^",\r\n\0]{,8192}+\r?\n)*+')
"""What `read_record` has no problem with, if no path is quoted."""


def is_sound_record(content: bytes) -> bool:
    """Whether `read_record` has no problem with a content in which no path is quoted."""
    return _SOUND_RECORD.fullmatch(content) is not None


def read_metadata(content: bytes, path: str) -> Rows:
    """Yield the distribution that a METADATA or PKG-INFO file describes."""
    end = _HEADER_END.search(content)
    header = decode(content[: end.start()] if end else content).replace("\r\n", "\n")
    fields: dict[str, list[str]] = {}
    for field in _FIELD.finditer(header):
        fields.setdefault(field[1].lower(), []).append(field[2].strip())

    def first(*names: str) -> str:
        values = (value for name in names for value in fields.get(name, ()) if value.lower() not in _NO_VALUE)
        return next(values, "")

    name, version = first("name"), first("version")
    if not name or not version:
        yield Problem(path, 0, f"no {'version' if name else 'name'}")
        return
    author = ("maintainer-email", "author-email") if "<" in first("maintainer-email", "author-email") else ()
    yield Package(
        "python",
        name,
        version,
        path,
        licence=_find_licence(first("license-expression"), first("license"), fields.get("classifier", [])),
        maintainer=first(*author, "maintainer", "author", "maintainer-email", "author-email"),
        homepage=first("home-page") or _find_homepage(fields.get("project-url", [])),
    )


def _find_licence(expression: str, licence: str, classifiers: list[str]) -> str:
    if expression:
        return expression
    if licence and "\n" not in licence and len(licence) <= _MAX_LICENCE:
        return licence
    names = [_LICENCE_PREFIX.sub("", value) for value in classifiers if value.startswith("License :: ")]
    names = [value for value in names if value != "OSI Approved"]
    return ", ".join(names) or licence.partition("\n")[0][:_MAX_LICENCE]


def _find_homepage(urls: list[str]) -> str:
    """Return the address among `Project-URL: LABEL, URL` whose label says that it is the home page."""
    for url in urls:
        label, _, address = url.partition(",")
        if re.sub(r"[^a-z]", "", label.lower()) == "homepage":
            return address.strip()
    return ""


def read_record(content: bytes, path: str) -> Rows:
    """Yield the files of `*.dist-info/RECORD`, with their checksums and the sum of their sizes."""
    import csv

    content, problem = drop_partial_line(content, path)
    if problem is not None:
        yield problem
    folder, _, _ = path.rpartition("/")
    site, _, name = folder.rpartition("/")
    owner = OwnedFiles("python", name.partition("-")[0], path, (), listed_by=f"{folder}/METADATA")
    wrong, error = 0, ""

    def iter_files() -> Iterator[tuple[str, str, int]]:
        nonlocal wrong, error
        lines = (decode_path(line[0].replace(b"\0", b"?")) for line in _LINE.finditer(content))
        try:
            for row in csv.reader(lines):
                if len(row) == 3 and row[0]:
                    yield _resolve(site, row[0]), _read_hash(row[1]), _read_size(row[2])
                elif row:
                    wrong += 1
        except csv.Error as problem:
            error = str(problem)

    yield from batch_files(owner, iter_files())
    if error:
        yield Problem(path, None, f"not CSV: {error}")
    if wrong:
        yield Problem(path, None, f"{wrong} of its lines are no path, hash and size")


def _read_size(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < _MAX_DIGITS else 0


def read_installed_files(content: bytes, path: str) -> Rows:
    """Yield the files of `*.egg-info/installed-files.txt`, which has no checksums."""
    content, problem = drop_partial_line(content, path)
    if problem is not None:
        yield problem
    folder, _, _ = path.rpartition("/")
    package = folder.rpartition("/")[2].removesuffix(".egg-info").partition("-")[0]
    owner = OwnedFiles("python", package, path, (), listed_by=f"{folder}/PKG-INFO")
    lines = (decode_path(line[0]) for line in _LINE.finditer(content))
    yield from batch_files(owner, ((_resolve(folder, line), "") for line in lines))


def _resolve(folder: str, path: str) -> str:
    """Resolve a path that can be absolute, or have `..` to leave the folder."""
    if not path.startswith(("/", "../", "./")) and "/../" not in path:
        return f"{folder}/{path}" if folder else path
    import posixpath

    return posixpath.normpath(posixpath.join("/", folder, path)).lstrip("/")


def _read_hash(text: str) -> str:
    """Return `sha256:HEX` for `sha256=` and base64; "" for what is none."""
    algorithm, _, encoded = text.partition("=")
    if algorithm not in _HASH_SIZES or not encoded.isascii():
        return ""
    from base64 import urlsafe_b64decode
    from binascii import Error

    try:
        digest = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except Error:
        return ""
    return f"{algorithm}:{digest.hex()}" if len(digest) == _HASH_SIZES[algorithm] else ""
