"""Searches of contents: files of any size and kind, with a bounded part in memory. A value has a limit."""

from __future__ import annotations

import fnmatch
import io
import tarfile
from typing import TYPE_CHECKING

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.layer_index.contents import StoredContent, read_contents
from imq.engine.query.searches import Search
from imq.engine.sources.contents import reading
from imq.engine.sources.contents.content_search import SearchSink
from imq.engine.sources.contents.line_search import LinePatterns, LineSink
from store.support.stores import StoreSession
from support.images import LAYER_TYPES, Image, Layer, Layout, digest_of, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

LARGE = b"needle at the start\n" + bytes(24 << 20) + b"\xff\xfe SECRET\n" + bytes(1 << 20) + b"last line"
SMALL = {"a.txt": b"one\ntwo SECRET\n", "empty": b"", "binary": b"\0\1SECRET\xff", "other": b"nothing"}


def search(operator: str, pattern: str, pieces: list[bytes], window: int = 64, overlap: int = 16) -> bool:
    sink = SearchSink([Search("content", operator, pattern)], window, overlap)
    for piece in pieces:
        sink.write(piece)
    (result,) = sink.get_results().values()
    return result


def make_search_sink() -> SearchSink:
    return SearchSink([Search("content", "like", "*absent*")])


def make_line_sink() -> LineSink:
    searches = [Search("text", "like", "*absent*")]
    return LineSink(LinePatterns(searches, searches), lambda _: None)


def split(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


TEXTS = st.text("ab\n", max_size=300).map(str.encode)


@given(TEXTS, st.text("ab*?\n", max_size=8), st.integers(1, 70))
def test_a_glob_matches_in_pieces_what_it_matches_as_a_whole(content: bytes, pattern: str, size: int) -> None:
    expected = fnmatch.fnmatchcase(content.decode(), pattern)
    assert search("like", pattern, split(content, size)) is expected


REGEXES = ["aba", "^ab", "(?m)^aab$", "bb$", "a\nb{3}", "ab?a", "\\Ab", "a\\z", "(?m)^$", "\\bab"]


@given(TEXTS, st.sampled_from(REGEXES), st.integers(1, 70))
def test_a_regular_expression_finds_in_pieces_what_it_finds_in_the_whole(
    content: bytes, pattern: str, size: int
) -> None:
    expected = re2.search(pattern.encode(), content) is not None
    assert search("matches", pattern, split(content, size)) is expected


def test_memory_is_bounded() -> None:
    sink = SearchSink([Search("content", "matches", "absent")], 1 << 16, 1 << 10)
    piece = bytes(1 << 14)
    for _ in range(1000):
        sink.write(piece)
        assert len(sink._buffer) <= (1 << 16) + (1 << 14)
    assert list(sink.get_results().values()) == [False]


@pytest.mark.parametrize("make", [make_search_sink, make_line_sink])
def test_what_is_held_of_a_file_goes_with_its_end(make: Callable[[], Any]) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(50):
            member = tarfile.TarInfo(f"file{number}")
            member.size = 10_000
            tar.addfile(member, io.BytesIO(b"a line without it\n" * 600))
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        contents = [(StoredContent(one.offset_data, one.size, one.size), make()) for one in tar]
    held = []

    def read() -> Iterator[bytes]:
        for piece in split(archive.getvalue(), 4096):
            yield piece
            held.append(sum(len(sink._buffer) for _, sink in contents))

    read_contents(read(), contents)
    assert 0 < max(held) <= 10_000 + 4096


@pytest.mark.parametrize(
    ("pattern", "content", "expected"),
    [
        ("*[!a]", b"xb", True), ("[a-c]x", b"bx", True), ("\\*", b"*", True), ("\\*", b"a", False), ("[]]", b"]", True),
        ("?", "é".encode(), True), ("?", b"\xff", True), ("*.*", b"a.b", True), ("", b"", True), ("", b"a", False),
        ("[x", b"[x", True), ("*", b"\xff\0", True), ("[^a]b", b"cb", True), ("[\\]x]", b"x]", False),
    ],
)  # fmt: skip
def test_the_syntax_of_globs(pattern: str, content: bytes, expected: bool) -> None:
    assert search("like", pattern, [content] if content else []) is expected


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSession]:
    folder = tmp_path_factory.mktemp("search")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("large")
        member.size = len(LARGE)
        tar.addfile(member, io.BytesIO(LARGE))
        link = tarfile.TarInfo("linked")
        link.type, link.linkname = tarfile.LNKTYPE, "large"
        tar.addfile(link)
    content = archive.getvalue()
    large = Layer(content, digest_of(content), LAYER_TYPES[""], len(LARGE))
    layout = Layout(folder / "store")
    layout.add(Image([layer(SMALL), large]), "app:1")
    layout.add(Image([layer({"x": b"x"})]), "app:2")
    with StoreSession(folder / "store") as opened:
        yield opened


def paths(session: StoreSession, condition: str) -> list[str]:
    return [row["path"] for row in session.rows(f"files of app:1 where {condition} select path")]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('content like "*SECRET*"', ["/a.txt", "/binary", "/large", "/linked"]),
        ('content matches "(?m)SECRET$"', ["/a.txt", "/large", "/linked"]),
        ('content matches "last line$"', ["/large", "/linked"]),
        ('content matches "^needle"', ["/large", "/linked"]),
        ('content like "needle*line"', ["/large", "/linked"]),
        ('not content like "*SECRET*"', ["/empty", "/other"]),
        ('content like ""', ["/empty"]),
        ('content like "*SECRET*" and size < 1MB', ["/a.txt", "/binary"]),
        ('content like "*SECRET*" and content matches "two"', ["/a.txt"]),
        ('(content like "*nothing*" or content like "*two*") and name != x', ["/a.txt", "/other"]),
    ],
)
def test_files_of_any_size_and_kind_are_searched(session: StoreSession, condition: str, expected: list[str]) -> None:
    assert paths(session, condition) == expected
    assert [row["path"] for row in session.rows(f"(files of app:1) where {condition} select path")] == expected


def test_images_are_searched(session: StoreSession) -> None:
    rows = session.rows('images where contains text "SECRET" select name')
    assert [row["name"] for row in rows] == ["app:1"]
    rows = session.rows('images where not contains text "SECRET" select name')
    assert [row["name"] for row in rows] == ["app:2"]


def test_a_search_and_other_fields_of_the_content(session: StoreSession) -> None:
    statement = 'files of app:1 where content like "*two*" select path, content, sha256, content matches "one" as one'
    (row,) = session.rows(statement)
    assert (row["path"], row["content"], row["one"]) == ("/a.txt", "one\ntwo SECRET\n", 1)
    assert row["sha256"] == digest_of(SMALL["a.txt"])
    rows = session.rows("files of app:1 where size > 1MB select path, sha256")
    assert {row["sha256"] for row in rows} == {digest_of(LARGE)}


def test_a_value_above_the_limit_is_an_error(session: StoreSession, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = session.session.run("files of app:1 where name = large select content")
    (error,) = result.errors  # type: ignore[union-attr]
    assert error.message == "/large of app:1 is larger than the 16 MB that content shows"
    monkeypatch.setattr(reading, "MAX_TEXT", 10)
    assert session.error_codes("files of app:1 where name in (a.txt, other) select path, content") == {"content-size"}


@pytest.mark.parametrize("condition", ["not content = x", "content is unknown", "length(content) > 5"])
def test_a_file_whose_value_is_not_shown_is_not_selected(session: StoreSession, condition: str) -> None:
    (result,) = session.session.run(f"files of app:1, app:2 where {condition} select path")
    listed = [row[0] for row in result.rows]  # type: ignore[union-attr]
    assert "/large" not in listed
    assert {error.code for error in result.errors} == {"content-size"}  # type: ignore[union-attr]


def make_sparse_layer(start: int) -> Layer:
    """Return a layer with a file of `start` zeros and the text SECRET, in GNU's sparse format 1.0."""
    content = f"1\n{start}\n6\n".encode().ljust(512, b"\0") + b"SECRET"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("GNUSparseFile.0/sparse")
        member.size = len(content)
        about = {"major": "1", "minor": "0", "name": "sparse", "realsize": str(start + 6)}
        member.pax_headers = {f"GNU.sparse.{name}": value for name, value in about.items()}
        tar.addfile(member, io.BytesIO(content))
    raw = archive.getvalue()
    return Layer(raw, digest_of(raw), LAYER_TYPES[""], start + 6)


@pytest.mark.parametrize("start", [10, 100_000, 40 << 20, 1 << 50])
def test_holes_of_any_size_are_searched(tmp_path: Path, start: int) -> None:
    layout = Layout(tmp_path / "store")
    layout.add(Image([make_sparse_layer(start)]), "app:1")
    with StoreSession(tmp_path / "store") as opened:
        for condition in ('content like "*SECRET"', r'content matches "\\x00SECRET$"', 'content matches "^\\x00{9}"'):
            assert paths(opened, condition) == ["/sparse"]
        assert paths(opened, 'content like "SECRET*"') == []
        (row,) = opened.rows('texts of app:1 where text like "*SECRET*" select location, text')
        assert tuple(row.values()) == ("file /sparse", "SECRET")


def test_a_hole_that_is_too_large_to_hash_is_an_error(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")
    layout.add(Image([make_sparse_layer(1 << 50)]), "app:1")
    layout.add(Image([make_sparse_layer(1000)]), "app:2")
    with StoreSession(tmp_path / "store") as opened:
        assert opened.error_codes("files of app:1 select sha256") == {"content-size"}
        (row,) = opened.rows("files of app:2 select sha256")
        assert row["sha256"] == digest_of(bytes(1000) + b"SECRET")


def test_of_two_blobs_of_a_layer_the_sound_one_is_read(tmp_path: Path) -> None:
    sound, packed = layer({"a": b"SECRET"}), layer({"a": b"SECRET"}, "gzip")
    assert sound.diff_id == packed.diff_id
    layout = Layout(tmp_path / "store")
    layout.add(Image([sound], labels={"n": "1"}), "app:1")
    layout.add(Image([packed], labels={"n": "2"}), "app:2")
    with StoreSession(tmp_path / "store") as opened:
        statements = [
            'files of (images) where content like "*SECRET*" select image_name',
            'texts of (images) where text like "*SECRET*" select image_name',
        ]
        for spoilt in (None, packed):
            if spoilt is not None:
                blob = tmp_path / "store" / "blobs" / "sha256" / spoilt.digest.removeprefix("sha256:")
                blob.write_bytes(blob.read_bytes()[:-12])
            for statement in statements:
                assert sorted(row["image_name"] for row in opened.rows(statement)) == ["app:1", "app:2"]
