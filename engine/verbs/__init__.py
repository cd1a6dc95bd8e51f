"""Every verb of the language, declared once."""

from __future__ import annotations

from . import inspection, names, transfer
from .declaration import Planning, Takes, Verb

VERBS: dict[str, Verb] = {verb.name: verb for verb in (*transfer.VERBS, *names.VERBS, *inspection.VERBS)}

__all__ = ["VERBS", "Planning", "Takes", "Verb"]
