"""`export … to X.tar` compared with `docker export` of a container, and imported with `docker import`."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from typing import TYPE_CHECKING

from layers.stacks import layer, member, stacked
from layers.test_unpack import STACK, gzipped, layout_of
from store.support.stores import imq

if TYPE_CHECKING:
    from pathlib import Path

    from imq.engine.layers.layer_stack import StackedLayer

ADDED = {".dockerenv", "dev", "dev/console", "dev/pts", "dev/shm", "etc/hostname", "etc/hosts", "etc/mtab",
         "etc/resolv.conf", "proc", "sys", "etc"}  # fmt: skip
"""Files that docker creates in every container, or whose time it changes."""


def remove_odd_entries(one: StackedLayer) -> StackedLayer:
    """Return a layer without its odd entries: docker unpacks each layer as if there were no lower ones."""
    with one.open() as source:
        blob = source.read(1 << 30)
    content = gzip.decompress(blob) if one.compression else blob
    target = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as archive,
        tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as rest,
    ):
        for member in archive:
            if member.name not in ODD:
                rest.addfile(member, archive.extractfile(member) if member.isreg() else None)
    return stacked(target.getvalue(), "gzip")


ODD = {"across", "lib/libc.so", "usr/lib/libc.so.6", "lib/new.so", "usr/lib64/through", "not/there/.wh.x", ".wh.gone"}
"""Hard links to files of lower layers, files behind links, whiteouts of files that are missing or in the same layer."""


def read_members(content: bytes) -> dict[str, tuple[object, ...]]:
    """Return the metadata and content of each name of an archive, with the only xattr that docker exports.

    Names of one file have the metadata of the first of them in the archive.
    """
    result: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names: dict[str, list[str]] = {}
        files = {}
        for one in archive:
            if one.islnk():
                names[one.linkname].append(one.name)
                continue
            names[one.name] = [one.name]
            source = archive.extractfile(one) if one.isreg() else None
            data = source.read() if source is not None else None
            xattrs = {key: value for key, value in one.pax_headers.items() if key == "SCHILY.xattr.security.capability"}
            device = (one.devmajor, one.devminor) if one.ischr() or one.isblk() else None
            # docker changes the times of folders that upper layers write to
            time = None if one.isdir() else int(one.mtime)
            files[one.name] = (
                one.type,
                one.mode & 0o7777,
                one.uid,
                one.gid,
                time,
                one.linkname,
                device,
                data,
                xattrs,
            )
        for first, all_names in names.items():
            for name in all_names:
                result[name] = (*files[first], tuple(sorted(all_names)))
    return result


def test_an_export_equals_that_of_docker_and_docker_imports_it(docker: list[str], tmp_path: Path) -> None:
    def run(*words: object, **options: object) -> bytes:
        result = subprocess.run([*docker, *map(str, words)], capture_output=True, check=False, **options)  # type: ignore[call-overload]
        assert result.returncode == 0, result.stderr
        return bytes(result.stdout)

    layout_of(tmp_path / "store", tuple(map(remove_odd_entries, gzipped(STACK))))
    imq(tmp_path / "store", "tag", "1", "as", "stack:1")
    imq(tmp_path / "store", "save", "stack:1", "to", str(tmp_path / "saved.tar"))
    run("load", "--input", tmp_path / "saved.tar")
    container = run("create", "--network=none", "stack:1", "sh").decode().strip()
    theirs = read_members(run("export", container))
    run("rm", container)
    imq(tmp_path / "store", "export", "stack:1", "to", str(tmp_path / "flat.tar"))
    content = (tmp_path / "flat.tar").read_bytes()
    ours = read_members(content)
    assert ours.keys() - ADDED == theirs.keys() - ADDED
    for name in ours.keys() - ADDED:
        assert ours[name] == theirs[name], name
    imported = run("import", "-", "flat:1", input=content).decode().strip()
    container = run("create", "--network=none", "flat:1", "sh").decode().strip()
    again = read_members(run("export", container))
    run("rm", container)
    assert {name: again[name] for name in again.keys() - ADDED} == {
        name: theirs[name] for name in theirs.keys() - ADDED
    }
    run("rmi", imported, "stack:1")


def test_docker_imports_sparse_files(docker: list[str], tmp_path: Path) -> None:
    info, content = member("holes", b"begin" + b"end")
    info.pax_headers = {"GNU.sparse.map": "0,5,1048576,3", "GNU.sparse.size": "2097152"}
    layout_of(tmp_path / "store", (layer((info, content)),))
    imq(tmp_path / "store", "export", "1", "to", str(tmp_path / "flat.tar"))
    flat = (tmp_path / "flat.tar").read_bytes()
    assert len(flat) < 100_000
    imported = subprocess.run([*docker, "import", "-", "sparse:1"], input=flat, capture_output=True, check=True)
    created = subprocess.run([*docker, "create", "--network=none", "sparse:1", "sh"], capture_output=True, check=True)
    container = created.stdout.decode().strip()
    exported = subprocess.run([*docker, "export", container], capture_output=True, check=True).stdout
    for command in (["rm", container], ["rmi", imported.stdout.decode().strip()]):
        subprocess.run([*docker, *command], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        source = archive.extractfile("holes")
        assert source is not None
        assert source.read() == (b"begin".ljust(1 << 20, b"\0") + b"end").ljust(2 << 20, b"\0")
