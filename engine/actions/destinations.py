"""The destinations of copies. `to` is a name, a host or namespace that keeps repositories and tags, or a template."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.sources.namespaces import add_namespace, parse_namespace
from imq.engine.sources.row_templates import is_template
from imq.grammar.errors import InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.sources.action import PlanContext

_FIELDS = ("name", "registry", "repository", "tag", "digest")
"""The fields of a source image that a template can use."""


def resolve_destinations(sources: Sequence[Reference], text: str, context: PlanContext) -> list[Reference]:
    """Return the destination of each source.

    A destination with a tag is a complete name, for one source. Without a tag it is a host or a namespace
    (`mirror:5000/`, `mirror.local/team`), under which each source keeps its repository and tag. A template is rendered
    for each source.
    """
    if is_template(text):
        return _render_names(sources, text, context)
    if (namespace := parse_namespace(text)) is not None:
        return [add_namespace(namespace, source) for source in sources]
    if len(sources) != 1:
        raise StatementError(
            "a destination with a tag takes one image",
            code="operand",
            hints=("without a tag the names are kept: copy A, B to registry.local:5000/team",),
        )
    return [Reference.parse(text)]


def _render_names(sources: Sequence[Reference], text: str, context: PlanContext) -> list[Reference]:
    from imq.engine.catalog.tables import TABLES
    from imq.engine.render.template.template import Template
    from imq.engine.render.template_row import Row
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Column

    table = TABLES["images"]
    fields = [table.get_field(name) for name in _FIELDS]
    columns = tuple(Column(field.name, field.column_title, field.type, field) for field in fields)
    template = Template.parse(text)
    options = DisplayOptions(context.scope.now, context.scope.zone)
    names = []
    for source in sources:
        values = (str(source), source.registry, source.familiar_name, source.tag, source.digest)
        name = Reference.parse(template.render(Row(columns, values, table, options)))
        if name.digest is not None:
            raise InvalidReference(f"{str(name)!r} has a digest; a destination can only have a tag")
        names.append(name if name.tag else name.replace(tag=source.tag).with_default_tag())
    return names
