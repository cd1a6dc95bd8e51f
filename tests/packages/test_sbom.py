"""Bills of materials: valid by the official schemas and tools, the same bytes each time, nothing left out."""

from __future__ import annotations

import json
import warnings
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from imq.engine.packages.cyclonedx import SPEC_VERSIONS, make_cyclonedx
from imq.engine.packages.os_release import OsRelease
from imq.engine.packages.package import Package
from imq.engine.packages.sbom import SbomImage, SbomPackage
from imq.engine.packages.spdx import make_spdx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of their own dependencies
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

LAYER = "sha256:" + "cd" * 32
PACKAGES = (
    Package(
        "deb", "libc6", "2.36-9+deb12u4", "var/lib/dpkg/status", architecture="amd64", source="glibc",
        licence="LGPL-2.1-only AND GPL-2.0-only", size=12993 * 1024, homepage="https://www.gnu.org/software/libc/",
        maintainer="GNU Libc Maintainers <debian-glibc@lists.debian.org>",
    ),
    Package("deb", "tar", "1.34", "var/lib/dpkg/status", architecture="amd64", licence="GPL-3+, public-domain, a|b"),
    Package("deb", "tar", "1.34", "var/lib/dpkg/status.d/tar", architecture="amd64", licence="GPL-3+, a/b"),
    Package(
        "rpm", "beta", "1:2.0~rc1-3.fc39", "var/lib/rpm/rpmdb.sqlite", architecture="noarch", licence="GPLv2+ and MIT",
        vendor="Fedora (Project)", source="beta-src", source_version="2.0-1",
    ),
    Package("npm", "@angular/core", "1.2.3", "a/node_modules/@angular/core/package.json", licence="SEE LICENSE IN X"),
    Package("python", "My_Pkg.x", "1.0", "a/\udcff.dist-info/METADATA", licence="BSD", homepage="http://x y"),
    Package("go", "github.com/Foo/bar/v2", "v2.0.0+incompatible", "usr/bin/x", toolchain="go1.22.4"),
    Package("go", "example.org/main", "(devel)", "usr/bin/x", toolchain="go1.22.4"),
    Package("gem", "nokogiri", "1.2", "s/nokogiri.gemspec", architecture="x86_64-linux", licence="MIT OR Ruby"),
    Package("apk", "musl", "1.2.4-r2", "lib/apk/db/installed", maintainer="Timo Teräs <timo@example.org>"),
)  # fmt: skip
IMAGE = SbomImage(
    "debian:12",
    "sha256:" + "ab" * 32,
    tuple(SbomPackage(package, LAYER) for package in PACKAGES),
    repository="docker.io/library/debian",
    tag="12",
    created="2024-01-02T04:04:05.123456789+01:00",
    architecture="amd64",
    os="linux",
    system=OsRelease("debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm"),
)
OTHER = SbomImage("sha256:efef", "sha256:" + "ef" * 32, (SbomPackage(PACKAGES[0]),))
IMAGES = [[IMAGE], [IMAGE, OTHER], [OTHER], [IMAGE.replace(packages=())]]


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("version", SPEC_VERSIONS)
def test_cyclonedx_is_valid_by_the_official_schema(version: str, images: list[SbomImage]) -> None:
    document = json.dumps(make_cyclonedx(images, "1.0", version))
    validator = JsonStrictValidator(SchemaVersion.from_version(version))
    assert validator.validate_str(document) is None
    assert validator.validate_str(document.replace('"type": "container"', '"type": "image"')) is not None


@pytest.mark.parametrize("images", IMAGES)
def test_spdx_is_valid_by_the_tools_of_the_project(images: list[SbomImage]) -> None:
    document = make_spdx(images, "1.0")
    assert validate_full_spdx_document(JsonLikeDictParser().parse(document)) == []


@pytest.mark.parametrize("images", IMAGES)
def test_spdx_is_valid_by_the_official_schema(images: list[SbomImage]) -> None:
    """The package lib4sbom has the schema of github.com/spdx/spdx-spec, branch `support/2.3`, as it is there."""
    schema = json.loads(files("lib4sbom").joinpath("schemas/spdx/2.3-schema.json").read_text(encoding="utf-8"))
    assert schema["title"] == "SPDX 2.3"
    validator = jsonschema.Draft7Validator(schema)
    document = json.loads(json.dumps(make_spdx(images, "1.0")))
    assert [error.message for error in validator.iter_errors(document)] == []
    del document["spdxVersion"]
    assert not validator.is_valid(document)


@pytest.mark.parametrize("make", [make_cyclonedx, make_spdx])
def test_documents_depend_on_the_images_alone(make: Any) -> None:
    first = json.dumps(make([IMAGE, OTHER], "1.0"))
    shuffled = IMAGE.replace(packages=(*reversed(IMAGE.packages), IMAGE.packages[0]))
    assert json.dumps(make([shuffled, OTHER], "1.0")) == first
    assert json.dumps(make([IMAGE], "1.0")) != json.dumps(make([IMAGE.replace(digest=OTHER.digest)], "1.0"))


def test_cyclonedx_has_every_package_once() -> None:
    document = make_cyclonedx([IMAGE, OTHER], "1.0")
    components = document["components"]
    libraries = [(part["name"], part["version"]) for part in components if part["type"] == "library"]
    assert sorted(libraries) == sorted((package.name, package.version) for package in (*PACKAGES, PACKAGES[0]))
    references = [part["bom-ref"] for part in components]
    assert len({*references}) == len(references)
    first, second = document["dependencies"]
    assert len(first["dependsOn"]) == len(PACKAGES) + 1  # the system too
    assert len(second["dependsOn"]) == 1
    assert document["metadata"]["timestamp"] == "2024-01-02T03:04:05Z"


def test_licences_of_cyclonedx_are_identifiers_expressions_or_names() -> None:
    components = make_cyclonedx([IMAGE], "1.0")["components"]
    licences = {part["name"]: part["licenses"] for part in components if "licenses" in part}
    assert licences["libc6"] == [{"expression": "LGPL-2.1-only AND GPL-2.0-only"}]
    assert licences["beta"] == [{"expression": "GPL-2.0-or-later AND MIT"}]
    assert licences["tar"] == [{"license": {"id": "GPL-3.0-or-later"}}, {"license": {"name": "a/b"}}]
    assert licences["@angular/core"] == [{"license": {"name": "SEE LICENSE IN X"}}]


def test_spdx_has_references_for_names_that_are_no_licences() -> None:
    document = make_spdx([IMAGE], "1.0")
    declared = {part["SPDXID"]: part["licenseDeclared"] for part in document["packages"]}
    assert declared["SPDXRef-Package-rpm-beta-1-2.0-rc1-3.fc39"] == "GPL-2.0-or-later AND MIT"
    tars = [declared[f"SPDXRef-Package-deb-tar-1.34{suffix}"] for suffix in ("", "-2")]
    assert tars == [
        "GPL-3.0-or-later AND LicenseRef-public-domain AND LicenseRef-a-b",
        "GPL-3.0-or-later AND LicenseRef-a-b-2",
    ]
    texts = {part["licenseId"]: part["extractedText"] for part in document["hasExtractedLicensingInfos"]}
    assert (texts["LicenseRef-a-b"], texts["LicenseRef-a-b-2"]) == ("a|b", "a/b")
    suppliers = {part["name"]: part["supplier"] for part in document["packages"]}
    assert suppliers["beta"] == "Organization: Fedora Project"
    assert suppliers["libc6"] == "Person: GNU Libc Maintainers (debian-glibc@lists.debian.org)"
    assert suppliers["tar"] == "NOASSERTION"
