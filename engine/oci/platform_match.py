"""Which image of an index is meant by a platform, and what to say when none is, or another one than was asked for."""

from __future__ import annotations

from imq.grammar.errors import RegistryError, join_names
from imq.grammar.record import TYPE_CHECKING

from .platform import best

if TYPE_CHECKING:
    from collections.abc import Callable

    from .manifest import Descriptor, Index
    from .platform import Platform
    from .reference import Reference

REFERENCE_TYPE = "vnd.docker.reference.type"
"""The annotation by which buildkit marks an entry of an index that says something about another one."""
_MOST_LOOKED_INTO = 16


def entry_for(
    wanted: Platform, index: Index, reference: Reference, look: Callable[[Descriptor], Platform]
) -> Descriptor:
    """Choose the entry for the wanted platform; entries that do not say theirs are looked into with `look`.

    Raises `RegistryError` (code `no-matching-manifest`) in docker's words, with the platforms that there are.
    """
    offered = [entry for entry in index.manifests if REFERENCE_TYPE not in entry.annotations]
    labelled = [(e.platform, place) for place, e in enumerate(offered) if e.platform and e.platform.known]
    place = best(wanted, labelled)
    if place is not None:
        return offered[place]
    unlabelled = [(place, entry) for place, entry in enumerate(offered) if entry.platform is None]
    found = [(look(entry), place) for place, entry in unlabelled[:_MOST_LOOKED_INTO]]
    place = best(wanted, [(platform, at) for platform, at in found if platform.known])
    if place is None and not labelled and len(unlabelled) == 1:
        place = unlabelled[0][0]  # the only image there is, as if it stood alone
    if place is not None:
        return offered[place]
    names = sorted({str(platform) for platform, _ in (*labelled, *found) if platform.known})
    raise RegistryError(
        f"no matching manifest for {wanted} in the manifest list entries",
        code="no-matching-manifest",
        host=reference.registry,
        hints=(f"{reference} has: {join_names(names)}" if names else f"{reference} has no image at all",),
    )


def mismatch(reference: Reference, wanted: Platform, actual: Platform) -> str:
    """Return docker's warning of a single image of another platform; "" when it fits, but for a variant not said."""
    if not actual.known or wanted.rank(actual) is not None:
        return ""
    if not actual.variant and wanted.replace(variant="").rank(actual) is not None:
        return ""
    found = f"image with reference {reference} was found but does not match the specified platform"
    return f"{found}: wanted {wanted}, actual: {actual}"
