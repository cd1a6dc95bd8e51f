"""What files of images have besides their entries: owners, where links lead, machines, capabilities."""

from __future__ import annotations

import hashlib
from struct import pack
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.packages.elf_machine import find_machine
from imq.engine.sources.contents.capabilities import show_capabilities
from imq.engine.sources.contents.reading import ContentFields
from layer_index.test_image_contents import STATUS, column, make_layer
from layers.stacks import folder, link, member, symlink
from store.support.stores import StoreSession
from support.images import Image, Layout

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

MD5 = "0cc175b9c0f1b6a831c399e269772661"
"""The checksum of the content `a`."""


def elf(machine: int, *, bits: int = 64, order: str = "<") -> bytes:
    """Return the first bytes of an executable."""
    head = b"\x7fELF" + bytes((bits // 32, 1 if order == "<" else 2, 1)) + bytes(9)
    return head + pack(f"{order}HH", 2, machine) + bytes(100)


def capability(effective: int, permitted: int, inheritable: int = 0, revision: int = 2, root: int = -1) -> bytes:
    words = (permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF, permitted >> 32, inheritable >> 32)
    return pack("<I4I", revision << 24 | effective, *words) + (pack("<I", root) if root >= 0 else b"")


BASE = make_layer(
    folder("usr"), folder("usr/bin"), folder("usr/lib"), symlink("bin", "usr/bin"), symlink("lib", "/usr/lib"),
    member("usr/bin/bash", elf(62), mode=0o755), member("usr/bin/changed", b"a"),
    member("usr/bin/own", b"x", mode=0o755),
    member("usr/lib/libarm.so.1", elf(183)), symlink("usr/lib/libarm.so", "libarm.so.1"),
    link("usr/bin/hard", "usr/bin/bash"), member("usr/bin/ping", elf(62), mode=0o755, xattrs={
        "security.capability": capability(1, 1 << 13).decode("latin-1")}),
    member("var/lib/dpkg/status", STATUS % b"3.0"),
    member("var/lib/dpkg/info/bash.list", b"/.\n/bin\n/bin/bash\n/bin/changed\n/usr\n/usr/share\n/usr/bin/hard\n"),
    member("var/lib/dpkg/info/bash.md5sums", f"{MD5}  bin/bash\n{MD5}  bin/changed\n".encode()),
    member("var/lib/dpkg/info/openssl:amd64.list", b"/.\n/usr\n/usr/lib\n/lib/libarm.so.1\n/lib/libarm.so\n"),
    symlink("loop", "loop2"), symlink("loop2", "loop"), symlink("chain", "lib/../../chain2"), symlink("chain2", "/lib"),
    symlink("dead", "nowhere/x"), symlink("usr/lib/up", "../../../../bin/bash"), symlink("through", "usr/bin/own/x"),
    symlink("gone", "usr/lib/gone"), member("usr/lib/gone", b""), symlink("self", "."),
)  # fmt: skip
TOP = make_layer(
    member("usr/lib/.wh.gone"), symlink("dead", "bin/added"), member("usr/bin/added", b"#!", mode=0o755),
    member("var/lib/dpkg/info/.wh.openssl:amd64.list"),
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("facts") / "store"
    layout = Layout(path)
    layout.add(Image([BASE]), "app:1")
    layout.add(Image([BASE, TOP]), "app:2")
    return str(path)


@pytest.fixture
def store(root: str) -> Iterator[StoreSession]:
    with StoreSession(root) as session:
        yield session


def by_path(rows: list[dict[str, Any]], *names: str) -> dict[str, Any]:
    return {row["path"]: row[names[0]] if len(names) == 1 else tuple(row[name] for name in names) for row in rows}


def test_packages_own_paths_through_linked_folders(store: StoreSession) -> None:
    rows = by_path(store.rows("files of app:1 where package is known select path, package, package_checksum"),
                   "package", "package_checksum")  # fmt: skip
    checksum = f"md5:{MD5}"
    assert rows == {
        "/bin": ("bash", None), "/usr": ("bash", None), "/usr/bin/bash": ("bash", checksum),
        "/usr/bin/changed": ("bash", checksum), "/usr/bin/hard": ("bash", None), "/usr/lib": ("openssl", None),
        "/usr/lib/libarm.so": ("openssl", None), "/usr/lib/libarm.so.1": ("openssl", None),
    }  # fmt: skip


def test_a_list_that_an_upper_layer_deletes_does_not_count(store: StoreSession) -> None:
    condition = 'where path like "/usr/lib/libarm*" and package is unknown select image_name, path'
    assert store.rows(f"files of app:1 {condition}") == []
    paths = column(store.rows(f"files of (images where name like 'app:*') {condition}"), "path")
    assert paths == ["/usr/lib/libarm.so", "/usr/lib/libarm.so.1"]


def test_executables_of_no_package(store: StoreSession) -> None:
    condition = "type = file and permissions like '*x' and package is unknown"
    assert column(store.rows(f"files of app:1 where {condition}"), "path") == ["/usr/bin/own", "/usr/bin/ping"]
    query = "images where any files where package is unknown and name = added select name"
    assert column(store.rows(query), "name") == ["app:2"]


def test_owners_have_the_names_of_the_image(tmp_path: pathlib.Path) -> None:
    lower = make_layer(
        member("etc/passwd", b"# users\nroot:x:0:0::/:\ntoor:x:0:0::/:\napp:x:1000:1000::/:\n+nis\nbad:x:z\n"),
        member("etc/group", b"root:x:0:\nstaff:x:1000:app\n"), member("a", uid=1000, gid=1000), member("b", uid=7),
    )  # fmt: skip
    upper = make_layer(member("etc/passwd", b"root:x:0:0::/:\nnew:x:1000:1000::/:"), member("c", gid=9))
    layout = Layout(tmp_path / "store")
    layout.add(Image([lower]), "app:1")
    layout.add(Image([lower, upper]), "app:2")
    with StoreSession(tmp_path / "store") as session:
        names = 'where directory = "/" and type = file select path, owner, group'
        assert by_path(session.rows(f"files of app:1 {names}"), "owner", "group") == {
            "/a": ("app", "staff"), "/b": (None, "root"),
        }  # fmt: skip
        assert by_path(session.rows(f"files of app:2 {names}"), "owner", "group") == {
            "/a": ("new", "staff"), "/b": (None, "root"), "/c": ("root", None),
        }  # fmt: skip
        nobody = "files of app:2 where owner is unknown or group is unknown"
        assert column(session.rows(nobody), "path") == ["/b", "/c"]


def test_modified_files_of_packages(store: StoreSession) -> None:
    rows = by_path(store.rows("files of app:1 where modified is known select path, modified"), "modified")
    assert rows == {"/usr/bin/bash": True, "/usr/bin/changed": False}  # bash is an ELF header, its checksum that of `a`
    rows = by_path(store.rows("files of app:1 where modified select path, package, sha256"), "package")
    assert rows == {"/usr/bin/bash": "bash"}
    rows = by_path(store.rows("files of app:2 where path = /usr/bin/own select path, modified, content"),
                   "modified", "content")  # fmt: skip
    assert rows == {"/usr/bin/own": (None, "x")}


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_checksums_of_packages_compare_by_their_own_algorithm(algorithm: str) -> None:
    good = f"{algorithm}:{hashlib.new(algorithm, b'a').hexdigest()}"
    fields = ContentFields(frozenset({"modified"}), {1: good, 2: good})
    for row, content in ((1, b"a"), (2, b"b"), (3, b"c")):
        for sink in fields.open_sinks(row):
            sink.write(content)
    assert [(row, modified) for _, _, modified, _, row in fields.take_rows()] == [(1, False), (2, True), (3, None)]


def test_links_lead_within_the_image(store: StoreSession) -> None:
    rows = by_path(
        store.rows("files of app:1 where type = symlink select path, resolved, broken"), "resolved", "broken"
    )
    assert rows == {
        "/bin": ("/usr/bin", False), "/lib": ("/usr/lib", False), "/usr/lib/libarm.so": ("/usr/lib/libarm.so.1", False),
        "/loop": (None, True), "/loop2": (None, True), "/chain": ("/usr/lib", False), "/chain2": ("/usr/lib", False),
        "/dead": ("/nowhere/x", True), "/usr/lib/up": ("/usr/bin/bash", False), "/through": ("/usr/bin/own/x", True),
        "/gone": ("/usr/lib/gone", False), "/self": ("/", False),
    }  # fmt: skip


def test_upper_layers_break_links_and_repair_them(store: StoreSession) -> None:
    broken = column(store.rows("files of app:2 where broken"), "path")
    assert broken == ["/gone", "/loop", "/loop2", "/through"]
    assert store.rows("files of app:1 where type = file and (broken or resolved is known)") == []


def test_links_of_several_images_are_apart(store: StoreSession) -> None:
    rows = store.rows("files of (images where name like 'app:*') where path = /dead select image_name, resolved")
    assert {row["image_name"]: row["resolved"] for row in rows} == {"app:1": "/nowhere/x", "app:2": "/usr/bin/added"}


def test_the_machine_of_executables_and_libraries(store: StoreSession) -> None:
    rows = by_path(store.rows("files of app:2 where machine is known select path, machine"), "machine")
    assert rows == {
        "/usr/bin/bash": "amd64", "/usr/bin/hard": "amd64", "/usr/bin/ping": "amd64", "/usr/lib/libarm.so.1": "arm64",
    }  # fmt: skip
    foreign = "files of app:1 where machine is known and machine != architecture of app:1"
    assert column(store.rows(foreign), "path") == ["/usr/lib/libarm.so.1"]
    assert len(store.rows("files of app:1 where machine = x86_64")) == 3


def test_a_file_that_its_layer_replaces_has_no_machine(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "store")
    layout.add(Image([make_layer(member("x", elf(62), mode=0o755), member("x", b"#!/bin/sh", mode=0o755))]), "app:1")
    with StoreSession(tmp_path / "store") as session:
        assert column(session.rows("files of app:1 select path, machine"), "machine") == [None]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (elf(62), "amd64"), (elf(62, bits=32), "amd64p32"), (elf(3, bits=32), "386"), (elf(40, bits=32), "arm"),
        (elf(183), "arm64"), (elf(21, order=">"), "ppc64"), (elf(21), "ppc64le"), (elf(22, order=">"), "s390x"),
        (elf(243), "riscv64"), (elf(8, bits=32, order=">"), "mips"), (elf(8), "mips64le"), (elf(258), "loong64"),
        (elf(9999), "elf-9999"), (elf(62)[:19], None), (b"#!/bin/sh and more than twenty bytes", None),
    ],
)  # fmt: skip
def test_machines_have_the_names_of_go(head: bytes, name: str | None) -> None:
    assert find_machine(head) == name


def test_capabilities(store: StoreSession) -> None:
    rows = by_path(store.rows("files of app:1 where capabilities is known select path, capabilities"), "capabilities")
    assert rows == {"/usr/bin/ping": "cap_net_raw=ep"}
    assert column(store.rows("files of app:1 where capabilities like '*net_raw*'"), "path") == ["/usr/bin/ping"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (capability(1, 1 << 10), "cap_net_bind_service=ep"),
        (capability(0, 1 << 10 | 1 << 13), "cap_net_bind_service,cap_net_raw=p"),
        (capability(1, 1 << 21, 1 << 12), "cap_net_admin=ei cap_sys_admin=ep"),
        (capability(1, 1 << 39, 1 << 39), "cap_bpf=eip"),
        (capability(1, 1 << 50), "50=ep"),
        (capability(1, 1 << 10, revision=3, root=1000), "cap_net_bind_service=ep [rootid=1000]"),
        (pack("<III", 1 << 24, 1 << 7, 0), "cap_setuid=p"),
        (b"", None), (capability(1, 1)[:-1], None), (capability(1, 1, revision=7), None),
    ],
)  # fmt: skip
def test_capabilities_are_shown_as_by_getcap(value: bytes, text: str | None) -> None:
    assert show_capabilities(value.hex()) == text
