"""The order of versions: keys against the order that the tools of each package system give."""

from __future__ import annotations

import pathlib
import random
import shutil
import sqlite3
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.packages.package import PACKAGE_TYPES
from imq.engine.packages.versions.order import compare_versions, version_key, version_range
from packaging.version import Version

PAIRS = [
    tuple(line.split("\t"))
    for line in (pathlib.Path(__file__).parent / "data" / "version_pairs.tsv").read_text().splitlines()
]
ORDER = {"<": -1, "=": 0, ">": 1}


def test_the_pairs_are_of_all_systems() -> None:
    assert {system for system, *_ in PAIRS} == {*PACKAGE_TYPES}
    assert len(PAIRS) == 1750


@pytest.mark.parametrize("system", PACKAGE_TYPES)
def test_keys_have_the_order_that_tools_give(system: str) -> None:
    wrong = [
        (left, order, right)
        for name, left, order, right in PAIRS
        if name == system and compare_versions(system, left, right) != ORDER[order]
    ]
    assert not wrong


# From the rules of apk-version(8); each line is in ascending order.
APK_ORDER = (
    "0.1 0.1.1 0.2 0.10 1 2 10 10.0",
    "1.0_alpha 1.0_alpha1 1.0_alpha2 1.0_alpha10 1.0_beta 1.0_pre 1.0_rc 1.0_rc1 1.0",
    "1.0 1.0_cvs 1.0_svn 1.0_git 1.0_git20240131 1.0_hg 1.0_p 1.0_p1 1.0_p10",
    "1.0 1.0-r0 1.0-r1 1.0-r2 1.0-r10 1.0~abcdef 1.0_p1 1.0a 1.0b 1.0z 1.0.0 1.0.1",
    "1.0_rc1_alpha 1.0_rc1 1.0_rc1-r1 1.0_rc1~ab 1.0_rc1_p1",
    "1.00 1.001 1.01 1.010 1.02 1.09 1.1 1.9 1.10",
    "3.1.4 3.1.4-r5 3.1.4a-r1 3.1.4b",
)


@pytest.mark.parametrize("line", APK_ORDER)
def test_apk_versions_ascend(line: str) -> None:
    versions = line.split()
    keys = [version_key("apk", version) for version in versions]
    assert None not in keys
    assert [version for _, version in sorted(zip(keys, versions, strict=True))] == versions
    assert len({*keys}) == len(keys)


def test_apk_versions_of_which_a_part_is_invalid_are_older() -> None:
    assert compare_versions("apk", "1.0_foo", "1.0") == -1
    assert compare_versions("apk", "1.0_rc", "1.0_foo") == -1
    assert compare_versions("apk", "1.0_p.1", "1.0_p") == -1
    assert version_key("apk", "latest") is None


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("deb", ""), ("rpm", " "), ("apk", "r1"), ("python", "1.0-latest"), ("python", "dev"), ("npm", "latest"),
        ("npm", "1.2.3.4"), ("go", "(devel)"), ("go", "devel go1.23-abc"), ("gem", "a.1"), ("deb", "1" * 5000),
    ],
)  # fmt: skip
def test_texts_that_are_no_versions_have_no_order(system: str, text: str) -> None:
    assert version_key(system, text) is None
    assert version_range(system, text) is None
    assert compare_versions(system, text, "1") is None


def test_a_bound_of_rpm_without_release_equals_every_release() -> None:
    bounds = version_range("rpm", "1.2")
    assert bounds is not None
    lowest, highest = bounds
    for version in ("1.2-1.el9", "1.2-0~rc", "1.2-999.fc40", "0:1.2-1"):
        key = version_key("rpm", version)
        assert key is not None
        assert lowest <= key <= highest
    for version in ("1.2~rc1-1", "1.1-1", "1.2^git1-1", "1.2.1-1", "1:1.0-1"):
        key = version_key("rpm", version)
        assert key is not None
        assert not lowest <= key <= highest
    assert version_range("rpm", "1.2-1") == (version_key("rpm", "1.2-1"),) * 2
    assert version_range("deb", "1.2") == (version_key("deb", "1.2-0"),) * 2


def test_versions_of_go_itself_order_as_its_releases() -> None:
    ascending = ["go1.4beta1", "go1.4rc1", "go1.4", "1.21rc2", "1.21.0", "go1.21.1 X:boringcrypto", "1.22rc1", "1.22"]
    keys = [version_key("go", version) for version in ascending]
    assert None not in keys
    assert sorted(keys, key=lambda key: key or b"") == keys
    assert version_key("go", "1.22") == version_key("go", "v1.22.0+incompatible")


TEXTS = st.text("019.~^-+_:aZrcp!v é", max_size=14)


@given(st.sampled_from(PACKAGE_TYPES), TEXTS, TEXTS)
def test_sqlite_sorts_the_keys_as_they_compare(system: str, left: str, right: str) -> None:
    """Any text has a key or none, and blobs in SQLite have the order of bytes."""
    first, second = version_key(system, left), version_key(system, right)
    order = compare_versions(system, left, right)
    if first is None or second is None:
        assert order is None
        return
    with sqlite3.connect(":memory:") as database:
        (less, equal) = database.execute("SELECT ?1 < ?2, ?1 = ?2", (first, second)).fetchone()
    database.close()
    assert order == (0 if equal else -1 if less else 1)


@given(TEXTS, TEXTS)
def test_python_versions_order_as_in_packaging(left: str, right: str) -> None:
    versions = []
    for text in (left, right):
        try:
            versions.append(Version(text))
        except ValueError:
            assert version_key("python", text) is None
            return
    expected = (versions[0] > versions[1]) - (versions[0] < versions[1])
    assert compare_versions("python", left, right) == expected


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
def test_debian_versions_order_as_in_the_dpkg_of_this_system() -> None:
    random_ = random.Random(0)
    for _ in range(50):
        left, right = (
            random_.choice(("", "0:", "1:"))
            + "".join(random_.choice(("1", "0", "a", "~", "+", ".", "10")) for _ in range(random_.randrange(5))).join(
                "12"
            )
            + random_.choice(("", "-0", "-1", "-1~b", "-a"))
            for _ in range(2)
        )
        less = subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=False).returncode
        equal = subprocess.run(["dpkg", "--compare-versions", left, "eq", right], check=False).returncode
        assert compare_versions("deb", left, right) == (0 if equal == 0 else -1 if less == 0 else 1), (left, right)
