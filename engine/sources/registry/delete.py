"""The actions that remove tags and manifests in registries: exactly what was planned, and nothing that changed since.

The response to a removal is not trusted. After each one the registry is asked whether the name is gone, and whether
the manifests that others need are still there. Those that are missing are uploaded again.
"""

from __future__ import annotations

from imq.engine.registry.manifests import DeleteResult
from imq.engine.sources.action import BatchedAction, Outcome, RegistryWrite
from imq.grammar.errors import Conflict, ImqError, Interrupted, NotFound, RegistryError, join_names
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.client import Client
    from imq.engine.registry.manifests import FetchedManifest
    from imq.engine.sources.action import ExecutionContext


class RegistryRemoval(BatchedAction, RegistryWrite):
    """A removal in a registry. Consecutive ones are executed together, and the tags are listed once after them.

    `subject` is the manifest that the removed one is attached to, when the same statement removes that too. `needed`
    are the names and digests that must resolve as before afterwards.
    """

    name: Reference
    subject: Digest | None
    needed: tuple[tuple[Reference, Digest], ...]

    @staticmethod
    def execute_batch(actions: Sequence[RegistryRemoval], context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the removals, and yield their outcomes after all of them were checked."""
        remover = context.get_shared(_make_remover)
        remover.list_before(actions, context.progress.warn)
        outcomes = []
        for number, action in enumerate(actions):
            if len(actions) > 1:
                context.progress.count(action.describe().action, number, len(actions))
            outcomes.append(remover.attempt(action))
        yield from remover.check_listings(actions, outcomes, context.progress.warn)


class RemoveTag(RegistryRemoval):
    """Remove a tag from its registry. `others` are names of the same manifest that stay.

    With `only_tag` the manifest stays even if it has no other name.
    """

    digest: Digest
    others: tuple[str, ...] = ()
    only_tag: bool = False

    def describe(self) -> Outcome:
        """Return the tag with its digest, as an `untag` when the manifest keeps other names."""
        note = f"{self.digest.short}, which stays for {join_names(self.others)}" if self.others else self.digest.short
        return Outcome("untag" if self.others else "remove", str(self.name), note=note)


class RemoveManifest(RegistryRemoval):
    """Remove a manifest from its registry, with all its tags."""

    tags: tuple[str, ...]

    def describe(self) -> Outcome:
        """Return the manifest with its tags."""
        note = f"with its tags: {join_names(self.tags)}" if self.tags else None
        return Outcome("remove", str(self.name), note=note)


def _make_remover(context: ExecutionContext) -> _Remover:
    return _Remover(context.get_client())


class _Remover:
    """Executes the removals of one statement, in order."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._removed: set[Reference] = set()
        """The manifests that were removed, each with all its tags."""
        self._failed: set[Reference] = set()
        """The manifests of which a removal failed."""
        self._imprecise: set[str] = set()
        """The registries that have removed more than they were asked to."""
        self._listed_before: dict[Reference, frozenset[str] | None] = {}
        """The tags of each repository before the removals of a batch, None where they could not be listed."""

    def attempt(self, action: RegistryRemoval) -> Outcome:
        """Execute one removal and return its outcome; an error is part of the outcome."""
        try:
            return self._execute(action)
        except ImqError as error:
            if isinstance(error, Interrupted):
                raise
            self._failed.add(_manifest_of(action))
            return action.describe().with_error(error)

    def list_before(self, actions: Sequence[RegistryRemoval], warn: Callable[[str], None]) -> None:
        """List the tags of every repository of these removals, to see afterwards which others went with them."""
        repositories = dict.fromkeys(map(_repository_of, actions))
        self._listed_before = {repository: self._list_tags(repository, "before", warn) for repository in repositories}

    def check_listings(
        self,
        actions: Sequence[RegistryRemoval],
        outcomes: Sequence[Outcome],
        warn: Callable[[str], None],
    ) -> Iterator[Outcome]:
        """Yield the outcomes of removals; one of a tag that its registry still lists becomes a failure.

        Then yield a failure for each other tag that was listed before, and is not any more.
        """
        after = {repository: self._list_tags(repository, "after", warn) for repository in self._listed_before}
        going: dict[Reference, set[str]] = {}
        for action, outcome in zip(actions, outcomes, strict=True):
            repository = _repository_of(action)
            going.setdefault(repository, set()).update(_tags_of(action))
            still = sorted((after[repository] or frozenset()).intersection(_tags_of(action)))
            if outcome.error is None and still:
                names = join_names(f"{action.name.familiar_name}:{tag}" for tag in still)
                left = RegistryError(
                    f"{action.name.registry} has no manifest for {names} any more, and still lists it",
                    code="still-listed",
                    host=action.name.registry,
                    hints=("some registries list later: look again in a while, or ask the registry's operator",),
                )
                yield action.describe().with_error(left)
            else:
                yield outcome
        for repository, tags in going.items():
            listed_before, listed_after = self._listed_before[repository], after[repository]
            if listed_before is not None and listed_after is not None:
                for tag in sorted(listed_before - listed_after - tags):
                    yield _lost_tag(repository.replace(tag=tag))

    def _list_tags(self, repository: Reference, when: str, warn: Callable[[str], None]) -> frozenset[str] | None:
        """Return the tags that a repository lists; none when it is gone with its last tag, None when unknown."""
        try:
            return frozenset(self._client.tags(repository))
        except ImqError as error:
            if isinstance(error, Interrupted):
                raise
            if error.code in ("name-unknown", "not-found"):
                return frozenset()
            warn(f"the tags of {repository.familiar_name} could not be listed {when} the removal: {error.message}")
            return None

    def _execute(self, action: RegistryRemoval) -> Outcome:
        manifest = _manifest_of(action)
        if action.subject is not None and manifest.replace(digest=action.subject) in self._failed:
            raise Conflict(
                f"{action.name} was left alone: it is attached to {action.subject.short}, which was not removed",
                code="protected",
                hints=("it can go when that has gone",),
            )
        if isinstance(action, RemoveManifest):
            return self._remove_manifest(action)
        assert isinstance(action, RemoveTag)
        return self._remove_tag(action, manifest)

    def _remove_tag(self, action: RemoveTag, manifest: Reference) -> Outcome:
        """Remove a tag; its manifest where the registry can only remove manifests and nothing else needs it."""
        name = action.name
        with_manifest = action.describe().replace(note="with its manifest: the registry cannot take a tag alone")
        if manifest in self._removed:
            self._expect_gone((name,), DeleteResult.ACCEPTED)
            return with_manifest
        self._check_unchanged(name, action.digest)
        if action.needed and name.registry in self._imprecise:
            raise _shared_manifest_error(action)
        manifests = self._fetch_needed(action)
        result = self._client.delete(name)
        if result is not DeleteResult.UNSUPPORTED:
            self._check_result(action, (name,), result, manifests)
            return _describe_removed(action, result)
        if action.others or action.only_tag:
            raise _shared_manifest_error(action)
        result = self._client.delete(manifest)
        self._check_result(action, (name, manifest), result, manifests)
        self._removed.add(manifest)
        return with_manifest

    def _remove_manifest(self, action: RemoveManifest) -> Outcome:
        """Remove a manifest with its tags, unless one of them names another manifest now."""
        digest = action.name.digest
        assert digest is not None
        tags = [action.name.replace(tag=tag, digest=None) for tag in action.tags]
        for name in tags or (action.name,):
            self._check_unchanged(name, digest)
        if action.needed and action.name.registry in self._imprecise:
            raise _imprecise_registry_error(action)
        manifests = self._fetch_needed(action)
        result = self._client.delete(action.name)
        self._check_result(action, (*tags, action.name), result, manifests)
        return _describe_removed(action, result)

    def _check_unchanged(self, name: Reference, digest: Digest) -> None:
        """Raise `NotFound` when a name is gone, or names another manifest than in the plan."""
        there = self._client.head(name)
        if there is None or there.digest != digest:
            raise NotFound(
                f"{name} has changed since this was planned, so it was left alone",
                code="changed",
                hints=("run the statement again",),
            )

    def _fetch_needed(self, action: RegistryRemoval) -> dict[Digest, FetchedManifest]:
        """Fetch the manifests that others need, so that they can be uploaded again."""
        manifests: dict[Digest, FetchedManifest] = {}
        for name, digest in action.needed:
            if digest not in manifests:
                manifests[digest] = self._client.manifest(name.replace(tag=None, digest=digest))
        return manifests

    def _check_result(
        self,
        action: RegistryRemoval,
        going: Sequence[Reference],
        result: DeleteResult,
        manifests: dict[Digest, FetchedManifest],
    ) -> None:
        """Restore what was removed beyond the request. Raises when anything was, or when a removed name exists."""
        lost = self._restore(action, manifests)
        self._expect_gone(going, result)
        if lost:
            raise Conflict(
                f"{action.name.registry} removed {join_names(map(str, lost))} with {action.name}; what was lost was put"
                " back",
                code="shared",
                hints=(
                    "this registry removes more than it is asked to: remove what belongs together in one statement",
                ),
            )

    def _restore(self, action: RegistryRemoval, manifests: dict[Digest, FetchedManifest]) -> list[Reference]:
        """Upload needed manifests that are gone; return them. All uploads are tried before an error is raised."""
        lost: list[Reference] = []
        failed: list[tuple[Reference, ImqError]] = []
        for name, digest in action.needed:
            try:
                if self._client.head(name) is not None:
                    continue
                lost.append(name)
                self._client.put_manifest(name, manifests[digest].content, manifests[digest].media_type)
            except ImqError as problem:
                failed.append((name, problem))
        if lost:
            self._imprecise.add(action.name.registry)
        if failed:
            first = failed[0][1]
            raise RegistryError(
                f"{action.name} was removed, and {join_names(str(name) for name, _ in failed)} may have gone with it:"
                f" {first.message}",
                code="lost",
                host=action.name.registry,
                hints=("list what is there, and push what is missing again",),
            )
        return lost

    def _expect_gone(self, going: Sequence[Reference], result: DeleteResult) -> None:
        """Raise when the registry still has what it was to remove, or does not report whether it has."""
        did, hint = "accepted the removal of", "some registries remove later: look again in a while"
        if result is DeleteResult.ABSENT:
            did, hint = "says that it does not have", "this registry may be unable to remove by this kind of name"
        for name in going:
            try:
                there = self._client.head(name)
            except ImqError as problem:
                raise RegistryError(
                    f"{name.registry} {did} {name}, but does not tell whether it is gone: {problem.message}",
                    code="unconfirmed",
                    host=name.registry,
                    hints=("list the tags to see what is there",),
                ) from problem
            if there is not None:
                raise RegistryError(
                    f"{name.registry} {did} {name}, and still has it",
                    code="not-removed",
                    host=name.registry,
                    hints=(hint,),
                )


def _lost_tag(name: Reference) -> Outcome:
    """Return the failure for a tag that vanished and was not to be removed."""
    error = Conflict(
        f"{name.familiar_name}:{name.tag} was to stay, and {name.registry} does not list it any more",
        code="lost-tag",
        hints=("the registry removed it too, or another client did at the same time: push it again",),
    )
    return Outcome("remove", str(name), error=error)


def _repository_of(action: RegistryRemoval) -> Reference:
    return action.name.replace(tag=None, digest=None)


def _manifest_of(action: RegistryRemoval) -> Reference:
    digest = action.digest if isinstance(action, RemoveTag) else action.name.digest
    return action.name.replace(tag=None, digest=digest)


def _tags_of(action: RegistryRemoval) -> tuple[str, ...]:
    """Return the tags that are gone after the action."""
    if isinstance(action, RemoveManifest):
        return action.tags
    return (action.name.tag,) if action.name.tag is not None else ()


def _describe_removed(action: RegistryRemoval, result: DeleteResult) -> Outcome:
    done = action.describe()
    return done if result is DeleteResult.ACCEPTED else done.replace(note="it was gone before it could be removed")


def _shared_manifest_error(action: RemoveTag) -> Conflict:
    """Return the error for a tag in a registry that can only remove its manifest too."""
    name = action.name
    if action.others:
        return Conflict(
            f"{name} was left alone: {name.registry} cannot take a tag alone, and its manifest is needed by"
            f" {join_names(action.others)}",
            code="shared",
            hints=("with its tags removes the manifest with all its tags", "or remove the others too"),
        )
    if action.only_tag:
        return Conflict(
            f"{name} was left alone: {name.registry} cannot take a tag alone",
            code="no-untag",
            hints=("rm removes the tag with its manifest, which no other tag has",),
        )
    return _imprecise_registry_error(action)


def _imprecise_registry_error(action: RegistryRemoval) -> Conflict:
    """Return the error for a removal in a registry that has removed more than was requested."""
    name, needed = action.name, join_names(str(name) for name, _ in action.needed)
    return Conflict(
        f"{name} was left alone: {name.registry} removes more than it is asked to, and {needed} must stay",
        code="shared",
        hints=("remove them too, in the same statement",),
    )
