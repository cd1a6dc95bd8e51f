"""The operating system of an image, from os-release and its predecessors."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.packages.database_files import find_reader
from imq.engine.packages.os_release import OS_FILES, OsRelease, parse_os_release, read_os
from imq.engine.packages.package import SystemFile
from packages.reading import read


def test_debian_12() -> None:
    content = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
"""
    expected = OsRelease("debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm", (), "Debian GNU/Linux")
    assert read_os({"etc/os-release": content}) == expected
    assert read_os({"usr/lib/os-release": content}) == expected


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
    assert parse_os_release(line.decode("utf-8", "replace")) == {"A": value}


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs sh")
@given(st.text("ab \"'\\$`#=\t", max_size=12))
def test_quoted_values_are_those_of_a_shell(text: str) -> None:
    quoted = '"' + "".join("\\" + c if c in '"$`\\' else c for c in text) + '"'
    printed = subprocess.run(["sh", "-c", f'A={quoted}; printf %s "$A"'], capture_output=True, text=True, check=True)
    assert parse_os_release(f"A={quoted}\n") == {"A": printed.stdout} == {"A": text}


@given(st.text(max_size=60))
def test_any_text_is_accepted(content: str) -> None:
    assert isinstance(parse_os_release(content), dict)
    for path in ("etc/os-release", "etc/alpine-release", "etc/debian_version", "etc/redhat-release"):
        read_os({path: content})


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("etc/alpine-release", "3.19.1\n", ("alpine", "3.19.1", "")),
        ("etc/debian_version", "7.11\n", ("debian", "7.11", "")),
        ("etc/debian_version", "trixie/sid\n", ("debian", "", "trixie")),
        ("etc/redhat-release", "CentOS release 6.10 (Final)\n", ("centos", "6.10", "final")),
        ("etc/redhat-release", "Red Hat Enterprise Linux release 9.3 (Plow)\n", ("rhel", "9.3", "plow")),
        ("etc/redhat-release", "Fedora release 39 (Thirty Nine)\n", ("fedora", "39", "thirty nine")),
        ("etc/system-release", "Amazon Linux AMI release 2018.03\n", ("amzn", "2018.03", "")),
    ],
)
def test_systems_without_os_release(path: str, content: str, expected: tuple[str, str, str]) -> None:
    found = read_os({path: content})
    assert found is not None
    assert (found.id, found.version_id, found.codename) == expected


def test_the_version_of_testing_comes_from_debian_version() -> None:
    files = {"etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux"\n', "etc/debian_version": "trixie/sid\n"}
    assert read_os(files) == OsRelease("debian", "", "Debian GNU/Linux", "trixie", (), "Linux")


def test_an_image_without_these_files_has_no_system() -> None:
    assert read_os({}) is None


def test_the_files_of_the_system_have_a_reader() -> None:
    for path in OS_FILES:
        assert read(path, b"A=\xff") == [SystemFile(path, "A=\ufffd")]
    assert find_reader(b"opt/etc/os-release") is None
