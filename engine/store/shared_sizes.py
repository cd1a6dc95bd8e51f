"""The number of images with a layer, and the shared size of an image, updated as images are added and removed.

Counting in each query would read every layer of every image. An update reads only the layers of the images that change.
Another image is affected only when a layer becomes shared, or stops being shared.
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
# the + prevents SQLite from starting with all layers that only one image has
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
    """Count the layers of new images. Call `update_sizes` afterwards."""
    import json

    keys = json.dumps(images)
    connection.execute(_RESET_SHARED_SIZES, (keys,))  # before counting: their layers stop being unique to one image
    connection.execute(_ADD_COUNTS % "1", (keys,))


def subtract_layer_counts(connection: Connection, images: Sequence[int]) -> None:
    """Subtract the layers of images that will be deleted. Call `update_sizes` afterwards."""
    import json

    keys = json.dumps(images)
    connection.execute(_ADD_COUNTS % "-1", (keys,))
    connection.execute(_RESET_SHARED_SIZES, (keys,))


def set_measures(connection: Connection, measures: Iterable[LayerMeasure]) -> None:
    """Store the measures of layers. Call `update_sizes` afterwards."""
    connection.executemany(
        "UPDATE descriptor SET unpacked_size = ?, tar_size = ?, entries = ?, diff_id = ? WHERE digest = ?",
        [(one.size, one.tar_size, one.entries, one.diff_id, one.digest) for one in measures],
    )


def update_sizes(connection: Connection) -> None:
    """Set the sizes in bytes of images that have become known, and the shared sizes that have changed."""
    connection.execute(_SUM_SIZES)
    connection.execute(_SUM_SHARED)
