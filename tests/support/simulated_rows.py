"""Rows of very many images in the index of a store, made by SQLite itself: a million images in half a minute.

Each repository has fifty tags. Each image has ten layers: seven of one of a few bases, two that ten images of its
repository share, and one of its own. The rows are consistent with each other, but no manifest is behind them and
index.json is empty: queries of `images` and `layers` read the index alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imq.engine.store.index import StoreIndex
from imq.engine.store.layout import Layout

if TYPE_CHECKING:
    import sqlite3

TAGS = 50
"""Images of one repository."""
LAYERS = 10
_BASE_LAYERS = 7
_SHARING = 10
"""Images with the same two layers above those of their base."""
_BASES = 40
_TIME = 1_700_000_000_000_000_000
_MINUTE = 60_000_000_000
_ROWS = f"""
CREATE TEMP TABLE number AS WITH RECURSIVE numbers (n) AS (
    SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT :count) SELECT n FROM numbers;

-- The chains, by key: of the bases, of the groups of images, and of the images.
CREATE TEMP TABLE made AS
SELECT 1 + n AS key, 'base ' || n AS text FROM number WHERE n < {_BASES} * {_BASE_LAYERS}
UNION ALL SELECT 1 + {_BASES * _BASE_LAYERS} + n, 'group ' || n FROM number
    WHERE n < 2 * (:count / {_SHARING} + 1)
UNION ALL SELECT 1 + {_BASES * _BASE_LAYERS} + 2 * (:count / {_SHARING} + 1) + n, 'own ' || n FROM number;

INSERT INTO command (key, text) SELECT 1 + n, 'RUN step ' || n FROM number WHERE n < 500;
INSERT INTO chain (key, id, diff_id)
SELECT key, printf('sha256:%064x', key), printf('sha256:%064x', key + 1000000000) FROM made;
INSERT INTO descriptor (key, images, unpacked_size, tar_size, entries, size, digest, media_type, diff_id)
SELECT key, 1, 1000 + key % 100000, 2000, 9, 500 + key % 50000, printf('sha256:%064x', key + 2000000000),
    'application/vnd.oci.image.layer.v1.tar+gzip', printf('sha256:%064x', key + 1000000000) FROM made;

INSERT INTO image (key, created, size, shared_size, download_size, layer_count, platform, os, architecture, media_type,
    id, manifest, top)
SELECT 1 + n, {_TIME} - (n * 7919 % :count) * {_MINUTE}, 1000000 + n % 1000, 900000, 400000, {LAYERS}, 'linux/amd64',
    'linux', 'amd64', 'application/vnd.oci.image.manifest.v1+json', printf('sha256:%064x', n + 3000000000),
    printf('sha256:%064x', n + 4000000000), 1 + {_BASES * _BASE_LAYERS} + 2 * (:count / {_SHARING} + 1) + n FROM number;
INSERT INTO entry (key, image, created, size, shared_size, download_size, layer_count, registry, repository, tag, name,
    platform, os, architecture, media_type, set_at, id, digest, root, manifest)
SELECT key, key, created, size, shared_size, download_size, layer_count, 'registry.example.com', repository, tag,
    repository || ':' || tag, platform, os, architecture, media_type, created, id, manifest, manifest, manifest
FROM (SELECT *,
    'registry.example.com/team-' || ((key - 1) / {TAGS} % 100) || '/app-' || ((key - 1) / {TAGS}) AS repository,
    '1.' || ((key - 1) % {TAGS}) || '.0' AS tag FROM image);
INSERT INTO config (image, annotations, env, label, cmd)
SELECT 1 + n, '{{}}', '{{}}', '{{"team":"team-' || (n / {TAGS} % 100) || '"}}', '["/srv/run"]' FROM number;
INSERT INTO image_label (image, key, value) SELECT 1 + n, 'team', 'team-' || (n / {TAGS} % 100) FROM number;
INSERT INTO stack (image, position, descriptor, chain, command, step)
SELECT 1 + n, position, part, part, 1 + part % 500, position FROM (
    SELECT n, position, CASE
        WHEN position < {_BASE_LAYERS} THEN 1 + n / {TAGS} % {_BASES} * {_BASE_LAYERS} + position
        WHEN position < {LAYERS - 1}
            THEN 1 + {_BASES * _BASE_LAYERS} + n / {_SHARING} * 2 + position - {_BASE_LAYERS}
        ELSE 1 + {_BASES * _BASE_LAYERS} + 2 * (:count / {_SHARING} + 1) + n END AS part
    FROM number, (SELECT n AS position FROM number LIMIT {LAYERS}));
"""


def make_simulated_store(root: str, count: int) -> None:
    """Make a store whose index has the rows of `count` images, at least 500."""
    layout = Layout(root)
    layout.create()
    index = StoreIndex(layout)
    index.sync_with_layout()
    for pragma in ("cache_size = -1000000", "journal_mode = OFF"):  # nobody else is there, and nothing to lose
        index.connection.execute(f"PRAGMA {pragma}")
    with index.sql_transaction() as connection:
        _fill(connection, layout, count)
    index.connection.execute("PRAGMA journal_mode = WAL")
    index.close()


def _fill(connection: sqlite3.Connection, layout: Layout, count: int) -> None:
    for statement in _ROWS.split(";\n"):
        if statement.strip():
            connection.execute(statement, {"count": count} if ":count" in statement else {})
    layout.write_entries([])
    signature = layout.read_signature()
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("signature", signature), ("own", signature)])
