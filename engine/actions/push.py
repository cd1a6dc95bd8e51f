"""The verb `push`: sends images of the store to registries."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, parse_manifest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference, parse_name, parse_tag_name
from imq.engine.sources.action import Outcome, RegistryWrite
from imq.engine.sources.action_options import get_option
from imq.engine.sources.namespaces import add_namespace, parse_namespace
from imq.engine.sources.row_templates import is_template, render_rows
from imq.grammar.errors import DigestMismatch, ImqError, RegistryError, StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import (
    TARGET_COLUMNS,
    Target,
    build_names_query,
    check_targets,
    find_planner,
    get_platforms,
    get_target_query,
    parse_target_row,
    resolve_each_target,
)
from .origins import Origin, open_images
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.archives import ArchivePlace
    from imq.engine.sources.layouts.places import Place
    from imq.engine.store.store import Store
    from imq.grammar import ast

_REJECTED_CONTENT = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""HTTP statuses of registries for content that does not match its digest."""


class Push(RegistryWrite):
    """Send an image to a registry, under the name `reference`. Without `platforms` an index is whole.

    The image is in the store, in a `place` on disk, where `root` is what lists it, or in an engine.
    """

    reference: Reference
    root: Digest
    id: Digest
    platforms: tuple[Platform, ...] = ()
    place: Place | ArchivePlace | None = None
    verb: str = "push"

    def describe(self) -> Outcome:
        """Return the name with the image, its place and the platforms."""
        notes = [f"from {self.place.text}"] if self.place is not None else []
        notes += [f"for {', '.join(map(str, self.platforms))}"] if self.platforms else []
        return Outcome(self.verb, str(self.reference), self.id, note=" ".join(notes) or None)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Send the image."""
        origin = Origin(((self.root, ()),), self.place)
        with open_images((origin,), context, f"{self.verb} {self.reference}") as (store, ((root, _),)):
            yield from self.replace(root=root).send(store, context)

    def send(self, store: Store, context: ExecutionContext) -> Iterator[Outcome]:
        """Send the image from a store that has it, and record the digest of its name in the registry there."""
        from imq.engine.oci.index_subset import PlatformSelector
        from imq.engine.registry.transfer.push import push
        from imq.engine.sources.registry.copy import describe_skipped_layers

        content = store.read_document(self.root)
        document = parse_manifest(content)
        top = Descriptor(document.media_type, self.root, len(content))
        selection = PlatformSelector(
            self.reference, store.read_document, lambda config: store.read_document(config.digest)
        )
        selected = selection.select(top, self.platforms)
        rewritten = {selected.descriptor.digest: selected.content} if selected.content is not None else {}
        is_whole = selected.descriptor.digest == self.root
        try:
            pushed = push(
                context.get_client(),
                self.reference,
                selected.descriptor,
                _PushContent(store, rewritten),
                context.progress,
                jobs=context.jobs,
                absent=store.list_absent_manifests(self.root) if is_whole and isinstance(document, Index) else {},
            )
        except (RegistryError, DigestMismatch) as error:  # a corrupt blob of the store may be the reason
            if isinstance(error, RegistryError) and error.status not in _REJECTED_CONTENT:
                raise
            raise self._find_corrupt_blob(store, error) from None
        for warning in selected.warnings:
            context.progress.warn(warning)
        with store.start_transaction() as transaction:
            entry = transaction.find_entry(self.reference)
            if entry is not None and entry.descriptor.digest == self.root:
                set_at = entry.set_at or context.clock()
                transaction.set_name(self.reference, entry.descriptor, pushed.manifest.digest, set_at)
        skipped = [describe_skipped_layers(pushed.skipped_layers)] if pushed.skipped_layers else []
        note = "; ".join([f"digest: {pushed.manifest.digest}", *skipped, *selected.warnings])
        yield Outcome(self.verb, str(self.reference), self.id, pushed.transferred_bytes, note=note)

    def _find_corrupt_blob(self, store: Store, error: ImqError) -> ImqError:
        """Return the error of the corrupt blob of the image; `error` when no blob is corrupt."""
        from imq.engine.store.measure import find_corruption

        rows = store.index.connection.execute("SELECT digest FROM reach WHERE root = ?", (self.root,))
        corruption = find_corruption(store, [Digest(digest) for (digest,) in rows], error)
        if corruption is not error:
            repair = f"verify {self.id.short} repair, or a new pull, fetches the blob again"
            corruption.hints = (repair, "the registry does not have the tag yet: repeat the push after the repair")
        return corruption


class _PushContent:
    """The blobs of the store, with documents that were rewritten for the push."""

    def __init__(self, store: Store, rewritten: Mapping[Digest, bytes]) -> None:
        self._store = store
        self._rewritten = rewritten
        self.open = store.open_blob

    def read(self, digest: Digest) -> bytes:
        """Return a document."""
        return self._rewritten[digest] if digest in self._rewritten else self._store.read_document(digest)


def _plan_push(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if (planner := find_planner(act, context)) is not None:
        return planner(act, context)
    to = get_option(act, "to")
    platforms, _ = get_platforms(act, context)
    try:
        if to is None:
            targets, failures = resolve_each_target(act, context)
            named_targets = [(_require_name(target, act), target) for target in targets]
        else:
            named_targets, failures = _name_targets(act, context.literals(to.values)[0], context)
    except StatementError as problem:
        problem.span = problem.span or (to.span if to is not None else None)
        raise
    target_by_name: dict[Reference, Target] = {}
    for name, target in named_targets:
        other = target_by_name.setdefault(name, target)
        if other.root != target.root:
            raise _several_images_error(name, f"{_format_target(other)} and {_format_target(target)}", act)
    return _deduplicate([Push(name, target.root, target.id, platforms) for name, target in named_targets]) + failures


def _name_targets(
    act: ast.ActionStatement, text: str, context: PlanContext
) -> tuple[list[tuple[Reference, Target]], list[Action]]:
    """Return the destination of each image from the option `to`, and a failure for each name that is not found."""
    if is_template(text):
        query = get_target_query(act, context) if act.query is not None else build_names_query(act, context)
        rendered_names = [
            (name, parse_target_row(row)) for (name,), row in render_rows(query, (text,), context, TARGET_COLUMNS)
        ]
        check_targets([target for _, target in rendered_names], act, context)
        return [(_parse_rendered_name(target, name), target) for name, target in rendered_names], []
    targets, failures = resolve_each_target(act, context)
    if (namespace := parse_namespace(text)) is not None:
        return [(add_namespace(namespace, _require_name(target, act)), target) for target in targets], failures
    name = parse_tag_name(text)
    if len({target.root for target in targets}) + len(failures) > 1:
        raise _several_images_error(name, f"{len(targets) + len(failures)} images", act)
    return [(name, target) for target in targets], failures


def _parse_rendered_name(target: Target, text: str) -> Reference:
    """Parse a rendered name; one without a tag gets the tag of the image."""
    name = Reference.parse(text)
    image_name = parse_name(target.name) if target.name is not None else None
    if name.tag is None and name.digest is None and isinstance(image_name, Reference):
        return name.replace(tag=image_name.tag).with_default_tag()
    return parse_tag_name(text)


def _require_name(target: Target, act: ast.ActionStatement) -> Reference:
    """Return the tagged name of an image; raises `StatementError` when it has none."""
    name = parse_name(target.name) if target.name is not None else None
    if not isinstance(name, Reference) or name.tag is None:
        raise StatementError(
            f"{_format_target(target)} has no name to push",
            code="operand",
            span=act.span,
            hints=("to push it under a name: push ID to NAME:TAG",),
        )
    return name


def _format_target(target: Target) -> str:
    return target.name or target.id.short


def _several_images_error(name: Reference, images: str, act: ast.ActionStatement) -> StatementError:
    return StatementError(
        f"{images} would be pushed to {name}, but a name can have only one image",
        code="operand",
        span=act.span,
        hints=(
            "without a tag the names are kept: push images where … to registry.local:5000/team",
            'with a template each image gets a name: push images where … to "host/{{.Repository}}:{{.Tag}}"',
        ),
    )


def _deduplicate(pushes: list[Push]) -> list[Action]:
    """Remove duplicates: each platform of an index is a row, and all of them are one push."""
    first = {(push.reference, push.root): push for push in reversed(pushes)}
    return [*reversed(first.values())]


VERB = Verb(
    "push",
    "Send images to the registries in their names. The destination after to is another name for one image, a host or"
    " namespace (repositories and tags stay the same), or a template. An index is pushed with all its platforms unless"
    " platform selects some.",
    "push team/app:1 to registry.local:5000/team/app:1",
    OperandKind.IMAGES,
    options=("from", "platform", "to", "dry run"),
    plan=_plan_push,
)
