"""Python's values as the literals of the language, and what all objects of the Python form have in common.

A text of Python becomes a word where it would be read back as that one word, else a text in quotes, so that no value
can change what a statement means. Numbers and truth values have types of their own in Python: the text `"7"` is quoted.
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
"""Digits behind the point that a size may have; one that needs more is written in a smaller unit."""


class Misuse(StatementError, TypeError):
    """Python's own words were used on something that is still to be asked: `and`, `or`, `not`, `in`, `if`, a loop."""

    code = "python"


class Node:
    """Something of the language as a Python object: `node` is its syntax tree, `str()` its text."""

    __slots__ = ("node",)

    node: ast.Node

    def __init__(self, node: ast.Node) -> None:
        self.node = node

    def __str__(self) -> str:
        return unparse(self.node)

    def __repr__(self) -> str:
        return f"<imq: {self}>"

    def equals(self, other: Node) -> bool:
        """Whether both say the same: `==` between expressions makes a condition instead.

        >>> from imq import field as f
        >>> (f.size > 1).equals(f.size > 1)
        True
        """
        return self.node == other.node

    def __bool__(self) -> NoReturn:
        raise Misuse(
            "this is a condition or query of the language, and has no truth value in Python",
            hints=(
                "write & for and, | for or, ~ for not, with each side in parentheses; .in_(…) for in",
                "for low < x < high: .between(low, high); for if: imq.if_(condition, then, otherwise)",
                "a session runs a query: session(query)",
            ),
        )

    if not TYPE_CHECKING:  # type checkers say by themselves that there is nothing to walk

        def __iter__(self) -> NoReturn:
            raise Misuse("this has no rows before it is run", hints=("for row in session(query): …",))

        def __contains__(self, _item: object) -> NoReturn:
            raise Misuse("Python's `in` cannot ask this", hints=("for a list or map: .has(…); for a value: .in_(…)",))


class Bytes(float):
    """A whole number of bytes that is written in its unit: `1 * GB` is `1GB`, and computes as the number 1000000000.

    It is a float (exact to 9 PB), because Python lets those decide what `1.5 * GB` is.

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
        """Return the whole bytes of what was computed, which is NotImplemented when it was not with a number."""
        return size if size is NotImplemented else Bytes(round(size))


def format_size(size: int) -> str:
    """Return a number of bytes exactly, in the unit in which it is shortest: `1GB`, `1.5GiB`, `1001B`."""
    texts = [f"{size}B"]
    for unit, worth in _UNITS.items():
        whole, rest = divmod(abs(size), worth)
        fraction = f"{rest * 10**_FRACTION_DIGITS // worth:0{_FRACTION_DIGITS}d}"
        if whole and not rest * 10**_FRACTION_DIGITS % worth:
            texts.append(f"{'-' if size < 0 else ''}{whole}.{fraction}".rstrip("0").rstrip(".") + unit)
    return min(texts, key=len)


def format_literal(value: object) -> str:
    """Return a value of Python as the language writes it. Raises `Misuse` when it has no such value.

    Sizes are exact; a `timedelta` is `1d12h`; a `datetime` without a zone is meant locally, as in text.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Bytes):
        return format_size(int(value))
    if isinstance(value, int):
        return f"{int(value):d}"  # the text of a Size is rounded
    if isinstance(value, float):
        text = repr(value)
        if "e" in text:  # which the language does not write
            text = f"{value:.30f}".rstrip("0").rstrip(".")
        if not _NUMBER_OR_BOOLEAN.fullmatch(text):
            raise Misuse(f"{value} is no number of the language")
        return text
    if isinstance(value, date):  # and datetime, which is one
        return value.isoformat()
    if isinstance(value, timedelta):
        return _format_duration(value)
    if isinstance(value, str):
        return str(value)
    if value is None:
        raise Misuse("None is no value of the language", hints=("ask .is_unknown() or .is_known()",))
    raise Misuse(
        f"{type(value).__name__} is no value of the language",
        hints=("there are: texts, numbers, sizes, true and false, dates and times, durations",),
    )


def _format_duration(value: timedelta) -> str:
    if value < timedelta(0):
        raise Misuse("a duration is not negative", hints=("f.created.after(…) and .before(…) compare with times",))
    left = value // timedelta(microseconds=1)
    written = ""
    for unit, worth in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        count, left = divmod(left, worth)
        written += f"{count}{unit}" if count else ""
    return written + (f"{left}us" if left else "") or "0s"


def to_word(text: str) -> ast.Literal:
    """Return a text as an operand: a reference, a path, a source, the value of an option."""
    from imq.engine.catalog.tables import TABLES
    from imq.engine.render.formats import FORMATS

    low = text.lower()
    field = text.startswith(".") and begins_with_field(text)
    bare = is_bare_word(text) and not (field or low in WORDS or low in TABLES or low in FORMATS)
    return ast.Literal(text, quoted=not bare)


def to_literal(value: object) -> ast.Literal:
    """Return a value as it stands on the right of an operator."""
    text = format_literal(value)
    if isinstance(value, str):
        from imq.engine.catalog.tables import is_field_name

        return (
            ast.Literal(text, quoted=True)
            if _NUMBER_OR_BOOLEAN.fullmatch(text) or is_field_name(text)
            else to_word(text)
        )
    return ast.Literal(text)


def to_left_literal(value: object) -> ast.Literal:
    """Return a value as it stands on the left of an operator or in a function: there a bare word is a field."""
    text = format_literal(value)
    return ast.Literal(text, quoted=isinstance(value, str | bool))


def to_operand(value: object) -> ast.Literal | ast.Variable:
    """Return what an action or a query works on: a reference or a path; `imq.var(…)` for one that a variable names."""
    if isinstance(value, Node) and isinstance(value.node, ast.Literal | ast.Variable):
        return value.node
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        several = isinstance(value, list | tuple)
        raise Misuse(
            f"a name or path is wanted here, not {describe(value)}",
            hints=("several are said one by one: imq.rm(*names)",) if several else (),
        )
    return to_word(value)


def describe(value: object) -> str:
    """Return something of either language as errors show it."""
    return str(value) if isinstance(value, Node) else repr(value)


__all__ = ["Bytes", "Misuse", "Node", "Scalar", "describe", "to_left_literal", "to_literal", "to_operand", "to_word"]
