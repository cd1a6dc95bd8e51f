"""An image as rows of the index: what its manifest and config say, column by column."""

from __future__ import annotations

import json

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection
    from typing import Any

    from imq.engine.oci.config import Config
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.document import Manifest

_COLUMNS = (
    "manifest, id, media_type, created, download_size, layer_count, platform, os, architecture, variant, os_version,"
    " labels, env, annotations, user, entrypoint, cmd, workdir, ports, volumes, healthcheck, stop_signal, author"
)
_PLACES = ", ".join("?" * (_COLUMNS.count(",") + 1))


def insert_image(connection: Connection, digest: Digest, manifest: Manifest, config: Config) -> int:
    """Insert an image with its layers, steps, labels, variables and annotations; return its key."""
    key = connection.execute(
        f"INSERT INTO image ({_COLUMNS}) VALUES ({_PLACES})", _texts(_image_row(digest, manifest, config))
    ).lastrowid
    assert key is not None
    connection.executemany(
        "INSERT INTO layer VALUES (?, ?, ?, ?, ?, ?)",
        [
            (key, place, layer.digest, diff_id, layer.size, layer.media_type)
            for place, (layer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True))
        ],
    )
    steps = map(_texts, _steps(key, config, len(manifest.layers)))
    connection.executemany("INSERT INTO step VALUES (?, ?, ?, ?, ?, ?)", steps)
    for table, pairs in (
        ("label", config.texts("Labels")),
        ("variable", _environment(config)),
        ("annotation", manifest.annotations),
    ):
        connection.executemany(
            f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)",
            [_texts((key, name, value)) for name, value in pairs.items()],
        )
    return key


def _texts(row: tuple[Any, ...]) -> tuple[Any, ...]:
    r"""Return a row that SQLite takes: a half of a surrogate pair, which JSON can write (`"\ud800"`), is no text."""
    return tuple(
        value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value
        for value in row
    )


def _image_row(digest: Digest, manifest: Manifest, config: Config) -> tuple[Any, ...]:
    platform = config.platform
    health = config.runtime.get("Healthcheck")
    check = health.get("Test") if isinstance(health, dict) else None
    return (
        digest,
        manifest.config.digest,
        manifest.media_type,
        config.created,
        manifest.download_size,
        len(manifest.layers),
        str(platform) or None,
        platform.os or None,
        platform.architecture or None,
        platform.variant or None,
        platform.os_version or None,
        _json(config.texts("Labels")),
        _json(_environment(config)),
        _json(dict(manifest.annotations)),
        config.text("User"),
        _json(config.words("Entrypoint")),
        _json(config.words("Cmd")),
        config.text("WorkingDir"),
        _json(config.keys("ExposedPorts")),
        _json(config.keys("Volumes")),
        _json(check) if check and check != ["NONE"] else None,
        config.text("StopSignal"),
        config.author or None,
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
