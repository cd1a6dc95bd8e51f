"""Damaged and missing blobs: how they are found, reported and repaired."""

from __future__ import annotations

import random
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from registry.support.fault_proxy import Fault, FaultProxy, flip_bit
from store.support.serve_image import serve, serve_index
from store.support.stores import StoreSession, blobs_in, check_store, imq, list_ingest
from support.images import ARM64, Image, Layout, layer

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Registry

BASE = layer({"base": random.Random(8).randbytes(700_000)}, "gzip")
"""More than travels in one piece."""
PLAIN = layer({"plain": random.Random(9).randbytes(9_000)})
ONE = Image([BASE, layer({"one": b"one" * 900}, "gzip"), PLAIN], labels={"n": "1"})
TWO = Image([BASE, layer({"two": b"two" * 900}, "gzip")], labels={"n": "2"})


@pytest.fixture
def names(store: StoreSession, registry: Registry) -> list[str]:
    """The names of two images that share a layer, in the store and in a registry."""
    repository = f"repair/{uuid.uuid4().hex[:8]}"
    names = [serve(registry, f"{repository}:{number}", image) for number, image in ((1, ONE), (2, TWO))]
    store.do(f"pull {', '.join(names)}")
    return names


def path_of(root: Path, digest: str) -> Path:
    return root / "blobs" / "sha256" / digest[7:]


def flip(root: Path, digest: str) -> None:
    """Flip one bit in the middle of a blob."""
    path = path_of(root, digest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def failed(outcomes: list[dict[str, object]]) -> set[tuple[object, object]]:
    return {(row["target"], row["error"]) for row in outcomes if row["error"]}


def test_verify_lists_all_damage_with_the_images(store: StoreSession, root: Path, names: list[str]) -> None:
    flip(root, BASE.digest)
    flip(root, ONE.id)
    path_of(root, PLAIN.digest).unlink()
    outcomes = [row for row in store.outcomes("verify all") if row["error"]]
    found = {
        (row["target"], row["error"], digest) for row in outcomes for digest in wrong() if digest in row["message"]
    }
    assert found == {
        (names[0], "digest-mismatch", BASE.digest),
        (names[0], "digest-mismatch", ONE.id),
        (names[0], "blob-missing", PLAIN.digest),
        (names[1], "digest-mismatch", BASE.digest),
    }
    notes = {row["note"] for row in outcomes if BASE.digest in str(row["message"])}
    assert notes == {f"in {names[0]}, {names[1]}"}
    done = imq(root, "verify", names[0], code=3)
    assert all(digest in done.stderr for digest in wrong())
    store.do("verify all repair")


def wrong() -> tuple[str, str, str]:
    return BASE.digest, ONE.id, PLAIN.digest


@pytest.mark.parametrize("finder", ["verify {}", 'save {} to "{}/saved.tar"', 'export {} to "{}/tree"', "push {}"])
@pytest.mark.parametrize("part", ["gzip", "plain"])
def test_a_flipped_bit_is_found_by_a_reader_and_repaired_by_the_next_pull(
    store: StoreSession, root: Path, names: list[str], registry: Registry, tmp_path: Path, finder: str, part: str
) -> None:
    digest = (BASE if part == "gzip" else PLAIN).digest
    flip(root, digest)
    target = names[0]
    if finder.startswith("push"):
        target = f"localhost:{registry.port}/repair/{uuid.uuid4().hex[:8]}:1"  # another registry: nothing to mount from
        store.do(f"tag {names[0]} as {target}")
    (outcome,) = store.outcomes(finder.format(target, tmp_path))
    assert outcome["error"] == "digest-mismatch"
    assert digest in outcome["message"]
    assert "is damaged" in outcome["message"]
    assert not (tmp_path / "saved.tar").exists()
    assert not (tmp_path / "tree").exists()
    (outcome,) = store.do(f"pull {names[0]}")
    assert outcome["size"] == len(ONE.blobs[digest])
    store.do("verify all")
    (outcome,) = store.do(f"pull {names[0]}")
    assert outcome["size"] == 0


def test_a_flipped_bit_is_found_by_measuring_and_repaired_by_the_next_pull(
    store: StoreSession, root: Path, registry: Registry
) -> None:
    name = serve(registry, f"repair/{uuid.uuid4().hex[:8]}:1", ONE)
    store.read_message("set verify = lazy")
    store.do(f"pull {name}")
    flip(root, BASE.digest)
    assert store.error_codes("images select size") == {"digest-mismatch"}
    (outcome,) = store.do(f"pull {name}")
    assert outcome["size"] == len(BASE.blob)
    assert store.rows("images select size") == [{"size": ONE.size}]


@pytest.mark.parametrize("part", ["config", "manifest"])
def test_a_flipped_bit_in_a_document_is_found_by_the_next_pull(
    store: StoreSession, root: Path, names: list[str], part: str
) -> None:
    flip(root, ONE.id if part == "config" else ONE.digest)
    store.do(f"pull {names[0]}")
    assert store.do("verify all")


def test_load_repairs_blobs_that_were_found_damaged(
    store: StoreSession, root: Path, names: list[str], tmp_path: Path
) -> None:
    Layout(tmp_path / "source").add(ONE, names[0])
    flip(root, BASE.digest)
    assert store.failure_code(f"verify {names[1]}") == "digest-mismatch"
    store.do(f'load "{tmp_path / "source"}"')
    assert store.do("verify all")


def test_repair_fetches_damaged_and_missing_blobs(store: StoreSession, root: Path, names: list[str]) -> None:
    flip(root, BASE.digest)
    path_of(root, PLAIN.digest).unlink()
    before = blobs_in(root)
    planned = store.outcomes("verify all repair", dry_run=True)
    place = names[0].rpartition(":")[0]
    assert [row["note"] for row in planned] == [f"corrupt blobs are fetched again from {place}"] * 2
    assert blobs_in(root) == before
    outcomes = store.do("verify all repair")
    repaired = {(row["target"], row["size"], row["note"]) for row in outcomes if row["action"] == "repair"}
    assert {(size, note) for _, size, note in repaired} == {
        (len(BASE.blob), f"{BASE.digest} was fetched again from {place}"),
        (len(PLAIN.blob), f"{PLAIN.digest} was fetched again from {place}"),
    }
    assert [row["target"] for row in outcomes if row["action"] == "verify"] == list(dict.fromkeys(names[::-1]))[::-1]
    assert [row["action"] for row in store.do("verify all repair")] == ["verify", "verify"]
    assert list_ingest(root) == set()


@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_repair_fetches_documents_and_then_their_blobs(
    store: StoreSession, root: Path, names: list[str], how: str
) -> None:
    for digest in ONE.blobs:
        if how == "flipped":
            flip(root, digest)
        else:
            path_of(root, digest).unlink()
    store.outcomes("reindex")
    assert store.names("where id is known") == [names[1]]
    store.do("verify all repair")
    assert store.names() == names
    check_store(root)
    assert {row["size"] for row in store.rows("images select size")} == {ONE.size, TWO.size}


def test_an_index_is_repaired_with_all_held_manifests(store: StoreSession, root: Path, registry: Registry) -> None:
    arm = Image([layer({"arm": b"arm" * 500}, "gzip")], platform=ARM64)
    name = serve_index(registry, f"repair/{uuid.uuid4().hex[:8]}:1", [ONE, arm])
    store.do(f"pull {name} platform all")
    flip(root, arm.digest)
    path_of(root, arm.id).unlink()
    flip(root, PLAIN.digest)
    store.outcomes("reindex")
    codes = {row["error"] for row in store.outcomes("verify all")}
    assert "digest-mismatch" in codes
    store.do("verify all repair")
    assert len(store.rows("images")) == 2
    check_store(root)


def test_a_failed_repair_reports_the_reason(
    store: StoreSession, root: Path, registry: Registry, tmp_path: Path
) -> None:
    other = Image([PLAIN], labels={"n": "other"})
    source = Layout(tmp_path / "source")
    source.add(ONE, f"{registry.host}/repair/nowhere:1")
    source.add(other, "127.0.0.1:1/unreached:1")
    source.add(Image([layer({"x": b"x" * 100})]))
    store.do(f'load "{source.folder}"')
    nameless = layer({"x": b"x" * 100}).digest
    for digest in (BASE.digest, other.id, nameless):
        flip(root, digest)
    outcomes = [row for row in store.outcomes("verify all repair") if row["error"]]
    said = {digest: str(row["message"]) for row in outcomes for digest in (BASE.digest, other.id, nameless)
            if digest in str(row["message"])}  # fmt: skip
    assert len(outcomes) == len(said) == 3
    assert all("is damaged and cannot be repaired: " in message for message in said.values())
    assert "has a name in a registry" in said[nameless]
    assert "127.0.0.1:1" in said[other.id]
    assert registry.host in said[BASE.digest]
    for digest in (BASE.digest, other.id, nameless):
        flip(root, digest)
    store.do("verify all")


def test_repair_fetches_a_layer_from_the_registry_of_another_image(
    store: StoreSession, root: Path, names: list[str], tmp_path: Path
) -> None:
    mine = Image([BASE], labels={"n": "mine"})
    Layout(tmp_path / "source").add(mine)
    store.do(f'load "{tmp_path / "source"}"')
    flip(root, BASE.digest)
    outcomes = store.do(f"verify {mine.id} repair")
    assert [row["action"] for row in outcomes] == ["repair", "verify"]
    assert names[0].rpartition(":")[0] in outcomes[0]["note"]


def test_wrong_bytes_repair_nothing(store: StoreSession, root: Path, names: list[str], registry: Registry) -> None:
    flip(root, BASE.digest)
    damaged = path_of(root, BASE.digest).read_bytes()
    with FaultProxy(registry.host, Fault(change=flip_bit)) as between:
        reference = names[0].replace(registry.host, between.host)
        store.do(f"tag {names[0]} as {reference}")
        for name in names:
            store.do(f"untag {name}")
        assert failed(store.outcomes("verify all repair")) >= {(reference, "digest-mismatch")}
        assert path_of(root, BASE.digest).read_bytes() == damaged
        between.faults.clear()
        store.do("verify all repair")


def test_a_registry_is_not_repaired(store: StoreSession, registry: Registry) -> None:
    with pytest.raises(Exception, match="repair works only on the store"):
        store.rows(f"verify tags of {registry.host}/repair/x where tag = 1 repair")


def test_two_processes_may_repair_one_blob(root: Path, store: StoreSession, names: list[str]) -> None:
    flip(root, BASE.digest)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(imq, root, "verify", "all", "repair") for _ in range(2)]:
            done.result()
    assert store.do("verify all")
    assert names


def test_a_failed_push_of_a_corrupt_blob_suggests_a_repair(root: Path, names: list[str], registry: Registry) -> None:
    flip(root, BASE.digest)
    target = f"localhost:{registry.port}/repair/{uuid.uuid4().hex[:8]}:1"
    done = imq(root, "push", names[0], "to", target, code=3)
    assert f"the blob {BASE.digest} is damaged" in done.stderr
    (words,) = re.findall(r"(verify \w+ repair), or a new pull", done.stderr)
    imq(root, *words.split())
    imq(root, "push", names[0], "to", target)
