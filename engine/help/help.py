"""Help, made from the declarations: what can be asked, of what, and how."""

from __future__ import annotations

from imq.engine.actions import VERBS
from imq.engine.catalog.clauses import CLAUSES
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.predicates import PREDICATES
from imq.engine.catalog.settings import SETTINGS
from imq.engine.catalog.tables import TABLES
from imq.engine.configuration.schema import SECTIONS
from imq.engine.render.formats import FORMATS
from imq.engine.render.text_table import COLUMN_GAP, align_columns
from imq.grammar.errors import UnknownName, closest_hint
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imq.engine.actions import Verb
    from imq.engine.catalog.predicates import Predicate
    from imq.engine.catalog.tables import Field, Table

_WIDEST = 80
"""Columns of a line."""
_LEAST = 16
"""Columns that the last of a table has at least."""

OVERVIEW = """\
imq asks questions of container images and acts on the answers.

  images                                    every image, as docker shows them
  images where dangling                     those without a tag
  images where size > 1GB order by size desc
                                            the large ones, largest first
  images group by repository select repository, count, sum(size)
  rm images where older than 90d and not in use
                             remove them; dry run in front shows what would go

A query:    [nonempty] TABLE [of IMAGE] [where …] [group by …] [having …]
            [order by … [desc]] [limit N [per …]] [skip N [per …]]
            [except newest N [per …]] [select … | count]
            [as FORM | format TEMPLATE]
            QUERY union | except | intersect QUERY [by …]      (QUERY) where …
An action:  VERB IMAGE, …   or   VERB images where …

In conditions: and or not ( )   = != < <= > >=   like GLOB   matches REGEX
  in (…)   in (QUERY)   between … and …   is known   is unknown   has
  any RELATION where …   no RELATION   FIELD of IMAGE   label.KEY = VALUE
  created before | after | since IMAGE or DATE or 30d ago   created within 30d
  dangling   in use   older than 30d   newer than 2 weeks   based on IMAGE
  shares layers with IMAGE   has label KEY   has layer DIGEST
  of a list or a map, like and matches ask whether any of its texts does:
  env like "*TOKEN*=*"
In scripts: let   $NAME   view   use   include   on error   assert   explain
  dry run   set
"""


CONFIGURATION = """\
What is set for good stands in TOML files: --config FILE, else $IMQ_CONFIG, else
imq/config.toml in the folder $XDG_CONFIG_HOME (~/.config).
/etc/imq/config.toml lies below it: key by key the user's file wins, and a list
replaces the one below. The environment and the command line override both;
--no-config reads neither. Paths begin at the file, ~ is the home folder. A
secret is never written here, it is only referred to.
"""


def format_help(words: tuple[str, ...]) -> str:
    """Return the help for a topic; none: the overview. Raises `UnknownName` with the nearest topic."""
    if not words:
        return f"{OVERVIEW}\n{_format_topic_list()}"
    said = " ".join(words).lower()
    for topic in (said, words[0].lower()):  # `help older than`, `help order by`
        if parts := [part for part in _describe_topic(topic) if part]:
            return _wrap_lines("\n".join(parts))
    raise UnknownName(
        f'there is no help on "{said}"',
        code="unknown-topic",
        hints=(closest_hint(said, list_topics()), "help: the topics"),
    )


def list_topics() -> list[str]:
    """Return everything that `help` tells of."""
    fields = (name for table in TABLES.values() for field in table.fields for name in (field.name, *field.aliases))
    relations = (relation.name for table in TABLES.values() for relation in table.relations)
    known = (
        "configuration",
        *TABLES,
        *VERBS,
        *_list_functions(),
        *AGGREGATES,
        *PREDICATES,
        *CLAUSES,
        *FORMATS,
        *SETTINGS,
        *fields,
        *relations,
    )
    return list(dict.fromkeys(known))


def _describe_topic(topic: str) -> Iterator[str]:
    """Yield what there is to say of a name: it may be a table, a field and more at once."""
    if topic == "configuration":
        yield _describe_configuration()
    if topic in TABLES:
        yield _describe_table(TABLES[topic])
    if topic in VERBS:
        yield _describe_verb(VERBS[topic])
    told: dict[str, list[str]] = {}
    for table in TABLES.values():
        for field in table.fields:
            if topic in (field.name, *field.aliases):
                told.setdefault(_describe_field(field), []).append(f"{table.name}.{field.name}")
    yield "".join(f"{', '.join(names)}{text}\n" for text, names in told.items())
    yield "".join(
        f"{relation.name} of each of the {table.name}: {relation.doc}\n"
        for table in TABLES.values()
        for relation in table.relations
        if topic == relation.name
    )
    if topic in _list_functions() or topic in AGGREGATES:
        yield f"{format_signature(topic)}: {(FUNCTIONS.get(topic) or AGGREGATES[topic]).doc}\n"
    if topic in PREDICATES:
        phrase = PREDICATES[topic]
        yield f"{format_predicate(phrase)}: {phrase.doc}\n  such as: images where {phrase.example}\n"
    if topic in CLAUSES:
        clause = CLAUSES[topic]
        yield f"{clause.syntax}\n  {clause.doc}\n  such as: {clause.example}\n"
    if topic in FORMATS:
        yield f"as {topic}: {FORMATS[topic].doc}\n"
    if topic in SETTINGS:
        setting = SETTINGS[topic]
        yield f"set {topic} = {setting.syntax}: {setting.doc} (default {setting.default})\n"


def _describe_configuration() -> str:
    """Return the keys of the configuration file, table by table."""
    parts = [f"{CONFIGURATION}\n"]
    for section in SECTIONS.values():
        title = f"[{section.name}{'.NAME' if section.has_named_tables else ''}]" if section.name else "at the top"
        rows = [
            [key.name, key.type.value, f"{key.doc}{f' ({key.default})' if key.default else ''}"] for key in section.keys
        ]
        example = "".join(f"    {line}\n" for line in section.example.splitlines())
        parts.append(f"{title}: {section.doc}\n{_wrap_last_column(rows)}  such as:\n{example}")
    return "\n".join(parts)


def _list_functions() -> list[str]:
    return [name for name, function in FUNCTIONS.items() if not function.is_internal]


def format_signature(name: str) -> str:
    """Return how a function is called, its arguments by their kinds."""
    function = FUNCTIONS.get(name)
    if function is None:
        return f"{name}([distinct] VALUE)"
    kinds = [" or ".join(kind.name for kind in kinds) or "ANY" for kinds in function.parameters]
    least = len(kinds) - function.optional_count
    shown = ", ".join(kinds[:least]) + "".join(f"[, {kind}]" for kind in kinds[least:])
    return f"{name}({shown}{', …' if function.is_variadic else ''})".lower()


def format_predicate(phrase: Predicate) -> str:
    """Return how a predicate is written, its operand in capitals."""
    return f"{phrase.words} {phrase.parameter.removeprefix('a ').removeprefix('an ').upper()}".rstrip()


def _format_topic_list() -> str:
    rows = [
        ["tables", ", ".join(TABLES)],
        ["verbs", ", ".join(sorted(VERBS))],
        ["clauses", ", ".join(CLAUSES)],
        ["phrases", ", ".join(PREDICATES)],
        ["functions", ", ".join(sorted([*_list_functions(), *AGGREGATES]))],
        ["forms", ", ".join(FORMATS)],
        ["settings", ", ".join(SETTINGS)],
        ["files", "configuration"],
    ]
    from textwrap import wrap

    widest = _WIDEST - max(len(word) for word, _ in rows) - len(COLUMN_GAP)
    lines = [[word if not at else "", line] for word, names in rows for at, line in enumerate(wrap(names, widest))]
    return "".join(align_columns(lines)) + "\nhelp NAME tells more of each.\n"


def _describe_table(table: Table) -> str:
    rows = [[field.name, field.type.value, field.doc] for field in table.fields]
    rows += [[relation.name, f"{relation.table}", relation.doc] for relation in table.relations]
    return f"{table.name}: {table.doc}\n\n{_wrap_last_column(rows)}"


def _wrap_last_column(rows: Iterable[list[str]]) -> str:
    """Return rows in columns, the last of them in as many lines as it takes."""
    from textwrap import wrap

    table = list(rows)
    taken = sum(max(len(row[at]) for row in table) + len(COLUMN_GAP) for at in range(len(table[0]) - 1)) if table else 0
    parts = []
    for row in table:
        first, *more = wrap(row[-1], max(_WIDEST - 2 - taken, _LEAST)) or [""]
        parts += [[*row[:-1], first], *([*[""] * (len(row) - 1), line] for line in more)]
    return "".join("  " + line for line in align_columns(parts))


def _wrap_lines(text: str) -> str:
    """Return a text whose lines are no wider than a terminal; what is cut from one goes on below, further in."""
    from textwrap import wrap

    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        wide = len(line) > _WIDEST
        lines += wrap(line, _WIDEST, subsequent_indent=indent, break_long_words=False) if wide else [line]
    return "\n".join(lines)


def _describe_field(field: Field) -> str:
    names = f" (also: {', '.join(field.aliases)})" if field.aliases else ""
    shown = ", ".join("{{." + name + "}}" for name, _ in field.docker_placeholders)
    return f"{names}: {field.doc}. It is {field.type.value}." + (f" In templates: {shown}." if shown else "")


def _describe_verb(verb: Verb) -> str:
    options = f"\n  options: {', '.join(verb.options)}" if verb.options else ""
    asks = "\n  asks before it acts" if verb.needs_confirmation else ""
    differs = f"\n  beside docker: {verb.docker_differences}" if verb.docker_differences else ""
    return (
        f"{verb.name}: {verb.doc}\n  takes: {verb.operand.value}{options}{asks}{differs}\n  such as: {verb.example}\n"
    )
