"""The bill of materials, `imq --version --json`: what imq is made of, as a CycloneDX document.

Installed as a package, imq asks Python's metadata for the libraries that it needs. In the frozen executable
build/freeze/sbom_components.py has written down what is in it: libraries, the interpreter, the C library and all.
"""

from __future__ import annotations

import os
import sys

from imq.grammar.record import TYPE_CHECKING, Record

from ._version import VERSION

if TYPE_CHECKING:
    from importlib.metadata import Distribution
    from typing import Any

CLASSIFIER_LICENCES = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What older packages say of their licence, and its SPDX expression."""


class Component(Record):
    """Something that imq is made of. `licence`: an SPDX expression, or words; `source`: a package URL.

    `texts`: where the texts of the licence are in the executable, which is a zip archive too.
    """

    name: str
    version: str
    licence: str
    package_url: str
    licence_paths: tuple[str, ...] = ()


def python_component() -> Component:
    """Return the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Component("python", version, "PSF-2.0", f"pkg:generic/python@{version}")


def installed_components() -> list[Component]:
    """List the libraries that imq needs, and those that they need, as they are installed, and the interpreter."""
    from importlib.metadata import PackageNotFoundError, distribution

    found: dict[str, Distribution] = {}
    wanted = ["imq"]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # a requirement for another Python or another system
        wanted += (normalize_name(need) for need in found[name].requires or () if "extra ==" not in need)
    found.pop("imq", None)
    return [python_component(), *(library_component(found[name]) for name in sorted(found))]


def library_component(library: Distribution) -> Component:
    """Return an installed library."""
    metadata = library.metadata
    name = normalize_name(metadata["Name"])
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License" in line]
    licence = metadata["License-Expression"] or (metadata["License"] or "").partition("\n")[0]
    if not licence:
        licence = " AND ".join(CLASSIFIER_LICENCES.get(line, line) for line in classifiers)
    return Component(name, library.version, licence, f"pkg:pypi/{name}@{library.version}")


def list_components() -> tuple[str, list[Component]]:
    """Say what this imq is, an executable or a package, and list what it is made of."""
    if not getattr(sys, "frozen", False):
        return "package", installed_components()
    from importlib import import_module

    return "executable", [Component(*row) for row in import_module("imq._components").COMPONENTS]


def bill_of_materials() -> dict[str, Any]:
    """Return the CycloneDX document."""
    form, parts = list_components()
    properties = {"imq:form": form, "imq:machine": os.uname().machine, "imq:python": sys.version.partition(" ")[0]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "imq",
                "name": "imq",
                "version": VERSION,
                "licenses": [{"expression": "MIT"}],
                "purl": f"pkg:pypi/imq@{VERSION}",
                "properties": _format_properties(properties.items()),
            }
        },
        "components": [_format_component(part) for part in parts],
        "dependencies": [{"ref": "imq", "dependsOn": [part.package_url for part in parts]}],
    }


def _format_component(part: Component) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "library", "bom-ref": part.package_url, "name": part.name}
    if part.version:
        entry["version"] = part.version
    if part.licence:
        entry["licenses"] = [
            {"expression": part.licence} if _is_expression(part.licence) else {"license": {"name": part.licence}}
        ]
    entry["purl"] = part.package_url
    if part.licence_paths:
        entry["properties"] = _format_properties(("imq:licence-text", text) for text in part.licence_paths)
    return entry


def _format_properties(pairs: Any) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _is_expression(licence: str) -> bool:
    """Tell an SPDX expression from words: its identifiers have no spaces between them but for operators."""
    words = licence.replace("(", " ").replace(")", " ").split()
    return all(word in ("AND", "OR", "WITH") for word in words[1::2]) and len(words) % 2 == 1


def normalize_name(requirement: str) -> str:
    """Return the normal name (PEP 503) that a requirement begins with."""
    import re

    name = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else requirement
