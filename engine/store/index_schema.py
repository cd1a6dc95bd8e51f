"""The schema of the SQLite index. The index is derived from the layout and can be deleted and rebuilt.

Times are nanoseconds since the epoch, sizes are bytes, digests are strings; unknown values are NULL.
The views `images`, `layers`, `history` and `containers` have one column for each field of the language's tables.
They also have internal columns: `_row` is the key of a row, `_image` the key of its image, `_entry` and `_root`
identify its entry in index.json, `_top` and `_base_chain` are the keys of the chain IDs of an image and of its base,
and `_other_digests` has the digests that the registry has for the name, besides `digest`.
"""

from __future__ import annotations

from imq.engine.catalog.tables import CONFIG_FIELDS, CONTAINERS, MAP_TABLES, DataType
from imq.grammar.record import TYPE_CHECKING

from .config_columns import JSON_DEFINITIONS, MAP_FIELDS, STRING_COLUMNS, STRING_DEFINITIONS

if TYPE_CHECKING:
    from sqlite3 import Connection

_CONFIG_VIEW = ",\n    ".join(
    f"entry.{field.name} AS {field.name}"
    if field.type not in (DataType.LIST, DataType.MAP)
    else f"(SELECT {field.name} FROM config WHERE config.image = entry.image) AS {field.name}"
    for field in CONFIG_FIELDS
)
_MAP_DEFINITIONS = "".join(
    f"""CREATE TABLE {table} (
    image INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (image, key)
) WITHOUT ROWID;
CREATE INDEX {table}_value ON {table} (key, value);
"""
    for table in MAP_TABLES.values()
)
_SQL_TYPES = {
    DataType.NUMBER: "NUMERIC",
    DataType.SIZE: "INTEGER",
    DataType.TIME: "INTEGER",
    DataType.BOOLEAN: "INTEGER",
}
_CONTAINER_DEFINITIONS = ", ".join(
    f"{field.name} {_SQL_TYPES.get(field.type, 'TEXT')}" for field in CONTAINERS.stored_fields
)
_CONTAINER_COLUMNS = ", ".join(f'container."{field.name}"' for field in CONTAINERS.stored_fields)
_REVISION = 4
"""Increased when values change their meaning and the schema stays the same."""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;

-- One image for one platform, by its manifest. Long values are in `config`: here they would slow down every scan.
CREATE TABLE image (
    key INTEGER PRIMARY KEY,
    created INTEGER,
    size INTEGER,                -- NULL until every layer has been unpacked once
    shared_size INTEGER,         -- also NULL until it is computed again: see shared_sizes.py
    download_size INTEGER NOT NULL,
    layer_count INTEGER NOT NULL,
    platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT,
    media_type TEXT NOT NULL,
    {STRING_DEFINITIONS},
    id TEXT NOT NULL,
    manifest TEXT NOT NULL UNIQUE,
    chain TEXT,                  -- the chain ID of the top layer
    top INTEGER                  -- the same, as its key in `chain`
);
CREATE INDEX image_id ON image (id);
CREATE INDEX image_top ON image (top);
CREATE INDEX image_unsummed ON image (size) WHERE shared_size IS NULL;

-- The long values of an image: JSON objects and lists.
CREATE TABLE config (
    image INTEGER PRIMARY KEY,
    annotations TEXT NOT NULL,
    {JSON_DEFINITIONS}
);

-- One descriptor of index.json and one image that it reaches. Without a name: an image that has lost its last name.
-- The short values of an image are repeated here: a query then scans one table or SQL index, without lookups.
-- Without an image: the document `manifest`, or its config, is unreadable, and the other columns are unknown.
CREATE TABLE entry (
    key INTEGER PRIMARY KEY,
    image INTEGER,
    created INTEGER, size INTEGER, shared_size INTEGER, download_size INTEGER, layer_count INTEGER,
    registry TEXT, repository TEXT, tag TEXT, name TEXT,
    platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT,
    media_type TEXT,
    {STRING_DEFINITIONS},
    set_at INTEGER,
    id TEXT,
    digest TEXT,                 -- the registry's digest of the name
    other_digests TEXT,          -- further digests, separated by spaces
    root TEXT NOT NULL,          -- the digest of the descriptor: of the manifest, or of an index above it
    manifest TEXT NOT NULL,
    chain TEXT
);
-- With the size, so that a condition on it reads no row of the images that another index selects.
CREATE INDEX entry_image ON entry (image, tag, size);
CREATE INDEX entry_name ON entry (name);
CREATE INDEX entry_root ON entry (root);
CREATE INDEX entry_of_index ON entry (root) WHERE manifest <> root;
CREATE INDEX entry_id ON entry (id);
CREATE INDEX entry_manifest ON entry (manifest);
CREATE INDEX entry_size ON entry (size);
-- A covering index in the default order, with all short values: most queries scan only this, without sorting.
-- Unknown values come last, as in results.
CREATE INDEX entry_created ON entry (
    created DESC, repository IS NULL, repository, tag IS NULL, tag, id IS NULL, id,
    size, shared_size, image, download_size, layer_count, registry, name,
    platform, os, architecture, variant, os_version, {STRING_COLUMNS}, set_at
);
-- For the newest image of each repository, and sums over repositories.
CREATE INDEX entry_repository ON entry (
    repository, created DESC, tag IS NULL, tag, id IS NULL, id, size, shared_size, image
);
CREATE TRIGGER image_summed AFTER UPDATE OF size ON image BEGIN
    UPDATE entry SET size = new.size WHERE image = new.key; END;
CREATE TRIGGER image_shared AFTER UPDATE OF shared_size ON image BEGIN
    UPDATE entry SET shared_size = new.shared_size WHERE image = new.key; END;

-- A blob, as manifests describe it. A layer can be in thousands of images: its values are stored here once.
CREATE TABLE descriptor (
    key INTEGER PRIMARY KEY,
    images INTEGER NOT NULL DEFAULT 0,   -- the number of images with a layer of this digest: see shared_sizes.py
    is_repeated INTEGER NOT NULL DEFAULT 0,   -- the digest has, or had, another media type or size too
    unpacked_size INTEGER, tar_size INTEGER, entries INTEGER,   -- measures of a layer; NULL until it was unpacked
    size INTEGER NOT NULL,
    digest TEXT NOT NULL, media_type TEXT NOT NULL,
    diff_id TEXT,                -- the digest of the unpacked layer
    is_absent INTEGER NOT NULL DEFAULT 0,   -- missing, or of another size: see absent_blobs.py
    UNIQUE (digest, media_type, size)
);
CREATE INDEX descriptor_images ON descriptor (images);
CREATE INDEX descriptor_repeated ON descriptor (digest) WHERE is_repeated;
CREATE INDEX descriptor_absent ON descriptor (is_absent) WHERE is_absent = 1;
CREATE INDEX descriptor_unpacked_size ON descriptor (unpacked_size);

CREATE TRIGGER descriptor_added AFTER INSERT ON descriptor
WHEN EXISTS (SELECT 1 FROM descriptor AS other WHERE other.digest = new.digest AND other.key <> new.key) BEGIN
    UPDATE descriptor SET is_repeated = 1 WHERE digest = new.digest; END;

-- Every blob that a descriptor of index.json reaches; both are keys of `descriptor`.
CREATE TABLE reaching (root INTEGER NOT NULL, blob INTEGER NOT NULL, PRIMARY KEY (root, blob)) WITHOUT ROWID;
CREATE INDEX reaching_blob ON reaching (blob);

-- What the text of the documents below a root mentions: see mentions.py.
CREATE TABLE mention (root TEXT PRIMARY KEY, digests BLOB NOT NULL) WITHOUT ROWID;

-- A document that could not be read at the last attempt. The blobs of a manifest or index are unknown then, so no blob
-- may be removed.
CREATE TABLE unreadable (
    root TEXT NOT NULL,          -- the digest of the descriptor in index.json
    digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,   -- the descriptor of the document
    is_config INTEGER NOT NULL,
    is_absent INTEGER NOT NULL,  -- missing, but its index does not list what it holds: it may never have been here
    is_final INTEGER NOT NULL,   -- the document is intact but invalid: reading it again does not help
    message TEXT NOT NULL,
    manifest TEXT,               -- the manifest of its row in `entry`; NULL: it has no row
    platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT    -- from its index
);
CREATE INDEX unreadable_root ON unreadable (root, manifest);

-- A layer on top of certain others, by its chain ID, which identifies it together with all layers below it.
CREATE TABLE chain (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, diff_id TEXT NOT NULL);

-- Rebuilt images repeat commands, so each is stored once. The empty string is an unknown command.
CREATE TABLE command (key INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);

-- The layers of each image: position 0 is the bottom layer, `step` the position of the step that made the layer.
CREATE TABLE stack (
    image INTEGER NOT NULL, position INTEGER NOT NULL,
    descriptor INTEGER NOT NULL, chain INTEGER NOT NULL, command INTEGER NOT NULL, step INTEGER,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX stack_descriptor ON stack (descriptor, image);
CREATE INDEX stack_chain ON stack (chain, image);
CREATE INDEX stack_command ON stack (command);

-- The build steps of each image; `layer` is the position of the layer that the step made.
CREATE TABLE step (
    image INTEGER NOT NULL, position INTEGER NOT NULL,
    created INTEGER, command INTEGER NOT NULL, layer INTEGER, comment TEXT,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX step_command ON step (command);

-- The containers of the store: see containers/index_rows.py. `signature` has the facts by which a row is known to be
-- old.
CREATE TABLE container (
    key INTEGER PRIMARY KEY, signature TEXT NOT NULL, manifest TEXT, {_CONTAINER_DEFINITIONS}
);
CREATE INDEX container_image ON container (image_id);
CREATE INDEX container_manifest ON container (manifest);
CREATE INDEX container_id ON container (id);

-- When containers that were removed last used an image.
CREATE TABLE image_use (image_id TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;

{_MAP_DEFINITIONS}
CREATE VIEW reach AS SELECT root.digest AS root, blob.digest AS digest, blob.size AS size
FROM reaching JOIN descriptor AS root ON root.key = reaching.root JOIN descriptor AS blob ON blob.key = reaching.blob;

CREATE VIEW layer AS SELECT
    stack.image AS image, stack.position AS position, descriptor.digest AS digest, chain.diff_id AS diff_id,
    chain.id AS chain, descriptor.size AS download_size, descriptor.media_type AS media_type
FROM stack JOIN descriptor ON descriptor.key = stack.descriptor JOIN chain ON chain.key = stack.chain;

-- The views use subqueries for values of other tables: SQLite skips those that a query does not read, which it does not
-- do for every join. The base of an image is another image with the most of its lower layers.
CREATE VIEW images AS SELECT
    entry.key AS _row, entry.image AS _image, entry.key AS _entry, entry.root AS _root,
    entry.other_digests AS _other_digests,
    (SELECT top FROM image WHERE image.key = entry.image) AS _top,
    (SELECT stack.chain FROM stack
        WHERE stack.image = entry.image AND stack.position < entry.layer_count - 1
        AND EXISTS (SELECT 1 FROM image AS base WHERE base.top = stack.chain)
        ORDER BY stack.position DESC LIMIT 1) AS _base_chain,
    entry.id AS id, entry.name AS name, entry.registry AS registry, entry.repository AS repository, entry.tag AS tag,
    entry.digest AS digest, entry.manifest AS manifest_digest, entry.created AS created, entry.size AS size,
    entry.download_size AS download_size, entry.shared_size AS shared_size,
    entry.size - entry.shared_size AS unique_size, entry.chain AS chain_id, entry.layer_count AS layer_count,
    iif(entry.image IS NULL, NULL, (SELECT json_group_array(diff_id) FROM (
        SELECT chain.diff_id FROM stack JOIN chain ON chain.key = stack.chain
        WHERE stack.image = entry.image ORDER BY stack.position) AS one)) AS diff_ids,
    iif(entry.image IS NULL, NULL, (SELECT json_group_array(id) FROM (
        SELECT chain.id FROM stack JOIN chain ON chain.key = stack.chain
        WHERE stack.image = entry.image ORDER BY stack.position) AS one)) AS chain_ids,
    (SELECT chain.id FROM stack JOIN chain ON chain.key = stack.chain
        WHERE stack.image = entry.image AND stack.position < entry.layer_count - 1
        AND EXISTS (SELECT 1 FROM image AS base WHERE base.top = stack.chain)
        ORDER BY stack.position DESC LIMIT 1) AS base_chain_id,
    entry.platform AS platform, entry.os AS os, entry.architecture AS architecture, entry.variant AS variant,
    entry.os_version AS os_version,
    {_CONFIG_VIEW},
    (SELECT annotations FROM config WHERE config.image = entry.image) AS annotations,
    entry.media_type AS media_type,
    (entry.tag IS NULL AND iif(entry.image IS NULL, NULL, NOT EXISTS (
        SELECT 1 FROM entry AS named WHERE named.image = entry.image AND named.tag IS NOT NULL))) AS dangling,
    EXISTS (SELECT 1 FROM container WHERE image_id = entry.id OR container.manifest = entry.manifest) AS in_use,
    (SELECT count(*) FROM container WHERE image_id = entry.id) AS containers,
    entry.set_at AS pulled_at,
    (SELECT max(used) FROM (
        SELECT used FROM image_use WHERE image_id = entry.id
        UNION ALL SELECT coalesce(finished, started) FROM container WHERE image_id = entry.id) AS one) AS last_used,
    iif(entry.image IS NULL, NULL, NOT EXISTS (
        SELECT 1 FROM descriptor WHERE is_absent = 1 AND (digest = entry.id OR digest = entry.manifest
            OR EXISTS (SELECT 1 FROM stack WHERE stack.image = entry.image AND stack.descriptor = descriptor.key))
        )) AS complete,
    CAST(NULL AS boolean) AS pinned, 'blobs/' || replace(entry.manifest, ':', '/') AS store_path,
    'store' AS source
FROM entry;

-- The rows of the next two views are in the order of image IDs: SQLite scans `image_id`, and a limit ends the scan.
-- The positions of layers and steps are far below 2^24: a document has at most 2^22 bytes.
CREATE VIEW layers AS SELECT
    stack.image * 16777216 + stack.position AS _row, stack.image AS _image, stack.command AS _command,
    image.id AS image, stack.position AS "index", descriptor.digest AS digest,
    (SELECT diff_id FROM chain WHERE chain.key = stack.chain) AS diff_id,
    (SELECT id FROM chain WHERE chain.key = stack.chain) AS chain_id,
    descriptor.unpacked_size AS size, descriptor.size AS download_size, descriptor.media_type AS media_type,
    (SELECT created FROM step WHERE step.image = stack.image AND step.position = stack.step) AS created,
    (SELECT nullif(text, '') FROM command WHERE command.key = stack.command) AS created_by,
    descriptor.images AS images, 'store' AS source
FROM stack JOIN image ON image.key = stack.image JOIN descriptor ON descriptor.key = stack.descriptor;

CREATE VIEW history AS SELECT
    step.image * 16777216 + step.position AS _row, step.image AS _image, step.command AS _command,
    image.id AS image, step.position AS "index", step.created AS created,
    (SELECT nullif(text, '') FROM command WHERE command.key = step.command) AS created_by,
    CASE WHEN step.layer IS NULL THEN 0 ELSE (
        SELECT unpacked_size FROM stack JOIN descriptor ON descriptor.key = stack.descriptor
        WHERE stack.image = step.image AND stack.position = step.layer) END AS size,
    step.layer IS NULL AS empty, step.comment AS comment,
    (SELECT digest FROM stack JOIN descriptor ON descriptor.key = stack.descriptor
        WHERE stack.image = step.image AND stack.position = step.layer) AS layer,
    'store' AS source
FROM step JOIN image ON image.key = step.image;

CREATE VIEW containers AS SELECT
    key AS _row,
    coalesce((SELECT image.key FROM image WHERE image.manifest = container.manifest),
        (SELECT min(image.key) FROM image WHERE image.id = container.image_id)) AS _image,
    {_CONTAINER_COLUMNS}
FROM container;
"""


STATISTICS = {
    "image": {"image_id": "100000 1", "image_top": "100000 1"},
    "entry": {
        "entry_created": "100000 1", "entry_repository": "100000 50 1", "entry_image": "100000 1 1 1",
        "entry_name": "100000 1", "entry_id": "100000 1", "entry_root": "100000 1", "entry_manifest": "100000 1",
        "entry_size": "100000 1",
    },
    "descriptor": {
        "descriptor_images": "300000 15000", "descriptor_unpacked_size": "300000 4",
        "sqlite_autoindex_descriptor_1": "300000 1 1 1",
    },
    "reaching": {"reaching": "600000 6 1", "reaching_blob": "600000 2"},
    "chain": {"sqlite_autoindex_chain_1": "100000 1"},
    "command": {"sqlite_autoindex_command_1": "2000 1"},
    "stack": {
        "stack": "400000 4 1", "stack_descriptor": "400000 4 1", "stack_chain": "400000 4 1",
        "stack_command": "400000 200",
    },
    "step": {"step": "500000 5 1", "step_command": "500000 250"},
    **{table: {table: "400000 4 1", f"{table}_value": "400000 80000 4"} for table in MAP_TABLES.values()},
}  # fmt: skip
"""The statistics of ANALYZE for a store of 100,000 images, by table and index: the number of rows, and of rows that are
equal in the first column, the first two … Every store gets them: small ones are fast anyway, and a large one is not
slow before it has been analyzed."""

VERSION = int.from_bytes(f"{_REVISION}{SCHEMA}{STATISTICS}".encode()) % 1_073_741_789  # the largest prime below 2^30
"""A checksum of the schema: an index with another version is rebuilt."""


def has_schema(connection: Connection) -> bool:
    """Whether a database has any table or view."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def create_tables(connection: Connection, origin: str = "") -> None:
    """Create the tables in an empty database, within a transaction of the caller. `origin`: see `Layout.origin`."""
    for statement in SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute("ANALYZE sqlite_schema")  # analyzes nothing, but creates the table of statistics
    connection.execute("DELETE FROM sqlite_stat1")
    connection.executemany(
        "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)",
        [(table, index, rows) for table, indexes in STATISTICS.items() for index, rows in indexes.items()],
    )
    connection.execute("ANALYZE sqlite_schema")  # loads the statistics
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("INSERT INTO meta VALUES ('origin', ?)", (origin,))


def has_current_schema(connection: Connection) -> bool:
    """Whether the schema is exactly that of this version. Raises `sqlite3.Error` for corrupt files.

    The schema is compared before any table is read: a file of another origin may have an endless view of the same name.
    """
    if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        return False
    expected = _schema_objects()
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        if name.startswith("sqlite_"):  # reserved by SQLite: CREATE rejects such names
            if (kind == "index" and sql is None) or (kind == "table" and sql.startswith("CREATE TABLE sqlite_stat")):
                continue
            return False
        if expected.pop((kind, name), None) != sql:
            return False
    return not expected


def _schema_objects() -> dict[tuple[str, str], str]:
    """Return the statement of each table, index, view and trigger as SQLite stores it, by type and name."""
    objects: dict[tuple[str, str], str] = {}
    for statement in SCHEMA.split(";\n"):
        sql = statement[statement.find("CREATE ") :].rstrip() if "CREATE " in statement else ""
        if sql:
            _, kind, name, *_ = sql.split(maxsplit=3)
            objects[kind.lower(), name] = sql
    return objects


def is_made_in(connection: Connection, origin: str) -> bool:
    """Whether an index of the current schema was created in the folder of this origin, and not copied there."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'origin'").fetchone()
    return origin != "" and row is not None and bool(row[0] == origin)


def is_intact(connection: Connection) -> bool:
    """Whether a database has the current schema and SQLite finds no corruption. Raises `sqlite3.Error`."""
    if not has_current_schema(connection) or connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        return False
    maps = " AND ".join(f"json_valid({column})" for column in ("annotations", *(field.name for field in MAP_FIELDS)))
    return connection.execute(f"SELECT 1 FROM config WHERE NOT ({maps}) LIMIT 1").fetchone() is None
