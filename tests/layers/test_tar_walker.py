"""The tar walker compared with tarfile, GNU tar, bsdtar, and layers of image builders."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imq.engine.layers.compression import detect_compression, make_decompressor
from imq.engine.layers.tar_entry import TarEntry
from imq.engine.layers.tar_walker import TarLimits, TarWalker
from imq.grammar.errors import Malformed
from support.servers import require_programs

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.LNKTYPE: "link",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "directory",
    tarfile.FIFOTYPE: "fifo",
}


def walk(archive: bytes, chunk: int = 1 << 18, limits: TarLimits | None = None) -> tuple[list[TarEntry], TarWalker]:
    """Walk twice, for entries and for totals only, and check that both count the same."""
    entries: list[TarEntry] = []
    totals = TarWalker(limits=limits)
    for walker in (TarWalker(entries.append, limits), totals):
        for start in range(0, len(archive), chunk):
            walker.feed(memoryview(archive)[start : start + chunk])
        walker.finish()
    assert totals.entries == len(entries)
    assert totals.size == sum(entry.size for entry in entries)
    return entries, totals


def feed_all(walker: TarWalker, archive: bytes) -> None:
    walker.feed(archive)
    walker.finish()


def refusal(archive: bytes, limits: TarLimits | None = None) -> Malformed:
    errors = []
    for on_entry in (None, lambda _: None):
        with pytest.raises(Malformed) as caught:
            feed_all(TarWalker(on_entry, limits), archive)
        errors.append(caught.value)
    assert errors[0].message == errors[1].message
    return errors[0]


def as_tarfile(archive: bytes) -> list[TarEntry]:
    """Read an archive with the standard library, and return entries of the walker."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for member in opened:
            link = member.islnk() or member.issym()
            device = member.ischr() or member.isblk()
            found.append(
                TarEntry(
                    path=member.name,
                    type=TYPES[member.type],
                    size=member.size,
                    real_size=member.size,
                    mode=member.mode & 0o7777,
                    uid=member.uid,
                    gid=member.gid,
                    uname=member.uname,
                    gname=member.gname,
                    mtime=round(member.mtime * 1000) * 10**6,
                    link_target=member.linkname if link else "",
                    xattrs=tuple(
                        (key.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
                        for key, value in member.pax_headers.items()
                        if key.startswith("SCHILY.xattr.")
                    ),
                    device=(member.devmajor, member.devminor) if device else (0, 0),
                    offset=member.offset_data,
                )
            )
    return found


def alike(entries: list[TarEntry], others: list[TarEntry]) -> None:
    """Compare entries; times to the millisecond, because tarfile reads them as floats."""
    rounded = [entry.replace(mtime=round(entry.mtime / 10**6) * 10**6) for entry in entries]
    assert rounded == others


def member(name: str = "file", content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


def patched(block: bytes, offset: int, field: bytes) -> bytes:
    """Write `field` into the header at the beginning of `block`, and correct its checksum."""
    header = bytearray(block[:512])
    header[offset : offset + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    return bytes(header) + block[512:]


def extended(kind: bytes, body: bytes) -> bytes:
    return member("././@PaxHeader", body, kind)


def record(key: str, value: bytes) -> bytes:
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


END = bytes(1024)

names = st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1, max_size=30).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=9).map("/".join)


@st.composite
def archives(draw, form):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=FORMATS[form]) as archive:
        for path in draw(st.lists(paths, max_size=6)):
            kind = draw(st.sampled_from([k for k in TYPES if k not in (tarfile.GNUTYPE_SPARSE, tarfile.AREGTYPE)]))
            info = tarfile.TarInfo(path if form != "ustar" else path[:30].rstrip("/") or "x")
            info.type = kind
            info.mode = draw(st.integers(0, 0o7777))
            big = 2**40 if form != "ustar" else 0o7777777
            info.uid, info.gid = draw(st.integers(0, big)), draw(st.integers(0, big))
            info.uname, info.gname = draw(st.sampled_from(["", "root", "käthe"])), draw(st.sampled_from(["", "wheel"]))
            info.mtime = draw(st.integers(0, 2**33 - 1))
            if form == "pax":
                info.mtime = draw(st.sampled_from([info.mtime, -7, 1.5, 1700000000.125]))
                info.pax_headers = draw(st.sampled_from([{}, {"SCHILY.xattr.user.a": "ü=\n\udcff\x00"}]))
            if info.issym() or info.islnk():
                info.linkname = draw(paths) if form != "ustar" else "target"
            if info.isdev():
                info.devmajor, info.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, 0o7777777))
            content = draw(st.binary(max_size=1600)) if info.isreg() else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.data())
def test_the_walker_agrees_with_tarfile(form, data):
    archive = data.draw(archives(form))
    entries, _ = walk(archive)
    alike(entries, as_tarfile(archive))


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.data())
def test_any_split_gives_the_same(form, data):
    archive = data.draw(archives(form))
    expected, totals = walk(archive)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(archive)), max_size=8)))
    found: list[TarEntry] = []
    for walker in (TarWalker(found.append), TarWalker()):
        for start, end in zip([0, *cuts], [*cuts, len(archive)], strict=True):
            walker.feed(archive[start:end])
        walker.finish()
        assert (walker.entries, walker.size) == (totals.entries, totals.size)
    assert found == expected


@pytest.mark.parametrize("form", FORMATS)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damage_raises_only_malformed(form, data):
    archive = bytearray(data.draw(archives(form)))
    for _ in range(data.draw(st.integers(1, 5))):
        archive[data.draw(st.integers(0, min(len(archive), 4096) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(archive)))
    for on_entry in (None, lambda _: None):
        walker = TarWalker(on_entry)
        with contextlib.suppress(Malformed):
            feed_all(walker, archive[:cut])


def walk_or_refuse(archive: bytes, chunk: int) -> list[TarEntry] | str:
    entries: list[TarEntry] = []
    walker = TarWalker(entries.append)
    try:
        for start in range(0, len(archive), chunk):
            walker.feed(archive[start : start + chunk])
        walker.finish()
    except Malformed as error:
        return error.message
    return entries


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT], ids=["ustar", "gnu"])
@given(at=st.integers(0, 511), written=st.binary(min_size=1, max_size=12), kind=st.sampled_from(sorted(TYPES)))
def test_headers_in_one_piece_are_read_like_those_in_parts(form, at, written, kind):
    """Whole headers are read field by field at once, those in parts by the general reader."""
    info = tarfile.TarInfo("folder/name")
    info.type, info.linkname, info.uname = kind, "target", "root"
    header = bytearray(info.tobuf(form))
    if kind == tarfile.GNUTYPE_SPARSE:
        header[156:157] = tarfile.REGTYPE
    header[at : at + len(written)] = written[: 512 - at]
    if not 148 - len(written) < at < 156:
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    archive = bytes(header) + tarfile.TarInfo("next").tobuf(form) + bytes(1024)
    assert walk_or_refuse(archive, len(archive)) == walk_or_refuse(archive, 500)


def test_one_byte_at_a_time():
    archive = extended(b"x", record("path", b"p" * 600)) + member("short", b"content") + member("next") + END
    entries, _ = walk(archive, chunk=1)
    assert [entry.path for entry in entries] == ["p" * 600, "next"]
    assert archive[entries[0].offset :][:7] == b"content"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with all files that tar tools treat specially."""
    root = tmp_path_factory.mktemp("tree")
    (root / "etc").mkdir(mode=0o750)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/empty").touch()
    (root / ("d" * 90)).mkdir()
    (root / ("d" * 90) / ("f" * 200)).write_bytes(b"long" * 400)
    (root / "deep").joinpath(*["level"] * 40).mkdir(parents=True)
    (root / "ünïcödé 日本").write_text("x")
    with open(os.fsencode(root) + b"/not-\xff-utf8", "wb") as file:
        file.write(b"raw")
    (root / "link").symlink_to("etc/passwd")
    (root / "long-link").symlink_to("t" * 300)
    os.link(root / "etc/passwd", root / "hard")
    os.mkfifo(root / "fifo")
    os.chmod(root / "etc/empty", 0o4755)
    with open(root / "sparse", "wb") as file:
        for place in range(60):  # more holes than the old header holds
            file.seek(place * 65536)
            file.write(b"island")
        file.truncate(8 << 20)
    return root


def tree_agrees(archive: bytes, root, *, sparse: bool) -> None:
    entries, _ = walk(archive, 10_000)
    by_path = {os.path.normpath(entry.path): entry for entry in entries}
    expected = {
        os.path.relpath(os.path.join(base, name), root)
        for base, directories, files in os.walk(root)
        for name in (*directories, *files)
    }
    assert set(by_path) - {"."} == expected
    for path, entry in by_path.items():
        status = os.lstat(os.path.join(root, path))
        assert entry.mode == status.st_mode & 0o7777
        assert (entry.uid, entry.gid) == (status.st_uid, status.st_gid)
        assert entry.mtime // 10**9 == status.st_mtime_ns // 10**9
        if entry.type == "file":
            assert entry.real_size == status.st_size
            if path != "sparse":
                assert entry.size == status.st_size
    assert by_path["long-link"].link_target == "t" * 300
    assert {by_path["hard"].type, by_path["etc/passwd"].type} == {"file", "link"}
    assert by_path["fifo"].type == "fifo"
    assert (by_path["sparse"].size < by_path["sparse"].real_size) == sparse


@pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax", "posix"])
def test_gnu_tar(tree, form):
    archive = subprocess.run(["tar", f"--format={form}", "-C", tree, "-cf", "-", "."], capture_output=True, check=True)
    tree_agrees(archive.stdout, tree, sparse=False)


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=oldgnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
)
def test_gnu_tar_sparse(tree, options):
    archive = subprocess.run(["tar", *options, "-S", "-C", tree, "-cf", "-", "."], capture_output=True, check=True)
    tree_agrees(archive.stdout, tree, sparse=True)


@pytest.mark.parametrize("form", ["ustar", "v7"])
def test_gnu_tar_in_old_formats(tree, form):
    command = ["tar", f"--format={form}", "-C", tree, "-cf", "-", "etc", "link", "hard"]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    entries, _ = walk(archive)
    assert [(entry.path, entry.type) for entry in entries if entry.path != "etc/passwd"] == [
        ("etc", "directory"),
        *sorted([("etc/empty", "file")]),
        ("link", "symlink"),
        ("hard", "link"),
    ]


@pytest.mark.parametrize(
    ("options", "sparse"),
    [(["--format=pax"], True), (["--format=pax", "--no-read-sparse"], False), (["--format=gnutar"], False)],
)
def test_bsdtar(tree, options, sparse):
    require_programs("bsdtar")
    archive = subprocess.run(["bsdtar", *options, "-C", tree, "-cf", "-", "."], capture_output=True, check=True).stdout
    tree_agrees(archive, tree, sparse=sparse)


def layers_of(layout) -> list[bytes]:
    """Return the unpacked layers of an image layout."""
    layers = []
    for blob in (layout / "blobs/sha256").iterdir():
        content = blob.read_bytes()
        if content[:1] != b"{":
            unpacker = make_decompressor(detect_compression(content[:6]))
            layers.append(b"".join(map(bytes, unpacker.feed(content))))
            unpacker.finish()
    return layers


def test_layers_made_by_umoci(tree, tmp_path):
    require_programs("umoci")
    image = tmp_path / "image"
    for command in (
        ["init", "--layout", image],
        ["new", "--image", f"{image}:a"],
        ["insert", "--image", f"{image}:a", tree, "/data"],
        ["insert", "--image", f"{image}:a", "--whiteout", "/data/etc"],
    ):
        subprocess.run(["umoci", *command], check=True, capture_output=True)
    paths = []
    for archive in layers_of(image):
        entries, _ = walk(archive)
        # umoci writes no end, and no padding after the last entry; tarfile refuses that, Go and the walker do not
        alike(entries, as_tarfile(archive + bytes(-len(archive) % 512) + END))
        paths += [entry.path for entry in entries]
    assert "data/.wh.etc" in paths
    assert "data/" + "d" * 90 + "/" + "f" * 200 in paths


def test_layers_made_by_buildah(tree, tmp_path):
    require_programs("buildah")
    storage = ["--root", tmp_path / "storage", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def buildah(*arguments: object) -> str:
        command = ["buildah", *storage, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    container = buildah("from", "scratch")
    buildah("copy", "--quiet", container, tree / "etc", "/etc")
    policy = ["--signature-policy", tmp_path / "policy.json"]
    buildah("commit", "--quiet", *policy, container, f"oci:{tmp_path / 'image'}:a")
    (archive,) = layers_of(tmp_path / "image")
    entries, _ = walk(archive)
    alike(entries, as_tarfile(archive))
    assert {"etc", "etc/passwd", "etc/empty"} <= {entry.path for entry in entries}


def test_global_pax_headers_set_owners_and_times_but_no_paths():
    body = record("mtime", b"12.5") + record("uid", b"77") + record("path", b"evil") + record("size", b"9999")
    archive = extended(b"g", body) + member("a") + extended(b"x", record("uid", b"8")) + member("b") + END
    entries, _ = walk(archive)
    assert [(entry.path, entry.uid, entry.mtime, entry.size) for entry in entries] == [
        ("a", 77, 12_500_000_000, 0),
        ("b", 8, 12_500_000_000, 0),
    ]


def test_pax_times_are_exact():
    times = {b"1.000000001": 1_000_000_001, b"-1.5": -1_500_000_000, b"3": 3 * 10**9, b".25": 250_000_000, b"": 0}
    for written, meant in times.items():
        entries, _ = walk(extended(b"x", record("mtime", written)) + member() + END)
        assert entries[0].mtime == meant


def test_pax_size_overrules_the_header():
    archive = extended(b"x", record("size", b"3")) + patched(member(), 124, bytes(12)) + b"abc".ljust(512, b"\0") + END
    entries, totals = walk(archive)
    assert (entries[0].size, totals.size) == (3, 3)


def test_base_256_numbers():
    size = patched(member("a", b"x" * 700), 124, b"\x80" + (700).to_bytes(11))
    early = patched(member("b"), 136, (-5).to_bytes(12, signed=True))
    entries, _ = walk(size + early + END)
    assert (entries[0].size, entries[1].mtime) == (700, -5 * 10**9)


@pytest.mark.parametrize(
    "written", [b"       1274 ", b"00000001274 ", b"000000001274", b"1274\0\0\0\0\0\0\0\0", b"   1274\0    "]
)
def test_sizes_as_old_tars_write_them(written):
    _, totals = walk(patched(member("a", b"x" * 700), 124, written) + member("b") + END)
    assert (totals.entries, totals.size) == (2, 700)


def test_v7_directories_have_a_slash():
    old = patched(member("dir/"), 156, b"\0" + bytes(100) + bytes(255))
    entries, _ = walk(old + patched(member("file", b"abc"), 156, b"\0") + END)
    assert [(entry.path, entry.type, entry.size) for entry in entries] == [("dir", "directory", 0), ("file", "file", 3)]


def test_star_keeps_a_shorter_prefix():
    star = patched(patched(member("name"), 345, b"prefix".ljust(131, b"\0") + b"junk"), 508, b"tar\0")
    assert walk(star + END)[0][0].path == "prefix/name"


def test_checksums_of_signed_bytes_are_accepted():
    header = bytearray(member("na\xefve"[:2] + "x"))
    header[2] = 0xEF
    header[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in header[:512])
    header[148:156] = b"%06o\0 " % signed
    assert walk(bytes(header) + END)[0][0].path == "na\udcef"


def test_headers_full_of_high_bytes():
    """The sum of their bytes exceeds the range of adler32."""
    name = "\udcff" * 100
    info = tarfile.TarInfo(name)
    header = patched(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"), 157, b"\xff" * 100)
    header = patched(header, 345, b"\xff" * 167)
    entries, _ = walk(header + END)
    assert entries[0].path.endswith(name)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_sizes_of_entries_without_content_are_ignored(kind):
    archive = patched(member("a", kind=kind, linkname="b"), 124, b"00000007777\0") + member("b", b"abc") + END
    entries, totals = walk(archive)
    assert [entry.size for entry in entries] == [0, 3]
    assert totals.size == 3


def test_unknown_types_are_skipped_with_their_content():
    entries, _ = walk(patched(member("a", b"x" * 600), 156, b"V") + member("b") + END)
    assert [(entry.type, entry.size) for entry in entries] == [("unknown", 600), ("file", 0)]


def test_gnu_long_names_apply_to_one_entry():
    archive = member("././@LongLink", b"n" * 300 + b"\0", b"L") + member("././@LongLink", b"t" * 300 + b"\0", b"K")
    archive += member("short", kind=tarfile.SYMTYPE, linkname="short") + member("next") + END
    entries, _ = walk(archive)
    assert [(entry.path, entry.link_target) for entry in entries] == [("n" * 300, "t" * 300), ("next", "")]


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        END,
        bytes(512),
        bytes(10240),
        member("a", b"abc") + END + b"anything may follow the end",
        member("a", b"abc"),
        member("a", b"abc")[: 512 + 3],
        member("a") + bytes(512),
    ],
)
def test_ends_that_are_accepted(archive):
    entries, _ = walk(archive)
    assert [entry.path for entry in entries] == (["a"] if archive[:1] == b"a" else [])


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (b"not a tar archive", "truncated"),
        (b"not a tar archive " * 100, "not a number"),
        (b"\x01" * 512, "not a number"),
        (member("a", b"x" * 2000)[:1500], "truncated"),
        (member("a", b"x" * 600)[: 512 + 599], "truncated"),
        (member("a")[:300], "truncated"),
        (member("a") + bytes(300), "truncated"),
        (member("a") + bytes(512) + member("b"), "only one block of zeros"),
        (member("a") + bytes(512) + b"x", "truncated"),
        (member("a")[:100] + b"9" + member("a")[101:] + END, "checksum"),
        (patched(member("a"), 124, b"00000000009\0") + END, "not a number"),
        (patched(member("a"), 124, b"-0000000001\0") + END, "not a number"),
        (patched(member("a"), 124, b"0_000000001\0") + END, "not a number"),
        (patched(member("a"), 124, b"\xff" * 12) + END, "negative size"),
        (patched(member("a"), 124, b"\x80\xff" + bytes(10)) + END, "63 bits"),
        (extended(b"x", record("path", b"p")) + END, "ends after the headers"),
        (extended(b"x", record("path", b"p")), "truncated"),
        (extended(b"x", record("path", b"p"))[:700], "truncated"),
        (extended(b"x", b"nonsense") + member() + END, "without a length"),
        (extended(b"x", b"99 path=p\n") + member() + END, "wrong length"),
        (extended(b"x", b"10 path=pp") + member() + END, "wrong length"),
        (extended(b"x", b"7 path\n") + member() + END, "without a key"),
        (extended(b"x", record("size", b"-1")) + member() + END, "negative size"),
        (extended(b"x", record("size", b"ten")) + member() + END, "not a number"),
        (extended(b"x", record("size", b"9" * 19)) + member() + END, "63 bits"),
        (extended(b"x", record("size", b"9" * 4000)) + member() + END, "not a number"),
        (patched(member(), 156, b"S")[:482] + b"\1", "truncated"),
    ],
)
def test_invalid_archives_are_rejected(archive, says):
    error = refusal(archive)
    assert error.code == "archive"
    assert "in entry" in error.message
    assert " at byte " in error.message
    assert says in error.message


@pytest.mark.parametrize(
    "body", [record("path", b"a\0b"), record("mtime", b"soon"), record("mtime", b"1" * 30), record("uid", b"x")]
)
def test_invalid_pax_fields_are_rejected_when_entries_are_read(body):
    walker = TarWalker(lambda _: None)
    with pytest.raises(Malformed, match="pax header, in entry 1 at byte"):
        walker.feed(extended(b"x", body) + member() + END)


def test_errors_have_the_position():
    archive = member("a") + member("b", b"x" * 600) + b"nonsense".ljust(512, b"?")
    assert "in entry 3 at byte 2,048" in refusal(archive).message


def test_limits():
    many = member("a") * 11 + END
    assert refusal(many, TarLimits(max_entries=10)).code == "bomb"
    walk(many, limits=TarLimits(max_entries=11))
    long = TarLimits(max_name=200, max_header=1000)
    assert refusal(extended(b"x", record("comment", b"c" * 2000)) + member() + END, long).code == "bomb"
    assert refusal(extended(b"g", record("comment", b"c" * 2000)) + member() + END, long).code == "bomb"
    assert refusal(member("", b"n" * 300, b"L") + member() + END, long).code == "bomb"
    walk(member("", b"n" * 200 + b"\0", b"L") + member() + END, limits=long)
    huge = patched(member("", kind=b"x"), 124, b"77777777777\0")
    assert refusal(huge).code == "bomb"
    walker = TarWalker(lambda _: None, long)
    with pytest.raises(Malformed, match="a name of 300 bytes"):
        walker.feed(extended(b"x", record("path", b"p" * 300)) + member() + END)
