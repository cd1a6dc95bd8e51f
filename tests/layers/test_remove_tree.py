"""Trees are removed however deep they are and whatever their modes are, and nothing outside of them."""

from __future__ import annotations

import os
import pathlib

import pytest
from imq.engine.layers.remove_tree import remove_tree


def make_deep(folder: pathlib.Path, depth: int) -> None:
    """Make a chain of folders, each with a file, that is deeper than a path can be long."""
    os.mkdir(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("folder", dir_fd=descriptor)
        inner = os.open("folder", os.O_RDONLY, dir_fd=descriptor)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=inner))
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


def count_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_deep_trees(tmp_path: pathlib.Path) -> None:
    make_deep(tmp_path / "tree", 2500)
    before = count_open()
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []
    assert count_open() == before


def test_modes_that_deny_access(tmp_path: pathlib.Path) -> None:
    tree = tmp_path / "tree"
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "inner" / "file").touch()
    (tree / "read-only").mkdir()
    (tree / "read-only" / "file").touch()
    for name, mode in (("closed/inner", 0o000), ("closed", 0o000), ("read-only", 0o500), (".", 0o500)):
        (tree / name).chmod(mode)
    child = None
    if os.geteuid() == 0:  # who may do anything: become another user
        os.chown(tmp_path, 1000, 1000)
        for root, folders, files in os.walk(tree):
            for name in (*folders, *files, "."):
                os.chown(os.path.join(root, name), 1000, 1000)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                base = os.open(tmp_path, os.O_RDONLY)
                os.setgid(1000)
                os.setuid(1000)
                os.fchdir(base)
                remove_tree("tree")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
        remove_tree(str(tree))
    assert os.listdir(tmp_path) == []


def test_links_are_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "tree" / "other").symlink_to(tmp_path / "kept" / "file")
    (tmp_path / "alone").symlink_to(tmp_path / "kept")
    for name in ("tree", "alone"):
        remove_tree(str(tmp_path / name))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "kept/file"]


def test_errors(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        remove_tree(str(tmp_path / "missing"))
