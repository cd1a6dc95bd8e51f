"""The images of namespaces that an action works on: those of a query, or those that references name."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.query.unavailable_fields import check_known
from imq.engine.sources.action import Failed
from imq.engine.sources.action_options import list_source_refs
from imq.engine.sources.row_templates import render_rows
from imq.engine.sources.target_query import check_target_query, make_target_query
from imq.grammar import ast
from imq.grammar.errors import Conflict, EngineError, ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .names import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.sources.action import Action, PlanContext

    from .content import ContainerdRecords
    from .reader import ContainerdReader

_COLUMNS = ("source", "_listed", "id", "name")


class NamespaceTarget(Record):
    """One name of one target of a namespace, as it was read. `name` is None for a target that an ID means."""

    source: str
    listed: ContainerdRecords
    name: str | None

    @property
    def digest(self) -> Digest:
        """The digest of the index or manifest."""
        return self.listed.descriptor.digest

    @property
    def id(self) -> Digest:
        """The ID of the image; the digest of a target whose documents cannot be read."""
        return next((image.id for image in self.listed.images), self.digest)

    @property
    def text(self) -> str:
        """The name, or the short ID."""
        return self.name or self.id.short


Rendered = tuple[str, NamespaceTarget]
"""A target with the text that a template has for its row."""


def get_reader(context: PlanContext) -> ContainerdReader:
    """Return the reader of the session."""
    reader: ContainerdReader = getattr(context.sources[NAME], "reader")  # noqa: B009
    return reader


def find_targets(
    act: ast.ActionStatement, context: PlanContext, condition: ast.Expr | None = None
) -> tuple[list[NamespaceTarget], list[Action]]:
    """Return the targets of an action without duplicates, and a failure for each reference or row without one.

    `condition` holds for all targets. Without an operand these are all such images of the sources.
    """
    query = make_target_query(act, context, condition)
    if query is None:
        return _named_targets(act, context)
    _check_known(act, context)
    narrow = query.replace(select=(ast.Column(ast.Field(("id",))),)) if isinstance(query, ast.Query) else query
    _, rows = context.rows(narrow, _COLUMNS)
    rendered, failures = _read_rows(act, (("", row[-len(_COLUMNS) :]) for row in rows), context)
    return list(dict.fromkeys(target for _, target in rendered)), failures


def render_targets(
    act: ast.ActionStatement, template: str, context: PlanContext
) -> tuple[list[Rendered], list[Action]]:
    """Return the rows of an action's query, each with the rendered template, and a failure for each other row."""
    check_target_query(act, context)
    _check_known(act, context)
    assert act.query is not None
    rows = render_rows(act.query, (template,), context, _COLUMNS)
    return _read_rows(act, ((text, row[-len(_COLUMNS) :]) for (text,), row in rows), context)


def _check_known(act: ast.ActionStatement, context: PlanContext) -> None:
    if act.query is not None:
        check_known(context.bind(act.query), act.verb, act.query.span)


def _read_rows(
    act: ast.ActionStatement, rows: Iterable[tuple[str, Sequence[Raw]]], context: PlanContext
) -> tuple[list[Rendered], list[Action]]:
    """Return the targets of rows. A name of an index is only a target when all of its images were chosen."""
    chosen: dict[tuple[str, Digest, str | None], set[Raw]] = {}
    texts: dict[tuple[str, Digest, str | None], str] = {}
    failures: list[Action] = []
    for text, (source, digest, id_, name) in rows:
        key = str(source), Digest(str(digest)), None if name is None else str(name)
        if id_ is None:
            continue  # unreadable, as the scan reports: the condition may have read what is unknown
        chosen.setdefault(key, set()).add(id_)
        texts.setdefault(key, text)
    targets: list[Rendered] = []
    for (source, digest, name), ids in chosen.items():
        listed = find_listed(get_reader(context), source, digest)
        if listed is None:
            continue  # it went away between two listings
        target = NamespaceTarget(source, listed, name)
        others = [image for image in listed.images if image.id not in ids]
        if others:
            platforms = ", ".join(image.config.platform.canonical for image in others)
            error = Conflict(
                f"{target.text} is also the image for {platforms}, which the condition did not choose",
                code="platform",
                hints=(f"to {act.verb} all of it: {act.verb} {target.text} from {source}",),
            )
            failures.append(Failed(act.verb, target.text, error))
        else:
            targets.append((texts[source, digest, name], target))
    return targets, failures


def find_listed(reader: ContainerdReader, source: str, digest: Digest) -> ContainerdRecords | None:
    """Return the target with this digest in a namespace."""
    targets = reader.read(source).list_targets()
    return next((listed for listed in targets if listed.descriptor.digest == digest), None)


def _named_targets(act: ast.ActionStatement, context: PlanContext) -> tuple[list[NamespaceTarget], list[Action]]:
    reader = get_reader(context)
    sources = [name for ref in list_source_refs(act, context) for name in reader.expand(ref.text)]
    for source in sources:
        reader.check_namespace(source)
    targets: list[NamespaceTarget] = []
    failures: list[Action] = []
    for text, node in zip(context.literals(act.references), act.references, strict=True):
        try:
            found = [target for source in sources for target in _find_named(text, source, reader)]
            if not found:
                hints = (f"searched in {', '.join(sources)}",)
                raise NotFound(f"No such image: {text}", code="no-such-image", hints=hints)
        except ImqError as error:
            error.span = error.span or node.span
            if len(act.references) == 1 or isinstance(error, EngineError):
                raise
            failures.append(Failed(act.verb, text, error))
        else:
            targets += found
    return list(dict.fromkeys(targets)), failures


def _find_named(text: str, source: str, reader: ContainerdReader) -> list[NamespaceTarget]:
    """Return the image that a name or ID means in a namespace. As in docker, a name comes before an ID."""
    rows = reader.read(source)
    found = [listed for listed in rows.list_targets() if listed in rows.find(text)]
    named = [NamespaceTarget(source, listed, name) for listed in found for name in rows.matching_names(listed, text)]
    if len({target.digest for target in named or ()}) > 1 or (not named and len(found) > 1):
        digests = ", ".join(sorted(listed.descriptor.digest.short for listed in found))
        raise Conflict(
            f"{text} means several images in {source}: {digests}",
            code="ambiguous-id",
            hints=("write more digits, or the name of one of them",),
        )
    return named[:1] or [NamespaceTarget(source, listed, None) for listed in found]
