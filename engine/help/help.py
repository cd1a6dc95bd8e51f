"""The pages of `help`, made from the declarations in the catalog and in the verbs."""

from __future__ import annotations

from imq.engine.actions import VERBS
from imq.engine.catalog.clauses import CLAUSES
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.operators import OPERATORS, OTHER_NAMES
from imq.engine.catalog.predicates import FOUND, PREDICATES
from imq.engine.catalog.settings import SETTINGS
from imq.engine.catalog.tables import TABLES
from imq.engine.configuration.schema import SECTIONS
from imq.engine.render.formats import FORMATS
from imq.engine.render.text_table import COLUMN_GAP, align_columns
from imq.grammar.errors import UnknownName, closest_hint
from imq.grammar.record import TYPE_CHECKING

from .topics import GET_STARTED, TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.actions.verb import Verb
    from imq.engine.catalog.predicates import Predicate
    from imq.engine.catalog.tables import Field, Table

    from .topics import Examples, Topic

_MAX_WIDTH = 80
"""Width of a line, in columns."""
_FILLED_WIDTH = 60
"""The shortest line of a filled paragraph, except its last one, in columns."""
_EXAMPLE_WIDTH = 44
"""Width of the column of statements next to their descriptions."""
_MIN_COLUMN_WIDTH = 16
"""Minimum width of the last column of a table."""

OVERVIEW = """\
A query:    [nonempty] TABLE [of IMAGE] [join ROWS as NAME on …]
            [where …] [group by …] [having …]
            [order by … [desc]] [limit N [per …]] [skip N [per …]]
            [except newest N [per …]] [select … | count]
            [as FORMAT | format TEMPLATE]
            QUERY union | except | intersect QUERY [by …]      (QUERY) where …
An action:  VERB IMAGE, …   or   VERB images where …

In conditions: and or not ( )   = != < <= > >=   like GLOB   matches REGEX
  in (…)   in (QUERY)   between … and …   is known   is unknown   has
  any RELATION where …   no RELATION   FIELD of IMAGE   label.KEY = VALUE
  created before | after | since IMAGE or DATE or 30d ago   created within 30d
  dangling   in use   older than 30d   newer than 2 weeks   based on IMAGE
  shares layers with IMAGE   has label KEY   has layer DIGEST
  like and matches on a list or map: any of its strings matches:
  env like "*TOKEN*=*"
In scripts: let   $NAME   view   use   include   on error   assert   explain
  dry run   set
"""


CONFIGURATION = """\
Configuration files are TOML. The user's file is --config FILE, or $IMQ_CONFIG,
or imq/config.toml in $XDG_CONFIG_HOME (default ~/.config). Its keys override
those of the system file, /etc/imq/config.toml; lists are replaced, not merged.
The environment and the command line override both files. --no-config ignores
both. Relative paths start at the folder of the file, and ~ is the home folder.
The files never contain secrets, they only refer to them.
"""


def format_help(words: tuple[str, ...]) -> str:
    """Return the help on a topic, without words the overview. Raises `UnknownName` for an unknown topic."""
    if not words:
        return f"{_format_start()}\n{OVERVIEW}\n{_format_topic_list()}"
    topic_name = " ".join(words).lower()
    for topic in (topic_name, words[0].lower()):  # `help older than`, `help order by`
        if parts := [part for part in _describe_topic(topic) if part]:
            return wrap_lines("\n".join(parts))
    raise UnknownName(
        f'unknown help topic "{topic_name}"',
        code="unknown-topic",
        hints=(closest_hint(topic_name, list_topics()), "help lists the topics"),
    )


def list_topics() -> list[str]:
    """Return every topic of `help`."""
    fields = (name for table in TABLES.values() for field in table.fields for name in (field.name, *field.aliases))
    relations = (relation.name for table in TABLES.values() for relation in table.relations)
    topics = (
        *TOPICS,
        "configuration",
        *TABLES,
        *VERBS,
        *_list_functions(),
        *AGGREGATES,
        *PREDICATES,
        *CLAUSES,
        *OPERATORS,
        *OTHER_NAMES,
        *FORMATS,
        *SETTINGS,
        *_GROUPS,
        *fields,
        FOUND.name,
        *relations,
    )
    return list(dict.fromkeys(topics))


def _describe_topic(topic: str) -> Iterator[str]:
    """Yield the help on a name, which may be a table, a field and more at once."""
    if topic in TOPICS:
        yield _describe_subject(TOPICS[topic])
    if topic == "configuration":
        yield _describe_configuration()
    if topic in TABLES:
        yield _describe_table(TABLES[topic])
    if topic in VERBS:
        yield _describe_verb(VERBS[topic])
    descriptions: dict[str, list[str]] = {}
    for table in TABLES.values():
        for field in table.fields:
            if topic in (field.name, *field.aliases):
                descriptions.setdefault(_describe_field(field), []).append(f"{table.name}.{field.name}")
    if topic == FOUND.name:
        descriptions[_describe_field(FOUND)] = [f"{name}.{topic}" for name in ("images", "tags", "containers")]
    yield "".join(f"{', '.join(aliases)}{text}\n" for text, aliases in descriptions.items())
    yield "".join(
        f"{relation.name} of each of the {table.name}: {relation.doc}\n"
        for table in TABLES.values()
        for relation in table.relations
        if topic == relation.name
    )
    if topic in _list_functions() or topic in AGGREGATES:
        yield f"{format_signature(topic)}: {(FUNCTIONS.get(topic) or AGGREGATES[topic]).doc}\n"
    if topic in PREDICATES:
        predicate = PREDICATES[topic]
        yield f"{format_predicate(predicate)}: {predicate.doc}\n  Example: images where {predicate.example}\n"
    operator = OTHER_NAMES.get(topic, topic)
    for clause in (CLAUSES.get(topic), OPERATORS.get(operator)):
        if clause is not None:
            yield f"{clause.syntax}\n  {clause.doc}\n  Example: {clause.example}\n"
    if topic in FORMATS:
        yield f"as {topic}: {FORMATS[topic].doc}\n"
    if topic in SETTINGS:
        setting = SETTINGS[topic]
        yield f"set {topic} = {setting.syntax}: {setting.doc} (default {setting.default})\n"
    if topic in _GROUPS:
        yield _wrap_last_column([name, _first_sentence(doc)] for name, doc in _GROUPS[topic]())


def _first_sentence(doc: str) -> str:
    return doc.partition(". ")[0].removesuffix(".")


_GROUPS: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
    "tables": lambda: ((table.name, table.doc) for table in TABLES.values()),
    "verbs": lambda: ((name, VERBS[name].doc) for name in sorted(VERBS)),
    "clauses": lambda: ((clause.name, clause.doc) for clause in CLAUSES.values()),
    "operators": lambda: ((operator.name, operator.doc) for operator in OPERATORS.values()),
    "predicates": lambda: ((format_predicate(one), one.doc) for one in PREDICATES.values()),
    "functions": lambda: (
        (format_signature(name), (FUNCTIONS.get(name) or AGGREGATES[name]).doc)
        for name in sorted([*_list_functions(), *AGGREGATES])
    ),
    "formats": lambda: ((name, one.doc) for name, one in FORMATS.items()),
    "settings": lambda: ((name, one.doc) for name, one in SETTINGS.items()),
}
"""The names in each line of the overview's list, with their descriptions."""


def _format_start() -> str:
    """Return the beginning of the overview: the first commands, then the pages about subjects."""
    subjects = [[f"help {topic.name}", topic.summary] for topic in TOPICS.values()]
    return (
        "imq queries container images and acts on the results.\n\nGet started:\n"
        f"{_format_examples(GET_STARTED)}\n  imq demo opens a session on a sample store, imq help TOPIC is more:\n\n"
        f"{''.join('  ' + line for line in align_columns(subjects))}"
    )


def _format_examples(examples: Examples) -> str:
    """Return statements with their descriptions next to them, or below those that are too long."""
    lines = []
    for statement, description in examples:
        if len(statement) < _EXAMPLE_WIDTH and len(description) <= _MAX_WIDTH - _EXAMPLE_WIDTH - 2:
            lines.append(f"  {statement:<{_EXAMPLE_WIDTH}}{description}\n")
        else:
            lines.append(f"  {statement}\n      {description}\n")
    return "".join(lines)


def _describe_subject(topic: Topic) -> str:
    from textwrap import fill

    parts = []
    for paragraph in topic.text.strip("\n").split("\n\n"):
        is_layout = "   " in paragraph
        parts.append(paragraph if is_layout else fill(" ".join(paragraph.split()), _MAX_WIDTH))
    if topic.name == "templates":
        from imq.engine.render.template.functions import FUNCTIONS as TEMPLATE_FUNCTIONS

        names = ", ".join(sorted(TEMPLATE_FUNCTIONS))
        parts.append(fill(f"Functions: {names}.", _MAX_WIDTH, subsequent_indent="  "))
    text = "\n\n".join(parts)
    return f"{topic.name}: {topic.summary}\n\n{text}\n\nExamples:\n{_format_examples(topic.examples)}"


def _describe_configuration() -> str:
    """Return the help on the configuration files, table by table."""
    parts = [f"{CONFIGURATION}\n"]
    for section in SECTIONS.values():
        title = f"[{section.name}{'.NAME' if section.has_named_tables else ''}]" if section.name else "top level"
        rows = [
            [key.name, key.type.value, f"{key.doc}{f' ({key.default})' if key.default else ''}"] for key in section.keys
        ]
        example = "".join(f"    {line}\n" for line in section.example.splitlines())
        parts.append(f"{title}: {section.doc}\n{_wrap_last_column(rows)}  Example:\n{example}")
    return "\n".join(parts)


def _list_functions() -> list[str]:
    return [name for name, function in FUNCTIONS.items() if not function.is_internal]


def format_signature(name: str) -> str:
    """Return the signature of a function, its parameters by their types."""
    function = FUNCTIONS.get(name)
    if function is None:
        return f"{name}([distinct] VALUE)"
    types = [" or ".join(data_type.name for data_type in types) or "ANY" for types in function.parameters]
    required_count = len(types) - function.optional_count
    parameters = ", ".join(types[:required_count]) + "".join(f"[, {data_type}]" for data_type in types[required_count:])
    return f"{name}({parameters}{', …' if function.is_variadic else ''})".lower()


def format_predicate(predicate: Predicate) -> str:
    """Return how a predicate is written, its operand in capitals."""
    return f"{predicate.words} {predicate.parameter.removeprefix('a ').removeprefix('an ').upper()}".rstrip()


def _format_topic_list() -> str:
    rows = [
        ["tables", ", ".join(TABLES)],
        ["verbs", ", ".join(sorted(VERBS))],
        ["clauses", ", ".join(CLAUSES)],
        ["operators", ", ".join(OPERATORS)],
        ["predicates", ", ".join(PREDICATES)],
        ["functions", ", ".join(sorted([*_list_functions(), *AGGREGATES]))],
        ["formats", ", ".join(FORMATS)],
        ["settings", ", ".join(SETTINGS)],
        ["files", "configuration"],
    ]
    from textwrap import wrap

    max_width = _MAX_WIDTH - max(len(word) for word, _ in rows) - len(COLUMN_GAP)
    lines = [
        [word if not position else "", line]
        for word, aliases in rows
        for position, line in enumerate(wrap(aliases, max_width))
    ]
    return "".join(align_columns(lines)) + '\n"help NAME" describes each of them, and "help tables" lists the tables.\n'


def _describe_table(table: Table) -> str:
    rows = [[field.name, field.type.value, field.doc] for field in table.fields]
    rows += [[relation.name, f"{relation.table}", relation.doc] for relation in table.relations]
    return f"{table.name}: {table.doc}\n\n{_wrap_last_column(rows)}"


def _wrap_last_column(rows: Iterable[list[str]]) -> str:
    """Return aligned rows, with the last column wrapped."""
    from textwrap import wrap

    table = list(rows)
    used_width = (
        sum(max(len(row[position]) for row in table) + len(COLUMN_GAP) for position in range(len(table[0]) - 1))
        if table
        else 0
    )
    parts = []
    for row in table:
        first, *more = wrap(row[-1], max(_MAX_WIDTH - 2 - used_width, _MIN_COLUMN_WIDTH)) or [""]
        parts += [[*row[:-1], first], *([*[""] * (len(row) - 1), line] for line in more)]
    return "".join("  " + line for line in align_columns(parts))


def wrap_lines(text: str, width: int = _MAX_WIDTH) -> str:
    """Return a text with lines of at most `width` columns; in a table, cells continue below themselves."""
    import re
    from textwrap import wrap

    lines: list[str] = []
    for line in text.split("\n") if width >= _MAX_WIDTH else _join_paragraphs(text):
        if len(line) <= width:
            lines.append(line)
            continue
        start = len(line) - len(line.lstrip()) + 2
        if width < _MAX_WIDTH:
            cells = re.match(r"\s*\S.*\S\s{2,}(?=\S)", line)
            start = cells.end() if cells is not None else 0 if start == 2 else start
            if start > width - _MIN_COLUMN_WIDTH:
                start = 4
        lines += wrap(line, width, subsequent_indent=" " * start, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _join_paragraphs(text: str) -> list[str]:
    """Return the lines of a text with each filled paragraph as one line."""
    lines: list[str] = []
    length = 0
    for line in text.split("\n"):
        words = line.strip()
        indent = len(line) - len(line.lstrip())
        is_next = lines and length > _FILLED_WIDTH and words and "  " not in words and "  " not in lines[-1].strip()
        if is_next and indent >= len(lines[-1]) - len(lines[-1].lstrip()):
            lines[-1] += f" {words}"
        else:
            lines.append(line)
        length = len(line)
    return lines


def _describe_field(field: Field) -> str:
    aliases = f" (also: {', '.join(field.aliases)})" if field.aliases else ""
    placeholders = ", ".join("{{." + name + "}}" for name, _ in field.docker_placeholders)
    return f"{aliases}: {field.doc}. Type: {field.type.value}." + (
        f" In templates: {placeholders}." if placeholders else ""
    )


def _describe_verb(verb: Verb) -> str:
    options = f"\n  options: {', '.join(verb.options)}" if verb.options else ""
    confirmation = "\n  asks for confirmation" if verb.needs_confirmation else ""
    differences = f"\n  compared with docker: {verb.docker_differences}" if verb.docker_differences else ""
    usage = f"  takes: {verb.operand.value}{options}{confirmation}{differences}"
    return f"{verb.name}: {verb.doc}\n{usage}\n  Example: {verb.example}\n"
