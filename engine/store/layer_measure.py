"""The measures of a layer: its diff ID and sizes, known once it has been decompressed."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .layout import diff_id_mismatch

if TYPE_CHECKING:
    from imq.engine.layers.layer_meter import LayerMeter
    from imq.engine.oci.digest import Digest


class LayerMeasure(Record):
    """The measures of the layer `digest`, as the table `descriptor` stores them.

    `size` is the sum of the file sizes in bytes, `tar_size` the bytes of the tar, `entries` the number of its entries.
    """

    digest: Digest
    diff_id: Digest
    size: int
    tar_size: int
    entries: int


def finish_measure(meter: LayerMeter, digest: Digest, diff_id: Digest | None, consequence: str) -> LayerMeasure:
    """Return the measures of a layer that was fed to `meter` completely.

    Raises `DigestMismatch` when its diff ID is not `diff_id`, the one of its config.
    """
    measured = meter.finish()
    if measured.diff_id != diff_id:
        raise diff_id_mismatch(digest, measured.diff_id, diff_id, consequence)
    return LayerMeasure(digest, measured.diff_id, measured.size, measured.tar_size, measured.entries)
