"""The fields that an output format or template needs of whole rows."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from imq.engine.catalog.schema import Field, Table
    from imq.grammar.ast import Output


def list_output_fields(
    output: Output, table: Table, joins: Container[str], default: str, *, every: bool = False
) -> list[Field] | None:
    """Return the fields that whole rows of a table need for an output; None for the default columns.

    `joins` are the names of joined rows, and `default` is the format of an output without one. `every`: formats for
    programs have every field.
    """
    if output.template is not None:
        from .template.template import Template, expand_escapes, split_table_directive
        from .template_row import resolve_template_fields

        template = Template.parse(expand_escapes(split_table_directive(output.template)[1]))
        return resolve_template_fields(table, template.find_fields(), joins)
    name = output.format or default
    if name == "table":
        return None
    from .formats import get_format

    if name in ("tree", "dot", "svg") and table.tree_fields:
        return [table.get_field(field) for field in table.tree_fields]
    output_format = get_format(name)
    if not output_format.shows_all_fields and not (every and output_format.is_for_programs):
        return None
    more = (table.find_field(field) for field in output_format.more_fields)
    return [*table.output_fields, *(field for field in more if field is not None)]
