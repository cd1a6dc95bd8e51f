"""Statements run from Python: their results, and the exceptions that they raise."""

# ruff: noqa: PT009 - imq.assert_ is not a method of unittest

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import imq
import pytest
from imq import GB, age, images, layers
from imq import field as f
from support.images import write_library
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    import pathlib

redis = images.where(f.name == "redis:7")


def test_the_examples_of_the_module_docstring(own: imq.Connection) -> None:
    old = images.where(f.dangling & (f.created < imq.ref("redis:latest").created))
    assert [str(image.size) for image in own(old)] == ["20kB", "140kB"]
    large = imq.rm(images.where((f.size > 1 * GB) & ~f.in_use & (age(f.created) > "30d")))
    assert len(own(large, dry_run=True)) == 0
    assert own(images.count()).scalar() == 11


def test_the_example_of_the_python_page(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_library(tmp_path)
    monkeypatch.setenv("IMQ_ROOT", str(tmp_path))
    example = (
        (CHECKOUT / "dsl" / "docs" / "PYTHON.md")
        .read_text(encoding="utf-8")
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    assert "imq.connect()" in example
    exec(example, {})


def test_a_row_has_attributes_and_keys(session: imq.Connection) -> None:
    (image,) = session(redis)
    assert image.repository == image["repository"] == "redis"
    assert image["Tag"] == image.tag == "7"
    assert (image.size, str(image.size), f"{image.size:d}") == (60024, "60kB", "60024")
    assert image.created == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert image.label == {"maintainer": "redis"}
    assert image.cmd == ["redis-server"]
    assert image.dangling is False
    assert image.user is None
    assert dict(image)["name"] == "redis:7"
    assert next(iter(image)) == image[0] == image.id
    assert len(image) == len(image.keys())
    assert image == session(redis)[0]
    assert "size" in dir(image)
    with pytest.raises(AttributeError, match="columns: id, name"):
        image.sise  # noqa: B018 - the lookup fails
    with pytest.raises(KeyError):
        image["sise"]


def test_selected_columns_have_names(session: imq.Connection) -> None:
    (row,) = session(redis.select(f.label.maintainer, old=age(f.created)))
    assert row["label.maintainer"] == row.label_maintainer == "redis"
    assert isinstance(row.old, timedelta)
    total = session(images.select(imq.sum(f.size)))
    assert total[0].sum_size == total.scalar() > 0


def test_a_result_is_a_sequence(session: imq.Connection) -> None:
    result = session(images.order_by(f.size.desc()))
    assert len(result) == len(list(result)) == len(list(result)) == 11
    assert result[0].size >= result[-1].size
    assert result.column("tag")[:2] == [row.tag for row in result][:2]
    assert result.columns[:2] == ["id", "name"]
    assert result.dicts()[0] == dict(result[0])
    assert result.ok
    assert not session(images.where(f.size > 1 * GB))
    assert repr(result) == "<imq result: 11 rows>"
    with pytest.raises(LookupError):
        result.scalar()


def test_a_result_renders_in_every_format(session: imq.Connection) -> None:
    result = session(redis)
    assert str(result).splitlines()[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert json.loads(result.to_json())[0]["created"] == "2024-03-01T10:00:00Z"
    assert result.render("csv").splitlines()[0].lower() == "repository,tag,id,created,size"
    assert str(session(redis.format("{{.Repository}} {{.Size}}"))) == "redis 60kB\n"
    assert json.loads(str(session(redis.as_("json"))))[0]["tag"] == "7"
    assert "images" in str(session(imq.help()))
    assert len(session("help")) == 0


def test_inspect_returns_documents(session: imq.Connection) -> None:
    result = session(imq.inspect("redis:7", "redis:latest"))
    assert [document["RepoTags"] for document in result] == [["redis:7"], ["redis:latest"]]
    assert json.loads(result.to_json())[0]["Os"] == "linux"


def test_stream_takes_a_single_query(session: imq.Connection) -> None:
    rows = session.stream(layers.of("redis:7").where(f.size > 0))
    assert next(rows).index == 0
    assert [row.tag for row in session.stream("images where repository = redis order by tag")] == ["7", "latest"]
    for wrong in (imq.rm("redis:7"), "images; images", "help"):
        with pytest.raises(imq.Misuse):
            session.stream(wrong)


def test_failed_items_are_errors_of_the_result(own: imq.Connection) -> None:
    planned = own(imq.rm(images.where(f.dangling)), dry_run=True)
    assert [row.action for row in planned] == ["remove", "remove"]
    assert own(images.where(f.dangling).count()).scalar() == 2
    done = own(imq.rm("redis:7", "no/such:1"))
    assert [(row.action, row.target, row.ok) for row in done] == [
        ("remove", "redis:7", True),
        ("rm", "no/such:1", False),
    ]
    assert isinstance(done.errors[0], imq.NotFound)
    with pytest.raises(imq.ActionFailed) as caught:
        done.raise_for_errors()
    assert caught.value.exceptions == done.errors
    assert "No such image" in str(caught.value)
    caught_apart = []
    try:
        done.raise_for_errors()
    except* imq.NotFound as group:
        caught_apart = list(group.exceptions)
    assert len(caught_apart) == 1
    assert own(imq.rm("redis:latest")).raise_for_errors().ok
    assert own(images.where(f.repository == "redis").count()).scalar() == 0


def test_confirm_decides_whether_actions_run(tmp_path: pathlib.Path) -> None:
    write_library(tmp_path)
    seen: list[imq.Result] = []

    def confirm(planned: imq.Result) -> bool:
        seen.append(planned)
        return False

    with imq.connect(root=tmp_path, environment={}, confirm=confirm) as asking:
        assert "nothing was done" in str(asking(imq.rm("redis:7")))
        assert [row.target for row in seen[0]] == ["redis:7"]
        assert asking(redis.count()).scalar() == 1
    with imq.connect(root=tmp_path, environment={}, confirm=lambda _: True, progress=True) as asking:
        assert asking(imq.rm("redis:7")).ok
        assert asking(redis.count()).scalar() == 0


def test_variables_views_and_settings_last_in_a_connection(session: imq.Connection) -> None:
    session(imq.let("keep", ["redis:7", "plain:1"]))
    session(imq.view("kept", images.where(f.name.in_(imq.var("keep")))))
    assert session(imq.table("kept").order_by(f.size)).column("name") == ["redis:7", "plain:1"]
    assert session(imq.table("kept").count()).scalar() == session("kept count").scalar() == 2
    session(imq.set("jobs", 2))
    assert str(session(imq.set("jobs"))) == "jobs = 2\n"
    assert [len(result) for result in session.run("images limit 1; images limit 2")] == [1, 2]
    assert len(session("images limit 1; images limit 2")) == 2
    assert "sql" in session.explain(redis)
    assert "sql" in session.explain("images")


def test_a_failed_assertion_is_raised_with_its_rows(session: imq.Connection) -> None:
    session(imq.assert_(imq.no(images.where(f.size > 1 * GB))))
    session(imq.assert_(images.count() == 11))
    with pytest.raises(imq.AssertionFailed) as caught:
        session(imq.assert_(imq.no(images.where(f.dangling))))
    assert "no images where dangling" in str(caught.value)
    assert "quay.io/team/tool" in str(caught.value)
    with pytest.raises(imq.AssertionFailed):
        session("assert (images count) = 3")


def test_on_error_continue_runs_the_rest_of_a_script(session: imq.Connection) -> None:
    script = "on error continue; assert (images count) = 3; let x = 1; images where nonsense; images limit 1"
    results = list(session.run(script))
    assert [result.ok for result in results] == [True, False, True, False, True]
    with pytest.raises(imq.AssertionFailed):
        session(script)


def test_a_notebook_shows_a_table(session: imq.Connection) -> None:
    assert session(redis)._repr_html_().startswith("<table>")
    assert session("help")._repr_html_().startswith("<pre>")


def test_errors_show_their_position(session: imq.Connection) -> None:
    with pytest.raises(imq.UnknownName) as caught:
        session(images.where(f.sise > 1))
    assert str(caught.value).splitlines()[1:] == [
        "  │ images where sise > 1",
        '  │              ^^^^ did you mean "size"?',
    ]
    with pytest.raises(imq.TypeMismatch):
        session(images.where(f.size > "large"))
    with pytest.raises(imq.UnknownName):
        session(imq.table("nothing"))


def test_large_statements_run_or_are_refused(session: imq.Connection) -> None:
    many = [f"team/app:{number}" for number in range(100_000)]
    assert len(session(images.where(f.name.in_(many)))) == 3
    deep = f.size
    for _ in range(10_000):
        deep = deep + 1
    with pytest.raises(imq.StatementError) as caught:
        session(images.where(deep > 1))
    assert caught.value.code == "too-deep"


def test_a_connection_takes_options_and_closes(library_root: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(imq.UnknownName, match="nowhere"):
        imq.connect("nowhere", root=tmp_path / "a", environment={})
    with pytest.raises(imq.ImqError):
        imq.connect(root=tmp_path / "a", jobs=1000, environment={})
    opened = imq.connect("store", environment={"IMQ_ROOT": library_root}, jobs=2, platform="linux/arm64")
    assert opened(images.count()).scalar() == 11
    opened.close()
    opened.close()
    with pytest.raises(imq.Misuse, match="closed"):
        opened(images)


def test_a_connection_belongs_to_its_thread(session: imq.Connection) -> None:
    caught: list[BaseException] = []

    def run_query() -> None:
        try:
            session(images)
        except imq.Misuse as error:
            caught.append(error)

    thread = threading.Thread(target=run_query)
    thread.start()
    thread.join()
    assert "another thread" in str(caught[0])
