"""Unpacking gives the same tree as umoci, as root and as a user, with and without openat2."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers.remove_tree import remove_tree
from imq.engine.layers.rooted_fs import RootedDirectory
from imq.engine.layers.unpack import UnpackResult, unpack_layers
from imq.engine.oci import media_types
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import ImqError
from layers.stacks import MOMENT, archive, describe_tree, folder, layer, link, member, stacked, symlink
from support.images import Image, Layer, Layout
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.layers.layer_stack import StackedLayer

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners and devices")

LONG = "long/" + "n" * 200 + "/" + "m" * 150
STACK = (
    layer(
        folder("./", 0o755),
        folder("./etc/", 0o755),
        member("./etc/passwd", b"root\n" * 200_000, mode=0o644),
        member("./etc/shadow", b"", mode=0o000, gid=42),
        folder("bin", 0o755),
        member("bin/su", b"\x7fELF", mode=0o4755),
        member("bin/wall", b"\x7fELF", mode=0o2755, gid=5),
        member("bin/caps", b"1", mode=0o755, xattrs={"user.note": "kept", "user.more": "x" * 500}),
        folder("usr/", 0o755),
        folder("usr/lib/", 0o755, mtime=1_234_567_890.25),
        symlink("lib", "usr/lib"),
        member("lib/libc.so", b"\x7fELF" * 100_000),
        symlink("usr/lib64", "/usr/lib"),
        link("usr/lib/libc.so.6", "usr/lib/libc.so"),
        folder("tmp", 0o1777),
        folder("closed", 0o500, uid=7, gid=8, xattrs={"user.why": "closed"}),
        member("closed/inside", b"in it", mode=0o400, uid=7, gid=8),
        folder("gone"), member("gone/one", b"1"), folder("gone/two"), member("gone/two/three", b"3"),
        folder("opaque"), member("opaque/lower", b"lower"), folder("opaque/deep"), member("opaque/deep/lower", b"-"),
        folder("becomes-file"), member("becomes-file/x", b"x"),
        member("becomes-folder", b"x"),
        folder("long"), folder(LONG.rpartition("/")[0]), member(LONG, b"long"),
        member("caf\u00e9", b"accent"), member(os.fsdecode(b"latin-\xe9"), b"accent"),
        member("fifo", kind=tarfile.FIFOTYPE, mode=0o620),
        packed="gzip",
    ),
    layer(
        folder("dev", 0o755),
        member("dev/null", kind=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3),
        member("dev/disk", kind=tarfile.BLKTYPE, mode=0o660, devmajor=8, devminor=1, gid=6),
        symlink("link-owned", "nowhere", uid=12, gid=13),
        link("across", "etc/passwd"),
        folder("usr/lib/", 0o755, mtime=1_300_000_000),
        member("lib/new.so", b"new", mode=0o755),
        member(".wh.gone"),
        folder("gone"), member("gone/again", b"again"),
        member("opaque/upper", b"upper"), folder("opaque/deep"), member("opaque/deep/upper", b"-"),
        folder("opaque"), member("opaque/.wh..wh..opq"),
        member("becomes-file", b"file"),
        folder("becomes-folder"), member("becomes-folder/y", b"y"),
        packed="zstd",
    ),
    layer(
        member("etc/.wh.shadow"), member("etc/.wh.never-there"), member("not/there/.wh.x"),
        folder("etc"), member("etc/passwd", b"changed\n", uid=1, gid=2), member("usr/lib64/through", b"t"),
        packed="",
    ),
)  # fmt: skip


CLIMBING = (
    layer(folder("etc"), member("etc/passwd", b"root"), folder("usr"), folder("usr/lib"), folder("opt/app/bin")),
    layer(
        symlink("lib", "../usr/lib"),
        member("lib/libc.so", b"\x7fELF"),
        symlink("opt/app/etc", "../../../../etc"),
        member("opt/app/etc/hosts", b"hosts"),
        symlink("opt/app/root", "/../.."),
        member("opt/app/root/usr/lib/one", b"1"),
        link("opt/app/passwd", "../etc/passwd"),
        symlink("nowhere", "../../missing"),
        link("again", "nowhere"),
    ),
    layer(member("lib/.wh.one"), member("opt/app/etc/.wh.hosts")),
)
"""Links whose targets climb above the root, as layers in the wild have them."""


@pytest.fixture
def open_folder() -> Iterator[pathlib.Path]:
    """A folder that every user may write to; folders of pytest are private."""
    made = tempfile.mkdtemp()
    os.chmod(made, 0o777)
    yield pathlib.Path(made)
    remove_tree(made)


def layout_of(path: pathlib.Path, stack: tuple[StackedLayer, ...]) -> str:
    """Write the stack as an image layout, and return its umoci name."""
    types = {"": media_types.OCI_LAYER, "gzip": media_types.OCI_LAYER_GZIP, "zstd": media_types.OCI_LAYER_ZSTD}
    made = []
    for one in stack:
        with one.open() as source:
            made.append(Layer(source.read(1 << 30), one.diff_id, types[one.compression], 0))
    Layout(path).add(Image(made), "1")
    return f"{path}:1"


def gzipped(stack: tuple[StackedLayer, ...]) -> tuple[StackedLayer, ...]:
    """The same layers for umoci 0.4, which does not support zstd."""
    from imq.engine.layers.zstd import zstd

    found = []
    for one in stack:
        with one.open() as source:
            blob = source.read(1 << 30)
        if one.compression == "zstd":
            one = stacked(zstd.decompress(blob), "gzip")  # noqa: PLW2901
        found.append(one)
    return tuple(found)


def as_nobody(stack: tuple[StackedLayer, ...], target: str) -> None:
    """Unpack in a process of an unprivileged user."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            unpack_layers(stack, target)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def unpack_with_umoci(path: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """Return the tree of umoci, without the folders that it creates for the targets of whiteouts."""
    return {name: said for name, said in describe_tree(path).items() if name not in ("not", "not/there")}


def without(tree: dict[str, tuple[object, ...]], name: str, place: int) -> dict[str, tuple[object, ...]]:
    """Return a description of a tree without one field of one file, in which umoci differs from the layers."""
    said = tree[name]
    return {**tree, name: (*said[:place], *said[place + 1 :])}


MODE, TIME, ATTRIBUTES = 0, 4, 7


@as_root
@pytest.mark.parametrize("kernel", [True, False], ids=["openat2", "descriptors"])
def test_root_unpacks_the_same_tree_as_umoci(tmp_path, kernel):
    require_programs("umoci")
    image = layout_of(tmp_path / "layout", gzipped(STACK))
    subprocess.run(["umoci", "raw", "unpack", "--image", image, tmp_path / "theirs"], check=True, capture_output=True)
    unpack_layers(STACK, str(tmp_path / "ours"), use_openat2=kernel)
    ours, theirs = describe_tree(tmp_path / "ours"), unpack_with_umoci(tmp_path / "theirs")
    assert ours["across"][3] == 1_000_000
    assert ours["opaque/deep"][TIME] == MOMENT * 10**9  # which umoci gives it before it removes what is hidden there
    assert without(ours, "opaque/deep", TIME) == without(theirs, "opaque/deep", TIME)


@as_root
def test_climbing_links_resolve_as_in_umoci(tmp_path):
    require_programs("umoci")
    image = layout_of(tmp_path / "layout", CLIMBING)
    subprocess.run(["umoci", "raw", "unpack", "--image", image, tmp_path / "theirs"], check=True, capture_output=True)
    unpack_layers(CLIMBING, str(tmp_path / "ours"))
    ours, theirs = describe_tree(tmp_path / "ours"), describe_tree(tmp_path / "theirs")
    assert {"usr/lib/libc.so", "opt/app/passwd", "again"} <= ours.keys()
    assert not {"usr/lib/one", "etc/hosts"} & ours.keys()
    for name in ours:
        assert ours[name][:4] == theirs[name][:4], name
    assert ours.keys() == theirs.keys()


@as_root
@pytest.mark.parametrize(
    "layers",
    [
        ([symlink("a", "/"), folder("a/a"), folder("a/a", 0o700)],),
        ([symlink("a", "/")], [folder("a/a", 0o700), folder("a/a")]),
        ([symlink("a", "b")], [folder("a/b"), folder("b/b", 0o700), folder("a/b"), member("a/b/c", b"1")]),
        ([symlink("a", "b"), symlink("b/a", "/")], [folder("b/a/b"), folder("b/a/b/b"), folder("b/a/b/b", 0o700)]),
    ],
    ids=["one layer", "two layers", "a folder by two paths", "a link behind a link"],
)  # fmt: skip
def test_folders_listed_twice_behind_links_are_those_of_umoci(tmp_path, layers):
    """The first entry of the folder can replace the link, so that the second leads elsewhere."""
    require_programs("umoci")
    stack = tuple(layer(*members) for members in layers)
    image = layout_of(tmp_path / "layout", stack)
    subprocess.run(["umoci", "raw", "unpack", "--image", image, tmp_path / "theirs"], check=True, capture_output=True)
    unpack_layers(stack, str(tmp_path / "ours"))
    ours, theirs = describe_tree(tmp_path / "ours"), describe_tree(tmp_path / "theirs")
    assert {name: said[:4] for name, said in ours.items()} == {name: said[:4] for name, said in theirs.items()}


@as_root
def test_a_user_unpacks_the_same_tree_as_umoci_rootless(open_folder):
    require_programs("umoci")
    image = layout_of(open_folder / "layout", gzipped(STACK))
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "umoci", "raw", "unpack"]
    command += ["--rootless", "--image", image, open_folder / "theirs"]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    as_nobody(STACK, str(open_folder / "ours"))
    ours, theirs = describe_tree(open_folder / "ours"), unpack_with_umoci(open_folder / "theirs")
    assert ours["closed"][ATTRIBUTES] == (("user.why", b"closed"),)  # umoci sets the mode first, which forbids it
    ours, theirs = (without(tree, "closed", ATTRIBUTES) for tree in (ours, theirs))
    assert [ours[name][MODE] for name in ("bin/su", "bin/wall")] == ["0o100755", "0o100755"]  # umoci lends rights
    ours, theirs = (without(without(tree, "bin/su", MODE), "bin/wall", MODE) for tree in (ours, theirs))
    assert without(ours, "opaque/deep", TIME) == without(theirs, "opaque/deep", TIME)


@as_root
def test_attributes_that_only_root_may_set_are_skipped(tmp_path):
    capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    stack = (layer(member("ping", b"1", mode=0o755, uid=1, xattrs={"security.capability": capability})),)
    unpack_layers(stack, str(tmp_path / "root"))
    assert os.getxattr(tmp_path / "root" / "ping", "security.capability") == capability.encode()
    found = unpack_layers(stack, str(tmp_path / "user"), privileged=False)
    assert found == UnpackResult(1, 1, (("attributes that only root may set", 1),))
    assert os.listxattr(tmp_path / "user" / "ping") == []
    assert os.stat(tmp_path / "user" / "ping").st_uid == 0


def test_attributes_of_the_host_are_not_set(tmp_path):
    names = ("user.overlay.opaque", "trusted.overlay.redirect", "security.selinux")
    unpack_layers((layer(folder("a", xattrs=dict.fromkeys(names, "y"))),), str(tmp_path / "made"))
    assert os.listxattr(tmp_path / "made" / "a") == []


def test_a_device_without_root_is_an_empty_file(tmp_path):
    stack = (layer(member("null", kind=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)),)
    found = unpack_layers(stack, str(tmp_path / "made"), privileged=False)
    assert found.skipped == (("devices, replaced by empty files", 1),)
    about = os.stat(tmp_path / "made" / "null")
    assert (oct(about.st_mode), about.st_size, about.st_mtime) == ("0o100666", 0, MOMENT)


def test_a_user_creates_no_setuid_files(tmp_path):
    modes = {"setuid": 0o4755, "setgid": 0o2755, "both": 0o6711, "plain": 0o755, "sticky": 0o1644}
    stack = (layer(*(member(name, mode=mode) for name, mode in modes.items()), folder("shared", 0o2775)),)
    found = unpack_layers(stack, str(tmp_path / "user"), privileged=False)
    assert found.skipped == (("setuid or setgid files, without these bits", 3),)
    made = {name: os.stat(tmp_path / "user" / name).st_mode & 0o7777 for name in (*modes, "shared")}
    assert made == {name: mode & ~0o6000 for name, mode in modes.items()} | {"shared": 0o2775}


@as_root
def test_root_creates_setuid_files(tmp_path):
    found = unpack_layers((layer(member("su", mode=0o4755)),), str(tmp_path / "root"), privileged=True)
    assert found.skipped == ()
    assert os.stat(tmp_path / "root" / "su").st_mode & 0o7777 == 0o4755


def test_the_umask_does_not_change_modes(tmp_path):
    stack = (layer(member("open", mode=0o666), member("shut", mode=0o600), folder("all", 0o777)),)
    before = os.umask(0o077)
    try:
        unpack_layers(stack, str(tmp_path / "made"))
    finally:
        os.umask(before)
    assert [oct(os.stat(tmp_path / "made" / name).st_mode & 0o7777) for name in ("open", "shut", "all", ".")] == [
        "0o666", "0o600", "0o777", "0o755",
    ]  # fmt: skip


def test_the_setgid_bit_of_the_parent_is_not_inherited(tmp_path):
    os.chmod(tmp_path, 0o2777)
    unpack_layers((layer(folder("a"), member("a/b")),), str(tmp_path / "made"))
    assert [said[0] for said in describe_tree(tmp_path / "made").values()] == ["0o40755", "0o40755", "0o100644"]


@pytest.mark.parametrize("version", ["", "0.0", "0.1", "1.0"], ids=lambda version: version or "gnu")
def test_sparse_files(tmp_path, version):
    require_programs("tar")
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "holes", "wb") as target:
        for place in range(60):
            target.seek(place * 1_000_000)
            target.write(bytes([place + 1]) * 5000)
        target.truncate(70_000_000)
    with open(source / "empty", "wb") as target:
        target.truncate(1 << 30)
    kind = ["--format=pax", f"--sparse-version={version}"] if version else ["--format=gnu"]
    made = subprocess.run(["tar", "-C", source, *kind, "-S", "-c", "."], check=True, capture_output=True).stdout
    unpack_layers((stacked(made, "gzip"),), str(tmp_path / "made"))
    assert (tmp_path / "made" / "holes").read_bytes() == (source / "holes").read_bytes()
    assert os.stat(tmp_path / "made" / "empty").st_size == 1 << 30
    for name in ("holes", "empty"):
        assert os.stat(tmp_path / "made" / name).st_blocks * 512 < 2_000_000


def test_a_whiteout_does_not_hide_files_of_its_own_layer(tmp_path):
    lower = layer(folder("d"), member("d/low"), member("f"), folder("d/sub"), member("d/sub/low"))
    upper = layer(member("f", b"new"), member(".wh.f"), member("d/sub/new"), member("d/new"), member(".wh.d"))
    unpack_layers((lower, upper), str(tmp_path / "made"))
    assert set(describe_tree(tmp_path / "made")) == {".", "d", "d/new", "d/sub", "d/sub/new", "f"}


def test_metadata_of_aufs_is_skipped(tmp_path):
    members = folder(".wh..wh.plnk"), member(".wh..wh.plnk/1.2", b"x"), member(".wh..wh.aufs"), member("a")
    unpack_layers((layer(*members),), str(tmp_path / "made"))
    assert set(describe_tree(tmp_path / "made")) == {".", "a"}


@pytest.mark.parametrize("packed", ["", "gzip", "zstd"])
def test_a_wrong_diff_id_removes_the_folder(tmp_path, packed):
    good = archive([member("a", b"good")])
    forged = stacked(archive([member("a", b"evil")]), packed)
    with pytest.raises(ImqError) as caught:
        unpack_layers((stacked(good, packed), forged.replace(diff_id=stacked(good).diff_id)), str(tmp_path / "made"))
    assert caught.value.code == "diff-id-mismatch"
    assert os.listdir(tmp_path) == []


def test_folders_can_be_reopened_beyond_the_descriptor_limit(tmp_path):
    os.mkdir(tmp_path / "root")
    for kernel in (True, False):
        with RootedDirectory(str(tmp_path / "root"), 100, use_openat2=kernel) as beneath:
            deep = [f"{way}/" + "/".join("d" * 99) for way in "abcdef"]
            for path in deep:
                assert beneath.resolve(path, lambda _: None) == path
            for path in deep:
                os.close(beneath.create_file(path, f"file-{kernel}", 0o600))
            assert len(os.listdir("/proc/self/fd")) < 300


def test_the_verb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout_of(tmp_path / "store", STACK)
    session = Session(SessionContext(str(tmp_path / "store"), {}, clock=lambda: 0))

    def run(text: str) -> list[tuple[object, ...]]:
        return [row for result in session.run(text) for row in result.rows]

    def refusal(text: str) -> str:
        with pytest.raises(ImqError) as caught:
            run(text)
        return caught.value.code

    list(session.run("reindex"))
    assert run('export "1" to "made" dry run')[0][1] == str(tmp_path / "made")
    assert not os.path.exists("made")
    os.mkdir("made")
    run('export "1" to "made"')
    assert os.path.exists("made/etc/passwd")
    assert refusal('export "1" to "made"') == "exists"
    assert refusal('export "1" to "-"') == "operand"
    assert refusal('export "1"') == "operand"
    with open("made/extra", "w"):
        pass
    run('export "1" to "made" force')
    assert not os.path.exists("made/extra")
    assert sorted(os.listdir(tmp_path)) == ["made", "store"]
    run('export images where id is known to "made for {{.os}}"')
    assert os.path.exists("made for linux/etc/passwd")
    assert refusal('export images where id is unknown to "{{.os}}"') == "nothing"
    shutil.rmtree("made for linux")
    shutil.rmtree("store/blobs/sha256")
    result = [row for result in session.run('export "1" to "other"') for row in result.rows]
    assert "blob-missing" in result[0]
    assert sorted(os.listdir(tmp_path)) == ["made", "store"]
