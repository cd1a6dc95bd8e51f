"""Selects the files of a layer that hold package information.

| package system | files |
|---|---|
| dpkg | `var/lib/dpkg/status`, `info/*.list`, `info/*.md5sums`, `status.d/*`; `usr/share/doc/*/copyright` |
| apk | `lib/apk/db/installed`, `usr/lib/apk/db/installed` |
| rpm | `rpmdb.sqlite`, `Packages.db`, `Packages` in `var/lib/rpm`, `usr/lib/sysimage/rpm`, `usr/share/rpm` |
| Python | `*.dist-info/METADATA`, `RECORD`; `*.egg-info`, `*.egg-info/PKG-INFO`, `installed-files.txt`; eggs |
| npm | `node_modules/NAME/package.json`, `node_modules/@SCOPE/NAME/package.json` |
| gem | `specifications/*.gemspec`, `specifications/default/*.gemspec` |
| Go | every executable |

The databases of dpkg, apk and rpm are those of the image: at their places under the root, not in a folder that contains
another root. The manifests of the other systems can be anywhere.
"""

from __future__ import annotations

from importlib import import_module

from imq.grammar.record import TYPE_CHECKING

from . import go_build_info
from .reader import MAX_DATABASE, MAX_TEXT, Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .package import FileList, Rows


def _late(module: str, name: str) -> Callable[..., Any]:
    """Return a function of a module that is imported when it is first called: an image has files of few systems."""
    found: list[Callable[..., Any]] = []

    def call(*arguments: object) -> Any:
        if not found:
            found.append(getattr(import_module(f".{module}", __package__), name))
        return found[0](*arguments)

    return call


_DPKG_STATUS = Reader("dpkg status", _late("dpkg", "read_status"), MAX_TEXT)
_DPKG_LIST = Reader(
    "dpkg file list", _late("dpkg", "read_file_list"), MAX_TEXT, is_sound=_late("dpkg", "is_sound_list")
)
_DPKG_MD5SUMS = Reader(
    "dpkg checksums", _late("dpkg", "read_checksums"), MAX_TEXT, is_sound=_late("dpkg", "has_sound_checksums")
)
_DPKG_JOURNAL = Reader("dpkg journal", _late("dpkg", "read_journal"))
_DISTROLESS = Reader("dpkg status of distroless", _late("dpkg", "read_distroless"))
_COPYRIGHT = Reader("Debian copyright file", _late("debian_copyright", "read_copyright"))
_APK = Reader("apk database", _late("apk", "read_installed"), MAX_TEXT)
_RPM_SQLITE = Reader("rpm database in SQLite", None, MAX_DATABASE, _late("rpm", "scan_sqlite"))
_RPM_LOG = Reader("log of an rpm database", None, scan=_late("rpm", "scan_write_ahead_log"))
_RPM_NDB = Reader("rpm database in ndb", None, MAX_DATABASE, _late("rpm", "scan_ndb"))
_RPM_BDB = Reader("rpm database in Berkeley DB", None, MAX_DATABASE, _late("rpm", "scan_berkeley_db"))
_PYTHON = Reader("Python metadata", _late("python_metadata", "read_metadata"))
_PYTHON_RECORD = Reader(
    "Python record",
    _late("python_metadata", "read_record"),
    MAX_TEXT,
    is_sound=_late("python_metadata", "is_sound_record"),
)
_PYTHON_FILES = Reader("Python file list", _late("python_metadata", "read_installed_files"), MAX_TEXT)
_NPM = Reader("package.json", _late("npm", "read_package_json"))
_GEM = Reader("gem specification", _late("gem", "read_gemspec"))
_GO = Reader("Go build information", None, scan=go_build_info.scan_executable, make_feed=go_build_info.ExecutableFeed)
_is_npm_installed = _late("npm", "is_installed")
_is_gem_installed = _late("gem", "is_installed")


_LISTS = {reader.kind: reader for reader in (_DPKG_LIST, _DPKG_MD5SUMS, _PYTHON_RECORD)}


def parse_list(row: FileList) -> Rows:
    """Yield the rows of a list that a scan kept."""
    return _LISTS[row.kind].parse_content(row.content, row.path)


_RPM_FOLDERS = (b"var/lib/rpm/", b"usr/lib/sysimage/rpm/", b"usr/share/rpm/")
_SYSTEM_DATABASES: dict[bytes, Reader] = {
    b"lib/apk/db/installed": _APK,
    b"usr/lib/apk/db/installed": _APK,
    **{folder + b"rpmdb.sqlite": _RPM_SQLITE for folder in _RPM_FOLDERS},
    **{folder + b"rpmdb.sqlite-wal": _RPM_LOG for folder in _RPM_FOLDERS},
    **{folder + b"Packages.db": _RPM_NDB for folder in _RPM_FOLDERS},
    **{folder + b"Packages": _RPM_BDB for folder in _RPM_FOLDERS},
}


def _find_system_database(path: bytes) -> Reader | None:
    return _SYSTEM_DATABASES.get(path)


def _find_dpkg(path: bytes) -> Reader | None:
    folder, _, name = path.rpartition(b"/")
    extension = name.rpartition(b".")[2]
    if folder == b"var/lib/dpkg/info":
        return {b"list": _DPKG_LIST, b"md5sums": _DPKG_MD5SUMS}.get(extension)
    if folder == b"var/lib/dpkg/status.d":
        if extension in {b"list", b"preinst", b"postinst", b"prerm", b"postrm"}:
            return None
        return _DPKG_MD5SUMS if extension == b"md5sums" else _DISTROLESS
    if folder == b"var/lib/dpkg/updates" and name.isdigit():
        return _DPKG_JOURNAL
    return _DPKG_STATUS if path == b"var/lib/dpkg/status" else None


def _find_metadata(path: bytes) -> Reader | None:
    return _PYTHON if path.endswith(b".dist-info/METADATA") else None


def _find_record(path: bytes) -> Reader | None:
    return _PYTHON_RECORD if path.endswith(b".dist-info/RECORD") else None


def _find_egg_info(path: bytes) -> Reader | None:
    return _PYTHON if path.endswith((b".egg-info/PKG-INFO", b"EGG-INFO/PKG-INFO", b".egg-info")) else None


def _find_installed_files(path: bytes) -> Reader | None:
    return _PYTHON_FILES if path.endswith(b".egg-info/installed-files.txt") else None


def _find_package_json(path: bytes) -> Reader | None:
    return _NPM if path.endswith(b"/package.json") and _is_npm_installed(path) else None


def _find_gemspec(path: bytes) -> Reader | None:
    return _GEM if path.endswith(b".gemspec") and _is_gem_installed(path) else None


def _find_copyright(path: bytes) -> Reader | None:
    is_own = path.startswith(b"usr/share/doc/") and path.endswith(b"/copyright") and path.count(b"/") == 4
    return _COPYRIGHT if is_own else None


_ENDING_SIZE = 5
_ENDINGS: dict[bytes, Callable[[bytes], Reader | None]] = {
    ending[-_ENDING_SIZE:]: decide
    for ending, decide in {
        b"METADATA": _find_metadata,
        b"RECORD": _find_record,
        b"PKG-INFO": _find_egg_info,
        b".egg-info": _find_egg_info,
        b"installed-files.txt": _find_installed_files,
        b"package.json": _find_package_json,
        b".gemspec": _find_gemspec,
        b"copyright": _find_copyright,
        b"installed": _find_system_database,
        b"rpmdb.sqlite": _find_system_database,
        b"rpmdb.sqlite-wal": _find_system_database,
        b"Packages.db": _find_system_database,
        b"Packages": _find_system_database,
    }.items()
}
"""Functions that decide by the whole path, by the last bytes of the path."""
_TEXT_ENDINGS = frozenset(ending.decode() for ending in _ENDINGS)
_EXECUTABLE = 0o111


def can_have_reader(path: str) -> bool:
    """Whether `find_reader` may return a reader for a file that is not executable: a quick check of its path."""
    return path[-_ENDING_SIZE:] in _TEXT_ENDINGS or path.startswith("var/lib/dpkg/")


def find_reader(path: bytes, mode: int = 0) -> Reader | None:
    """Return the reader of a regular file that holds package information; None for all other files.

    `path` is relative to the root, without a leading slash or `./`. `mode` are the permission bits: an executable can
    have been built by Go. Its reader looks at the first bytes and stops unless they are an ELF header.

    It takes about 0.2 µs for a path that is of no interest.
    """
    decide = _ENDINGS.get(path[-_ENDING_SIZE:])
    if decide is not None:
        reader = decide(path)
        if reader is not None:
            return reader
    if path.startswith(b"var/lib/dpkg/"):
        return _find_dpkg(path)
    return _GO if mode & _EXECUTABLE else None
