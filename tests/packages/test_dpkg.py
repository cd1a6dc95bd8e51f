"""dpkg's database: the packages that it lists as installed, and what is wrong with damaged ones."""

from __future__ import annotations

from imq.engine.packages.database_files import find_reader
from imq.engine.packages.package import OwnedFiles, Package, Problem
from packages.reading import data, lines, read

STATUS = b"""Package: libc6
Status: install ok installed
Priority: optional
Installed-Size: 12993
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9+deb12u4
Conffiles:
 /etc/ld.so.conf.d/x86_64-linux-gnu.conf d4e7a7b88a71b5ffd9e2644e71a0cfab
 /etc/old.conf 8fcab8b1e7e8a2b0cb3a7b25ca6e1c2b obsolete
Description: GNU C Library: Shared libraries
 Contains the standard libraries.
 .
 Version: 9.9 is only text here
Homepage: https://www.gnu.org/software/libc/libc.html

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1.0

Package: half
Status: install ok half-configured
Architecture: all
Source: other (2:3.0-1)
Version: 3.0-1+b1

"""


def test_packages_whose_files_are_unpacked_are_installed() -> None:
    path = "var/lib/dpkg/status"
    assert read(path, STATUS) == [
        Package(
            "deb", "libc6", "2.36-9+deb12u4", path,
            architecture="amd64", source="glibc", size=12993 * 1024,
            maintainer="GNU Libc Maintainers <debian-glibc@lists.debian.org>",
            homepage="https://www.gnu.org/software/libc/libc.html",
        ),
        OwnedFiles(
            "deb", "libc6:amd64", path,
            (("etc/ld.so.conf.d/x86_64-linux-gnu.conf", "md5:d4e7a7b88a71b5ffd9e2644e71a0cfab"),),
        ),
        Package("deb", "half", "3.0-1+b1", path, architecture="all", source="other", source_version="2:3.0-1"),
    ]  # fmt: skip


def test_a_status_that_is_cut_short_keeps_the_entries_before() -> None:
    path = "var/lib/dpkg/status"
    rows = read(path, STATUS[: STATUS.index(b"other") + 2])
    assert [row.name for row in rows if isinstance(row, Package)] == ["libc6"]
    assert [str(row) for row in rows if isinstance(row, Problem)] == [
        f"{path} at byte {STATUS.index(b'Source: other')}: cut short within a line",
        f"{path} at byte {STATUS.index(b'Package: half')}: an entry without version",
    ]


def test_distroless_images_have_a_file_for_each_package() -> None:
    path = "var/lib/dpkg/status.d/tzdata"
    control = b"Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\nDescription: zones"
    assert read(path, control) == [Package("deb", "tzdata", "2024a-0+deb12u1", path, architecture="all")]


def test_lists_and_checksums_name_the_package_by_their_file() -> None:
    path = "var/lib/dpkg/info/libc6:amd64.list"
    assert read(path, b"/.\n/lib\n/lib/x y.so\n") == [
        OwnedFiles("deb", "libc6:amd64", path, (("lib", ""), ("lib/x y.so", "")))
    ]
    path = "var/lib/dpkg/info/bash.md5sums"
    line = b"fcc1e4ba27b5b2ae8be3d7dc2b0d7a50  bin/bash\n"
    assert read(path, line + b"nonsense\n") == [
        OwnedFiles("deb", "bash", path, (("bin/bash", "md5:fcc1e4ba27b5b2ae8be3d7dc2b0d7a50"),)),
        Problem(path, None, "1 of its lines are no checksum and name"),
    ]


def test_packages_are_those_that_dpkg_lists() -> None:
    """A Debian with one package removed but for its configuration, and one unpacked but not configured."""
    rows = read("var/lib/dpkg/status", data("dpkg_status"))
    found = [
        [
            row.name,
            row.version,
            row.architecture,
            row.source or row.name,
            row.source_version or row.version,
            (row.size or 0) // 1024,
        ]
        for row in rows
        if isinstance(row, Package)
    ]
    lines_ = lines("dpkg_query.txt")
    assert {line[6] for line in lines_} == {"installed", "unpacked", "config-files"}
    assert found == [[*line[:5], int(line[5])] for line in lines_ if line[6] != "config-files"]
    assert not [row for row in rows if isinstance(row, Problem)]


def test_an_interrupted_dpkg_has_left_changes() -> None:
    path = "var/lib/dpkg/updates/0003"
    assert read(path, b"#padding\n"[:1] + b"\n") == []
    assert [str(row) for row in read(path, b"Package: x\nVersion: 2\n")] == [
        f"{path} at byte 0: changes that status does not have yet: its packages can be older"
    ]


def test_other_files_of_dpkg_have_no_reader() -> None:
    for path in (b"var/lib/dpkg/status-old", b"var/lib/dpkg/info/bash.postinst", b"srv/var/lib/dpkg/status"):
        assert find_reader(path) is None
