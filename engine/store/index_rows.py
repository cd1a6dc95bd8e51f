"""The rows of an image in the index, from its manifest and config."""

from __future__ import annotations

from functools import cache

from imq.engine.catalog.tables import MAP_TABLES
from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

from . import mentions
from .config_columns import JSON_COLUMNS, STRING_COLUMNS, read_documents, read_strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from sqlite3 import Connection
    from typing import Any

    from imq.engine.oci.config import Config
    from imq.engine.oci.manifest import Descriptor, Manifest

_COLUMNS = {
    "image": (
        "key, manifest, id, chain, media_type, created, download_size, layer_count,"
        f" platform, os, architecture, variant, os_version, {STRING_COLUMNS}"
    ),
    "config": f"image, annotations, {JSON_COLUMNS}",
    "chain": "id, diff_id",
    "command": "text",
    **dict.fromkeys(MAP_TABLES.values(), "image, key, value"),
}
_INSERT = {
    table: f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({', '.join('?' * (columns.count(',') + 1))})"
    for table, columns in _COLUMNS.items()
} | {
    # measures of a digest hold for every media type
    "descriptor": """
        INSERT OR IGNORE INTO descriptor
            (digest, media_type, size, images, unpacked_size, tar_size, entries, diff_id)
        SELECT ?1, ?2, ?3, coalesce(max(images), 0), max(unpacked_size), max(tar_size), max(entries), max(diff_id)
        FROM descriptor WHERE digest = ?1
    """,
    "stack": """
        INSERT INTO stack (image, position, step, descriptor, chain, command)
        SELECT ?1, ?2, ?3, descriptor.key, chain.key, command.key FROM descriptor, chain, command
        WHERE descriptor.digest = ?4 AND media_type = ?5 AND size = ?6 AND chain.id = ?7 AND command.text = ?8
    """,
    "step": """
        INSERT INTO step (image, position, created, comment, layer, command) SELECT ?1, ?2, ?3, ?4, ?5, command.key
        FROM command WHERE command.text = ?6
    """,
    "top": "UPDATE image SET top = (SELECT key FROM chain WHERE id = chain) WHERE key = ?",
}
"""By table, in the order of insertion. Existing rows are ignored: descriptors, chain IDs and commands of other images,
and keys of labels that have become equal (see `replace_surrogates`)."""


def insert_images(connection: Connection, images: Iterable[tuple[Digest, Manifest, Config]]) -> list[int]:
    """Insert new images, each with its manifest's digest and documents; return their keys.

    Rows are inserted table by table: repeating one statement is the fastest.
    """
    (first,) = connection.execute("SELECT coalesce(max(key), 0) + 1 FROM image").fetchone()
    rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERT}
    for key, (digest, manifest, config) in enumerate(images, first):
        _add_image_rows(rows, key, digest, manifest, config)
    for table, added in rows.items():
        connection.executemany(_INSERT[table], map(replace_surrogates, added))
    return [row[0] for row in rows["image"]]


def delete_images(connection: Connection, images: Sequence[int]) -> None:
    """Delete images, with the chain IDs and commands that no other image has."""
    import json

    keys = json.dumps(images)
    condition = "IN (SELECT value FROM json_each(?))"
    chains = connection.execute(f"SELECT DISTINCT chain FROM stack WHERE image {condition}", (keys,)).fetchall()
    commands = connection.execute(f"SELECT DISTINCT command FROM step WHERE image {condition}", (keys,)).fetchall()
    for table in ("stack", "step", *MAP_TABLES.values(), "config"):
        connection.execute(f"DELETE FROM {table} WHERE image {condition}", (keys,))
    connection.execute(f"DELETE FROM image WHERE key {condition}", (keys,))
    connection.executemany(
        "DELETE FROM chain WHERE key = ?1 AND NOT EXISTS (SELECT 1 FROM stack WHERE chain = ?1)", chains
    )
    connection.executemany(
        "DELETE FROM command WHERE key = ?1 AND text <> '' AND NOT EXISTS (SELECT 1 FROM step WHERE command = ?1)",
        commands,
    )


def insert_reach(connection: Connection, reached: Iterable[tuple[Descriptor, Iterable[Descriptor]]]) -> None:
    """Record the blobs that each descriptor of index.json reaches, itself included. Each digest is given once."""
    rows = [(*_descriptor_key(root), *_descriptor_key(blob)) for root, blobs in reached for blob in blobs]
    connection.executemany(_INSERT["descriptor"], [row[3:] for row in rows])
    connection.executemany(_INSERT_REACH, rows)


def _descriptor_key(descriptor: Descriptor) -> tuple[str, str, int]:
    return descriptor.digest, descriptor.media_type, descriptor.size


def delete_reach(connection: Connection, root: str) -> set[int]:
    """Delete the record of what a root reached; return the keys for `delete_unreached_descriptors`."""
    condition = "root IN (SELECT key FROM descriptor WHERE digest = ?)"
    blobs = {blob for (blob,) in connection.execute(f"SELECT blob FROM reaching WHERE {condition}", (root,))}
    connection.execute(f"DELETE FROM reaching WHERE {condition}", (root,))
    mentions.delete(connection, root)
    return blobs


def delete_unreached_descriptors(connection: Connection, descriptors: Iterable[int]) -> None:
    """Delete those of the descriptors that nothing reaches anymore."""
    connection.executemany(_DELETE_UNREACHED, [(key,) for key in descriptors])


_SELECT_DESCRIPTOR = "SELECT key FROM descriptor WHERE digest = ? AND media_type = ? AND size = ?"
_INSERT_REACH = f"INSERT INTO reaching (root, blob) VALUES (({_SELECT_DESCRIPTOR}), ({_SELECT_DESCRIPTOR}))"
_DELETE_UNREACHED = """
DELETE FROM descriptor WHERE key = ?1
AND NOT EXISTS (SELECT 1 FROM reaching WHERE blob = ?1) AND NOT EXISTS (SELECT 1 FROM stack WHERE descriptor = ?1)
"""


def _add_image_rows(
    rows: Mapping[str, list[tuple[Any, ...]]], key: int, digest: Digest, manifest: Manifest, config: Config
) -> None:
    """Add the rows of one image, by table."""
    chain = compute_chain_ids(config.diff_ids)
    documents = read_documents(config)
    rows["image"].append(_build_image_row(key, digest, manifest, config, chain[-1] if chain else None))
    rows["config"].append((key, *map(to_json, (dict(manifest.annotations), *documents.values()))))
    steps = list(build_step_rows(key, config, len(manifest.layers)))
    made_by = {step[4]: (step[1], step[5]) for step in steps}
    rows["step"] += steps
    rows["command"] += [("",), *((step[5],) for step in steps)]
    rows["chain"] += list(zip(chain, config.diff_ids, strict=True))
    layers = [_descriptor_key(layer) for layer in manifest.layers]
    rows["descriptor"] += layers
    rows["stack"] += [
        (key, position, step, *descriptor_key, chain[position], command)
        for position, descriptor_key in enumerate(layers)
        for step, command in (made_by.get(position, (None, "")),)
    ]
    rows["top"].append((key,))
    maps = {**documents, "annotations": manifest.annotations}
    for field, table in MAP_TABLES.items():
        rows[table] += [(key, name, value) for name, value in maps[field].items()]


def replace_surrogates(row: tuple[Any, ...]) -> tuple[Any, ...]:
    r"""Return a row that SQLite accepts: lone surrogates, which JSON can have (`"\ud800"`), are replaced by `?`."""
    return tuple(
        value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value
        for value in row
    )


def _build_image_row(
    key: int, digest: Digest, manifest: Manifest, config: Config, chain: Digest | None
) -> tuple[Any, ...]:
    platform = config.platform
    return (
        key,
        digest,
        manifest.config.digest,
        chain,
        manifest.media_type,
        config.created,
        manifest.download_size,
        len(manifest.layers),
        *platform.field_values,
        *read_strings(config),
    )


def to_json(value: object) -> str | None:
    """Return a value as compact JSON; None stays None."""
    return None if value is None else _get_encoder()(value)


@cache
def _get_encoder() -> Callable[[object], str]:
    """Return what encodes compact JSON; `json.dumps` would make a new encoder for each value."""
    import json

    return json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def build_step_rows(image: int | str, config: Config, layers: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `step`, which begin with `image`. Steps that made a layer are matched to layers in order."""
    layer = 0
    for position, entry in enumerate(config.history):
        layer_position = None
        if not entry.empty_layer and layer < layers:
            layer_position, layer = layer, layer + 1
        yield image, position, entry.created, entry.comment or None, layer_position, entry.created_by
