"""Literals as typed values: `100MB`, `30d`, `2024-01-31` or `3f5a` where a type is expected."""

from __future__ import annotations

import re

from imq.engine.catalog.schema import DataType
from imq.engine.oci.digest import explain_digest, is_digest, parse_hex_prefix
from imq.engine.query.ir import Literal
from imq.engine.units.size import parse_size
from imq.engine.units.time import is_like_date, parse_duration, parse_named_time, parse_time, split_quantity
from imq.grammar.errors import InvalidReference, StatementError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from imq.grammar import ast

_NUMBER = r"-?\d{1,40}(\.\d{1,40})?\Z"
_LARGEST = (1 << 63) - 1
_STRING_TYPES = (
    DataType.TEXT,
    DataType.REFERENCE,
    DataType.REPOSITORY,
    DataType.TAG,
    DataType.DIGEST,
    DataType.PLATFORM,
)
_EXAMPLES = {
    DataType.NUMBER: "example: 3 or 2.5",
    DataType.SIZE: "example: 100MB or 1.5GiB",
    DataType.TIME: "example: 2024-01-31 or 2024-01-31T10:00:00Z",
    DataType.DURATION: "example: 30d, 2 weeks or 12h",
    DataType.BOOLEAN: "true or false",
    DataType.VERSION: "example: 7.2 or v1.14.3",
    DataType.PACKAGE_VERSION: "example: 3.0.14 or 1:2.36-9+deb12u4",
    DataType.DIGEST: "example: sha256:…, or the first hex digits of a digest",
}


def parse_number(text: str) -> int | float | None:
    """Return the number that `text` spells; None if it is not a number."""
    if not re.match(_NUMBER, text, re.ASCII):
        return None
    return float(text) if "." in text else int(text)


def convert_literal(
    literal: ast.Literal, kind: DataType, zone: tzinfo | None, what: str = "", now: int | None = None
) -> Literal:
    """Return the literal as a value of type `kind`. `what` describes the other operand in an error.

    `now`, in nanoseconds since the epoch, is the time from which `yesterday` counts; None: only dates are times.
    """
    text = literal.text
    value: str | int | float | None
    if kind in (DataType.TEXT, DataType.TAG, DataType.LIST, DataType.MAP):
        value = text
    elif kind in (DataType.REFERENCE, DataType.REPOSITORY):
        value = _normalize_name(text, kind)
    elif kind is DataType.BOOLEAN:
        value = {"true": 1, "yes": 1, "false": 0, "no": 0}.get(text.lower())
    elif kind is DataType.DIGEST:
        value = text.lower() if parse_hex_prefix(text) is not None or is_digest(text.lower()) else None
    elif kind is DataType.NUMBER:
        value = parse_number(text)
    elif kind is DataType.SIZE:
        value = parse_size(text)
    elif kind is DataType.DURATION:
        value = parse_duration(text)
    elif kind is DataType.PLATFORM:
        value = _normalize_platform(literal)
    elif kind is DataType.PACKAGE_VERSION:
        from imq.engine.packages.versions.order import is_version

        value = text if is_version(text) else None
    elif kind is DataType.VERSION:
        from imq.engine.oci.tag_version import parse_version

        parts = parse_version(text)
        value = parts[0] if parts is not None else None
    else:
        value = parse_named_time(text, now, zone) if now is not None else None
        value = value if value is not None else parse_time(text, zone)
    if value is None:
        subject = f"{what} is {kind.value}" if what else f"expected {kind.value}"
        raise _explain(literal, kind) or TypeMismatch(
            f'{subject}, but "{text[:80]}" is not',
            span=literal.span,
            hints=(_EXAMPLES.get(kind, ""),),
        )
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise TypeMismatch(f'"{text[:80]}" is too large', span=literal.span)
    return Literal(value, kind, text)


def _explain(literal: ast.Literal, kind: DataType) -> TypeMismatch | None:
    """Return the error that says what is wrong with a date, a duration or a digest; None for anything else."""
    text = literal.text[:80]
    if kind is DataType.TIME:
        return make_date_error(literal)
    if kind is DataType.DURATION:
        return make_duration_error(literal)
    if kind is DataType.DIGEST and (problem := explain_digest(text)):
        return TypeMismatch(problem, span=literal.span, hints=(_EXAMPLES[kind],))
    return None


def make_duration_error(literal: ast.Literal, before: str = "", after: str = "") -> TypeMismatch | None:
    """Return the error of a number whose unit is missing or unknown; None for another literal.

    `before` and `after` are words around the example of a hint.
    """
    quantity = split_quantity(literal.text)
    if quantity is None:
        return None
    number, unit = quantity
    problem = f'"{unit[:80]}" is not a unit of time' if unit else f"{number} has no unit of time"
    hints = (f"example: {before}{number}d{after}", "units: s, m (minutes), h, d, w, y, or words: 2 weeks, 3 months")
    return TypeMismatch(problem, span=literal.span, hints=hints)


def make_date_error(literal: ast.Literal) -> TypeMismatch | None:
    """Return the error of a literal that is written like a date and is none; None when it is not like a date."""
    text = literal.text[:80]
    if not is_like_date(text):
        return None
    parts = re.match(r"(?a)(\d{4})-(\d\d)(?:-(\d\d))?", text)
    problem = f'"{text}" is not a date: dates are written YYYY-MM-DD'
    if parts is not None:
        year, month, day = parts[1], int(parts[2]), parts[3]
        if not 1 <= month <= 12:
            problem = f'"{text}" is not a date: a year has no month {parts[2]}'
        elif day is not None and parse_time(f"{year}-{parts[2]}-{day}") is None:
            problem = f'"{text}" is not a date: {year}-{parts[2]} has no day {day}'
        elif len(text) > parts.end():
            problem = f'"{text}" has a wrong time of day or offset'
    return TypeMismatch(problem, code="date", span=literal.span, hints=(_EXAMPLES[DataType.TIME],))


def _normalize_name(text: str, kind: DataType) -> str:
    """Return the short form of a name, so that `docker.io/library/redis` matches `redis`; other text unchanged."""
    from imq.engine.oci.reference import Reference

    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return text
    if kind is DataType.REFERENCE:
        return str(reference.with_default_tag())
    return text if reference.tag or reference.digest else reference.familiar_name


def _normalize_platform(literal: ast.Literal) -> str:
    """Return a platform in normalized form, so that `linux/aarch64` matches `linux/arm64`."""
    if "*" in literal.text:
        raise StatementError(
            'a platform cannot contain "*"',
            code="glob",
            span=literal.span,
            hints=(f"to match a pattern: platform like '{literal.text[:80]}'",),
        )
    from imq.engine.oci.platform import Platform

    try:
        platform = Platform.parse(literal.text)
    except StatementError as error:
        error.span = literal.span
        raise
    if platform.os_version or platform.os_features:
        raise StatementError(
            f'the field platform has no version and no features, but "{literal.text[:80]}" does',
            code="platform",
            span=literal.span,
            hints=(f"platform = {platform.canonical} and os_version like '{platform.os_version or '*'}*'",),
        )
    return platform.canonical


def infer_literal(literal: ast.Literal, zone: tzinfo | None) -> Literal:
    """Return the literal with the type that its text suggests; a quoted literal is a string."""
    text = literal.text
    if not literal.quoted:
        readers: tuple[tuple[DataType, Callable[[str], int | float | None]], ...] = (
            (DataType.NUMBER, parse_number),
            (DataType.DURATION, parse_duration),
            (DataType.SIZE, parse_size),
            (DataType.TIME, lambda moment: parse_time(moment, zone)),
        )
        for kind, reader in readers:
            if (value := reader(text)) is not None and abs(value) <= _LARGEST:
                return Literal(value, kind, text)
        if text.lower() in ("true", "false"):
            return Literal(int(text.lower() == "true"), DataType.BOOLEAN, text)
    return Literal(text, DataType.TEXT, text)


def is_string(kind: DataType) -> bool:
    """Whether values of this type are strings."""
    return kind in _STRING_TYPES
