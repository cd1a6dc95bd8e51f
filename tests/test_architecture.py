"""The code has the layers of engine/README.md: imports go one way, without cycles, and heavy libraries load late."""

from __future__ import annotations

import ast
import functools
import importlib
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from imq.engine.catalog.tables import SEARCH_TABLES, TABLES, Table, TargetKind
from support.images import write_library

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = {"imq": "dsl", "imq.grammar": "grammar", "imq.engine": "engine"}
MAP = (CHECKOUT / "engine" / "README.md").read_text(encoding="utf-8")

HEAVY = {
    "lark": {"imq.grammar.generate_tables"},
    "requests": {"imq.engine.registry.http.fast_import", "imq.engine.registry.http.requests_transport"},
    "prompt_toolkit": {"imq.repl.line_editor"},
    "tabulate": {"imq.engine.render.formats_markup"},
    "isal": {"imq.engine.layers.compression", "imq.engine.layers.tar_header", "imq.engine.layers.tar_walker"},
    "backports": {"imq.engine.layers.zstd"},
    "h2": {"imq.engine.containerd_client.grpc_connection"},
    "psycopg": {"imq.engine.postgresql.connection"},
    "re2": {"imq.engine.query.matching"},
    "yaml": {"imq.engine.render.yaml_writer", "imq.engine.sources.local.yaml_rows"},
    "pygments": {"imq.editors.pygments_lexer"},
    "distributed": {"imq.engine.workers.dask_cluster", "imq.engine.workers.dask_plugin"},
    "sqlite3": {
        "imq.engine.layer_index.packed_index",
        "imq.engine.layer_index.scan",
        "imq.engine.store.attached_database",
        "imq.engine.store.database",
        "imq.engine.session.queries",
        "imq.engine.packages.rpm_sqlite",
        "imq.engine.query.sqlite_executor",
        "imq.engine.session.session",
        "imq.engine.store.index",
        "imq.engine.store.registry_cache",
    },
}
"""The modules that import each library: one room for each."""
LATE = {*HEAVY} - {"sqlite3"} | {"typing", "dataclasses", "inspect", "json", "pathlib", "ssl", "hashlib", "tomllib"}
"""What a question does without, because loading it takes a good part of the time that a question may take."""

DEFERRED = {
    "imq.cli.progress_bars",
    "imq.engine.actions.verb",
    "imq.engine.catalog.predicates",
    "imq.engine.catalog.tables.local",
    "imq.engine.catalog.tables.registry",
    "imq.engine.oci.config",
    "imq.engine.oci.json_schema",
    "imq.engine.oci.manifest",
    "imq.engine.oci.manifest_walk",
    "imq.engine.oci.platform",
    "imq.engine.oci.reference",
    "imq.engine.query.binder.calls",
    "imq.engine.query.binder.group_check",
    "imq.engine.query.binder.joins",
    "imq.engine.query.binder.list_aggregates",
    "imq.engine.query.binder.set_operations",
    "imq.engine.query.binder.subqueries",
    "imq.engine.query.constant_folding",
    "imq.engine.query.fetch_plan",
    "imq.engine.query.unavailable_fields",
    "imq.engine.render.format_tree",
    "imq.engine.render.formats_data",
    "imq.engine.render.formats_markup",
    "imq.engine.session.explain",
    "imq.engine.session.run_action",
    "imq.engine.sources.image_names",
    "imq.engine.store.atomic_files",
    "imq.engine.store.corruption",
    "imq.engine.store.index_documents",
    "imq.engine.store.index_entries",
    "imq.engine.store.index_json",
    "imq.engine.store.index_rows",
    "imq.engine.store.index_update",
    "imq.engine.store.leases",
    "imq.engine.store.shared_sizes",
    "imq.engine.store.unreadable_images",
    "imq.engine.units.exact_json",
    "imq.engine.units.paths",
    "imq.grammar.unparser",
    "fcntl",
    "zlib",
}
"""What a query of the store without conditions does without: each module takes about 0.2 ms to import."""


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax of every module, by its name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            inside = path.relative_to(CHECKOUT / folder).with_suffix("").as_posix().replace("/", ".")
            name = f"{package}.{inside}".removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


@functools.cache
def packages() -> set[str]:
    return {name for name in modules() if any(other.startswith(f"{name}.") for other in modules())}


def statements(tree: ast.AST, *, within: bool, typing: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of a module, with `within` those of functions too, with `typing` those for the type checker."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing:
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif within or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from statements(node, within=within, typing=typing)


@functools.cache
def imports(name: str, *, within: bool = True, typing: bool = False) -> frozenset[str]:
    """Return the modules that a module imports, as far as they can be told."""
    found: set[str] = set()
    for node in statements(modules()[name], within=within, typing=typing):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = node.module or ""
        if node.level:
            home = name.split(".") if name in packages() else name.split(".")[:-1]
            base = ".".join([*home[: len(home) - node.level + 1], *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            found.add(inner if inner in modules() else base)
    return frozenset(found)


def layers() -> dict[str, int]:
    """Return the layers of the engine with their places in the list of engine/README.md."""
    table = MAP.partition("<!-- layers -->")[2].partition("<!-- /layers -->")[0]
    return {name: at for at, name in enumerate(re.findall(r"^\| `(\w+)/?` \|", table, re.MULTILINE))}


def layer(name: str) -> str:
    return name.split(".")[2]


def test_the_map_lists_every_layer_of_the_engine() -> None:
    assert set(layers()) == {layer(name) for name in modules() if name.startswith("imq.engine.")}


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("imq.grammar")])
def test_the_grammar_knows_nothing_above_it(name: str) -> None:
    assert not [other for other in imports(name) if other.startswith("imq") and not other.startswith("imq.grammar")]


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("imq.engine.")])
def test_the_engine_imports_downwards(name: str) -> None:
    places = layers()
    for other in imports(name, typing=True):
        assert not other.startswith("imq") or other.startswith(("imq.engine.", "imq.grammar")), other
        if other.startswith("imq.engine."):
            assert places[layer(name)] <= places[layer(other)], f"{name} imports {other}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports for the type checker count: two modules that need each other's types are one thing in two files."""
    graph = {name: {other for other in imports(name, typing=True) if other in modules()} - {name} for name in modules()}
    for package in packages():  # a package re-exports what it holds
        graph[package] = {other for other in graph[package] if not other.startswith(f"{package}.")}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


@pytest.mark.parametrize("library_name", HEAVY)
def test_a_library_has_its_room(library_name: str) -> None:
    users = {name for name in modules() if any(other.split(".")[0] == library_name for other in imports(name))}
    assert users == HEAVY[library_name]


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["images"],
        ["images count"],
        ["images where dangling format '{{.Size}}'"],
        ["help"],
        ["help created"],
        ["completion", "zsh"],
    ],
)
def test_a_question_loads_only_what_it_needs(words: list[str], tmp_path: pathlib.Path) -> None:
    write_library(tmp_path / "store")
    code = (
        "import sys; from imq.cli.main import Cli; Cli(sys.stdin, sys.stdout, sys.stderr, {}).main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    arguments = ["-c", code, "--root", str(tmp_path / "store"), *words]
    path = {"PYTHONPATH": installed(tmp_path)}
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)  # measures the layers, once
    run = subprocess.run([sys.executable, "-S", *arguments], env=path, capture_output=True, text=True, check=True)
    assert run.stdout
    modules = set(run.stderr.split())
    assert not LATE & {name.split(".")[0] for name in modules}
    if words in (["images"], ["images count"]):
        assert sorted(DEFERRED & modules) == []
    if words[0] in ("help", "--help", "--version", "completion"):
        assert not {"sqlite3", "imq.engine.session.session", "imq.engine.store.index", "imq.api"} & modules


def test_the_deferred_modules_exist() -> None:
    assert {name for name in DEFERRED if name.startswith("imq.")} <= set(modules())


def test_the_tables_are_those_that_the_modules_declare() -> None:
    """`TABLES` has the names of tables whose modules are not imported yet, and `SEARCH_TABLES` what they take."""
    folder = CHECKOUT / "engine" / "catalog" / "tables"
    declared = [
        value
        for path in folder.glob("*.py")
        for value in vars(importlib.import_module(f"imq.engine.catalog.tables.{path.stem}")).values()
        if path.stem != "__init__" and isinstance(value, Table)
    ]
    assert {table.name for table in declared} == set(TABLES) == {table.name for table in TABLES.values()}
    assert {table.name for table in declared if table.target is TargetKind.TERM} == SEARCH_TABLES


VERB = """
from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.grammar.record import Record

from .operands import resolve_targets
from .verb import OperandKind, Verb


class Greet(Record):
    name: str

    def describe(self):
        return Outcome("greet", self.name)

    def execute(self, context):
        yield self.describe().replace(note=f"hello at {context.clock() > 0}")


def _plan_greet(act, context):
    return [Greet(target.name) for target in resolve_targets(act, context)]


VERB = Verb("greet", "Greet images.", "greet redis:7", OperandKind.IMAGES, options=("dry run",), plan=_plan_greet)
"""


def test_a_verb_is_one_file(tmp_path: pathlib.Path) -> None:
    """The index of verbs is generated; parsing, dispatch, dry run, help and completion follow from the module."""
    write_library(tmp_path / "store")
    packages = pathlib.Path(installed(tmp_path))
    engine = packages / "imq" / "engine"
    engine.unlink()
    engine.mkdir()
    for path in (CHECKOUT / "engine").iterdir():
        if path.name != "actions":
            (engine / path.name).symlink_to(path)
    shutil.copytree(CHECKOUT / "engine" / "actions", engine / "actions", ignore=shutil.ignore_patterns("__pycache__"))
    (engine / "actions" / "greet.py").write_text(VERB, encoding="utf-8")

    def run(code: str, *words: str) -> str:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; sys.path[:0] = {[str(packages), str(CHECKOUT / 'build')]!r}; {code}",
                *words,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    run("import verb_modules; verb_modules.write_verb_modules()")
    main = "from imq.cli.main import Cli; Cli(sys.stdin, sys.stdout, sys.stderr, {}).main(sys.argv[1:])"
    root = ("--root", str(tmp_path / "store"))
    assert "hello at True" in run(main, *root, "greet redis:7")
    assert "hello" not in run(main, *root, "--dry-run", "greet images where name = redis:7")
    assert "Greet images." in run(main, "help", "greet")
    completed = run(
        "from imq.engine.actions import VERBS; from imq.engine.help.completion import complete; "
        "from imq.grammar.lexer import Vocabulary; words = Vocabulary(frozenset(VERBS), frozenset(), frozenset()); "
        "print([word.text for word in complete('gre', 3, words).words])"
    )
    assert "greet" in completed


def installed(folder: pathlib.Path) -> str:
    """Lay the packages out as pip does, through links, so that no finder of an editable install is loaded too."""
    home = folder / "packages" / "imq"
    home.mkdir(parents=True)
    for path in (CHECKOUT / "dsl").iterdir():
        (home / path.name).symlink_to(path)
    for name in ("grammar", "engine"):
        (home / name).symlink_to(CHECKOUT / name)
    return str(home.parent)


def test_every_package_is_installed() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert packages() <= set(project["tool"]["setuptools"]["packages"])
