"""The table `changes`: paths that containers added, changed and deleted, as the engine's own client shows them."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import imq
import pytest
from support.engine_content import program_layer, wait_arguments
from support.engines import http_answer
from support.images import Image, docker_archive, layer
from support.programs import remove_program
from support.scripted_session import A, Script, answer, container
from support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.engine_images import Place

FILES = layer({"etc/kept": b"kept", "etc/gone": b"gone", "etc/changed": b"old"})


def make_container(place: Place, folder: Path) -> None:
    """Make the container `web`, which deleted /etc/gone; then /etc/changed and /new/file were copied into it."""
    image = Image([FILES, program_layer("rm", remove_program())])
    docker_archive(folder / "files.tar", [(image, ["localhost/files:1"])])
    place.engine.run("load", "-i", str(folder / "files.tar"))
    place.engine.run("create", "--name", "web", *wait_arguments(place.engine), "localhost/files:1", "/rm", "/etc/gone")
    subprocess.run([*place.engine.client, "start", "web"], capture_output=True, check=True)
    wait_until(lambda: place.engine.run("inspect", "-f", "{{.State.Status}}", "web") == "exited")
    (folder / "new").mkdir()
    (folder / "new" / "file").write_bytes(b"12345")
    (folder / "new" / "file").chmod(0o755)
    (folder / "new" / "link").symlink_to("file")
    (folder / "changed").write_bytes(b"newer")
    place.engine.run("cp", str(folder / "new"), "web:/new")
    place.engine.run("cp", str(folder / "changed"), "web:/etc/changed")


def list_by_client(place: Place, name: str) -> set[tuple[str, str]]:
    kinds = {"A": "added", "C": "changed", "D": "deleted"}
    lines = (line.split(" ", 1) for line in place.engine.run("diff", name).splitlines())
    return {(kinds[kind], path) for kind, path in lines}


def test_changes_of_a_container(place: Place, tmp_path: Path) -> None:
    make_container(place, tmp_path)
    rows = list(place.connection(f"changes of web in {place.name} select *"))
    assert {(row.status, row.path) for row in rows} == list_by_client(place, "web")
    by_path = {row.path: row for row in rows}
    assert by_path["/etc/gone"].status == "deleted"
    assert by_path["/etc/gone"].type is None
    changed, added, link = (by_path[path] for path in ("/etc/changed", "/new/file", "/new/link"))
    assert (changed.status, changed.size, changed.directory, changed.name) == ("changed", 5, "/etc", "changed")
    assert (added.status, added.type, added.size, added.mode) == ("added", "file", 5, "0755")
    assert (link.type, link.link_target) == ("symlink", "/new/file")
    assert by_path["/new"].type == "directory"
    assert all((row.container, row.image, row.source) == ("web", "localhost/files:1", place.name) for row in rows)

    assert [row.name for row in place.connection(f"containers in {place.name} where any changes")] == ["web"]
    asked = f"changes of (containers in {place.name} where status = exited) where status = added and type = file"
    assert [row.path for row in place.connection(asked)] == ["/new/file"]
    with pytest.raises(imq.AssertionFailed):
        place.connection(f'assert no changes in {place.name} where not path like "/etc*"')


def test_no_changes(place: Place) -> None:
    place.engine.run("create", "--name", "made", *wait_arguments(place.engine), "localhost/app:1", "/x")
    assert list(place.connection(f"changes in {place.name}")) == []
    with pytest.raises(imq.NotFound, match="No such container: gone"):
        place.connection(f"changes of gone in {place.name}")


def test_changes_are_not_extracted(docker_place: Place, tmp_path: Path) -> None:
    with pytest.raises(imq.StatementError, match="extract takes files of images, not changes"):
        docker_place.connection(f'extract changes in docker where status = added to "{tmp_path / "out"}"')
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("table", ["layers", "history"])
def test_names_of_containers_are_not_those_of_images(place: Place, table: str) -> None:
    place.engine.run("create", "--name", "made", *wait_arguments(place.engine), "localhost/app:1", "/x")
    with pytest.raises(imq.StatementError, match="these rows are containers") as caught:
        place.connection(f"{table} of (containers in {place.name})")
    assert any("select image)" in hint for hint in caught.value.hints)
    assert list(place.connection(f"{table} of (containers in {place.name} select image)"))


def stat(mode: int, **values: Any) -> bytes:
    document = {"name": "x", "size": 4, "mode": mode, "mtime": "2024-01-31T10:00:00Z", "linkTarget": "/t", **values}
    encoded = base64.b64encode(json.dumps(document).encode()).decode()
    return http_answer(b"", f"X-Docker-Container-Path-Stat: {encoded}")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o644, ("file", 4, "0644", None)),
        (0o755 | 1 << 23, ("file", 4, "4755", None)),
        (0o777 | 1 << 31 | 1 << 20, ("directory", 0, "1777", None)),
        (0o777 | 1 << 27, ("symlink", 0, "0777", "/t")),
        (0o600 | 1 << 26, ("block", 0, "0600", None)),
        (0o600 | 1 << 26 | 1 << 21, ("char", 0, "0600", None)),
        (0o600 | 1 << 25, ("fifo", 0, "0600", None)),
    ],
)
def test_types_and_modes(tmp_path: Path, mode: int, expected: tuple[Any, ...]) -> None:
    answers = {"/archive": stat(mode), "/changes": answer([{"Path": "/x", "Kind": 1}])}
    script = Script(tmp_path / "script", {**answers, "containers/json": answer([container(A)])})
    try:
        (row,) = script.ask("changes in docker select type, size, mode, link_target").rows
    finally:
        script.close()
    assert tuple(row.values()) == expected


@pytest.mark.parametrize("change", [{"Path": "/x", "Kind": 7}, {"Path": None, "Kind": 1}, {"Path": "/x"}])
def test_an_unknown_change_is_an_error(tmp_path: Path, change: Any) -> None:
    answers = {"/changes": answer([change]), "containers/json": answer([container(A)])}
    script = Script(tmp_path / "script", answers)
    try:
        with pytest.raises(imq.EngineError, match=r"the changes of web: .*unknown change"):
            script.ask("changes in docker select path")
    finally:
        script.close()


@pytest.mark.parametrize("header", ["X-Docker-Container-Path-Stat: e30=", "X-Docker-Container-Path-Stat: !", "A: b"])
def test_a_path_that_is_not_described_is_a_problem(tmp_path: Path, header: str) -> None:
    answers = {"/archive": http_answer(b"", header), "/changes": answer([{"Path": "/x", "Kind": 1}])}
    script = Script(tmp_path / "script", {**answers, "containers/json": answer([container(A)])})
    try:
        result = script.ask("changes in docker select path, size")
    finally:
        script.close()
    assert result.rows == [{"path": "/x", "size": None}]
    assert ["does not describe the path /x" in error.message for error in result.errors] == [True]


def test_paths_alone_need_no_further_request(tmp_path: Path) -> None:
    answers = {"/changes": answer([{"Path": "/x", "Kind": 2}, {"Path": "/y", "Kind": 0}])}
    script = Script(tmp_path / "script", {**answers, "containers/json": answer([container(A)])})
    try:
        rows = script.ask("changes in docker where status = deleted select path").rows
        assert [row["path"] for row in rows] == ["/x"]
        assert script.requests("/archive") == []
        assert script.ask("changes in docker where container = other").rows == []
        assert len(script.requests("/changes")) == 1
    finally:
        script.close()
