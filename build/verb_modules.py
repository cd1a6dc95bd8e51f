"""Writes engine/actions/_verb_modules.py, the module of each verb, from the modules of the package."""

from __future__ import annotations

import importlib
import os
import pkgutil
import runpy

import imq.engine.actions
from imq.engine.actions import _verb_modules

PATH = os.path.join(imq.engine.actions.__path__[0], "_verb_modules.py")


def render_verb_modules() -> str:
    """Return the source of the module. A verb is a module of the package with the constant `VERB`."""
    package = imq.engine.actions
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "_verb_modules")
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
    verbs = {module.VERB.name: (name, module.VERB) for name, module in modules.items() if hasattr(module, "VERB")}
    lines = [f'    "{verb}": "{module}",\n' for verb, (module, _) in sorted(verbs.items())]
    removing = [f'"{name}"' for name, (_, verb) in sorted(verbs.items()) if verb.removes or verb.runs_programs]
    return (
        '"""The verbs by name. Written by build/generate_docs.py from the modules of this package: do not edit."""\n\n'
        f"MODULES = {{\n{''.join(lines)}}}\n"
        '"""The module of each verb."""\n'
        f"REMOVING = frozenset({{{', '.join(removing)}}})\n"
        '"""The verbs that delete names or images, or run programs, which may delete anything."""\n'
    )


def write_verb_modules() -> None:
    """Write the module, and use it in this process."""
    text = render_verb_modules()
    with open(PATH, "w", encoding="utf-8") as target:
        target.write(text)
    _verb_modules.MODULES.clear()
    _verb_modules.MODULES.update(runpy.run_path(PATH)["MODULES"])
