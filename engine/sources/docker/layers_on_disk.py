"""Reads layers of docker where they lie, in the folders of its driver overlay2, when this process may.

For each layer docker keeps the headers of the archive from which it was unpacked (tar-split). With the files in the
folder of the layer they are that archive, byte for byte. Its diff ID is verified as that of any layer. It does not
match when the layer was changed, or when its files have no content there (metacopy). Such a layer is read from the
export of the engine.
"""

from __future__ import annotations

import os
import re
from functools import partial

from imq.engine.layers.tar_split import LayerArchive
from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.sources.contents.protocol import LayerRead
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING, Record

from .disk import find_root_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from typing import BinaryIO

    from imq.engine.oci.digest import Digest
    from imq.engine.sources.contents.protocol import ImageLayers, ReadLayer

    from .reader import EngineReader

_DRIVER = "overlay2"
_CACHE_ID = re.compile(r"[0-9a-f]{64}(-init)?\Z")
_MAX_FIELD = 256
_RECORDS = "tar-split.json.gz"


class _StoredLayer(Record):
    """A layer in the folder `root` of docker: the folder with its records, and the one with its files below `root`."""

    root: str
    records: str
    files: str
    diff_id: Digest

    def read(self, _diff_ids: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the archive of the layer to `read`."""
        archive = LayerArchive(self._open_records, self.root, self.files, str(self.diff_id))
        read(self.diff_id, archive.iter_chunks())

    def _open_records(self) -> BinaryIO:
        return open(os.path.join(self.records, _RECORDS), "rb")


def plan_reads_on_disk(
    reader: EngineReader, source: str, images: Sequence[ImageLayers], missing: AbstractSet[Digest]
) -> Iterator[LayerRead]:
    """Yield a read for each missing layer of an engine that can be read where it lies."""
    try:
        root, driver = find_root_folder(reader, source)
    except Interrupted:
        raise
    except ImqError:
        return  # the export tells what is wrong with the engine
    database = os.path.join(root, "image", _DRIVER, "layerdb")
    if driver != _DRIVER or not os.access(database, os.R_OK | os.X_OK):
        return
    seen: set[Digest] = set()
    for image in images:
        for chain_id, diff_id in zip(compute_chain_ids(image.diff_ids), image.diff_ids, strict=True):
            if diff_id not in missing or diff_id in seen:
                continue
            records = os.path.join(database, chain_id.algorithm, chain_id.encoded)
            cache_id, size = _read_field(records, "cache-id"), _read_field(records, "size")
            is_known = _read_field(records, "diff") == diff_id and _CACHE_ID.match(cache_id)
            if is_known and os.access(os.path.join(records, _RECORDS), os.R_OK):
                seen.add(diff_id)
                layer = _StoredLayer(root, records, f"{_DRIVER}/{cache_id}/diff", diff_id)
                yield LayerRead((diff_id,), int(size) if size.isdecimal() else 0, partial(layer.read))


def _read_field(folder: str, name: str) -> str:
    """Return a value that docker keeps of a layer; "" when it cannot be read."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read(_MAX_FIELD).strip()
    except (OSError, ValueError):
        return ""
