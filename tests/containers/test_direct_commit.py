"""`docker commit` without a session: the same image, the same messages, and what is left to the session."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from imq.cli.output import Console
from imq.docker import direct_commit
from imq.docker import run as session_run
from imq.engine.containers.containers import Containers

from .test_lifecycle import start

if TYPE_CHECKING:
    from .conftest import Machine

SCRIPT = "echo 1 > /one; rm /bin/yes; mkdir /new; ln /one /new/two; chmod 700 /root"
LINES = (
    ("web", "made:1"),
    ("web",),
    ("/web", "registry.local:5000/team/made"),
    ("-m", "with the fix", "-a", "A <a@b>", "web", "made:1"),
    ("-c", 'CMD ["serve"]', "--change", "ENV X=1", "-p=false", "web", "made:1"),
    ("--message", "", "--author", "", "web", "made:1"),
)
"""Arguments of command lines that commit a container with changes."""


NAMED = "registry.local:5000/team/made:latest"


def read_image(machine: Machine, id_: str) -> dict[str, Any]:
    """Return the config of an image without its times."""
    text = pathlib.Path(machine.root, "blobs", "sha256", id_.strip().removeprefix("sha256:")).read_text()
    document: dict[str, Any] = json.loads(re.sub(r'"created":"[^"]*"', '"created":"NOW"', text))
    return document


def commit_both_ways(
    machine: Machine, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, str, str]]:
    """Return the exit code, the output and the errors of a command line without a session, and with one."""
    results = []
    with monkeypatch.context() as patch:
        patch.setattr(session_run, "open_session", _refuse)
        results.append(machine.line(*words))
        patch.undo()
        patch.setattr(direct_commit, "commit_directly", lambda *_: None)
        results.append(machine.line(*words))
    return results


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("a session was opened")


@pytest.mark.parametrize("group", [("commit",), ("container", "commit")])
def test_the_image_is_that_of_a_session(
    machine: Machine, group: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.line("run", "--name", "web", "box:1", "sh", "-c", SCRIPT)
    for line in LINES if len(group) == 1 else LINES[:1]:
        (code, first, errors), other = commit_both_ways(machine, (*group, *line), monkeypatch)
        assert (code, errors) == (0, "")
        assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", first)
        assert (other[0], other[2]) == (0, "")
        assert read_image(machine, first) == read_image(machine, other[1])
    assert machine.outcomes("verify all")
    names = {row["name"] for row in machine.rows("images where layer_count = 2 select name")}
    assert names == ({"made:1", NAMED, None} if group == ("commit",) else {"made:1", None})


def test_a_container_without_changes_has_no_further_layer(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.line("create", "--name", "web", "box:1", "true")
    (code, first, _), (_, second, _) = commit_both_ways(machine, ("commit", "web", "made:1"), monkeypatch)
    assert code == 0
    assert read_image(machine, first) == read_image(machine, second)
    assert len(read_image(machine, first)["rootfs"]["diff_ids"]) == 1


@pytest.mark.usefixtures("each_runtime")
def test_a_running_container_is_paused_and_goes_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    start(machine, "web", 'sh -c "echo 1 > /one; echo ready; sleep 100"')
    states = []
    pack = Containers._pack_changes

    def look(self: Containers, container: Any) -> Any:
        states.append(self.read_state(container.id).status)
        return pack(self, container)

    monkeypatch.setattr(Containers, "_pack_changes", look)
    for words in (("commit", "web", "made:1"), ("commit", "--pause=false", "web", "made:2")):
        for code, _, errors in commit_both_ways(machine, words, monkeypatch):
            assert (code, errors) == (0, "")
    assert states == ["paused", "paused", "running", "running"]
    assert machine.container("web")["status"] == "running"


def remove_the_image(machine: Machine) -> None:
    machine.do("rm images where tag = 1 force")


def lose_a_layer(machine: Machine) -> None:
    (layer,) = machine.rows("layers of box:1 select digest")
    pathlib.Path(machine.root, "blobs", "sha256", layer["digest"].removeprefix("sha256:")).unlink()


@pytest.mark.parametrize("damage", [remove_the_image, lose_a_layer])
def test_errors_are_those_of_a_session(machine: Machine, damage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.line("run", "--name", "web", "box:1", "sh", "-c", SCRIPT)
    damage(machine)
    direct, session = commit_both_ways(machine, ("commit", "web", "made:1"), monkeypatch)
    assert direct == session
    assert direct[0] != 0
    assert direct[2].startswith(("Error: ", "error["))
    assert machine.rows("images where name = made:1") == []
    assert list(pathlib.Path(machine.root, "ingest").glob("*.*")) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--output", "json", "commit", "web", "made:1"),
        ("commit", "--dry-run", "web", "made:1"),
        ("commit", "none", "made:1"),
        ("commit", "web", "Not/A:Name"),
        ("commit", "web", "made@sha256:" + "0" * 64),
        ("commit", "web", "<<.Name>>"),
        ("commit", "-c", "FROM x", "web", "made:1"),
        ("commit", "web", "as", "made:1"),
        ("--source", "store", "commit", "web", "made:1"),
        ("--set", "quota=1GB", "commit", "web", "made:1"),
        ("commit",),
        ("commit", "--help"),
    ],
)
def test_what_is_left_to_a_session(machine: Machine, words: tuple[str, ...]) -> None:
    machine.line("create", "--name", "web", "box:1", "true")
    console = Console(io.StringIO(), io.StringIO(), io.StringIO(), dict(os.environ))
    assert direct_commit.commit_directly(console, ["--root", machine.root, *words]) is None
    assert machine.rows("images select name") == [{"name": "box:1"}]


def test_a_configured_limit_is_left_to_a_session(machine: Machine, tmp_path: pathlib.Path) -> None:
    machine.line("run", "--name", "web", "box:1", "sh", "-c", "yes | head -c 100000 > /big")
    (tmp_path / "config.toml").write_text('[settings]\nquota = "1MB"\n')
    done = machine.command("commit", "web", "made:1", env={**os.environ, "IMQ_CONFIG": str(tmp_path / "config.toml")})
    assert (done.returncode, "quota" in done.stderr) == (3, True), done.stderr
    assert machine.rows("images where name = made:1") == []


def test_an_id_is_found_by_a_session(machine: Machine) -> None:
    machine.line("create", "--name", "web", "box:1", "true")
    id_ = machine.container("web")["id"]
    for text in (id_, id_[:12]):
        code, output, errors = machine.line("commit", text)
        assert (code, errors, output.startswith("sha256:")) == (0, "", True)
