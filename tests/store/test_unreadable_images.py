"""Unreadable documents: the image is listed, and nothing is collected, as its blobs are unknown."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import ImqError
from store.support.stores import StoreSession, blobs_in, entries_in, imq
from support.images import (
    ARM64,
    CONFIG_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Image,
    Layout,
    descriptor,
    digest_of,
    layer,
    write_library,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BROKEN = Image([layer({"broken": b"broken" * 100})], labels={"keep": "yes"})
WHOLE = Image([layer({"whole": b"whole" * 100})])
ARM = Image(BROKEN.layers, platform=ARM64)
LOST = b"a blob that nothing reaches"
HOLDS = "dev.imq.holds"


def moved(path: Path) -> Callable[[], None]:
    path.rename(path.with_suffix(".away"))
    return lambda: path.with_suffix(".away").replace(path)


def a_folder(path: Path) -> Callable[[], None]:
    """Reading it fails with an error of the system, as for a bad sector."""
    away = moved(path)
    path.mkdir()

    def back() -> None:
        path.rmdir()
        away()

    return back


def cut_off(path: Path) -> Callable[[], None]:
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    return lambda: bytes_back(path, content)


def flipped(path: Path) -> Callable[[], None]:
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    return lambda: bytes_back(path, content)


def bytes_back(path: Path, content: bytes) -> None:
    path.write_bytes(content)


FAULTS = [moved, a_folder, cut_off, flipped]


def write_store(root: Path, *, part: str) -> Path:
    """Write a store with an image to break, an intact one, and an unreachable blob; return the path of the part."""
    layout = Layout(root)
    layout.add(WHOLE, "whole:1")
    if part == "child":
        layout.add_index([WHOLE, ARM])
        layout.entries[-1]["annotations"] = {HOLDS: "all", "org.opencontainers.image.ref.name": "broken:1"}
        layout.close()
        digest = ARM.digest
    else:
        layout.add(BROKEN, "broken:1")
        digest = BROKEN.digest if part == "root" else BROKEN.id
    layout.blob(LOST)
    return root / "blobs" / "sha256" / digest[7:]


@pytest.mark.parametrize("part", ["root", "child", "config"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_unreadable_image_is_listed_with_an_error(
    tmp_path: Path, part: str, fault: Callable[[Path], Callable[[], None]]
) -> None:
    root = tmp_path / "store"
    mend = fault(write_store(root, part=part))
    for words in (["images"], ["images", "count"], ["layers"], ["usage"], ["image", "ls", "-a"], ["images", "-q"]):
        told = imq(root, *words, code=3).stderr
        assert "error[unreadable]: broken:1 cannot be read" in told
    with StoreSession(root) as held:
        (row,) = held.rows("images where name = broken:1 and id is unknown")
        assert row["created"] is None
        assert len(held.rows("images where id is known")) == (2 if part == "child" else 1)
        assert held.error_codes("layers of whole:1") == set()
        mend()
        assert held.rows("images where id is unknown") == []
        assert held.error_codes("images") == set(), "the next question has tried again"
    imq(root, "images")


@pytest.mark.parametrize("part", ["root", "child"])
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_collected_while_an_image_is_unreadable(
    tmp_path: Path, part: str, fault: Callable[[Path], Callable[[], None]]
) -> None:
    root = tmp_path / "store"
    mend = fault(write_store(root, part=part))
    before = blobs_in(root)
    assert "broken:1" in imq(root, "prune", code=3).stderr
    assert "broken:1" in imq(root, "prune", "--dry-run", code=3).stderr
    assert "broken:1" in imq(root, "image", "prune", "-a", "-f", code=3).stderr
    planned = json.loads(imq(root, "dry run rm whole:1 as json").stdout)
    done = imq(root, "rm whole:1 as json")
    assert "nothing is collected: broken:1 cannot be read" in done.stderr
    assert [row["size"] for row in json.loads(done.stdout)] == [row["size"] for row in planned] == [0]
    assert blobs_in(root) == before
    mend()
    imq(root, "prune")
    assert digest_of(LOST) not in blobs_in(root)
    with StoreSession(root) as held:
        held.do("verify all")
        assert set(held.names()) == {"broken:1"}
        held.do("rm broken:1")
    assert blobs_in(root) == {}


def test_a_file_without_read_permission_is_unreadable(tmp_path: Path, unprivileged: dict[str, Any]) -> None:
    root = tmp_path / "store"
    path = write_store(root, part="root")
    path.chmod(0)
    try:
        assert "permission denied" in imq(root, "images", code=3, **unprivileged).stderr
        assert "broken:1" in imq(root, "prune", code=3, **unprivileged).stderr
    finally:
        path.chmod(0o644)
    imq(root, "images", **unprivileged)
    assert digest_of(LOST) in blobs_in(root)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 1}, "bytes, and its descriptor says 1"),
        ({"mediaType": INDEX_TYPE}, "does not match its media type"),
        ({"digest": digest_of(LOST), "size": len(LOST)}, "is not JSON"),
        ({"digest": digest_of(b"never here")}, "is not in the store"),
    ],
)
def test_an_entry_with_a_wrong_descriptor_is_unreadable(tmp_path: Path, change: dict[str, object], said: str) -> None:
    root = tmp_path / "store"
    write_store(root, part="root")
    before = blobs_in(root)
    entries = [{**entry, **change} if entry["digest"] == BROKEN.digest else entry for entry in entries_in(root)]
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    assert said in imq(root, "images", code=3).stderr
    imq(root, "prune", code=3)
    assert "error" in imq(root, "verify", "all", code=1).stderr
    assert blobs_in(root) == before
    imq(root, "rm", "broken:1")
    imq(root, "prune")
    assert blobs_in(root).keys() == WHOLE.blobs.keys(), "what was removed by its name is gone with all it had"


def test_index_json_may_list_blobs_that_are_not_manifests(tmp_path: Path) -> None:
    root = tmp_path / "store"
    layout = Layout(root)
    layout.add(WHOLE, "whole:1")
    layout.blob(b"<component/>")
    layout.entry(descriptor("application/xml", b"<component/>"))
    lost = layout.blob(LOST)
    imq(root, "images")
    imq(root, "verify", "all")
    imq(root, "rm", "whole:1")
    imq(root, "verify", "all", code=None)
    assert lost in blobs_in(root)
    with StoreSession(root) as held:
        held.do("prune")
    assert lost not in blobs_in(root)


def test_a_config_of_another_image_makes_its_image_unreadable(tmp_path: Path) -> None:
    root = tmp_path / "store"
    layout = Layout(root)
    config = descriptor(CONFIG_TYPE, WHOLE.config)
    layers = [descriptor(one.media_type, one.blob) for one in (*BROKEN.layers, *WHOLE.layers)]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}).encode()
    layout.add(WHOLE, "whole:1")
    layout.add(BROKEN, "broken:1")
    layout.blob(manifest)
    layout.entry(descriptor(MANIFEST_TYPE, manifest), "odd:1")
    assert "has 1 layers, and its manifest has 2" in imq(root, "images", code=3).stderr
    with StoreSession(root) as held:
        assert held.names("where id is unknown") == ["odd:1"]
        assert held.failure_code("verify odd:1") == "layers"
        held.do("rm broken:1")
        held.do("prune")
        assert BROKEN.layers[0].digest in blobs_in(root), "odd:1 has it"


def test_no_retention_rule_removes_an_unreadable_image(tmp_path: Path) -> None:
    root = tmp_path / "store"
    write_store(root, part="root").unlink()
    with StoreSession(root) as held:
        outcomes = {row["target"]: row["error"] for row in held.outcomes("rm images where not label.keep = yes")}
        assert outcomes == {"whole:1": None, "broken:1": "unreadable"}
        assert held.names() == ["broken:1"]
        assert held.failure_code("untag images where repository like 'bro*'") == "unreadable"
        assert held.failure_code("rm images where no children") == "unreadable", "its children nobody knows"
        with pytest.raises(ImqError, match="broken:1 cannot be read"):
            held.rows("assert no images where label.keep = no")
        held.do("rm broken:1")
        assert held.names() == []


@pytest.mark.parametrize("part", ["root", "config"])
def test_an_unreadable_image_is_never_shown_as_something_else(tmp_path: Path, part: str) -> None:
    root = tmp_path / "store"
    write_store(root, part=part).unlink()
    inspected = imq(root, "inspect", "broken:1", code=1)
    assert (inspected.stdout.strip(), "broken:1 cannot be read: the blob" in inspected.stderr) == ("[]", True)
    assert imq(root, "inspect", "-f", "{{.Config.User}}", "broken:1", code=1).stdout.strip() == ""
    assert [one["RepoTags"] for one in json.loads(imq(root, "inspect", "broken:1", "whole:1", code=1).stdout)] == [
        ["whole:1"]
    ]
    for statement in (
        "inspect broken:1",
        "history of broken:1",
        "layers of broken:1",
        "images where size > size of broken:1",
    ):
        done = imq(root, f"{statement} as json", code=3)
        assert "error[unreadable]: broken:1 cannot be read" in done.stderr
        assert "No such image" not in done.stderr


def test_a_removal_warns_of_an_unreadable_image_that_its_condition_cannot_select(tmp_path: Path) -> None:
    root = tmp_path / "store"
    write_store(root, part="root").unlink()
    for words in (["--yes", "rm images where layer_count > 100"], ["--dry-run", "rm images where layer_count = 1"]):
        assert "WARNING: broken:1 cannot be read" in imq(root, *words, code=None).stderr
    assert "WARNING" not in imq(root, "--dry-run", "rm", "whole:1").stderr


def test_an_unreadable_image_without_a_name_is_not_dangling(tmp_path: Path) -> None:
    root = tmp_path / "store"
    layout = Layout(root)
    layout.add(BROKEN)
    path = root / "blobs" / "sha256" / BROKEN.id[7:]
    back = moved(path)
    with StoreSession(root) as held:
        assert held.rows("images where dangling") == []
        assert held.rows("images where not dangling select name") == [{"name": None}]
        held.do("prune")
        back()
        assert held.rows("images select id") == [{"id": BROKEN.id}]


def test_save_fails_for_an_unreadable_image(tmp_path: Path) -> None:
    root = tmp_path / "store"
    for part in ("root", "child"):
        shutil.rmtree(root, ignore_errors=True)
        write_store(root, part=part).unlink()
        target = tmp_path / "saved.tar"
        with StoreSession(root) as held:
            for what in ("all images", "broken:1", "images where repository = broken"):
                assert held.failure_code(f'save {what} to "{target}"') in ("unreadable", "blob-missing")
            assert not target.exists()
            held.do(f'save whole:1 to "{target}"')
            target.unlink()


def test_an_unreadable_platform_stays_held(tmp_path: Path) -> None:
    root = tmp_path / "store"
    third = Image([layer({"third": b"3" * 50})], platform={"os": "linux", "architecture": "s390x"})
    arm = Image(BROKEN.layers, platform=ARM64)
    layout = Layout(root)
    layout.add_index([WHOLE, arm, third], "multi:1")
    layout.entries[-1]["annotations"][HOLDS] = "all"
    layout.close()
    back = moved(root / "blobs" / "sha256" / arm.digest[7:])
    with StoreSession(root) as held:
        outcomes = held.outcomes("rm images where platform = linux/amd64")
        assert [row["action"] for row in outcomes] == ["stay"]
        assert "linux/arm64" in outcomes[0]["note"]
        held.do("rm multi:1 platform linux/s390x")
        back()
        assert len(held.rows("images")) == 2
        held.do("verify all")
        held.do("prune")
        held.do("verify all")


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_a_store_without_its_index_json_is_damaged_and_not_empty(tmp_path: Path, name: str) -> None:
    root = tmp_path / "store"
    made = write_library(root)
    before = blobs_in(root)
    content = (root / name).read_bytes()
    (root / name).unlink()
    for words in (["images"], ["prune"], ["tag", "plain:1", "as", "x:1"], ["verify", "all"], ["reindex"]):
        told = imq(root, *words, code=3).stderr
        assert name in told
        assert "missing" in told
    assert not (root / name).exists()
    (root / name).write_bytes(content)
    with StoreSession(root) as held:
        assert len(held.rows("images")) == len(made) + 1
        held.do("verify all")
    assert blobs_in(root) == before


def test_a_new_store_has_an_index_json(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with StoreSession(root) as held:
        assert held.names() == []
        with held.session.store.start_ingest():
            assert json.loads((root / "index.json").read_bytes())["manifests"] == []
    assert os.path.exists(root / "oci-layout")


def test_verify_reads_the_disk_and_not_the_cache(tmp_path: Path) -> None:
    root = tmp_path / "store"
    write_store(root, part="root")
    with StoreSession(root) as held:
        assert len(held.rows("images")) == 2
        for document in (BROKEN.digest, BROKEN.id):
            back = moved(root / "blobs" / "sha256" / document[7:])
            assert held.failure_code("verify all") == "blob-missing"
            assert held.failure_code("verify broken:1") == "blob-missing"
            back()
        held.do("verify all")


@pytest.mark.parametrize("part", ["root", "config"])
def test_keep_newest_reports_an_unreadable_image(tmp_path: Path, part: str) -> None:
    root = tmp_path / "store"
    write_store(root, part=part).unlink()
    for statement in ("rm all images except newest 1", "rm all images order by created skip 1"):
        with StoreSession(root) as held:
            outcomes = {row["target"]: row["error"] for row in held.outcomes(statement, dry_run=True)}
            assert outcomes == {"broken:1": "unreadable"}
        done = imq(root, *statement.split(), code=3)
        assert "broken:1 cannot be read" in done.stdout + done.stderr
    with StoreSession(root) as held:
        assert held.names() == ["broken:1", "whole:1"]


@pytest.mark.parametrize("part", ["root", "child", "config"])
def test_reindex_reports_an_unreadable_image(tmp_path: Path, part: str) -> None:
    root = tmp_path / "store"
    write_store(root, part=part).unlink()
    done = imq(root, "reindex", code=3)
    assert "broken:1 cannot be read" in done.stdout + done.stderr


REFUSED = {
    "another spelling of a key": lambda manifest: manifest.replace(b'"layers"', b'"Layers":[],"layers"'),
    "a negative size": lambda manifest: manifest.replace(b'"size":', b'"size":-', 1),
    "larger than largest_document": lambda manifest: manifest + b" " * (4 << 20),
    "UTF-16": lambda manifest: manifest.decode().encode("utf-16"),
    "UTF-32 without a byte order mark": lambda manifest: manifest.decode().encode("utf-32-be"),
    "a byte order mark": lambda manifest: b"\xef\xbb\xbf" + manifest,
    "an object that is no manifest": lambda manifest: manifest.replace(b'"layers"', b'"strata"').replace(
        b'"config"', b'"settings"'
    ),
}


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("is_child", [False, True])
def test_an_invalid_document_of_an_unknown_media_type_blocks_collection(
    tmp_path: Path, refused: str, *, is_child: bool
) -> None:
    root = tmp_path / "store"
    layout = Layout(root)
    layout.add(WHOLE, "whole:1")
    for content in (*BROKEN.blobs.values(), manifest := REFUSED[refused](BROKEN.manifest)):
        layout.blob(content)
    entry = {**descriptor(MANIFEST_TYPE, manifest), "mediaType": "application/json"}
    if is_child:
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}).encode()
        layout.blob(index)
        entry = descriptor(INDEX_TYPE, index)
    layout.entry(entry, "broken:1")
    layout.close()
    before = blobs_in(root)
    assert "broken:1 cannot be read" in imq(root, "images", code=3).stderr
    with StoreSession(root) as held:
        assert held.names() == ["broken:1", "whole:1"]
        assert held.failure_code("prune") == "unreadable"
        held.outcomes("rm whole:1")
    assert blobs_in(root).keys() == before.keys()


@pytest.mark.parametrize("content", [b"", b"a signature", b"[1, 2]", b"\x7fELF"])
def test_a_blob_that_is_not_a_json_object_does_not_block_collection(tmp_path: Path, content: bytes) -> None:
    root = tmp_path / "store"
    layout = Layout(root)
    layout.add(WHOLE, "whole:1")
    layout.blob(content)
    layout.blob(LOST)
    layout.entry({**descriptor(MANIFEST_TYPE, content), "mediaType": "application/octet-stream"}, "file:1")
    layout.close()
    with StoreSession(root) as held:
        assert held.names() == ["whole:1"]
        assert held.error_codes("images") == set()
        held.do("prune")
    assert digest_of(LOST) not in blobs_in(root)
    assert digest_of(content) in blobs_in(root)
