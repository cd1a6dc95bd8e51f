"""What the readers of package databases yield: packages, the files that they own, their licences, and problems."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE_TYPES = ("deb", "apk", "rpm", "python", "npm", "go", "gem")
"""The values of `Package.type`, which also name the rules by which versions compare (`versions`)."""


class Package(Record):
    """One installed package, as its database or manifest describes it. An unknown text is "", an unknown size None.

    Within a file it is identified by `key`.
    """

    type: str
    """One of `PACKAGE_TYPES`."""
    name: str
    version: str
    """As the package system writes it: `1:2.36-9+deb12u4`, `3.1.4-r5`, `2:8.0-4.el9`, `v1.9.0`."""
    path: str
    """The file that lists the package, relative to the root of the image: `var/lib/dpkg/status`."""
    architecture: str = ""
    """In the words of the package system: `amd64`, `x86_64`, `all`, `noarch`; for Go modules GOARCH."""
    source: str = ""
    """The name of the source package, as written. "" if it is `name` (deb) or unknown."""
    source_version: str = ""
    """The version of the source package. "" if it is `version` or unknown."""
    licence: str = ""
    """As the database has it: an SPDX expression, or a free text."""
    size: int | None = None
    """The size in bytes when installed, as the database has it. dpkg counts in KiB."""
    maintainer: str = ""
    homepage: str = ""
    toolchain: str = ""
    """The version of Go that built the executable: `go1.22.4`. "" for other types."""
    vendor: str = ""
    """The vendor of an RPM package."""

    @property
    def key(self) -> str:
        """The name that tells packages of a file apart: `libc6:amd64` for deb, `bash-5.2-1.x86_64` for rpm.

        Packages of the same name but of other versions or architectures can be installed side by side there.
        """
        if self.type == "deb" and self.architecture:
            return f"{self.name}:{self.architecture}"
        if self.type == "rpm":
            return f"{self.name}-{self.version}" + (f".{self.architecture}" if self.architecture else "")
        return self.name


class OwnedFiles(Record):
    """The files of one package, which can be listed in another file than the package.

    Rows for the same package add up: a long list takes several, and dpkg lists names and checksums in two files.
    dpkg's lists omit the architecture unless several can be installed; then `package` is the name alone.
    """

    type: str
    package: str
    """`Package.key`, or `Package.name`."""
    path: str
    """The file that contains the list."""
    files: tuple[tuple[str, str], ...]
    """The path of each file relative to the root of the image, and its checksum (`md5:HEX`, `sha1:HEX`, `sha256:HEX`),
    or "" when the list has none. A list can have folders too."""
    size: int | None = None
    """The sum of the sizes in bytes of these files, if the list has sizes."""
    listed_by: str = ""
    """The `Package.path` of the package; "" for the database of the package system."""


class FileList(Record):
    """The content of a file that only lists the files of a package, to be parsed when owners are requested.

    `Reader.parse` of the reader with this `kind` turns it into `OwnedFiles`.
    """

    kind: str
    path: str
    content: bytes


class PackageLicence(Record):
    """The licence of a package, from another file than the one that lists the package."""

    type: str
    package: str
    """`Package.name`."""
    path: str
    """The file that states the licence: `usr/share/doc/bash/copyright`."""
    licence: str
    """The licences as an SPDX expression where their names allow it, otherwise separated by commas."""


class Problem(Record):
    """A part of a file that could not be read. The other rows of the file are sound."""

    path: str
    offset: int | None
    """The offset in bytes in the file; None if it concerns the whole file."""
    message: str
    """What is wrong, in a few words that follow the path and offset: `the entry has no version`."""

    def __str__(self) -> str:
        place = self.path if self.offset is None else f"{self.path} at byte {self.offset}"
        return f"{place}: {self.message}"


if TYPE_CHECKING:
    Row = Package | OwnedFiles | FileList | PackageLicence | Problem
    Rows = Iterator[Row]
