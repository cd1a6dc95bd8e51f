"""Divides the files that PyInstaller found between the two halves of the frozen executable; see bootstrap.py."""

from __future__ import annotations

import importlib
import importlib.util
import marshal
import os
import pkgutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from PyInstaller.building.utils import get_code_object, replace_filename_in_code_object
from PyInstaller.depend.bindepend import get_imports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Entry = tuple[str, str, str]  # of PyInstaller: name in the executable, path, kind
T = TypeVar("T")

EXCLUDED_MODULES = frozenset(
    {
        "imq.grammar.generate_tables",  # writes grammar/_lalr_tables.py, with lark
        "imq.editors.pygments_lexer",  # imported only by pygments
    }
)

# Imported by the interpreter before bootstrap.py runs, in addition to built-in modules.
START_MODULES = ("encodings", "encodings.aliases", "encodings.utf_8")


class Halves(NamedTuple, Generic[T]):
    """A pair: the half that is unpacked at the first start, and the half that is not."""

    first: T
    second: T


def list_query_modules() -> list[str]:
    """Run `imq images` on a store with one image; return the modules that it imports."""
    with tempfile.TemporaryDirectory() as scratch:
        files = os.path.join(scratch, "files")
        os.mkdir(files)
        python = ["-X", "utf8", "-X", "importtime", "-c", "from imq.cli.main import run; run()"]
        command = [sys.executable, "-I", *python, "--root", os.path.join(scratch, "store")]
        for statement in (["import", files, "as", "probe:1"], ["images"]):
            run = subprocess.run([*command, *statement], capture_output=True, text=True, check=False)
            if run.returncode != 0:
                raise SystemExit(f"freeze: imq fails in this environment:\n{run.stdout}{run.stderr[-2000:]}")
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return sorted({*(line.rpartition("|")[2].strip() for line in lines)})


def find_start_modules() -> Iterator[Entry]:
    """Find the modules that the interpreter imports before bootstrap.py runs."""
    for name in START_MODULES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise SystemExit(f"freeze: this Python has no {name}")
        yield name, spec.origin, "PYMODULE"


def list_package_modules() -> list[str]:
    """List every module of imq except `EXCLUDED_MODULES`. PyInstaller does not find imports by a computed name."""
    spec = importlib.util.find_spec("imq")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("freeze: imq is not installed in this environment")
    names = (module.name for module in pkgutil.walk_packages(spec.submodule_search_locations, "imq."))
    return ["imq", *(name for name in names if name not in EXCLUDED_MODULES)]


def list_package_files() -> list[tuple[str, str]]:
    """List the files that imq reads of its packages: their paths, and the folders that have them when unpacked."""
    name = "imq.engine.render.report"
    (folder,) = importlib.import_module(name).__path__
    return [
        (os.path.join(folder, file), name.replace(".", "/"))
        for file in sorted(os.listdir(folder))
        if file.startswith(("page.", "echarts.")) and not file.endswith((".py", ".pyc"))
    ]


def is_superfluous(name: str) -> bool:
    """Whether a data file of a library is used only for installation or type checking."""
    file = os.path.basename(name)
    return file.endswith((".pyi", ".lark")) or file in {"py.typed", "INSTALLER", "RECORD", "REQUESTED", "WHEEL"}


def divide_files(entries: Iterable[Entry]) -> Halves[list[Entry]]:
    """Divide data files: files that libraries open, and their metadata."""
    halves: Halves[list[Entry]] = Halves([], [])
    for entry in sorted(entries):
        (halves.second if ".dist-info/" in entry[0] else halves.first).append(entry)
    return halves


def divide_binaries(entries: Iterable[Entry], early: frozenset[str], program: str) -> Halves[list[Entry]]:
    """Divide extension modules and shared libraries: those that the interpreter and a query need, and the rest."""
    binaries = sorted(
        entry for entry in entries if entry[2] in {"EXTENSION", "BINARY"} and not entry[0].startswith("libpython")
    )
    roots = [entry for entry in binaries if module_name(entry) in early]
    required = {os.path.basename(path) for path in _libraries([*roots, ("imq", program, "BINARY")])}
    for name, path, _ in binaries:
        if any(os.path.basename(library).startswith("libpython") for _, library in get_imports(path)):
            raise SystemExit(f"freeze: {name} is linked with a shared libpython, which would be a second interpreter")
    halves: Halves[list[Entry]] = Halves([], [])
    for entry in binaries:
        (halves.first if entry in roots or os.path.basename(entry[0]) in required else halves.second).append(entry)
    return halves


def system_libraries(binaries: Iterable[str], program: str) -> list[str]:
    """List the libraries that PyInstaller does not pack: first the dynamic loader, then those of the C library.

    `binaries` are the files that PyInstaller packs; `program` is the interpreter.
    """
    run = subprocess.run(["patchelf", "--print-interpreter", program], capture_output=True, text=True, check=True)
    loader = run.stdout.strip()
    packed = {os.path.basename(path) for path in (*binaries, loader)}
    entries = [(path, path, "BINARY") for path in (*binaries, program)]
    return [loader, *(path for path in _libraries(entries) if os.path.basename(path) not in packed)]


def module_name(entry: Entry) -> str | None:
    """Return the module of an extension file: `isal.isal_zlib` for `isal/isal_zlib.abi3.so`."""
    name, _, kind = entry
    if kind != "EXTENSION":
        return None
    folder, _, file = name.rpartition("/")
    stem = file.partition(".")[0]
    return stem if folder.endswith("lib-dynload") or not folder else f"{folder.replace('/', '.')}.{stem}"


def map_extensions(half: list[Entry]) -> dict[str, tuple[str, ...]]:
    """Map each extension module of a half to its file and the libraries of that half that it requires."""
    libraries = {os.path.basename(entry[0]): entry[0] for entry in half if entry[2] == "BINARY"}
    table = {}
    for entry in half:
        module = module_name(entry)
        if module is not None:
            required = {os.path.basename(library) for library in _libraries([entry])}
            table[module] = (entry[0], *(libraries[name] for name in sorted(required & libraries.keys())))
    return table


def list_top_level_modules(entries: Iterable[Entry]) -> list[str]:
    """List the top-level packages and modules of entries, without shared libraries."""
    names = set()
    for entry in entries:
        name, _, kind = entry
        module = name if kind == "PYMODULE" else module_name(entry)
        if module is not None:
            names.add(module.partition(".")[0])
        elif "/" in name:
            names.add(name.partition("/")[0].partition("-")[0])  # prompt_toolkit-3.0.53.dist-info/METADATA
    return sorted(names)


class Compiled(NamedTuple):
    """A compiled module: its name, whether it is a package, its marshalled code (empty for a namespace package)."""

    name: str
    package: bool
    code: bytes


def member_module(member: str, content: bytes) -> Compiled:
    """Return the module of a member of a zip archive for zipimport."""
    path = member.removesuffix(".pyc")
    name = path.removesuffix("/__init__")
    return Compiled(name.replace("/", "."), name != path, content[16:])


def compile_modules(modules: Iterable[Entry]) -> Iterator[Compiled]:
    """Compile modules. Their code contains no absolute path."""
    for name, source, _ in modules:
        if source in {"-", None}:  # a namespace package
            yield Compiled(name, package=True, code=b"")
            continue
        package = os.path.splitext(os.path.basename(source))[0] == "__init__"
        file = name.replace(".", "/") + ("/__init__.py" if package else ".py")
        code = replace_filename_in_code_object(get_code_object(name, source, optimize=0), file)
        yield Compiled(name, package, marshal.dumps(code))


def _libraries(entries: Iterable[Entry]) -> list[str]:
    """List the shared libraries that binaries are linked with, directly or indirectly."""
    return sorted({path for entry in entries for _, path in get_imports(entry[1]) if path is not None})
