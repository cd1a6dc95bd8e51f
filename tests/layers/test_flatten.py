"""Flattened images: tar extracts the same tree that imq unpacks and docker exports."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers.flatten import FlatArchive
from imq.engine.layers.overlay import UnpackLimits
from imq.engine.layers.unpack import unpack_layers
from imq.engine.layers.zstd import zstd
from imq.grammar.errors import ImqError
from layers.stacks import describe_tree, folder, layer, link, member, stacked, symlink
from layers.test_malicious import LOWER, REFUSED
from layers.test_unpack import CLIMBING, STACK, layout_of
from store.support.stores import imq
from support.servers import require_programs

if TYPE_CHECKING:
    import pathlib

    from imq.engine.layers.layer_stack import StackedLayer

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices take root")


def flat(stack: tuple[StackedLayer, ...]) -> bytes:
    return b"".join(bytes(piece) for piece in FlatArchive(stack).iter_pieces())


def extract_with_tar(content: bytes, into: pathlib.Path) -> dict[str, tuple[object, ...]]:
    into.mkdir()
    command = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-"]
    subprocess.run(command, input=content, cwd=into, check=True)
    return describe_tree(into)


def same(one: dict[str, tuple[object, ...]], other: dict[str, tuple[object, ...]]) -> None:
    """Compare all but the root, which has no entry."""
    told = one.keys() - {"."}
    assert {name: one[name] for name in told} == {name: other[name] for name in told}
    assert one.keys() == other.keys()


@as_root
@pytest.mark.parametrize("stack", [STACK, CLIMBING], ids=["usual", "climbing"])
def test_tar_extracts_the_same_tree_as_unpack(tmp_path: pathlib.Path, stack: tuple[StackedLayer, ...]) -> None:
    unpack_layers(stack, str(tmp_path / "folder"))
    found, expected = extract_with_tar(flat(stack), tmp_path / "untarred"), describe_tree(tmp_path / "folder")
    for name in {"opt", "opt/app"} & expected.keys():  # no entry tells of these: their times are nobody's
        expected.pop(name)
        found.pop(name)
    same(expected, found)


@as_root
def test_links_and_their_replacements_are_flattened(tmp_path: pathlib.Path) -> None:
    lower = layer(
        folder("a"), member("a/one", b"1"), link("a/two", "a/one"), link("three", "a/two"), symlink("s", "a"),
        member("replaced", b"old"), link("kept", "replaced"), symlink("target", "a/one"), link("linked", "target"),
    )  # fmt: skip
    upper = layer(
        member("s/four", b"4"), member("a/.wh.one"), member("replaced", b"new"), link("late", "three"),
        folder("implied/deep"), member("implied/other/file", b"x"),
    )  # fmt: skip
    stack = (lower, upper)
    unpack_layers(stack, str(tmp_path / "folder"))
    expected = describe_tree(tmp_path / "folder")
    found = extract_with_tar(flat(stack), tmp_path / "untarred")
    for tree in (expected, found):
        for name in ("implied", "implied/other"):
            tree.pop(name)
    same(expected, found)
    about = os.stat(tmp_path / "untarred" / "three")
    assert about.st_nlink == 3
    assert (tmp_path / "untarred" / "kept").read_bytes() == b"old"


@pytest.mark.parametrize("version", ["", "0.0", "0.1", "1.0"], ids=lambda version: version or "gnu")
def test_sparse_files_stay_sparse(tmp_path: pathlib.Path, version: str) -> None:
    path = tmp_path / "holes"
    with open(path, "wb") as file:
        file.seek(300_000)
        file.write(b"middle" * 2000)
        file.seek(1_000_000)
        file.write(b"end")
        file.truncate(1_100_001)
    kind = ["--format=gnu"] if not version else ["--format=posix", f"--sparse-version={version}"]
    made = subprocess.run(
        ["tar", *kind, "--sparse", "--hole-detection=raw", "-cf", "-", "holes"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert len(made.stdout) < 200_000
    written = flat((stacked(made.stdout, "gzip"), layer(link("again", "holes"))))
    assert len(written) < 200_000
    with tarfile.open(fileobj=io.BytesIO(written)) as archive:
        assert archive.getnames() == ["again", "holes"]
        content = archive.extractfile("holes")
        assert content is not None
        assert content.read() == path.read_bytes()
    for program in ("tar", "bsdtar"):
        require_programs(program)
        (tmp_path / program).mkdir()
        subprocess.run([program, "-xf", "-"], input=written, cwd=tmp_path / program, check=True)
        assert (tmp_path / program / "holes").read_bytes() == path.read_bytes()
        assert (tmp_path / program / "again").stat().st_nlink == 2


def test_holes_do_not_count_toward_the_limit(tmp_path: pathlib.Path) -> None:
    log, content = member("lastlog", b"x" * 512)
    log.pax_headers = {"GNU.sparse.map": f"{1 << 40},512", "GNU.sparse.size": str((1 << 40) + 512)}
    stack = (layer((log, content)),)
    assert len(flat(stack)) < 100_000
    unpack_layers(stack, str(tmp_path / "made"))
    about = (tmp_path / "made" / "lastlog").stat()
    assert about.st_size == (1 << 40) + 512
    assert about.st_blocks * 512 < 100_000


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_zeros_take_no_space(tmp_path: pathlib.Path, ending: str) -> None:
    size = 16 << 20
    content = bytes(size) + b"middle" + bytes(size)
    layout_of(tmp_path / "store", (layer(member("zeros", bytes(size)), member("more", content), member("few", b"0")),))
    imq(tmp_path / "store", "export", "1", "to", str(tmp_path / f"made.{ending}"))
    imq(tmp_path / "store", "export", "1", "to", str(tmp_path / "made"))
    assert (tmp_path / "made" / "zeros").read_bytes() == bytes(size)
    assert (tmp_path / "made" / "more").read_bytes() == content
    assert (tmp_path / "made" / "few").read_bytes() == b"0"
    for path in (tmp_path / "made" / "zeros", tmp_path / "made" / "more", tmp_path / f"made.{ending}"):
        assert path.stat().st_blocks * 512 < 1 << 20
    with tarfile.open(tmp_path / f"made.{ending}") as archive:
        found = archive.extractfile("more")
        assert found is not None
        assert found.read() == content


@pytest.mark.parametrize("name", REFUSED)
def test_malicious_layers_are_rejected_before_the_first_byte(name: str) -> None:
    code, members = REFUSED[name]
    pieces = FlatArchive((LOWER, layer(*members))).iter_pieces()
    with pytest.raises(ImqError) as caught:
        next(pieces)
    assert caught.value.code == code


def test_limits_hold() -> None:
    stack = (layer(member("a", b"x" * 3000), member("b", b"y" * 3000)),)
    for limits in (UnpackLimits(max_bytes=5000), UnpackLimits(max_entries=1)):
        with pytest.raises(ImqError) as caught:
            next(FlatArchive(stack, limits).iter_pieces())
        assert caught.value.code == "bomb"


@pytest.mark.parametrize("packed", ["", "gzip", "zstd"])
def test_a_wrong_diff_id_writes_nothing(packed: str) -> None:
    whole, other = (layer(member("a", content), packed=packed) for content in (b"1", b"2"))
    with pytest.raises(ImqError) as caught:
        next(FlatArchive((whole, whole.replace(open=other.open))).iter_pieces())
    assert caught.value.code == "diff-id-mismatch"


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.zst"])
def test_export_compresses_by_the_file_name(tmp_path: pathlib.Path, ending: str) -> None:
    layout_of(tmp_path / "store", STACK)
    target = tmp_path / f"made.{ending}"
    imq(tmp_path / "store", "export", "1", "to", str(target))
    assert sorted(os.listdir(tmp_path)) == [f"made.{ending}", "store"]
    content = target.read_bytes()
    if ending.endswith("gz"):
        content = gzip.decompress(content)
    elif ending.endswith("zst"):
        content = zstd.decompress(content)
    assert content == flat(STACK)
    assert "exists" in imq(tmp_path / "store", "export", "1", "to", str(target), code=3).stderr
    target.write_bytes(b"other")
    imq(tmp_path / "store", "export", "1", "to", str(target), "force")
    assert target.read_bytes() != b"other"


@pytest.mark.parametrize("target", ["made", "made.tar"])
def test_an_export_leaves_its_neighbours_alone(tmp_path: pathlib.Path, target: str) -> None:
    layout_of(tmp_path / "store", STACK)
    kept = [f"{target}.20240101.old", f"{target}.999999999.part", f"{target}.999999999.old", f"{target}.part"]
    for name in kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x")
    for _ in range(2):
        imq(tmp_path / "store", "export", "1", "to", str(tmp_path / target), "force")
    assert sorted(os.listdir(tmp_path)) == sorted([target, "store", *kept])
    assert all((tmp_path / name / "file").read_bytes() == b"x" for name in kept)
