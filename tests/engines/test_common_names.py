"""The pattern that parses common names gives what the parser of names gives."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from imq.engine.oci.reference import parse_name
from imq.engine.sources.docker.image_documents import list_names, split_tag

WORDS = st.text("ab0", min_size=1, max_size=3)
SEPARATORS = st.sampled_from([".", "_", "__", "-", "--", "", "._", "/", ":", "@"])
COMPONENTS = st.lists(st.tuples(WORDS, SEPARATORS), min_size=1, max_size=3).map(
    lambda parts: "".join(word + separator for word, separator in parts[:-1]) + parts[-1][0]
)
FIRST = st.one_of(
    COMPONENTS,
    st.sampled_from(
        ["library", "localhost", "docker.io", "index.docker.io", "127.0.0.1", "[::1]", "Host", "a.b", "registry-1.io"]
    ),
)
PORTS = st.sampled_from(["", ":5000", ":", ":x", ":80:81"])
TAGS = st.one_of(st.sampled_from(["1", "latest", "v1.2-a_b", "_", "-", ".", "", "é", "a" * 128, "a" * 129]), WORDS)
NAMES = st.builds(
    lambda first, port, rest, tag: "/".join([first + port, *rest]) + f":{tag}",
    FIRST, PORTS, st.lists(COMPONENTS, max_size=3), TAGS,
)  # fmt: skip


def parse_slowly(text: str) -> tuple[str | None, ...]:
    """Return the parts of a name as the parser has them."""
    name = parse_name(text)
    return str(name), name.registry, name.familiar_name, name.tag, name.canonical_name


@settings(max_examples=1000)
@given(NAMES)
@example("redis:7")
@example("team/app:1")
@example("registry.local:5000/team/app:1")
@example("localhost/app:1")
@example("localhost:5000/app:1")
@example("docker.io/library/redis:7")
@example("index.docker.io/redis:7")
@example("docker.io/redis:7")
@example("library/redis:7")
@example("library/team/app:7")
@example("a_b.c/d:1")
@example("a" * 64 + ":1")
@example("0" * 64 + "/a:1")
@example("a" * 250 + ":1")
@example("x/" + "a" * 250 + ":1")
@example("redis:7\n")
@example("redis\n:7")
def test_the_pattern_agrees_with_the_parser(text: str) -> None:
    assert split_tag(text) == parse_slowly(text)


@given(st.lists(NAMES, max_size=4))
def test_each_name_is_one_row(names: list[str]) -> None:
    tags = [name for name in names if "@" not in name]
    rows = list(list_names({"RepoTags": tags}))
    assert [row[0] for row in rows] == [str(parse_name(tag)) for tag in dict.fromkeys(tags)] or [None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis:7", ("redis:7", "docker.io", "redis", "7", "docker.io/library/redis")),
        ("ghcr.io/team/app:1", ("ghcr.io/team/app:1", "ghcr.io", "ghcr.io/team/app", "1", "ghcr.io/team/app")),
    ],
)
def test_parts(text: str, expected: tuple[str, ...]) -> None:
    assert split_tag(text) == expected
