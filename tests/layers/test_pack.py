"""Packing trees: reproducible and complete, with errors for unreadable files."""

from __future__ import annotations

import io
import os
import shutil
import socket
import stat
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imq.engine.layers.pack import pack_tree
from imq.engine.layers.tar_entry import TarEntry
from imq.engine.layers.tar_walker import TarWalker
from imq.grammar.errors import ImqError, NotFound

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
AS_ROOT = os.geteuid() == 0


def packed(root: object, **options: object) -> bytes:
    return b"".join(map(bytes, pack_tree(str(root), **options)))


def entries_of(archive: bytes) -> dict[str, TarEntry]:
    found: list[TarEntry] = []
    walker = TarWalker(found.append)
    walker.feed(archive)
    walker.finish()
    return {entry.path: entry for entry in found}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0\n")
    os.utime(root / "etc/passwd", ns=(0, 1_700_000_000_999_999_999))
    (root / "setuid").write_bytes(b"x" * 700_001)
    (root / "setuid").chmod(0o4755)
    (root / "empty").touch()
    os.link(root / "etc/passwd", root / "hard")
    (root / "link").symlink_to("etc/passwd")
    (root / "far").symlink_to("t" * 300)
    os.link(root / "link", root / "same-link", follow_symlinks=False)
    os.mkfifo(root / "fifo")
    (root / "ü").write_text("x")
    with open(os.fsencode(root) + b"/raw-\xff", "wb") as file:
        file.write(b"raw")
    (root / ("d" * 120)).mkdir()
    (root / ("d" * 120) / ("f" * 120)).write_text("long")
    return root


def test_all_files_are_packed(tree):
    archive = packed(tree)
    found = entries_of(archive)
    assert list(found) == sorted(found, key=lambda path: [os.fsencode(name) for name in path.split("/")])
    assert found["etc"].type == "directory"
    assert found["etc/passwd"].mtime == 1_700_000_000 * 10**9
    assert (found["setuid"].size, found["setuid"].mode) == (700_001, 0o4755)
    assert (found["hard"].type, found["hard"].link_target) == ("link", "etc/passwd")
    assert (found["link"].type, found["link"].link_target) == ("symlink", "etc/passwd")
    assert (found["same-link"].type, found["same-link"].link_target) == ("link", "link")
    assert found["far"].link_target == "t" * 300
    assert found["fifo"].type == "fifo"
    assert {"ü", "raw-\udcff", "d" * 120 + "/" + "f" * 120} <= set(found)
    assert {(entry.uid, entry.gid, entry.uname) for entry in found.values()} == {(os.getuid(), os.getgid(), "")}


def test_gnu_tar_extracts_the_same_tree(tree, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["tar", "-C", target, "-xpf", "-"], input=packed(tree), check=True)
    assert packed(target) == packed(tree)


def test_copies_in_another_order_give_the_same_bytes(tree, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", tree, copy], check=True)
    assert packed(copy) == packed(tree) == packed(str(tree) + "/")


def test_headers_are_plain_ustar_where_possible(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    archive = packed(tmp_path)
    assert len(archive) == 512 + 512 + 1024
    assert archive[257:265] == b"ustar\x0000"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    tree=st.recursive(
        st.binary(max_size=2000),
        lambda inner: st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1, max_size=40).filter(
                lambda name: name not in (".", "..")
            ),
            inner,
            max_size=4,
        ),
        max_leaves=12,
    ).filter(lambda tree: isinstance(tree, dict))
)
def test_any_tree(tree, tmp_path):
    root = tmp_path / "any"
    shutil.rmtree(root, ignore_errors=True)
    expected: dict[str, bytes | None] = {}

    def make(at: str, below: str, contents: dict[str, object]) -> None:
        os.mkdir(at)
        for name, content in contents.items():
            if isinstance(content, bytes):
                with open(os.path.join(at, name), "wb") as file:
                    file.write(content)
                expected[below + name] = content
            else:
                expected[below + name] = None
                make(os.path.join(at, name), below + name + "/", content)

    make(str(root), "", tree)
    with tarfile.open(fileobj=io.BytesIO(packed(root))) as archive:
        found = {member.name: reader.read() if (reader := archive.extractfile(member)) else None for member in archive}
    assert found == expected


def test_sockets_are_left_out(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert packed(tmp_path) == bytes(1024)


def test_extended_attributes(tmp_path):
    (tmp_path / "file").write_text("x")
    os.setxattr(tmp_path / "file", "user.note", b"\xff\x00 binary\n")
    expected = [("user.note", b"\xff\x00 binary\n")]
    if AS_ROOT:
        os.setxattr(tmp_path / "file", "security.capability", CAPABILITY)
        os.setxattr(tmp_path / "file", "trusted.overlay.opaque", b"y")
        expected.insert(0, ("security.capability", CAPABILITY))
    assert list(entries_of(packed(tmp_path))["file"].xattrs) == expected


@pytest.mark.skipif(not AS_ROOT, reason="only root makes devices")
def test_devices(tmp_path):
    os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(tmp_path / "disk", 0o660 | stat.S_IFBLK, os.makedev(254, 300))
    found = entries_of(packed(tmp_path))
    assert (found["null"].type, found["null"].device) == ("char", (1, 3))
    assert (found["disk"].type, found["disk"].device) == ("block", (254, 300))


def test_a_missing_root():
    with pytest.raises(NotFound, match="no such directory: /nowhere/at/all"):
        packed("/nowhere/at/all")


@pytest.mark.parametrize("grow", [True, False])
def test_a_file_that_changes_size_while_it_is_read(tmp_path, grow):
    file = tmp_path / "log"
    file.write_bytes(b"x" * 2_000_000)
    pieces = pack_tree(str(tmp_path))
    next(pieces)
    with open(file, "ab") as writer:
        writer.truncate(3_000_000 if grow else 1_000_000)
    with pytest.raises(ImqError, match="log changed while it was read") as caught:
        list(pieces)
    assert caught.value.code == "changed"


def test_a_file_removed_while_the_tree_is_read_is_an_error(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 2_000_000)
    (tmp_path / "b").touch()
    pieces = pack_tree(str(tmp_path))
    next(pieces)
    (tmp_path / "b").unlink()
    with pytest.raises(ImqError, match="b changed while it was read"):
        list(pieces)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_unreadable_files_are_named(tmp_path, kind):
    secret = tmp_path / "secret"
    if kind == "file":
        secret.touch()
    else:
        secret.mkdir()
    secret.chmod(0)
    tmp_path.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # root may read everything, so somebody else tries
        message = b"nothing was raised"
        try:
            if AS_ROOT:
                os.chdir(tmp_path)
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            packed(".")
        except ImqError as error:
            message = f"{error.code} {error.message}".encode()
        finally:
            os.write(writer, message)
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as answer:
        said = answer.read().decode()
    assert said.startswith("unreadable cannot read ./secret")
    assert said.endswith("Permission denied")
    secret.chmod(0o700)


def test_trees_deeper_than_the_recursion_limit(tmp_path):
    directory = str(tmp_path)
    for _ in range(1200):
        directory += "/d"
        os.mkdir(directory)
    assert len(entries_of(packed(tmp_path))) == 1200
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)
