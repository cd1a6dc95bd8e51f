"""Names to meanings: a syntax tree in, a bound query out (`bound.py`), nothing in it unresolved."""

from __future__ import annotations

from .queries import bind, bind_condition, needs_choice, needs_where
from .scope import Scope

__all__ = ["Scope", "bind", "bind_condition", "needs_choice", "needs_where"]
