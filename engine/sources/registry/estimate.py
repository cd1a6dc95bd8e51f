"""How many requests the stages of a statement take at most, as far as that can be told without asking.

It is told by what was seen before: how many tags repositories had when they were last listed, and what is remembered.
"""

from __future__ import annotations

from imq.engine.oci.platform import Platform, host
from imq.engine.oci.reference import Reference
from imq.engine.registry.http.pagination import PAGE
from imq.engine.store.registry_cache import DATABASE, RegistryCache, TagStats
from imq.engine.units.time import human_duration
from imq.grammar.errors import InvalidReference
from imq.grammar.record import TYPE_CHECKING

from .tables import ATTACHED, CONFIG, MANIFEST, NAMED

if TYPE_CHECKING:
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.context import SourceContext

_OF_TAGS = ("tags", "images")
_DOCUMENTS = (NAMED, MANIFEST, CONFIG)
"""What a manifest or index is fetched for."""
_MANIFESTS = (MANIFEST, CONFIG)
"""What the manifest of an index's image is fetched for."""
_ATTACHED = 3
"""Requests that what is attached takes at most: a tag of cosign's, the referrers, and the tag that stands for them.

One more of each repository tells whether it answers HEAD."""
_NANOSECONDS = 1_000_000_000


class RequestEstimator:
    """Estimates the stages of one statement, each after those before it.

    `fresh`: for how long, in nanoseconds, what a name stood for counts as known at `now`; `platform` is the one that is
    wanted of an index when the statement says nothing. `mirrored`: documents are asked of mirrors, by their digests.
    """

    def __init__(self, memory: RegistryCache, now: int, fresh: int, platform: Platform, *, mirrored: bool) -> None:
        self._memory = memory
        self._now = now
        self._since = now - fresh
        self._platform = platform
        self._mirrored = mirrored
        self._scans: dict[str, tuple[list[TagStats], list[TagStats]] | None] = {}
        """What is known of the scans that were met."""
        self._asked: set[tuple[str, str]] = set()
        """What was asked for by the stages before, of which scan."""

    @classmethod
    def of(cls, context: SourceContext, now: int, fresh: int) -> RequestEstimator:
        """Return the estimator of a session; no cache is made where there is none yet."""
        layout = context.store.layout
        there = layout.exists and layout.root_directory.has_file(DATABASE)
        memory = RegistryCache(context.runner.connection, context.store.get_cache_layout() if there else None)
        mirrored = bool(context.configuration.mirrors)
        return cls(memory, now, fresh, context.platform or host(), mirrored=mirrored)

    def cached(self) -> str:
        """Return what need not be requested again."""
        documents, configs = self._memory.count_documents()
        return f"remembered: {documents} manifests and {configs} configs, which are not asked for again"

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return at most how many requests a stage takes, in words; "" when that is not known."""
        if fetch is None:
            platform = Platform.parse(request.platform) if request.platform else self._platform
            self._scans[request.view] = self._seen(request, platform)
        seen = self._scans[request.view]
        if seen is None:
            return ""
        return self._listed(*seen) if fetch is None else self._fetched(request.view, fetch, *seen)

    def _listed(self, whole: list[TagStats], single: list[TagStats]) -> str:
        """Say it of a list: pages of tags, and what names with their tag stand for."""
        pages = sum(max(1, -(-one.tags // PAGE)) for one in whole)
        listed = f" by the last list of {_tags(whole)}" if whole else ""
        return f"; at most {pages + sum(1 - one.fresh for one in single):,}{listed}"

    def _fetched(self, view: str, fetch: FetchRequest, whole: list[TagStats], single: list[TagStats]) -> str:
        """Say it of what is fetched for rows that were listed."""
        every, count, told = [*whole, *single], 0, ""
        naming = self._first(view, "names")
        if naming:
            count += sum(one.tags - one.fresh for one in whole)
        if (fetch.continues or fetch.level in _DOCUMENTS) and self._first(view, "documents"):
            if naming and not self._mirrored:  # what is new here is asked for by its name, and comes with its digest
                count += sum(one.fresh - one.fresh_documents for one in whole)
                count += sum(one.tags - one.documents for one in single)
            else:
                count += sum(one.tags - one.documents for one in every)
        if fetch.level in _MANIFESTS and self._first(view, "manifests"):
            count += sum(one.documents - one.manifests for one in every)
            if new := sum(one.tags - one.documents for one in every):
                told = f", 1 more for each of {_count(new, 'new name')} that stands for an index,"
        if fetch.level is CONFIG:
            count += sum(one.tags - one.configs for one in every)
        if fetch.level is ATTACHED:
            count += _ATTACHED * sum(one.tags for one in every) + len(every)
        return f"; at most {count:,}{told} if nothing has changed" + (self._fresh(whole) if naming else "")

    def _first(self, view: str, what: str) -> bool:
        """Whether this is the first stage of a scan that needs this."""
        known = (view, what) in self._asked
        self._asked.add((view, what))
        return not known

    def _fresh(self, seen: list[TagStats]) -> str:
        """Say which names need not be asked for."""
        times = [one.oldest for one in seen if one.oldest is not None]
        if not times:
            return ""
        ago = human_duration((self._now - min(times)) / _NANOSECONDS).lower()
        return f"; of {_tags(seen)} {sum(one.fresh for one in seen):,} are fresh, the oldest answered {ago} ago"

    def _seen(self, scan: ScanRequest, platform: Platform) -> tuple[list[TagStats], list[TagStats]] | None:
        """Return what is known of the repositories and of the single tags of a scan, None when something is not."""
        if scan.table.name not in _OF_TAGS or scan.refs or scan.lookup_fields or scan.of_queries:
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
            seen = self._memory.read_tag_stats(reference, self._since, self._now, platform)
            if seen is None:
                return None
            (whole if reference.tag is None else single).append(seen)
        return whole, single


def _tags(seen: list[TagStats]) -> str:
    return _count(sum(one.tags for one in seen), "tag")


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
