"""The scan of the table `differences`: two images compared by config, history, layers, packages and files.

Layers that both images have are compared without reading them: only what one of the images hides of them differs.
Files of equal size from other layers are hashed, in one pass over each layer.
"""

from __future__ import annotations

import json

from imq.engine.layer_index.contents import StoredContent
from imq.engine.layer_index.entry_types import FILE, HARD_LINK, NAMES, OPAQUE, SYMLINK, WHITEOUT
from imq.engine.layer_index.schema import SCHEMA
from imq.engine.oci.digest import Digest
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .content_scan import ContentScan
from .entry_fields import FIELDS
from .reading import ContentFields, read_contents_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw

    from .indexer import LayerIndexer
    from .protocol import ImageLayers

_CONFIG_KEYS = ("created", "author", "architecture", "variant", "os", "os.version")
_RUNTIME_LISTS = ("Entrypoint", "Cmd", "Shell", "OnBuild")
_RUNTIME_SETS = ("ExposedPorts", "Volumes")
_RUNTIME_KEYS = ("User", "WorkingDir", "StopSignal", "Healthcheck", "ArgsEscaped", "StopTimeout")

Row = tuple["str | int | None", ...]
_SIDE_COLUMNS = ("path", "type", "mode", "uid", "gid", "size", "mtime", "link", "xattrs", "layer", "place")


_PAIR = 2
_GROWTH = """iif(coalesce(t.size_after, t.size_before) IS NULL OR t.kind = 'package' AND t.change = 'changed',
    t.size_after - t.size_before, coalesce(t.size_after, 0) - coalesce(t.size_before, 0))"""
"""A side without a size has no such file, or is a directory; but a package on both sides may be of unknown size."""


class DifferenceScan(ContentScan):
    """The rows of `differences`."""

    columns = ("_lookup", "kind", "change", "key", "before", "after", "aspects", "size_before", "size_after")

    view_fields = {"growth": _GROWTH}  # noqa: RUF012 - never modified

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sides = f"{self.scan.view}_sides"

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Compare two images. Raises `StatementError` for another number of images, before a layer is read."""
        count = len(self.scan.targets) + len(names)
        if count != _PAIR:
            raise StatementError(
                f"differences compares two images, and these are {count}",
                code="target",
                hints=("differences of app:1, app:2",),
            )
        super().list_rows(names)

    def _describe_stacks(self, indexer: LayerIndexer, images: Sequence[ImageLayers]) -> None:
        """Write the layers of the images to temporary tables; a container comes after its image."""
        super()._describe_stacks(indexer, sorted(images, key=lambda image: image.is_container))

    def insert_rows(self) -> None:
        """Insert the differences: none for one image with two names, or when an image could not be read."""
        if len(self.images) != _PAIR:
            return
        self.insert((None, *row, None) for row in self._compare())

    def _compare(self) -> Iterator[Row]:
        yield from self._compare_configs()
        yield from self._compare_layers()
        yield from self._compare_packages()
        yield from self._compare_files()

    # Configs

    def _compare_configs(self) -> Iterator[Row]:
        first, second = (self.contents.read_config(image) for image in self.images)
        for kind, before, after in zip(
            ("config", "env", "label", "history"), _split_config(first), _split_config(second), strict=True
        ):
            yield from _compare_maps(kind, before, after)

    # Layers

    def _compare_layers(self) -> Iterator[Row]:
        first, second = (image.diff_ids[:-1] if image.is_container else image.diff_ids for image in self.images)
        for position in range(max(len(first), len(second))):
            before = first[position] if position < len(first) else None
            after = second[position] if position < len(second) else None
            if before != after:
                yield "layer", _name_change(before, after), str(position), before, after, None, None, None

    # Packages

    def _compare_packages(self) -> Iterator[Row]:
        hidden = self.write_hidden("1", "package.layer", "package.directory", "package.file")
        sides: tuple[dict[tuple[str, ...], list[tuple[str, int | None]]], ...] = ({}, {})
        rows = self.connection.execute(
            f"""SELECT stack.number, package.type, package.name, coalesce(package.architecture, ''),
                substr(package.version, instr(package.version, char(31)) + 1), package.size
            FROM temp.{self.stack} AS stack CROSS JOIN {SCHEMA}.package ON package.layer = stack.layer
            WHERE NOT EXISTS ({hidden}) ORDER BY package.version"""
        ).fetchall()
        for number, *key, version, size in rows:
            sides[number].setdefault(tuple(key), []).append((version, size))
        for key in sorted({*sides[0], *sides[1]}):
            before, after = sides[0].get(key, []), sides[1].get(key, [])
            if sorted(version for version, _ in before) == sorted(version for version, _ in after):
                continue
            type_, name, architecture = key
            label = (
                f"{name} ({type_})" if architecture in ("", "all", "noarch") else f"{name} ({type_}, {architecture})"
            )
            old, new = (", ".join(version for version, _ in one) or None for one in (before, after))
            sizes = (_sum_sizes([size for _, size in one]) for one in (before, after))
            yield "package", _name_change(old, new), label, old, new, None, *sizes

    # Files

    def _compare_files(self) -> Iterator[Row]:
        self._write_sides()
        pairs = self.connection.execute(
            f"""SELECT {", ".join(f"old.{name}" for name in _SIDE_COLUMNS)},
                {", ".join(f"new.{name}" for name in _SIDE_COLUMNS)}
            FROM temp.{self._sides} AS old FULL JOIN temp.{self._sides} AS new
                ON new.number = 1 AND new.path = old.path AND old.number = 0
            WHERE coalesce(old.number, 0) = 0 AND coalesce(new.number, 1) = 1
            ORDER BY coalesce(old.path, new.path)"""
        ).fetchall()
        width = len(_SIDE_COLUMNS)
        split = [
            (
                dict(zip(_SIDE_COLUMNS, pair[:width], strict=True)) if pair[0] is not None else None,
                dict(zip(_SIDE_COLUMNS, pair[width:], strict=True)) if pair[width] is not None else None,
            )
            for pair in pairs
        ]
        digests = self._hash_candidates(split)
        for before, after in split:
            aspects = _list_aspects(before, after, digests)
            if aspects == []:
                continue
            present = after or before
            assert present is not None
            yield (
                "file", _name_change(before, after), present["path"], _describe(before), _describe(after),
                json.dumps(aspects) if aspects else None, _size_of(before), _size_of(after),
            )  # fmt: skip

    def _write_sides(self) -> None:
        """Write the files of each image that the other image does not have from the same layer."""
        connection = self.connection
        hidden = self.write_hidden("1", "entry.layer", "entry.directory", "entry.name")
        in_other = f"""EXISTS (SELECT 1 FROM temp.{self.stack} AS other
            WHERE other.layer = entry.layer AND other.number <> stack.number
            AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.hidden JOIN temp.{self.stack} AS upper
                ON upper.chain = hidden.chain AND upper.number = other.number
                WHERE hidden.layer = entry.layer AND hidden.directory = entry.directory
                AND hidden.name = entry.name))"""
        connection.execute(f"DROP TABLE IF EXISTS temp.{self._sides}")
        connection.execute(
            f"""CREATE TEMP TABLE {self._sides} AS SELECT stack.number AS number, {FIELDS["path"]} AS path,
                {FIELDS["type"]} AS type, {FIELDS["permissions"]} AS mode, entry.uid AS uid, entry.gid AS gid,
                entry.size AS size, {FIELDS["mtime"]} AS mtime, iif(entry.type = {SYMLINK}, entry.link, NULL) AS link,
                {FIELDS["xattrs"]} AS xattrs, coalesce(entry.content_layer, entry.layer) AS layer,
                iif(entry.type IN ({FILE}, {HARD_LINK}), json_array(entry.offset,
                    coalesce(entry.stored_size, entry.size), entry.size, entry.details), NULL) AS place
            FROM temp.{self.stack} AS stack CROSS JOIN {SCHEMA}.entry ON entry.layer = stack.layer
            CROSS JOIN {SCHEMA}.directory ON directory.key = entry.directory
            WHERE entry.type NOT IN ({WHITEOUT}, {OPAQUE}) AND NOT EXISTS ({hidden}) AND NOT {in_other}"""
        )
        connection.execute(f"CREATE INDEX temp.{self._sides}_path ON {self._sides} (path, number)")

    def _hash_candidates(
        self, pairs: Iterable[tuple[dict[str, Any] | None, dict[str, Any] | None]]
    ) -> dict[tuple[int, str], str | None]:
        """Return the digests of files that may differ although their sizes are equal, by side and path."""
        by_layer: dict[tuple[int, int], list[tuple[int, str, StoredContent]]] = {}
        paths: list[tuple[int, str]] = []
        for before, after in pairs:
            if before is None or after is None or not before["place"] or not after["place"]:
                continue
            if before["size"] != after["size"] or not before["size"]:
                continue
            for number, side in enumerate((before, after)):
                content = StoredContent(*json.loads(side["place"]))
                by_layer.setdefault((number, side["layer"]), []).append((len(paths), side["path"], content))
                paths.append((number, side["path"]))
        values = ContentFields(frozenset({"sha256"}))
        for (number, layer), contents in by_layer.items():
            row = self.connection.execute(f"SELECT diff_id FROM {SCHEMA}.layer WHERE key = ?", (layer,)).fetchone()
            read_contents_of(self.contents, self.images[number], Digest(row[0]), contents, values)
        return {paths[row]: digest for digest, *_, row in values.take_rows()}

    def close(self) -> bool:
        """Drop the view and the tables. Return False if a cursor still reads from them."""
        if not super().close():
            return False
        self.connection.execute(f"DROP TABLE IF EXISTS temp.{self._sides}")
        return True


def _sum_sizes(sizes: Sequence[int | None]) -> int | None:
    """Return the sum of sizes; None for none, and when one of them is unknown."""
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _name_change(before: object, after: object) -> str:
    return "added" if before is None else "removed" if after is None else "changed"


def _size_of(side: Mapping[str, Any] | None) -> int | None:
    return side["size"] if side is not None and side["place"] else None


def _describe(side: Mapping[str, Any] | None) -> str | None:
    """Return the permissions, the owner and the target of a file."""
    if side is None:
        return None
    target = f" -> {side['link']}" if side["link"] is not None else ""
    return f"{side['mode']} {side['uid']}:{side['gid']}{target}"


def _list_aspects(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, digests: Mapping[tuple[int, str], str | None]
) -> list[str] | None:
    """Return what changed of a file; None when only one image has it."""
    if before is None or after is None:
        return None
    kinds = {NAMES[HARD_LINK]: NAMES[FILE]}
    is_same_type = kinds.get(before["type"], before["type"]) == kinds.get(after["type"], after["type"])
    path = before["path"]
    tests = {
        "content": is_same_type and bool(before["place"]) and (
            before["size"] != after["size"] or digests.get((0, path)) != digests.get((1, path))
        ),
        "type": not is_same_type,
        "mode": is_same_type and before["mode"] != after["mode"],
        "owner": (before["uid"], before["gid"]) != (after["uid"], after["gid"]),
        "link": before["link"] != after["link"] and is_same_type,
        "xattrs": before["xattrs"] != after["xattrs"],
        "time": before["mtime"] != after["mtime"],
    }  # fmt: skip
    return [name for name, differs in tests.items() if differs]


def _compare_maps(kind: str, first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Row]:
    for key in dict.fromkeys((*first, *second)):
        before, after = first.get(key), second.get(key)
        if before != after:
            yield kind, _name_change(before, after), key, before, after, None, None, None


def _split_config(document: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """Return settings, variables, labels and steps of the build of a config, by name or position."""
    runtime = document.get("config")
    runtime = runtime if isinstance(runtime, dict) else {}
    settings = {key: str(document[key]) for key in _CONFIG_KEYS if document.get(key)}
    settings |= {key: json.dumps(runtime[key]) for key in _RUNTIME_LISTS if runtime.get(key)}
    settings |= {key: ", ".join(sorted(runtime[key])) for key in _RUNTIME_SETS if runtime.get(key)}
    settings |= {key: _to_text(runtime[key]) for key in _RUNTIME_KEYS if runtime.get(key)}
    env = dict(str(one).partition("=")[::2] for one in _list(runtime.get("Env")))
    labels = runtime.get("Labels")
    named = {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}
    steps = {
        str(position): str(step.get("created_by", "")) if isinstance(step, dict) else ""
        for position, step in enumerate(_list(document.get("history")))
    }
    return settings, env, named, steps


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _to_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
