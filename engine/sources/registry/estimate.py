"""Estimates the maximum number of requests of a statement's fetch stages, without sending any.

The estimate uses cached data: the tag counts of earlier listings, and the cached manifests and configs.
"""

from __future__ import annotations

from imq.engine.oci.platform import Platform, host_platform
from imq.engine.oci.reference import Reference
from imq.engine.registry.http.pagination import PAGE_SIZE
from imq.engine.store.registry_cache import DATABASE, RegistryCache, TagStats
from imq.engine.units.time import human_duration
from imq.grammar.errors import InvalidReference
from imq.grammar.record import TYPE_CHECKING

from .tables import CONFIG, MANIFEST, REFERRERS_LEVEL, ROOT_MANIFEST

if TYPE_CHECKING:
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.context import SourceContext

_TAG_TABLES = ("tags", "images")
_ROOT_LEVELS = (ROOT_MANIFEST, MANIFEST, CONFIG)
"""Levels that need the manifest or index of a name."""
_IMAGE_LEVELS = (MANIFEST, CONFIG)
"""Levels that need the manifest of an index's image."""
_REFERRER_REQUESTS = 3
"""Maximum requests for one image's referrers: a cosign tag, the referrers API and the referrers tag.

One more request for each repository detects whether it supports HEAD.
"""
_NANOSECONDS = 1_000_000_000


class RequestEstimator:
    """Estimates the stages of one statement, in order.

    `fresh` is the time in nanoseconds for which a cached tag is valid at `now`; `platform` is the default platform.
    With `mirrored`, manifests are requested from mirrors by digest.
    """

    def __init__(self, memory: RegistryCache, now: int, fresh: int, platform: Platform, *, mirrored: bool) -> None:
        self._cache = memory
        self._now = now
        self._fresh_since = now - fresh
        self._platform = platform
        self._has_mirrors = mirrored
        self._scan_statistics: dict[str, tuple[list[TagStats], list[TagStats]] | None] = {}
        """The cached statistics of the scans so far."""
        self._counted: set[tuple[str, str]] = set()
        """The requests that earlier stages have counted, by scan."""

    @classmethod
    def of(cls, context: SourceContext, now: int, fresh: int) -> RequestEstimator:
        """Return the estimator of a session; it does not create a cache."""
        layout = context.store.layout
        there = layout.exists and layout.root_directory.has_file(DATABASE)
        memory = RegistryCache(context.runner.connection, context.store.get_cache_layout() if there else None)
        mirrored = bool(context.configuration.mirrors)
        return cls(memory, now, fresh, context.platform or host_platform(), mirrored=mirrored)

    def cached(self) -> str:
        """Return a description of the cached documents."""
        documents, configs = self._cache.count_documents()
        return f"remembered: {documents} manifests and {configs} configs, which are not asked for again"

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return the maximum number of requests of a stage, in words; "" when it is unknown."""
        if fetch is None:
            platform = Platform.parse(request.platform) if request.platform else self._platform
            self._scan_statistics[request.view] = self._scan_cache(request, platform)
        seen = self._scan_statistics[request.view]
        if seen is None:
            return ""
        return self._estimate_listing(*seen) if fetch is None else self._estimate_fetch(request.view, fetch, *seen)

    def _estimate_listing(self, whole: list[TagStats], single: list[TagStats]) -> str:
        """Describe the requests of a listing: pages of tags, and single names."""
        pages = sum(max(1, -(-one.tags // PAGE_SIZE)) for one in whole)
        listed = f" by the last list of {_tag_count(whole)}" if whole else ""
        return f"; at most {pages + sum(1 - one.fresh for one in single):,}{listed}"

    def _estimate_fetch(self, view: str, fetch: FetchRequest, whole: list[TagStats], single: list[TagStats]) -> str:
        """Describe the requests of a level for listed rows."""
        every, count, told = [*whole, *single], 0, ""
        naming = self._is_first(view, "names")
        if naming:
            count += sum(one.tags - one.fresh for one in whole)
        if (fetch.continues or fetch.level in _ROOT_LEVELS) and self._is_first(view, "documents"):
            if naming and not self._has_mirrors:  # a new manifest is requested by tag, which resolves its digest too
                count += sum(one.fresh - one.fresh_documents for one in whole)
                count += sum(one.tags - one.documents for one in single)
            else:
                count += sum(one.tags - one.documents for one in every)
        if fetch.level in _IMAGE_LEVELS and self._is_first(view, "manifests"):
            count += sum(one.documents - one.manifests for one in every)
            if new := sum(one.tags - one.documents for one in every):
                told = f", 1 more for each of {_count(new, 'new name')} that stands for an index,"
        if fetch.level is CONFIG:
            count += sum(one.tags - one.configs for one in every)
        if fetch.level is REFERRERS_LEVEL:
            count += _REFERRER_REQUESTS * sum(one.tags for one in every) + len(every)
        return f"; at most {count:,}{told} if nothing has changed" + (self._describe_fresh(whole) if naming else "")

    def _is_first(self, view: str, what: str) -> bool:
        """Whether this is the first stage of a scan that needs these requests."""
        known = (view, what) in self._counted
        self._counted.add((view, what))
        return not known

    def _describe_fresh(self, seen: list[TagStats]) -> str:
        """Describe the names whose cached digest is still valid."""
        times = [one.oldest for one in seen if one.oldest is not None]
        if not times:
            return ""
        ago = human_duration((self._now - min(times)) / _NANOSECONDS).lower()
        return f"; of {_tag_count(seen)} {sum(one.fresh for one in seen):,} are fresh, the oldest answered {ago} ago"

    def _scan_cache(self, scan: ScanRequest, platform: Platform) -> tuple[list[TagStats], list[TagStats]] | None:
        """Return the statistics of the repositories and of the single names of a scan; None when one is missing."""
        if scan.table.name not in _TAG_TABLES or scan.refs or scan.lookup_fields or scan.of_queries:
            return None
        whole: list[TagStats] = []
        single: list[TagStats] = []
        for target in scan.targets:
            try:
                reference = Reference.parse(target.strip())
            except InvalidReference:
                return None
            if reference.digest is not None:
                single.append(TagStats(1, 0, None, 0, 0, 0, 0))
                continue
            seen = self._cache.read_tag_stats(reference, self._fresh_since, self._now, platform)
            if seen is None:
                return None
            (whole if reference.tag is None else single).append(seen)
        return whole, single


def _tag_count(seen: list[TagStats]) -> str:
    return _count(sum(one.tags for one in seen), "tag")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
