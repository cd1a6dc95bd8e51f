"""Selects the image of an index for a platform, with docker's error and warning for mismatches."""

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
"""The annotation that marks attestations in an index, written by BuildKit."""
_MAX_UNLABELLED = 16


def select_entry(
    platform: Platform, index: Index, reference: Reference, read_platform: Callable[[Descriptor], Platform]
) -> Descriptor:
    """Select the entry for a platform. `read_platform` reads the platform of entries whose descriptor has none.

    Raises `RegistryError` (code `no-matching-manifest`) with docker's message and the available platforms.
    """
    candidates = [entry for entry in index.manifests if REFERENCE_TYPE_ANNOTATION not in entry.annotations]
    labelled = [
        (entry.platform, position)
        for position, entry in enumerate(candidates)
        if entry.platform and entry.platform.is_known
    ]
    best = find_best_platform(platform, labelled)
    if best is not None:
        return candidates[best]
    unlabelled = [(position, entry) for position, entry in enumerate(candidates) if entry.platform is None]
    read = [(read_platform(entry), position) for position, entry in unlabelled[:_MAX_UNLABELLED]]
    best = find_best_platform(platform, [(platform, position) for platform, position in read if platform.is_known])
    if best is None and not labelled and len(unlabelled) == 1:
        best = unlabelled[0][0]  # the only image is selected, as if it had no index
    if best is not None:
        return candidates[best]
    names = sorted({str(platform) for platform, _ in (*labelled, *read) if platform.is_known})
    raise RegistryError(
        f"no matching manifest for {platform} in the manifest list entries",
        code="no-matching-manifest",
        host=reference.registry,
        hints=(f"{reference} has: {join_names(names)}" if names else f"{reference} has no images",),
    )


def describe_mismatch(reference: Reference, requested: Platform, actual: Platform) -> str:
    """Return docker's warning for a single image of another platform; "" when it matches. A missing variant matches."""
    if not actual.is_known or requested.rank(actual) is not None:
        return ""
    if not actual.variant and requested.replace(variant="").rank(actual) is not None:
        return ""
    prefix = f"image with reference {reference} was found but does not match the specified platform"
    return f"{prefix}: wanted {requested}, actual: {actual}"
