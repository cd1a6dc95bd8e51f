"""The operating system of an image, from os-release and its predecessors."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imq.engine.packages.os_release import OsRelease, parse_os_release, read_os


def test_debian_12() -> None:
    content = b"""PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""
    expected = OsRelease("debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm", (), "Debian GNU/Linux")
    assert read_os({b"etc/os-release": content}) == expected
    assert read_os({b"usr/lib/os-release": content}) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"A=x", "x"),
        (b'A="x y"', "x y"),
        (b"A='x \"y\" $z'", 'x "y" $z'),
        (rb'A="\$5 \"q\" \\ \`c\` \n"', '$5 "q" \\ `c` \\n'),
        (b"A=", ""),
        (b'A=""', ""),
        (b"A=x\\ y", "x y"),
        (b"A='it'\\''s'", "it's"),
        (b'A="never closed', "never closed"),
        (b"A=x # comment", "x"),
        (b"# A=y\nA=x", "x"),
        (b"A=y\nA=x", "x"),
        (b"A=x\r\n", "x"),
        (b"A=\xff", "\ufffd"),
    ],
)
def test_values_are_unquoted_as_by_a_shell(line: bytes, value: str) -> None:
    assert parse_os_release(line) == {"A": value}


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs sh")
@settings(max_examples=50, deadline=None)  # each example starts a process
@given(st.text("ab \"'\\$`#=\t", max_size=12))
def test_quoted_values_are_those_of_a_shell(text: str) -> None:
    quoted = '"' + "".join("\\" + c if c in '"$`\\' else c for c in text) + '"'
    printed = subprocess.run(["sh", "-c", f'A={quoted}; printf %s "$A"'], capture_output=True, text=True, check=True)
    assert parse_os_release(f"A={quoted}\n".encode()) == {"A": printed.stdout} == {"A": text}


@given(st.binary(max_size=60))
def test_any_bytes_are_accepted(content: bytes) -> None:
    assert isinstance(parse_os_release(content), dict)
    for path in (b"etc/os-release", b"etc/alpine-release", b"etc/debian_version", b"etc/redhat-release"):
        read_os({path: content})


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (b"etc/alpine-release", b"3.19.1\n", ("alpine", "3.19.1", "")),
        (b"etc/debian_version", b"7.11\n", ("debian", "7.11", "")),
        (b"etc/debian_version", b"trixie/sid\n", ("debian", "", "trixie")),
        (b"etc/redhat-release", b"CentOS release 6.10 (Final)\n", ("centos", "6.10", "final")),
        (b"etc/redhat-release", b"Red Hat Enterprise Linux release 9.3 (Plow)\n", ("rhel", "9.3", "plow")),
        (b"etc/redhat-release", b"Fedora release 39 (Thirty Nine)\n", ("fedora", "39", "thirty nine")),
        (b"etc/system-release", b"Amazon Linux AMI release 2018.03\n", ("amzn", "2018.03", "")),
    ],
)
def test_systems_without_os_release(path: bytes, content: bytes, expected: tuple[str, str, str]) -> None:
    found = read_os({path: content})
    assert found is not None
    assert (found.id, found.version_id, found.codename) == expected


def test_the_version_of_testing_comes_from_debian_version() -> None:
    files = {b"etc/os-release": b'ID=debian\nPRETTY_NAME="Debian GNU/Linux"\n', b"etc/debian_version": b"trixie/sid\n"}
    assert read_os(files) == OsRelease("debian", "", "Debian GNU/Linux", "trixie", (), "Linux")


def test_an_image_without_these_files_has_no_system() -> None:
    assert read_os({}) is None


@pytest.mark.parametrize(
    ("lines", "codename"),
    [
        (b'VERSION="8.4 (Green Obsidian)"', "green obsidian"),
        (b'VERSION="39 (Container Image)"\nVERSION_CODENAME=""', ""),
        (b'VERSION="36 (Container Image)"\nVARIANT="Container Image"', ""),
        (b'VERSION="22.04 LTS (Jammy Jellyfish)"\nUBUNTU_CODENAME=jammy', "jammy"),
    ],
)
def test_codenames(lines: bytes, codename: str) -> None:
    found = read_os({b"etc/os-release": b"ID=x\n" + lines})
    assert found is not None
    assert found.codename == codename
