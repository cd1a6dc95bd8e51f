"""index.json as lines: entries are found and edited as in a list of all of them."""

from __future__ import annotations

import io
import json
import random

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.store import index_document
from imq.engine.store.index_document import _MAX_SEARCHES, IndexDocument, encode, find_digests, find_plain, iter_pieces
from imq.engine.store.index_json import CONTAINERD_NAME, REF_NAME, IndexEntry

NAMES = ("redis:7", "docker.io/library/redis:7", "team/app:1", "MyApp", 'a"b', "a\\b", "x/", "ü:1", "a\nb", "v1", None,
         f"redis@sha256:{'1' * 64}", f"quay.io/redis:7@sha256:{'2' * 64}", '},\n{"digest":"x"')  # fmt: skip


def make_entries(count: int) -> list[IndexEntry]:
    chance = random.Random(7)
    entries = []
    for number in range(count):
        root = Descriptor(media_types.OCI_MANIFEST, Digest.of(str(number % 9).encode()), 2)
        name = chance.choice(NAMES)
        key = chance.choice((CONTAINERD_NAME, REF_NAME))
        document = root.replace(annotations={key: name} if name else {"other": "x"}).to_json()
        entries.append(IndexEntry.read({**document, "nested": [{"digest": root.digest}]}, "an entry"))
    return entries


@pytest.mark.parametrize("count", [0, 1, 60])
def test_entries_are_found_by_root_and_name(count: int) -> None:
    entries = make_entries(count)
    document = IndexDocument(encode({"schemaVersion": 2, "manifests": []}, entries))
    roots = {entry.descriptor.digest for entry in entries} | {Digest.of(b"absent")}
    names = {str(entry.name) for entry in entries if entry.name} | {"absent:1"}
    for _ in range(_MAX_SEARCHES):  # few searches, then the list of lines
        for name in sorted(names):
            found = document.without_edits().find_named(name)
            assert found == next((entry for entry in entries if str(entry.name) == name), None)
            assert document.find_named(name) == found
    for root in roots:
        assert document.entries_of(root) == [entry for entry in entries if entry.descriptor.digest == root]
        assert document.was_root(root) == bool(document.entries_of(root))


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_index_json_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch, count: int, piece: int) -> None:
    monkeypatch.setattr(index_document, "_PIECE_SIZE", piece)
    entries = make_entries(count)
    content = encode({"schemaVersion": 2, "subject": {"digest": "sha256:0"}}, entries)
    pieces = list(iter_pieces(io.BytesIO(content)))
    assert b"".join(pieces) == content
    found = {digest for text in pieces for digest in find_digests(text)}
    assert found == IndexDocument(content).list_digests()
    assert {entry for text in pieces for entry in find_plain(text)} == set(find_plain(content))
    assert {entry.descriptor.digest.encode() for entry in entries} | {b"sha256:0"} <= found


def test_edits_are_those_of_a_list() -> None:
    entries = make_entries(60)
    chance = random.Random(3)
    document = IndexDocument(encode({"schemaVersion": 2, "extra": {"a": 1}, "manifests": []}, entries))
    for step in range(40):
        if step % 2:
            new = make_entries(1)[0].replace(set_at=step * 10**9)
            entries.append(new)
            document.add(new)
        else:
            gone = chance.choice(entries)
            entries.remove(gone)
            document.drop(gone)
        content = b"".join(document.encode())
        assert json.loads(content) == {
            "schemaVersion": 2,
            "extra": {"a": 1},
            "manifests": [entry.to_json() for entry in entries],
        }
    again = IndexDocument(content + b"  ")  # blanks follow when a full disk had no room for another file
    assert b"".join(again.encode()) == content
    for root in {entry.descriptor.digest for entry in entries}:
        for entry in again.entries_of(root):
            again.drop(entry)
    assert json.loads(b"".join(again.encode()))["manifests"] == []


def test_plain_entries_are_those_whose_text_shows_root_and_name() -> None:
    def write(name: str | None, key: str = REF_NAME, **annotations: str) -> IndexEntry:
        names = {key: name} if name is not None else {}
        root = Descriptor(media_types.OCI_MANIFEST, Digest.of((name or "").encode()), 2)
        return IndexEntry.read(root.replace(annotations={**names, **annotations}).to_json(), "an entry")

    plain, unnamed, escaped = write("redis:7"), write(None, other="x"), write('a"b')
    shown = {(plain.descriptor.digest, "redis:7"), (unnamed.descriptor.digest, ""), (escaped.descriptor.digest, "")}
    assert set(find_plain(encode({"manifests": []}, [plain, unnamed, escaped]))) == shown
    renamed = write("app:1", note="", **{CONTAINERD_NAME: "docker.io/library/other:1"})  # containerd's name counts
    content = encode({"manifests": []}, [plain, renamed, unnamed, escaped])
    assert set(find_plain(content)) == shown | {(renamed.descriptor.digest, "")}
