"""The action that copies an image between registries. Adding a tag in a registry is also a copy."""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.query.binder import require_choice
from imq.engine.sources.action import Outcome, RegistryWrite
from imq.engine.sources.action_options import bind_whole_rows, get_option_values
from imq.engine.sources.row_templates import render_rows
from imq.grammar.errors import InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.platform import Platform
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Copy(RegistryWrite):
    """Copies the image `source` to `target`. Without `platforms`, an index is copied with all its images.

    With `referrers`, the manifests whose subject is the image are copied too.
    """

    source: Reference
    target: Reference
    platforms: tuple[Platform, ...] = ()
    referrers: bool = False

    def describe(self) -> Outcome:
        """Return the target with the source."""
        platforms = f" for {', '.join(map(str, self.platforms))}" if self.platforms else ""
        referrers = " with referrers" if self.referrers else ""
        return Outcome("copy", str(self.target), note=f"from {self.source}{platforms}{referrers}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Copy the image without storing it locally."""
        from imq.engine.registry.transfer.copy import copy

        copied = copy(
            context.get_client(),
            self.source,
            self.target,
            self.platforms,
            context.progress,
            jobs=context.jobs,
            fetcher=context.get_image_reader(),
            referrers=self.referrers,
        )
        for warning in (*copied.warnings, *context.take_mirror_warnings()):
            context.progress.warn(warning)
        notes = [f"digest: {copied.manifest.digest}"] if copied.changed else ["it exists already"]
        if self.referrers:
            notes.append(f"{copied.referrer_count} attached artifact{'' if copied.referrer_count == 1 else 's'}")
        if copied.skipped_layers:
            notes.append(describe_skipped_layers(copied.skipped_layers))
        note = "; ".join([*notes, *copied.warnings])
        yield Outcome("copy", str(self.target), copied.id, copied.transferred_bytes, note=note)


def describe_skipped_layers(count: int) -> str:
    """Return the note about foreign layers that were not transferred."""
    return f"{count} foreign layer{'' if count == 1 else 's'} skipped"


def plan_tag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the copies that add tags to images in registries, one for each row, or one for a name.

    For a name, the result is empty unless both the name and the new tag include the same registry.
    """
    (name,) = get_option_values(act, "as", context)
    return _plan_tag_rows(act, name, context) if act.query is not None else _plan_tag_name(act, name, context)


def _plan_tag_rows(act: ast.ActionStatement, template: str, context: PlanContext) -> list[Action]:
    query = act.query
    assert query is not None
    select = bind_whole_rows(act, context)
    if select.table.name not in ("tags", "images"):
        raise StatementError(f"{act.verb} takes tags, not {select.table.name}", code="operand", span=query.span)
    require_choice(query, act.verb)
    copies: dict[Reference, Action] = {}
    for (text,), (name,) in render_rows(query, [template], context, ("name",)):
        target, source = parse_tag_name(text), Reference.parse(str(name))
        if copies.setdefault(target, Copy(source, target)) != Copy(source, target):
            raise StatementError(
                f"several images would get the name {target}",
                code="operand",
                span=act.span,
                hints=("use {{.Tag}} in it",),
            )
    return list(copies.values())


def _plan_tag_name(act: ast.ActionStatement, name: str, context: PlanContext) -> list[Action]:
    (text,) = context.literals(act.references)
    try:
        source, target = Reference.parse(text).with_default_tag(), parse_tag_name(name)
    except (InvalidReference, StatementError):
        return []
    have_registries = text.startswith(source.registry + "/") and name.startswith(target.registry + "/")
    return [Copy(source, target)] if have_registries and source.registry == target.registry else []
