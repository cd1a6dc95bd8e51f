"""The volumes of engines: the table, and removals that the engine carries out."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from imq.cli.main import Cli
from imq.grammar.errors import StatementError
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from support.prepared_engines import PreparedEngine

SPARE = ("spare-one", "spare-two")


@pytest.fixture
def spare(prepared: PreparedEngine) -> Iterator[PreparedEngine]:
    """An engine with two volumes that no container mounts."""
    for name in SPARE:
        prepared.engine.run("volume", "create", name)
    yield prepared
    for name in SPARE:
        if name in list_volumes(prepared):
            prepared.engine.run("volume", "rm", name)


def list_volumes(prepared: PreparedEngine) -> set[str]:
    return set(prepared.engine.run("volume", "ls", "-q").split())


def open_for(prepared: PreparedEngine, folder: Path) -> Session:
    """Return a session that confirms each plan."""
    return open_session(folder / "store", environment=prepared.environment, confirm=lambda _: True)


def test_rows_are_those_that_the_engine_inspects(prepared: PreparedEngine) -> None:
    names = list_volumes(prepared)
    rows = {row["name"]: row for row in prepared.ask("volumes in E select *").rows}
    assert rows.keys() == names
    inspected = {one["Name"]: one for one in prepared.inspect("volume", *names)}
    assert {name: row["path"] for name, row in rows.items()} == {
        name: one["Mountpoint"] for name, one in inspected.items()
    }
    assert all(row["created"] is not None and row["source"] == prepared.kind for row in rows.values())


def test_users_are_the_containers_that_mount_a_volume(spare: PreparedEngine) -> None:
    mounted: dict[str, set[str]] = {}
    for container in spare.inspect("container", *spare.engine.run("ps", "-aq").split()):
        for mount in container["Mounts"]:
            if mount.get("Name"):
                mounted.setdefault(mount["Name"], set()).add(container["Name"].removeprefix("/"))
    rows = spare.ask("volumes in E select name, containers, in_use").rows
    assert mounted
    assert {row["name"]: set(row["containers"]) for row in rows if row["in_use"]} == mounted
    unused = {row["name"] for row in spare.ask("volumes in E where not in use").rows}
    assert unused == list_volumes(spare) - mounted.keys()
    assert unused == {row["name"] for row in spare.ask("volumes in E where no containers").rows}


def test_sizes_are_those_of_the_engine(prepared: PreparedEngine) -> None:
    usage = prepared.request("system/df")["Volumes"]
    sizes = {one["Name"]: one["UsageData"]["Size"] for one in usage}
    assert {row["name"]: row["size"] for row in prepared.ask("volumes in E select name, size").rows} == sizes


def test_an_unused_volume_is_removed_and_a_mounted_one_stays(spare: PreparedEngine, tmp_path: Path) -> None:
    session = open_for(spare, tmp_path)
    before = list_volumes(spare)
    (mounted, *_) = [row["name"] for row in spare.ask("volumes in E where in use").rows]
    text = f"rm volumes in {spare.kind} where name = {mounted} or name = spare-one"
    planned = execute(session, f"dry run {text}").rows
    assert {(row["target"], row["error"]) for row in planned} == {(mounted, "conflict"), ("spare-one", None)}
    assert list_volumes(spare) == before
    assert execute(session, text).exit_code == 1
    assert list_volumes(spare) == before - {"spare-one"}
    session.close()


def test_volumes_are_removed_by_name(spare: PreparedEngine, tmp_path: Path) -> None:
    session = open_for(spare, tmp_path)
    rows = execute(session, f"rm volume spare-two nowhere in {spare.kind}").rows
    assert {(row["target"], row["error"]) for row in rows} == {("spare-two", None), ("nowhere", "no-such-volume")}
    assert "spare-two" not in list_volumes(spare)
    session.close()


def test_a_prune_takes_what_the_condition_selects_of_unused_volumes(spare: PreparedEngine, tmp_path: Path) -> None:
    session = open_for(spare, tmp_path)
    before = list_volumes(spare)
    execute(session, f'prune volumes in {spare.kind} where name like "spare-*"')
    assert list_volumes(spare) == before - set(SPARE)
    with pytest.raises(StatementError, match="would apply to all"):
        execute(session, f"rm volumes in {spare.kind}")
    session.close()


def test_a_volume_that_was_made_anew_since_the_plan_stays(spare: PreparedEngine, tmp_path: Path) -> None:
    def replace_volume(_: object) -> bool:
        planned = spare.request("volumes/spare-one")["CreatedAt"]
        while spare.request("volumes/spare-one")["CreatedAt"] == planned:  # times have whole seconds
            spare.engine.run("volume", "rm", "spare-one")
            spare.engine.run("volume", "create", "spare-one")
        return True

    session = open_session(tmp_path / "store", environment=spare.environment, confirm=replace_volume)
    result = execute(session, f"rm volumes in {spare.kind} where name = spare-one")
    assert [row["error"] for row in result.rows] == ["changed"]
    assert "spare-one" in list_volumes(spare)
    session.close()


def test_the_default_engine_has_volumes(spare: PreparedEngine, tmp_path: Path) -> None:
    """`volumes` without a source is about the engine that the other tables are about."""
    session = open_session(tmp_path / "store", environment=spare.environment)
    execute(session, f"volumes in {spare.kind}")
    list(session.run(f"use {spare.kind}"))
    assert {row["name"] for row in execute(session, "volumes").rows} == list_volumes(spare)
    session.close()


def run_line(prepared: PreparedEngine, folder: Path, *words: str) -> tuple[int, str]:
    """Run a command line of docker on the engine; return its exit code and output."""
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    environment = {"IMQ_ROOT": str(folder / "none"), "HOME": str(folder), **prepared.environment}
    code = Cli(io.StringIO(), stdout, stderr, environment).main(["--source", prepared.kind, *words])
    buffer: Any = stdout.buffer
    return code, buffer.getvalue().decode()


def test_command_lines_of_docker(spare: PreparedEngine, tmp_path: Path) -> None:
    """A prune without -a spares volumes that have a name, as docker does since version 23."""
    before = list_volumes(spare)
    assert set(run_line(spare, tmp_path, "volume", "ls", "-q")[1].split()) == before
    code, output = run_line(spare, tmp_path, "--dry-run", "volume", "prune", "-f")
    assert (code, [name for name in SPARE if name in output]) == (0, [])
    code, output = run_line(spare, tmp_path, "--dry-run", "volume", "prune", "-a", "-f")
    assert (code, [name for name in SPARE if name in output]) == (0, list(SPARE))
    assert run_line(spare, tmp_path, "volume", "rm", "spare-one") == (0, "spare-one\n")
    assert list_volumes(spare) == before - {"spare-one"}


@pytest.mark.parametrize("without_volumes", ["registry.local:5000", "containerd:k8s.io"])
def test_names_of_volumes_are_no_names_of_images(tmp_path: Path, without_volumes: str) -> None:
    """A source without volumes refuses the statement: `rm volume redis:7` removes no image redis:7."""
    session = open_session(tmp_path / "store", confirm=lambda _: True)
    for text in (f"rm volume redis:7 in {without_volumes}", f"rm volumes in {without_volumes} where name = x"):
        with pytest.raises(StatementError, match=r"has no (volumes|table volumes)"):
            execute(session, text)
    session.close()
