"""Layers with a table of contents are listed by range requests, and their files are read in parts, verified."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import ImqError
from registry.support.fault_proxy import Fault, FaultProxy, Reply
from registry.support.query import execute, open_session
from support.chunked import ChunkedLayer, Member, list_archive, make_estargz, make_zstd_chunked, member
from support.images import Image, Layout, digest_of, layer
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.servers import Registry

MAKERS = {"estargz": make_estargz, "chunked": make_zstd_chunked}
FIELDS = "path, type, size, mode, uid, gid, mtime, link_target, xattrs, layer, layer_index, image"
LISTING = "path not in (/stargz.index.json)"
"""eStargz has its table in the archive, too."""


def make_members() -> list[Member]:
    noise = random.Random(1)
    big = noise.randbytes(700_000)
    many = [member(f"usr/share/{name}", noise.randbytes(40_000), uid=name) for name in range(40)]
    return [
        member("usr", kind=tarfile.DIRTYPE),
        member("usr/share", kind=tarfile.DIRTYPE, mode=0o2755),
        *many,
        member("usr/bin/su", b"su" * 300, mode=0o4755),
        member("usr/bin/big", big),
        member("usr/bin/same", kind=tarfile.LNKTYPE, linkname="usr/bin/big"),
        member("usr/bin/link", kind=tarfile.SYMTYPE, linkname="big", mode=0o777),
        member("usr/bin/ping", b"ping", pax_headers={"SCHILY.xattr.security.capability": "\x01\x02"}),
        member("etc/.wh.old"),
        member("srv/.wh..wh..opq"),
        member("srv/new", b"new\n"),
        member("dev/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("usr/bin/tool", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xb7\0" + bytes(80), mode=0o755),
        member("var/lib/dpkg/info/tools.list", b"/.\n/usr/bin/tool\n"),
        member("empty"),
        member("äöü", b"umlauts"),
    ]


BASE = layer({"etc/old": b"old", "etc/kept": b"kept", "srv/hidden": b"hidden"}, "gzip")
LAYERS: dict[str, ChunkedLayer] = {name: make(make_members(), 128 << 10) for name, make in MAKERS.items()}  # type: ignore[operator]


def push(registry: Registry, folder: Path, name: str, image: Image) -> None:
    layout = Layout(folder)
    layout.add(image, "pushed")
    words = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{folder}:pushed"]
    subprocess.run([*words, f"docker://{registry.host}/toc/{name}"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pushed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    require_programs("skopeo")
    for kind, own in LAYERS.items():
        push(registry, tmp_path_factory.mktemp("pushed"), f"app:{kind}", Image([BASE, own]))
        plain = Image([BASE, replace(own, annotations={})])
        push(registry, tmp_path_factory.mktemp("plain"), f"app:{kind}-plain", plain)
    return registry


@pytest.fixture
def proxy(pushed: Registry) -> Iterator[FaultProxy]:
    with FaultProxy(pushed.host) as proxy:
        yield proxy


def count_bytes(proxy: FaultProxy, own: ChunkedLayer) -> int:
    """Return the bytes of a layer that were requested."""
    total = 0
    for request in proxy.requests:
        if request.method == "GET" and request.path.endswith(f"/blobs/{own.digest}"):
            span = re.match(r"bytes=(\d+)-(\d+)\Z", request.headers.get("Range", ""))
            total += int(span[2]) - int(span[1]) + 1 if span else len(own.blob)
    return total


@pytest.mark.parametrize("own", LAYERS.values(), ids=LAYERS)
def test_the_makers_write_layers_that_others_read(own: ChunkedLayer) -> None:
    names = list_archive(own)
    assert "usr/bin/big" in names
    assert len(names) == len(make_members()) + ("stargz.index.json" in names)
    assert any(entry["type"] == "chunk" for entry in own.entries)


@pytest.mark.parametrize("kind", MAKERS)
class TestListing:
    """Files of layers with a table of contents."""

    @pytest.mark.parametrize("table", ["files", "all_files"])
    def test_rows_equal_those_of_the_whole_layer(
        self, proxy: FaultProxy, tmp_path: Path, kind: str, table: str
    ) -> None:
        query = f"{table} of {proxy.host}/toc/app:{{}} order by path, layer_index select {FIELDS}"
        listed = execute(tmp_path / "listed", query.format(kind)).rows
        assert count_bytes(proxy, LAYERS[kind]) <= len(LAYERS[kind].blob) * 2 // 100
        whole = execute(tmp_path / "whole", query.format(f"{kind}-plain")).rows
        assert listed == whole
        assert len(listed) > 50

    def test_it_is_remembered(self, proxy: FaultProxy, tmp_path: Path, kind: str) -> None:
        session = open_session(tmp_path / "store")
        statement = f'tags of {proxy.host}/toc/app where tag = {kind} and contains file "/usr/bin/big" select tag'
        assert execute(session, statement).column("tag") == [kind]
        before = proxy.count_requests("GET .*/blobs/")
        assert execute(session, statement).column("tag") == [kind]
        assert proxy.count_requests("GET .*/blobs/") == before
        session.close()

    def test_contents_are_read_in_parts(self, proxy: FaultProxy, tmp_path: Path, kind: str) -> None:
        session = open_session(tmp_path / "store")
        of = f"files of {proxy.host}/toc/app:{kind}"
        (small,) = execute(session, f"{of} where path = /srv/new select content, sha256").rows
        assert small == {"content": "new\n", "sha256": digest_of(b"new\n")}
        assert count_bytes(proxy, LAYERS[kind]) <= len(LAYERS[kind].blob) * 5 // 100
        expected = {f"/{info.name}": digest_of(content) for info, content in make_members() if content}
        expected["/usr/bin/same"] = expected["/usr/bin/big"]
        rows = execute(session, f"{of} where type in (file, hardlink) and size > 0 and {LISTING} select path, sha256")
        found = {row["path"]: row["sha256"] for row in rows.rows}
        assert {path: found[path] for path in expected} == expected
        assert proxy.count_requests(f"GET .*/blobs/{LAYERS[kind].digest}") < 30, "ranges that lie together are one"
        session.close()

    def test_packages_read_the_whole_layer(self, proxy: FaultProxy, tmp_path: Path, kind: str) -> None:
        session = open_session(tmp_path / "store")
        execute(session, f"files of {proxy.host}/toc/app:{kind} count")
        execute(session, f"packages of {proxy.host}/toc/app:{kind} count")
        assert count_bytes(proxy, LAYERS[kind]) > len(LAYERS[kind].blob)
        before = proxy.count_requests("GET .*/blobs/")
        rows = execute(session, f"files of {proxy.host}/toc/app:{kind} where name = new select layer").rows
        assert rows == [{"layer": LAYERS[kind].diff_id}]
        assert proxy.count_requests("GET .*/blobs/") == before
        session.close()

    def test_machines_and_owners_read_the_whole_layer(self, proxy: FaultProxy, tmp_path: Path, kind: str) -> None:
        of = f"files of {proxy.host}/toc/app:{kind}"
        rows = execute(
            tmp_path / "store", f"{of} where machine is known select path, machine, package, layer_index"
        ).rows
        assert rows == [{"path": "/usr/bin/tool", "machine": "arm64", "package": "tools", "layer_index": 1}]
        rows = execute(tmp_path / "other", f"{of} where package is unknown and name in (tool, big) select path").rows
        assert rows == [{"path": "/usr/bin/big"}]

    def test_links_lead_through_listed_layers(self, proxy: FaultProxy, tmp_path: Path, kind: str) -> None:
        query = f"files of {proxy.host}/toc/app:{kind} where type = symlink select path, resolved, broken"
        rows = execute(tmp_path / "store", query).rows
        assert [(row["path"], row["resolved"], bool(row["broken"])) for row in rows] == [
            ("/usr/bin/link", "/usr/bin/big", False)
        ]
        assert count_bytes(proxy, LAYERS[kind]) <= len(LAYERS[kind].blob) * 2 // 100

    @pytest.mark.parametrize("field", ["machine", "package"])
    def test_unread_layers_select_no_files(self, pushed: Registry, tmp_path: Path, kind: str, field: str) -> None:
        def spoil(reply: Reply) -> None:
            if reply.status == 200:  # the whole layer: ranges are 206
                reply.body = bytes(len(reply.body))

        fault = Fault(on=f"GET .*/blobs/{LAYERS[kind].digest}", change=spoil)
        with FaultProxy(pushed.host, fault) as proxy:
            of = f"files of {proxy.host}/toc/app:{kind}"
            assert execute(tmp_path / "store", f"{of} where name = new select path").rows == [{"path": "/srv/new"}]
            with pytest.raises(ImqError):
                execute(tmp_path / "store", f"{of} where {field} is unknown")
            for word in ("any", "no"):
                condition = f"tag = {kind} and {word} files where {field} is unknown and name = new"
                result = execute(tmp_path / "store", f"tags of {proxy.host}/toc/app where {condition} select tag")
                assert result.rows == []
                assert [f"toc/app:{kind}" in str(error) for error in result.errors] == [True], word

    def test_a_registry_without_ranges(self, pushed: Registry, tmp_path: Path, kind: str) -> None:
        def ignore(reply: Reply) -> None:
            reply.status = 200
            reply.headers.pop("Content-Range", None)
            reply.body = LAYERS[kind].blob

        with FaultProxy(pushed.host, Fault(on=f"GET .*/blobs/{LAYERS[kind].digest}", change=ignore)) as proxy:
            of = f"files of {proxy.host}/toc/app:{kind}"
            rows = execute(tmp_path / "store", f"{of} where path = /srv/new select content").rows
        assert rows == [{"content": "new\n"}]


def test_explain_tells_what_is_read(proxy: FaultProxy, tmp_path: Path) -> None:
    session = open_session(tmp_path / "store")
    execute(session, f"tags of {proxy.host}/toc/app select created")
    requests = len(proxy.requests)
    whole = "".join(session.explain_all(f"files of {proxy.host}/toc/app:chunked-plain"))
    assert "at most 2 layers with 2.31MB" in whole
    listed = "".join(session.explain_all(f"files of {proxy.host}/toc/app:chunked"))
    assert re.search(r"at most 2 layers with \d+(\.\d+)?kB, 1 of them by their tables of contents", listed)
    assert "at most 3 layers with " in "".join(
        session.explain_all(f'tags of {proxy.host}/toc/app where contains file "*x"')
    )
    assert len(proxy.requests) == requests
    session.close()


def change_table(own: ChunkedLayer, change: Callable[[list[dict[str, Any]]], None]) -> ChunkedLayer:
    """Return an eStargz layer with another table, whose digest is in the manifest: it does not agree with the layer."""
    entries = json.loads(json.dumps(own.entries))
    change(entries)
    table = json.dumps({"version": 1, "entries": entries}).encode()
    info = tarfile.TarInfo("stargz.index.json")
    info.size = len(table)
    archive = info.tobuf(tarfile.USTAR_FORMAT) + table + bytes(-len(table) % 512) + bytes(1024)
    blob = own.blob[: own.table_at] + gzip.compress(archive, mtime=0) + own.blob[-51:]
    return replace(own, blob=blob, annotations={"containerd.io/snapshot/stargz/toc.digest": digest_of(table)})


def find_entry(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


class TestDisagreement:
    """Tables of contents that are not right: an error that names the layer and the offset."""

    def check(self, registry: Registry, tmp_path: Path, own: ChunkedLayer, query: str) -> str:
        push(registry, tmp_path / "layout", "wrong:1", Image([BASE, own]))
        push(registry, tmp_path / "sound", "wrong:2", Image([BASE]))
        with FaultProxy(registry.host) as proxy:
            name = f"{proxy.host}/toc/wrong:1"
            with pytest.raises(ImqError) as caught:
                execute(tmp_path / "store", query.format(name))
            tags = f"tags of {proxy.host}/toc/wrong where"
            result = execute(tmp_path / "store", f'{tags} not contains file "/nothing/*" select tag')
            is_listed = own.annotations and "content" in query
            assert result.column("tag") == (["2", "1"] if is_listed else ["2"])
        assert own.diff_id in caught.value.message
        assert "byte" in caught.value.message
        return caught.value.message

    def test_another_digest(self, pushed: Registry, tmp_path: Path) -> None:
        own = LAYERS["estargz"]
        wrong = replace(own, annotations={name: digest_of(b"other") for name in own.annotations})
        assert "does not have the digest" in self.check(pushed, tmp_path, wrong, "files of {}")

    def test_no_footer(self, pushed: Registry, tmp_path: Path) -> None:
        own = LAYERS["estargz"]
        wrong = replace(own, blob=own.blob[:-51] + gzip.compress(b"", mtime=0))
        assert "no footer" in self.check(pushed, tmp_path, wrong, "files of {}")

    def test_a_damaged_table(self, pushed: Registry, tmp_path: Path) -> None:
        own = LAYERS["estargz"]
        middle = own.table_at + 100
        wrong = replace(own, blob=own.blob[:middle] + bytes(50) + own.blob[middle + 50 :])
        self.check(pushed, tmp_path, wrong, "files of {}")

    @pytest.mark.parametrize(
        "change",
        [
            lambda entries: find_entry(entries, "usr/bin/big").update(offset=1 << 40),
            lambda entries: find_entry(entries, "usr/bin/big").update(size=17),
            lambda entries: find_entry(entries, "usr/bin/big").update(type="door"),
            lambda entries: find_entry(entries, "srv/new").update(chunkDigest="", digest=""),
            lambda entries: entries.append({"type": "chunk", "name": "ghost", "offset": 1, "chunkSize": 1}),
            lambda entries: entries.append({"type": "reg"}),
            lambda entries: entries.append("text"),
            lambda entries: entries.append({"type": "dir", "name": "../../etc", "mode": 0o755, "size": -1}),
        ],
    )  # fmt: skip
    def test_entries_that_are_not_possible(
        self, pushed: Registry, tmp_path: Path, change: Callable[[list[dict[str, Any]]], None]
    ) -> None:
        own = change_table(LAYERS["estargz"], change)
        push(pushed, tmp_path / "layout", "impossible:1", Image([BASE, own]))
        with FaultProxy(pushed.host) as proxy:
            result = execute(tmp_path / "store", f"tags of {proxy.host}/toc/impossible where no files select tag")
            assert result.rows == []
            assert result.exit_code == 3
            assert own.diff_id in result.errors[0].message

    def test_content_that_the_table_does_not_describe(self, pushed: Registry, tmp_path: Path) -> None:
        def change(entries: list[dict[str, Any]]) -> None:
            find_entry(entries, "srv/new")["chunkDigest"] = digest_of(b"evil")

        own = change_table(LAYERS["estargz"], change)
        message = self.check(pushed, tmp_path, own, "files of {} where path = /srv/new select content")
        assert "/srv/new" in message
        assert f"at byte {find_entry(own.entries, 'srv/new')['offset']:,}" in message


def test_a_table_never_stands_for_the_layer_of_another_image(pushed: Registry, tmp_path: Path) -> None:
    """A manifest can state any diff ID next to a table: what it lists is known by the digest of the table alone."""
    own = LAYERS["estargz"]
    forged = replace(own, diff_id=BASE.diff_id)
    push(pushed, tmp_path / "layout", "forged:1", Image([forged]))
    push(pushed, tmp_path / "other", "forged:2", Image([BASE]))
    with FaultProxy(pushed.host) as proxy:
        session = open_session(tmp_path / "store")
        execute(session, f"files of {proxy.host}/toc/forged:1 count")
        rows = execute(session, f"files of {proxy.host}/toc/forged:2 where type = file select path").rows
        assert [row["path"] for row in rows] == ["/etc/kept", "/etc/old", "/srv/hidden"]
        session.close()
