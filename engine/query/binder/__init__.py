"""The binder: resolves the names of a syntax tree and returns the typed query of `ir.py`."""

from __future__ import annotations

from .queries import bind, bind_condition, require_choice, require_where
from .scope import Scope

__all__ = ["Scope", "bind", "bind_condition", "require_choice", "require_where"]
