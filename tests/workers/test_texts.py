"""Lines of texts that workers find: which process reads a layer, and what happens when one cannot."""

from __future__ import annotations

import json
import os
import pathlib
from copy import copy
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.layer_index.contents import end_content
from imq.engine.query.searches import Search
from imq.engine.sources.contents import texts
from imq.engine.sources.contents.line_search import LineQuery
from imq.engine.workers import jobs
from imq.grammar.errors import Malformed
from support.images import Image, Layout, layer
from workers.conftest import list_values

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 4
LAYERS = [
    layer({f"srv/log-{number}": f"first {number}\nsecond {number}\nlast\n".encode(), "srv/none": b"x"}, "gzip")
    for number in range(COUNT)
]
CONDITION = 'kind = file and (text like "*second*" or text like "*last*")'


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The query of images, of which each shares its lower layer with the next one."""
    folder = tmp_path_factory.mktemp("texts") / "layout"
    written = Layout(folder)
    for number in range(COUNT):
        written.add(Image([LAYERS[number], LAYERS[(number + 1) % COUNT]]), f"app:{number}")
    written.close()
    return f'images in "oci:{folder}"'


def make_text(images: str) -> str:
    return f"texts of ({images}) where {CONDITION} select image_name, key, line, text, layer, occurrence"


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The layers that this process reads."""
    seen: list[Any] = []
    read: Callable[..., None] = texts.read_shared_contents

    def note(source: Any, images: Any, layer: Any, *arguments: Any) -> None:
        seen.append(layer)
        read(source, images, layer, *arguments)

    monkeypatch.setattr(texts, "read_shared_contents", note)
    return seen


def ask(root: pathlib.Path, text: str, workers: int | None = None) -> list[tuple[object, ...]]:
    with imq.connect(root=root, workers=workers) as session:
        return list_values(session(text))


def test_workers_find_the_lines(tmp_path: pathlib.Path, images: str, read_here: list[Any]) -> None:
    expected = ask(tmp_path / "plain", make_text(images))
    assert len(expected) == 4 * COUNT
    assert sorted(read_here) == sorted(one.diff_id for one in LAYERS)
    read_here.clear()
    assert ask(tmp_path / "workers", make_text(images), 2) == expected
    assert not read_here


def test_lines_that_are_too_many_to_be_sent_are_read_here(
    tmp_path: pathlib.Path, images: str, read_here: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ask(tmp_path / "plain", make_text(images))
    read_here.clear()
    (tmp_path / "sitecustomize.py").write_text("import imq.engine.workers.jobs as jobs\njobs.MAX_FOUND = 10\n")
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    assert ask(tmp_path / "workers", make_text(images), 2) == expected
    assert len(read_here) == COUNT


def test_a_damaged_layer_is_an_error_as_in_one_process(
    tmp_path: pathlib.Path, images: str, read_here: list[Any]
) -> None:
    blob = pathlib.Path(images.partition("oci:")[2].rstrip('"'), "blobs", *LAYERS[0].digest.split(":"))
    content = blob.read_bytes()
    answers = []
    for workers in (None, 2):
        with imq.connect(root=tmp_path / f"{workers}", workers=workers) as session:
            assert list_values(session(f"files of ({images}) where size = 1 select path"))
            blob.write_bytes(content[:-9] + b"x" + content[-8:])
            read_here.clear()
            try:
                result = session(make_text(images))
                answers.append((list_values(result), {one.message.partition(": ")[0] for one in result.errors}))
            finally:
                blob.write_bytes(content)
    assert answers[0] == answers[1]
    rows, named = answers[0]
    assert named == {"app:0", "app:3"}
    assert not [row for row in rows if row[1] == "/srv/log-0"]
    assert [row for row in rows if row[1] == "/srv/log-1"]
    assert not read_here


def test_a_copy_of_an_error_is_its_own_beside_dask() -> None:
    import distributed  # noqa: F401 - it registers how exceptions are copied

    error = Malformed("the layer is damaged", code="truncated", hints=("copy it again",))
    named = copy(error)
    named.message = "app:0: the layer is damaged"
    assert error.message == "the layer is damaged"
    assert (type(named), named.code, named.hints) == (Malformed, "truncated", ("copy it again",))
    assert named.args == error.args


def test_a_query_of_lines_is_the_same_in_another_process() -> None:
    first, second = Search("text", "like", "*a*"), Search("text", "matches", "b\udcff+")
    query = LineQuery((first, second), (first,), 3, (first.key, ["and", ["not", second.key], ["or", first.key, None]]))
    other = LineQuery.parse(json.loads(json.dumps(query.describe())))
    assert other == query
    tests = other.prepare().tests
    for results in ({first.key: at, second.key: number} for at in (0, 1) for number in (0, 1)):
        assert [bool(test(results)) for test in tests] == [bool(results[first.key]), not results[second.key]]
    assert LineQuery.parse(LineQuery((), None, 0, ()).describe()).required is None


def test_a_worker_holds_a_bounded_part_of_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search("text", "like", "*a*")
    found = jobs.FoundLines(LineQuery((search,), (search,), 0, (search.key,)).prepare())
    (sink,) = found.open_sinks(7)
    sink.write(b"b\na\nab\n")
    end_content(sink)
    assert [(row, number, text) for row, number, text, *_ in found.lines] == [(7, 2, "a"), (7, 3, "ab")]
    monkeypatch.setattr(jobs, "MAX_FOUND", 100)
    (sink,) = found.open_sinks(8)
    with pytest.raises(imq.ImqError, match="more than 100 characters"):
        sink.write(b"a\n" * jobs.MAX_FOUND * 10_000)
