"""Files outside the store: regular files are replaced atomically, others are written to directly."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from imq.engine import atomic_writer
from imq.engine.atomic_writer import classify_output, make_directories, open_output, rename_without_replacing

if TYPE_CHECKING:
    import pathlib


@pytest.fixture(params=["unnamed", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder on a file system with and without support for O_TMPFILE."""
    if request.param == "named":
        monkeypatch.setattr(atomic_writer, "_open_unnamed", lambda *_: None)
    made = tmp_path / "folder"
    made.mkdir()
    return made


def names(folder: pathlib.Path) -> list[str]:
    return sorted(os.listdir(folder))


def write(path: pathlib.Path, content: bytes = b"new", **options: bool) -> None:
    with open_output(str(path), **options) as file:
        file.write(content)
        assert file.size == len(content)


def test_a_new_file_has_the_mode_of_the_umask(folder: pathlib.Path) -> None:
    before = os.umask(0o027)
    try:
        write(folder / "made")
    finally:
        os.umask(before)
    assert (folder / "made").read_bytes() == b"new"
    assert stat.S_IMODE((folder / "made").stat().st_mode) == 0o640
    assert names(folder) == ["made"]


def test_the_mode_of_a_replaced_file_is_others_without_setuid(folder: pathlib.Path) -> None:
    path = folder / "made"
    path.write_bytes(b"old content")
    path.chmod(0o4751)
    write(path)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o751
    assert names(folder) == ["made"]


def test_a_private_file_is_readable_only_by_its_owner(folder: pathlib.Path) -> None:
    path = folder / "made"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write(path, private=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_the_old_file(folder: pathlib.Path) -> None:
    path = folder / "made"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), open_output(str(path)) as file:
        file.write(b"x" * (1 // 0))
    assert path.read_bytes() == b"old"
    assert names(folder) == ["made"]


def test_the_old_file_exists_until_the_new_one_is_complete(folder: pathlib.Path) -> None:
    path = folder / "made"
    path.write_bytes(b"old")
    with open_output(str(path)) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_without_replace_a_file_created_meanwhile_is_not_replaced(folder: pathlib.Path) -> None:
    path = folder / "made"
    with pytest.raises(FileExistsError), open_output(str(path), replace=False):
        path.write_bytes(b"of somebody else")
    assert path.read_bytes() == b"of somebody else"
    with pytest.raises(FileExistsError), open_output(str(path), replace=False):
        pytest.fail("the block is not entered")
    assert names(folder) == ["made"]


@pytest.mark.parametrize("target", ["real", "../elsewhere", "missing"])
def test_a_link_is_followed_and_not_replaced(folder: pathlib.Path, target: str) -> None:
    if target != "missing":
        (folder / target).write_bytes(b"old")
    os.symlink(target, folder / "one")
    os.symlink("one", folder / "two")
    write(folder / "two")
    assert os.readlink(folder / "one") == target
    assert os.readlink(folder / "two") == "one"
    assert (folder / target).read_bytes() == b"new"
    assert not (folder / target).is_symlink()


def test_a_loop_of_links_is_an_error(folder: pathlib.Path) -> None:
    os.symlink("two", folder / "one")
    os.symlink("one", folder / "two")
    with pytest.raises(OSError, match="symbolic links"), open_output(str(folder / "one")):
        pytest.fail("the block is not entered")
    assert names(folder) == ["one", "two"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_fifo_is_written_to(folder: pathlib.Path, linked: bool) -> None:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    path = fifo
    if linked:
        path = folder / "link"
        os.symlink("fifo", path)
    assert classify_output(str(path)) == "stream"
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append(fifo.read_bytes()))
    reader.start()
    write(path, b"through", replace=False)
    reader.join()
    assert came == [b"through"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_device_is_written_to(folder: pathlib.Path) -> None:
    node = folder / "null"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with open(node, "wb"):
            pass
    except PermissionError:
        pytest.skip("devices are root's to make, where they can be opened")
    before = node.stat()
    write(node)
    after = node.stat()
    assert (after.st_ino, after.st_rdev, after.st_mode) == (before.st_ino, before.st_rdev, before.st_mode)
    assert names(folder) == ["null"]


def test_an_open_file_of_the_process_is_written_to(folder: pathlib.Path) -> None:
    with open(folder / "redirected", "wb") as target:
        target.write(b"before, ")
        target.flush()
        assert classify_output(f"/dev/fd/{target.fileno()}") == "stream"
        os.symlink(f"/proc/self/fd/{target.fileno()}", folder / "stdout")
        write(folder / "stdout", b"after")
    assert (folder / "redirected").read_bytes() == b"before, after"


def test_other_files_in_the_folder_are_not_touched(folder: pathlib.Path) -> None:
    others = ["made.20240101.old", "made.1.part", "made.part", f"made.{os.getpid()}.part", f".imq-{'0' * 32}.part"]
    for name in others:
        (folder / name).write_bytes(name.encode())
    write(folder / "made")
    write(folder / "made", b"again")
    assert names(folder) == sorted([*others, "made"])
    assert all((folder / name).read_bytes() == name.encode() for name in others)


def test_a_folder_cannot_be_written(folder: pathlib.Path) -> None:
    (folder / "inner").mkdir()
    assert classify_output(str(folder / "inner")) == "folder"
    with pytest.raises(IsADirectoryError), open_output(str(folder / "inner")):
        pytest.fail("the block is not entered")


def test_created_folders_are_removed_after_a_failure(tmp_path: pathlib.Path) -> None:
    with make_directories(str(tmp_path / "a" / "b")):
        (tmp_path / "a" / "b" / "file").write_bytes(b"x")
    assert (tmp_path / "a" / "b" / "file").exists()
    with pytest.raises(ZeroDivisionError), make_directories(str(tmp_path / "a" / "c" / "d")):
        raise ZeroDivisionError
    assert names(tmp_path / "a") == ["b"]


def test_rename_without_replacing_keeps_an_existing_target(tmp_path: pathlib.Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError):
        rename_without_replacing(str(tmp_path / "one"), str(tmp_path / "two"))
    rename_without_replacing(str(tmp_path / "one"), str(tmp_path / "three"))
    assert names(tmp_path) == ["three", "two"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "made").write_bytes(b"old")
    code = (
        "import os, sys; from imq.engine.atomic_writer import open_output\n"
        "with open_output(sys.argv[1]) as file:\n    file.write(b'half'); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "made")], check=False)
    assert ended.returncode == -9
    assert (tmp_path / "made").read_bytes() == b"old"
