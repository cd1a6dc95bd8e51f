"""Divides what PyInstaller found between the two halves of the frozen executable (bootstrap.py says what they are)."""

from __future__ import annotations

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

Entry = tuple[str, str, str]  # PyInstaller's: name in the executable, file, kind
T = TypeVar("T")

FOR_MAKING = frozenset(
    {
        "imq.grammar.generate_tables",  # writes grammar/_lalr_tables.py, with lark
        "imq.editors.pygments_lexer",  # colours the language in editors and on pages, with pygments
    }
)

# Imported by the interpreter before bootstrap.py runs, beside what it has compiled in.
BEGINNING = ("encodings", "encodings.aliases", "encodings.utf_8")


class Halves(NamedTuple, Generic[T]):
    """Something divided between the half that is unpacked at the first start and the half that is not."""

    first: T
    second: T


def modules_of_a_query() -> list[str]:
    """Run `imq images` on a store with one image, and say which modules that imports."""
    with tempfile.TemporaryDirectory() as scratch:
        files = os.path.join(scratch, "files")
        os.mkdir(files)
        listing = ["-X", "utf8", "-X", "importtime", "-c", "from imq.cli.main import run; run()"]
        command = [sys.executable, "-I", *listing, "--root", os.path.join(scratch, "store")]
        for statement in (["import", files, "as", "probe:1"], ["images"]):
            done = subprocess.run([*command, *statement], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"freeze: imq does not work here:\n{done.stdout}{done.stderr[-2000:]}")
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return sorted({*(line.rpartition("|")[2].strip() for line in lines)})


def modules_of_the_beginning() -> Iterator[Entry]:
    """Find the modules that the interpreter imports before bootstrap.py runs."""
    for name in BEGINNING:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise SystemExit(f"freeze: this Python has no {name}")
        yield name, spec.origin, "PYMODULE"


def modules_of_the_package() -> list[str]:
    """Name every module of imq but those that are for making it: many are imported by a name known at run time."""
    spec = importlib.util.find_spec("imq")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("freeze: imq is not installed in this environment")
    found = (module.name for module in pkgutil.walk_packages(spec.submodule_search_locations, "imq."))
    return ["imq", *(name for name in found if name not in FOR_MAKING)]


def is_superfluous(name: str) -> bool:
    """Tell whether a data file of a library serves only those who install or type-check it."""
    file = os.path.basename(name)
    return file.endswith((".pyi", ".lark")) or file in {"py.typed", "INSTALLER", "RECORD", "REQUESTED", "WHEEL"}


def divide_files(entries: Iterable[Entry]) -> Halves[list[Entry]]:
    """Divide data files: what libraries open, and what only describes them."""
    halves: Halves[list[Entry]] = Halves([], [])
    for entry in sorted(entries):
        (halves.second if ".dist-info/" in entry[0] else halves.first).append(entry)
    return halves


def divide_binaries(entries: Iterable[Entry], early: frozenset[str], program: str) -> Halves[list[Entry]]:
    """Divide extension modules and shared libraries: what the interpreter and an ordinary query need, and the rest."""
    found = sorted(
        entry for entry in entries if entry[2] in {"EXTENSION", "BINARY"} and not entry[0].startswith("libpython")
    )
    roots = [entry for entry in found if module_name(entry) in early]
    needed = {os.path.basename(path) for path in _libraries([*roots, ("imq", program, "BINARY")])}
    for name, path, _ in found:
        if any(os.path.basename(library).startswith("libpython") for _, library in get_imports(path)):
            raise SystemExit(f"freeze: {name} would bring a second interpreter: it is linked with a shared libpython")
    halves: Halves[list[Entry]] = Halves([], [])
    for entry in found:
        (halves.first if entry in roots or os.path.basename(entry[0]) in needed else halves.second).append(entry)
    return halves


def system_libraries(binaries: Iterable[str], program: str) -> list[str]:
    """List what PyInstaller leaves to the system: the dynamic loader, which is the first, and the C library's files.

    `binaries`: the files that PyInstaller does bring; `program`: the interpreter.
    """
    asked = subprocess.run(["patchelf", "--print-interpreter", program], capture_output=True, text=True, check=True)
    loader = asked.stdout.strip()
    brought = {os.path.basename(path) for path in (*binaries, loader)}
    entries = [(path, path, "BINARY") for path in (*binaries, program)]
    return [loader, *(path for path in _libraries(entries) if os.path.basename(path) not in brought)]


def module_name(entry: Entry) -> str | None:
    """Name the module that an extension file holds: `isal/isal_zlib.abi3.so` holds `isal.isal_zlib`."""
    name, _, kind = entry
    if kind != "EXTENSION":
        return None
    folder, _, file = name.rpartition("/")
    stem = file.partition(".")[0]
    return stem if folder.endswith("lib-dynload") or not folder else f"{folder.replace('/', '.')}.{stem}"


def table_of_extensions(second: list[Entry]) -> dict[str, tuple[str, ...]]:
    """Tell, for each extension module of the second half, its file and the libraries that it needs."""
    libraries = {os.path.basename(entry[0]): entry[0] for entry in second if entry[2] == "BINARY"}
    table = {}
    for entry in second:
        module = module_name(entry)
        if module is not None:
            needed = {os.path.basename(library) for library in _libraries([entry])}
            table[module] = (entry[0], *(libraries[need] for need in sorted(needed & libraries.keys())))
    return table


def carried(entries: Iterable[Entry]) -> list[str]:
    """Name what entries are of: packages, and modules of no package. Shared libraries beside them are left out."""
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
    """A module ready to import: its name, whether it is a package, its marshalled code (none in a bare folder)."""

    name: str
    package: bool
    code: bytes


def member_module(member: str, content: bytes) -> Compiled:
    """Turn a member of an archive that zipimport reads into a module."""
    path = member.removesuffix(".pyc")
    name = path.removesuffix("/__init__")
    return Compiled(name.replace("/", "."), name != path, content[16:])


def compiled(modules: Iterable[Entry]) -> Iterator[Compiled]:
    """Compile modules; their code names no folder of this machine."""
    for name, source, _ in modules:
        if source in {"-", None}:  # a package without a file
            yield Compiled(name, package=True, code=b"")
            continue
        package = os.path.splitext(os.path.basename(source))[0] == "__init__"
        file = name.replace(".", "/") + ("/__init__.py" if package else ".py")
        code = replace_filename_in_code_object(get_code_object(name, source, optimize=0), file)
        yield Compiled(name, package, marshal.dumps(code))


def _libraries(entries: Iterable[Entry]) -> list[str]:
    """List the shared libraries that binaries are linked with, themselves or through others."""
    return sorted({path for entry in entries for _, path in get_imports(entry[1]) if path is not None})
