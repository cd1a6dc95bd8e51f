"""Writes bills of materials in the JSON form of CycloneDX 1.5 and 1.6."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .purl import make_image_purl, make_purl
from .sbom import find_time, is_single_licence, is_url, make_uuid, sort_packages, split_licences

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .sbom import SbomImage, SbomPackage

SPEC_VERSIONS = ("1.6", "1.5")


def make_cyclonedx(images: Sequence[SbomImage], imq_version: str, spec_version: str = "1.6") -> dict[str, Any]:
    """Return the document of one or several images, as JSON values.

    One image is what the document describes (`metadata.component`). Several are components of type `container`; the
    dependencies say which packages each has.
    """
    components: list[dict[str, Any]] = []
    dependencies: list[dict[str, Any]] = []
    containers = [_make_container(image) for image in images]
    references = _References()
    for container in containers:
        container["bom-ref"] = references.add(container["bom-ref"])
    for image, container in zip(images, containers, strict=True):
        parts = [_make_system(image)] if image.system is not None else []
        parts += [_make_component(item, image) for item in sort_packages(image.packages)]
        for part in parts:
            part["bom-ref"] = references.add(part["bom-ref"])
        components += parts
        dependencies.append({"ref": container["bom-ref"], "dependsOn": sorted(part["bom-ref"] for part in parts)})
    time = find_time(images)
    metadata: dict[str, Any] = {
        **({"timestamp": time} if time else {}),
        "tools": {"components": [{"type": "application", "name": "imq", "version": imq_version}]},
    }
    if len(containers) == 1:
        metadata["component"] = containers[0]
    else:
        components = containers + components
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{spec_version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": spec_version,
        "serialNumber": f"urn:uuid:{make_uuid(f'cyclonedx-{spec_version}', images)}",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": dependencies,
    }


class _References:
    """Makes the references within a document unique."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, reference: str) -> str:
        """Return a reference that was not returned before."""
        count = self._counts[reference] = self._counts.get(reference, 0) + 1
        return reference if count == 1 else self.add(f"{reference}#{count}")


def _make_container(image: SbomImage) -> dict[str, Any]:
    purl = make_image_purl(image.repository, image.digest, image.tag, image.architecture)
    component: dict[str, Any] = {
        "type": "container",
        "bom-ref": purl,
        "name": image.repository or image.name,
        "version": image.tag or image.digest,
        "purl": purl,
    }
    algorithm, _, value = image.digest.partition(":")
    if (name := {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}.get(algorithm)) is not None:
        component["hashes"] = [{"alg": name, "content": value}]
    component["properties"] = _make_properties(
        {"image:os": image.os, "image:architecture": image.architecture, "image:digest": image.digest}
    )
    return component


def _make_system(image: SbomImage) -> dict[str, Any]:
    system = image.system
    assert system is not None
    version = system.version_id or system.codename
    component = {
        "type": "operating-system",
        "bom-ref": f"os:{system.id}-{version}",
        "name": system.id,
        "version": version,
        "description": system.pretty_name,
    }
    return {key: value for key, value in component.items() if value}


def _make_component(item: SbomPackage, image: SbomImage) -> dict[str, Any]:
    package = item.package
    purl = make_purl(package, image.system)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "publisher": package.maintainer,
        "name": package.name,
        "version": package.version,
        "licenses": _make_licences(split_licences(package)),
        "purl": purl,
        "externalReferences": [{"type": "website", "url": package.homepage}] if is_url(package.homepage) else [],
        "properties": _make_properties(
            {
                "package:type": package.type,
                "package:source": package.source,
                "package:source_version": package.source_version,
                "package:size": "" if package.size is None else str(package.size),
                "package:toolchain": package.toolchain,
                "layer:diff_id": item.layer,
            }
        ),
        "evidence": {"occurrences": [{"location": package.path.encode("utf-8", "replace").decode()}]},
    }
    return {key: value for key, value in component.items() if value}


def _make_licences(licences: list[tuple[str, bool]]) -> list[dict[str, Any]]:
    """Return licences: one expression, or any number of identifiers and names, which the schema does not mix."""
    if len(licences) == 1 and licences[0][1] and not is_single_licence(licences[0][0]):
        return [{"expression": licences[0][0]}]
    return [
        {"license": {"id": text} if is_expression and is_single_licence(text) else {"name": text}}
        for text, is_expression in licences
    ]


def _make_properties(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": f"imq:{name}", "value": value} for name, value in values.items() if value]
