"""index.json while it is edited: a text with one entry on each line.

An entry is parsed when it is looked up, and an edit costs the lines that it changes and one copy of the file. So a
change of one name takes as long for a hundred thousand names as for one, except for reading and writing the file.
The text is what `encode` writes: JSON has no line break within a string, so each line is exactly one entry.
"""

from __future__ import annotations

import re

from imq.engine.oci.manifest import encode_json, parse_json_object
from imq.engine.units import exact_json
from imq.grammar.record import TYPE_CHECKING, Record

from .index_json import CONTAINERD_NAME, REF_NAME, IndexEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any, BinaryIO

    from imq.engine.oci.digest import Digest

_SEPARATOR = b",\n"
_END = b"]}"
_PLAIN = rf'\n\{{"mediaType":"[^"\\]*","digest":"([^"\\]*)","size":\d+,"annotations":\{{(?:"{REF_NAME}":"([^"\\]*)"%s)?'
"""The start of a line as imq writes a new entry: the root, and the name in its annotations."""
_WITHOUT_OTHER_NAME = rf"(?![^\n]*{CONTAINERD_NAME})"
_MAX_SEARCHES = 16
"""The number of searches of the whole text, after which the lines are listed by what is searched."""
_DIGEST = rb'"digest":"([^"\\]*)"'
_PIECE_SIZE = 1 << 20
_NAME_END = r'[^/@"\\]*"'
"""The end of a name in JSON: imq and other tools write it alike, whatever registry and repository they write."""
_NAME = rf'"(?:{CONTAINERD_NAME}|{REF_NAME})":"(?:[^"\\]|\\.)*?({_NAME_END})[,}}]'.encode()


def encode(members: Mapping[str, Any], entries: Iterable[IndexEntry]) -> bytes:
    """Return an index.json with these entries, one on each line. `members` are its other members."""
    return encode_objects(members, (entry.to_json() for entry in entries))


def encode_objects(members: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the same for entries as JSON objects."""
    others = {name: value for name, value in members.items() if name != "manifests"}
    head = encode_json({**others, "manifests": []}).removesuffix(_END)
    lines = [encode_json(entry) for entry in entries]
    return b"".join((head, *(_frame(lines)), _END))


def _frame(lines: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield the lines with what is before, between and behind them."""
    separator = b"\n"
    for line in lines:
        yield separator
        yield line
        separator = _SEPARATOR
    if separator == _SEPARATOR:
        yield b"\n"


def iter_pieces(source: BinaryIO) -> Iterator[bytes]:
    """Yield a file that `encode` has written in pieces of whole lines. Each piece but the first begins with a break."""
    rest = b""
    while piece := source.read(_PIECE_SIZE):
        text = rest + piece
        end = max(text.rfind(b"\n"), 0)
        yield text[:end]
        rest = text[end:]
    yield rest


def find_digests(text: bytes) -> list[bytes]:
    """Return the roots of the entries in a text, and what other digests they have: nothing is parsed."""
    return re.findall(_DIGEST, text)


def find_plain(text: bytes) -> list[tuple[str, str]]:
    """Return root and name of the entries whose text shows them at once: of most entries that imq wrote.

    The name is as it is written. It is empty when there is none, or when it takes parsing.
    """
    decoded = text.decode(errors="replace")
    return re.findall(_PLAIN % (_WITHOUT_OTHER_NAME if CONTAINERD_NAME in decoded else ""), decoded)


class IndexEdits(Record):
    """What was edited: the roots of added and dropped entries, and the entries that each of them has now.

    `signature` is that of the file without the edits.
    """

    signature: str
    roots: AbstractSet[Digest]
    entries: Mapping[Digest, Sequence[IndexEntry]]
    """Those of roots that have some."""


class IndexDocument:
    """The entries of index.json, found by root and by name. `content` is a text that `encode` has written."""

    def __init__(self, content: bytes, signature: str = "") -> None:
        content = content.rstrip(b" ")  # see `Layout.overwrite_document`
        head = content.find(b"\n")
        self.signature = signature
        """The signature of the file that was read; empty when there was none."""
        self._content = content
        self._start, self._end = (head + 1, len(content) - len(_END) - 1) if head >= 0 else (0, 0)
        self._head = content[:head] if head >= 0 else content.removesuffix(_END)
        self._entries: dict[int, IndexEntry] = {}
        """The entries that were read or added. The key of a line is its offset; added entries have higher keys."""
        self._keys_by_root: dict[str, list[int]] = {}
        self._keys_by_name: dict[str, list[int]] = {}
        self._names: set[str] = set()
        """The names that were searched."""
        self._next_key = len(content)
        self._dropped: set[int] = set()
        self._old_roots: set[str] = set()
        """The roots that were read and are in the text."""
        self.changed_roots: set[Digest] = set()
        """The digests of the entries that were added or dropped."""
        self._searches = 0
        self._lines: dict[bytes, dict[bytes, list[int]]] = {}

    @property
    def text(self) -> bytes:
        """The text without the edits."""
        return self._content

    def without_edits(self) -> IndexDocument:
        """Return a document with the same text."""
        return IndexDocument(self._content, self.signature)

    # Finding

    def entries_of(self, root: Digest) -> list[IndexEntry]:
        """Return the entries whose descriptor has the digest `root`, in order."""
        return [self._entries[key] for key in self._load(root)]

    def find_named(self, name: str) -> IndexEntry | None:
        """Return the first entry with this name, in the form in which imq shows it; None when there is none."""
        if name not in self._names:
            self._names.add(name)
            end = re.search(_NAME_END.encode() + rb"\Z", exact_json.dumps(name))
            assert end is not None
            for start in self._find_lines(_NAME, end[0], b"%s"):
                self._load(self._parse_line(start).descriptor.digest)
        keys = self._keys_by_name.get(name)
        return self._entries[min(keys)] if keys else None

    def was_root(self, root: Digest) -> bool:
        """Whether the text, without the edits, has an entry with this digest."""
        self._load(root)
        return root in self._old_roots

    def list_digests(self) -> set[bytes]:
        """Return all roots, and what other digests the entries have, added entries included."""
        found = set(find_digests(self.text))
        found.update([root.encode() for root, keys in self._keys_by_root.items() if keys])
        return found

    def _load(self, root: str) -> list[int]:
        """Return the keys of the entries of a root; their lines are parsed when they are first needed."""
        keys = self._keys_by_root.get(root)
        if keys is None:
            keys = self._keys_by_root[root] = []
            for start in self._find_lines(_DIGEST, root.encode(), b'"digest":"%s"'):
                entry = self._parse_line(start)
                if entry.descriptor.digest == root:
                    self._insert(start, entry)
            if keys:
                self._old_roots.add(root)
        return keys

    def _find_lines(self, pattern: bytes, text: bytes, form: bytes) -> list[int]:
        """Return the offsets of the lines with `text` in the `form` in which the group of `pattern` matches it."""
        if self._searches < _MAX_SEARCHES:
            self._searches += 1
            return list(self._search(form % text))
        if pattern not in self._lines:
            lines = self._lines[pattern] = {}
            for match in re.finditer(pattern, self._content):
                lines.setdefault(match[1], []).append(self._line_start(match.start()))
        return list(dict.fromkeys(self._lines[pattern].get(text, ())))

    def _search(self, text: bytes) -> Iterator[int]:
        position = self._content.find(text, self._start, self._end)
        while position >= 0:
            yield self._line_start(position)
            position = self._content.find(text, self._line_end(position), self._end)

    def _line_start(self, position: int) -> int:
        return self._content.rfind(b"\n", 0, position) + 1

    def _line_end(self, start: int) -> int:
        """Return where the entry at `start` ends: before the comma, if another one follows."""
        end = self._content.find(_SEPARATOR, start, self._end)
        return end if end >= 0 else self._end

    def _parse_line(self, start: int) -> IndexEntry:
        entry = self._entries.get(start)
        if entry is None:
            name = f"the entry at byte {start} of index.json"
            line = self._content[start : self._line_end(start)]
            entry = IndexEntry.read(parse_json_object(line, name, keep_numbers=True), name)
        return entry

    # Editing

    def add(self, entry: IndexEntry) -> None:
        """Add an entry at the end."""
        self._load(entry.descriptor.digest)
        self._insert(self._next_key, entry)
        self._next_key += 1
        self.changed_roots.add(entry.descriptor.digest)

    def drop(self, entry: IndexEntry) -> None:
        """Remove the first entry that is equal to this one, if there is any."""
        keys = self._load(entry.descriptor.digest)
        key = next((key for key in keys if self._entries[key] == entry), None)
        if key is None:
            return
        keys.remove(key)
        if entry.name is not None:
            named = self._keys_by_name[str(entry.name)]
            named.remove(key)
            if not named:
                del self._keys_by_name[str(entry.name)]  # not a list for each of many removed names
        del self._entries[key]
        if key < len(self._content):
            self._dropped.add(key)
        self.changed_roots.add(entry.descriptor.digest)

    def list_edits(self) -> IndexEdits:
        """Return what was edited, which is all that the index needs to know."""
        entries = {root: held for root in self.changed_roots if (held := self.entries_of(root))}
        return IndexEdits(self.signature, self.changed_roots, entries)

    def list_removed_roots(self) -> list[Digest]:
        """Return the roots of the text that have lost their last entry by the edits."""
        return [root for root in self.changed_roots if self.was_root(root) and not self.entries_of(root)]

    def _insert(self, key: int, entry: IndexEntry) -> None:
        self._entries[key] = entry
        self._keys_by_root.setdefault(entry.descriptor.digest, []).append(key)
        if entry.name is not None:
            self._keys_by_name.setdefault(str(entry.name), []).append(key)

    def encode(self) -> Iterator[bytes | memoryview]:
        """Yield the text with the edits, in parts: unchanged lines are not copied."""
        yield self._head
        yield from _frame(self._encode_lines())
        yield _END

    def _encode_lines(self) -> Iterator[bytes | memoryview]:
        """Yield runs of lines that stay, then the added entries."""
        content = memoryview(self._content)
        start = self._start
        for dropped in sorted(self._dropped):
            if dropped > start:
                yield content[start : dropped - len(_SEPARATOR)]
            start = self._line_end(dropped) + len(_SEPARATOR)
        if start < self._end:
            yield content[start : self._end]
        for key in sorted(key for key in self._entries if key >= len(self._content)):
            yield encode_json(self._entries[key].to_json())
