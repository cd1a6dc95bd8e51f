CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;

-- One image for one platform, by its manifest.
CREATE TABLE image (
    key INTEGER PRIMARY KEY,
    manifest TEXT NOT NULL UNIQUE,
    id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    created INTEGER,
    size INTEGER,                -- NULL until every layer has been unpacked once
    download_size INTEGER NOT NULL,
    layer_count INTEGER NOT NULL,
    platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT,
    labels TEXT NOT NULL, env TEXT NOT NULL, annotations TEXT NOT NULL,   -- JSON objects
    user TEXT, entrypoint TEXT, cmd TEXT, workdir TEXT, ports TEXT, volumes TEXT, healthcheck TEXT,
    stop_signal TEXT, author TEXT
);
CREATE INDEX image_id ON image (id);
CREATE INDEX image_created ON image (created);

-- One descriptor of index.json and one image that it reaches. Without a name: an image that lost its last one.
CREATE TABLE entry (
    key INTEGER PRIMARY KEY,
    image INTEGER NOT NULL,
    root TEXT NOT NULL,          -- the digest that the descriptor names: a manifest, or an index above it
    name TEXT, registry TEXT, repository TEXT, tag TEXT,
    digest TEXT,                 -- the registry's digest for the name
    set_at INTEGER
);
CREATE INDEX entry_image ON entry (image, tag);
CREATE INDEX entry_name ON entry (name);
CREATE INDEX entry_repository ON entry (repository, digest);
CREATE INDEX entry_root ON entry (root);

-- Every blob that a descriptor of index.json reaches.
CREATE TABLE reach (
    root TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (root, digest)
) WITHOUT ROWID;
CREATE INDEX reach_digest ON reach (digest);

CREATE TABLE layer (
    image INTEGER NOT NULL, position INTEGER NOT NULL,
    digest TEXT NOT NULL, diff_id TEXT NOT NULL, download_size INTEGER NOT NULL, media_type TEXT NOT NULL,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX layer_digest ON layer (digest, image);

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

CREATE VIEW images AS SELECT
    image.key AS _image, entry.key AS _entry, entry.root AS _root,
    image.id AS id, entry.name AS name, entry.registry AS registry, entry.repository AS repository,
    entry.tag AS tag,
    entry.digest AS digest, image.manifest AS manifest_digest, image.created AS created, image.size AS size,
    image.download_size AS download_size,
    CASE WHEN image.size IS NOT NULL THEN (
        SELECT coalesce(sum(content.size), 0) FROM layer JOIN content ON content.digest = layer.digest
        WHERE layer.image = image.key
        AND EXISTS (SELECT 1 FROM layer AS other WHERE other.digest = layer.digest AND other.image <> image.key)
    ) END AS shared_size,
    image.size - (
        SELECT coalesce(sum(content.size), 0) FROM layer JOIN content ON content.digest = layer.digest
        WHERE layer.image = image.key
        AND EXISTS (SELECT 1 FROM layer AS other WHERE other.digest = layer.digest AND other.image <> image.key)
    ) AS unique_size,
    image.layer_count AS layer_count, image.platform AS platform, image.os AS os, image.architecture AS architecture,
    image.variant AS variant, image.os_version AS os_version, image.labels AS label, image.env AS env,
    image.user AS user, image.entrypoint AS entrypoint, image.cmd AS cmd, image.workdir AS workdir,
    image.ports AS ports, image.volumes AS volumes, image.healthcheck AS healthcheck, image.stop_signal AS stop_signal,
    image.author AS author, image.annotations AS annotations, image.media_type AS media_type,
    (entry.tag IS NULL AND NOT EXISTS (
        SELECT 1 FROM entry AS named WHERE named.image = entry.image AND named.tag IS NOT NULL)) AS dangling,
    0 AS in_use, entry.set_at AS pulled_at, NULL AS last_used, 'store' AS source
FROM entry JOIN image ON image.key = entry.image;

CREATE VIEW layers AS SELECT
    layer.image AS _image, image.id AS image, layer.position AS "index", layer.digest AS digest,
    layer.diff_id AS diff_id,
    content.size AS size, layer.download_size AS download_size, layer.media_type AS media_type,
    step.created AS created, step.created_by AS created_by,
    (SELECT count(DISTINCT other.image) FROM layer AS other WHERE other.digest = layer.digest) AS images,
    'store' AS source
FROM layer JOIN image ON image.key = layer.image
LEFT JOIN content ON content.digest = layer.digest
LEFT JOIN step ON step.image = layer.image AND step.layer = layer.position;

CREATE VIEW history AS SELECT
    step.image AS _image, image.id AS image, step.position AS "index", step.created AS created,
    step.created_by AS created_by, CASE WHEN step.layer IS NULL THEN 0 ELSE content.size END AS size,
    step.layer IS NULL AS empty, step.comment AS comment, layer.digest AS layer, 'store' AS source
FROM step JOIN image ON image.key = step.image
LEFT JOIN layer ON layer.image = step.image AND layer.position = step.layer
LEFT JOIN content ON content.digest = layer.digest;
