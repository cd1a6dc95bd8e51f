"""Images with files and packages of many kinds, for statements about the insides of images."""

from __future__ import annotations

import gzip
import hashlib
import io
import pathlib
import tarfile
from typing import TYPE_CHECKING

from .images import ARM64, LAYER_TYPES, Image, Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = pathlib.Path(__file__).parents[1] / "packages" / "data"
MTIME = 1_704_067_200
"""2024-01-01."""

_OS_RELEASE = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
_USERS = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n"
_GROUPS = b"root:x:0:\napp:x:1000:\n"


def _list_debian_packages(*packages: tuple[str, str, int]) -> bytes:
    """Return a status file of dpkg with these names, versions and sizes in KiB."""
    return "\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
        f"Version: {version}\nInstalled-Size: {size}\n"
        for name, version, size in packages
    ).encode()


def _list_python_package(name: str, version: str) -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n".encode()


def _read_go_executable(name: str) -> bytes:
    """Return an executable that Go built, without its code."""
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


Entry = tuple[tarfile.TarInfo, bytes]


def _file(path: str, content: bytes = b"", mode: int = 0o644, uid: int = 0) -> Entry:
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime, info.uid, info.gid = len(content), mode, MTIME, uid, uid
    return info, content


def _make_layer(*entries: Entry) -> Layer:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    blob = archive.getvalue()
    size = sum(info.size for info, _ in entries)
    return Layer(blob, f"sha256:{hashlib.sha256(blob).hexdigest()}", LAYER_TYPES[""], size)


def make_inside_images() -> dict[str, tuple[Image, Sequence[str]]]:
    """Return the images with the names that they get."""
    packages = [("bash", "5.2.15-2+b7", 7000), ("libc6", "2.36-9", 12000)]
    base = _make_layer(
        _file("etc/os-release", _OS_RELEASE), _file("etc/passwd", _USERS), _file("etc/group", _GROUPS),
        _file("etc/shadow", b"root:*:19000::\n"),
        _file("etc/config", b"debug = off\n"), _file("home/flag.txt", b"FLAG"), _file("usr/bin/su", b"S" * 300, 0o4755),
        _file("usr/lib/libc.so.6", b"c" * 5000), _file("usr/lib/large", bytes(11_000_000)),
        _file("var/lib/dpkg/status", _list_debian_packages(*packages, ("openssl", "3.0.13-1~deb12u1", 2000))),
    )  # fmt: skip
    own = _make_layer(
        _file("etc/config", b"debug = on\n"), _file("home/.wh.flag.txt"),
        _file("usr/lib/libc.so.6", b"c" * 5000, 0o755),
        _file("srv/app.py", b"a" * 700, uid=1000), _file("srv/copy.py", b"a" * 700, uid=1000),
        _file("srv/.git/HEAD", b"ref: refs/heads/main\n"), _file("srv/.git/objects/1", b"1" * 400),
        _file("srv/data", b"token=SECRET\n", uid=4242), _file("etc/stamp", b"build-77"),
        _file("usr/bin/tool-1.19", _read_go_executable("go1.19-amd64"), 0o755),
        _file("usr/bin/tool-1.20", _read_go_executable("go1.20-arm64"), 0o755),
        _file("usr/lib/python3/dist-packages/requests-2.31.0.dist-info/METADATA",
              _list_python_package("requests", "2.31.0")),
    )  # fmt: skip
    newer = _make_layer(
        _file("srv/app.py", b"b" * 9000, uid=1000), _file("etc/config", b"debug = off\n"),
        _file("var/lib/dpkg/status",
              _list_debian_packages(*packages, ("openssl", "3.0.15-1~deb12u1", 2500), ("curl", "7.88.1-10", 500))),
    )  # fmt: skip
    empty_password = _make_layer(_file("etc/shadow", b"daemon:*:1::\nroot::19000::\n"))
    foreign = _make_layer(_file("agent", b"agent"))
    return {
        "web:1": (Image([base, own], "2024-02-01T00:00:00Z"), ["web:1"]),
        "web:2": (Image([base, newer], "2024-03-01T00:00:00Z"), ["web:2"]),
        "open:1": (Image([base, empty_password], "2024-04-01T00:00:00Z"), ["open:1"]),
        "bare:1": (Image([foreign], "2024-05-01T00:00:00Z", ARM64), ["bare:1"]),
    }
