"""The actions that remove tags and manifests in registries: exactly those planned, unless they have changed since.

The response to a removal is not trusted. After each removal, requests check that the name is gone, and that the
manifests that other names need still exist. Missing manifests are uploaded again.
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
    """A removal in a registry. Consecutive removals are executed together, and the tags are listed once after them.

    `subject` is the manifest to which the removed one is attached, if the same statement removes both. `needed` are
    the names that must still resolve to these digests afterwards.
    """

    name: Reference
    subject: Digest | None
    needed: tuple[tuple[Reference, Digest], ...]

    @staticmethod
    def execute_batch(actions: Sequence[RegistryRemoval], context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the removals, check all of them, and yield their outcomes."""
        remover = context.get_shared(_make_remover)
        remover.list_before(actions, context.progress.warn)
        outcomes = []
        for number, action in enumerate(actions):
            if len(actions) > 1:
                context.progress.report_items(action.describe().action, number, len(actions))
            outcomes.append(remover.attempt(action))
        yield from remover.check_listings(actions, outcomes, context.progress.warn)


class RemoveTag(RegistryRemoval):
    """Removes a tag from its registry. `others` are remaining names of the same manifest.

    With `only_tag`, the manifest is not removed even if it has no other name.
    """

    digest: Digest
    others: tuple[str, ...] = ()
    only_tag: bool = False

    def describe(self) -> Outcome:
        """Return the tag with its digest; the action is `untag` if the manifest has other names.

        Whether a registry can remove a tag without its manifest is known only once it is tried.
        """
        if not self.others:
            return Outcome("remove", str(self.name), note=self.digest.short)
        return Outcome("untag", str(self.name), note=f"{self._kept}; refused if the registry cannot remove a tag alone")

    def describe_removed(self) -> Outcome:
        """Return the tag that was removed; the manifest stays for its other names."""
        return self.describe().replace(note=self._kept) if self.others else self.describe()

    @property
    def _kept(self) -> str:
        return f"{self.digest.short}, which is kept for {join_names(self.others)}"


class RemoveManifest(RegistryRemoval):
    """Removes a manifest from its registry, with all its tags."""

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
        """The removed manifests, each with all its tags."""
        self._failed: set[Reference] = set()
        """The manifests whose removal failed."""
        self._imprecise: set[str] = set()
        """The registries that have removed more than was requested."""
        self._listed_before: dict[Reference, frozenset[str] | None] = {}
        """The tags of each repository before the removals of a batch, or None if they could not be listed."""

    def attempt(self, action: RegistryRemoval) -> Outcome:
        """Execute one removal and return its outcome, which includes any error."""
        try:
            return self._execute(action)
        except ImqError as error:
            if isinstance(error, Interrupted):
                raise
            self._failed.add(_get_manifest(action))
            return action.describe().with_error(error)

    def list_before(self, actions: Sequence[RegistryRemoval], warn: Callable[[str], None]) -> None:
        """List the tags of every repository of these removals, to detect later which other tags disappeared."""
        repositories = dict.fromkeys(map(_get_repository, actions))
        self._listed_before = {repository: self._list_tags(repository, "before", warn) for repository in repositories}

    def check_listings(
        self,
        actions: Sequence[RegistryRemoval],
        outcomes: Sequence[Outcome],
        warn: Callable[[str], None],
    ) -> Iterator[Outcome]:
        """Yield the outcomes of removals. If a registry still lists a removed tag, the removal is a failure.

        Then yield a failure for each other tag that was listed before and no longer is.
        """
        after = {repository: self._list_tags(repository, "after", warn) for repository in self._listed_before}
        removed_tags: dict[Reference, set[str]] = {}
        for action, outcome in zip(actions, outcomes, strict=True):
            repository = _get_repository(action)
            removed_tags.setdefault(repository, set()).update(_get_tags(action))
            still_listed = sorted((after[repository] or frozenset()).intersection(_get_tags(action)))
            if outcome.error is None and still_listed:
                names = join_names(f"{action.name.familiar_name}:{tag}" for tag in still_listed)
                error = RegistryError(
                    f"{action.name.registry} no longer has a manifest for {names}, but still lists it",
                    code="still-listed",
                    host=action.name.registry,
                    hints=(
                        "some registries update the list later: check again in a while, or ask the registry's operator",
                    ),
                )
                yield action.describe().with_error(error)
            else:
                yield outcome
        for repository, tags in removed_tags.items():
            listed_before, listed_after = self._listed_before[repository], after[repository]
            if listed_before is not None and listed_after is not None:
                for tag in sorted(listed_before - listed_after - tags):
                    yield _describe_lost_tag(repository.replace(tag=tag))

    def _list_tags(self, repository: Reference, when: str, warn: Callable[[str], None]) -> frozenset[str] | None:
        """Return the tags of a repository, empty if it no longer exists, or None if the request fails."""
        try:
            return frozenset(self._client.list_tags(repository))
        except ImqError as error:
            if isinstance(error, Interrupted):
                raise
            if error.code in ("name-unknown", "not-found"):
                return frozenset()
            warn(f"the tags of {repository.familiar_name} could not be listed {when} the removal: {error.message}")
            return None

    def _execute(self, action: RegistryRemoval) -> Outcome:
        manifest = _get_manifest(action)
        if action.subject is not None and manifest.replace(digest=action.subject) in self._failed:
            raise Conflict(
                f"{action.name} was not removed: it is attached to {action.subject.short}, which was not removed",
                code="protected",
                hints=("remove the subject first",),
            )
        if isinstance(action, RemoveManifest):
            return self._remove_manifest(action)
        assert isinstance(action, RemoveTag)
        return self._remove_tag(action, manifest)

    def _remove_tag(self, action: RemoveTag, manifest: Reference) -> Outcome:
        """Remove a tag, or its manifest if the registry can only remove manifests and nothing else needs it."""
        name = action.name
        outcome = action.describe().replace(note="with its manifest: the registry cannot remove a tag alone")
        if manifest in self._removed:
            self._check_gone((name,), DeleteResult.ACCEPTED)
            return outcome
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
        return outcome

    def _remove_manifest(self, action: RemoveManifest) -> Outcome:
        """Remove a manifest with its tags, unless one of them now names another manifest."""
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
        """Raise `NotFound` if a name no longer exists, or names another manifest than in the plan."""
        current = self._client.fetch_head(name)
        if current is None or current.digest != digest:
            raise NotFound(
                f"{name} has changed since this was planned, so it was not removed",
                code="changed",
                hints=("run the statement again",),
            )

    def _fetch_needed(self, action: RegistryRemoval) -> dict[Digest, FetchedManifest]:
        """Fetch the manifests that other names need, so that they can be uploaded again."""
        manifests: dict[Digest, FetchedManifest] = {}
        for name, digest in action.needed:
            if digest not in manifests:
                manifests[digest] = self._client.fetch_manifest(name.replace(tag=None, digest=digest))
        return manifests

    def _check_result(
        self,
        action: RegistryRemoval,
        names: Sequence[Reference],
        result: DeleteResult,
        manifests: dict[Digest, FetchedManifest],
    ) -> None:
        """Restore manifests that were removed unintentionally.

        Raises `Conflict` if there were any, and `RegistryError` if a removed name still exists.
        """
        lost = self._restore(action, manifests)
        self._check_gone(names, result)
        if lost:
            raise Conflict(
                f"{action.name.registry} removed {join_names(map(str, lost))} with {action.name}; it was restored",
                code="shared",
                hints=("this registry removes more than requested: remove related names in one statement",),
            )

    def _restore(self, action: RegistryRemoval, manifests: dict[Digest, FetchedManifest]) -> list[Reference]:
        """Upload the needed manifests that are missing, and return them. Errors are raised after all uploads."""
        lost: list[Reference] = []
        failed: list[tuple[Reference, ImqError]] = []
        for name, digest in action.needed:
            try:
                if self._client.fetch_head(name) is not None:
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
                hints=("list the tags, and push missing images again",),
            )
        return lost

    def _check_gone(self, names: Sequence[Reference], result: DeleteResult) -> None:
        """Raise `RegistryError` if a removed name still exists, or if the registry does not report whether it does."""
        claim, hint = "accepted the removal of", "some registries remove later: check again in a while"
        if result is DeleteResult.ABSENT:
            claim, hint = "reports that it does not have", "this registry may not support removal by this kind of name"
        for name in names:
            try:
                current = self._client.fetch_head(name)
            except ImqError as problem:
                raise RegistryError(
                    f"{name.registry} {claim} {name}, but checking for it failed: {problem.message}",
                    code="unconfirmed",
                    host=name.registry,
                    hints=("list the tags to check the result",),
                ) from problem
            if current is not None:
                raise RegistryError(
                    f"{name.registry} {claim} {name}, but still has it",
                    code="not-removed",
                    host=name.registry,
                    hints=(hint,),
                )


def _describe_lost_tag(name: Reference) -> Outcome:
    """Return the failure for a tag that disappeared although it was not to be removed."""
    error = Conflict(
        f"{name.familiar_name}:{name.tag} was not to be removed, but {name.registry} no longer lists it",
        code="lost-tag",
        hints=("the registry or another client removed it: push it again",),
    )
    return Outcome("remove", str(name), error=error)


def _get_repository(action: RegistryRemoval) -> Reference:
    return action.name.replace(tag=None, digest=None)


def _get_manifest(action: RegistryRemoval) -> Reference:
    digest = action.digest if isinstance(action, RemoveTag) else action.name.digest
    return action.name.replace(tag=None, digest=digest)


def _get_tags(action: RegistryRemoval) -> tuple[str, ...]:
    """Return the tags that the action removes."""
    if isinstance(action, RemoveManifest):
        return action.tags
    return (action.name.tag,) if action.name.tag is not None else ()


def _describe_removed(action: RegistryRemoval, result: DeleteResult) -> Outcome:
    done = action.describe_removed() if isinstance(action, RemoveTag) else action.describe()
    return done if result is DeleteResult.ACCEPTED else done.replace(note="it no longer existed")


def _shared_manifest_error(action: RemoveTag) -> Conflict:
    """Return the error for a tag in a registry that cannot remove a tag without its manifest."""
    name = action.name
    if action.others:
        return Conflict(
            f"{name} was not removed: {name.registry} cannot remove a tag alone, and its manifest is needed by"
            f" {join_names(action.others)}",
            code="shared",
            hints=("to remove the manifest with all its tags: with its tags", "or remove the others too"),
        )
    if action.only_tag:
        return Conflict(
            f"{name} was not removed: {name.registry} cannot remove a tag alone",
            code="no-untag",
            hints=("rm removes the tag with its manifest, which has no other tag",),
        )
    return _imprecise_registry_error(action)


def _imprecise_registry_error(action: RegistryRemoval) -> Conflict:
    """Return the error for a removal in a registry that has removed more than was requested."""
    name, needed = action.name, join_names(str(name) for name, _ in action.needed)
    return Conflict(
        f"{name} was not removed: {name.registry} removes more than requested, and {needed} must be kept",
        code="shared",
        hints=("remove them too, in the same statement",),
    )
