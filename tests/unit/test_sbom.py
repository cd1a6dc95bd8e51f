"""The SBOM: `imq --version --json`."""

from __future__ import annotations

import io
import json
import pathlib
import tomllib
from typing import Any

import pytest
from imq import sbom
from imq.cli.main import Cli
from imq.sbom import Component

PROJECT = pathlib.Path(__file__).parents[2] / "pyproject.toml"


def run(*arguments: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    code = Cli(io.StringIO(), stdout, stderr, {}).main(arguments)
    return code, stdout.getvalue(), stderr.getvalue()


def document() -> dict[str, Any]:
    code, stdout, errors = run("--version", "--json")
    assert (code, errors) == (0, "")
    return dict(json.loads(stdout))


def test_the_document_is_cyclonedx_for_this_version() -> None:
    bom = document()
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    _, version, _ = run("--version")
    assert f"imq {bom['metadata']['component']['version']}\n" == version
    assert {"name": "imq:form", "value": "package"} in bom["metadata"]["component"]["properties"]
    references = [part["bom-ref"] for part in bom["components"]]
    assert len({*references}) == len(references)
    assert bom["dependencies"] == [{"ref": "imq", "dependsOn": references}]


def test_every_dependency_has_a_version_and_a_licence() -> None:
    parts = {part["name"]: part for part in document()["components"]}
    required = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    assert {sbom.normalize_name(line) for line in required} | {"python", "urllib3", "certifi"} <= parts.keys()
    assert "pytest" not in parts
    for part in parts.values():
        assert part["version"]
        assert part["purl"].endswith(f"@{part['version']}")
        assert part["licenses"]


@pytest.mark.parametrize(
    ("licence", "entry"),
    [
        ("MIT", {"expression": "MIT"}),
        ("GPL-2.0-or-later WITH Bootloader-exception", {"expression": "GPL-2.0-or-later WITH Bootloader-exception"}),
        ("(MIT OR 0BSD) AND Zlib", {"expression": "(MIT OR 0BSD) AND Zlib"}),
        ("GPLv2-or-later with a special exception", {"license": {"name": "GPLv2-or-later with a special exception"}}),
        ("Apache 2.0", {"license": {"name": "Apache 2.0"}}),
    ],
)
def test_licences_are_spdx_expressions_or_names(
    monkeypatch: pytest.MonkeyPatch, licence: str, entry: dict[str, object]
) -> None:
    parts = [Component("a", "1", licence, "pkg:generic/a@1", ("licences/a/LICENSE",)), Component("b", "", "", "b")]
    monkeypatch.setattr(sbom, "list_components", lambda: ("executable", parts))
    first, second = sbom.bill_of_materials()["components"]
    assert first["licenses"] == [entry]
    assert first["properties"] == [{"name": "imq:licence-text", "value": "licences/a/LICENSE"}]
    assert second == {"type": "library", "bom-ref": "b", "name": "b", "purl": "b"}


@pytest.mark.parametrize("arguments", [["--json"], ["--json", "images"], ["--json", "images", "-f", "dangling=true"]])
def test_json_is_only_valid_with_version(arguments: list[str]) -> None:
    code, stdout, errors = run(*arguments)
    assert (code, stdout) == (2, "")
    assert errors.startswith("error[option]: --json needs --version\n")


def test_libraries_of_http2_have_an_spdx_expression() -> None:
    parts = {part["name"]: part for part in document()["components"]}
    for name in ("h2", "hpack", "hyperframe"):
        assert parts[name]["licenses"] == [{"expression": "MIT"}]
