"""Which image is the base of which, among images that are shown together."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def find_bases(images: Sequence[tuple[str, Sequence[str]]]) -> list[int | None]:
    """Return the position of the base of each image; None without one. Images are a source and their chain IDs.

    The base of an image is the image of the same source with the most layers that are its lowest ones. Of images with
    the same layers the first one is the base of others.
    """
    tops: dict[tuple[str, str], int] = {}
    for place, (source, chains) in enumerate(images):
        if chains:
            tops.setdefault((source, chains[-1]), place)
    return [
        next((base for chain in chains[-2::-1] if (base := tops.get((source, chain))) is not None), None)
        for source, chains in images
    ]
