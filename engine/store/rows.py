"""An image as rows of the index: what its manifest and config say, column by column."""

from __future__ import annotations

import json

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from sqlite3 import Connection
    from typing import Any

    from imq.engine.oci.config import Config
    from imq.engine.oci.document import Manifest

_COLUMNS = {
    "image": (
        "manifest, id, chain, media_type, created, download_size, layer_count,"
        " platform, os, architecture, variant, os_version, user, workdir, stop_signal, author"
    ),
    "config": "image, labels, env, annotations, entrypoint, cmd, ports, volumes, healthcheck",
    "layer": "image, position, step, digest, diff_id, chain, download_size, media_type",
    "step": "image, position, created, created_by, comment, layer",
    "label": "image, key, value",
    "variable": "image, key, value",
    "annotation": "image, key, value",
}
_INSERT = {
    table: f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * (columns.count(',') + 1))})"
    for table, columns in _COLUMNS.items()
}


def insert_image(connection: Connection, digest: Digest, manifest: Manifest, config: Config) -> int:
    """Insert an image with its layers, steps, labels, variables and annotations; return its key."""
    chain = chain_ids(config.diff_ids)
    row = _image_row(digest, manifest, config, chain[-1] if chain else None)
    key = connection.execute(_INSERT["image"], _texts(row)).lastrowid
    assert key is not None
    env = _environment(config)
    connection.execute(_INSERT["config"], _texts(_config_row(key, manifest, config, env)))
    steps = list(_steps(key, config, len(manifest.layers)))
    made_by = {step[5]: step[1] for step in steps}
    connection.executemany(
        _INSERT["layer"],
        [
            (key, place, made_by.get(place), layer.digest, diff_id, chain[place], layer.size, layer.media_type)
            for place, (layer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True))
        ],
    )
    connection.executemany(_INSERT["step"], map(_texts, steps))
    for table, pairs in (("label", config.texts("Labels")), ("variable", env), ("annotation", manifest.annotations)):
        # two keys can become one: see _texts
        insert = _INSERT[table].replace("INSERT", "INSERT OR IGNORE", 1)
        connection.executemany(insert, [_texts((key, name, value)) for name, value in pairs.items()])
    return key


def chain_ids(diff_ids: Sequence[Digest]) -> list[Digest]:
    """Return the chain ID of each layer, bottom layer first, as the image specification computes it.

    It stands for the layer and all below it: two images with the same one have the same layers up to there.
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def _texts(row: tuple[Any, ...]) -> tuple[Any, ...]:
    r"""Return a row that SQLite takes: a half of a surrogate pair, which JSON can write (`"\ud800"`), is no text."""
    return tuple(
        value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value
        for value in row
    )


def _image_row(digest: Digest, manifest: Manifest, config: Config, chain: Digest | None) -> tuple[Any, ...]:
    platform = config.platform
    return (
        digest,
        manifest.config.digest,
        chain,
        manifest.media_type,
        config.created,
        manifest.download_size,
        len(manifest.layers),
        str(platform) or None,
        platform.os or None,
        platform.architecture or None,
        platform.variant or None,
        platform.os_version or None,
        config.text("User"),
        config.text("WorkingDir"),
        config.text("StopSignal"),
        config.author or None,
    )


def _config_row(image: int, manifest: Manifest, config: Config, env: Mapping[str, str]) -> tuple[Any, ...]:
    health = config.runtime.get("Healthcheck")
    check = health.get("Test") if isinstance(health, dict) else None
    return (
        image,
        _json(config.texts("Labels")),
        _json(env),
        _json(dict(manifest.annotations)),
        _json(config.words("Entrypoint")),
        _json(config.words("Cmd")),
        _json(config.keys("ExposedPorts")),
        _json(config.keys("Volumes")),
        _json(check) if check and check != ["NONE"] else None,
    )


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _environment(config: Config) -> dict[str, str]:
    pairs = (word.partition("=") for word in config.words("Env") or ())
    return {name: value for name, _, value in pairs}


def _steps(image: int, config: Config, layers: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `step`; the steps that made a layer take the layers in order."""
    layer = 0
    for place, entry in enumerate(config.history):
        made = None
        if not entry.empty_layer and layer < layers:
            made, layer = layer, layer + 1
        yield image, place, entry.created, entry.created_by or None, entry.comment or None, made
