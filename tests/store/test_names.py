"""Names and removal by docker's rules, and the execution of outdated plans."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from imq.engine.actions import get_verb
from imq.engine.actions.executor import ActionExecutor
from imq.engine.oci.digest import Digest
from imq.engine.progress import NullProgress
from imq.engine.registry.settings import Settings
from imq.engine.sources.action import ExecutionContext
from imq.grammar.errors import ImqError
from store.support.stores import NOW, StoreSession, blobs_in, entries_in, version_of_index
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from pathlib import Path

    from imq.engine.sources.action import Action, Outcome

BASE = layer({"base": b"base" * 1000})
SHARED = layer({"shared": b"shared" * 500})


def single(number: int, *more: object) -> Image:
    """An image with a layer of its own on top of the common one."""
    return Image([BASE, *more, layer({"own": b"%d" % number * 300 * number})], env=[f"N={number}"])  # type: ignore[list-item]


def planned(store: StoreSession, text: str) -> list[Action]:
    """Return the actions that a statement plans."""
    (statement,) = store.session.parse(text)
    verb = get_verb(statement)  # type: ignore[arg-type]
    assert verb.plan is not None
    return verb.plan(statement, store.session.make_plan_context())  # type: ignore[arg-type]


def applied(store: StoreSession, actions: list[Action]) -> list[Outcome]:
    """Execute actions that were planned before."""
    options = {"environment": {}, "progress": NullProgress(), "jobs": 2, "lazy": False, "registry_settings": Settings}
    context = ExecutionContext(store.session.store, clock=lambda: NOW, **options)  # type: ignore[arg-type]
    return list(ActionExecutor(context).execute(actions))


# Giving names


def test_tag_gives_another_name(store: StoreSession, made: dict[str, Image]) -> None:
    (outcome,) = store.do("tag redis:7 as team/cache")
    assert (outcome["target"], outcome["image"]) == ("team/cache:latest", made["redis:7"].id)
    rows = store.rows(f"images where id = {made['redis:7'].id} select name, manifest_digest")
    assert {row["name"] for row in rows} == {"redis:7", "team/cache:latest"}
    assert {row["manifest_digest"] for row in rows} == {made["redis:7"].digest}


def test_tag_accepts_the_operand_order_of_docker(store: StoreSession, made: dict[str, Image]) -> None:
    store.do("tag redis:7, other:1")
    assert store.rows("images where name = other:1 select id") == [{"id": made["redis:7"].id}]


@pytest.mark.usefixtures("made")
def test_setting_an_existing_name_changes_nothing(store: StoreSession, root: Path) -> None:
    store.rows("images")
    before = version_of_index(root)
    (outcome,) = store.do("tag redis:7 as redis:7")
    assert outcome["note"] == "it had the name already"
    assert version_of_index(root) == before


def test_a_name_that_moves_leaves_its_image_dangling(store: StoreSession, made: dict[str, Image]) -> None:
    (plan,) = store.outcomes("tag redis:7 as redis:latest", dry_run=True)
    short = made["redis:latest"].id[7:19]
    assert plan["note"] == f"moves from {short}"
    (outcome,) = store.do("tag redis:7 as redis:latest")
    assert outcome["note"] == f"moved from {short}"
    (left,) = store.rows(f"images where id = {made['redis:latest'].id} select name, dangling")
    assert left == {"name": None, "dangling": 1}


def test_a_name_from_a_registry_leaves_its_digest_behind(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    old, new = layout.add(single(1), "quay.io/team/app:1"), layout.add(single(2), "new:1")
    known = "sha256:" + "ab" * 32
    layout.entries[0]["annotations"]["dev.imq.registry-digest"] = known
    layout.close()
    store.do("tag new:1 as quay.io/team/app:1")
    (left,) = store.rows(f"images where id = {old.id} select name, repository, tag, digest, dangling")
    assert left == {
        "name": f"quay.io/team/app@{known}",
        "repository": "quay.io/team/app",
        "tag": None,
        "digest": known,
        "dangling": 1,
    }
    (here,) = store.rows("images where name = quay.io/team/app:1 select id, digest")
    assert here == {"id": new.id, "digest": None}
    store.do(f"tag quay.io/team/app@{known} as back:1")
    assert store.rows("images where name = back:1 select id") == [{"id": old.id}]


def test_an_image_with_another_name_leaves_nothing_behind(store: StoreSession, made: dict[str, Image]) -> None:
    store.do("tag redis:7 as team/app:1")
    assert store.names(f"where id = {made['team/app:1'].id}") == ["registry.local:5000/team/app:1"]


@pytest.mark.usefixtures("made")
def test_tags_over_a_query_are_a_template(store: StoreSession) -> None:
    store.do('tag images where repository = team/app as "mirror.local/{{.Repository}}:{{.Tag}}-{{.Label.env}}"')
    assert [name for name in store.names() if name and name.startswith("mirror")] == [
        "mirror.local/team/app:1-prod",
        "mirror.local/team/app:2-prod",
        "mirror.local/team/app:3-test",
    ]


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("tag nosuch as x:1", "no-such-image"),
        ("tag redis:7 as BAD:1", "reference"),
        ("tag redis:7", "operand"),
        ('tag images where label.env = prod as "one:1"', "ambiguous-name"),
        (f"tag redis:7 as x@sha256:{'0' * 64}", "reference"),
        ("untag nosuch", "no-such-image"),
        ("rm nosuch", "no-such-image"),
        ("rm deadbeef", "no-such-image"),
    ],
)
def test_impossible_actions_report_an_error(store: StoreSession, root: Path, text: str, code: str) -> None:
    before = entries_in(root)
    assert store.failure_code(text) == code
    assert entries_in(root) == before


def test_an_unknown_image_suggests_similar_names(store: StoreSession, made: dict[str, Image]) -> None:
    with pytest.raises(ImqError, match="No such image: redis:8") as caught:
        store.rows("rm redis:8")
    assert caught.value.hints[0] == "tags in the store: redis:7, redis:latest"
    with pytest.raises(ImqError) as caught:
        store.rows("rm redi:7")
    assert "redis:7" in caught.value.hints[0]
    assert made


# Taking names away


def test_untag_keeps_the_image(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    before = blobs_in(root)
    store.do("untag redis:7")
    assert store.rows(f"images where id = {made['redis:7'].id} select name") == [{"name": None}]
    store.do("untag team/app:1")
    assert store.names(f"where id = {made['team/app:1'].id}") == ["registry.local:5000/team/app:1"]
    assert blobs_in(root) == before


def test_untag_accepts_names_but_no_ids(store: StoreSession, made: dict[str, Image]) -> None:
    assert store.failure_code(f"untag {made['redis:7'].id}") == "operand"
    store.do(f"untag images where id = {made['team/app:1'].id}")
    assert store.names(f"where id = {made['team/app:1'].id}") == [None]


def test_rm_removes_the_name_and_with_the_last_one_the_image(store: StoreSession, made: dict[str, Image]) -> None:
    id_ = made["team/app:1"].id
    assert [outcome["action"] for outcome in store.do("rm team/app:1")] == ["untag"]
    assert store.names(f"where id = {id_}") == ["registry.local:5000/team/app:1"]
    assert [outcome["action"] for outcome in store.do("rm registry.local:5000/team/app:1")] == ["remove"]
    assert store.names(f"where id = {id_}") == []


@pytest.mark.parametrize("form", ["{id}", "{short}", "sha256:{short}", "{digest}"])
def test_rm_by_id(store: StoreSession, made: dict[str, Image], form: str) -> None:
    image = made["redis:7"]
    text = form.format(id=image.id, short=image.id[7:19], digest=image.digest)
    (outcome,) = store.do(f"rm {text}")
    assert (outcome["action"], outcome["target"], outcome["image"]) == ("remove", "redis:7", image.id)


def test_rm_by_the_id_of_an_image_with_several_names_needs_force(store: StoreSession, made: dict[str, Image]) -> None:
    id_ = made["team/app:1"].id
    with pytest.raises(ImqError, match="several names") as caught:
        store.rows(f"rm {id_}")
    assert caught.value.code == "conflict"
    (outcome,) = store.do(f"rm {id_} force")
    assert outcome["target"] == "registry.local:5000/team/app:1, team/app:1"
    assert store.names(f"where id = {id_}") == []


def test_rm_by_id_with_one_tag_and_its_digest_name_needs_no_force(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    image = layout.add(single(1), "quay.io/team/app:1")
    layout.entry(dict(layout.entries[0]), f"quay.io/team/app@{'sha256:' + 'cd' * 32}")
    store.do(f"rm {image.id}")
    assert store.names() == []


def test_the_last_tag_of_a_repository_takes_its_digest_names_along(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    image = layout.add(single(1), "quay.io/team/app:1", "other:1")
    layout.entry(dict(layout.entries[0]), f"quay.io/team/app@{'sha256:' + 'cd' * 32}")
    store.do("rm quay.io/team/app:1")
    assert store.names(f"where id = {image.id}") == ["other:1"]


KNOWN = "sha256:" + "ab" * 32
FURTHER = "sha256:" + "cd" * 32


def write_pulled(root: Path, name: str = "quay.io/team/app:2") -> Image:
    """Write an image with the registry digests `KNOWN` and `FURTHER`."""
    layout = Layout(root)
    image = layout.add(single(1), name)
    layout.entries[0]["annotations"] |= {"dev.imq.registry-digest": KNOWN, "dev.imq.other-digests": FURTHER}
    layout.close()
    return image


@pytest.mark.parametrize("verb", ["rm", "untag"])
@pytest.mark.parametrize("selector", [f"@{KNOWN}", f":2@{KNOWN}", f":99@{KNOWN}"])
def test_removing_a_digest_reference_keeps_the_tags(store: StoreSession, root: Path, verb: str, selector: str) -> None:
    image = write_pulled(root)
    store.do("tag quay.io/team/app:2 as quay.io/team/app:keep")
    store.do("tag quay.io/team/app:2 as other:1")
    (plan,) = store.outcomes(f"{verb} quay.io/team/app{selector}", dry_run=True)
    assert (plan["action"], plan["target"]) == ("untag", f"quay.io/team/app@{KNOWN}")
    (outcome,) = store.do(f"{verb} quay.io/team/app{selector}")
    assert outcome["target"] == f"quay.io/team/app@{KNOWN}"
    assert store.names() == ["other:1", "quay.io/team/app:2", "quay.io/team/app:keep"]
    assert store.rows("images where name = quay.io/team/app:2 select digest") == [{"digest": FURTHER}]
    assert store.failure_code(f"{verb} quay.io/team/app{selector}") == "no-such-image"
    assert set(image.blobs) <= set(blobs_in(root))


def test_an_unknown_digest_reference_is_not_a_name(store: StoreSession, root: Path) -> None:
    image = Layout(root).add(single(1), "app:1")
    for text in (f"rm app@{image.digest}", f"rm app:1@{image.digest}", f"untag app@{image.digest}"):
        assert store.failure_code(text) == "no-such-image"
    outcomes = store.outcomes(f"rm app@{image.digest}, nosuch:1")
    assert [row["error"] for row in outcomes] == ["no-such-image", "no-such-image"]
    assert store.names() == ["app:1"]


def test_a_tag_and_its_digest_reference_together_remove_the_image(store: StoreSession, root: Path) -> None:
    write_pulled(root)
    (outcome,) = store.do(f"rm quay.io/team/app:2, quay.io/team/app@{KNOWN}")
    assert outcome["action"] == "remove"
    assert store.names() == []


def test_a_name_with_only_a_digest_is_removed_by_its_digest(store: StoreSession, root: Path) -> None:
    image = Layout(root).add(single(1), f"quay.io/team/app@{KNOWN}", "other:1")
    store.do(f"rm quay.io/team/app:99@{KNOWN}")
    assert store.names() == ["other:1"]
    assert image.digest in blobs_in(root)


def test_a_tag_keeps_the_digest_of_its_image(store: StoreSession, root: Path) -> None:
    Layout(root).add(single(1), f"quay.io/team/app@{KNOWN}")
    store.do(f"tag quay.io/team/app@{KNOWN} as quay.io/team/app:keep")
    assert store.rows("images select name, digest") == [{"name": "quay.io/team/app:keep", "digest": KNOWN}]
    store.do(f"rm quay.io/team/app@{KNOWN}")
    assert store.rows("images select name, digest") == [{"name": "quay.io/team/app:keep", "digest": None}]


def test_an_ambiguous_id_lists_the_candidates(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    by_digit: dict[str, list[str]] = {}
    for number in range(1, 18):  # seventeen ids cannot begin with sixteen digits
        image = layout.add(single(number), f"app:{number}")
        by_digit.setdefault(image.id[7], []).append(image.id[7:26])
    digit, ids = next((digit, ids) for digit, ids in by_digit.items() if len(ids) > 1)
    with pytest.raises(ImqError, match="ambiguous") as caught:
        store.rows(f"rm {digit}")
    assert caught.value.code == "ambiguous-id"
    assert all(any(id_ in hint for hint in caught.value.hints) for id_ in ids)
    assert len(store.names()) == 17


def test_a_name_takes_precedence_over_an_id(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    image = layout.add(single(1), "one:1")
    other = layout.add(single(2), f"{image.id[7:15]}:latest")
    (outcome,) = store.do(f"rm {image.id[7:15]}")
    assert outcome["image"] == other.id
    (outcome,) = store.do(f"rm {image.id[7:15]}")
    assert outcome["image"] == image.id


def test_rm_by_query(store: StoreSession, made: dict[str, Image]) -> None:
    outcomes = store.do('rm images where repository like "team/*" and label.env = prod')
    assert sorted((outcome["action"], outcome["target"]) for outcome in outcomes) == [
        ("remove", "team/app:2"),
        ("untag", "team/app:1"),
    ]
    assert store.names(f"where id = {made['team/app:1'].id}") == ["registry.local:5000/team/app:1"]
    assert store.do("rm images where label.env = nosuch") == []


def test_the_whole_table_needs_all(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    assert store.failure_code("rm images") == "refused"
    assert len(store.names()) == len(made) + 1
    store.do("rm all images")
    assert store.names() == []
    assert blobs_in(root) == {}


def test_prune_removes_dangling_images_and_unreachable_blobs(
    store: StoreSession, made: dict[str, Image], root: Path
) -> None:
    stray = hashlib.sha256(b"left by somebody").hexdigest()
    (root / "blobs" / "sha256" / stray).write_bytes(b"left by somebody")
    outcomes = store.do("prune")
    assert {outcome["image"] for outcome in outcomes if outcome["action"] == "remove"} == {
        made["dangling"].id,
        made["tool"].id,
    }
    assert outcomes[-1]["target"] == "1 blob that no image reaches"
    assert outcomes[-1]["size"] == len(b"left by somebody")
    assert f"sha256:{stray}" not in blobs_in(root)
    assert [outcome["action"] for outcome in store.do("prune")] == ["collect"]


# What goes with an image


def test_a_layer_is_removed_with_its_last_image(store: StoreSession, made: dict[str, Image], root: Path) -> None:
    base = made["redis:7"].layers[0].digest
    store.do("rm redis:7")
    assert made["redis:7"].layers[1].digest not in blobs_in(root)
    assert base in blobs_in(root)
    users = [name for name, image in made.items() if base in image.blobs and name != "redis:7"]
    for name in users[:-1]:
        store.do(f"rm {made[name].id} force")
        assert base in blobs_in(root), name
    store.do(f"rm {made[users[-1]].id} force")
    assert base not in blobs_in(root)
    assert store.names() == ["edge/agent:1", "plain:1"]


@pytest.mark.parametrize(
    "text",
    [
        "rm redis:7",
        "rm redis:7, redis:latest",
        'rm images where repository like "team/*" or repository like "registry*"',
        "rm images where label.env is known",
        "rm all images",
        "prune",
    ],
)
@pytest.mark.usefixtures("made")
def test_a_dry_run_reports_exactly_the_later_outcomes(store: StoreSession, root: Path, text: str) -> None:
    entries, before = entries_in(root), blobs_in(root)
    plan = store.outcomes(text, dry_run=True)
    assert plan == store.outcomes(f"dry run {text}")
    assert (entries_in(root), blobs_in(root)) == (entries, before), "a dry run does nothing"
    done = store.do(text)
    keys = ("action", "image", "size") if text == "prune" else ("action", "target", "image", "size")
    assert [[row[key] for key in keys] for row in plan if row["action"] != "collect"] == [
        [row[key] for key in keys] for row in done if row["action"] != "collect"
    ]
    after = blobs_in(root)
    assert sum(row["size"] or 0 for row in plan) == sum(before.values()) - sum(after.values())


def test_the_freed_size_counts_layers_shared_within_the_group(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    images = [layout.add(single(number, SHARED), f"app:{number}") for number in range(1, 5)]
    plan = store.outcomes("rm app:1, app:2, app:3", dry_run=True)
    own = [sum(len(b) for d, b in image.blobs.items() if d not in (BASE.digest, SHARED.digest)) for image in images]
    assert [row["size"] for row in plan] == own[:3], "the fourth needs what they share"
    plan = store.outcomes("rm app:1, app:2, app:3, app:4", dry_run=True)
    assert [row["size"] for row in plan] == [*own[:3], own[3] + len(BASE.blob) + len(SHARED.blob)]
    before = sum(blobs_in(root).values())
    store.do("rm app:1, app:2, app:3, app:4")
    assert before == sum(row["size"] for row in plan)
    assert blobs_in(root) == {}


def test_an_image_in_two_roots_stays_until_both_are_gone(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    one, other = single(1), Image([BASE], platform={"os": "linux", "architecture": "arm64"})
    layout.add_index([one, other], "multi:1")
    layout.add(one, "alone:1")
    assert [row["size"] for row in store.outcomes("rm alone:1", dry_run=True)] == [0]
    store.do("rm alone:1")
    assert set(one.blobs) <= set(blobs_in(root))
    store.do("rm multi:1")
    assert blobs_in(root) == {}


# Plans that are out of date


@pytest.mark.parametrize(
    ("statement", "meanwhile"),
    [
        ("rm redis:7", "tag plain:1 as redis:7"),
        ("rm redis:7", "tag redis:7 as redis:8"),
        ("rm redis:7", "rm redis:7"),
        ("untag redis:7", "tag plain:1 as redis:7"),
        ("untag redis:7", "untag redis:7"),
        ("tag redis:7 as new:1", "tag plain:1 as new:1"),
        ("tag redis:7 as redis:latest", "tag plain:1 as redis:latest"),
        ("tag redis:7 as other:1", "rm redis:7"),
    ],
)
@pytest.mark.usefixtures("made")
def test_an_outdated_plan_is_not_executed(store: StoreSession, root: Path, statement: str, meanwhile: str) -> None:
    actions = planned(store, statement)
    with StoreSession(root) as other:
        other.do(meanwhile)
    entries, blobs = entries_in(root), blobs_in(root)
    (outcome,) = applied(store, actions)
    assert outcome.error is not None
    assert outcome.error.code == "changed"
    assert (entries_in(root), blobs_in(root)) == (entries, blobs)


@pytest.mark.usefixtures("made")
def test_a_plan_that_is_still_valid_is_executed(store: StoreSession, root: Path) -> None:
    actions = planned(store, "rm redis:7, redis:latest")
    with StoreSession(root) as other:
        other.do("tag plain:1 as redis:7")
    first, second = applied(store, actions)
    assert first.error is not None
    assert second.error is None
    assert "redis:latest" not in store.names()
    assert "redis:7" in store.names()


def test_a_tag_is_set_although_its_target_has_lost_the_name(
    store: StoreSession, made: dict[str, Image], root: Path
) -> None:
    actions = planned(store, "tag redis:7 as redis:latest")
    with StoreSession(root) as other:
        other.do("untag redis:latest")
    (outcome,) = applied(store, actions)
    assert outcome.error is None
    assert store.rows("images where name = redis:latest select id") == [{"id": made["redis:7"].id}]


def test_ids_are_the_digests_of_configs(made: dict[str, Image], store: StoreSession) -> None:
    assert {row["id"] for row in store.rows("images select id")} == {
        Digest("sha256:" + hashlib.sha256(image.config).hexdigest()) for image in made.values()
    }
