"""Writes bills of materials in the JSON form of SPDX 2.3."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .licences import to_expression_with_references
from .purl import make_image_purl, make_purl
from .sbom import find_time, is_url, make_uuid, sort_packages, split_licences

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .package import Package
    from .sbom import SbomImage, SbomPackage

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9.-]+")
_MAIL = re.compile(r"([^<>]*?)\s*<([^<>\s]+@[^<>\s]+)>.*")
_UNKNOWN = {
    "supplier": "NOASSERTION",
    "downloadLocation": "NOASSERTION",
    "filesAnalyzed": False,
    "licenseConcluded": "NOASSERTION",
    "licenseDeclared": "NOASSERTION",
    "copyrightText": "NOASSERTION",
}
_EPOCH = "1970-01-01T00:00:00Z"
"""The time of a document whose images have none: the specification requires one, and the current time would differ."""
_LICENSE_LIST_VERSION = "3.29"


def make_spdx(images: Sequence[SbomImage], imq_version: str) -> dict[str, Any]:
    """Return the document of one or several images, as JSON values: it describes images, which contain packages."""
    writer = _Writer()
    for image in images:
        writer.add_image(image)
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": images[0].name if len(images) == 1 else f"{len(images)} images",
        "documentNamespace": f"urn:uuid:{make_uuid('spdx-2.3', images)}",
        "creationInfo": {
            "created": find_time(images) or _EPOCH,
            "creators": [f"Tool: imq-{imq_version}"],
            "licenseListVersion": _LICENSE_LIST_VERSION,
        },
        "packages": writer.packages,
        "hasExtractedLicensingInfos": [writer.extracted[key] for key in sorted(writer.extracted)],
        "relationships": writer.relationships,
    }
    return {key: value for key, value in document.items() if value or key == "packages"}


class _Writer:
    """Collects the elements of a document."""

    def __init__(self) -> None:
        self.packages: list[dict[str, Any]] = []
        self.relationships: list[dict[str, str]] = []
        self.extracted: dict[str, dict[str, str]] = {}
        self._ids: set[str] = set()

    def add_image(self, image: SbomImage) -> None:
        """Add an image and its packages."""
        image_id = self._make_id(f"Image-{image.name}")
        self._relate("SPDXRef-DOCUMENT", "DESCRIBES", image_id)
        self.packages.append(_make_image(image, image_id))
        if image.system is not None:
            version = image.system.version_id or image.system.codename
            system_id = self._make_id(f"OperatingSystem-{image.system.id}-{version}")
            self._relate(image_id, "CONTAINS", system_id)
            values = {
                "name": image.system.id,
                "SPDXID": system_id,
                "versionInfo": version,
                "description": image.system.pretty_name,
                "primaryPackagePurpose": "OPERATING_SYSTEM",
            }
            self.packages.append(_complete(values))
        for item in sort_packages(image.packages):
            package_id = self._make_id(f"Package-{item.package.type}-{item.package.name}-{item.package.version}")
            self._relate(image_id, "CONTAINS", package_id)
            self.packages.append(self._make_package(item, image, package_id))

    def _make_id(self, text: str) -> str:
        """Return an identifier within the document for a text; the same text has a number the second time."""
        base = identifier = f"SPDXRef-{_NOT_IN_ID.sub('-', text)}"
        number = 1
        while identifier in self._ids:
            number += 1
            identifier = f"{base}-{number}"
        self._ids.add(identifier)
        return identifier

    def _relate(self, element: str, relationship: str, other: str) -> None:
        self.relationships.append(
            {"spdxElementId": element, "relationshipType": relationship, "relatedSpdxElement": other}
        )

    def _make_package(self, item: SbomPackage, image: SbomImage, package_id: str) -> dict[str, Any]:
        package = item.package
        path = package.path.encode("utf-8", "replace").decode()
        listed = f"{package.type} package, listed in {path}" + (f" of layer {item.layer}" if item.layer else "")
        source = package.source or package.name
        built = f", built from {source} {package.source_version or package.version}" if package.source else ""
        return _complete(
            {
                "name": package.name,
                "SPDXID": package_id,
                "versionInfo": package.version,
                "supplier": _make_supplier(package),
                "homepage": package.homepage if is_url(package.homepage) else "",
                "sourceInfo": listed + built,
                "licenseDeclared": self._make_licence(package),
                "primaryPackagePurpose": "LIBRARY",
                "externalRefs": [_make_purl_reference(make_purl(package, image.system))],
            }
        )

    def _make_licence(self, package: Package) -> str:
        """Return the licence as an expression, in which names that are no SPDX licences become `LicenseRef-`."""
        texts = [text for text, _ in split_licences(package)]
        parts = [*dict.fromkeys(to_expression_with_references(text, self._refer_to) for text in texts)]
        if len(parts) < 2:
            return "".join(parts)
        return " AND ".join(f"({part})" if " OR " in part else part for part in parts)

    def _refer_to(self, text: str) -> str:
        """Return the identifier by which the document refers to a licence that is not in the SPDX License List."""
        slug = _NOT_IN_ID.sub("-", text).strip("-.")[:60] or "unnamed"
        reference, number = f"LicenseRef-{slug}", 1
        while self.extracted.get(reference, {}).get("extractedText", text) != text:
            number += 1
            reference = f"LicenseRef-{slug}-{number}"
        self.extracted[reference] = {"licenseId": reference, "extractedText": text, "name": text[:200]}
        return reference


def _make_image(image: SbomImage, image_id: str) -> dict[str, Any]:
    algorithm, _, value = image.digest.partition(":")
    purl = make_image_purl(image.repository, image.digest, image.tag, image.architecture)
    name = {"sha256": "SHA256", "sha384": "SHA384", "sha512": "SHA512"}.get(algorithm)
    return _complete(
        {
            "name": image.repository or image.name,
            "SPDXID": image_id,
            "versionInfo": image.tag or image.digest,
            "checksums": [{"algorithm": name, "checksumValue": value}] if name is not None else [],
            "primaryPackagePurpose": "CONTAINER",
            "externalRefs": [_make_purl_reference(purl)],
        }
    )


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that are known, and those that say that the rest is not."""
    known = {key: value for key, value in values.items() if value}
    for key, value in _UNKNOWN.items():
        known.setdefault(key, value)
    return known


def _make_purl_reference(purl: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}


def _make_supplier(package: Package) -> str:
    """Return the vendor or the maintainer in the form that the specification requires."""
    if package.vendor:
        return f"Organization: {_flatten(package.vendor)}"
    match = _MAIL.fullmatch(_flatten(package.maintainer))
    if match is not None:
        return f"Person: {match[1].strip() or match[2]} ({match[2]})"
    name = _flatten(package.maintainer)
    return f"Person: {name}" if name else ""


def _flatten(text: str) -> str:
    """Return a text without parentheses, which enclose the address, and line breaks."""
    return " ".join(text.replace("(", " ").replace(")", " ").split())
