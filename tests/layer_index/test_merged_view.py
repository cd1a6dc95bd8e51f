"""The index of files shows the tree that unpacking the layers makes: drawn stacks, and stacks by hand."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from imq.engine.layer_index import hiding
from imq.engine.layer_index.index import FileIndex
from imq.engine.layer_index.path_text import to_path, to_text
from imq.engine.layer_index.scan import scan_layer
from imq.engine.layer_index.schema import INDEX_TABLES, SCHEMA
from imq.engine.layers.compression import decompress, detect_compression
from imq.engine.layers.flatten import FlatArchive
from imq.engine.oci.digest import Digest
from imq.grammar.errors import ImqError
from layers.stacks import Member, archive, folder, layer, link, member, stacked, symlink
from layers.test_unpack import CLIMBING, STACK

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Sequence

    from imq.engine.layer_index.stacks import StackKeys
    from imq.engine.layers.layer_stack import StackedLayer

Tree = dict[str, tuple[Any, ...]]
TYPES = ("file", "directory", "symlink", "file", "char", "block", "fifo")
VISIBLE = f"""
SELECT directory.path || '/' || entry.name, entry.type, entry.mode, entry.uid, entry.gid, entry.size,
    entry.mtime, entry.link, coalesce(entry.content_layer, entry.layer), entry.offset
FROM stack CROSS JOIN {SCHEMA}.entry ON entry.layer = stack.layer
CROSS JOIN {SCHEMA}.directory ON directory.key = entry.directory
WHERE entry.type NOT IN (7, 8) AND NOT EXISTS (
    SELECT 1 FROM {SCHEMA}.hidden WHERE hidden.layer = entry.layer AND hidden.directory = entry.directory
    AND hidden.name = entry.name AND hidden.chain IN (SELECT chain FROM stack))
"""


@pytest.fixture(scope="module")
def index() -> Iterator[FileIndex]:
    connection = sqlite3.connect(":memory:", isolation_level=None, uri=True)
    connection.execute(f"ATTACH ':memory:' AS {SCHEMA}")
    for statement in INDEX_TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute("CREATE TEMP TABLE stack (layer, chain)")
    yield FileIndex(connection)
    connection.close()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("scans")


def add(index: FileIndex, layers: Sequence[StackedLayer], scratch: pathlib.Path) -> None:
    for one in layers:
        if index.list_missing((one.diff_id,)):
            path = scratch / one.diff_id.encoded
            with one.open() as blob:
                assert scan_layer([blob.read(-1)], str(path)) == one.diff_id
            index.add(str(path), 1)
            path.unlink()


def describe(index: FileIndex, layers: Sequence[StackedLayer]) -> StackKeys:
    (keys,) = index.describe_stacks([tuple(one.diff_id for one in layers)], 1).values()
    if isinstance(keys, ImqError):
        raise keys
    return keys


def shown_by_index(index: FileIndex, layers: Sequence[StackedLayer]) -> Tree:
    keys = describe(index, layers)
    index.connection.execute("DELETE FROM temp.stack")
    index.connection.executemany("INSERT INTO stack VALUES (?, ?)", zip(keys.layers, keys.chains, strict=True))
    found: Tree = {}
    for path, type_, mode, uid, gid, size, mtime, target, content_layer, offset in index.connection.execute(VISIBLE):
        assert path not in found, path
        content = (content_layer, offset) if TYPES[0 if type_ == 3 else 1 if type_ == 9 else type_] == "file" else None
        kind = "directory" if type_ == 9 else TYPES[type_]
        about = (None,) * 4 if type_ == 9 else (mode, uid, gid, mtime)
        found[path] = (kind, about, size if kind == "file" else 0, target if kind == "symlink" else None, content)
    return found


def list_hidden(index: FileIndex, layers: Sequence[StackedLayer]) -> list[tuple[object, ...]]:
    """Return what the layers of a stack hide: the position of the hiding layer, that of the other one, path, status."""
    keys = describe(index, layers)
    found = []
    for upper, chain in enumerate(keys.chains):
        for lower, *rest in index.connection.execute(
            f"""SELECT hidden.layer, directory.path, hidden.name, hidden.status FROM {SCHEMA}.hidden
            JOIN {SCHEMA}.directory ON directory.key = hidden.directory WHERE hidden.chain = ?""",
            (chain,),
        ):
            found.append((upper, keys.layers.index(lower), *rest))
    return sorted(found, key=str)


def read_content(index: FileIndex, layers: Sequence[StackedLayer], place: tuple[int, int], size: int) -> bytes:
    key, offset = place
    (diff_id,) = index.connection.execute(f"SELECT diff_id FROM {SCHEMA}.layer WHERE key = ?", (key,)).fetchone()
    (found,) = {one.diff_id: one for one in layers if one.diff_id == diff_id}.values()
    with found.open() as blob:
        plain = blob.read(-1)
    return plain[offset : offset + size]


def compare(index: FileIndex, layers: Sequence[StackedLayer], scratch: pathlib.Path) -> None:
    """Compare what the index shows with the flattened archive of the layers, which must be plain."""
    flat = io.BytesIO(b"".join(bytes(piece) for piece in FlatArchive(layers).iter_pieces()))
    add(index, layers, scratch)
    found = shown_by_index(index, layers)
    expected: Tree = {}
    with tarfile.open(fileobj=flat) as opened:
        members = {one.name: one for one in opened.getmembers()}
        for name, one in members.items():
            real = members[one.linkname] if one.islnk() else one
            kind = {
                tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink",
                tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo",
            }[real.type]  # fmt: skip
            path = f"/{to_text(name)}"
            about: tuple[Any, ...] = (real.mode, real.uid, real.gid, int(real.mtime))
            if kind == "directory" and path in found and found[path][1][0] is None:
                about = (None,) * 4  # a folder without an entry: tools differ on its metadata
            content = None
            if kind == "file":
                source = opened.extractfile(real)
                assert source is not None
                content = source.read()
            expected[path] = (kind, about, real.size, to_text(real.linkname) if real.issym() else None, content)
    for path, (kind, about, size, target, place) in found.items():
        content = read_content(index, layers, place, size) if kind == "file" else None
        found[path] = (kind, about, size, target, content)
    assert found == expected


@pytest.mark.parametrize("stack", [STACK, CLIMBING], ids=["usual", "climbing"])
def test_stacks_by_hand(index: FileIndex, scratch: pathlib.Path, stack: tuple[StackedLayer, ...]) -> None:
    plain = []
    for one in stack:
        with one.open() as blob:
            content = blob.read(-1)
        plain.append(stacked(b"".join(decompress(detect_compression(content), [content]))))
    compare(index, plain, scratch)


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@st.composite
def entries(draw: st.DrawFn) -> Member:
    path = draw(PATHS)
    match draw(st.sampled_from(["file", "file", "folder", "folder", "symlink", "link", "whiteout", "opaque"])):
        case "file":
            return member(path, draw(st.binary(max_size=3)), mode=draw(st.sampled_from([0o644, 0o4755])))
        case "folder":
            return folder(path, draw(st.sampled_from([0o755, 0o700])))
        case "symlink":
            return symlink(path, draw(st.sampled_from(["a", "/b", "../c", "b/c", "/"])))
        case "link":
            return link(path, draw(PATHS))
        case "whiteout":
            above, _, name = path.rpartition("/")
            return member(f"{above}/.wh.{name}".lstrip("/"))
        case _:
            return member(f"{path}/.wh..wh..opq")


def is_ordinary(members: list[Member]) -> bool:
    """Whether no entry of a layer replaces another one of the same layer, but for folders."""
    paths = [info.name for info, _ in members if not info.isdir()]
    below = {info.name.rpartition("/")[0] for info, _ in members}
    below |= {path.rpartition("/")[0] for path in below}
    folders = {info.name for info, _ in members if info.isdir()}
    links = {info.name for info, _ in members if info.issym()}
    return len({*paths}) == len(paths) and not {*paths} & ((below - links) | folders)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(entries(), max_size=6).filter(is_ordinary), min_size=1, max_size=4))
@example([[symlink("a", "b")], [member("a/c", b"1"), member(".wh.a")]])  # the link is deleted after its use
@example([[symlink("a", "b")], [member(".wh.a"), member("a/c", b"1")]])
@example([[symlink("a", "b")], [member("a/c", b"1"), member(".wh.a"), member("a/b", b"2")]])
@example([[symlink("a", "b")], [member("a/c", b"1"), folder("a")]])
@example([[symlink("a", "b")], [member("a/c", b"1"), symlink("a", "/c"), member("a/b", b"2")]])
@example([[member("a/a", b"")], [member("a/c", b"1"), symlink("a", "/c")]])  # the folder is replaced, not followed
@example([[symlink("a", "/b"), symlink("b/c", "../c")], [member("a/c/a", b"1")]])  # a link behind a link
@example([[symlink("a/b", "../c")], [member(".wh.a"), member("a/b/c", b"1")]])
@example([[symlink("a", "b")], [symlink("a/c", "/c"), member("b/c/a", b"1"), link("b/a", "a/c/a")]])
@example([[symlink("a", "c"), folder("a/a"), member("c", b"1")]])  # a file replaces what the link led to
@example([[member("b/a", b"1"), symlink("b", "/"), member("a", b"2"), folder("b/b")]])  # a link that leads to itself
@example([[folder("c/a/a")], [symlink("c/a", "../c"), folder("c/a/a")]])
@example([[symlink("a", "b"), member("c", b"1")], [link("a/x", "c"), member("b/x", b"2")]])  # a link that is replaced
@example([[symlink("a", "b")], [link("c", "a"), member("c/a", b"1")]])  # a hard link to a symbolic link
@example([[symlink("a", "/"), folder("a/a"), folder("a/a", 0o700)]])  # the second path leads elsewhere
@example([[symlink("a", "/")], [folder("a/a", 0o700), folder("a/a")]])
@example([[symlink("a", "b")], [folder("a/b"), folder("b/b", 0o700), folder("a/b"), member("a/b/c", b"1")]])
@example([[symlink("a", "b"), symlink("b/a", "/")], [folder("b/a/b"), folder("b/a/b/b"), folder("b/a/b/b")]])
def test_drawn_stacks(index: FileIndex, scratch: pathlib.Path, drawn: list[list[Member]]) -> None:
    stack = [stacked(archive(members)) for members in drawn]
    try:
        for _ in FlatArchive(stack).iter_pieces():
            pass
    except ImqError:
        assume(False)  # such a stack cannot be unpacked
    compare(index, stack, scratch)
    hidden = list_hidden(index, stack)
    index.drop(one.diff_id for one in stack)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hiding, "_FREE_LOOKUPS", -1 << 30)  # as for large layers on many others
        compare(index, stack, scratch)
        assert list_hidden(index, stack) == hidden


@pytest.mark.parametrize("lower", [member("a/a", b"old"), symlink("a/a", "b")], ids=["file", "symlink"])
@pytest.mark.parametrize(
    "later", [member("a/a", b"new"), symlink("a/a", "/b"), link("a/a", "b"), link("a/c", "b")],
    ids=["file", "symlink", "link back", "other link"],
)  # fmt: skip
def test_a_hard_link_leads_to_what_is_there_before_it(
    index: FileIndex, scratch: pathlib.Path, lower: Member, later: Member
) -> None:
    compare(index, [stacked(archive([lower])), stacked(archive([link("b", "a/a"), later]))], scratch)


@given(st.binary(max_size=12))
def test_every_path_has_one_string(path: bytes) -> None:
    written = path.decode("utf-8", "surrogateescape")
    text = to_text(written)
    text.encode()
    assert to_path(text) == written


@given(st.text(st.sampled_from([chr(0x10DC80), chr(0x10DCFF), "a", "é"])))
def test_private_characters_are_paths_too(path: str) -> None:
    assert to_path(to_text(path)) == path


def test_no_two_paths_share_a_string() -> None:
    paths = [b"\xff", chr(0x10DCFF).encode(), b"\\xff", "ÿ".encode()]
    assert len({to_text(path.decode("utf-8", "surrogateescape")) for path in paths}) == len(paths)


def test_lower_layers_are_described_once(index: FileIndex, scratch: pathlib.Path) -> None:
    base = stacked(archive([folder("shared"), member("shared/x", b"1")]))
    one, two = stacked(archive([member("one", b"1")])), stacked(archive([member("shared/x", b"2")]))
    add(index, [base, one, two], scratch)
    first, second = (describe(index, [base, top]) for top in (one, two))
    assert first.chains[0] == second.chains[0]
    assert first.layers[0] == second.layers[0]
    assert set(shown_by_index(index, [base, one])) == {"/shared", "/shared/x", "/one"}
    assert shown_by_index(index, [base, two])["/shared/x"][4][0] == second.layers[1]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(entries(), max_size=4).filter(is_ordinary), min_size=1, max_size=5),
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=2, max_size=4),
)
def test_stacks_are_the_same_described_together_and_alone(
    index: FileIndex, scratch: pathlib.Path, drawn: list[list[Member]], orders: list[list[int]]
) -> None:
    layers = [stacked(archive(members)) for members in drawn]
    stacks = [tuple(layers[at % len(layers)] for at in order) for order in orders]
    add(index, layers, scratch)
    together = index.describe_stacks((tuple(one.diff_id for one in stack) for stack in stacks), 1)
    problems = {keys for keys, found in together.items() if isinstance(found, ImqError)}
    sound = [stack for stack in stacks if tuple(one.diff_id for one in stack) not in problems]
    hidden = [list_hidden(index, stack) for stack in sound]
    index.drop(one.diff_id for one in layers)
    add(index, layers, scratch)
    for stack in stacks:
        if stack not in sound:
            with pytest.raises(ImqError):
                describe(index, stack)
    assert [list_hidden(index, stack) for stack in sound] == hidden
    index.drop(one.diff_id for one in layers)


def test_a_stack_that_cannot_be_unpacked_leaves_the_others(index: FileIndex, scratch: pathlib.Path) -> None:
    loop = stacked(archive([symlink("loop", "loop")]))
    into, plain = stacked(archive([member("loop/x", b"1")])), stacked(archive([member("plain/x", b"1")]))
    add(index, [loop, into, plain], scratch)
    bad, above, good = (
        tuple(one.diff_id for one in stack) for stack in ([loop, into], [loop, into, plain], [loop, plain])
    )
    found = index.describe_stacks([above, good, bad], 1)
    assert isinstance(found[bad], ImqError)
    assert str(found[above]) == str(found[bad])
    assert not isinstance(found[good], ImqError)
    again = index.describe_stacks([above, good], 1)
    assert (str(again[above]), again[good]) == (str(found[above]), found[good])
    (rows,) = index.connection.execute(
        f"SELECT count(*) FROM {SCHEMA}.hidden WHERE chain NOT IN (SELECT key FROM {SCHEMA}.chain)"
    ).fetchone()
    assert rows == 0


def test_a_layer_that_was_removed_meanwhile(index: FileIndex, scratch: pathlib.Path) -> None:
    one, two = stacked(archive([member("removed", b"1")])), stacked(archive([member("kept", b"1")]))
    add(index, [one, two], scratch)
    index.drop([one.diff_id])
    found = index.describe_stacks([(two.diff_id, one.diff_id), (two.diff_id,)], 1)
    error = found[two.diff_id, one.diff_id]
    assert isinstance(error, ImqError)
    assert (error.code, one.diff_id in error.message) == ("layer-index", True)
    assert not isinstance(found[two.diff_id,], ImqError)


def test_dropped_layers_take_their_stacks_with_them(index: FileIndex, scratch: pathlib.Path) -> None:
    base, top = stacked(archive([member("dropped/x", b"1")])), stacked(archive([member("dropped/.wh.x")]))
    add(index, [base, top], scratch)
    describe(index, [base, top])
    index.drop([base.diff_id])
    assert index.list_missing([base.diff_id, top.diff_id]) == [base.diff_id]
    (rows,) = index.connection.execute(
        f"SELECT (SELECT count(*) FROM {SCHEMA}.chain WHERE layer NOT IN (SELECT key FROM {SCHEMA}.layer))"
        f" + (SELECT count(*) FROM {SCHEMA}.hidden WHERE layer NOT IN (SELECT key FROM {SCHEMA}.layer))"
        f" + (SELECT count(*) FROM {SCHEMA}.entry WHERE layer NOT IN (SELECT key FROM {SCHEMA}.layer))"
    ).fetchone()
    assert rows == 0
    add(index, [base], scratch)
    assert "/dropped/x" not in shown_by_index(index, [base, top])


def test_a_scan_of_another_version_is_refused(index: FileIndex, scratch: pathlib.Path) -> None:
    path = scratch / "other"
    scan_layer([archive([member("x")])], str(path))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE scan SET version = 0")
    connection.commit()
    connection.close()
    with pytest.raises(ValueError, match="version 0"):
        index.add(str(path), 1)


def test_the_layer_keeps_its_diff_id_when_it_is_compressed(scratch: pathlib.Path) -> None:
    packed = layer(member("x", b"content"))
    with packed.open() as blob:
        assert scan_layer([blob.read(-1)], str(scratch / "packed")) == packed.diff_id
    assert isinstance(packed.diff_id, Digest)
