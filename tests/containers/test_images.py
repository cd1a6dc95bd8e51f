"""Images that containers were made from stay while they are used, by docker's rules."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import Conflict, StoreError

from .test_lifecycle import start

if TYPE_CHECKING:
    from .conftest import Machine

SLEEP = 'sh -c "echo ready; sleep 100"'


def image(machine: Machine, name: str = "box:1") -> dict[str, Any]:
    (row,) = machine.rows(f"images where name = {name} select * as json")
    return row


def test_the_use_of_images_is_known(machine: Machine) -> None:
    assert (image(machine)["in_use"], image(machine)["containers"], image(machine)["last_used"]) == (0, 0, None)
    machine.do_all("create one1 from box:1", "run box:1 true as two2", "tag box:1 as other:1")
    assert (image(machine)["in_use"], image(machine)["containers"]) == (1, 2)
    used = machine.container("two2")["finished"]
    assert image(machine)["last_used"] == image(machine, "other:1")["last_used"] == used
    assert machine.rows("images where no containers") == []
    assert len(machine.rows("images where any containers where status = exited")) == 2
    assert [row["name"] for row in machine.rows("containers of other:1 order by name")] == ["one1", "two2"]
    assert machine.rows("containers where name = one1 select count(names) as n") == [{"n": 2}]
    machine.do("rm containers where image = box:1")
    assert (image(machine)["in_use"], image(machine)["last_used"]) == (0, used), "the use is remembered"


def test_the_last_name_of_a_used_image_stays(machine: Machine) -> None:
    machine.do_all("create one1 from box:1", "tag box:1 as box:2")
    machine.do("rm box:2")  # not the last name
    with pytest.raises(Conflict, match="must force") as caught:
        machine.do("rm box:1")
    assert caught.value.code == "in-use"
    assert "one1 (created)" in str(caught.value)
    with pytest.raises(Conflict, match="must force"):
        machine.do("rm images where tag = 1")
    assert image(machine)["in_use"] == 1
    (hint,) = (hint for hint in caught.value.hints if hint.startswith("to remove them: "))
    machine.do(hint.removeprefix("to remove them: ").removesuffix(", or add force"))
    machine.do("rm box:1")
    assert machine.rows("images") == []


def test_a_used_image_frees_nothing(machine: Machine) -> None:
    machine.do("create one1 from box:1")
    (row,) = machine.rows("reclaim of box:1 select removes, size, alone, note")
    assert row == {"removes": 0, "size": 0, "alone": 0, "note": "a container uses the image"}
    machine.do("rm container one1")
    (row,) = machine.rows("reclaim of box:1 select removes, size, alone, note")
    assert (row["removes"], row["note"]) == (1, None)
    assert row["size"] == row["alone"] > 0


def test_force_removes_the_image_of_stopped_containers(machine: Machine) -> None:
    machine.do("create one1 from box:1")
    machine.do("rm box:1 force")
    assert machine.rows("images") == []
    row = machine.container("one1")
    assert (row["image"], row["status"]) == ("box:1", "created")
    machine.do_all("start one1", "wait one1")  # its unpacked layers are still there
    assert machine.failure_code("commit one1 as a:1") == "no-such-image"
    machine.do("rm container one1")
    assert [
        name for name in os.listdir(pathlib.Path(machine.root, "unpacked")) if name not in ("base", "lock", "overlay")
    ] == []


def test_force_removes_only_the_names_of_a_running_image(machine: Machine) -> None:
    start(machine, "runs", SLEEP)
    id_ = image(machine)["id"].removeprefix("sha256:")[:12]
    for text in (f"rm {id_}", f"rm {id_} force"):
        with pytest.raises(Conflict, match=r"cannot be forced.*running container"):
            machine.do(text)
    (outcome,) = machine.do("rm box:1 force")
    assert outcome["action"] == "untag"
    assert machine.rows("images select dangling, in_use") == [{"dangling": 1, "in_use": 1}]
    assert machine.do("prune") == [] or machine.rows("images") != []
    with pytest.raises(Conflict, match="cannot be forced"):
        machine.do(f"rm {id_} force")


def test_the_id_of_a_used_image_needs_force(machine: Machine) -> None:
    machine.do("create one1 from box:1")
    id_ = image(machine)["id"].removeprefix("sha256:")[:12]
    with pytest.raises(Conflict, match=r"must be forced.*stopped container"):
        machine.do(f"rm {id_}")
    machine.do(f"rm {id_} force")
    assert machine.rows("images") == []


def test_one_of_several_removals_does_not_stop_the_others(machine: Machine, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tree").mkdir()
    machine.do_all(f'import "{tmp_path}/tree" as free:1', "create one1 from box:1")
    outcomes = {row["target"]: row["error"] for row in machine.outcomes("rm box:1, free:1")}
    assert outcomes == {"free:1": None, "box:1": "in-use"}
    (outcome,) = machine.outcomes("rm images where not in use", dry_run=True) or [{"target": None}]
    assert outcome["target"] is None


def test_a_container_that_was_created_after_the_plan_keeps_its_image(machine: Machine) -> None:
    def confirm(_planned: object) -> bool:
        machine.command("create", "--name", "late", "box:1")
        return True

    machine.session.context = machine.session.context.replace(confirm=confirm)
    outcomes = machine.outcomes("rm box:1")
    machine.session.context = machine.session.context.replace(confirm=None)
    assert [row["error"] for row in outcomes] == ["changed"]
    assert image(machine)["in_use"] == 1


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"Id": '])
def test_a_damaged_container_may_use_any_image(machine: Machine, content: bytes | None) -> None:
    machine.do("create web from box:1")
    folder = machine.folder("web")
    document = folder / "container.json"
    if content is None:
        document.unlink()
    else:
        document.write_bytes(content)
    machine.session.store.index.connection.execute("UPDATE container SET signature = ''")  # as in a new index
    try:
        for statement in ("prune images", "rm box:1", "images where not in use"):
            with pytest.raises(StoreError, match="is damaged") as caught:
                machine.rows(statement)
            assert caught.value.code == "damaged-container"
            assert str(folder) in caught.value.hints[1]
    finally:
        shutil.rmtree(folder)
    machine.do("rm box:1")


def test_usage_counts_containers_and_unpacked_layers(machine: Machine) -> None:
    def usage() -> dict[str, tuple[int, int, int]]:
        rows = machine.rows("usage select type, total, active, size")
        return {row["type"]: (row["total"], row["active"], row["size"]) for row in rows}

    assert "Unpacked Layers" not in usage()
    machine.do('run box:1 sh -c "echo 12345 > /file" as one1')
    start(machine, "two2", SLEEP)
    assert usage()["Containers"] == (2, 1, 6)
    total, active, size = usage()["Unpacked Layers"]
    assert (total, active) == (1, 1)
    assert size > 1_000_000
    machine.do("rm containers where name = one1 or name = two2 force")
    assert usage()["Unpacked Layers"][1] == 0
    machine.do("rm box:1")
    assert usage()["Unpacked Layers"] == (0, 0, 0)


def test_a_lower_layer_is_unpacked_once(machine: Machine) -> None:
    machine.do_all('run box:1 sh -c "echo x > /x" as one1', "commit one1 as box:2", "create two2 from box:2")
    unpacked = pathlib.Path(machine.root, "unpacked")
    names = {name for name in os.listdir(unpacked) if name.endswith(".json")}
    assert len(names) == 2
    diff_ids = {json.loads((unpacked / name).read_text())["diff_id"] for name in names}
    assert diff_ids == {row["diff_id"] for row in machine.rows("layers of box:2 select diff_id")}


def test_a_corrupt_layer_makes_no_container(machine: Machine) -> None:
    (row,) = machine.rows("layers of box:1 select digest")
    path = pathlib.Path(machine.root, "blobs", *row["digest"].split(":"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    assert machine.failure_code("create one1 from box:1") == "digest-mismatch"
    assert machine.rows("containers") == []
    assert not [name for name in os.listdir(pathlib.Path(machine.root, "unpacked")) if "partial" in name]
