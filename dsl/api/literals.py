"""Python values as literals of the language, and the base class of all objects of the Python API.

A Python string becomes a bare word when it would be parsed as that one word, else a quoted string, so that no value can
change the meaning of a statement. Numbers and booleans have their own types in Python, so the string `"7"` is quoted.
"""

from __future__ import annotations

import os
import re
from datetime import date, timedelta

from imq.grammar import ast
from imq.grammar._lalr_tables import WORDS
from imq.grammar.errors import StatementError
from imq.grammar.lexer import begins_with_field, is_bare_word
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import unparse

if TYPE_CHECKING:
    from typing import NoReturn

    Scalar = str | bool | int | float | date | timedelta

_NUMBER_OR_BOOLEAN = re.compile(r"[+-]?\d+(\.\d+)?|true|false", re.IGNORECASE)
_UNITS = {
    "TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10,
}  # fmt: skip
_FRACTION_DIGITS = 9
"""The most digits after the point of a size. A size that needs more is written in a smaller unit."""


class Misuse(StatementError, TypeError):
    """A wrong use of the Python API, such as `and`, `or`, `not`, `in`, `if` or a loop on an unevaluated expression."""

    code = "python"


class Node:
    """A part of a statement as a Python object: `node` is its syntax tree, `str()` its text."""

    __slots__ = ("node",)

    node: ast.Node

    def __init__(self, node: ast.Node) -> None:
        self.node = node

    def __str__(self) -> str:
        return unparse(self.node)

    def __repr__(self) -> str:
        return f"<imq: {self}>"

    def equals(self, other: Node) -> bool:
        """Whether both have the same tree. `==` between expressions builds a condition instead.

        >>> from imq import field as f
        >>> (f.size > 1).equals(f.size > 1)
        True
        """
        return self.node == other.node

    def __bool__(self) -> NoReturn:
        raise Misuse(
            "a condition or query of imq has no truth value in Python",
            hints=(
                "use & for and, | for or, ~ for not, with each side in parentheses; .in_(…) for in",
                "for low < x < high: .between(low, high); for if: imq.if_(condition, then, otherwise)",
                "a session runs a query: session(query)",
            ),
        )

    if not TYPE_CHECKING:  # type checkers report loops and `in` when these methods do not exist

        def __iter__(self) -> NoReturn:
            raise Misuse("a query has no rows before a session runs it", hints=("for row in session(query): …",))

        def __contains__(self, _item: object) -> NoReturn:
            raise Misuse(
                "Python's `in` is not supported here",
                hints=("for a list or map: .has(…); for a value: .in_(…)",),
            )


class Bytes(float):
    """A whole number of bytes that prints with its unit: `1 * GB` prints as `1GB` and computes as 1000000000.

    It is a subclass of float, exact up to 9 PB, so that `1.5 * GB` is an instance too.

    >>> from imq import GB, MiB
    >>> str(1.5 * GB), str(300 * MiB), int(2 * GB)
    ('1.5GB', '300MiB', 2000000000)
    """

    __slots__ = ()

    def __str__(self) -> str:
        return format_size(int(self))

    __repr__ = __str__

    def __index__(self) -> int:
        return int(self)

    def __mul__(self, factor: float) -> Bytes:
        return self._rounded(float(self).__mul__(factor))

    __rmul__ = __mul__

    def __add__(self, other: float) -> Bytes:
        return self._rounded(float(self).__add__(other))

    __radd__ = __add__

    def __sub__(self, other: float) -> Bytes:
        return self._rounded(float(self).__sub__(other))

    @staticmethod
    def _rounded(size: float) -> Bytes:
        """Return a computed size in whole bytes; NotImplemented when the other operand was not a number."""
        return size if size is NotImplemented else Bytes(round(size))


def format_size(size: int) -> str:
    """Format a number of bytes exactly, in the unit that gives the shortest text: `1GB`, `1.5GiB`, `1001B`."""
    texts = [f"{size}B"]
    for unit, worth in _UNITS.items():
        whole, rest = divmod(abs(size), worth)
        fraction = f"{rest * 10**_FRACTION_DIGITS // worth:0{_FRACTION_DIGITS}d}"
        if whole and not rest * 10**_FRACTION_DIGITS % worth:
            texts.append(f"{'-' if size < 0 else ''}{whole}.{fraction}".rstrip("0").rstrip(".") + unit)
    return min(texts, key=len)


def format_literal(value: object) -> str:
    """Format a Python value as a literal of the language. Raises `Misuse` for values that it does not have.

    Sizes are exact. A `timedelta` prints as `1d12h`. A `datetime` without a time zone is local time, as in text.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Bytes):
        return format_size(int(value))
    if isinstance(value, int):
        return f"{int(value):d}"  # str() of a Size is rounded
    if isinstance(value, float):
        text = repr(value)
        if "e" in text:  # the language has no exponents
            text = f"{value:.30f}".rstrip("0").rstrip(".")
        if not _NUMBER_OR_BOOLEAN.fullmatch(text):
            raise Misuse(f"{value} is not a number of the language")
        return text
    if isinstance(value, date):  # or its subclass datetime
        return value.isoformat()
    if isinstance(value, timedelta):
        return _format_duration(value)
    if isinstance(value, str):
        return str(value)
    if value is None:
        raise Misuse("None is not a value of the language", hints=("use .is_unknown() or .is_known()",))
    raise Misuse(
        f"{type(value).__name__} is not a value of the language",
        hints=("values are strings, numbers, sizes, booleans, dates and times, and durations",),
    )


def _format_duration(value: timedelta) -> str:
    if value < timedelta(0):
        raise Misuse("a duration cannot be negative", hints=("f.created.after(…) and .before(…) compare times",))
    remaining = value // timedelta(microseconds=1)
    text = ""
    for unit, microseconds in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        count, remaining = divmod(remaining, microseconds)
        text += f"{count}{unit}" if count else ""
    return text + (f"{remaining}us" if remaining else "") or "0s"


def to_word(text: str) -> ast.Literal:
    """Return a string as an operand: a reference, a path, a source, the value of an option."""
    from imq.engine.catalog.tables import TABLES
    from imq.engine.render.formats import FORMATS

    low = text.lower()
    is_field = text.startswith(".") and begins_with_field(text)
    is_bare = is_bare_word(text) and not (is_field or low in WORDS or low in TABLES or low in FORMATS)
    return ast.Literal(text, quoted=not is_bare)


def to_literal(value: object) -> ast.Literal:
    """Return a value as the right operand of an operator."""
    text = format_literal(value)
    if isinstance(value, str):
        from imq.engine.catalog.tables import is_field_name

        return (
            ast.Literal(text, quoted=True)
            if _NUMBER_OR_BOOLEAN.fullmatch(text) or is_field_name(text) or text.lower() == "null"
            else to_word(text)
        )
    return ast.Literal(text)


def to_left_literal(value: object) -> ast.Literal:
    """Return a value as a left operand or an argument of a function, where a bare word is a field."""
    text = format_literal(value)
    return ast.Literal(text, quoted=isinstance(value, str | bool))


def to_operand(value: object) -> ast.Literal | ast.Variable:
    """Return an operand of an action or a query: a reference, a path, or a variable `imq.var(…)`."""
    if isinstance(value, Node) and isinstance(value.node, ast.Literal | ast.Variable):
        return value.node
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        is_list = isinstance(value, list | tuple)
        raise Misuse(
            f"expected a name or path, not {describe(value)}",
            hints=("pass each as an argument: imq.rm(*names)",) if is_list else (),
        )
    return to_word(value)


def describe(value: object) -> str:
    """Format a value for an error message."""
    return str(value) if isinstance(value, Node) else repr(value)


__all__ = ["Bytes", "Misuse", "Node", "Scalar", "describe", "to_left_literal", "to_literal", "to_operand", "to_word"]
