"""Removals by values that a source did not report: such rows stay and are reported, negated conditions too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import EngineError, Refused, RegistryError, StatementError
from registry.support.scripted_server import ScriptedServer, Step
from support.engines import http_answer
from support.scripted_session import A, B, C, Script, answer, container, image, inspected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.support.query import QueryResult

UNREADABLE = http_answer(b'{"message": "cannot read the layers"}', status="500 Internal Server Error")
D1, D2 = (f"sha256:{digit * 64}" for digit in "12")


@pytest.fixture
def registry() -> Iterator[ScriptedServer]:
    """A registry whose `app:1` and `app:2` have the digest D1; it does not have `local:1`."""
    headers = {"Docker-Content-Digest": D1, "Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    found = [Step("HEAD", f"/v2/app/manifests/{tag}", headers=headers, length=100) for tag in (1, 2)]
    missing = [Step(method, "/v2/local/manifests/1", status=404) for method in ("HEAD", "GET")]
    with ScriptedServer(*[*found, *missing] * 6, any_order=True) as server:
        yield server


@pytest.fixture
def script(tmp_path: Path, registry: ScriptedServer) -> Iterator[Script]:
    """An engine with app:1 as the registry has it, another app:2, and a local build without a digest."""
    name = f"{registry.host}/app"
    images = [
        image(A, f"{name}:1", RepoDigests=[f"{name}@{D1}"]),
        image(B, f"{name}:2", RepoDigests=[f"{name}@{D2}"], Created=0),
        image(C, f"{registry.host}/local:1"),
    ]
    started = Script(tmp_path / "engine", {"images/json": answer(images), "containers/json": answer([])})
    yield started
    started.close()


def plan(script: Script, statement: str) -> dict[str, tuple[str, str | None]]:
    """Return the action and the note for each target, by the last part of its name."""
    rows = script.ask(f"dry run {statement} as json").rows
    return {row["target"].rpartition("/")[2]: (row["action"], row["note"]) for row in rows}


def test_an_image_without_a_digest_is_not_known_to_be_up_to_date(script: Script) -> None:
    planned = plan(script, "rm images in docker where not outdated")
    assert planned == {"app:1": ("remove", "in docker"), "local:1": ("stay", "unknown: remote.digest, digest")}


@pytest.mark.parametrize(
    "condition",
    [
        "not (outdated or created is unknown)",
        "not not not outdated",
        "id not in (images in docker where outdated select id)",
        "name in (images in docker where not outdated select name)",
        "created is known and not remote.digest != .digest",
        "not (digest in (images in docker where outdated select digest) or created is unknown)",
    ],
)
def test_negations_and_queries_inside_leave_it_too(script: Script, condition: str) -> None:
    planned = plan(script, f"rm images in docker where {condition}")
    assert {name: action for name, (action, _) in planned.items() if action != "stay"} == {"app:1": "remove"}


def test_a_set_operation_leaves_it_too(script: Script) -> None:
    text = "rm (images in docker where created is known except images in docker where outdated)"
    assert plan(script, text)["app:1"][0] == "remove"
    assert plan(script, text)["local:1"] == ("stay", "unknown: a value in the condition")


def test_is_unknown_takes_what_is_unknown(script: Script) -> None:
    assert plan(script, "rm images in docker where digest is unknown") == {"local:1": ("remove", "in docker")}
    planned = plan(script, "rm images in docker where not outdated or digest is unknown")
    assert {name: action for name, (action, _) in planned.items()} == {"app:1": "remove", "local:1": "remove"}


def test_a_limit_needs_to_know_each_row(script: Script) -> None:
    with pytest.raises(Refused, match="would choose other rows") as error:
        script.ask("dry run rm images in docker where not outdated limit 1")
    assert error.value.code == "uncertain"
    assert error.value.hints == ("to leave such rows out: … and remote.digest is known",)
    planned = plan(script, "rm images in docker where not outdated and remote.digest is known limit 1")
    assert planned == {"app:1": ("remove", "in docker")}
    planned = plan(script, "rm images in docker where not outdated except newest 1")
    assert {action for action, _ in planned.values()} == {"stay"}, "the newest of the certain ones is kept"


def start_with_unreadable(tmp_path: Path) -> Script:
    """Return an engine with the images a:1 and b:1, of which b:1 cannot be inspected."""
    return Script(
        tmp_path / "engine",
        {
            "images/json": answer([image(A, "a:1"), image(B, "b:1")]),
            "containers/json": answer([]),
            f"images/{A}/json": answer(inspected(A, "a:1")),
            f"images/{B}/json": UNREADABLE,
        },
    )


def test_a_base_that_cannot_be_read_may_be_that_of_any_image(tmp_path: Path) -> None:
    started = start_with_unreadable(tmp_path)
    outcomes = started.ask("rm images in docker where base_chain_id is unknown").rows
    assert {row["action"] for row in outcomes} == {"rm"}, "each of them failed"
    for condition in ("base is unknown", "no children"):
        with pytest.raises(EngineError, match="cannot read the layers"):
            started.ask(f"rm images in docker where {condition}")
    assert started.removals == []
    started.close()


@pytest.mark.parametrize("condition", ['user = ""', 'user in (root, 0, "")', 'not user != ""', "not user = 1000"])
def test_an_image_whose_user_could_not_be_read_may_have_one(tmp_path: Path, condition: str) -> None:
    started = start_with_unreadable(tmp_path)
    rows = started.ask(f"dry run rm images in docker where {condition} as json").rows
    planned = {row["target"]: (row["action"], row["error"] is not None) for row in rows}
    assert planned.pop("a:1") == ("remove", False)
    assert {(action, failed) for action, failed in planned.values()} == {("rm", True)}
    started.close()


def test_a_dry_run_does_without_sizes_that_the_engine_does_not_report(tmp_path: Path) -> None:
    started = Script(
        tmp_path / "engine",
        {
            "images/json": answer([image(A, "a:1")]),
            "containers/json": answer([]),
            f"images/{A}/json": UNREADABLE,
        },
    )
    (row,) = started.ask("dry run rm images in docker where name = a:1 as json").rows
    assert (row["action"], row["size"]) == ("remove", None)
    started.close()


def test_the_shown_value_is_unknown(script: Script) -> None:
    rows = script.ask("images in docker select name, outdated as stale, not outdated as fresh").rows
    shown = {row["name"].rpartition("/")[2]: (row["stale"], row["fresh"]) for row in rows}
    assert shown == {"app:1": (False, True), "app:2": (True, False), "local:1": (None, None)}
    grouped = script.ask("images in docker group by outdated select outdated, count as n").rows
    assert sorted((str(row["outdated"]), row["n"]) for row in grouped) == [("False", 1), ("None", 1), ("True", 1)]


def test_a_registry_that_does_not_respond(tmp_path: Path) -> None:
    name = "127.0.0.1:1/app"
    started = Script(
        tmp_path / "engine",
        {
            "images/json": answer([image(A, f"{name}:1", RepoDigests=[f"{name}@{D1}"])]),
            "containers/json": answer([]),
        },
    )
    shown = started.ask("images in docker select name, outdated as stale")
    assert (shown.column("stale"), shown.exit_code) == ([None], 3)
    for condition in ("not outdated", "outdated", "not remote.digest = .digest"):
        with pytest.raises(RegistryError):
            started.ask(f"rm images in docker where {condition}")
    assert started.removals == []
    started.close()


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("not created within 30d", "created"),
        ("not newer than 30d", "created"),
        ("not age(created) < 30d", "created"),
        ("not created > 30d ago", "created"),
    ],
)
def test_no_age_rule_takes_an_image_of_unknown_age(script: Script, condition: str, value: str) -> None:
    planned = plan(script, f"rm images in docker where {condition}")
    assert planned.pop("app:2") == ("stay", f"unknown: {value}")
    assert {action for action, _ in planned.values()} == {"remove"}


def test_the_last_use_of_an_image_without_containers_is_unknown(tmp_path: Path) -> None:
    """A container that was removed yesterday used its image yesterday."""
    started = Script(
        tmp_path / "engine",
        {
            "images/json": answer([image(A, "a:1"), image(B, "b:1")]),
            "containers/json": answer([container(A)]),
            "containers/1": answer({"Id": "1" * 64, "State": {"FinishedAt": "2020-01-01T00:00:00Z"}}),
            "images/sha": answer(inspected(A, "a:1")),
        },
    )
    planned = plan(started, "rm images in docker where not last_used within 30d")
    assert planned["b:1"] == ("stay", "unknown: last_used")
    assert plan(started, "rm images in docker where last_used is unknown") == {"b:1": ("remove", "in docker")}
    started.close()


def test_sizes_that_an_engine_does_not_know(tmp_path: Path) -> None:
    usage: dict[str, Any] = {"Images": [image(A, "a:1", SharedSize=-1, Containers=0)], "Containers": [], "Volumes": []}
    started = Script(
        tmp_path / "engine",
        {
            "images/json": answer([image(A, "a:1", SharedSize=-1)]),
            "containers/json": answer([]),
            "system/df": answer(usage),
            "images/sha": answer(inspected(A, "a:1")),
        },
    )
    assert plan(started, "rm images in docker where not unique_size > 1GB") == {"a:1": ("stay", "unknown: unique_size")}
    started.close()


def test_a_digest_that_an_image_lacks_is_not_outside_a_list(script: Script) -> None:
    planned = plan(script, f"rm images in docker where digest not in ({D2})")
    assert planned == {"app:1": ("remove", "in docker"), "local:1": ("stay", "unknown: digest")}


def test_a_property_that_an_image_lacks_is_not_unknown(script: Script) -> None:
    planned = plan(script, "rm images in docker where not label.env = prod")
    assert {action for action, _ in planned.values()} == {"remove"}


@pytest.mark.parametrize("inner", ["images in store where in use", "images in store where containers > 0"])
def test_the_store_does_not_know_what_the_containers_of_an_engine_use(script: Script, inner: str) -> None:
    with pytest.raises(StatementError) as error:
        script.ask(f"dry run rm images in docker where id not in ({inner} select id)")
    assert error.value.code == "unseen"
    assert error.value.message == "the use of images by containers is unknown in the store, so rm cannot use it"


def test_what_stays_is_reported_by_the_removal_itself(script: Script) -> None:
    def run() -> QueryResult:
        return script.ask("rm images in docker where not outdated as json")

    result = run()
    actions = {row["target"].rpartition("/")[2]: row["action"] for row in result.rows}
    assert actions["local:1"] == "stay"
    assert not any(C in line for line in script.removals)
