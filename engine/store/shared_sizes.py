"""How many images have a layer, and the bytes of an image that others have too: kept up as images come and go.

Most images of a store share a few bases. Counting again whenever somebody asks would look at every layer of every
image; here a change costs what the images in it have. Only a layer that comes to be shared, or ceases to be, touches
another image: the one that had it alone before, or has it alone now.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from sqlite3 import Connection

    from .layer_measure import LayerMeasure

_LAYERS_OF_IMAGES = """
SELECT descriptor.digest AS digest, count(DISTINCT stack.image) AS images
FROM stack JOIN descriptor ON descriptor.key = stack.descriptor
WHERE stack.image IN (SELECT value FROM json_each(?)) GROUP BY descriptor.digest
"""
_ADD_COUNTS = f"""
UPDATE descriptor SET images = descriptor.images + %s * theirs.images FROM ({_LAYERS_OF_IMAGES}) AS theirs
WHERE descriptor.digest = theirs.digest
"""
# the + keeps SQLite from beginning with all the layers that one image has
_RESET_SHARED_SIZES = f"""
UPDATE image SET shared_size = NULL WHERE shared_size IS NOT NULL AND key IN (
    SELECT stack.image FROM descriptor JOIN stack ON stack.descriptor = descriptor.key
    WHERE +descriptor.images = 1 AND descriptor.digest IN (SELECT digest FROM ({_LAYERS_OF_IMAGES}))
)
"""
_SUM_SIZES = """
UPDATE image SET size = (
    SELECT CASE WHEN count(unpacked_size) = count(*) THEN coalesce(sum(unpacked_size), 0) END
    FROM stack JOIN descriptor ON descriptor.key = stack.descriptor WHERE stack.image = image.key
) WHERE size IS NULL AND shared_size IS NULL
"""
_SUM_SHARED = """
UPDATE image SET shared_size = (
    SELECT coalesce(sum(unpacked_size), 0) FROM stack JOIN descriptor ON descriptor.key = stack.descriptor
    WHERE stack.image = image.key AND descriptor.images > 1
) WHERE size IS NOT NULL AND shared_size IS NULL
"""


def add_layer_counts(connection: Connection, images: Sequence[int]) -> None:
    """Count the layers of images that were just inserted; to be followed by `sum_up`."""
    import json

    keys = json.dumps(images)
    connection.execute(_RESET_SHARED_SIZES, (keys,))  # before they are counted: who has a layer alone has it no longer
    connection.execute(_ADD_COUNTS % "1", (keys,))


def subtract_layer_counts(connection: Connection, images: Sequence[int]) -> None:
    """Uncount the layers of images that are about to be deleted; to be followed by `sum_up`."""
    import json

    keys = json.dumps(images)
    connection.execute(_ADD_COUNTS % "-1", (keys,))
    connection.execute(_RESET_SHARED_SIZES, (keys,))


def set_measures(connection: Connection, measures: Iterable[LayerMeasure]) -> None:
    """Keep what unpacking told of layers; to be followed by `sum_up`."""
    connection.executemany(
        "UPDATE descriptor SET unpacked_size = ?, tar_size = ?, entries = ?, diff_id = ? WHERE digest = ?",
        [(c.size, c.tar_size, c.entries, c.diff_id, c.digest) for c in measures],
    )


def update_sizes(connection: Connection) -> None:
    """Set the sizes of images that have become known, and the shared sizes that have changed. Bytes."""
    connection.execute(_SUM_SIZES)
    connection.execute(_SUM_SHARED)
