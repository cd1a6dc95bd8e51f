"""Copies the referrers of manifests: signatures, attestations and SBOMs, and their own referrers.

Referrers are found by the referrers API, the referrers tag and the tags of cosign. Digests stay the same. At a target
without the referrers API, the referrers tag is updated.
"""

from __future__ import annotations

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, encode_json, parse_json_object, parse_manifest
from imq.engine.registry.http.pagination import iterate_pages
from imq.engine.registry.referrers import (
    NoReferrersApiError,
    is_subject,
    make_referrers_listing,
    make_referrers_tag,
    make_referrers_tag_reference,
    read_referrers_index,
)
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .worker_pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.client import Client
    from imq.engine.registry.manifests import FetchedManifest

    from .push import PushResult
    from .worker_pool import Task

_COSIGN_SUFFIXES = (".sig", ".att", ".sbom")
_MAX_ARTIFACTS = 4096
"""Maximum number of artifacts of one image, which also ends reference cycles."""


def copy_referrers(
    client: Client,
    source: Reference,
    target: Reference,
    subjects: Sequence[Digest],
    copy_manifest: Callable[[Reference, Descriptor], PushResult],
    jobs: int,
) -> tuple[int, int]:
    """Copy the referrers of these manifests. Return their number and the transferred bytes.

    `copy_manifest` copies one manifest of the source, with its blobs, to a reference at the target.
    """
    source_referrers = _SourceReferrers(client, source, jobs)
    source_referrers.collect(subjects)
    transferred = 0
    for tag, descriptor in source_referrers.by_cosign_tag.items():
        transferred += copy_manifest(target.replace(tag=tag, digest=None), descriptor).transferred_bytes
    target_referrers = _TargetReferrers(client, target)
    for subject, referrers in reversed(source_referrers.by_subject.items()):
        for descriptor in referrers:
            transferred += copy_manifest(
                target.replace(tag=None, digest=descriptor.digest), descriptor
            ).transferred_bytes
        target_referrers.update_index(subject, referrers, source_referrers.fallback_indexes.get(subject))
    digests = {descriptor.digest for descriptor in source_referrers.by_cosign_tag.values()}
    digests |= {descriptor.digest for referrers in source_referrers.by_subject.values() for descriptor in referrers}
    return len(digests), transferred


class _SourceReferrers:
    """The referrers of manifests in the source repository."""

    def __init__(self, client: Client, source: Reference, jobs: int) -> None:
        self._client = client
        self._source = source
        self._jobs = jobs
        self._has_api = True
        self.by_subject: dict[Digest, list[Descriptor]] = {}
        """Referrers by subject; a subject comes before its referrers' subjects."""
        self.by_cosign_tag: dict[str, Descriptor] = {}
        """Manifests by cosign's tag."""
        self.fallback_indexes: dict[Digest, FetchedManifest] = {}
        """The indexes under the referrers tags, by subject."""

    def collect(self, subjects: Sequence[Digest]) -> None:
        """Collect the referrers of these manifests, recursively."""
        seen = set(subjects)
        pending = list(subjects)
        while pending:
            if self._has_api and len(pending) > 1:  # one request detects the API
                self._fetch_level(pending[:1])
                rest = pending[1:]
            else:
                rest = pending
            self._fetch_level(rest)
            new = [descriptor.digest for subject in pending for descriptor in self.by_subject.get(subject, ())]
            new += [descriptor.digest for descriptor in self.by_cosign_tag.values()]
            pending = [digest for digest in dict.fromkeys(new) if digest not in seen]
            seen |= set(pending)
            if len(seen) > _MAX_ARTIFACTS:
                raise Malformed(
                    f"more than {_MAX_ARTIFACTS} artifacts are attached to {self._source}",
                    code="document",
                    hints=("copy it without referrers",),
                )

    def _fetch_level(self, subjects: Sequence[Digest]) -> None:
        by_subject: dict[Digest, list[Descriptor]] = {}
        by_tag: dict[str, Descriptor] = {}

        def make_referrers_task(subject: Digest) -> Task:
            def request(_: WorkerPool) -> None:
                by_subject[subject] = self._list_referrers(subject)

            return request

        def make_cosign_task(subject: Digest, suffix: str) -> Task:
            tag = make_referrers_tag(subject) + suffix

            def request(_: WorkerPool) -> None:
                descriptor = self._client.fetch_head(self._source.replace(tag=tag, digest=None))
                if descriptor is not None and descriptor.digest != subject:
                    by_tag[tag] = descriptor

            return request

        tasks = [make_referrers_task(subject) for subject in subjects]
        tasks += [make_cosign_task(subject, ending) for subject in subjects for ending in _COSIGN_SUFFIXES]
        WorkerPool().run(tasks, self._jobs)
        self.by_subject |= {subject: by_subject[subject] for subject in subjects if by_subject[subject]}
        self.by_cosign_tag |= dict(sorted(by_tag.items()))

    def _list_referrers(self, subject: Digest) -> list[Descriptor]:
        if self._has_api:
            try:
                return list(iterate_pages(self._client.http, make_referrers_listing(self._source, subject)))
            except NoReferrersApiError:
                self._has_api = False
        name = make_referrers_tag_reference(self._source, subject)
        fetched = self._client.find_manifest(name)
        if fetched is None:
            return []
        if not is_subject(fetched, subject):
            self.fallback_indexes[subject] = fetched
        return list(read_referrers_index(fetched, name, subject))


class _TargetReferrers:
    """The referrers in the target repository."""

    def __init__(self, client: Client, target: Reference) -> None:
        self._client = client
        self._target = target
        self._has_api: bool | None = None

    def update_index(self, subject: Digest, referrers: Sequence[Descriptor], listing: FetchedManifest | None) -> None:
        """Update the index under the referrers tag; `listing` is the source's index.

        Registries with the referrers API need no index.
        """
        if self._detect_api():
            return
        name = make_referrers_tag_reference(self._target, subject)
        current = self._client.find_manifest(name)
        if current is not None and is_subject(current, subject):
            current = None
        if current is None and listing is not None:
            media_type = parse_manifest(listing.content, listing.media_type).media_type
            self._client.put_manifest(name.replace(digest=listing.digest), listing.content, media_type)
            return
        known_digests: set[Digest] = set()
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []}
        if current is not None:
            if not isinstance(parse_manifest(current.content, current.media_type), Index):
                raise Malformed(f"{name} is not an index of referrers", code="document")
            known_digests = {entry.digest for entry in read_referrers_index(current, name, subject)}
            document = parse_json_object(current.content, f"the manifest of {name}", keep_numbers=True)
        new_entries = [descriptor.to_json() for descriptor in referrers if descriptor.digest not in known_digests]
        if new_entries:
            content = encode_json({**document, "manifests": [*document["manifests"], *new_entries]})
            self._client.put_manifest(name.replace(digest=Digest.of(content)), content, media_types.OCI_INDEX)

    def _detect_api(self) -> bool:
        """Whether the registry has the referrers API."""
        if self._has_api is None:
            try:
                for _ in iterate_pages(self._client.http, make_referrers_listing(self._target, Digest.of(b""))):
                    break
                self._has_api = True
            except NoReferrersApiError:
                self._has_api = False
        return self._has_api
