"""Which strings name places on disk, and which do not."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from typing import TYPE_CHECKING

import pytest
from imq.engine.sources.layouts.places import FORMS, PREFIXES, parse_place
from imq.grammar.errors import NotFound, StatementError
from store.support.stores import StoreSession, run

if TYPE_CHECKING:
    from pathlib import Path

    from support.images import Image

HOME = "/home/user"


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        ("oci:layout", "oci", "/srv/layout"),
        ("oci:/srv/layout", "oci", "/srv/layout"),
        ("oci:~/layout", "oci", "/home/user/layout"),
        ("oci-archive:a.tar", "oci-archive", "/srv/a.tar"),
        ("docker-archive:a.tar.gz", "docker-archive", "/srv/a.tar.gz"),
        ("dir:5000", "dir", "/srv/5000"),
        ("containers-storage:/srv/storage", "containers-storage", "/srv/storage"),
        ("containers-storage:[/srv/storage]", "containers-storage", "/srv/storage"),
        ("./layout", "folder", "/srv/./layout"),
        ("../layout", "folder", "/srv/../layout"),
        ("/srv/layout", "folder", "/srv/layout"),
        ("~/layout", "folder", "/home/user/layout"),
        ("backup.tar", "archive", "/srv/backup.tar"),
        ("backups/all.tgz", "archive", "/srv/backups/all.tgz"),
        ("./all.tar.zst", "archive", "/srv/./all.tar.zst"),
    ],
)
def test_a_place(text: str, kind: str, path: str) -> None:
    place = parse_place(text, "/srv", HOME, {})
    assert place is not None
    assert (place.text, place.kind, place.path) == (text, kind, path)


@pytest.mark.parametrize(
    "text",
    ["store", "docker", "ghcr.io", "ghcr.io/team/a.tar", "localhost:5000", "localhost/a.tar", "layout", "tar", "OCI:x"],
)
def test_no_place(text: str) -> None:
    assert parse_place(text, "/srv", HOME, {}) is None


@pytest.mark.parametrize("prefix", [prefix for prefix in PREFIXES if prefix != "containers-storage:"])
def test_a_prefix_needs_a_path(prefix: str) -> None:
    with pytest.raises(StatementError, match="has no path"):
        parse_place(prefix, "/srv", HOME, {})


def test_the_storage_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def path_of(environment: dict[str, str]) -> str:
        place = parse_place("containers-storage:", "/srv", HOME, environment)
        assert place is not None
        return place.path

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert path_of({}) == "/var/lib/containers/storage"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert path_of({}) == "/home/user/.local/share/containers/storage"
    assert path_of({"XDG_DATA_HOME": "/data"}) == "/data/containers/storage"


def test_every_prefix_has_a_form() -> None:
    assert len(PREFIXES) == len(FORMS) == len(set(PREFIXES))


def test_what_lies_at_a_path_is_found_out(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    run("skopeo", "copy", "-q", f"oci:{tmp_path / 'layout'}:redis:7", f"dir:{tmp_path / 'dir'}")
    target = f"containers-storage:[vfs@{tmp_path / 'storage'}+{tmp_path / 'run'}]redis:7"
    run("skopeo", "copy", "-q", f"oci:{tmp_path / 'layout'}:redis:7", target)
    for name in ("dir", "storage"):
        (row,) = session.rows(f'images in "{tmp_path / name}" select * as json')
        assert (row["id"], row["source"]) == (made["redis:7"].id, str(tmp_path / name))
    session.do(f'load "{tmp_path / "dir"}"')
    assert len(session.rows(f'images in "{tmp_path / "layout"}"')) == 11


def test_an_archive_of_format_1_says_what_to_do(session: StoreSession, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        content = json.dumps({"app": {"1": "a" * 64}}).encode()
        member = tarfile.TarInfo("repositories")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    assert session.failure_code(f'images in "{tmp_path / "old.tar"}"') == "archive"


def test_the_rows_of_a_relation(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    place = f'"oci:{tmp_path / "layout"}"'
    base = made["redis:7"].layers[0]
    rows = session.rows(f'images in {place} where any layers where digest = "{base.digest}" select name')
    assert len(rows) == 9
    assert session.rows(f'images in {place} where has layer "{base.digest}" count') == [{"count": 9}]
    (row,) = session.rows(f"layers of redis:7 in {place} where index = 1 select digest")
    assert row["digest"] == made["redis:7"].layers[1].digest
    rows = session.rows(f"layers in {place} where any names where tag = 7 select index order by index")
    assert [row["index"] for row in rows] == [0, 1]
    rows = session.rows(f"layers of (images in {place} where tag = 7) select digest order by index")
    assert [row["digest"] for row in rows] == [one.digest for one in made["redis:7"].layers]
    both = session.rows(f"images in store, {place} where count(history) > 3 select source, name")
    assert {row["source"] for row in both} == {f"oci:{tmp_path / 'layout'}"}


def test_a_missing_name_is_reported(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:  # noqa: ARG001
    place = f'"oci:{tmp_path / "layout"}"'
    assert session.error_codes(f"layers of redis:7, nope:1 in {place}") == {"not-found"}


@pytest.fixture
def archives(session: StoreSession, tmp_path: Path, made: dict[str, Image], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two archives and two layouts; statements run there."""
    folder = tmp_path / "places"
    folder.mkdir()
    assert {"redis:7", "redis:latest"} <= made.keys()
    for name, image in (("b.tar", "redis:latest"), ("a.tar", "redis:7")):
        session.do(f'save images in "{tmp_path}/layout" where name = {image} to "{folder}/{name}"')
    for name in ("lay2", "lay1"):
        session.do(f'save images in "{tmp_path}/layout" where name = redis:7 to "oci:{folder}/{name}"')
    monkeypatch.chdir(folder)
    return folder


def list_sources(session: StoreSession, place: str) -> list[str]:
    return [row["source"] for row in session.rows(f'images in "{place}" select name, source order by source as json')]


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("*.tar", ["a.tar", "b.tar"]),
        ("./*.tar", ["a.tar", "b.tar"]),
        ("./?.tar", ["a.tar", "b.tar"]),
        ("docker-archive:[b-z].tar", ["docker-archive:b.tar"]),
        ("oci:lay*", ["oci:lay1", "oci:lay2"]),
        ("./lay*", ["./lay1", "./lay2"]),
        ("../places/l*2", ["./lay2"]),
    ],
)
@pytest.mark.usefixtures("archives")
def test_a_pattern_names_every_place_that_matches(session: StoreSession, pattern: str, places: list[str]) -> None:
    assert list_sources(session, pattern) == places


def test_an_absolute_pattern_names_absolute_paths(session: StoreSession, archives: Path) -> None:
    assert list_sources(session, f"{archives}/*.tar") == [f"{archives}/a.tar", f"{archives}/b.tar"]
    assert list_sources(session, f"oci:{archives}/lay*") == [f"oci:{archives}/lay1", f"oci:{archives}/lay2"]


@pytest.mark.usefixtures("archives")
def test_a_pattern_can_be_the_source_of_a_session(session: StoreSession) -> None:
    assert [*session.session.run('use "*.tar"')]
    assert [row["tag"] for row in session.rows("images order by tag as json")] == ["7", "latest"]
    assert len(session.rows("layers of redis:7 as json")) > 0


def test_a_file_whose_name_is_a_pattern_is_one_place(session: StoreSession, archives: Path) -> None:
    (archives / "a.tar").rename(archives / "[b].tar")
    assert list_sources(session, "[b].tar") == ["[b].tar"]
    assert list_sources(session, "./*b*.tar") == ["[b].tar", "b.tar"]


@pytest.mark.usefixtures("archives")
def test_a_pattern_without_a_match_is_an_error(session: StoreSession) -> None:
    for place in ("x*.tar", "oci:x*"):
        with pytest.raises(NotFound, match=re.escape(f"no file matches {place}")) as caught:
            session.rows(f'images in "{place}"')
        assert caught.value.span is not None


@pytest.mark.usefixtures("archives")
def test_load_takes_patterns_of_layouts(session: StoreSession) -> None:
    session.do('load "oci:lay*", "*.tar"')
    assert [row["tag"] for row in session.rows("images in store order by tag as json")] == ["7", "latest"]
