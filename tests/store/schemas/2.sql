CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;

-- One image for one platform, by its manifest. What is long stands apart, in `config`: it would slow down every walk.
CREATE TABLE image (
    key INTEGER PRIMARY KEY,
    created INTEGER,
    size INTEGER,                -- NULL until every layer has been unpacked once
    shared_size INTEGER,         -- NULL as well while it is to be summed up again: see sharing.py
    download_size INTEGER NOT NULL,
    layer_count INTEGER NOT NULL,
    platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT,
    media_type TEXT NOT NULL,
    user TEXT, workdir TEXT, stop_signal TEXT, author TEXT,
    id TEXT NOT NULL,
    manifest TEXT NOT NULL UNIQUE,
    chain TEXT                   -- the chain ID of the top layer
);
CREATE INDEX image_id ON image (id);
CREATE INDEX image_chain ON image (chain);
CREATE INDEX image_unsummed ON image (size) WHERE shared_size IS NULL;

-- What an image says at length: JSON objects and lists.
CREATE TABLE config (
    image INTEGER PRIMARY KEY,
    labels TEXT NOT NULL, env TEXT NOT NULL, annotations TEXT NOT NULL,
    entrypoint TEXT, cmd TEXT, ports TEXT, volumes TEXT, healthcheck TEXT
);

-- One descriptor of index.json and one image that it reaches. Without a name: an image that lost its last one.
-- What most questions are about is the image's and repeated here, so that they walk one table, or an index of it.
CREATE TABLE entry (
    key INTEGER PRIMARY KEY,
    image INTEGER NOT NULL,
    created INTEGER, size INTEGER, shared_size INTEGER,
    registry TEXT, repository TEXT, tag TEXT, name TEXT,
    id TEXT NOT NULL,
    set_at INTEGER,
    digest TEXT,                 -- the registry's digest for the name
    root TEXT NOT NULL           -- the digest that the descriptor names: a manifest, or an index above it
);
CREATE INDEX entry_image ON entry (image, tag);
CREATE INDEX entry_name ON entry (name);
CREATE INDEX entry_repository ON entry (repository, digest);
CREATE INDEX entry_root ON entry (root);
CREATE INDEX entry_id ON entry (id);
CREATE INDEX entry_created ON entry (created);
CREATE TRIGGER image_summed AFTER UPDATE OF size, shared_size ON image BEGIN
    UPDATE entry SET size = new.size, shared_size = new.shared_size WHERE image = new.key; END;

-- Every blob that a descriptor of index.json reaches.
CREATE TABLE reach (
    root TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (root, digest)
) WITHOUT ROWID;
CREATE INDEX reach_digest ON reach (digest);

CREATE TABLE layer (
    image INTEGER NOT NULL, position INTEGER NOT NULL,
    step INTEGER,                -- the position of the step that made it
    download_size INTEGER NOT NULL, media_type TEXT NOT NULL,
    digest TEXT NOT NULL, diff_id TEXT NOT NULL,
    chain TEXT NOT NULL,         -- the chain ID: it stands for this layer and all below it
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX layer_digest ON layer (digest, image);
CREATE INDEX layer_chain ON layer (chain, image);

-- How many images have a layer.
CREATE TABLE sharing (digest TEXT PRIMARY KEY, images INTEGER NOT NULL) WITHOUT ROWID;

-- What unpacking a layer told: facts about content, true for ever.
CREATE TABLE content (
    digest TEXT PRIMARY KEY, diff_id TEXT NOT NULL,
    size INTEGER NOT NULL, tar_size INTEGER NOT NULL, entries INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE step (
    image INTEGER NOT NULL, position INTEGER NOT NULL,
    created INTEGER, created_by TEXT, comment TEXT, layer INTEGER,   -- the position of the layer it made
    PRIMARY KEY (image, position)
) WITHOUT ROWID;

CREATE TABLE label (
    image INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (image, key)
) WITHOUT ROWID;
CREATE TABLE variable (
    image INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (image, key)
) WITHOUT ROWID;
CREATE TABLE annotation (
    image INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (image, key)
) WITHOUT ROWID;

-- In the views every table beside the first is joined from the left by a key of its own, although its row is always
-- there: SQLite then passes over those that a question does not read.
-- The base of an image is the one with the most of its lower layers; with the same layers, the one that came first.
CREATE VIEW images AS SELECT
    entry.key AS _row, entry.image AS _image, entry.key AS _entry, entry.root AS _root,
    (SELECT base.key FROM layer JOIN image AS base ON base.chain = layer.chain
        WHERE layer.image = entry.image AND layer.position < image.layer_count - 1
        ORDER BY layer.position DESC, base.key LIMIT 1) AS _base,
    entry.id AS id, entry.name AS name, entry.registry AS registry, entry.repository AS repository,
    entry.tag AS tag,
    entry.digest AS digest, image.manifest AS manifest_digest, entry.created AS created, entry.size AS size,
    image.download_size AS download_size,
    entry.shared_size AS shared_size, entry.size - entry.shared_size AS unique_size, image.chain AS chain_id,
    image.layer_count AS layer_count, image.platform AS platform, image.os AS os, image.architecture AS architecture,
    image.variant AS variant, image.os_version AS os_version, config.labels AS label, config.env AS env,
    image.user AS user, config.entrypoint AS entrypoint, config.cmd AS cmd, image.workdir AS workdir,
    config.ports AS ports, config.volumes AS volumes, config.healthcheck AS healthcheck,
    image.stop_signal AS stop_signal,
    image.author AS author, config.annotations AS annotations, image.media_type AS media_type,
    (entry.tag IS NULL AND NOT EXISTS (
        SELECT 1 FROM entry AS named WHERE named.image = entry.image AND named.tag IS NOT NULL)) AS dangling,
    0 AS in_use, 0 AS containers, entry.set_at AS pulled_at, NULL AS last_used, 'store' AS source
FROM entry LEFT JOIN image ON image.key = entry.image LEFT JOIN config ON config.image = entry.image;

-- The places of layers and steps are far below 2^24: a document has at most 2^22 bytes.
CREATE VIEW layers AS SELECT
    layer.image * 16777216 + layer.position AS _row, layer.image AS _image,
    image.id AS image, layer.position AS "index", layer.digest AS digest,
    layer.diff_id AS diff_id, layer.chain AS chain_id,
    content.size AS size, layer.download_size AS download_size, layer.media_type AS media_type,
    step.created AS created, step.created_by AS created_by, sharing.images AS images, 'store' AS source
FROM layer LEFT JOIN image ON image.key = layer.image
LEFT JOIN sharing ON sharing.digest = layer.digest
LEFT JOIN content ON content.digest = layer.digest
LEFT JOIN step ON step.image = layer.image AND step.position = layer.step;

CREATE VIEW history AS SELECT
    step.image * 16777216 + step.position AS _row, step.image AS _image,
    image.id AS image, step.position AS "index", step.created AS created,
    step.created_by AS created_by, CASE WHEN step.layer IS NULL THEN 0 ELSE content.size END AS size,
    step.layer IS NULL AS empty, step.comment AS comment, layer.digest AS layer, 'store' AS source
FROM step LEFT JOIN image ON image.key = step.image
LEFT JOIN layer ON layer.image = step.image AND layer.position = step.layer
LEFT JOIN content ON content.digest = layer.digest;

-- The store makes no containers, so every question about them is answered, by none.
CREATE VIEW containers AS SELECT
    NULL AS _row, NULL AS _image, NULL AS id, NULL AS name, NULL AS image, NULL AS image_id, NULL AS status,
    NULL AS created, NULL AS finished, NULL AS size_rw, NULL AS labels, NULL AS ports, NULL AS source
WHERE 0;
