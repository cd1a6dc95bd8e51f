"""What is attached to manifests goes along when they are copied: signatures, attestations, bills of materials.

It is found by the referrers API, else under the tag that stands in for it, and under the tags of cosign; and what is
attached to that in turn. All of it keeps its digests. Where the target has no referrers API, the tag is kept up there.
"""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, read_json, read_manifest, write_json
from imq.engine.registry.http.pagination import paged
from imq.engine.registry.referrers import NoReferrersError, entries_of, fallback, fallback_tag, is_subject, referrers_of
from imq.grammar.errors import Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING

from .worker_pool import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from imq.engine.oci.reference import Reference
    from imq.engine.registry.client import Client
    from imq.engine.registry.manifests import Fetched

    from .push import Pushed
    from .worker_pool import Job

_COSIGN = (".sig", ".att", ".sbom")
_MOST_ATTACHED = 4096
"""Artifacts that are followed from one image: more than anybody attaches, and a bound for what refers in circles."""


def copy_attached(
    client: Client,
    source: Reference,
    target: Reference,
    subjects: Sequence[Digest],
    hand_on: Callable[[Reference, Descriptor], Pushed],
    jobs: int,
) -> tuple[int, int]:
    """Copy what is attached to these manifests of the source; return how many artifacts, and the bytes that travelled.

    `hand_on` copies one manifest of the source with what it names to a name at the target.
    """
    found = _Found(client, source, jobs)
    found.look(subjects)
    sent = 0
    for tag, descriptor in found.tagged.items():
        sent += hand_on(target.replace(tag=tag, digest=None), descriptor).sent
    place = _Place(client, target)
    for subject, referrers in reversed(found.referring.items()):
        for descriptor in referrers:
            sent += hand_on(target.replace(tag=None, digest=descriptor.digest), descriptor).sent
        place.list_referrers(subject, referrers, found.listings.get(subject))
    digests = {descriptor.digest for descriptor in found.tagged.values()}
    digests |= {descriptor.digest for referrers in found.referring.values() for descriptor in referrers}
    return len(digests), sent


class _Found:
    """What is attached to manifests of a repository."""

    def __init__(self, client: Client, source: Reference, jobs: int) -> None:
        self._client = client
        self._source = source
        self._jobs = jobs
        self._api = True
        self.referring: dict[Digest, list[Descriptor]] = {}
        """By subject, those first to which something is attached that others are attached to."""
        self.tagged: dict[str, Descriptor] = {}
        """By the tag of cosign."""
        self.listings: dict[Digest, Fetched] = {}
        """The indexes under the tags that stand in for the API, by subject."""

    def look(self, subjects: Sequence[Digest]) -> None:
        """Find what is attached to these manifests, and to that."""
        seen = set(subjects)
        pending = list(subjects)
        while pending:
            if self._api and len(pending) > 1:  # one question tells whether there is such an API
                self._ask(pending[:1])
                rest = pending[1:]
            else:
                rest = pending
            self._ask(rest)
            new = [descriptor.digest for subject in pending for descriptor in self.referring.get(subject, ())]
            new += [descriptor.digest for descriptor in self.tagged.values()]
            pending = [digest for digest in dict.fromkeys(new) if digest not in seen]
            seen |= set(pending)
            if len(seen) > _MOST_ATTACHED:
                raise Malformed(
                    f"more than {_MOST_ATTACHED} artifacts are attached to {self._source}",
                    code="document",
                    hints=("copy it without referrers",),
                )

    def _ask(self, subjects: Sequence[Digest]) -> None:
        referring: dict[Digest, list[Descriptor]] = {}
        tagged: dict[str, Descriptor] = {}

        def referrers(subject: Digest) -> Job:
            def ask(_: Work) -> None:
                referring[subject] = self._referrers(subject)

            return ask

        def cosign(subject: Digest, ending: str) -> Job:
            tag = fallback_tag(subject) + ending

            def ask(_: Work) -> None:
                descriptor = self._client.head(self._source.replace(tag=tag, digest=None))
                if descriptor is not None and descriptor.digest != subject:
                    tagged[tag] = descriptor

            return ask

        questions = [referrers(subject) for subject in subjects]
        questions += [cosign(subject, ending) for subject in subjects for ending in _COSIGN]
        Work().run(questions, self._jobs)
        self.referring |= {subject: referring[subject] for subject in subjects if referring[subject]}
        self.tagged |= dict(sorted(tagged.items()))

    def _referrers(self, subject: Digest) -> list[Descriptor]:
        if self._api:
            try:
                return list(paged(self._client.exchange, referrers_of(self._source, subject)))
            except NoReferrersError:
                self._api = False
        name = fallback(self._source, subject)
        fetched = _manifest(self._client, name)
        if fetched is None:
            return []
        if not is_subject(fetched, subject):
            self.listings[subject] = fetched
        return list(entries_of(fetched, name, subject))


class _Place:
    """The repository that artifacts go to."""

    def __init__(self, client: Client, target: Reference) -> None:
        self._client = client
        self._target = target
        self._api: bool | None = None

    def list_referrers(self, subject: Digest, referrers: Sequence[Descriptor], listing: Fetched | None) -> None:
        """See to it that the artifacts are found by their subject; `listing` is the source's own list of them."""
        if self._lists():
            return
        name = fallback(self._target, subject)
        there = _manifest(self._client, name)
        if there is not None and is_subject(there, subject):
            there = None
        if there is None and listing is not None:
            media_type = read_manifest(listing.content, listing.media_type).media_type
            self._client.put_manifest(name.replace(digest=listing.digest), listing.content, media_type)
            return
        known: set[Digest] = set()
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": []}
        if there is not None:
            if not isinstance(read_manifest(there.content, there.media_type), Index):
                raise Malformed(f"{name} is no index of referrers", code="document")
            known = {entry.digest for entry in entries_of(there, name, subject)}
            document = read_json(there.content, f"the manifest of {name}")
        new = [descriptor.document() for descriptor in referrers if descriptor.digest not in known]
        if new:
            content = write_json({**document, "manifests": [*document["manifests"], *new]})
            self._client.put_manifest(name.replace(digest=Digest.of(content)), content, media_types.OCI_INDEX)

    def _lists(self) -> bool:
        """Whether the registry lists referrers itself, by the subjects of what it is given."""
        if self._api is None:
            try:
                for _ in paged(self._client.exchange, referrers_of(self._target, Digest.of(b""))):
                    break
                self._api = True
            except NoReferrersError:
                self._api = False
        return self._api


def _manifest(client: Client, name: Reference) -> Fetched | None:
    try:
        return client.manifest(name)
    except RegistryError as problem:
        if problem.status == HTTPStatus.NOT_FOUND:
            return None
        raise
