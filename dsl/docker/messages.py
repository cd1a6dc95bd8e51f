"""Outcomes and errors of actions in docker's words."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_NAMESPACE, Reference
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, InvalidReference, SeveralNames
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Raw

    from .context import CommandContext, Outcome

_BATCH_SIZE = 500
"""The most digests in one query: SQLite limits the number of values."""
_UP_TO_DATE = " is up to date"
_CAPITALIZED = {"untagged": "Untagged", "deleted": "Deleted"}


class RemovalSnapshot(Record):
    """Images as they were before a removal.

    `digests` has the name with a digest (`redis@sha256:…`) of each tag, by image. `chain_ids` has the chain IDs of each
    image's layers, top first.
    """

    digests: Mapping[str, Mapping[str, str]]
    chain_ids: Mapping[str, Sequence[str]]

    def __hash__(self) -> int:
        """Hash by identity: it holds mappings."""
        return id(self)


def take_snapshot(context: CommandContext, planned: Iterable[Outcome]) -> RemovalSnapshot:
    """Return a snapshot of the images of a planned removal."""
    ids = tuple(dict.fromkeys(outcome.image for outcome in planned if outcome.image is not None))
    digests: dict[str, dict[str, str]] = {}
    for id_, name, repository, digest in _rows(context, "images", "id", ids, ("id", "name", "repository", "digest")):
        if name is not None and digest is not None and "@" not in str(name):
            digests.setdefault(str(id_), {})[str(name)] = f"{repository}@{digest}"
    chains: dict[str, list[str]] = {}
    for id_, chain in _rows(context, "layers", "image", ids, ("image", "chain_id")):
        chains.setdefault(str(id_), []).insert(0, str(chain))
    return RemovalSnapshot(digests, chains)


def _rows(
    context: CommandContext, table: str, field: str, digests: Sequence[str], select: Sequence[str]
) -> Iterator[tuple[Raw, ...]]:
    """Yield fields of the rows with one of these digests, in the order of the table."""
    columns = tuple(ast.Column(ast.Field((name,))) for name in select)
    for start in range(0, len(digests), _BATCH_SIZE):
        literals = tuple(ast.Literal(digest, quoted=True) for digest in digests[start : start + _BATCH_SIZE])
        yield from context.query_rows(ast.Query(table, where=ast.In(ast.Field((field,)), literals), select=columns))


def describe_removals(
    context: CommandContext, outcomes: Sequence[Outcome], snapshot: RemovalSnapshot
) -> Iterator[tuple[str, str]]:
    """Yield docker's lines for names, images and layers: `untagged` or `deleted`, and the name or digest.

    An image is deleted unless the store still has it under another manifest. A layer is deleted with the last removed
    image that has it, unless a remaining image has it too.
    """
    done = [outcome for outcome in outcomes if outcome.image and not outcome.error and outcome.action != "stay"]
    ids = tuple(
        dict.fromkeys(outcome.image for outcome in done if outcome.image and outcome.action in ("remove", "drop"))
    )
    remaining = _still_stored(context, "images", "id", ids)
    deleted = [id_ for id_ in ids if id_ not in remaining]
    last = {chain: id_ for id_ in deleted for chain in snapshot.chain_ids.get(id_, ())}
    remaining |= _still_stored(context, "layers", "chain_id", tuple(last))
    for outcome in done:
        id_ = outcome.image or ""
        keeps_names = outcome.target == "<none>" or outcome.action == "drop"  # dropping a platform keeps the names
        names = [] if keeps_names else outcome.target.split(", ")
        yield from (("untagged", name) for name in _add_digest_names(names, snapshot.digests.get(id_, {})))
        if id_ in deleted:
            deleted.remove(id_)
            yield "deleted", id_
            for chain in dict.fromkeys(snapshot.chain_ids.get(id_, ())):
                if chain not in remaining and last[chain] == id_:
                    yield "deleted", chain


def _still_stored(context: CommandContext, table: str, field: str, digests: Sequence[str]) -> set[str]:
    """Return the digests that the store still has."""
    return {str(row[0]) for row in _rows(context, table, field, digests, (field,))}


def _add_digest_names(names: Sequence[str], digests: Mapping[str, str]) -> Iterator[str]:
    """Yield removed names; after the last tag of a repository also its name with the digest, as docker does."""
    for index, name in enumerate(names):
        yield name
        digest_name = digests.get(name)
        later = [digests.get(other) for other in (*names[index + 1 :], *(set(digests) - set(names)))]
        if digest_name is not None and digest_name not in later:
            yield digest_name


def capitalize(word: str) -> str:
    """Return the word as `docker rmi` writes it."""
    return _CAPITALIZED[word]


def docker_error(error: ImqError, target: str) -> ImqError:
    """Return an error of a removal in docker's words. Other conflicts have the words of the source."""
    if not isinstance(error, SeveralNames):
        return error
    return Conflict(
        f"conflict: unable to delete {target} (must be forced) - image is referenced in multiple repositories",
        hints=("remove a single name, or add -f to remove the image with all its names",),
    )


def parse_reference(text: str) -> Reference:
    """Parse a reference; the error has docker's words."""
    try:
        return Reference.parse(text)
    except InvalidReference as problem:
        name = text.partition("@")[0]
        repository = name[: name.rfind(":")] if name.rfind(":") > name.rfind("/") else name
        message = "invalid reference format"
        if repository != repository.lower() and _is_name(repository.lower()):
            path = repository if "/" in repository else DEFAULT_NAMESPACE + repository
            message += f": repository name ({path}) must be lowercase"
        raise InvalidReference(message, hints=problem.hints) from None


def _is_name(text: str) -> bool:
    try:
        Reference.parse(text)
    except InvalidReference:
        return False
    return True


def describe_loaded(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield the output of `docker load`."""
    for outcome in outcomes:
        if outcome.error:
            continue
        if outcome.action == "untag":
            yield (
                f"The image {outcome.target} already exists, renaming the old one with ID {outcome.image}"
                " to empty string\n"
            )
        elif outcome.target == "<none>":
            yield f"Loaded image ID: {outcome.image}\n"
        else:
            yield from (f"Loaded image: {name}\n" for name in outcome.target.split(", "))


def describe_pulled(outcome: Outcome, digest: str | None) -> Iterator[str]:
    """Yield the end of the output of `docker pull`."""
    if digest is not None:
        yield f"Digest: {digest}\n"
    yield pull_status(outcome.target, (outcome,))


def pull_status(name: str, outcomes: Sequence[Outcome]) -> str:
    """Return docker's status line: whether any pulled image was new."""
    any_new = any(_UP_TO_DATE not in (outcome.note or "") for outcome in outcomes)
    return f"Status: {'Downloaded newer image for' if any_new else 'Image is up to date for'} {name}\n"


def full_name(reference: Reference) -> str:
    """Return the full name: `docker.io/library/redis:7`."""
    tag = f":{reference.tag}" if reference.tag else ""
    return f"{reference.canonical_name}{tag}{f'@{reference.digest}' if reference.digest else ''}"


def describe_pushed(outcome: Outcome, tag: str, size: int | None) -> str:
    """Return the end of the output of `docker push`; `size` is that of the manifest in bytes."""
    line = f"{tag}: {outcome.note}"
    return f"{line}\n" if size is None else f"{line} size: {size}\n"
