"""Versions in tags: their parts and their order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.oci.tag_version import SEPARATOR, parse_version


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("7", (7, None, None, None, None)),
        ("7.2", (7, 2, None, None, None)),
        ("v1.14.3-alpine", (1, 14, 3, None, "alpine")),
        ("7.2-rc1-alpine3.19", (7, 2, None, "rc1", "alpine3.19")),
        ("3.13.0rc2", (3, 13, 0, "rc2", None)),
        ("1.0.0-SNAPSHOT", (1, 0, 0, "SNAPSHOT", None)),
        ("1.2.3-beta.2", (1, 2, 3, "beta.2", None)),
        ("1.2.3-debian-11-r5", (1, 2, 3, None, "debian-11-r5")),
        ("1.2.3-4", (1, 2, 3, None, None)),
        ("2024.01.31", (2024, 1, 31, None, None)),
        ("v1-amd64", (1, None, None, None, "amd64")),
    ],
)
def test_the_version_of_a_tag(tag: str, expected: tuple[object, ...]) -> None:
    version = parse_version(tag)
    assert version is not None
    assert version[1:] == expected


NONE = ("latest", "3f5ab2", "12345abc", "pr-12", "bookworm-20240101", "1.2.3.4.5", "7.2.", "v", "")


@pytest.mark.parametrize("tag", NONE)
def test_tags_without_a_version(tag: str) -> None:
    assert parse_version(tag) is None


def test_versions_are_ordered() -> None:
    ordered = [
        "0.9", "1.2-alpha", "1.2-beta.2", "1.2-beta.11", "1.2-rc1", "1.2-rc2", "1.2-rc10", "1.2", "1.2.0.1", "1.2.1",
        "1.10", "1.10-1", "1.10-2", "2", "10",
    ]  # fmt: skip
    keys = [_key(tag) for tag in ordered]
    assert keys == sorted(set(keys))


@pytest.mark.parametrize("other", ["v7.2", "7.2.0", "7.2-alpine", "07.2"])
def test_equal_versions_sort_equal(other: str) -> None:
    assert _key("7.2") == _key(other)


@given(
    st.lists(st.integers(0, 10**17), min_size=1, max_size=4), st.lists(st.integers(0, 10**17), min_size=1, max_size=4)
)
def test_numeric_parts_are_ordered_as_numbers(one: list[int], other: list[int]) -> None:
    whole = [[*numbers, *[0] * (4 - len(numbers))] for numbers in (one, other)]
    keys = [_key(".".join(map(str, numbers))) for numbers in (one, other)]
    assert (keys[0] < keys[1]) == (whole[0] < whole[1])
    assert (keys[0] == keys[1]) == (whole[0] == whole[1])


@given(st.text(alphabet="v0123456789.-_rcalphbet+", max_size=30))
def test_any_tag_can_be_parsed(tag: str) -> None:
    version = parse_version(tag)
    assert version is None or version[0].endswith(f"\x1f{tag}")


def _key(tag: str) -> str:
    version = parse_version(tag)
    assert version is not None
    return version[0].partition(SEPARATOR)[0]
