"""Chain IDs: digests that identify a layer together with all layers below it."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence


def compute_chain_ids(diff_ids: Sequence[Digest]) -> list[Digest]:
    """Return the chain ID of each layer, bottom layer first, as the image specification defines it.

    It identifies a layer together with all layers below it: images with an equal chain ID share these layers.
    """
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain
