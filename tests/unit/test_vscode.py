"""The extension for Visual Studio Code: its folder is complete, and its snippets are statements."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from imq._version import VERSION
from imq.grammar.parser import parse
from language.strategies import VOCABULARY
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    import pathlib

SNIPPETS: dict[str, dict[str, str]] = json.loads((CHECKOUT / "build" / "vscode" / "snippets.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("vscode") / "imq"
    subprocess.run(["bash", str(CHECKOUT / "build" / "vscode" / "package.sh"), str(folder)], check=True)
    return folder


def test_every_file_that_the_extension_names_is_there(folder: pathlib.Path) -> None:
    package: dict[str, Any] = json.loads((folder / "package.json").read_text())
    contributes = package["contributes"]
    paths = [
        contributes["languages"][0]["configuration"],
        *(one["path"] for one in contributes["grammars"] + contributes["snippets"]),
    ]
    documents = [json.loads((folder / path).read_text()) for path in paths]
    assert documents[1]["scopeName"] == contributes["grammars"][0]["scopeName"]
    assert package["version"] == VERSION
    assert {"LICENSE", "README.md"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippets_are_statements(name: str) -> None:
    body = SNIPPETS[name]["body"]
    text = re.sub(r"\$\{\d+:([^}]*)\}", r"\1", body)
    assert "$" not in text
    (statement,) = parse(text, VOCABULARY)
    assert statement.span is not None
    assert re.search(r"\$\{1:", body)
