"""Package URLs, `pkg:deb/debian/curl@7.88.1-10?arch=amd64&distro=debian-12`, by the specification of purl (ECMA-427).

Two qualifiers are not in the type definitions, but scanners of vulnerabilities understand them: `distro`, the system
with its version, and `upstream`, the source package. Advisories of distributions name source packages.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from .os_release import OsRelease
    from .package import Package

_TYPES = {"python": "pypi", "go": "golang"}
"""The types of package URLs that differ from `Package.type`."""
_NAMESPACES = {"rhel": "redhat", "opensuse-leap": "opensuse", "opensuse-tumbleweed": "opensuse", "sles": "suse"}
"""The names of vendors that differ from `ID` of os-release."""
_DEFAULT_NAMESPACES = {"deb": "debian", "apk": "alpine"}
"""The namespace, which these types require, in an image without os-release."""
_SYSTEM_TYPES = frozenset({"deb", "apk", "rpm"})
_UNRESERVED = re.compile(rb"[^A-Za-z0-9._~:-]")
_NO_VERSION = frozenset({"", "(devel)"})


def make_purl(package: Package, system: OsRelease | None = None) -> str:
    """Return the URL of a package. `system` is that of its image, for packages of the system."""
    package_type = _TYPES.get(package.type, package.type)
    namespace, name = _split_name(package)
    version = "" if package.version in _NO_VERSION else package.version
    qualifiers = {"arch": package.architecture} if package.type in _SYSTEM_TYPES else {}
    if package.type in _SYSTEM_TYPES:
        namespace = _NAMESPACES.get(system.id, system.id) if system is not None else ""
        namespace = namespace or _DEFAULT_NAMESPACES.get(package.type) or _name_vendor(package.vendor)
        qualifiers["distro"] = _name_distribution(system) if system is not None else ""
        qualifiers["upstream"] = _name_upstream(package)
    if package.type == "rpm":
        epoch, colon, rest = version.partition(":")
        if colon:
            qualifiers["epoch"], version = epoch, rest
    elif package.type == "gem":
        qualifiers["platform"] = package.architecture
    path = "/".join(_encode(segment) for segment in (*namespace.split("/"), name) if segment)
    query = "&".join(f"{key}={_encode(value)}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{package_type}/{path}" + (f"@{_encode(version)}" if version else "") + (f"?{query}" if query else "")


def make_image_purl(repository: str, digest: str, tag: str = "", architecture: str = "") -> str:
    """Return the URL of an image by the digest of its manifest. `repository` is `registry/path`, or "" if unknown."""
    name = repository.rpartition("/")[2].lower() or "image"
    qualifiers = {"arch": architecture, "repository_url": repository.lower(), "tag": tag}
    query = "&".join(f"{key}={_encode(value)}" for key, value in qualifiers.items() if value)
    return f"pkg:oci/{_encode(name)}@{_encode(digest)}" + (f"?{query}" if query else "")


def _split_name(package: Package) -> tuple[str, str]:
    """Return the namespace and the name, in the spelling that the type of the URL requires."""
    name = package.name
    if package.type in {"deb", "apk"}:
        return "", name.lower()
    if package.type == "python":
        return "", name.lower().replace("_", "-")
    if package.type == "go":
        namespace, _, last = name.lower().rpartition("/")
        return namespace, last
    if package.type == "npm" and name.startswith("@"):
        scope, _, rest = name.partition("/")
        return (scope, rest) if rest else ("", name)
    return "", name


def _name_vendor(vendor: str) -> str:
    """Return a namespace for the vendor of an RPM in an image without os-release: `Red Hat, Inc.` becomes `redhat`."""
    words = re.split(r"[^A-Za-z0-9 ]| (?:inc|project|linux|foundation)\b", vendor, flags=re.IGNORECASE)[0]
    return words.replace(" ", "").lower()


def _name_distribution(system: OsRelease) -> str:
    return f"{system.id}-{system.version_id or system.codename}".rstrip("-")


def _name_upstream(package: Package) -> str:
    """Return the source package if it differs: `glibc@2.36-9`, for RPM the name of its file."""
    if not package.source and not package.source_version:
        return ""
    name = package.source or package.name
    if package.type == "rpm":
        return f"{name}-{package.source_version or package.version.partition(':')[2] or package.version}.src.rpm"
    return f"{name}@{package.source_version}" if package.source_version else name


def _encode(text: str) -> str:
    """Encode all bytes but letters, digits and `.`, `-`, `_`, `~`, `:`."""
    return _UNRESERVED.sub(lambda byte: b"%%%02X" % byte[0][0], text.encode("utf-8", "surrogateescape")).decode()
