"""What images contain, when some of it cannot be read: the others are answered, and nothing unknown is removed."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.layer_index.scan_adder import ScanAdder
from imq.grammar.errors import ImqError
from store.support.stores import StoreSession, command, imq
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARED = {"etc/os-release": b"ID=debian\n", "usr/lib/libc.so": b"c" * 1000}
SECRET = {"root/.ssh/id_rsa": b"PRIVATE KEY"}


def random_layer(seed: int, files: dict[str, bytes] | None = None) -> Any:
    content = b"".join(bytes([(seed * 7 + at * at) % 251]) for at in range(20_000))
    return layer({**(files or {}), f"opt/data{seed}": content}, "gzip")


@pytest.fixture
def images() -> dict[str, Image]:
    base = layer(SHARED, "gzip")
    return {
        "app:clean": Image([base, random_layer(1)], labels={"n": "1"}),
        "app:secret": Image([base, random_layer(2, SECRET)], labels={"n": "2"}),
        "app:damaged": Image([base, random_layer(3)], labels={"n": "3"}),
        "app:sibling": Image([base], labels={"n": "4"}),
    }


def write_layout(folder: Path, images: dict[str, Image]) -> Path:
    layout = Layout(folder)
    for name, image in images.items():
        layout.add(image, name)
    return folder


def find_blob(folder: Path, image: Image, index: int) -> Path:
    return folder / "blobs" / "sha256" / image.layers[index].digest.removeprefix("sha256:")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.fixture
def store(tmp_path: Path, images: dict[str, Image]) -> Path:
    """A store in which a layer of one image is damaged."""
    folder = write_layout(tmp_path / "store", images)
    damage(find_blob(folder, images["app:damaged"], 1))
    return folder


class TestUnreadableImages:
    """An image with a damaged layer, among others."""

    def test_the_only_image_is_an_error(self, store: Path) -> None:
        with StoreSession(store) as session, pytest.raises(ImqError) as caught:
            session.rows("files of app:damaged")
        assert caught.value.code == "digest-mismatch"
        assert imq(store, "files of app:damaged", code=3).stdout == ""

    def test_the_others_are_answered(self, store: Path) -> None:
        with StoreSession(store) as session:
            found = session.rows('files of (images) where path like "/opt/*" select image_name')
            assert {row["image_name"] for row in found} == {"app:clean", "app:secret"}
            assert session.error_codes('files of (images) where path like "/opt/*" select path') == {"digest-mismatch"}
            everything = session.rows("files where type = file select image_name")
            assert {row["image_name"] for row in everything} == {"app:clean", "app:secret", "app:sibling"}

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ('contains file "*id_rsa"', ["app:secret"]),
            ('not contains file "*id_rsa"', ["app:clean", "app:sibling"]),
            ("no files where path = /root/.ssh/id_rsa", ["app:clean", "app:sibling"]),
            ("any files where path = /usr/lib/libc.so", ["app:clean", "app:secret", "app:sibling"]),
            ("not (any files where setuid)", ["app:clean", "app:secret", "app:sibling"]),
            ('contains file "*id_rsa" or label.n = 3', ["app:damaged", "app:secret"]),
            ('not contains file "*id_rsa" and label.n = 3', []),
            ('not (contains file "*id_rsa" and label.n = 2)', ["app:clean", "app:damaged", "app:sibling"]),
        ],
    )
    def test_a_condition_holds_neither_way(self, store: Path, condition: str, expected: list[str]) -> None:
        statement = f"images where {condition} order by name select name"
        with StoreSession(store) as session:
            assert [row["name"] for row in session.rows(statement)] == expected
            assert session.error_codes(statement) == {"digest-mismatch"}
        done = imq(store, statement, code=3)
        assert "app:damaged: the blob sha256:" in done.stderr

    def test_a_count_is_unknown(self, store: Path) -> None:
        with StoreSession(store) as session:
            rows = session.rows("images order by name select name, count(files) as n")
        assert {row["name"]: row["n"] for row in rows}["app:damaged"] is None
        assert all(row["n"] for row in rows if row["name"] != "app:damaged")

    def test_a_removal_leaves_it_alone(self, store: Path) -> None:
        done = imq(store, 'rm images where not contains file "*id_rsa"', code=1)
        with StoreSession(store) as session:
            assert session.names() == ["app:damaged", "app:secret"]
        assert "unknown: files" in done.stdout
        assert "app:damaged" in done.stderr

    def test_a_removal_of_what_it_may_have(self, store: Path) -> None:
        imq(store, 'rm images where contains file "*id_rsa"', code=1)
        with StoreSession(store) as session:
            assert session.names() == ["app:clean", "app:damaged", "app:sibling"]

    @pytest.mark.parametrize("limit", ["limit 1", "skip 1"])
    def test_a_limit_would_choose_others(self, store: Path, limit: str) -> None:
        imq(store, f'rm images where contains file "*/opt/*" order by name {limit}', code=3)
        with StoreSession(store) as session:
            assert len(session.names()) == 4

    def test_other_actions_take_the_certain_rows(self, store: Path) -> None:
        done = imq(store, 'tag images where not contains file "*id_rsa" as "kept:{{.Tag}}"', code=None)
        assert done.returncode, done.stdout
        with StoreSession(store) as session:
            assert session.names("where repository = kept") == ["kept:clean", "kept:sibling"]

    def test_a_list_of_what_could_be_read_excludes_nothing(self, store: Path) -> None:
        keep = "files of (images) where path = /root/.ssh/id_rsa select image"
        imq(store, f"rm images where id not in ({keep})", code=3)
        with StoreSession(store) as session:
            assert len(session.names()) == 4

    @pytest.mark.parametrize(
        "keep",
        [
            'files of (images where contains file "*id_rsa") select image',
            'images where contains file "*id_rsa" select id',
            'images where any layers where size > 1MB or contains file "*id_rsa" select id',
        ],
    )
    def test_a_list_that_a_condition_on_contents_makes(self, store: Path, keep: str) -> None:
        done = imq(store, f"rm images where id not in ({keep})", code=None)
        assert done.returncode
        with StoreSession(store) as session:
            assert {"app:secret", "app:damaged"} <= set(session.names())

    def test_a_join_with_what_could_not_be_read(self, store: Path) -> None:
        joined = 'images join (images where contains file "*id_rsa" select id as other) as o on o.other = id'
        imq(store, f"rm {joined} where o.other is unknown", code=None)
        with StoreSession(store) as session:
            assert {"app:secret", "app:damaged"} <= set(session.names())

    def test_contents_that_cannot_be_read(self, store: Path, images: dict[str, Image]) -> None:
        with StoreSession(store) as session:
            session.rows("files of app:secret select path")
        damage(find_blob(store, images["app:secret"], 1))
        with StoreSession(store) as session:
            found = session.rows('images where any files where content matches "PRIVATE" select name')
            assert found == []
            others = 'images where no files where path like "*id_rsa" and content matches "PRIVATE" select name'
            assert {row["name"] for row in session.rows(others)} == {"app:clean", "app:sibling"}
            assert session.error_codes(others) == {"digest-mismatch"}
            with pytest.raises(ImqError):
                session.rows("files of app:secret where path like *id_rsa select content")


@pytest.mark.parametrize("spoil", [damage, truncate])
@pytest.mark.parametrize("place", ["oci:{}", "{}"])
def test_a_spoiled_layer_of_a_layout(
    tmp_path: Path, images: dict[str, Image], spoil: Callable[[Path], None], place: str
) -> None:
    folder = write_layout(tmp_path / "layout", images)
    spoil(find_blob(folder, images["app:damaged"], 1))
    source = place.format(folder)
    with StoreSession(tmp_path / "store") as session:
        statement = f'images in "{source}" where not contains file "*id_rsa" order by name select name'
        assert [row["name"] for row in session.rows(statement)] == ["app:clean", "app:sibling"]
        assert session.error_codes(statement)
        with pytest.raises(ImqError) as caught:
            session.rows(f'files of app:damaged in "{source}"')
    assert images["app:damaged"].layers[1].diff_id in caught.value.message


def test_an_archive_that_is_cut_short(tmp_path: Path, images: dict[str, Image]) -> None:
    folder = write_layout(tmp_path / "layout", images)
    last = find_blob(folder, images["app:damaged"], 1)
    blobs = [path for path in sorted(last.parent.iterdir()) if path != last]
    names = ["index.json", "oci-layout", *(os.path.relpath(path, folder) for path in (*blobs, last))]
    path = tmp_path / "images.tar"
    subprocess.run(["tar", "-b", "1", "-C", folder, "-cf", path, *names], check=True)
    os.truncate(path, path.stat().st_size - last.stat().st_size // 2 - 1024)
    with StoreSession(tmp_path / "store") as session:
        statement = f'images in "{path}" where not contains file "*id_rsa" order by name select name'
        assert session.error_codes(statement)
        assert [row["name"] for row in session.rows(statement)] == ["app:clean", "app:sibling"]


def test_explain_tells_what_is_read(tmp_path: Path, images: dict[str, Image]) -> None:
    folder = write_layout(tmp_path / "store", images)

    def explain(session: StoreSession, query: str) -> str:
        return next(line for line in session.read_message(f"explain {query}").splitlines() if "index of files" in line)

    with StoreSession(folder) as session:
        everything = len({layer.digest: layer for image in images.values() for layer in image.layers})
        assert f"; at most {everything} layers with " in explain(session, 'images where contains file "*x"')
        assert "; at most 1 layer with " in explain(session, "files of app:sibling")
        assert not (folder / "files.db").exists(), "explain makes nothing"
        session.rows("files of app:sibling")
        assert explain(session, "files of app:sibling").endswith("; none: all are in the index")
        assert f"; at most {everything - 1} layers with " in explain(session, 'images where contains file "*x"')


class TestIndex:
    """The index of files, when something happens while it is made."""

    def test_an_interrupt_leaves_it_sound(
        self, tmp_path: Path, images: dict[str, Image], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = write_layout(tmp_path / "store", images)
        added = []
        add = ScanAdder.add

        def add_some(self: ScanAdder, path: str, now: int) -> None:
            if len(added) == 2:
                raise KeyboardInterrupt
            add(self, path, now)
            added.append(path)

        statement = 'images where contains file "*id_rsa" select name'
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(ScanAdder, "add", add_some)
            with StoreSession(folder, environment={"TMPDIR": str(temporary)}) as session:
                with pytest.raises(KeyboardInterrupt):
                    session.rows(statement)
                patch.setattr(ScanAdder, "add", add)
                assert session.rows(statement) == [{"name": "app:secret"}], "the same session goes on"
        with StoreSession(folder) as session:
            assert session.rows(statement) == [{"name": "app:secret"}]
            assert len(session.rows("files of app:clean")) == 7

    def test_processes_index_the_same_layers_at_once(self, tmp_path: Path, images: dict[str, Image]) -> None:
        folder = write_layout(tmp_path / "store", images)
        words = command(folder, "files where type = file order by image, path select image, path, sha256 as csv")
        running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        answers = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0, 0, 0], answers
        assert len({answer for answer, _ in answers}) == 1
        assert len(answers[0][0].splitlines()) == 1 + 4 * 2 + 3 + 1

    def test_layers_are_scanned_once_for_all_sources(
        self, tmp_path: Path, images: dict[str, Image], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = write_layout(tmp_path / "layout", images)
        packed = tmp_path / "images.tar"
        subprocess.run(["tar", "-C", folder, "-cf", packed, "."], check=True)
        added = []
        add = ScanAdder.add
        monkeypatch.setattr(ScanAdder, "add", lambda self, path, now: (added.append(path), add(self, path, now))[1])
        with StoreSession(tmp_path / "store") as session:
            first = session.rows(f'files of (images in "oci:{folder}") select image, path')
            assert len(added) == 4, "the layers of four images"
            second = session.rows(f'files of (images in "{packed}") select image, path')
            both = session.rows(f'files of (images in "{packed}", "oci:{folder}") select image, path')
        assert len(added) == 4
        assert sorted(map(str, first)) == sorted(map(str, second))
        assert sorted(map(str, both)) == sorted(map(str, first * 2))

    def test_one_of_two_places_has_the_layer(self, tmp_path: Path, images: dict[str, Image]) -> None:
        good, bad = write_layout(tmp_path / "good", images), write_layout(tmp_path / "bad", images)
        for image in images.values():
            damage(find_blob(bad, image, len(image.layers) - 1))
        with StoreSession(tmp_path / "store") as session:
            statement = f'images in "oci:{bad}", "oci:{good}" where contains file "*id_rsa" select source, name'
            rows = session.rows(statement)
        assert {row["source"] for row in rows} == {f"oci:{bad}", f"oci:{good}"}, "the layer is the same in both"


def test_a_layer_that_is_not_the_one_of_the_config(tmp_path: Path) -> None:
    image = Image([layer(SHARED, "gzip")])
    folder = write_layout(tmp_path / "layout", {"app:1": image})
    other = io.BytesIO()
    with tarfile.open(fileobj=other, mode="w"):
        pass
    manifest_path = folder / "blobs" / "sha256" / image.layers[0].digest.removeprefix("sha256:")
    content = gzip.compress(other.getvalue(), mtime=0)
    size = manifest_path.stat().st_size
    manifest_path.write_bytes(content + bytes(size - len(content)))  # zeros after the stream are padding
    with StoreSession(tmp_path / "store") as session, pytest.raises(ImqError) as caught:
        session.rows(f'files of app:1 in "oci:{folder}"')
    assert caught.value.code == "diff-id-mismatch"
    assert json.dumps(image.layers[0].diff_id)[1:-1] in caught.value.message
