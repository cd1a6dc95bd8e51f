"""Strings that the paths of all rows of a result contain, by its condition."""

from __future__ import annotations

from imq.engine.layer_index.words import longest_literal
from imq.engine.query import ir
from imq.engine.query.sql.dialect import Dialect
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH_FIELDS = frozenset({"path", "name", "directory"})
_MIN_LENGTH = 2


def list_required_words(condition: ir.Expr | None) -> list[str]:
    """Return strings without slashes that the name or the folder of each row has."""
    parts = condition.operands if isinstance(condition, ir.And) else (condition,) if condition is not None else ()
    return [word for part in parts for word in _find_words(part) if len(word) >= _MIN_LENGTH]


def _find_words(part: ir.Expr) -> Iterator[str]:
    match part:
        case ir.Comparison("like", ir.Column(field, ""), ir.Literal(value)) if field.name in _PATH_FIELDS:
            yield longest_literal(Dialect().convert_glob(str(value)))
        case ir.Comparison("=", ir.Column(field, ""), ir.Literal(value)) if field.name in _PATH_FIELDS:
            yield max(str(value).split("/"), key=len)
