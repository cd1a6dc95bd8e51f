"""The scan of the table `waste`: the bytes of the layers of images that no container sees."""

from __future__ import annotations

from imq.engine.layer_index.entry_types import FILE, WHITEOUT
from imq.engine.layer_index.schema import SCHEMA

from .content_scan import ContentScan

_PREFIX_LENGTH = len(".wh.")


class WasteScan(ContentScan):
    """The rows of `waste`, one for each image.

    The efficiency is that of dive: the sum of the smallest size of each path in any layer, divided by the sum of its
    sizes in all layers. A deletion counts as the file once more.
    """

    columns = ("_lookup", "image", "image_name", "place", "efficiency", "wasted_size", "size", "paths")

    def insert_rows(self) -> None:
        """Insert the sums over the files of each image."""
        stack = f"temp.{self.stack}"
        hidden = self.write_hidden("1", "entry.layer", "entry.directory", "entry.name")
        copies = f"""SELECT stack.number AS number, entry.directory AS directory, entry.name AS name,
                entry.size AS size, iif(EXISTS ({hidden}), entry.size, 0) AS wasted
            FROM {stack} AS stack CROSS JOIN {SCHEMA}.entry ON entry.layer = stack.layer AND entry.type = {FILE}
            UNION ALL SELECT upper.number, entry.directory, old.name, max(old.size), 0
            FROM {stack} AS upper CROSS JOIN {SCHEMA}.entry ON entry.layer = upper.layer AND entry.type = {WHITEOUT}
            CROSS JOIN {stack} AS lower ON lower.number = upper.number AND lower.position < upper.position
            CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer AND old.directory = entry.directory
                AND old.name = substr(entry.name, {_PREFIX_LENGTH + 1}) AND old.type = {FILE}
            GROUP BY upper.number, upper.position, entry.directory, old.name"""
        paths = f"""SELECT number, min(size) AS smallest, sum(size) AS total, sum(wasted) AS wasted, count(*) AS copies
            FROM ({copies}) GROUP BY number, directory, name"""
        names = ", ".join(f'"{name}"' for name in self.columns)
        self.connection.execute(
            f"""INSERT INTO temp.{self.rows} ({names})
            SELECT image.lookup, image.image, image.name, image.source,
                iif(coalesce(sum(total), 0) = 0, 1.0, 1.0 * sum(smallest) / sum(total)), coalesce(sum(wasted), 0),
                coalesce((SELECT sum(entry.size) FROM {stack} AS own CROSS JOIN {SCHEMA}.entry
                    ON entry.layer = own.layer AND entry.type = {FILE} WHERE own.number = image.number), 0),
                coalesce(sum(wasted > 0), 0)
            FROM (SELECT DISTINCT number, lookup, image, name, source FROM {stack}) AS image
            LEFT JOIN ({paths}) AS path USING (number) GROUP BY image.number"""
        )
