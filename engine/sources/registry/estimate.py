"""Estimates the maximum number of requests of a statement's fetch stages, without sending a request.

The estimate uses cached data: the tag counts of earlier listings, and the cached manifests and configs.
"""

from __future__ import annotations

import json

from imq.engine.layers.table_of_contents import find_table
from imq.engine.oci.platform import Platform, host_platform
from imq.engine.oci.reference import Reference
from imq.engine.registry.http.pagination import PAGE_SIZE
from imq.engine.sources.contents import CONTENT_TABLES
from imq.engine.sources.contents.estimate import describe_unread_layers
from imq.engine.store.registry_cache import DATABASE, RegistryCache, TagStats
from imq.engine.units.time import human_duration
from imq.grammar.errors import InvalidReference
from imq.grammar.record import TYPE_CHECKING

from .tables import BASES, CONFIG, MANIFEST, REFERRERS_LEVEL, ROOT_MANIFEST

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.context import SourceContext

_TAG_TABLES = ("tags", "images")
_ROOT_LEVELS = (ROOT_MANIFEST, MANIFEST, CONFIG, BASES)
"""Levels that need the manifest or index of a name."""
_IMAGE_LEVELS = (MANIFEST, CONFIG, BASES)
"""Levels that need the manifest of an index's image."""
_REFERRER_REQUESTS = 3
"""The maximum number of requests for the referrers of one image: a cosign tag, the referrers API, the referrers tag.

One more request per repository detects whether it supports HEAD.
"""
_NANOSECONDS = 1_000_000_000


class RequestEstimator:
    """Estimates the stages of one statement, in order.

    `fresh` is the time in nanoseconds for which a cached tag is valid at `now`. With mirrors, manifests are requested
    from these by digest.
    """

    def __init__(self, context: SourceContext, cache: RegistryCache, now: int, fresh: int) -> None:
        self._context = context
        self._cache = cache
        self._now = now
        self._fresh = fresh
        self._fresh_since = now - fresh
        self._platform = context.platform or host_platform()
        self._has_mirrors = bool(context.configuration.mirrors)
        self._scan_statistics: dict[str, tuple[list[TagStats], list[TagStats]] | None] = {}
        """The cached statistics of each scan."""
        self._counted: set[tuple[str, str]] = set()
        """The scans and kinds of requests that earlier stages have counted."""
        self._listed_references: list[Reference] = []
        """The repositories and tags that earlier stages list."""

    @classmethod
    def of(cls, context: SourceContext, now: int, fresh: int) -> RequestEstimator:
        """Return the estimator of a session. This does not create a cache file."""
        layout = context.store.layout
        has_cache = layout.exists and layout.root_directory.has_file(DATABASE)
        cache = RegistryCache(context.runner.connection, context.store.get_cache_layout() if has_cache else None)
        return cls(context, cache, now, fresh)

    def describe_cached(self) -> str:
        """Describe the number of cached documents, and how long tags are cached."""
        documents, configs = self._cache.count_documents()
        seconds = self._fresh / _NANOSECONDS
        tags = f"; tags for {human_duration(seconds).lower()} (set fresh)" if seconds else ""
        return f"cached: {documents} manifests and {configs} configs, which are not requested again{tags}"

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return the maximum number of requests of a stage, in words; "" if it is unknown."""
        if request.table.name in CONTENT_TABLES:
            return self._estimate_layers(request) if fetch is None else ""
        if fetch is None:
            platform = Platform.parse(request.platform) if request.platform else self._platform
            self._scan_statistics[request.view] = self._read_scan_stats(request, platform)
        seen = self._scan_statistics[request.view]
        if seen is None:
            return ""
        return self._estimate_listing(*seen) if fetch is None else self._estimate_fetch(request.view, fetch, *seen)

    def _estimate_layers(self, request: ScanRequest) -> str:
        """Describe the layers of images: those that a scan names, or those of the tags that the statement lists."""
        try:
            references = [Reference.parse(target.strip()).with_default_tag() for target in request.targets]
        except InvalidReference:
            return ""
        if request.lookup_fields or request.has_target_queries:
            references += self._listed_references
        sizes: dict[Digest, int] = {}
        unknown = tables = 0
        for reference in references:
            layers, missing = self._cache.list_layers(reference, self._platform)
            unknown += missing
            for diff_id, (size, further) in layers.items():
                table = find_table(json.loads(further), size)
                tables += diff_id not in sizes and table is not None
                sizes[diff_id] = max(sizes.get(diff_id, 0), size if table is None else table.size)
        more = f", and those of {_format_count(unknown, 'manifest')} not cached yet" if unknown else ""
        return f"{describe_unread_layers(self._context, sizes, tables)}{more}" if sizes else ""

    def _estimate_listing(self, repositories: list[TagStats], names: list[TagStats]) -> str:
        """Describe the requests of a listing: pages of tags, and single names."""
        pages = sum(max(1, -(-one.tags // PAGE_SIZE)) for one in repositories)
        listed = f" by the last listing of {_format_tag_count(repositories)}" if repositories else ""
        return f"; at most {pages + sum(1 - one.fresh for one in names):,}{listed}"

    def _estimate_fetch(
        self, view: str, fetch: FetchRequest, repositories: list[TagStats], names: list[TagStats]
    ) -> str:
        """Describe the requests of a level for listed rows."""
        all_stats, count, index_note = [*repositories, *names], 0, ""
        resolves_names = self._is_first(view, "names")
        if resolves_names:
            count += sum(one.tags - one.fresh for one in repositories)
        if (fetch.continues or fetch.level in _ROOT_LEVELS) and self._is_first(view, "documents"):
            if (
                resolves_names and not self._has_mirrors
            ):  # a new manifest is requested by tag, which resolves its digest too
                count += sum(one.fresh - one.fresh_documents for one in repositories)
                count += sum(one.tags - one.documents for one in names)
            else:
                count += sum(one.tags - one.documents for one in all_stats)
        if fetch.level in _IMAGE_LEVELS and self._is_first(view, "manifests"):
            count += sum(one.documents - one.manifests for one in all_stats)
            if new := sum(one.tags - one.documents for one in all_stats):
                index_note = f", 1 more for each of {_format_count(new, 'new name')} of an index,"
        if fetch.level in (CONFIG, BASES) and self._is_first(view, "configs"):
            count += sum(one.tags - one.configs for one in all_stats)
        if fetch.level is REFERRERS_LEVEL:
            count += _REFERRER_REQUESTS * sum(one.tags for one in all_stats) + len(all_stats)
        return f"; at most {count:,}{index_note} if nothing has changed" + (
            self._describe_fresh(repositories) if resolves_names else ""
        )

    def _is_first(self, view: str, requests: str) -> bool:
        """Whether this is the first stage of a scan that needs these requests."""
        was_counted = (view, requests) in self._counted
        self._counted.add((view, requests))
        return not was_counted

    def _describe_fresh(self, stats: list[TagStats]) -> str:
        """Describe the names whose cached digest is still valid."""
        times = [one.oldest for one in stats if one.oldest is not None]
        if not times:
            return ""
        ago = human_duration((self._now - min(times)) / _NANOSECONDS).lower()
        return (
            f"; of {_format_tag_count(stats)} {sum(one.fresh for one in stats):,} are fresh,"
            f" the oldest requested {ago} ago"
        )

    def _read_scan_stats(self, scan: ScanRequest, platform: Platform) -> tuple[list[TagStats], list[TagStats]] | None:
        """Return the statistics of the repositories and of the single names of a scan, or None if one is missing."""
        if scan.table.name not in _TAG_TABLES or scan.refs or scan.lookup_fields or scan.has_target_queries:
            return None
        repositories: list[TagStats] = []
        names: list[TagStats] = []
        for target in scan.targets:
            try:
                reference = Reference.parse(target.strip())
            except InvalidReference:
                return None
            if reference.digest is not None:
                names.append(TagStats(1, 0, None, 0, 0, 0, 0))
                continue
            stats = self._cache.read_tag_stats(reference, self._fresh_since, self._now, platform)
            if stats is None:
                return None
            (repositories if reference.tag is None else names).append(stats)
            self._listed_references.append(reference)
        return repositories, names


def _format_tag_count(stats: list[TagStats]) -> str:
    return _format_count(sum(one.tags for one in stats), "tag")


def _format_count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
