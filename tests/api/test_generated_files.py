"""Generated files are up to date, and every declaration is documented."""

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
from imq.api.statements import FLAGS, LISTS, MAPS
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
    **{f"predicate {name}": one for name, one in PREDICATES.items()},
    **{f"clause {name}": one for name, one in CLAUSES.items()},
    **{f"format {name}": one for name, one in FORMATS.items()},
    **{f"setting {name}": one for name, one in SETTINGS.items()},
}


@pytest.mark.parametrize(("path", "generator"), [("STUB", "stub"), ("REFERENCE", "reference")])
def test_generated_files_are_current(path: str, generator: str) -> None:
    text = pathlib.Path(DOCS[path]).read_text(encoding="utf-8")
    assert text == DOCS[generator](), "run: python build/generate_docs.py"


def test_the_module_of_verbs_is_current() -> None:
    generated = runpy.run_path(str(CHECKOUT / "build" / "verb_modules.py"))
    assert pathlib.Path(generated["PATH"]).read_text(encoding="utf-8") == generated["render_verb_modules"](), (
        "run: python build/generate_docs.py"
    )


@pytest.mark.parametrize("name", DECLARED)
def test_every_declaration_has_a_description(name: str) -> None:
    doc = DECLARED[name].doc
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


def test_the_stub_has_every_public_name() -> None:
    """The stub has exactly the public names, each once."""
    stub_names: list[str] = []
    for node in ast.parse(DOCS["stub"]()).body:
        match node:
            case ast.ImportFrom(module=str(module), names=aliases) if module.startswith("imq"):
                stub_names += [alias.asname or alias.name for alias in aliases]
            case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                stub_names.append(name)
    assert len(stub_names) == len(set(stub_names))
    assert {name for name in stub_names if not name.startswith("_")} - {"Value"} == set(dir(imq))


def test_public_names_are_unique() -> None:
    groups = [namespace.SIZES, namespace.CLASSES, namespace.WORDS, namespace.ERRORS, namespace.LAZY, TABLES]
    groups += [dict.fromkeys(VERBS), namespace.functions(), namespace.predicates()]
    names = [name for group in groups for name in group]
    assert len(names) == len(set(names))


def test_no_public_name_hides_a_module() -> None:
    modules = {one.name for one in pkgutil.iter_modules(imq.__path__)} | {"engine", "grammar"}
    assert not modules & set(dir(imq))


def test_importing_the_package_loads_no_other_module() -> None:
    code = "import imq, sys; print(*(name for name in sys.modules if name.startswith('imq')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == {"imq", "imq.grammar", "imq.grammar.record"}


def test_no_field_has_the_name_of_a_method() -> None:
    methods = {name for name in (*dir(Path), *dir(Expression)) if not name.startswith("_")}
    single = {one.table for table in TABLES.values() for one in table.relations if not one.is_many}
    nested = {field.name for name in single for field in TABLES[name].fields}  # f.remote.digest
    assert not nested & methods
    for name in {field.name for table in TABLES.values() for field in table.fields} & methods:
        assert str(getattr(imq.field, name)) == name


@pytest.mark.parametrize("name", dir(imq))
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(imq, name)
    if callable(value) and not isinstance(value, Expression):
        assert value.__doc__


def test_options_match_the_grammar() -> None:
    valueless = {method for _, length, method, _ in PRODUCTIONS if method.startswith("option_") and length <= 1}
    flags = {f"option_{name.replace(' ', '_')}" for name in FLAGS if not name.startswith("with ")}
    of_two_words = {"option_dry_run", "option_ignoring_times"}
    assert flags == valueless | of_two_words, "options with `with` share one production"
    for verb in VERBS.values():
        assert set(verb.options) <= {*FLAGS, *LISTS, *MAPS, "as", "to", "from", "in", "message"}


def test_the_place_of_an_image_follows_it() -> None:
    statement = imq.create("web", in_="docker", run=["sh"], from_="redis:7")
    assert str(statement) == "create web from redis:7 in docker run sh"
    (parsed,) = parse(str(statement), VOCABULARY)
    assert parsed == statement.node


@pytest.mark.parametrize("module", [imq, *MODULES], ids=lambda module: module.__name__)
def test_docstrings_run(module: Any) -> None:
    assert doctest.testmod(module).failed == 0
