"""The software bill of materials, `imq --version --json`: a CycloneDX document of imq's components.

For an installed package, the components come from the metadata of the required libraries. For the frozen executable,
build/freeze/sbom_components.py recorded them: libraries, the interpreter, the C library and the rest.
"""

from __future__ import annotations

import os
import sys

from imq.grammar.record import TYPE_CHECKING, Record

from ._version import VERSION

if TYPE_CHECKING:
    from importlib.metadata import Distribution
    from typing import Any

LICENCE_NAMES = {"The MIT License (MIT)": "MIT"}
"""SPDX expressions of the names that some packages give their licence."""
CLASSIFIER_LICENCES = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""SPDX expressions of the licence classifiers that older packages use."""


class Component(Record):
    """A component of imq. `licence` is an SPDX expression or a name.

    `licence_paths` are the paths of its licence texts in the executable, which is also a zip archive.
    """

    name: str
    version: str
    licence: str
    package_url: str
    licence_paths: tuple[str, ...] = ()


def python_component() -> Component:
    """Return the component of the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Component("python", version, "PSF-2.0", f"pkg:generic/python@{version}")


def installed_components() -> list[Component]:
    """List the interpreter and the installed libraries that imq requires, directly or indirectly."""
    from importlib.metadata import PackageNotFoundError, distribution

    libraries: dict[str, Distribution] = {}
    pending = ["imq"]
    while pending:
        name = pending.pop()
        if name in libraries:
            continue
        try:
            libraries[name] = distribution(name)
        except PackageNotFoundError:
            continue  # a requirement for another Python or another system
        pending += (
            normalize_name(required) for required in libraries[name].requires or () if "extra ==" not in required
        )
    libraries.pop("imq", None)
    return [python_component(), *(library_component(libraries[name]) for name in sorted(libraries))]


def included_components() -> list[Component]:
    """List the libraries whose code is in files of imq: the charts of reports."""
    import re
    from importlib.resources import files

    script = files("imq.engine.render.report").joinpath("echarts.min.js").read_text("utf-8")
    versions = re.findall(r"(?:Apache (ECharts)|With (zrender)) ([\d.]+\d)", script[:1000])
    licences = {"echarts": "Apache-2.0", "zrender": "BSD-3-Clause"}
    names = [((first or second).lower(), version) for first, second, version in versions]
    return [Component(name, version, licences[name], f"pkg:npm/{name}@{version}") for name, version in names]


def library_component(library: Distribution) -> Component:
    """Return the component of an installed library."""
    metadata: Any = library.metadata
    name = normalize_name(metadata["Name"])
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License" in line]
    # the package importlib_metadata, which replaces these objects once it is imported, has no None for a missing key
    licence = metadata.get("License-Expression") or (metadata.get("License") or "").partition("\n")[0]
    licence = LICENCE_NAMES.get(licence, licence)
    if not licence:
        licence = " AND ".join(CLASSIFIER_LICENCES.get(line, line) for line in classifiers)
    return Component(name, library.version, licence, f"pkg:pypi/{name}@{library.version}")


def list_components() -> tuple[str, list[Component]]:
    """Return the form of this imq, "executable" or "package", and its components."""
    if not getattr(sys, "frozen", False):
        return "package", [*installed_components(), *included_components()]
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
    """Whether a licence is an SPDX expression: identifiers without spaces, joined by operators."""
    words = licence.replace("(", " ").replace(")", " ").split()
    return all(word in ("AND", "OR", "WITH") for word in words[1::2]) and len(words) % 2 == 1


def normalize_name(requirement: str) -> str:
    """Return the normalized name (PEP 503) of a requirement."""
    import re

    name = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else requirement
