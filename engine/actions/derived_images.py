"""What the verbs that make images of images share: their operands, and naming the new image."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import parse_tag_name
from imq.engine.query.source import NativeTable
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option, get_option_values, list_source_refs
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.query.source import SourceRef
    from imq.engine.sources.action import ExecutionContext, PlanContext, Planner
    from imq.engine.store.derived_image import BaseImage
    from imq.engine.store.ingest import Ingest
    from imq.grammar import ast


class DerivedImage(Record):
    """An image to be made from the image `base`, given by its name, its ID and its manifest. `name`: of the new one."""

    base: str
    base_id: Digest
    manifest: Digest
    name: Reference | None

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        raise NotImplementedError

    def describe(self) -> Outcome:
        """Return the new name and the image below."""
        return Outcome(self.verb, self.label, note=f"from {self.base}")

    @property
    def label(self) -> str:
        """The new name."""
        return str(self.name) if self.name is not None else "<none>"

    def store(self, ingest: Ingest, base: BaseImage, context: ExecutionContext) -> tuple[Descriptor, Digest]:
        """Store the image; return the descriptor of its manifest and its ID."""
        raise NotImplementedError

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Store the image and set its name; after an error nothing has changed."""
        from imq.engine.store.derived_image import read_base, reserve_layers, set_derived_name

        store = context.store
        with store.start_ingest() as ingest:
            base = read_base(store, self.manifest)
            reserve_layers(ingest, base)
            descriptor, id_ = self.store(ingest, base, context)
            set_derived_name(store, ingest, self.name, descriptor, context.clock())
        size = sum(measure.size for measure in ingest.measures)
        yield Outcome(self.verb, self.label, id_, size, note=f"from {self.base}")


def find_base(image: ast.Literal | ast.Variable, context: PlanContext) -> tuple[str, Digest, Digest]:
    """Return the name, the ID and the manifest of an image of the store. Raises `NotFound`."""
    (text,) = context.literals((image,))
    try:
        found = context.store.find(text)
    except StatementError as problem:
        problem.span = problem.span or image.span
        raise
    return found.name or text, found.id, Digest(str(found.manifest))


def find_place_planner(
    act: ast.ActionStatement, image: ast.Literal | ast.Variable, context: PlanContext
) -> Planner | None:
    """Return the planner of the registry that `from` names; None: the store. Raises `StatementError` for others."""
    if get_option(act, "from") is None:
        return None
    (ref, *_) = list_source_refs(act, context)
    source = context.sources[ref.source]
    planner = source.planners.get(act.verb)
    if planner is None and not isinstance(source.tables.get("images"), NativeTable):
        raise StatementError(
            f"{act.verb} does not work in {ref.text}",
            code="operand",
            span=act.span,
            hints=(_describe_way_by_store(act, image, ref, context),),
        )
    return planner


def _describe_way_by_store(
    act: ast.ActionStatement, image: ast.Literal | ast.Variable, place: SourceRef, context: PlanContext
) -> str:
    """Return the statements that bring an image to the store, make the new one there and bring that back.

    A registry has tags: its images are pulled and pushed by their whole names.
    """
    from imq.grammar import ast
    from imq.grammar.unparser import unparse

    (name,) = context.literals((image,))
    new = get_option_values(act, "as", context)[0]
    has_tags = context.sources[place.source].match_name(name) is None
    store = (ast.Literal("store"),)
    options = tuple(option.replace(values=store) if option.name == "from" else option for option in act.options)
    there = (ast.Literal(place.text),)

    def bring(what: str, verb: str, start: tuple[ast.Literal], end: tuple[ast.Literal]) -> ast.ActionStatement:
        names = (ast.Literal(what),)
        if has_tags:
            return ast.ActionStatement(verb, names)
        return ast.ActionStatement("copy", names, options=(ast.Option("from", start), ast.Option("to", end)))

    statements = (bring(name, "pull", there, store), act.replace(options=options), bring(new, "push", store, there))
    return f"it works in the store, and the result can be copied back: {'; '.join(map(unparse, statements))}"


def get_new_name(act: ast.ActionStatement, context: PlanContext) -> Reference:
    """Return the name of the option `as`. Raises `StatementError` without one."""
    names: Sequence[str] = get_option_values(act, "as", context)
    if not names:
        raise StatementError(
            f"{act.verb} needs a name for the new image",
            code="operand",
            span=act.span,
            hints=(f"example: {act.verb} … as team/app:2",),
        )
    return parse_tag_name(names[0])
