"""The lines of text in images: what `texts` lists, and where `contains text` found its string."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.progress import NullProgress
from imq.engine.query.searches import Search
from imq.engine.sources.contents import line_search, reading, texts
from imq.engine.sources.contents.line_search import FoundLine, LinePatterns, LineSink
from imq.grammar.errors import ImqError
from store.support.stores import StoreSession, imq
from support.images import LAYER_TYPES, Image, Layer, Layout, digest_of, layer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

HOSTS = b"127.0.0.1 localhost\n10.0.0.5 db\n10.0.0.5 db2\n"


def find(
    content: bytes, *searches: tuple[str, str], size: int = 1 << 16, most: int = 0, required: bool = True
) -> list[FoundLine]:
    found: list[FoundLine] = []
    made = [Search("text", *search) for search in searches]
    sink = LineSink(LinePatterns(made, made if required else None, most), found.append)
    for at in range(0, len(content), size):
        sink.write(memoryview(content)[at : at + size])
    sink.end_content()
    return found


def texts_of(found: list[FoundLine]) -> list[tuple[int | None, str]]:
    return [(line.number, line.text) for line in found]


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_search, "WINDOW", 16)
    monkeypatch.setattr(line_search, "MAX_LINE", 64)
    monkeypatch.setattr(line_search, "_OVERLAP", 8)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (("like", "*10.0.0.5*"), [(2, "10.0.0.5 db"), (3, "10.0.0.5 db2")]),
        (("like", "*db"), [(2, "10.0.0.5 db")]),
        (("like", "127*"), [(1, "127.0.0.1 localhost")]),
        (("like", "*[0-9].?.0.5*2"), [(3, "10.0.0.5 db2")]),
        (("matches", "^10.*db$"), [(2, "10.0.0.5 db")]),
        (("matches", "[^x]*2$"), [(3, "10.0.0.5 db2")]),
        (("matches", "(?i)LOCALHOST"), [(1, "127.0.0.1 localhost")]),
        (("matches", r"\A10"), [(2, "10.0.0.5 db"), (3, "10.0.0.5 db2")]),
        (("matches", "(?-s)5.db2"), [(3, "10.0.0.5 db2")]),
        (("like", "*localhost\n10*"), [(1, "127.0.0.1 localhost\n10.0.0.5 db")]),
        (("like", r"*\**"), []),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.usefixtures("small_windows")
def test_the_lines_that_are_found(search: tuple[str, str], expected: list[tuple[int, str]], size: int) -> None:
    assert texts_of(find(HOSTS, search, size=size)) == expected


LINES = st.lists(st.text("ab ", max_size=12), max_size=12)
PATTERNS = st.sampled_from(
    [("like", "*ab*"), ("like", "a*b"), ("like", "*?b"), ("matches", "^a+b"), ("matches", "b[^a]*$"), ("matches", "")]
)


@given(LINES, PATTERNS, st.integers(1, 30))
def test_lines_are_those_that_match_alone(lines: list[str], search: tuple[str, str], size: int) -> None:
    window, line_search.WINDOW = line_search.WINDOW, 24
    try:
        found = texts_of(find("".join(f"{line}\n" for line in lines).encode(), search, size=size))
    finally:
        line_search.WINDOW = window
    matches = [(number, line) for number, line in enumerate(lines, 1) if find(line.encode() or b"\n", search) != []]
    assert found == matches


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("size", [1, 5, 1 << 16])
def test_a_long_line_is_found_once(size: int) -> None:
    content = b"x" * 300 + b"SECRET" + b"y" * 100 + b"SECRET" + b"z" * 300 + b"\nnext SECRET\n"
    found = find(content, ("like", "*SECRET*"), size=size)
    assert [line.number for line in found] == [1, 2]
    assert "SECRET" in found[0].text


def test_a_long_line_is_shown_around_what_was_found() -> None:
    (line,) = find(b"a" * 5000 + b"SECRET" + b"b" * 5000, ("like", "*SECRET*"))
    assert "SECRET" in line.text
    assert len(line.text) <= line_search.MAX_TEXT + 2
    assert (line.text[0], line.text[-1]) == ("…", "…")


def test_lines_of_a_binary_content_have_no_number() -> None:
    content = b"\x7fELF\0\1one SECRET two\0tail\nSECRET\xff\n"
    assert texts_of(find(content, ("like", "*SECRET*"))) == [(None, "\1one SECRET two"), (None, "SECRET\ufffd")]
    assert find(content, required=False) == []


def test_line_ends_of_windows_are_not_shown() -> None:
    assert texts_of(find(b"one\r\ntwo\r\n", ("like", "*two*"))) == [(2, "two")]


def test_occurrences_are_counted_for_each_search() -> None:
    content = b"a 1\nb 2\na 3\na b 4\nb 5\n"
    found = find(content, ("like", "*a*"), ("like", "*b*"))
    assert [(line.number, line.occurrence) for line in found] == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)]
    found = find(content, ("like", "*a*"), ("like", "*b*"), most=1)
    assert [line.number for line in found] == [1, 2]


def test_reading_ends_with_the_last_line_that_is_needed() -> None:
    found: list[FoundLine] = []
    search = Search("text", "like", "*a*")
    sink = LineSink(LinePatterns([search], [search], 1), found.append)
    for _ in range(100):
        sink.write(b"a\n" * 10_000)
        assert len(sink._buffer) <= line_search.WINDOW + 20_000
    assert len(found) == 1


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("texts") / "store"
    base = layer({"etc/hosts": HOSTS, "opt/bin": b"\x7fELF\0 10.0.0.5 \0\n", "etc/gone": b"10.0.0.5\n"}, "gzip")
    top = layer({"etc/.wh.gone": b"", "opt/app/conf": b"# settings\nhost=10.0.0.5\n", "m": b"one\ntwo\nthree\n"})
    layout = Layout(path)
    layout.add(Image([base], env=("A=1",), labels={"team": "a"}), "app:1")
    settings: dict[str, Any] = {"Cmd": ["serve", "--db", "10.0.0.5"], "Entrypoint": ["/10.0.0.5"]}
    image = Image([base, top], env=("API_HOST=10.0.0.5",), labels={"peer": "10.0.0.5"}, settings=settings)
    layout.add(image, "app:2")
    layout.add(Image([layer({"only": b"x"})], env=("MARK=one\ntwo",)), "scratch:1")
    return str(path)


@pytest.fixture
def store(root: str) -> Iterator[StoreSession]:
    with StoreSession(root) as session:
        yield session


EVERYWHERE = ["cmd", "entrypoint", "env API_HOST", "file /etc/hosts:2", "file /opt/app/conf:2", "file /opt/bin"]
EVERYWHERE += ["label peer"]


def locations(store: StoreSession, query: str) -> list[Any]:
    return [row["location"] for row in store.rows(f"{query} select location")]


def test_texts_are_found_wherever_an_image_has_them(store: StoreSession) -> None:
    query = 'texts of app:2 where text like "*10.0.0.5*" and occurrence = 1'
    assert locations(store, query) == EVERYWHERE
    rows = store.rows('texts of app:2 where text like "*10.0.0.5*" and kind = file select key, line, text, layer_index')
    assert [tuple(row.values()) for row in rows] == [
        ("/etc/hosts", 2, "10.0.0.5 db", 0), ("/etc/hosts", 3, "10.0.0.5 db2", 0),
        ("/opt/app/conf", 2, "host=10.0.0.5", 1), ("/opt/bin", None, " 10.0.0.5 ", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("kind = env", ["env API_HOST"]),
        ("kind = history", ["history 0", "history 1", "history 2"]),
        ('key = /m and not text like "*o*"', ["file /m:3"]),
        ('key like "/opt/*" and text matches "host|settings"', ["file /opt/app/conf:1", "file /opt/app/conf:2"]),
        ('layer_index = 1 and text like "*10.0.0.5*"', ["file /opt/app/conf:2"]),
        ('text like "*two*" or text like "*settings*"', ["file /m:2", "file /opt/app/conf:1"]),
        ('text like "*10.0.0.5*" and text like "*db2*"', ["file /etc/hosts:3"]),
        ('text = "two"', ["file /m:2"]),
        ('text like "*10.0.0.5*" and text like "*db2*" and occurrence = 1', ["file /etc/hosts:3"]),
        ('key = /etc/hosts and text like "10*" and not text like "*db" and occurrence = 1', ["file /etc/hosts:3"]),
        (
            'key = /etc/hosts and (text like "*db2" or text like "127*") and occurrence = 1',
            ["file /etc/hosts:1", "file /etc/hosts:3"],
        ),
        ('key = /m and not text like "*o*" and occurrence = 1', ["file /m:3"]),
        ('text like "*layer 1*"', ["history 1"]),
    ],
)
def test_conditions(store: StoreSession, condition: str, expected: list[str]) -> None:
    assert locations(store, f"texts of app:2 where {condition}") == expected
    assert locations(store, f"(texts of app:2 where {condition})") == expected


def test_texts_of_several_images(store: StoreSession) -> None:
    rows = store.rows('texts of (images) where text like "*db2*" select image_name, location')
    assert [tuple(row.values()) for row in rows] == [("app:1", "file /etc/hosts:3"), ("app:2", "file /etc/hosts:3")]
    rows = store.rows('images where any texts where text matches "^host=" select name')
    assert [row["name"] for row in rows] == ["app:2"]


def test_history_needs_no_layer(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "store")
    layout.add(Image([layer({"a": b"a"}, "gzip")]), "app:1")
    for blob in (tmp_path / "store" / "blobs" / "sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.write_bytes(b"\x1f\x8b damaged")
    with StoreSession(tmp_path / "store") as session:
        assert locations(session, "texts of app:1 where kind = history") == ["history 0", "history 1"]
        with pytest.raises(ImqError):
            session.rows("texts of app:1 where kind = file")


def test_all_lines_have_a_limit(store: StoreSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_UNSEARCHED", 10)
    with pytest.raises(ImqError) as caught:
        store.rows("texts of app:2")
    assert caught.value.code == "content-size"
    assert "add a condition on text" in caught.value.hints[0]
    assert locations(store, 'texts of app:2 where text like "*two*"') == ["file /m:2"]
    assert locations(store, 'texts of app:2 where text = "host=10.0.0.5" and line > 1') == ["file /opt/app/conf:2"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('contains text "10.0.0.5"', {"app:1": ["file /etc/gone:1", "file /etc/hosts:2", "file /opt/bin"],
                                       "app:2": EVERYWHERE}),
        ('contains text "10.0.0.5" and not contains text "settings"',
         {"app:1": ["file /etc/gone:1", "file /etc/hosts:2", "file /opt/bin"]}),
        ('contains text "two" or contains text "db2"',
         {"app:1": ["file /etc/hosts:3"], "app:2": ["file /etc/hosts:3", "file /m:2"], "scratch:1": ["env MARK:2"]}),
        ('contains text "db2" and contains text "three"', {"app:2": ["file /etc/hosts:3", "file /m:3"]}),
        ('contains text "one\ntwo"', {"app:2": ["file /m:1"], "scratch:1": ["env MARK:1"]}),
        ('contains text "nowhere" or size = 1B', {"scratch:1": []}),
        ('contains text "10.*"', {}),
        ('contains text "layer 1"', {"app:2": ["history 1"]}),
    ],
)  # fmt: skip
def test_where_contains_text_found_it(store: StoreSession, condition: str, found: dict[str, list[str]]) -> None:
    rows = store.rows(f"images where {condition} order by name select name, found")
    assert {row["name"]: json.loads(row["found"]) for row in rows} == found
    rows = store.rows(f"(images where {condition}) order by name select name, found")
    assert {row["name"]: json.loads(row["found"]) for row in rows} == found


def test_found_is_a_column_of_the_answer(root: str) -> None:
    shown = imq(root, 'images where contains text "db2"').stdout.splitlines()
    assert shown[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE", "FOUND"]
    assert [line.rpartition("   ")[2] for line in shown[1:]] == ["file /etc/hosts:3"] * 2
    shown = imq(root, 'images where contains text "10.0.0.5" order by name').stdout.splitlines()
    assert shown[2].endswith("file /opt/app/conf:2, … 2 more")
    assert json.loads(imq(root, 'images where contains text "10.0.0.5" and tag = 2 as json').stdout)[0]["found"] == (
        EVERYWHERE
    )
    template = imq(root, 'images where contains text "db2" format "{{range .Found}}<{{.}}>{{end}}"').stdout
    assert template.splitlines() == ["<file /etc/hosts:3>"] * 2
    assert "FOUND" not in imq(root, 'images where not contains text "db2"').stdout


def test_what_takes_no_contains_text(root: str) -> None:
    error = imq(root, 'files of app:1 where contains text "x"', code=2).stderr
    assert "is a condition on images and containers" in error
    assert 'for files: content like "*…*"' in error


def test_grep_is_explained(root: str) -> None:
    assert "did you mean: imq 'texts of app:1 where text matches \"db\"'" in imq(root, 'grep "db" app:1', code=2).stderr
    assert "contains text found its string" in imq(root, "help found").stdout


def test_found_needs_a_string_to_find(root: str) -> None:
    assert "this query has no such condition" in imq(root, "images select found", code=2).stderr
    assert "no such condition" in imq(root, 'images where not contains text "x" select found', code=2).stderr


def test_a_layout_says_where_too(root: str, tmp_path: pathlib.Path) -> None:
    with StoreSession(tmp_path / "other") as session:
        rows = session.rows(f'images in "oci:{root}", store where contains text "db2" order by name select name, found')
        assert [json.loads(row["found"]) for row in rows] == [["file /etc/hosts:3"]] * 2


def test_a_removal_says_where_it_was_found(root: str) -> None:
    with StoreSession(root, explains_plans=True) as session:
        (result,) = session.session.run('rm images where contains text "db2" and tag = 1', dry_run=True)
        (row,) = [dict(zip([one.name for one in result.columns], row, strict=True)) for row in result.rows]  # type: ignore[union-attr]
    assert row["because"] == 'contains text "db2" and tag = 1, found in file /etc/hosts:3'


def test_a_file_is_read_once_for_all_images_that_have_its_layer(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "store")
    base = layer({"a": b"needle\n"}, "gzip")
    for number in range(5):
        layout.add(Image([base], labels={"n": str(number)}), f"app:{number}")
    calls = []
    read = reading.read_contents

    def count(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return read(*arguments, **options)

    monkeypatch.setattr(reading, "read_contents", count)
    with StoreSession(tmp_path / "store") as session:
        rows = session.rows('texts of (images) where text like "needle*" order by image_name select image_name, line')
        assert [(row["image_name"], row["line"]) for row in rows] == [(f"app:{number}", 1) for number in range(5)]
        assert len(calls) == 1
        rows = session.rows('files of (images) where content like "needle*" select image_name, sha256')
        assert sorted(row["image_name"] for row in rows) == [f"app:{number}" for number in range(5)]
        assert {row["sha256"] for row in rows} == {digest_of(b"needle\n")}
        assert len(calls) == 3  # of the search, and of the digest of what it found


def test_a_search_reports_what_it_has_read(tmp_path: pathlib.Path) -> None:
    reports: list[tuple[str, int, int]] = []

    class Recorder(NullProgress):
        def report_bytes(self, label: str, done: int, total: int) -> None:
            reports.append((label, done, total))

    layout = Layout(tmp_path / "store")
    layout.add(Image([layer({"a": bytes(5 << 20)})]), "app:1")
    for statement in ('texts of app:1 where text like "*x*"', 'files of app:1 where content like "*x*"'):
        with StoreSession(tmp_path / "store", progress=Recorder()) as session:
            assert session.rows(statement) == []
        read = [(done, total) for label, done, total in reports if label == "read"]
        assert 5 <= len(read) <= 6
        assert all(done <= total and total >= 5 << 20 for done, total in read)
        reports.clear()


def test_a_layer_that_is_damaged_in_one_place_is_read_in_another(tmp_path: pathlib.Path) -> None:
    shared = layer({"a": b"needle\n"})
    for name in ("one", "two"):
        Layout(tmp_path / name).add(Image([shared], labels={"n": name}), f"app:{name}")
    images = f'(images in "oci:{tmp_path}/one", "oci:{tmp_path}/two")'
    statements = [
        f'{table} of {images} where {field} like "needle*" order by image_name select image_name'
        for table, field in (("texts", "text"), ("files", "content"))
    ]
    with StoreSession(tmp_path / "store") as session:
        for statement in statements:
            assert [row["image_name"] for row in session.rows(statement)] == ["app:one", "app:two"]
        blob = tmp_path / "one" / "blobs" / "sha256" / shared.digest.removeprefix("sha256:")
        blob.write_bytes(blob.read_bytes().replace(b"needle", b"needl3"))
        for statement in statements:
            assert [row["image_name"] for row in session.rows(statement)] == ["app:one", "app:two"]


def test_an_image_that_cannot_be_read_is_reported(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "store")
    damaged, sound = Image([layer({"a": b"needle\n"})], labels={"n": "1"}), Image([layer({"b": b"needle\n"})])
    layout.add(damaged, "app:damaged")
    layout.add(sound, "app:sound")
    with StoreSession(tmp_path / "store") as session:
        statement = 'texts of (images) where text like "*needle*" and kind = file select image_name, key'
        assert len(session.rows(statement)) == 2
        blob = tmp_path / "store" / "blobs" / "sha256" / damaged.layers[0].digest.removeprefix("sha256:")
        blob.write_bytes(blob.read_bytes().replace(b"needle", b"needl3"))
        (result,) = session.session.run(statement)
        assert [tuple(row) for row in result.rows] == [("app:sound", "/b")]  # type: ignore[union-attr]
        assert len(result.errors) == 1  # type: ignore[union-attr]


def test_sparse_files_and_hard_links_are_searched(tmp_path: pathlib.Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a")
        member.size = 7
        tar.addfile(member, io.BytesIO(b"needle\n"))
        link = tarfile.TarInfo("linked")
        link.type, link.linkname = tarfile.LNKTYPE, "a"
        tar.addfile(link)
    content = archive.getvalue()
    layout = Layout(tmp_path / "store")
    layout.add(Image([Layer(content, digest_of(content), LAYER_TYPES[""], 7)]), "app:1")
    with StoreSession(tmp_path / "store") as session:
        assert locations(session, 'texts of app:1 where text like "needle"') == ["file /a:1", "file /linked:1"]
