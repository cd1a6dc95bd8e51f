"""Finds the packages that own paths of images, by the lists of files of the packages."""

from __future__ import annotations

from imq.engine.layer_index.path_text import to_text
from imq.engine.layer_index.readers import unpack_owned
from imq.engine.layer_index.schema import OWNED_NOTE, SCHEMA
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imq.engine.packages.package import OwnedFiles

    from .content_scan import ContentScan
    from .image_paths import PathResolver

_SYSTEM_TYPES = frozenset({"deb", "apk", "rpm"})
"""The types whose packages also bring packages of other types, as python3-yaml of Debian brings PyYAML."""
Owner = tuple[str, str | None]
"""The name of a package, and the checksum that it has for a path."""


def read_owners(
    scan: ContentScan, stack: str, resolver: PathResolver, paths: Iterable[tuple[int, str]]
) -> dict[tuple[int, str], Owner]:
    """Return the owners of paths, by the number of the image and the path.

    `stack` is the table of the layers of the images, which are all scanned as a whole. A list can name a path through a
    link to a folder, as dpkg lists `/bin/ls` where `/bin` leads to `/usr/bin`.
    """
    requested = set(paths)
    names = {path.rpartition("/")[2] for _, path in requested}
    images = {number for number, _ in requested}
    listed = list(_list_candidates(scan, stack, images, names))
    folders = resolver.resolve((number, path.rpartition("/")[0]) for number, path, *_ in listed)
    found: dict[tuple[int, str], tuple[int, str, str]] = {}  # a rank, a package, a checksum
    for number, path, rank, package, checksum in listed:
        folder, _, name = path.rpartition("/")
        resolved = folders[number, folder].path
        if resolved is None:
            continue
        key = number, f"{'' if resolved == '/' else resolved}/{name}"
        if key not in requested:
            continue
        other = found.get(key)
        if other is None or (rank, package) < other[:2] or ((rank, package) == other[:2] and not other[2]):
            found[key] = rank, package, checksum
    return {key: (package, checksum or None) for key, (_, package, checksum) in found.items()}


def _list_candidates(
    scan: ContentScan, stack: str, images: set[int], names: set[str]
) -> Iterator[tuple[int, str, int, str, str]]:
    """Yield the listed paths with one of the `names`: number, path, rank and name of the package, checksum."""
    connection = scan.connection
    hidden = scan.write_hidden("1", "note.layer", "note.directory", "note.name", stack)
    shown: dict[int, list[int]] = {}
    for note, number in connection.execute(
        f"""SELECT note.rowid, stack.number FROM temp.{stack} AS stack
        CROSS JOIN {SCHEMA}.note ON note.layer = stack.layer AND note.kind = '{OWNED_NOTE}'
        WHERE NOT EXISTS ({hidden})"""
    ):
        if number in images:
            shown.setdefault(note, []).append(number)
    package_names = _read_package_names(scan, stack) if shown else {}
    for note, numbers in shown.items():
        (packed,) = connection.execute(f"SELECT document FROM {SCHEMA}.note WHERE rowid = ?", (note,)).fetchone()
        for owner in unpack_owned(packed):
            rank = int(owner.type not in _SYSTEM_TYPES)
            package = _find_name(owner, package_names)
            for listed, checksum in owner.files:
                path = f"/{to_text(listed).strip('/')}"
                if path[path.rfind("/") + 1 :] in names:
                    for number in numbers:
                        yield number, path, rank, package, checksum


def _find_name(owner: OwnedFiles, package_names: dict[tuple[str, str], str]) -> str:
    """Return the name of the package of a list, which can call it by other names: `libc6:amd64`."""
    if owner.type == "deb":
        return owner.package.partition(":")[0]
    return package_names.get((owner.type, to_text(owner.listed_by) or owner.package), owner.package)


def _read_package_names(scan: ContentScan, stack: str) -> dict[tuple[str, str], str]:
    """Return the names of the packages that lists call by their keys, or by the files that list the packages."""
    rows = scan.connection.execute(
        f"""SELECT DISTINCT package.type, iif(package.type = 'rpm', package.key,
            substr(directory.path || '/' || package.file, 2)), package.name
        FROM {SCHEMA}.package JOIN {SCHEMA}.directory ON directory.key = package.directory
        WHERE package.layer IN (SELECT layer FROM temp.{stack}) AND package.type IN ('rpm', 'python')"""
    )
    return {(type_, key): name for type_, key, name in rows}
