"""The names of the module `imq`: tables, verbs and functions from the engine's declarations, and the Python API."""

from __future__ import annotations

import builtins
from functools import partial

from imq.engine.actions import VERBS
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.predicates import PREDICATES
from imq.engine.catalog.tables import TABLES
from imq.grammar import errors
from imq.grammar.record import TYPE_CHECKING

from . import expressions, queries, statements
from .literals import Bytes, Misuse, Node
from .statements import python_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from imq.engine.actions.verb import Verb
    from imq.engine.catalog.functions import Aggregate, Function
    from imq.engine.catalog.predicates import Predicate

SIZES = {
    "kB": Bytes(10**3), "MB": Bytes(10**6), "GB": Bytes(10**9), "TB": Bytes(10**12),
    "KiB": Bytes(2**10), "MiB": Bytes(2**20), "GiB": Bytes(2**30), "TiB": Bytes(2**40),
}  # fmt: skip
"""Units to multiply with: `1.5 * GB`."""

CLASSES: dict[str, Any] = {
    "Expression": expressions.Expression,
    "Path": expressions.Path,
    "Reference": expressions.Reference,
    "Query": queries.Query,
    "Table": queries.Table,
    "Statement": statements.Statement,
    "Bytes": Bytes,
    "Misuse": Misuse,
}
"""The classes, for `isinstance` and annotations."""

WORDS: dict[str, Any] = {
    "field": expressions.Fields(),
    "ref": expressions.reference,
    "var": expressions.variable,
    "text": expressions.text,
    "table": queries.table,
    "any_": queries.any_,
    "no": queries.no,
    "explain": statements.explain,
    "dry_run": statements.dry_run,
    "let": statements.let,
    "view": statements.view,
    "use": statements.use,
    "include": statements.include,
    "on_error": statements.on_error,
    "assert_": statements.assert_,
    "set": statements.set_,
    "help": statements.help_,
}
"""The words of the language that are not tables, verbs or functions."""

LAZY = {
    "connect": "connection",
    "Connection": "connection",
    "Result": "results",
    "Row": "results",
    "ActionFailed": "results",
}
"""Names that run statements, and the modules that are imported when they are first used."""

ERRORS: dict[str, type[errors.ImqError]] = {
    name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.ImqError)
}
"""Every error class of imq."""


def functions() -> dict[str, Function | Aggregate]:
    """Return the public functions and aggregates, by their Python names."""
    aggregates: dict[str, Function | Aggregate] = {python_name(name): one for name, one in AGGREGATES.items()}
    return {python_name(name): one for name, one in FUNCTIONS.items() if not one.is_internal} | aggregates


def predicates() -> dict[str, Predicate]:
    """Return the predicates of several words, by their Python names. Predicates of one word are fields."""
    return {python_name(words): phrase for words, phrase in PREDICATES.items() if " " in words}


def all_names() -> dict[str, Callable[[], Any]]:
    """Return every public name of the module `imq`, with a function that returns its value.

    A name that is also a builtin of Python, such as `sum`, has an alias with an underscore, to be imported by name.
    """
    makers: dict[str, Callable[[], Any]] = {}
    for values in (SIZES, CLASSES, WORDS, ERRORS):
        makers |= {name: partial(_identity, value) for name, value in values.items()}
    makers |= {name: partial(queries.table, name) for name in TABLES}
    makers |= {python_name(name): partial(_make_verb, one) for name, one in VERBS.items()}
    makers |= {name: partial(_make_function, declared) for name, declared in functions().items()}
    makers |= {name: partial(_make_predicate, declared) for name, declared in predicates().items()}
    makers |= {name: partial(_import_lazily, name) for name in LAZY}
    return makers | {f"{name}_": make for name, make in makers.items() if hasattr(builtins, name)}


def _identity(value: Any) -> Any:
    return value


def _make_verb(declared: Verb) -> Callable[..., statements.Statement]:
    options = ", ".join(map(python_name, declared.options))
    operands = f"\n\nOperands: {declared.operand.value}." + (f" Options: {options}." if options else "")
    doc = f"{declared.doc}{operands}\n\nIn text: `{declared.example}`"
    return statements.verb(declared.name, declared.options, doc)


def _make_function(declared: Function | Aggregate) -> Callable[..., expressions.Expression]:
    def function(
        *arguments: expressions.Value, distinct: bool = False, per: queries.Keys = ()
    ) -> expressions.Expression:
        return expressions.call(declared.name, *arguments, distinct=distinct, per=per)

    function.__name__ = function.__qualname__ = python_name(declared.name)
    function.__doc__ = f"Return {declared.doc}."
    return function


def _make_predicate(declared: Predicate) -> Any:
    if not declared.parameter:
        return expressions.predicate(declared.words)

    def condition(argument: Any) -> expressions.Expression:
        return expressions.predicate(declared.words, argument, names=declared.parameter == "an image")

    condition.__name__ = condition.__qualname__ = python_name(declared.words)
    condition.__doc__ = f"Whether {declared.doc}: `{declared.example}` in text."
    return condition


def _import_lazily(name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(f"imq.api.{LAZY[name]}"), name)


def resolve_name(name: str) -> Any:
    """Return the value of `imq.NAME`. Raises `AttributeError` with the closest name for an unknown one."""
    known = all_names()
    if name in known:
        return known[name]()
    advice = errors.closest_hint(name, known)
    raise AttributeError(f'module "imq" has no attribute "{name}"' + (f"; {advice}" if advice else ""))


__all__ = [
    "CLASSES",
    "ERRORS",
    "LAZY",
    "SIZES",
    "WORDS",
    "Node",
    "all_names",
    "functions",
    "predicates",
    "resolve_name",
]
