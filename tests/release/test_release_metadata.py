"""The addresses that build/release_metadata.py writes into the files of a release."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from imq.sbom import bill_of_materials
from packaging.metadata import Metadata
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = CHECKOUT / "build" / "release_metadata.py"
BASE = ("--url", "https://git.example.org/team/imq/")
MAINTAINER = ("--maintainer", "Zoë O'Neil, for the team <imq@example.org>")


def run(*words: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, encoding="utf-8", check=False)


def lines(*words: str) -> list[str]:
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """The files of a project from which the backend can make metadata, without its modules."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, tmp_path)
    for package in tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]:
        top, _, below = package.removeprefix("imq").removeprefix(".").partition(".")
        folder = top if top in ("grammar", "engine") else f"dsl/{top}"
        (tmp_path / folder / below.replace(".", "/")).mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "dsl" / "_version.py", tmp_path / "dsl")
    (tmp_path / "dsl" / "__init__.py").touch()
    return tmp_path


def read_metadata(project: pathlib.Path) -> Metadata:
    code = "from setuptools import build_meta; print(build_meta.prepare_metadata_for_build_wheel('metadata'))"
    (project / "metadata").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = project.glob("metadata/*/METADATA")
    return Metadata.from_email(file.read_bytes(), validate=True)


def test_the_addresses_are_in_the_metadata_of_the_wheel(project: pathlib.Path) -> None:
    assert lines(*BASE, *MAINTAINER, "project", str(project / "pyproject.toml")) == []
    metadata = read_metadata(project)
    assert metadata.project_urls == {
        "Homepage": "https://git.example.org/team/imq",
        "Documentation": "https://git.example.org/team/imq#readme",
        "Source": "https://git.example.org/team/imq",
        "Issues": "https://git.example.org/team/imq/issues",
        "Changelog": "https://git.example.org/team/imq/releases",
    }
    assert metadata.maintainer_email == '"Zoë O\'Neil, for the team" <imq@example.org>'
    assert metadata.author == "The maintainers of imq"


@pytest.mark.parametrize(
    ("address", "pages"),
    [
        ("https://github.com/team/imq", "https://github.com/team/imq/blob/HEAD/"),
        ("https://gitlab.example.org/team/imq", "https://gitlab.example.org/team/imq/-/blob/HEAD/"),
    ],
)
def test_the_links_of_the_description_lead_to_the_repository(project: pathlib.Path, address: str, pages: str) -> None:
    """On PyPI a link is relative to the page of the project, where the files of a checkout are not."""
    assert lines("--url", address, "project", str(project / "pyproject.toml")) == []
    targets = re.findall(r"\]\(([^)]*)\)", read_metadata(project).description or "")
    own = [target.removeprefix(pages) for target in targets if target.startswith(pages)]
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "dsl/docs/SOURCES.md" in own
    assert [path for path in own if not (CHECKOUT / path).exists()] == []


def test_without_options_nothing_is_changed(project: pathlib.Path) -> None:
    before = (project / "pyproject.toml").read_text()
    assert lines("project", str(project / "pyproject.toml")) == []
    assert (project / "pyproject.toml").read_text() == before
    assert lines("control") == ["Maintainer: The maintainers of imq"]
    assert lines("labels") == []
    assert lines("missing") == [
        "the metadata has no Homepage, Documentation, Source, Issues, Changelog: add --url https://HOST/PATH",
        'the metadata has no address of a maintainer: add --maintainer "NAME <ADDRESS>"',
    ]
    assert lines(*BASE, *MAINTAINER, "missing") == []


def test_one_address_can_be_another_one(project: pathlib.Path) -> None:
    assert (
        lines("--url", "documentation=https://imq.example.org/?lang=en", *BASE, "project", f"{project}/pyproject.toml")
        == []
    )
    urls = tomllib.loads((project / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Documentation"] == "https://imq.example.org/?lang=en"
    assert urls["Issues"] == "https://git.example.org/team/imq/issues"
    assert list(urls) == ["Homepage", "Documentation", "Source", "Issues", "Changelog"]
    assert lines("--url", "Source=https://git.example.org/imq", *MAINTAINER, "missing") == [
        "the metadata has no Homepage, Documentation, Issues, Changelog: add --url https://HOST/PATH"
    ]


def test_gitlab_has_its_pages_below_a_dash(project: pathlib.Path) -> None:
    lines("--url", "https://gitlab.example.org/imq", "project", f"{project}/pyproject.toml")
    urls = tomllib.loads((project / "pyproject.toml").read_text())["project"]["urls"]
    assert (urls["Source"], urls["Issues"], urls["Changelog"]) == (
        "https://gitlab.example.org/imq",
        "https://gitlab.example.org/imq/-/issues",
        "https://gitlab.example.org/imq/-/releases",
    )


def test_the_bill_of_materials_stays_valid(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "imq.cdx.json"
    file.write_text(json.dumps(bill_of_materials()))
    assert lines(*BASE, *MAINTAINER, "sbom", str(file)) == []
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text("utf-8")) is None
    component = json.loads(file.read_text("utf-8"))["metadata"]["component"]
    assert {entry["type"]: entry["url"] for entry in component["externalReferences"]} == {
        "website": "https://git.example.org/team/imq",
        "documentation": "https://git.example.org/team/imq#readme",
        "vcs": "https://git.example.org/team/imq",
        "issue-tracker": "https://git.example.org/team/imq/issues",
        "release-notes": "https://git.example.org/team/imq/releases",
    }
    assert component["authors"] == [{"name": "Zoë O'Neil, for the team", "email": "imq@example.org"}]


def test_the_package_and_the_image_name_the_address() -> None:
    assert lines(*BASE, *MAINTAINER, "control") == [
        "Maintainer: Zoë O'Neil, for the team <imq@example.org>",
        "Homepage: https://git.example.org/team/imq",
    ]
    assert lines(*BASE, *MAINTAINER, "labels") == [
        'LABEL org.opencontainers.image.url="https://git.example.org/team/imq"',
        'LABEL org.opencontainers.image.documentation="https://git.example.org/team/imq#readme"',
        'LABEL org.opencontainers.image.source="https://git.example.org/team/imq"',
        'LABEL org.opencontainers.image.authors="Zoë O\'Neil, for the team <imq@example.org>"',
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--url", "http://example.org/imq"], "'http://example.org/imq' is not an address such as https://HOST/PATH"),
        (["--url", "example.org/imq"], "'example.org/imq' is not an address such as https://HOST/PATH"),
        (["--url", 'https://example.org/"'], "is not an address such as https://HOST/PATH"),
        (["--url", "https://user:secret@example.org/imq"], "the address of example.org contains a user name"),
        (["--url", "https://example.org/imq?x=1"], "has a query or a fragment: paths cannot be appended to it"),
        (["--url", "Wiki=https://example.org"], "unknown name 'Wiki'; expected one of Homepage, Documentation, Source"),
        (["--maintainer", "imq@example.org"], "'imq@example.org' is not of the form NAME <ADDRESS>"),
        (["--maintainer", "A\nHomepage: x <a@b>"], "is not of the form NAME <ADDRESS>"),
    ],
)
def test_wrong_values_are_refused(options: Sequence[str], reason: str) -> None:
    done = run(*options, "missing")
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "secret" not in done.stderr
