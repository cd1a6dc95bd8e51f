"""One declaration feeds everything: what is made from it is fresh, and nothing is declared without being told of."""

from __future__ import annotations

import ast
import doctest
import importlib
import pathlib
import pkgutil
import runpy
import subprocess
import sys
from typing import Any

import imq
import imq.api
import imq.engine.help.completion
import pytest
from imq.api import namespace
from imq.api.expressions import Expression, Path
from imq.api.statements import FLAGS, LISTS
from imq.engine.actions import VERBS
from imq.engine.catalog.clauses import CLAUSES
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.predicates import PREDICATES
from imq.engine.catalog.settings import SETTINGS
from imq.engine.catalog.tables import TABLES
from imq.engine.render.formats import FORMATS
from imq.grammar._lalr_tables import PRODUCTIONS
from imq.grammar.parser import parse
from language.strategies import VOCABULARY
from test_architecture import CHECKOUT

DOCS = runpy.run_path(str(CHECKOUT / "build" / "generate_docs.py"))
MODULES = [
    imq.engine.help.completion,
    *(importlib.import_module(f"imq.api.{one.name}") for one in pkgutil.iter_modules(imq.api.__path__)),
]
DECLARED: dict[str, Any] = {
    **{f"table {name}": one for name, one in TABLES.items()},
    **{f"{table.name}.{field.name}": field for table in TABLES.values() for field in table.fields},
    **{f"{table.name}: {one.name}": one for table in TABLES.values() for one in table.relations},
    **{f"verb {name}": one for name, one in VERBS.items()},
    **{f"function {name}": one for name, one in {**FUNCTIONS, **AGGREGATES}.items()},
    **{f"phrase {name}": one for name, one in PREDICATES.items()},
    **{f"clause {name}": one for name, one in CLAUSES.items()},
    **{f"form {name}": one for name, one in FORMATS.items()},
    **{f"setting {name}": one for name, one in SETTINGS.items()},
}


@pytest.mark.parametrize(("path", "made"), [("STUB", "stub"), ("REFERENCE", "reference")])
def test_what_is_made_is_fresh(path: str, made: str) -> None:
    kept = pathlib.Path(DOCS[path]).read_text(encoding="utf-8")
    assert kept == DOCS[made](), "run: python build/generate_docs.py"


def test_the_verb_index_is_current() -> None:
    generated = runpy.run_path(str(CHECKOUT / "build" / "verb_index.py"))
    assert pathlib.Path(generated["INDEX"]).read_text(encoding="utf-8") == generated["verb_index"](), (
        "run: python build/generate_docs.py"
    )


@pytest.mark.parametrize("what", DECLARED)
def test_everything_is_told_of(what: str) -> None:
    doc = DECLARED[what].doc
    assert len(doc) > 5
    assert doc == doc.strip()


EXAMPLES = [
    *(verb.example for verb in VERBS.values()),
    *(clause.example for clause in CLAUSES.values()),
    *(f"images where {phrase.example}" for phrase in PREDICATES.values()),
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_parse(text: str) -> None:
    assert len(parse(text, VOCABULARY)) == 1


def test_the_reference_names_everything() -> None:
    page = DOCS["reference"]()
    for declared in (TABLES, VERBS, PREDICATES, FORMATS, SETTINGS):
        assert [name for name in declared if name not in page] == []


def test_the_types_name_what_there_is() -> None:
    """Every public name is in the stub and the other way round, each once."""
    named: list[str] = []
    for node in ast.parse(DOCS["stub"]()).body:
        match node:
            case ast.ImportFrom(module=str(module), names=aliases) if module.startswith("imq"):
                named += [alias.asname or alias.name for alias in aliases]
            case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                named.append(name)
    assert len(named) == len(set(named))
    assert {name for name in named if not name.startswith("_")} - {"Value"} == set(dir(imq))


def test_no_name_means_two_things() -> None:
    groups = [namespace.SIZES, namespace.CLASSES, namespace.WORDS, namespace.ERRORS, namespace.LAZY, TABLES]
    groups += [dict.fromkeys(VERBS), namespace.functions(), namespace.predicates()]
    said = [name for group in groups for name in group]
    assert len(said) == len(set(said))


def test_no_name_hides_a_module() -> None:
    modules = {one.name for one in pkgutil.iter_modules(imq.__path__)} | {"engine", "grammar"}
    assert not modules & set(dir(imq))


def test_importing_loads_nothing() -> None:
    code = "import imq, sys; print(*(name for name in sys.modules if name.startswith('imq')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == {"imq", "imq.grammar", "imq.grammar.record"}


def test_no_field_hides_behind_a_method() -> None:
    fields = {field.name for table in TABLES.values() for field in table.fields}
    assert not fields & {name for name in (*dir(Path), *dir(Expression)) if not name.startswith("_")}


@pytest.mark.parametrize("name", dir(imq))
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(imq, name)
    if callable(value) and not isinstance(value, Expression):
        assert value.__doc__


def test_options_are_said_as_the_grammar_has_them() -> None:
    alone = {method for _, length, method, _ in PRODUCTIONS if method.startswith("option_") and length <= 1}
    own = {f"option_{name.replace(' ', '_')}" for name in FLAGS if not name.startswith("with ")}
    assert own == alone | {"option_dry_run"}, "and those with `with` have one production together"
    for verb in VERBS.values():
        assert set(verb.options) <= {*FLAGS, *LISTS, "as", "to", "from", "message"}


@pytest.mark.parametrize("module", [imq, *MODULES], ids=lambda module: module.__name__)
def test_docstrings_run(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
