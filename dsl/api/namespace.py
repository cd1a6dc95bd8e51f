"""What `imq.NAME` is: the tables, verbs and functions that the engine declares, and the Python form around them."""

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

    from imq.engine.actions import Verb
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
"""What can be told apart with isinstance, and named in annotations."""

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
"""The words of the language that no table, verb or function is."""

LAZY = {
    "connect": "connection",
    "Connection": "connection",
    "Result": "results",
    "Row": "results",
    "ActionFailed": "results",
}
"""What runs statements, and the modules that are loaded when it is asked for."""

ERRORS: dict[str, type[errors.ImqError]] = {
    name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.ImqError)
}
"""Every error that imq raises on purpose."""


def functions() -> dict[str, Function | Aggregate]:
    """Return the functions that statements have a use for, by their Python names."""
    found: dict[str, Function | Aggregate] = {python_name(name): one for name, one in AGGREGATES.items()}
    return {python_name(name): one for name, one in FUNCTIONS.items() if not one.is_internal} | found


def predicates() -> dict[str, Predicate]:
    """Return the sentence forms of several words, by their Python names: those of one word are fields."""
    return {python_name(words): phrase for words, phrase in PREDICATES.items() if " " in words}


def all_names() -> dict[str, Callable[[], Any]]:
    """Return every public name of the module `imq`, with what makes its value.

    A name of Python's own, such as `sum`, can be said with an underscore too, so that it can be imported by name.
    """
    made: dict[str, Callable[[], Any]] = {}
    for given in (SIZES, CLASSES, WORDS, ERRORS):
        made |= {name: partial(_identity, value) for name, value in given.items()}
    made |= {name: partial(queries.table, name) for name in TABLES}
    made |= {python_name(name): partial(_verb, one) for name, one in VERBS.items()}
    made |= {name: partial(_function, declared) for name, declared in functions().items()}
    made |= {name: partial(_predicate, declared) for name, declared in predicates().items()}
    made |= {name: partial(_import_lazily, name) for name in LAZY}
    return made | {f"{name}_": make for name, make in made.items() if hasattr(builtins, name)}


def _identity(value: Any) -> Any:
    return value


def _verb(declared: Verb) -> Callable[..., statements.Statement]:
    options = ", ".join(map(python_name, declared.options))
    told = f"\n\nIt takes {declared.operand.value}" + (f"; its options: {options}." if options else ".")
    return statements.verb(declared.name, declared.options, f"{declared.doc}{told}\n\nIn text: `{declared.example}`")


def _function(declared: Function | Aggregate) -> Callable[..., expressions.Expression]:
    def function(*arguments: expressions.Value, distinct: bool = False) -> expressions.Expression:
        return expressions.call(declared.name, *arguments, distinct=distinct)

    function.__name__ = function.__qualname__ = python_name(declared.name)
    function.__doc__ = f"Return {declared.doc}."
    return function


def _predicate(declared: Predicate) -> Any:
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
    """Return what `imq.NAME` is. Raises `AttributeError`, which names the nearest, for what there is not."""
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
