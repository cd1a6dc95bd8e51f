"""The destinations of copies: `to` is a name, a host or namespace below which names are kept, or a template."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference
from imq.engine.sources.row_templates import is_template
from imq.grammar.errors import InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.sources.action import PlanContext

_FIELDS = ("name", "registry", "repository", "tag", "digest")
"""The fields of each source that a template can read."""


def resolve_destinations(sources: Sequence[Reference], text: str, context: PlanContext) -> list[Reference]:
    """Return the name that each source is to have.

    A text with a tag is the name itself, for one source. One without a tag is a host or a namespace (`mirror:5000/`,
    `mirror.local/team`), below which each source keeps its repository and its tag. A template is made for each.
    """
    if is_template(text):
        return _render_names(sources, text, context)
    if (place := parse_namespace(text)) is not None:
        return [add_namespace(place, source) for source in sources]
    if len(sources) != 1:
        raise StatementError(
            "one image can be copied to one name",
            code="operand",
            hints=("leave the tag out to keep the names: copy A, B to registry.local:5000/team",),
        )
    return [Reference.parse(text)]


def parse_namespace(text: str) -> str | None:
    """Return the host or namespace that a string names; None for the tagged name of one image."""
    if text.endswith("/") or _is_host(text):
        return text.rstrip("/")
    name = Reference.parse(text)
    if name.digest is not None:
        raise StatementError(f'"{text}" has a digest, and only a tag can be given', code="reference")
    return text if name.tag is None else None


def add_namespace(place: str, source: Reference) -> Reference:
    """Return the name of a source below a host or namespace, with the same repository and tag."""
    name = source.familiar_name
    if source.registry != DEFAULT_REGISTRY:
        name = source.repository
    selector = f":{source.tag}" if source.tag else f"@{source.digest}"
    return Reference.parse(f"{place}/{name}{selector}")


def _is_host(text: str) -> bool:
    """Whether a string without a slash is a host. `app:5000` is a name with a tag."""
    host = text.partition(":")[0]
    return "/" not in text and ("." in host or host == "localhost" or text.startswith("["))


def _render_names(sources: Sequence[Reference], text: str, context: PlanContext) -> list[Reference]:
    from imq.engine.catalog.tables import TABLES
    from imq.engine.render.template.template import Template
    from imq.engine.render.template_row import Row
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Column

    table = TABLES["images"]
    fields = [table.get_field(name) for name in _FIELDS]
    shown = tuple(Column(field.name, field.column_title, field.type, field) for field in fields)
    template = Template.parse(text)
    manner = DisplayOptions(context.scope.now, context.scope.zone)
    names = []
    for source in sources:
        values = (str(source), source.registry, source.familiar_name, source.tag, source.digest)
        name = Reference.parse(template.render(Row(shown, values, table, manner)))
        if name.digest is not None:
            raise InvalidReference(f"{str(name)!r} has a digest, and only a tag can be given")
        names.append(name if name.tag else name.replace(tag=source.tag).with_default_tag())
    return names
