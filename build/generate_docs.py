"""Generates the Python stub, the reference and the pages of doc_pages.py from the declarations.

    python build/generate_docs.py

`dsl/__init__.pyi` declares `imq.NAME` for editors and type checkers. `dsl/docs/REFERENCE.md` documents every table,
field, verb, function, format and setting. A test fails when a generated file is out of date.
"""

from __future__ import annotations

import builtins
import os
import textwrap
from typing import TYPE_CHECKING

from imq.api import namespace
from imq.api.statements import FLAGS, LISTS, python_name
from imq.engine.actions import VERBS, OperandKind
from imq.engine.catalog.clauses import CLAUSES
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS, Function
from imq.engine.catalog.predicates import PREDICATES
from imq.engine.catalog.settings import SETTINGS
from imq.engine.catalog.tables import TABLES, DataType, TargetKind
from imq.engine.configuration.schema import SECTIONS
from imq.engine.help.help import CONFIGURATION
from imq.engine.render.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imq.engine.actions import Verb
    from imq.engine.catalog.functions import Aggregate
    from imq.engine.catalog.tables import Table
    from imq.engine.configuration.schema import Section

HERE = os.path.dirname(os.path.abspath(__file__))
STUB = os.path.join(HERE, os.pardir, "dsl", "__init__.pyi")
REFERENCE = os.path.join(HERE, os.pardir, "dsl", "docs", "REFERENCE.md")

# ---- the types of the Python form

STUB_HEAD = '''\
"""What `import imq` offers, by name: made by build/generate_docs.py from the declarations, and not to be edited.

Classes with an underscore are for type checkers alone: they say which fields there are.
"""

import os
from collections.abc import Sequence

{imports}

__version__: str

_Name = str | Expression
_Path = str | os.PathLike[str] | Expression

class _Map(Path):
    """A map, whose keys are attributes; `[…]` takes any text."""

    def __getattr__(self, key: str) -> Path: ...

'''


def stub() -> str:
    """Return the text of `dsl/__init__.pyi`."""
    relations = sorted({relation.table for table in TABLES.values() for relation in table.relations})
    parts = [STUB_HEAD.format(imports="\n".join(_imports()))]
    parts += [_relation_class(TABLES[name]) for name in relations]
    images = {name: field for field in TABLES["images"].fields for name in (field.name, *field.aliases)}
    body = "".join(_attribute(name, _kind(field.type), [field.doc]) for name, field in sorted(images.items()))
    parts.append(_class("_Image", "Reference", "An image that is named, and its fields.", body))
    parts.append(_class("_Fields", "", "The fields of all tables.", _all_fields()))
    parts += [
        "    def __getitem__(self, path: str | tuple[str, ...], /) -> Path: ...\n\n",
        "field: _Fields\n",
        _quoted('Where fields come from: `f.size`, `f.label.env`, `f["label", "a.b"]`.'),
        "def ref(name: _Name, /) -> _Image:\n",
        "    "
        + _quoted('Return an image by its name, whose fields can be compared with: `imq.ref("redis:7").created`.'),
        "    ...\n",
    ]
    for name, table in TABLES.items():
        parts += [f"{name}: Table\n", _quoted(table.doc)]
    parts += [f"{name}: Bytes\n" for name in namespace.SIZES]
    parts += [_verb_function(verb, name) for verb in VERBS.values() for name in _python_names(verb.name)]
    parts += [
        _function(one, name) for key, one in namespace.functions().items() for name in _python_names(one.name, key)
    ]
    for name, phrase in namespace.predicates().items():
        doc = f"Whether {phrase.doc}: `{phrase.example}` in text."
        if not phrase.parameter:
            parts += [f"{name}: Expression\n", _quoted(doc)]
            continue
        kind = "_Name | Reference" if phrase.parameter == "an image" else "Value"
        parts.append(_def(name, [f"{phrase.parameter.split()[-1]}: {kind}", "/"], "Expression", doc))
    return "".join(parts)


def _imports() -> Iterator[str]:
    """Yield the imports of what is written by hand, each under its public names."""
    given = {**namespace.CLASSES, **namespace.WORDS}
    homes: dict[str, list[str]] = {}
    for name, value in given.items():
        if name in ("field", "ref"):  # whose types the declarations tell
            continue
        for said in _python_names(name, name):
            homes.setdefault(value.__module__, []).append(f"{value.__name__} as {said}")
    for name, module in namespace.LAZY.items():
        homes.setdefault(f"imq.api.{module}", []).append(f"{name} as {name}")
    homes["imq.grammar.errors"] = [f"{name} as {name}" for name in namespace.ERRORS]
    homes["imq.api.expressions"] += ["Value as Value"]
    for module, imported in sorted(homes.items()):
        lines = "".join(f"    {one},\n" for one in sorted(set(imported)))
        yield f"from {module} import (\n{lines})"


def _python_names(name: str, said: str = "") -> tuple[str, ...]:
    """Return what something is called in Python: with an underscore too, when it would hide a name of Python's own."""
    said = said or python_name(name)
    return (said, f"{said}_") if hasattr(builtins, said) else (said,)


def _kind(kind: DataType) -> str:
    return "_Map" if kind is DataType.MAP else "Path"


def _relation_class(table: Table) -> str:
    body = "".join(_attribute(field.name, _kind(field.type), [field.doc]) for field in table.fields)
    return _class(f"_{table.name.title()}", "Path", f"A relation to {table.name}, and their fields.", body)


def _all_fields() -> str:
    """Return the attributes of `f`: each name once, whatever the tables that have it."""
    kinds: dict[str, str] = {}
    docs: dict[str, list[str]] = {}
    for table in TABLES.values():
        for relation in table.relations:
            kinds[relation.name] = f"_{relation.table.title()}"
            docs.setdefault(relation.name, []).append(f"{table.name}: {relation.doc}")
        for field in table.fields:
            for name in (field.name, *field.aliases):
                kinds.setdefault(name, _kind(field.type))
                docs.setdefault(name, []).append(f"{table.name}: {field.doc}")
    for words, phrase in PREDICATES.items():
        if " " not in words:
            kinds.setdefault(words, "Expression")
            docs.setdefault(words, []).append(phrase.doc)
    return "".join(_attribute(name, kinds[name], docs[name]) for name in sorted(kinds))


def _class(name: str, base: str, doc: str, body: str) -> str:
    head = f"class {name}({base}):\n" if base else f"class {name}:\n"
    return f"{head}    {_quoted(doc)}\n{body}\n"


def _attribute(name: str, kind: str, docs: Iterable[str]) -> str:
    told = dict.fromkeys(docs)
    return f"    {name}: {kind}\n    {_quoted('; '.join(told))}"


def _quoted(text: str) -> str:
    """Return a docstring on lines of its own."""
    text = text.replace("\\", "\\\\")
    return f'"""{text}{" " if text.endswith(chr(34)) else ""}"""\n'


def _def(name: str, parameters: Iterable[str], gives: str, doc: str) -> str:
    return f"def {name}({', '.join(parameters)}) -> {gives}:\n    {_quoted(doc)}    ...\n"


def _verb_function(verb: Verb, name: str) -> str:
    operands = {OperandKind.NOTHING: "", OperandKind.PATHS: "*what: _Path"}.get(verb.operand, "*what: _Name | Query")
    options = []
    if verb.all:
        options.append("all: bool = ...")
    for option in verb.options:
        kind = "bool" if option in FLAGS else "_Path | Sequence[_Path] | None" if option in LISTS else "_Path | None"
        options.append(f"{python_name(option)}: {kind} = ...")
    first = [operands] if operands else ["*"] if options else []
    return _def(name, [*first, *options], "Statement", f"{verb.doc} In text: `{verb.example}`")


PARAMETERS = {DataType.NUMBER: "number", DataType.TIME: "time", DataType.LIST: "items", DataType.BOOLEAN: "condition"}


def _parameters(function: Function) -> list[str]:
    """Return the names of a function's arguments, from their kinds."""
    said: list[str] = []
    for kinds in function.parameters:
        name = PARAMETERS.get(kinds[0], "text") if kinds else "value"
        count = sum(one.rstrip("_23456789") == name for one in said)
        said.append(f"{name}_{count + 1}" if count else name)
    return said


def _function(one: Function | Aggregate, name: str) -> str:
    if not isinstance(one, Function):
        default = " = ..." if one.is_argument_optional else ""
        return _def(name, [f"value: Value{default}", "/", "*", "distinct: bool = ..."], "Expression", f"{one.doc}.")
    said = _parameters(one)
    required = len(said) - one.optional_count
    parameters = [f"{word}: Value{'' if at < required else ' = ...'}" for at, word in enumerate(said)]
    if parameters:
        parameters.append("/")
    if one.is_variadic:
        parameters.append("*more: Value")
    return _def(name, parameters, "Expression", f"{one.doc}.")


# ---- the reference page

HEAD = """\
# Reference

Made by `build/generate_docs.py` from the declarations in `engine/`; not to be edited. `imq help NAME` tells the same.
Case does not matter in keywords and names, nor do underscores in the names of fields.

"""
PYTHON = """\
## In Python

`import imq` offers every table, verb, function and sentence form of this page under its own name: blanks become
underscores, and a word that Python keeps to itself gets one behind it (`imq.import_`, `as_=`, `imq.if_`, `.in_(…)`).

| in text | in Python, with `from imq import images, layers, field as f, GB` |
|---|---|
| `images where dangling and size > 1GB` | `images.where(f.dangling & (f.size > 1 * GB))` |
| `not`, `or` | `~`, <code>&#124;</code> |
| `tag in (latest, stable)` | `f.tag.in_(["latest", "stable"])` |
| `between`, `like`, `has`, `is unknown` | `.between(a, b)`, `.like(g)`, `.has(x)`, `.is_unknown()` |
| `label.env`, `label."a.b"`, `base.name` | `f.label.env`, `f["label", "a.b"]`, `f.base.name` |
| `any layers where size > 1GB`, `no containers` | `f.layers.any(f.size > 1 * GB)`, `f.containers.none()` |
| `created of redis:7`, `$days` | `imq.ref("redis:7").created`, `imq.var("days")` |
| `layers of (images where …) in store` | `layers.of(images.where(…)).in_("store")` |
| `order by size desc limit 3 per repository` | `.order_by(f.size.desc()).limit(3, per=f.repository)` |
| `except newest 3`, `until total size <= 16GB` | `.except_newest(3)`, `.until(total_size="16GB")` |
| `select name, sum(size) as total`, `count` | `.select(f.name, total=imq.sum(f.size))`, `.count()` |
| `union`, `except`, `intersect`, `… by name` | <code>&#124;</code>, `-`, `&`, `.union(other, by=f.name)` |
| `(images limit 5) where dangling` | `images.limit(5).as_table().where(f.dangling)` |
| `as json`, `format "{{.ID}}"` | `.as_("json")`, `.format("{{.ID}}")` |
| `rm app:1 force`, `dry run …`, `explain …` | `imq.rm("app:1", force=True)`, `imq.dry_run(…)`, `imq.explain(…)` |
| `let`, `view`, `use`, `include`, `assert`, `set` | `imq.let(…)`, … `imq.assert_(…)`, `imq.set(…)` |

`imq.connect()` gives a connection; calling it with a text or an object runs it, `stream(query)` yields rows as they are
found. A row has attributes and keys: sizes are ints that print as docker prints them, times are aware `datetime`s in
UTC, durations `timedelta`s, what is unknown is None.
"""


def reference() -> str:
    """Return the text of `dsl/docs/REFERENCE.md`."""
    sections = [
        HEAD,
        "## Clauses and statements\n",
        _table(
            ("", "written", "for", "such as"),
            ((c.name, _code(c.syntax), c.doc, _code(c.example)) for c in CLAUSES.values()),
        ),
        "## Tables\n",
        *(_table_section(table) for table in TABLES.values()),
        "## Sentence forms\n",
        _table(
            ("", "takes", "holds when", "such as"),
            ((_code(p.words), p.parameter, p.doc, _code(f"images where {p.example}")) for p in PREDICATES.values()),
        ),
        "## Functions\n",
        _table(("", "gives", "is"), (_function_row(one) for one in FUNCTIONS.values() if not one.is_internal)),
        "Of the rows of a group, or of all:\n",
        _table(
            ("", "gives", "is"),
            ((_code(f"{a.name}(…)"), _gives(a, "what it is of"), a.doc) for a in AGGREGATES.values()),
        ),
        "## Verbs\n",
        *(_verb_section(verb) for verb in VERBS.values()),
        "## Output forms\n",
        _table(("", ""), ((_code(f"as {form.name}"), form.doc) for form in FORMATS.values())),
        "## Settings\n",
        _table(
            ("", "may be", "at first", "for"),
            (
                (
                    _code(s.name),
                    " ".join(map(_code, s.choices))
                    or ("a size" if s.is_size else "a duration" if s.is_duration else "a number"),
                    s.default,
                    s.doc,
                )
                for s in SETTINGS.values()
            ),
        ),
        "## Configuration\n",
        CONFIGURATION,
        *(_section(section) for section in SECTIONS.values()),
        PYTHON,
    ]
    return "\n".join(sections)


def _section(section: Section) -> str:
    title = f"`[{section.name}{'.NAME' if section.has_named_tables else ''}]`: " if section.name else ""
    rows = ((_code(key.name), key.type.value, key.default, key.doc) for key in section.keys)
    lines = [f"{title}{section.doc}\n", f"```toml\n{section.example}\n```\n"]
    return "\n".join([*lines, _table(("key", "may be", "at first", "is for"), rows)])


def _table_section(table: Table) -> str:
    rows = (
        (
            ", ".join(map(_code, (field.name, *field.aliases))),
            field.type.value,
            " ".join(_code("{{." + name + "}}") for name, _ in field.docker_placeholders),
            field.doc,
        )
        for field in table.fields
    )
    takes = f" `of` takes {table.target.value}." if table.target is not TargetKind.NOTHING else ""
    lines = [f"### {table.name}\n", f"{table.doc}{takes}\n"]
    if table.fields:
        lines.append(_table(("field", "is", "in templates also", "tells"), rows))
    if table.default_columns:
        order = ", ".join(key[1:] + " desc" if key.startswith("-") else key for key in table.order)
        lines.append(
            f"Shown: {', '.join(table.default_columns)}." + (f" In the order of {order}." if order else "") + "\n"
        )
    if table.relations:
        told = ((_code(relation.name), relation.table, relation.doc) for relation in table.relations)
        lines.append(_table(("relation", "to", "tells"), told))
    return "\n".join(lines)


def _verb_section(verb: Verb) -> str:
    lines = [f"### {verb.name}\n", f"{verb.doc}\n", f"    {verb.example}\n"]
    said = [f"Takes {verb.operand.value}."]
    if verb.options:
        said.append(f"Options: {', '.join(map(_code, verb.options))}.")
    if verb.needs_confirmation:
        said.append("It is confirmed before it is done.")
    if verb.docker_differences:
        said.append(f"Beside docker: {verb.docker_differences}")
    return "\n".join([*lines, textwrap.fill(" ".join(said), 120) + "\n"])


def _function_row(one: Function) -> tuple[str, str, str]:
    said = _parameters(one)
    required = len(said) - one.optional_count
    shown = ", ".join(said[:required]) + "".join(f"[, {word}]" for word in said[required:])
    return _code(f"{one.name}({shown}{', …' if one.is_variadic else ''})"), _gives(one, "what its value is"), one.doc


def _gives(one: Function | Aggregate, alike: str) -> str:
    return one.returns.value if one.returns is not None else alike


def _code(text: str) -> str:
    """Return code for a cell, where a `|` would part it."""
    if "|" in text:
        for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;")):
            text = text.replace(sign, entity)
        return f"<code>{text}</code>"
    return f"`{text}`"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def main() -> None:
    """Write all files."""
    import doc_pages
    import verb_index

    verb_index.write_verb_index()  # first: the pages list the verbs
    made = ((os.path.join(os.path.dirname(STUB), name), make()) for name, make in doc_pages.PAGES.items())
    for path, text in ((STUB, stub()), (REFERENCE, reference()), *made):
        with open(path, "w", encoding="utf-8") as target:
            target.write(text)
        print(os.path.relpath(path))


if __name__ == "__main__":
    main()
