"""Which image of an index is meant by a platform, and what to say when none is, or another one than was asked for."""

from __future__ import annotations

from imq.grammar.errors import RegistryError, join_names
from imq.grammar.record import TYPE_CHECKING

from .platform import find_best_platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from .manifest import Descriptor, Index
    from .platform import Platform
    from .reference import Reference

REFERENCE_TYPE_ANNOTATION = "vnd.docker.reference.type"
"""The annotation by which buildkit marks an entry of an index that says something about another one."""
_MAX_UNLABELLED = 16


def select_entry(
    platform: Platform, index: Index, reference: Reference, read_platform: Callable[[Descriptor], Platform]
) -> Descriptor:
    """Choose the entry for the wanted platform; entries that do not say theirs are looked into with `look`.

    Raises `RegistryError` (code `no-matching-manifest`) in docker's words, with the platforms that there are.
    """
    candidates = [entry for entry in index.manifests if REFERENCE_TYPE_ANNOTATION not in entry.annotations]
    labelled = [(e.platform, chosen) for chosen, e in enumerate(candidates) if e.platform and e.platform.is_known]
    place = find_best_platform(platform, labelled)
    if place is not None:
        return candidates[place]
    unlabelled = [(place, entry) for place, entry in enumerate(candidates) if entry.platform is None]
    found = [(read_platform(entry), place) for place, entry in unlabelled[:_MAX_UNLABELLED]]
    place = find_best_platform(platform, [(platform, at) for platform, at in found if platform.is_known])
    if place is None and not labelled and len(unlabelled) == 1:
        place = unlabelled[0][0]  # the only image there is, as if it stood alone
    if place is not None:
        return candidates[place]
    names = sorted({str(platform) for platform, _ in (*labelled, *found) if platform.is_known})
    raise RegistryError(
        f"no matching manifest for {platform} in the manifest list entries",
        code="no-matching-manifest",
        host=reference.registry,
        hints=(f"{reference} has: {join_names(names)}" if names else f"{reference} has no image at all",),
    )


def describe_mismatch(reference: Reference, requested: Platform, actual: Platform) -> str:
    """Return docker's warning of a single image of another platform; "" when it fits, but for a variant not said."""
    if not actual.is_known or requested.rank(actual) is not None:
        return ""
    if not actual.variant and requested.replace(variant="").rank(actual) is not None:
        return ""
    prefix = f"image with reference {reference} was found but does not match the specified platform"
    return f"{prefix}: wanted {requested}, actual: {actual}"
