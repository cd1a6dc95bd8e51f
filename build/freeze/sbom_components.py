"""The software bill of materials of the frozen executable: components, versions, licences and licence texts.

Every packed library must be declared here: an undeclared shared library stops the build.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from imq.sbom import Component, included_components, installed_components, normalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GCC = "GPL-3.0-or-later WITH GCC-exception-3.1"


class Native(NamedTuple):
    """The project of a shared library, and its licence."""

    name: str
    licence: str


# By file name, up to `.so`.
NATIVE = {
    "ld-linux-x86-64": Native("glibc", "LGPL-2.1-or-later"),
    "ld-linux-aarch64": Native("glibc", "LGPL-2.1-or-later"),
    **dict.fromkeys(("libc", "libm", "libdl", "libpthread", "librt", "libutil", "libresolv"),
                    Native("glibc", "LGPL-2.1-or-later")),
    "libpython3": Native("python", "PSF-2.0"),
    "libbz2": Native("bzip2", "bzip2-1.0.6"),
    "libcrypto": Native("openssl", "Apache-2.0"),
    "libssl": Native("openssl", "Apache-2.0"),
    "libexpat": Native("expat", "MIT"),
    "libffi": Native("libffi", "MIT"),
    "libgcc_s": Native("gcc", GCC),
    "libstdc++": Native("gcc", GCC),
    "liblzma": Native("xz", "LicenseRef-public-domain"),
    "libsqlite3": Native("sqlite", "blessing"),
    "libuuid": Native("util-linux", "BSD-3-Clause"),
    "libz": Native("zlib", "Zlib"),
    "libzstd": Native("zstd", "BSD-3-Clause"),
}  # fmt: skip

# Libraries compiled into wheels; the wheels contain the licence texts.
BUNDLED = {
    "backports-zstd": (Native("zstd", "BSD-3-Clause"),),
    "google-re2": (Native("re2", "BSD-3-Clause"), Native("abseil-cpp", "Apache-2.0")),
    "isal": (Native("isa-l", "BSD-3-Clause"),),
    "pyyaml": (Native("libyaml", "MIT"),),
}


def list_components(libraries: Iterable[str], modules: Iterable[str]) -> tuple[list[Component], dict[str, bytes]]:
    """List the components of an executable, and their licence texts as members of its archive.

    `libraries` are the shared and static libraries of the system in the executable, `modules` its Python packages and
    modules. Not every library that imq requires is packed.
    """
    distributions = packages_distributions()
    packed = {normalize_name(name) for module in modules for name in distributions.get(module, ())} - {"imq"}
    licence_texts: dict[str, bytes] = {}
    components = []
    for component in installed_components():
        if component.name == "python":
            components.append(
                _add_licence_texts(
                    component, _read_package_licences("libpython3.11-stdlib", "libpython3-stdlib"), licence_texts
                )
            )
        if component.name not in packed:
            continue
        components.append(_add_licence_texts(component, _read_library_licences(component.name), licence_texts))
        licence_paths = components[-1].licence_paths
        components += (
            Component(
                native.name, _bundled_version(native.name), native.licence, f"pkg:generic/{native.name}", licence_paths
            )
            for native in BUNDLED.get(component.name, ())
        )
    undeclared = [module for module in modules if module not in distributions and module not in sys.stdlib_module_names]
    undeclared += packed - {component.name for component in components}
    if undeclared:
        raise SystemExit(f"freeze: packed modules that imq does not require: {', '.join(sorted(undeclared))}")
    components += _native_components(libraries, licence_texts)
    texts = {"LICENSE": files("imq.engine.render.report").joinpath("echarts.LICENSE").read_bytes()}
    components += (_add_licence_texts(component, texts, licence_texts) for component in included_components())
    return sorted(components, key=lambda component: component.package_url), licence_texts


def _native_components(libraries: Iterable[str], licence_texts: dict[str, bytes]) -> list[Component]:
    components: dict[str, Component] = {}
    packages = _find_packages(libraries)
    for path in sorted(libraries):
        file = os.path.basename(path)
        native = NATIVE.get(file.partition(".")[0])
        if native is None:
            raise SystemExit(f"freeze: {path} is not declared: add it and its licence to sbom_components.py")
        if native.name == "python" or native.name in components:
            continue
        package, version = packages.get(path, ("", ""))
        source = f"pkg:deb/{_distribution()}/{package}@{quote(version)}" if package else f"pkg:generic/{native.name}"
        component = Component(native.name, version, native.licence, source)
        components[native.name] = _add_licence_texts(component, _read_package_licences(package), licence_texts)
    return [*components.values()]


def _add_licence_texts(component: Component, files: Mapping[str, bytes], licence_texts: dict[str, bytes]) -> Component:
    """Add a component's licence texts to `licence_texts`, and their paths to the component."""
    if not files:
        raise SystemExit(f"freeze: {component.name} has no licence text")
    names = {name: f"licences/{component.name}/{name}" for name in sorted(files)}
    licence_texts.update((names[name], files[name]) for name in names)
    return component.replace(licence_paths=tuple(names.values()))


def _read_library_licences(name: str) -> dict[str, bytes]:
    """Read the licence texts in the metadata of a Python library, including those of compiled-in libraries."""
    prefixes = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
    files = [file for file in distribution(name).files or () if file.name.upper().startswith(prefixes)]
    return {
        re.sub(r"^[^/]*\.dist-info/(licenses/)?", "", str(file)).replace("/", "-"): file.read_binary()
        for file in files
        if file.suffix not in (".py", ".pyc")
    }


def _read_package_licences(*packages: str) -> dict[str, bytes]:
    """Read the copyright file of a Debian package; of several packages, the first that exists."""
    for package in packages:
        path = f"/usr/share/doc/{package.partition(':')[0]}/copyright"
        if package and os.path.exists(path):
            with open(path, "rb") as file:
                return {"copyright": file.read()}
    return {}


def _find_packages(paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Map files to their Debian packages and versions. Files of no package are omitted.

    All files are looked up at once, since each run of dpkg-query reads its file lists again.
    """
    aliases = {path: (path, os.path.realpath(path), os.path.realpath(path).removeprefix("/usr")) for path in paths}
    names = sorted({name for several in aliases.values() for name in several})
    lines = (line.partition(": ") for line in _read_lines("dpkg-query", "--search", *names))
    owners = {file: packages.partition(",")[0] for packages, _, file in lines}
    packages = {
        path: next((owners[name] for name in several if name in owners), "") for path, several in aliases.items()
    }
    query = ("dpkg-query", "--show", "--showformat=${binary:Package} ${Version}\n")
    installed = sorted({package for package in packages.values() if package})
    versions = dict(line.split(" ", 1) for line in (_read_lines(*query, *installed) if installed else ()))
    return {
        path: (package.partition(":")[0], versions[package])
        for path, package in packages.items()
        if package in versions
    }


def _read_lines(*command: str) -> list[str]:
    """Return the lines that a program prints. Its exit code is ignored: it also fails when some names are unknown."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    except OSError:
        return []


def _distribution() -> str:
    return platform.freedesktop_os_release().get("ID", "debian")


def _bundled_version(name: str) -> str:
    """Return the version of a library that is compiled into a wheel; "" when the wheel does not report it."""
    if name == "isa-l":
        import isal

        return str(isal.ISAL_VERSION)
    if name == "libyaml":
        from yaml import _yaml

        return str(_yaml.get_version_string())
    if name == "zstd":
        from imq.engine.layers.zstd import zstd

        return zstd.zstd_version
    return ""
