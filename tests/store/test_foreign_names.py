"""Names in the layout that were set by other tools and are not docker references."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from store.support.stores import StoreSession, entries_in, imq, run
from support.images import CONFIG_TYPE, MANIFEST_TYPE, Image, Layout, descriptor, layer

if TYPE_CHECKING:
    from pathlib import Path

REF_NAME, CONTAINERD_NAME = "org.opencontainers.image.ref.name", "io.containerd.image.name"
NAMES = ["MyApp", "v1", "1.14.4", "Team/App:1.0", "Team/App", "app@v1", "a b", "latest", "docker.io/library/redis"]
ONE, TWO = Image([layer({"one": b"1" * 100})]), Image([layer({"two": b"2" * 100})])
FOREIGN = {"com.example.Übung": "  kept\tas it is ", "org.example/empty": ""}


def names_in(root: Path) -> list[str | None]:
    return [entry.get("annotations", {}).get(REF_NAME) for entry in entries_in(root)]


@pytest.fixture
def named(root: Path) -> Path:
    """A layout in which another tool has set all these names for one image."""
    Layout(root).add(ONE, *NAMES)
    return root


@pytest.mark.usefixtures("named")
def test_names_of_other_tools_are_shown_unchanged(store: StoreSession) -> None:
    rows = {row["name"]: row for row in store.rows("images select name, repository, tag, registry, dangling")}
    assert set(rows) == set(NAMES)
    assert {row["dangling"] for row in rows.values()} == {0}
    assert {row["registry"] for row in rows.values()} == {None}
    shown = {name: (row["repository"], row["tag"]) for name, row in rows.items()}
    assert (shown["v1"], shown["MyApp"], shown["Team/App:1.0"]) == ((None, "v1"), (None, "MyApp"), ("Team/App", "1.0"))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_can_be_selected_and_removed(store: StoreSession, named: Path, name: str) -> None:
    assert store.names(f'where name = "{name}"') == [name]
    assert name not in store.names(f'where name != "{name}"')
    (document,) = store.rows(f'inspect "{name}"')
    assert document["Id"] == ONE.id
    (outcome,) = store.do(f'untag "{name}"')
    assert outcome["target"] == name
    assert sorted(names_in(named)) == sorted(set(NAMES) - {name})  # type: ignore[type-var]


@pytest.mark.usefixtures("named")
def test_only_a_statement_with_the_name_selects_it(store: StoreSession, named: Path) -> None:
    store.do("prune")
    store.do("tag v1 as kept:1")
    store.do("rm kept:1")
    assert sorted(names_in(named)) == sorted(NAMES)
    store.do('rm "app@v1"')
    assert sorted(store.names()) == sorted(set(NAMES) - {"app@v1"})
    store.do("rm images where tag = latest")
    assert set(store.names()) == set(NAMES) - {"app@v1", "latest"}


def test_an_exact_name_takes_precedence_over_the_docker_reference(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    layout.add(ONE, "v1")
    layout.add(TWO, "v1:latest")
    assert store.rows("inspect v1")[0]["Id"] == ONE.id
    assert store.rows("inspect v1:latest")[0]["Id"] == TWO.id
    assert sorted(name or "" for name in store.names("where name = v1")) == ["v1", "v1:latest"]
    assert store.names("where name = v1:latest") == ["v1:latest"]
    store.do("rm v1")
    assert store.names() == ["v1:latest"]


def test_entries_of_other_tools_stay_unchanged(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    layout.add(ONE, "other:1")
    layout.blob(TWO.manifest)
    for content in TWO.blobs.values():
        layout.blob(content)
    kept: list[dict[str, Any]] = [
        {
            **descriptor(MANIFEST_TYPE, TWO.manifest),
            "annotations": {**FOREIGN, REF_NAME: name},
            "platform": {"os": "linux", "architecture": "amd64", "os.features": ["x"]},
            "com.example.further": [1, {"a": None}],
        }
        for name in ("v1", "docker.io/library/full:1", "short:1")
    ]
    whole = {"schemaVersion": 2, "annotations": {"of": "the index"}, "manifests": [*layout.entries, *kept], "more": 1}
    (root / "index.json").write_text(json.dumps(whole))
    for action in ("tag other:1 as again:1", "rm again:1", "untag other:1", "prune", "tag v1 as new:1", "rm new:1"):
        store.do(action)
        said = json.loads((root / "index.json").read_bytes())
        assert [entry for entry in said["manifests"] if entry["digest"] == TWO.digest][:3] == kept
        assert {key: said[key] for key in whole if key != "manifests"} == {
            key: whole[key] for key in whole if key != "manifests"
        }
        assert "mediaType" not in said
    store.do("tag v1 as new:1")
    assert {**FOREIGN, REF_NAME: "new:1"}.items() <= entries_in(root)[-1]["annotations"].items()


def test_names_of_other_tools_survive_save_and_load(store: StoreSession, root: Path, tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    source.add(ONE)
    source.entries = [
        {**descriptor(MANIFEST_TYPE, ONE.manifest), "annotations": {**FOREIGN, REF_NAME: name}} for name in NAMES
    ]
    source.close()
    store.do(f'load "{source.folder}"')
    assert sorted(names_in(root)) == sorted(NAMES)
    for entry in entries_in(root):
        assert FOREIGN.items() <= entry["annotations"].items()
    archive = tmp_path / "saved.tar"
    store.do(f'save all images to "{archive}"')
    with tarfile.open(archive) as opened:
        index, listing = (json.load(opened.extractfile(name)) for name in ("index.json", "manifest.json"))  # type: ignore[arg-type]
    assert sorted(entry["annotations"][REF_NAME] for entry in index["manifests"]) == sorted(NAMES)
    assert all(FOREIGN.items() <= entry["annotations"].items() for entry in index["manifests"])
    assert {tag for image in listing for tag in image["RepoTags"]} == set(), "docker would refuse them"
    store.do("rm images where id is known")
    store.do(f'load "{archive}"')
    assert sorted(names_in(root)) == sorted(NAMES)


def test_docker_references_keep_their_form_among_other_names(store: StoreSession, root: Path, tmp_path: Path) -> None:
    source = Layout(tmp_path / "source")
    source.add(ONE)
    source.entries[-1] = {
        **source.entries[-1],
        "annotations": {CONTAINERD_NAME: "docker.io/library/redis:7", REF_NAME: "7"},
    }
    source.close()
    store.do(f'load "{source.folder}"')
    assert store.names() == ["redis:7"]
    assert names_in(root) == ["redis:7"], "skopeo and umoci look for it here"


@pytest.mark.usefixtures("named")
def test_names_of_other_tools_cause_no_requests(store: StoreSession) -> None:
    store.rows("images where remote.digest is known")  # nothing listens where docker.io is in tests
    assert store.error_codes("images where outdated") == set()
    assert store.failure_code("push MyApp") == "operand"
    assert store.rows("dry run pull images where id is known as json") == []


def test_skopeo_and_umoci_still_find_their_names(store: StoreSession, root: Path, tmp_path: Path) -> None:
    Layout(tmp_path / "source").add(ONE, "one:1")
    run("skopeo", "copy", f"oci:{tmp_path / 'source'}:one:1", f"oci:{root}:MyApp")
    run("umoci", "tag", "--image", f"{root}:MyApp", "v1")
    assert store.names() == ["MyApp", "v1"]
    store.do("tag MyApp as team/app:1")
    store.do("prune")
    store.do("untag team/app:1")
    assert sorted(run("umoci", "ls", "--layout", root).split()) == ["MyApp", "v1"]
    run("skopeo", "copy", f"oci:{root}:v1", f"oci:{tmp_path / 'target'}:out")
    assert "MyApp" in imq(root, "images").stdout
    assert CONFIG_TYPE in run("skopeo", "inspect", "--raw", f"oci:{root}:MyApp")


@pytest.mark.parametrize("rule", ["except newest 1 per repository", "order by created desc skip 1 per repository"])
def test_names_without_a_repository_are_not_grouped(store: StoreSession, root: Path, rule: str) -> None:
    layout = Layout(root)
    for number, name in enumerate(("v1", "v2", "Other", "app:1", "app:2")):
        layout.add(Image([layer({name: b""})], f"2024-01-0{number + 1}T00:00:00Z"), name)
    assert store.names(rule) == ["app:1"]
    assert [row["target"] for row in store.rows(f"rm images where layer_count = 1 {rule}", dry_run=True)] == ["app:1"]
    assert len(store.names("except newest 0 per repository")) == 5


def test_names_without_a_repository_are_one_group_of_a_limit(store: StoreSession, root: Path) -> None:
    """An action on them takes as few as of any repository, whichever repositories they belong to."""
    layout = Layout(root)
    for number, name in enumerate(("v1", "v2", "Other", "app:1", "app:2")):
        layout.add(Image([layer({name: b""})], f"2024-01-0{number + 1}T00:00:00Z"), name)
    rule = "order by created limit 1 per repository"
    assert store.names(rule) == ["app:1", "v1"]
    planned = store.rows(f"rm images where layer_count = 1 {rule}", dry_run=True)
    assert [row["target"] for row in planned] == ["v1", "app:1"]
    assert store.rows("images group by repository select repository, count order by count desc") == [
        {"repository": None, "count": 3}, {"repository": "app", "count": 2},
    ]  # fmt: skip


def test_numbers_in_entries_of_other_tools_stay_unchanged(store: StoreSession, root: Path) -> None:
    Layout(root).add(ONE, "one:1")
    path = root / "index.json"
    numbers = '"of":[1.10,1e400,-0.0,0.1234567890123456789012,{"deep":2.50}]'
    path.write_text(path.read_text().replace('{"schemaVersion"', f'{{{numbers},"schemaVersion"', 1))
    store.do("tag one:1 as two:1")
    assert numbers in path.read_text()
    assert store.names() == ["one:1", "two:1"]
