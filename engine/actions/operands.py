"""What verbs work on: references and queries, as images and names of the store."""

from __future__ import annotations

from imq.engine.oci.digest import Digest, hex_prefix
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.query.binder import needs_where
from imq.engine.store.unreadable_images import unreadable_image
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .base import Fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw

    from .base import Action
    from .verb import Planning


TARGET_COLUMNS = ("_root", "id", "name")
"""What is read of each row beside what a query selects; see `Planning.rows`."""


class Target(Record):
    """One name of one image; `name` is None for an image without one, and for an image that was given by its id.

    `every` says that all platforms of its index are meant, and not the image of one.
    """

    name: str | None
    root: Digest
    id: Digest
    by_id: bool = False
    every: bool = False


def said(act: ast.Act, option: str) -> ast.Option | None:
    """Return the option of this name, if the statement says it."""
    return next((given for given in act.options if given.name == option), None)


def option_texts(act: ast.Act, option: str, planning: Planning) -> list[str]:
    """Return the values of an option; none when it is not said."""
    given = said(act, option)
    return planning.literals(given.values) if given is not None else []


def platform_of(act: ast.Act, planning: Planning) -> Platform | None:
    """Return the platform that the statement asks for, else the session's default."""
    texts = option_texts(act, "platform", planning)
    if len(texts) > 1:
        given = said(act, "platform")
        raise StatementError("one platform can be named", code="platform", span=given.span if given else None)
    return Platform.parse(texts[0]) if texts else planning.platform


def platforms_of(act: ast.Act, planning: Planning) -> tuple[tuple[Platform, ...], bool]:
    """Return the platforms that the statement asks for, else the session's default; and whether it asks for `all`."""
    texts = option_texts(act, "platform", planning)
    if [text.lower() for text in texts] == ["all"]:
        return (), True
    if not texts:
        return (planning.platform,) if planning.platform is not None else (), False
    try:
        return tuple(dict.fromkeys(Platform.parse(text) for text in texts)), False
    except StatementError as problem:
        given = said(act, "platform")
        problem.span = given.span if given else None
        raise


def targets(act: ast.Act, planning: Planning) -> list[Target]:
    """Return what an action on images works on: each reference found, or each row of its query, in order, once."""
    if act.query is not None:
        return query_targets(act, planning)
    found = []
    for text, node in zip(planning.literals(act.references), act.references, strict=True):
        try:
            found.append(_found(text, planning))
        except StatementError as error:
            error.span = error.span or node.span
            if "*" in text:
                error.hints = (f"{act.verb} takes names; for those that are like a pattern: {act.verb} images where …",)
            raise
    return list(dict.fromkeys(found))


def _found(text: str, planning: Planning) -> Target:
    """Return the image that a text names, or the artifact."""
    try:
        image = planning.store.find(text)
    except NotFound:
        from imq.engine.store.unindexed import find_unshown

        entry = find_unshown(planning.store, text)
        if entry is None:
            raise
        root = entry.descriptor.digest
        return Target(str(entry.name) if entry.name else None, root, root, entry.name is None, every=True)
    digits = hex_prefix(text)
    every = image.name is not None or bool(digits and image.root.hex.startswith(digits))
    return Target(image.name, image.root, image.id, image.name is None, every)


def each_target(
    act: ast.Act, planning: Planning, *, takes_unreadable: bool = False
) -> tuple[list[Target], list[Action]]:
    """Return what an action on images works on as `targets` does, and a failure for each reference to no image.

    So one wrong name among several does not keep the rest from being done; a wrong name alone is raised.
    """
    found: list[Target] = []
    failures: list[Action] = []
    if act.query is not None:
        return query_targets(act, planning, failures, takes_unreadable=takes_unreadable), failures
    if len(act.references) < 2:
        return targets(act, planning), []
    for reference in act.references:
        try:
            found += targets(act.replace(references=(reference,)), planning)
        except NotFound as error:
            failures.append(Fail(act.verb, planning.literals((reference,))[0], error))
    return list(dict.fromkeys(found)), failures


def query_targets(
    act: ast.Act, planning: Planning, failures: list[Action] | None = None, *, takes_unreadable: bool = False
) -> list[Target]:
    """Return the rows of an action's query as targets.

    A row of an image that cannot be read is added to `failures`, or raised: its condition was not really tested. An
    action that `takes_unreadable` images gets it under the digest that index.json says.
    """
    _, rows = planning.rows(lean_query(act, planning), TARGET_COLUMNS)
    found: list[Target] = []
    for row in rows:
        root, id_, name = row[-len(TARGET_COLUMNS) :]
        try:
            found.append(row_target((root, root if id_ is None and takes_unreadable else id_, name)))
        except StoreError as problem:
            if failures is None:
                raise
            failures.append(Fail(act.verb, str(name or Digest(str(root)).short), problem))
    return list(dict.fromkeys(found))


def row_target(row: Sequence[Raw]) -> Target:
    """Return the target that the `TARGET_COLUMNS` of a row are; raises `StoreError` for an image that is unreadable."""
    root, id_, name = row
    if id_ is None:
        raise unreadable_image(str(name) if name is not None else Digest(str(root)).short)
    return Target(None if name is None else str(name), Digest(str(root)), Digest(str(id_)))


def target_query(act: ast.Act, planning: Planning) -> ast.Query:
    """Return the query of what an action works on, or refuse it: whole images, and not all of them unsaid."""
    query = whole_images(act, planning)
    needs_where(query, act.verb)
    if isinstance(query, ast.Combination):
        query = ast.Query("", base=query, span=query.span)
    return query


def whole_images(act: ast.Act, planning: Planning) -> ast.Rows:
    """Return the query of an action, or refuse one that answers anything but whole images."""
    query = act.query
    assert query is not None
    select = planning.bind(query)
    if not select.is_whole_rows:
        raise StatementError(
            f"{act.verb} takes whole rows: leave out group by, select and count", code="operand", span=query.span
        )
    if select.table.name != "images":
        raise StatementError(f"{act.verb} takes images, not {select.table.name}", code="operand", span=query.span)
    return query


def named_query(act: ast.Act, planning: Planning) -> ast.Query:
    """Return the query of the images that references name, one row each."""
    conditions: list[ast.Expr] = []
    for target in targets(act, planning):
        field, text = ("name", target.name) if target.name is not None else ("id", str(target.id))
        conditions.append(ast.Comparison("=", ast.Field((field,)), ast.Literal(text, quoted=True)))
    condition = conditions[0] if len(conditions) == 1 else ast.Or(tuple(conditions))
    return ast.Query("images", where=condition, span=act.span)


def lean_query(act: ast.Act, planning: Planning) -> ast.Query:
    """Return the query of what an action works on, for ids alone: nothing is unpacked to know a size."""
    return target_query(act, planning).replace(select=(ast.Column(ast.Field(("id",))),))


def parsed_name(text: str) -> Reference:
    """Return the name that `text` writes, with the default tag; a digest cannot be given as a name."""
    reference = Reference.parse(text).with_default_tag()
    if reference.digest is not None:
        raise StatementError(f'"{text}" has a digest, and only a tag can be given', code="reference")
    return reference
