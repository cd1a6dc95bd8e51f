"""How many images have a layer, and the bytes of an image that others have too: kept up as images come and go.

Most images of a store share a few bases. Counting again whenever somebody asks would look at every layer of every
image; here a change costs what the images in it have. Only a layer that comes to be shared, or ceases to be, touches
another image: the one that had it alone before, or has it alone now.
"""

from __future__ import annotations

import json

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

_THEIRS = "SELECT digest, count(DISTINCT image) AS images FROM layer WHERE image IN (SELECT value FROM json_each(?))"
# the + keeps SQLite from beginning with all the layers that one image has
_ALONE = f"""
UPDATE image SET shared_size = NULL WHERE shared_size IS NOT NULL AND key IN (
    SELECT layer.image FROM sharing JOIN layer ON layer.digest = sharing.digest
    WHERE +sharing.images = 1 AND sharing.digest IN (SELECT digest FROM ({_THEIRS} GROUP BY digest))
)
"""
_COME = f"""
INSERT INTO sharing {_THEIRS} GROUP BY digest ON CONFLICT (digest) DO UPDATE SET images = images + excluded.images
"""
_GO = f"""
UPDATE sharing SET images = sharing.images - theirs.images FROM ({_THEIRS} GROUP BY digest) AS theirs
WHERE sharing.digest = theirs.digest
"""
_SUM_SIZES = """
UPDATE image SET size = (
    SELECT CASE WHEN count(content.digest) = count(*) THEN coalesce(sum(content.size), 0) END
    FROM layer LEFT JOIN content ON content.digest = layer.digest WHERE layer.image = image.key
) WHERE size IS NULL AND shared_size IS NULL
"""
_SUM_SHARED = """
UPDATE image SET shared_size = (
    SELECT coalesce(sum(content.size), 0) FROM layer
    JOIN sharing ON sharing.digest = layer.digest AND sharing.images > 1
    JOIN content ON content.digest = layer.digest WHERE layer.image = image.key
) WHERE size IS NOT NULL AND shared_size IS NULL
"""


def count_in(connection: Connection, images: Sequence[int]) -> None:
    """Count the layers of images that were just inserted; to be followed by `sum_up`."""
    keys = json.dumps(images)
    connection.execute(_ALONE, (keys,))  # before they are counted: who has a layer alone has it no longer
    connection.execute(_COME, (keys,))


def count_out(connection: Connection, images: Sequence[int]) -> None:
    """Uncount the layers of images that are about to be deleted; to be followed by `sum_up`."""
    keys = json.dumps(images)
    connection.execute(_GO, (keys,))
    connection.execute(_ALONE, (keys,))
    connection.execute("DELETE FROM sharing WHERE images = 0")


def sum_up(connection: Connection) -> None:
    """Set the sizes of images that have become known, and the shared sizes that have changed. Bytes."""
    connection.execute(_SUM_SIZES)
    connection.execute(_SUM_SHARED)
