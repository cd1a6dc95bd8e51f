"""`files of X with archives`: the members of archives, also of those inside others, within limits."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers.nested_archives import ArchiveLimits, list_members
from imq.grammar.errors import ImqError, Malformed
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from store.support.stores import StoreSession
from support.images import Image, Layout, layer, pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def make_zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 2, 3, 4, 6)), content, method)
    return stream.getvalue()


def make_tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o640
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


LOG4J = make_zip({"org/apache/JndiLookup.class": b"class", "META-INF/": b""})
FAT = make_zip({"BOOT-INF/lib/log4j-core-2.14.1.jar": LOG4J, "app.class": b"x"}, zipfile.ZIP_STORED)
FILES = {
    "app/fat.jar": FAT, "app/app.war": make_zip({"WEB-INF/fat.jar": FAT}),
    "srv/data.tar.gz": pack(make_tar({"./inner/lib.tar": make_tar({"deep/log4j.jar": LOG4J}), "z": b"z" * 3000}),
                            "gzip"),
    "srv/notes.zip": b"no archive", "etc/os-release": b"ID=x\n",
}  # fmt: skip
PACKED = make_zip({"b.jar": bytes(range(256)) * 9}, zipfile.ZIP_LZMA)
DAMAGED = PACKED[:44] + b"\xff" * 40 + PACKED[84:]
CLASS = "org/apache/JndiLookup.class"
CLASSES = [
    f"/app/app.war!/WEB-INF/fat.jar!/BOOT-INF/lib/log4j-core-2.14.1.jar!/{CLASS}",
    f"/app/fat.jar!/BOOT-INF/lib/log4j-core-2.14.1.jar!/{CLASS}",
    f"/srv/data.tar.gz!/inner/lib.tar!/deep/log4j.jar!/{CLASS}",
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSession]:
    folder = tmp_path_factory.mktemp("archives")
    base = layer(FILES, "gzip")
    layout = Layout(folder / "store")
    layout.add(Image([base]), "app:1")
    layout.add(Image([base, layer({"app/.wh.fat.jar": b"", "app/app.war": make_zip({"new": b"n"})})]), "app:2")
    layout.add(Image([layer({"a.jar": FAT[: len(FAT) // 2], "b.jar": LOG4J})]), "broken:1")
    with StoreSession(folder / "store") as opened:
        yield opened


def paths(session: StoreSession, statement: str) -> list[str]:
    return [row["path"] for row in session.rows(f"{statement} select path order by path")]


def test_members_of_archives_in_archives(session: StoreSession) -> None:
    assert paths(session, 'files of app:1 with archives where name like "Jndi*"') == CLASSES
    assert paths(session, 'files of app:2 with archives where name like "Jndi*"') == CLASSES[2:]
    assert "/app/app.war!/new" in paths(session, "files of app:2 with archives")


def test_the_fields_of_members(session: StoreSession) -> None:
    (row,) = session.rows(
        f'files of app:1 with archives where path = "{CLASSES[1]}" select directory, name, type, size, archive, depth,'
        " layer_index, image_name, mtime"
    )
    assert row["directory"] == CLASSES[1].rpartition("/")[0]
    assert (row["name"], row["type"], row["size"], row["archive"]) == ("JndiLookup.class", "file", 5, "/app/fat.jar")
    assert (row["depth"], row["layer_index"], row["image_name"]) == (2, 0, "app:1")
    assert row["mtime"] == 1_704_164_646 * 10**9
    (row,) = session.rows('files of app:1 with archives where path like "*!/z" select mode, size, depth')
    assert tuple(row.values()) == ("0640", 3000, 1)


def test_the_files_of_the_image_are_listed_too(session: StoreSession) -> None:
    plain = paths(session, "files of app:1")
    assert paths(session, "files of app:1 with archives where depth = 0") == plain
    assert paths(session, "archive_files of app:1 where archive is unknown") == plain


def test_images_with_a_class_in_some_archive(session: StoreSession) -> None:
    rows = session.rows(
        'images where name like "app:*" and any archive_files where name like "log4j-core*" select name'
    )
    assert [row["name"] for row in rows] == ["app:1"]


def test_a_damaged_archive_is_an_error_and_the_others_are_listed(session: StoreSession) -> None:
    statement = "files of broken:1 with archives where depth > 0 select path"
    assert session.error_codes(statement) == {"archive"}
    assert "/b.jar!/org/apache/JndiLookup.class" in [row["path"] for row in session.rows(statement)]
    statement = "images where name = broken:1 and no archive_files where name = absent select name"
    assert session.rows(statement) == []
    assert session.error_codes(statement) == {"archive"}


@pytest.mark.parametrize(
    ("content", "name", "limits", "message"),
    [
        (make_zip({f"{at}": b"" for at in range(30)}), "a.zip", ArchiveLimits(max_members=20), "more than 20 members"),
        (make_zip({"b.jar": bytes(5000)}), "a.jar", ArchiveLimits(max_bytes=1000), "more than 1,000 bytes"),
        (FAT, "a.jar", ArchiveLimits(max_depth=1), "more than 1 archives"),
        (make_zip({"a": b"a"}), "a.zip", ArchiveLimits(max_directory=10), "too large"),
        (make_tar({"b.jar": bytes(5000)}), "a.tar", ArchiveLimits(max_bytes=1000), "more than 1,000 bytes"),
        (make_tar({"a": b"a" * 5000})[:2000], "a.tar", None, "truncated"),
        (pack(make_tar({"a": b"a" * 5000}), "gzip")[:-20], "a.tgz", None, "a.tgz"),
        (DAMAGED, "a.jar", None, "a.jar"),
    ],
)
def test_limits_and_damage(content: bytes, name: str, limits: ArchiveLimits | None, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        list(list_members(io.BytesIO(content), name, limits))


def test_a_zip_archive_that_contains_itself_ends_at_the_limit() -> None:
    content = b"x"
    for _ in range(12):
        content = make_zip({"again.zip": content})
    with pytest.raises(Malformed, match="inside more than 8 archives"):
        list(list_members(io.BytesIO(content), "again.zip"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_paths_stay_below_their_archive(name: str) -> None:
    (member,) = list_members(io.BytesIO(make_zip({name: b""})), "a.zip")
    assert member.path == name.lstrip("/")


def test_the_words_are_short_for_a_table(session: StoreSession) -> None:
    for text in ("files of app:1 with archives", "files of app:1 in store with archives where depth > 1"):
        (statement,) = session.session.parse(text)
        assert parse(unparse(statement), session.session.vocabulary) == (statement,)
    with pytest.raises(ImqError, match="packages have no archives"):
        session.rows("packages of app:1 with archives")
