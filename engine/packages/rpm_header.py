"""Parses the headers of installed RPM packages, as every kind of RPM database stores them.

A header is two numbers, the count of its entries and the size of its data; the entries, 16 bytes each (tag, type,
offset in the data, count of values); and the data. Numbers are big-endian. The format is that of "Header" in RPM's
file format reference.
"""

from __future__ import annotations

from struct import Struct, error, unpack_from

from imq.grammar.record import TYPE_CHECKING

from .package import OwnedFiles, Package, Problem
from .reader import batch_files, decode, decode_path

if TYPE_CHECKING:
    from .package import Rows

_NAME, _VERSION, _RELEASE, _EPOCH, _SIZE, _VENDOR, _LICENSE, _PACKAGER, _URL, _ARCH, _SOURCE_RPM = (
    1000, 1001, 1002, 1003, 1009, 1011, 1014, 1015, 1020, 1022, 1044,
)  # fmt: skip
_OLD_FILE_NAMES, _FILE_STATES, _FILE_DIGESTS = 1027, 1029, 1035
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1116, 1117, 1118
_LONG_SIZE, _FILE_DIGEST_ALGORITHM = 5009, 5011
_TAGS = frozenset({
    _NAME, _VERSION, _RELEASE, _EPOCH, _SIZE, _VENDOR, _LICENSE, _PACKAGER, _URL, _ARCH, _SOURCE_RPM, _OLD_FILE_NAMES,
    _FILE_STATES, _FILE_DIGESTS, _DIR_INDEXES, _BASE_NAMES, _DIR_NAMES, _LONG_SIZE, _FILE_DIGEST_ALGORITHM,
})  # fmt: skip
_INTRO, _ENTRY = Struct(">II"), Struct(">IIII")
_CHAR, _INT8, _INT16, _INT32, _INT64, _STRING, _BINARY, _STRINGS, _I18N = 1, 2, 3, 4, 5, 6, 7, 8, 9
_NUMBERS = {_CHAR: ("B", 1), _INT8: ("B", 1), _INT16: ("H", 2), _INT32: ("I", 4), _INT64: ("Q", 8)}
_MAX_ENTRIES = 0xFFFF
_MAX_VALUES = 500_000
"""The most values of an entry. Packages of the largest distributions have 100,000 files."""
MAX_HEADER = 32 << 20
"""The most bytes of a header. RPM accepts 256 MB; headers of packages with 100,000 files have 15 MB."""
_ALGORITHMS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
"""The values of the tag for the algorithm of checksums, which are those of OpenPGP. Without it: MD5."""
_INSTALLED = 0
"""The state of a file that is in place; others were replaced, or not installed."""


def read_header(header: bytes, path: str, offset: int | None) -> Rows:
    """Yield the package of a header and its files. `offset` is that of the header in its file, for problems."""
    if len(header) < _INTRO.size:
        yield Problem(path, offset, "a header that is cut short")
        return
    count, data_size = _INTRO.unpack_from(header)
    start = _INTRO.size + count * _ENTRY.size
    if count > _MAX_ENTRIES or start > len(header):
        yield Problem(path, offset, f"a header of {len(header):,} bytes that claims to have {count:,} entries")
        return
    data = header[start : start + data_size]
    values: dict[int, list[bytes] | tuple[int, ...]] = {}
    wrong = []
    for tag, kind, at, number in _ENTRY.iter_unpack(header[_INTRO.size : start]):
        if tag in _TAGS and tag not in values:
            try:
                values[tag] = _read_values(data, kind, at, number)
            except error:
                wrong.append(tag)
    if wrong:
        tags = ", ".join(map(str, wrong))
        yield Problem(path, offset, f"a header whose data of {len(data):,} bytes does not have its tags {tags}")
    yield from _read_package(values, path, offset)


def _read_values(data: bytes, kind: int, at: int, number: int) -> list[bytes] | tuple[int, ...]:
    """Return the values of an entry. Raises `struct.error` if the data does not contain them."""
    if kind in _NUMBERS:
        letter, size = _NUMBERS[kind]
        if number > min(len(data) // size, _MAX_VALUES):
            raise error("too few bytes")
        return unpack_from(f">{number}{letter}", data, at)
    if kind not in {_STRING, _STRINGS, _I18N}:
        raise error("not a type of values")
    if at > len(data) or number > min(len(data), _MAX_VALUES):
        raise error("too few bytes")
    if kind == _STRING or number == 1:
        end = data.find(b"\0", at)
        if end < 0:
            raise error("a string without end")
        return [data[at:end]]
    strings = data[at:].split(b"\0", number)
    if len(strings) <= number:
        raise error("too few strings")
    return strings[:number]


def _read_package(values: dict[int, list[bytes] | tuple[int, ...]], path: str, offset: int | None) -> Rows:
    def text(tag: int) -> str:
        found = values.get(tag)
        return decode(found[0]) if isinstance(found, list) and found else ""

    def number(tag: int) -> int | None:
        found = values.get(tag)
        return found[0] if isinstance(found, tuple) and found else None

    name, version, release = text(_NAME), text(_VERSION), text(_RELEASE)
    if not name or not version:
        yield Problem(path, offset, f"a header without {'version' if name else 'name'}")
        return
    epoch = number(_EPOCH)
    source, source_version = _split_source(text(_SOURCE_RPM))
    size = number(_LONG_SIZE)
    full_version = f"{version}-{release}" if release else version
    package = Package(
        "rpm",
        name,
        f"{epoch}:{full_version}" if epoch else full_version,
        path,
        architecture=text(_ARCH),
        source=source if source != name else "",
        source_version=source_version if source_version != full_version else "",
        licence=text(_LICENSE),
        size=number(_SIZE) if size is None else size,
        maintainer=text(_PACKAGER) or text(_VENDOR),
        homepage=text(_URL),
        vendor=text(_VENDOR),
    )
    yield package
    files = _read_files(values, number(_FILE_DIGEST_ALGORITHM))
    if files is None:
        yield Problem(path, offset, f"the header of {name} has lists of files that do not agree")
    else:
        yield from batch_files(OwnedFiles("rpm", package.key, path, ()), files)


def _split_source(source: str) -> tuple[str, str]:
    """Split `glibc-2.34-60.el9.src.rpm` into name and version."""
    parts = source.removesuffix(".rpm").removesuffix(".src").removesuffix(".nosrc").rsplit("-", 2)
    return (parts[0], f"{parts[1]}-{parts[2]}") if len(parts) == 3 else ("", "")


def _read_files(
    values: dict[int, list[bytes] | tuple[int, ...]], algorithm: int | None
) -> list[tuple[str, str]] | None:
    """Return the files that are in place, with their checksums; None if the lists of the header do not agree."""
    names, folders, indexes = (values.get(tag, ()) for tag in (_BASE_NAMES, _DIR_NAMES, _DIR_INDEXES))
    if old := values.get(_OLD_FILE_NAMES):
        paths = [decode_path(name) for name in old if isinstance(name, bytes)]
    else:
        if len(names) != len(indexes):
            return None
        decoded = [decode_path(name) for name in folders if isinstance(name, bytes)]
        paths = []
        for name, index in zip(names, indexes, strict=True):
            if not isinstance(name, bytes) or not isinstance(index, int) or index >= len(decoded):
                return None
            paths.append(decoded[index] + decode_path(name))
    states, digests = values.get(_FILE_STATES, ()), values.get(_FILE_DIGESTS, ())
    prefix = _ALGORITHMS.get(1 if algorithm is None else algorithm, "")
    files = []
    for at, file in enumerate(paths):
        if at < len(states) and states[at] != _INSTALLED:
            continue
        digest = digests[at] if at < len(digests) else b""
        known = prefix and isinstance(digest, bytes) and digest
        files.append((file.lstrip("/"), f"{prefix}:{decode(digest)}" if known and isinstance(digest, bytes) else ""))
    return files
