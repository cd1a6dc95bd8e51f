"""`inspect`, `verify` and `export` of images where they lie. Nothing changes there."""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import NotFound, StatementError
from support.images import Image, Layer, Layout, docker_archive, layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.support.stores import StoreSession

FORMS = ("oci", "oci-archive", "docker-archive", "dir")
BASE = layer({"base": b"b" * 5000}, "gzip")
ONE = Image([BASE, layer({"etc/one": b"1" * 10})], labels={"part": "one"}, settings={"Cmd": ["/run"]})
TWO = Image([BASE, layer({"two": b"2" * 9000})], labels={"part": "two"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    layout = Layout(tmp_path / "layout")
    layout.add(ONE, "app:1")
    layout.add(TWO, "team/b:2")
    layout.close()
    return tmp_path / "layout"


def place_of(session: StoreSession, folder: Path, form: str) -> str:
    """Return a place of this form with `app:1`."""
    if form == "oci":
        return f"oci:{folder}"
    place = f"{form}:{folder.parent / 'place'}"
    session.do(f'copy app:1 from "oci:{folder}" to "{place}"')
    return place


def selected(form: str, place: str) -> str:
    """Return the operand that selects `app:1`: a folder of skopeo has no names."""
    return f'all images in "{place}"' if form == "dir" else f'app:1 from "{place}"'


def blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def verify(session: StoreSession, text: str) -> list[tuple[Any, str | None]]:
    """Return the name of each outcome, with the message of its error."""
    (result,) = session.session.run(text)
    names = [column.name for column in result.columns]
    rows = [dict(zip(names, row, strict=True)) for row in result.rows]
    errors = iter(result.errors)
    return [(row["target"], next(errors).message if row.get("error") else None) for row in rows]


@pytest.mark.parametrize("form", FORMS)
class TestEveryForm:
    def test_inspect(self, session: StoreSession, folder: Path, form: str) -> None:
        place = place_of(session, folder, form)
        (document,) = session.rows(f"inspect {selected(form, place)}")
        assert document["Id"] == ONE.id
        assert document["RepoTags"] == ([] if form == "dir" else ["app:1"])
        assert document["Config"]["Cmd"] == ["/run"]
        assert document["Config"]["Labels"] == {"part": "one"}
        assert document["RootFS"]["Layers"] == [one.diff_id for one in ONE.layers]
        assert ("Descriptor" in document) == (form != "docker-archive")

    def test_verify(
        self, session: StoreSession, folder: Path, form: str, describe_tree: Callable[[Path], list[Any]]
    ) -> None:
        place = place_of(session, folder, form)
        path = folder.parent / place.partition(":")[2]
        before = describe_tree(path)
        assert [error for _, error in verify(session, f"verify {selected(form, place)}")] == [None]
        assert describe_tree(path) == before

    @pytest.mark.parametrize("packed", [False, True])
    def test_export(self, session: StoreSession, folder: Path, form: str, packed: bool) -> None:
        place, target = place_of(session, folder, form), folder.parent / ("files.tar" if packed else "files")
        session.do(f'export {selected(form, place)} to "{target}"')
        if packed:
            with tarfile.open(target) as archive:
                names = {name for name in archive.getnames() if not archive.getmember(name).isdir()}
        else:
            names = {os.path.relpath(path, target) for path in target.rglob("*") if path.is_file()}
            assert (target / "etc/one").read_bytes() == b"1" * 10
        assert names == {"base", "etc/one"}
        assert session.rows("images") == []


class TestInspect:
    def test_rows_of_a_query(self, session: StoreSession, folder: Path) -> None:
        documents = session.rows(f'inspect images in "oci:{folder}" where label.part = two')
        assert [document["Id"] for document in documents] == [TWO.id]

    def test_unknown_names(self, session: StoreSession, folder: Path) -> None:
        with pytest.raises(NotFound, match="no image gone:1 in oci:"):
            session.rows(f'inspect gone:1 from "oci:{folder}"')

    def test_layers_are_no_images(self, session: StoreSession, folder: Path) -> None:
        with pytest.raises(StatementError, match="inspect takes images, not layers"):
            session.rows(f'inspect layers in "oci:{folder}" where index = 0')


class TestVerify:
    def test_all_images_of_a_place(self, session: StoreSession, folder: Path) -> None:
        assert verify(session, f'verify all from "oci:{folder}"') == [("app:1", None), ("team/b:2", None)]
        assert verify(session, f'verify images in "oci:{folder}" where tag = 2') == [("team/b:2", None)]

    def test_a_damaged_layer(self, session: StoreSession, folder: Path) -> None:
        path = blob(folder, TWO.layers[1].digest)
        content = bytearray(path.read_bytes())
        content[600] ^= 1
        path.write_bytes(bytes(content))
        intact, damaged = verify(session, f'verify all from "oci:{folder}"')
        assert intact == ("app:1", None)
        assert damaged[0] == "team/b:2"
        assert "is damaged: its content has another digest" in str(damaged[1])

    def test_a_layer_that_cannot_be_unpacked(self, session: StoreSession, folder: Path) -> None:
        path = blob(folder, BASE.digest)
        path.write_bytes(path.read_bytes()[:-20] + b"\0" * 20)
        outcomes = verify(session, f'verify all from "oci:{folder}"')
        assert ["is damaged" in str(error) for _, error in outcomes] == [True, True]

    def test_a_layer_that_was_made_wrong(self, session: StoreSession, tmp_path: Path) -> None:
        content = BASE.blob[:-20]
        layout = Layout(tmp_path / "wrong")
        layout.add(Image([Layer(content, BASE.diff_id, BASE.media_type, BASE.size)]), "wrong:1")
        layout.close()
        ((_, error),) = verify(session, f'verify all from "oci:{tmp_path / "wrong"}"')
        assert "cannot be unpacked" in str(error)

    def test_a_layer_that_unpacks_to_other_content(self, session: StoreSession, tmp_path: Path) -> None:
        other = layer({"other": b"x"}, "gzip")
        wrong = Layer(other.blob, BASE.diff_id, other.media_type, other.size)
        layout = Layout(tmp_path / "wrong")
        layout.add(Image([wrong]), "wrong:1")
        layout.close()
        ((_, error),) = verify(session, f'verify all from "oci:{tmp_path / "wrong"}"')
        assert "and its config says" in str(error)

    @pytest.mark.parametrize("part", ["layer", "config", "manifest"])
    def test_missing_blobs(self, session: StoreSession, folder: Path, part: str) -> None:
        digest = {"layer": TWO.layers[1].digest, "config": TWO.id, "manifest": TWO.digest}[part]
        blob(folder, digest).unlink()
        outcomes = verify(session, f'verify all from "oci:{folder}"')
        assert [name for name, error in outcomes if error is None] == ["app:1"]
        assert all(error is not None for name, error in outcomes if name != "app:1")

    def test_an_archive_of_docker_with_another_layer(self, session: StoreSession, tmp_path: Path) -> None:
        plain = Image([layer({"base": b"b" * 5000})])
        docker_archive(tmp_path / "good.tar", [(plain, ["app:1"])])
        content = (tmp_path / "good.tar").read_bytes()
        assert b"b" * 5000 in content
        (tmp_path / "bad.tar").write_bytes(content.replace(b"b" * 5000, b"c" * 5000))
        assert verify(session, f'verify all from "docker-archive:{tmp_path / "good.tar"}"') == [("app:1", None)]
        outcomes = verify(session, f'verify all from "docker-archive:{tmp_path / "bad.tar"}"')
        assert any("and its config says" in str(error) for _, error in outcomes)

    def test_repair_is_for_the_store(self, session: StoreSession, folder: Path) -> None:
        with pytest.raises(StatementError, match="repair works in the store alone"):
            session.do(f'verify all from "oci:{folder}" repair')

    def test_registries_verify_tags(self, session: StoreSession) -> None:
        with pytest.raises(StatementError, match="does not work in registry"):
            session.do("verify app:1 from registry.local:5000")
