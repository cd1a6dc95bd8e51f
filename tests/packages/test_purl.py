"""Package URLs: the spelling that the specification requires of each type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.packages.os_release import OsRelease
from imq.engine.packages.package import PACKAGE_TYPES, Package
from imq.engine.packages.purl import make_image_purl, make_purl
from packageurl import PackageURL

DEBIAN = OsRelease("debian", "12")
FEDORA = OsRelease("fedora", "39")
ALPINE = OsRelease("alpine", "3.19.1")
RHEL = OsRelease("rhel", "9.3")
STATUS = "var/lib/dpkg/status"


@pytest.mark.parametrize(
    ("package", "system", "purl"),
    [
        (
            Package("deb", "attr", "1:2.4.47-2+b1", STATUS, architecture="amd64", source_version="1:2.4.47-2"),
            DEBIAN,
            "pkg:deb/debian/attr@1:2.4.47-2%2Bb1?arch=amd64&distro=debian-12&upstream=attr%401:2.4.47-2",
        ),
        (
            Package("deb", "libc6", "2.36-9", STATUS, architecture="amd64", source="glibc"),
            OsRelease("ubuntu", "", codename="noble"),
            "pkg:deb/ubuntu/libc6@2.36-9?arch=amd64&distro=ubuntu-noble&upstream=glibc",
        ),
        (Package("deb", "tar", "1.34", STATUS), None, "pkg:deb/debian/tar@1.34"),
        (
            Package("apk", "curl", "7.83.0-r0", "lib/apk/db/installed", architecture="x86"),
            ALPINE,
            "pkg:apk/alpine/curl@7.83.0-r0?arch=x86&distro=alpine-3.19.1",
        ),
        (
            Package("rpm", "centerim", "1:4.22.10-1.el6", "var/lib/rpm/Packages", architecture="i686"),
            FEDORA,
            "pkg:rpm/fedora/centerim@4.22.10-1.el6?arch=i686&distro=fedora-39&epoch=1",
        ),
        (
            Package("rpm", "glibc-common", "2.34-60.el9", "p", source="glibc", vendor="Red Hat, Inc."),
            RHEL,
            "pkg:rpm/redhat/glibc-common@2.34-60.el9?distro=rhel-9.3&upstream=glibc-2.34-60.el9.src.rpm",
        ),
        (Package("rpm", "bash", "5-1", "p", vendor="Red Hat, Inc."), None, "pkg:rpm/redhat/bash@5-1"),
        (Package("rpm", "bash", "5-1", "p", vendor="Fedora Project"), None, "pkg:rpm/fedora/bash@5-1"),
        (Package("python", "Django_package", "1.11.1.dev1", "p"), DEBIAN, "pkg:pypi/django-package@1.11.1.dev1"),
        (Package("npm", "@angular/animation", "12.3.1", "p"), None, "pkg:npm/%40angular/animation@12.3.1"),
        (Package("npm", "foobar", "12.3.1", "p"), None, "pkg:npm/foobar@12.3.1"),
        (
            Package("go", "github.com/Gorilla/context", "v2.0.0+incompatible", "p", architecture="amd64"),
            None,
            "pkg:golang/github.com/gorilla/context@v2.0.0%2Bincompatible",
        ),
        (Package("go", "stdlib", "1.22.4", "p"), None, "pkg:golang/stdlib@1.22.4"),
        (Package("go", "example.org/x", "(devel)", "p"), None, "pkg:golang/example.org/x"),
        (Package("gem", "x-y", "1.1.2", "p", architecture="java"), None, "pkg:gem/x-y@1.1.2?platform=java"),
    ],
)  # fmt: skip
def test_packages_have_the_urls_of_the_specification(package: Package, system: OsRelease | None, purl: str) -> None:
    assert make_purl(package, system) == purl


def test_images_are_named_by_digest() -> None:
    digest = "sha256:" + "24" * 32
    assert make_image_purl("docker.io/library/debian", digest, "latest", "amd64") == (
        f"pkg:oci/debian@{digest}?arch=amd64&repository_url=docker.io%2Flibrary%2Fdebian&tag=latest"
    )
    assert make_image_purl("", digest) == f"pkg:oci/image@{digest}"


WORDS = st.text("aZ0-._~+@%:é^", min_size=1, max_size=8)


@given(st.sampled_from(PACKAGE_TYPES), WORDS, WORDS, WORDS)
def test_the_parser_of_the_purl_project_reads_back_what_was_written(
    package_type: str, name: str, version: str, architecture: str
) -> None:
    """Names without slashes: only those of npm and Go have them, which the examples show."""
    package = Package(package_type, f"a{name}a", f"1{version}", "p", architecture=architecture)
    parsed = PackageURL.from_string(make_purl(package, DEBIAN))
    assert parsed.name.lower().replace("_", "-") == package.name.lower().replace("_", "-")
    qualifiers = dict(parsed.qualifiers)
    epoch = f"{qualifiers['epoch']}:" if "epoch" in qualifiers else ""
    assert f"{epoch}{parsed.version or ''}" == package.version
    kept = {"deb": "arch", "apk": "arch", "rpm": "arch", "gem": "platform"}.get(package_type)
    assert kept is None or qualifiers[kept] == architecture
