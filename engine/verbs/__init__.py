"""Every verb of the language, declared once."""

from __future__ import annotations

from . import execution, inspection, names, transfer
from .declaration import Planning, Takes, Verb

VERBS: dict[str, Verb] = {
    verb.name: verb for verb in (*transfer.VERBS, *names.VERBS, *inspection.VERBS, *execution.VERBS)
}

__all__ = ["VERBS", "Planning", "Takes", "Verb"]
