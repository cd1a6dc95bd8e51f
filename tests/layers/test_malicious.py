"""Malicious archives: each is rejected with its own code or contained, and no file outside the folder changes."""

from __future__ import annotations

import copy
import gzip
import io
import os
import pathlib
import resource
import shutil
import tarfile
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imq.engine.layers.flatten import FlatArchive
from imq.engine.layers.layer_reader import LayerLimits
from imq.engine.layers.overlay import UnpackLimits
from imq.engine.layers.tar_walker import TarLimits
from imq.engine.layers.unpack import unpack_layers
from imq.engine.layers.zstd import zstd
from imq.grammar.errors import ImqError
from layers.stacks import archive, describe_tree, folder, layer, link, member, stacked, symlink
from support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.layers.layer_stack import StackedLayer

LOWER = layer(folder("etc"), member("etc/passwd", b"image"), folder("d"), member("d/low", b"low"))


@pytest.fixture
def around(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder with files; layers are unpacked next to it, and it must not change."""
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "secret").write_text("secret")
    (outside / "inner" / "deep").write_text("deep")
    os.symlink("secret", outside / "link")
    before = _inodes(tmp_path)
    yield tmp_path
    assert {name: said for name, said in _inodes(tmp_path).items() if not name.startswith("root")} == before


def _inodes(path: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """Return the description of a tree with inodes, link counts and change times; for the parent only its names."""
    found = {}
    for name, said in describe_tree(path).items():
        about = os.lstat(path / name)
        if name != ".":
            found[name] = (*said, about.st_ino, about.st_nlink, about.st_ctime_ns)
    return found


def plain(name: str, content: bytes = b"evil", **told: object) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, content, **told)


def raw(name: bytes, size: int, body: bytes = b"", kind: bytes = b"0", major: bytes = b"") -> bytes:
    """Return a ustar header with any name and size, and the content after it."""
    info = tarfile.TarInfo("x" * len(name))
    info.type, info.size = kind, size
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[: len(name)] = name
    header[329 : 329 + len(major)] = major
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header) + body


REFUSED: dict[str, tuple[str, Sequence[tuple[tarfile.TarInfo, bytes]]]] = {
    "parent": ("path-escape", [plain("../outside/new")]),
    "parent of the root": ("path-escape", [plain("..")]),
    "parent within": ("path-escape", [folder("a"), plain("a/../../outside/secret")]),
    "parent behind a slash": ("path-escape", [plain("/../outside/secret")]),
    "links in a circle": ("path-parent", [symlink("a", "b"), symlink("b", "a"), plain("a/x")]),
    "a folder that becomes a file": ("path-parent", [folder("d"), plain("d/a"), plain("d"), plain("d/b")]),
    "a file in the root's place": ("path", [plain("./")]),
    "a link in the root's place": ("path", [symlink(".", "../outside")]),
    "a hard link up": ("link-target", [link("x", "../outside/secret")]),
    "a hard link to a path out there": ("link-target", [link("x", "@/secret")]),
    "a hard link through a link": ("link-target", [symlink("up", "../outside"), link("x", "up/secret")]),
    "a hard link to a folder": ("link-target", [folder("a"), link("x", "a")]),
    "a hard link to nothing": ("link-target", [link("x", "nothing")]),
    "a hard link to itself": ("link-target", [link("x", "x")]),
    "a hard link to a hidden file": ("link-target", [member("d/.wh.low"), link("x", "d/low")]),
    "a whiteout of the parent": ("whiteout", [member(".wh...")]),
    "a whiteout of the folder": ("whiteout", [member("d/.wh..")]),
    "a whiteout of nothing": ("whiteout", [member("d/.wh.")]),
    "a whiteout as a folder": ("whiteout", [plain(".wh.d/x")]),
    "a whiteout up": ("path-escape", [member("../outside/.wh.secret")]),
    "a name that is too long": ("path", [plain("n" * 300)]),
    "a path that is too deep": ("path-depth", [plain("d/" * 200 + "x")]),
    "folders that get deeper": (
        "path-depth", [plain("a/" * 100 + "x"), symlink("s", "a/" * 100), plain("s/" + "a/" * 100 + "y")],
    ),
    "an owner that is nobody": ("owner", [plain("x", uid=(1 << 32) - 1)]),
    "a type that no file has": ("entry-type", [member("x", kind=b"Q")]),
}  # fmt: skip


def pointing(info, outside):
    """Return a member in whose link target @ is replaced by the folder outside."""
    told = copy.copy(info)
    told.linkname = info.linkname.replace("@", outside)
    return told


@pytest.mark.parametrize("kernel", [True, False], ids=["openat2", "descriptors"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused(around, case, kernel):
    code, members = REFUSED[case]
    if code == "owner" and os.geteuid() != 0:
        pytest.skip("owners are root's to give")
    told = [(pointing(info, str(around / "outside")), body) for info, body in members]
    with pytest.raises(ImqError) as caught:
        unpack_layers((LOWER, layer(*told)), str(around / "root"), use_openat2=kernel)
    assert caught.value.code == code
    assert not os.path.exists(around / "root")


CONTAINED: dict[str, tuple[str, Sequence[tuple[tarfile.TarInfo, bytes]]]] = {
    "an absolute name": ("outside/secret", [plain("/outside/secret")]),
    "a link up to no folder": ("outside/secret", [symlink("up", "../outside"), plain("up/secret")]),
    "a link up in steps to no folder": (
        "outside/secret",
        [symlink("a", ".."), symlink("b", "a/outside"), plain("b/secret")],
    ),
    "a link up to no folder, and a folder": (
        "outside/new/x",
        [symlink("up", "../outside"), folder("up/new"), plain("up/new/x")],
    ),
    "a link to an absolute path that is not here": ("var/none/x", [symlink("out", "/var/none"), plain("out/x")]),
    "a link that climbs far to no folder": ("none/x", [symlink("out", "/../../../../none"), plain("out/x")]),
    "a link to the process": ("proc/self/root/tmp/x", [symlink("out", "/proc/self/root/tmp"), plain("out/x")]),
    "a file that becomes a link to no folder": (
        "outside/secret",
        [plain("x"), symlink("x", "../outside"), plain("x/secret")],
    ),
    "a folder that becomes a link to no folder": (
        "outside/secret",
        [folder("d"), plain("d/a"), symlink("d", "../outside"), plain("d/secret")],
    ),
    "a link to an absolute path that is here too": ("etc/shadow", [symlink("e", "/etc"), plain("e/shadow")]),
    "a link that climbs less than it went down": ("etc/new", [symlink("d/e", "../etc"), plain("d/e/new")]),
    "a link in the root that climbs": ("usr/x", [folder("usr"), symlink("lib", "../usr"), plain("lib/x")]),
    "a link that climbs far": ("etc/new", [symlink("d/b", "../../../../../etc"), plain("d/b/new")]),
    "an absolute link that climbs": ("etc/new", [symlink("e", "/../../etc"), plain("e/new")]),
    "a link that climbs between folders": ("etc/new", [symlink("e", "d/../../d/../../etc"), plain("e/new")]),
    "links that climb one after the other": ("etc/new", [symlink("up", ".."), plain("up/up/up/etc/new")]),
    "a link through a link that climbs": (
        "etc/new",
        [symlink("up", "../.."), symlink("e", "up/../etc"), plain("e/new")],
    ),
    "a hard link that climbs": ("x", [link("x", "../../etc/passwd")]),
    "a hard link that climbs behind a slash": ("x", [link("x", "/../etc/passwd")]),
    "a hard link through a link that climbs": ("x", [symlink("up", "../.."), link("x", "up/etc/passwd")]),
    "a whiteout through a link that climbs": ("x", [symlink("up", "../outside"), member("up/.wh.secret"), plain("x")]),
    "an opaque whiteout through a link that climbs": (
        "x",
        [symlink("up", "../outside"), member("up/.wh..wh..opq"), plain("x")],
    ),
    "a file over a link": ("x", [symlink("x", "../outside/secret"), plain("x")]),
    "a folder over a link": ("x/secret", [symlink("x", "../outside"), folder("x"), plain("x/secret")]),
    "a device over a link": ("x", [symlink("x", "../outside/secret"), member("x", kind=tarfile.CHRTYPE)]),
    "a hard link to a link": ("y", [symlink("x", "../outside/secret"), link("y", "x"), plain("y")]),
    "an entry twice": ("x", [plain("x", b"1"), plain("x", b"2")]),
    "everything hidden": ("x", [member(".wh..wh..opq"), plain("x")]),
    "a hidden link": ("y", [symlink("x", "../outside"), member("./.wh.x"), plain("y")]),
    "a name of bytes": (os.fsdecode(b"\xff\xfe"), [plain(os.fsdecode(b"\xff\xfe"))]),
    "a name like an option": ("-rf", [plain("-rf")]),
    "a name of a line": ("a\nb", [plain("a\nb")]),
}


@pytest.mark.parametrize("kernel", [True, False], ids=["openat2", "descriptors"])
@pytest.mark.parametrize("case", CONTAINED)
def test_contained(around, case, kernel):
    path, members = CONTAINED[case]
    unpack_layers((LOWER, layer(*members)), str(around / "root"), use_openat2=kernel)
    assert os.path.lexists(around / "root" / path)
    assert not os.path.islink(around / "root" / path)


@pytest.mark.parametrize("kernel", [True, False], ids=["openat2", "descriptors"])
def test_a_climbing_link_stays_inside_of_the_image(around, kernel):
    members = [symlink("up", "../../outside"), folder("outside"), plain("up/secret", b"image")]
    gone = [member("up/.wh.secret"), link("linked", "../etc/passwd")]
    unpack_layers((LOWER, layer(*members), layer(*gone)), str(around / "root"), use_openat2=kernel)
    assert os.listdir(around / "root" / "outside") == []
    assert (around / "root" / "linked").read_bytes() == b"image"
    assert os.readlink(around / "root" / "up") == "../../outside"
    assert os.stat(around / "root" / "linked").st_ino == os.stat(around / "root" / "etc" / "passwd").st_ino


NAMES = ("a", "b", "up", "etc", "outside", "secret")


@st.composite
def layers_of_links(draw: st.DrawFn) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Draw entries with many climbing links, and entries that use them as parents."""
    parts = st.lists(st.sampled_from([*NAMES, "..", "."]), min_size=1, max_size=6)
    paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
    targets = st.builds(lambda slash, names: slash + "/".join(names), st.sampled_from(["", "/"]), parts)
    made = []
    for path in draw(st.lists(paths, max_size=12)):
        kind = draw(st.sampled_from(["file", "folder", "symlink", "symlink", "link", "whiteout", "opaque"]))
        above, _, name = path.rpartition("/")
        match kind:
            case "file":
                made.append(plain(path))
            case "folder":
                made.append(folder(path))
            case "symlink":
                made.append(symlink(path, draw(targets)))
            case "link":
                made.append(link(path, draw(targets)))
            case _:
                hidden = ".wh." + (name if kind == "whiteout" else ".wh..opq")
                made.append(member(f"{above}/{hidden}" if above else hidden))
    return made


@given(st.lists(layers_of_links(), min_size=1, max_size=3), st.booleans())
@settings(max_examples=100, deadline=None)
def test_links_never_change_files_outside(drawn, kernel):
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)
        for path in ("outside/secret", "etc/secret", "secret"):
            (place / path).parent.mkdir(exist_ok=True)
            (place / path).write_bytes(b"kept")
        before = _inodes(place)
        stack = (LOWER, *(layer(*one) for one in drawn))
        refused = ""
        try:
            unpack_layers(stack, str(place / "root"), use_openat2=kernel)
            shutil.rmtree(place / "root")
            content = b"".join(map(bytes, FlatArchive(stack).iter_pieces()))
        except ImqError as problem:
            refused, content = problem.code, archive(())
        assert refused in {"", "path-parent", "link-target", "path", "whiteout"}
        with tarfile.open(fileobj=io.BytesIO(content)) as opened:
            assert not [one.name for one in opened if one.name.startswith("/") or ".." in one.name.split("/")]
        assert _inodes(place) == before


def test_an_opaque_whiteout_leaves_only_its_own_layer(around):
    unpack_layers((LOWER, layer(member(".wh..wh..opq"), plain("x"))), str(around / "root"))
    assert os.listdir(around / "root") == ["x"]


def zeros(size: int) -> Iterator[bytes]:
    for _ in range(size >> 20):
        yield bytes(1 << 20)


def gzip_bomb() -> StackedLayer:
    stream = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed:
        packed.write(raw(b"zeros", 1 << 30))
        for piece in zeros(1 << 28):
            packed.write(piece)
    return stacked(b"", "gzip", stream.getvalue())


def zstd_window() -> StackedLayer:
    parameter = zstd.CompressionParameter
    packer = zstd.ZstdCompressor(options={parameter.window_log: 30, parameter.enable_long_distance_matching: 1})
    return stacked(b"", "zstd", packer.compress(raw(b"x", 0)) + packer.flush())


def zstd_bomb() -> StackedLayer:
    packer = zstd.ZstdCompressor(level=3)
    parts = [packer.compress(raw(b"zeros", 1 << 30)), *(packer.compress(piece) for piece in zeros(1 << 28))]
    return stacked(b"", "zstd", b"".join((*parts, packer.flush())))


def sparse_bomb() -> StackedLayer:
    info, _ = member("hole")
    info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 62)}
    return stacked(archive([(info, b"")]))


def sparse_overlap(content: str, size: int) -> StackedLayer:
    info, body = member("hole", b"x" * size)
    info.pax_headers = {"GNU.sparse.map": content, "GNU.sparse.size": "1000"}
    return stacked(archive([(info, body)]))


def sparse_map(content: bytes) -> StackedLayer:
    info, body = member("hole", content)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000"}
    return stacked(archive([(info, body)]))


def nul_in_name() -> StackedLayer:
    info, body = plain("x")
    info.pax_headers = {"path": "etc/passwd\0.txt"}
    return stacked(archive([(info, body)]))


def many_entries() -> StackedLayer:
    return stacked(b"", "gzip", gzip.compress(raw(b"same", 0) * 1_000_000, 1))


def broken_stream() -> StackedLayer:
    return stacked(b"", "gzip", gzip.compress(raw(b"x", 9000) + os.urandom(9000))[:-9])


def impossible_device() -> StackedLayer:
    return stacked(raw(b"x", 0, kind=b"3", major=b"\x80\0\0\xff\xff\xff\xff\xff"))


SMALL = UnpackLimits(
    max_bytes=1 << 31,
    max_entries=10_000,
    layer=LayerLimits(max_bytes=1 << 27, archive=TarLimits(max_entries=200_000)),
)
STOPPED = {
    "a gzip bomb": ("bomb", gzip_bomb),
    "a zstd bomb": ("bomb", zstd_bomb),
    "a window of 1 GiB": ("compression", zstd_window),
    "a hole of 4 EiB": ("bomb", sparse_bomb),
    "pieces that overlap": ("archive", lambda: sparse_overlap("0,100,50,100", 200)),
    "pieces behind the end": ("archive", lambda: sparse_overlap("0,100,5000,100", 200)),
    "pieces without content": ("archive", lambda: sparse_overlap("0,1000", 10)),
    "half a pair": ("archive", lambda: sparse_overlap("0,100,5000", 100)),
    "a map without an end": ("archive", lambda: sparse_map(b"9\n1\n")),
    "a map of a million": ("archive", lambda: sparse_map(b"1000000\n" + b"1\n" * 20_000)),
    "a map of words": ("archive", lambda: sparse_map(b"one\n" * 1000)),
    "a size of 4 GiB and no body": ("bomb", lambda: stacked(raw(b"x", 1 << 32))),
    "a body that is too short": ("archive", lambda: stacked(raw(b"x", 1 << 30, b"short"))),
    "a pax header of 100 MB": ("bomb", lambda: stacked(raw(b"x", 100_000_000, b"1", b"x"))),
    "a name of 100 MB": ("bomb", lambda: stacked(raw(b"x", 100_000_000, b"1", b"L"))),
    "a name with a zero byte": ("archive", nul_in_name),
    "a million entries": ("bomb", many_entries),
    "no archive at all": ("archive", lambda: stacked(b"garbage" * 1000)),
    "a stream that breaks off": (
        "truncated",
        lambda: stacked(b"", "gzip", gzip.compress(raw(b"x", 9000) + os.urandom(9000))[:-9]),
    ),
    "a device of impossible numbers": (
        "device",
        lambda: stacked(raw(b"x", 0, b"", b"3", b"\x80\0\0\xff\xff\xff\xff\xff")),
    ),
}


@pytest.mark.parametrize("case", STOPPED)
def test_stopped(around, case):
    code, make = STOPPED[case]
    made = make()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with deadline(), pytest.raises(ImqError) as caught:
        unpack_layers((LOWER, made), str(around / "root"), limits=SMALL)
    assert caught.value.code == code
    assert made.digest in caught.value.message
    assert not os.path.exists(around / "root")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 64 << 10  # KiB


def test_many_whiteouts_take_linear_time(around):
    """Opaque whiteouts list their folder only once."""
    files = [member(f"d/{number}") for number in range(3000)]
    with deadline():
        unpack_layers((LOWER, layer(*files, *[member("d/.wh..wh..opq")] * 3000)), str(around / "root"))
    assert len(os.listdir(around / "root" / "d")) == 3000
