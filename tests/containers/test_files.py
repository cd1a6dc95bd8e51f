"""The files of containers of the store: those of their images with what they added, changed and deleted."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from imq.engine.result import Content
from imq.grammar.errors import NotFound

if TYPE_CHECKING:
    import pathlib

    from containers.conftest import Machine

SCRIPT = "echo new > /etc/group; rm /bin/yes; mkdir /made; echo 1 > /made/one; ln -s one /made/link"


@pytest.fixture
def changed(machine: Machine) -> Machine:
    """A store with the container `web`, which added, changed and deleted files, and `made`, which did not run."""
    machine.do_all(f'run box:1 sh -c "{SCRIPT}" as web', "create made from box:1")
    return machine


def list_rows(machine: Machine, query: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in machine.rows(f"{query} as json")]


def read(machine: Machine, statement: str) -> bytes:
    (content,) = machine.session.run(statement)
    assert isinstance(content, Content)
    stream = io.BytesIO()
    content.write(stream)
    return stream.getvalue()


def test_every_path_has_a_status(changed: Machine) -> None:
    query = "files of container web where status != unchanged and type != directory select path, status, type"
    assert list_rows(changed, query) == [
        ("/bin/yes", "deleted", "symlink"),
        ("/etc/group", "changed", "file"),
        ("/made/link", "added", "symlink"),
        ("/made/one", "added", "file"),
    ]
    kept = "files of container web where path in (/etc/passwd, /made) select path, status"
    assert list_rows(changed, kept) == [("/etc/passwd", "unchanged"), ("/made", "added")]
    assert list_rows(changed, "files of container made where status != unchanged select path") == []
    paths = "files of {} where status is unknown or status != deleted select path"
    assert list_rows(changed, paths.format("container made")) == list_rows(changed, paths.format("box:1"))


def test_conditions_and_contents(changed: Machine) -> None:
    assert list_rows(changed, "containers where any files where path = /made/one select name") == [("web",)]
    assert list_rows(changed, "containers where any files where path = /bin/yes select name") == [("made",)]
    content = "files of container web where path in (/etc/group, /made/one) select path, content"
    assert list_rows(changed, content) == [("/etc/group", "new\n"), ("/made/one", "1\n")]


def test_verbs_take_a_container(changed: Machine, tmp_path: pathlib.Path) -> None:
    assert read(changed, "cat container web /made/link") == b"1\n"
    with pytest.raises(NotFound, match="container web has no file /bin/yes"):
        read(changed, "cat container web /bin/yes")
    with pytest.raises(NotFound, match="No such container"):
        changed.rows("files of container nope")
    changed.do(f'extract files of container web where path like "/made*" to "{tmp_path / "out"}"')
    assert (tmp_path / "out" / "made" / "one").read_text() == "1\n"
    rows = changed.rows("diff container web ignoring times as json")
    found = {(row["change"], row["key"]) for row in rows if row["kind"] == "file"}
    expected = {("added", "/made"), ("added", "/made/link"), ("added", "/made/one"), ("changed", "/etc/group")}
    assert expected | {("removed", "/bin/yes")} <= found
    assert {row["kind"] for row in rows} == {"file"}
