"""Help, made from the declarations: what can be asked, of what, and how."""

from __future__ import annotations

from imq.grammar.errors import UnknownName, nearest
from imq.grammar.record import TYPE_CHECKING

from .functions import AGGREGATES, FUNCTIONS
from .render.forms import FORMS, columns
from .settings import SETTINGS
from .tables import TABLES
from .verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tables import Field, Table
    from .verbs import Verb

OVERVIEW = """\
imq asks questions of container images and acts on the answers.

  images                                           every image, as docker shows them
  images where dangling                            those without a tag
  images where size > 1GB order by size desc       the large ones, largest first
  images group by repository select repository, count, sum(size)
  rm images where older than 90d and not in use    remove them; dry run in front shows what would go

A query:  TABLE [of IMAGE] [where …] [group by …] [having …] [order by … [desc]] [limit N [per …]] [skip N]
          [except newest N [per …]] [select … | count] [as FORM | format TEMPLATE]
An action: VERB IMAGE, …   or   VERB images where …

In conditions: and or not ( )   = != < <= > >=   like GLOB   in (…)   between … and …   is known, is unknown   has
  created before|after|since IMAGE or DATE or 30d ago   older than 30d   newer than 2 weeks   dangling   in use
  label.KEY = VALUE   has label KEY   FIELD of IMAGE
"""


def help_text(words: tuple[str, ...]) -> str:
    """Return the help for a topic; none: the overview. Raises `UnknownName` with the nearest topic."""
    if not words:
        return f"{OVERVIEW}\n{_names()}"
    topic = words[0].lower()
    if topic in TABLES:
        return _table(TABLES[topic])
    if topic in VERBS:
        return _verb(VERBS[topic])
    fields = [
        (table, field) for table in TABLES.values() for field in table.fields if topic in (field.name, *field.aliases)
    ]
    if fields:
        return "".join(f"{table.name}.{_field(field)}\n" for table, field in fields)
    for declared in (FUNCTIONS, AGGREGATES):
        if topic in declared:
            return f"{topic}(…): {declared[topic].doc}\n"
    if topic in FORMS:
        return f"as {topic}: {FORMS[topic].doc}\n"
    if topic in SETTINGS:
        setting = SETTINGS[topic]
        return f"set {topic} = {' | '.join(setting.choices) or 'N'}: {setting.doc} (default {setting.default})\n"
    known = [
        *TABLES,
        *VERBS,
        *FUNCTIONS,
        *AGGREGATES,
        *FORMS,
        *SETTINGS,
        *(f.name for t in TABLES.values() for f in t.fields),
    ]
    raise UnknownName(
        f'there is no help on "{topic}"', code="unknown-topic", hints=(nearest(topic, known), "help: the topics")
    )


def _names() -> str:
    rows = [
        ["tables", ", ".join(TABLES)],
        ["verbs", ", ".join(sorted(VERBS))],
        ["functions", ", ".join(sorted([*FUNCTIONS, *AGGREGATES]))],
        ["forms", ", ".join(FORMS)],
        ["settings", ", ".join(SETTINGS)],
    ]
    return "".join(columns(rows)) + "\nhelp NAME tells more of each.\n"


def _table(table: Table) -> str:
    rows = ([field.name, field.kind.value, field.doc] for field in table.fields)
    return f"{table.name}: {table.doc}\n\n{_lines(rows)}"


def _lines(rows: Iterable[list[str]]) -> str:
    return "".join("  " + line for line in columns(rows))


def _field(field: Field) -> str:
    names = f" (also: {', '.join(field.aliases)})" if field.aliases else ""
    shown = ", ".join("{{." + name + "}}" for name, _ in field.placeholders)
    return f"{field.name}{names}: {field.doc}. It is {field.kind.value}." + (
        f" In templates: {shown}." if shown else ""
    )


def _verb(verb: Verb) -> str:
    options = f"\n  options: {', '.join(verb.options)}" if verb.options else ""
    asks = "\n  asks before it acts" if verb.destroys else ""
    return f"{verb.name}: {verb.doc}\n  takes: {verb.takes.value}{options}{asks}\n  such as: {verb.example}\n"
