"""Makes the frozen executable: one static file, from the imq installed in the environment that runs this.

    python build/freeze.py SCRATCH OUTPUT

PyInstaller finds the parts and makes the program (imq.spec), parts.py divides them. The first half is packed into the
static launcher (launcher.c), and the second half is appended as a zip archive. The same input gives the same file.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import components
import parts
import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

EXECUTABLE = 0o755
HERE = os.path.dirname(os.path.abspath(__file__))
COMPILE = ("gcc", "-std=gnu17", "-Os", "-Wall", "-Wextra", "-s", "-Wl,--build-id=none")

HEADER = """\
#define FOLDER "{folder}"
#define LOADER "{loader}"
#define PRELOADED "lib/names.so"
#define PROGRAM "imq"
#define PACKED "packed"
#define PACKED_SIZE {size}
#define APPENDED {appended}
static const struct part parts[] = {{
{rows}
}};
"""


class Part(NamedTuple):
    """A file that the launcher unpacks: where to, from where, and whether programs are made of it."""

    name: str
    path: str
    runs: bool = False


def run_pyinstaller(scratch: str) -> dict[str, Any]:
    """Analyse imq with PyInstaller, and read the layout that imq.spec writes."""
    modules = os.path.join(scratch, "modules.json")
    layout = os.path.join(scratch, "layout.json")
    with open(modules, "w", encoding="utf-8") as file:
        json.dump(parts.modules_of_a_query(), file)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN"]
    folders = ["--distpath", scratch, "--workpath", os.path.join(scratch, "work")]
    subprocess.run([*command, *folders, os.path.join(HERE, "imq.spec"), "--", modules, layout], check=True)
    refuse_gaps(os.path.join(scratch, "work", "imq", "warn-imq.txt"))
    with open(layout, encoding="utf-8") as file:
        return dict(json.load(file))


def refuse_gaps(report: str) -> None:
    """Stop when imq itself imports a module that PyInstaller did not find or that imq.spec leaves out."""
    gap = re.compile(r"(missing|excluded) module named '?([\w.]+)'? - imported by .*?\b(imq[\w.]*) \((?!conditional\))")
    with open(report, encoding="utf-8") as file:
        found = [line.groups() for line in map(gap.search, file) if line]
    gaps = [f"{by} imports {name}" for why, name, by in found if why == "excluded" or not is_attribute(name)]
    if gaps:
        raise SystemExit("freeze: not in the executable: " + "; ".join(gaps))


def is_attribute(name: str) -> bool:
    """Tell whether a name that PyInstaller took for a module is something that a module has."""
    module, _, attribute = name.rpartition(".")
    try:
        return bool(module) and hasattr(importlib.import_module(module), attribute)
    except ImportError:
        return False


def stripped(files: Iterable[tuple[str, str]], folder: str) -> Iterator[tuple[str, str]]:
    """Copy binaries without symbols, and without search paths of the machine that they were built on."""
    for name, path in files:
        copy = os.path.join(folder, name)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)
        if name.endswith(".so") or ".so." in name:
            os.chmod(copy, EXECUTABLE)
            subprocess.run(["strip", "--strip-unneeded", copy], check=True)
            subprocess.run(["patchelf", "--remove-rpath", copy], check=True)
        yield name, copy


def write_modules(layout: dict[str, Any], second: Mapping[str, bytes], ready: str) -> dict[str, bytes]:
    """Write the file of the modules that start.py has ready, and return the others as members of the archive.

    It begins with the length of a table: where each module is, then what start.py has to know of the second half.
    """
    modules = [*parts.compiled(layout["ready"])]
    packed = [*parts.compiled(layout["packed"])]
    early = frozenset(layout["early"])
    with zipfile.ZipFile(layout["library"]) as library:
        for member in library.namelist():
            module = parts.member_module(member, library.read(member))
            (modules if module.name in early else packed).append(module)
    places, content = {}, b""
    for module in sorted(modules):
        places[module.name] = (module.package, len(content), len(module.code))
        content += module.code
    extensions = {name: tuple(files) for name, files in sorted(layout["extensions"].items())}
    checks = {name: (len(file), zlib.crc32(file)) for name, file in sorted(second.items())}
    table = marshal.dumps((places, extensions, checks))
    with open(ready, "wb") as file:
        file.write(len(table).to_bytes(4, "big") + table + content)
    return dict(module.member() for module in packed)


def write_archive(path: str, members: Mapping[str, bytes], date: int) -> None:
    """Write the zip archive of the second half."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(members):
            member = zipfile.ZipInfo(name, time.gmtime(date)[:6])
            archive.writestr(member, members[name], zipfile.ZIP_DEFLATED, compresslevel=9)


def collect_first(layout: dict[str, Any], program: str, system: list[str], scratch: str) -> list[Part]:
    """List what the launcher unpacks: the loader, PyInstaller's program, and in lib/ all that they open."""
    names = os.path.join(scratch, "names.so")
    subprocess.run([*COMPILE, "-shared", "-fPIC", "-o", names, os.path.join(HERE, "names.c")], check=True)
    loader, *libraries = system
    files = [*layout["first"], *([os.path.basename(path), path] for path in libraries), ["names.so", names]]
    copies = [Part(f"lib/{name}", path) for name, path in stripped(files, os.path.join(scratch, "first"))]
    return sorted([*copies, Part(os.path.basename(loader), loader, runs=True), Part("imq", program, runs=True)])


def write_bill(layout: dict[str, Any], system: Iterable[str]) -> dict[str, bytes]:
    """Return, as members of the archive, the module of the bill of materials (imq/bill.py) and the licence texts."""
    asked = subprocess.run([COMPILE[0], "-print-file-name=libzstd.a"], capture_output=True, text=True, check=True)
    static = asked.stdout.strip()  # what the launcher is linked with, beside the C library
    found, texts = components.list_components({*layout["libraries"], *system, static}, layout["carried"])
    rows = [(entry.name, entry.version, entry.licence, entry.source, entry.texts) for entry in found]
    code = compile(f"COMPONENTS = {tuple(rows)!r}", "imq/_components.py", "exec")
    name, content = parts.Compiled("imq._components", package=False, code=marshal.dumps(code)).member()
    return {name: content, **texts}


def make_launcher(files: list[Part], appended: int, scratch: str, output: str) -> None:
    """Pack the first half and compile the launcher around it; `appended` bytes will follow it in the executable."""
    contents = []
    for part in files:
        with open(part.path, "rb") as file:
            contents.append(file.read())
    packed = zstandard.ZstdCompressor(level=22).compress(b"".join(contents))
    rows = "\n".join(
        f'    {{"{part.name}", {len(content)}, {"0700" if part.runs else "0600"}}},'
        for part, content in zip(files, contents, strict=True)
    )
    folder = hashlib.sha256(packed + rows.encode()).hexdigest()[:32]
    (loader,) = (part.name for part in files if part.runs and part.name != "imq")
    with open(os.path.join(scratch, "packed"), "wb") as file:
        file.write(packed)
    with open(os.path.join(scratch, "parts.h"), "w", encoding="utf-8") as file:
        file.write(HEADER.format(folder=folder, loader=loader, size=len(packed), appended=appended, rows=rows))
    command = [*COMPILE, "-static", "-I.", "-o", output, os.path.join(HERE, "launcher.c"), "-lzstd"]
    subprocess.run(command, cwd=scratch, check=True)


def main(scratch: str, output: str) -> None:
    """Make the executable `output`; `scratch` is a folder for what is needed on the way."""
    date = int(os.environ["SOURCE_DATE_EPOCH"])
    layout = run_pyinstaller(scratch)
    made, ready, archive = (os.path.join(scratch, name) for name in ("imq.static", "ready", "second.zip"))
    second = {}
    for name, path in stripped(layout["second"], os.path.join(scratch, "second")):
        with open(path, "rb") as file:
            second[name] = file.read()
    members = {**write_modules(layout, second, ready), **second}
    layout["first"].append(["ready", ready])
    program = os.path.join(scratch, "work", "imq", "imq")
    system = parts.system_libraries(layout["binaries"], program)
    first = collect_first(layout, program, system, scratch)
    members |= write_bill(layout, system)
    write_archive(archive, members, date)
    make_launcher(first, os.path.getsize(archive), scratch, made)
    with open(made, "ab") as program, open(archive, "rb") as file:
        shutil.copyfileobj(file, program)
    os.chmod(made, EXECUTABLE)
    os.makedirs(os.path.dirname(output), exist_ok=True)
    os.replace(made, output)
    print(f"{output}: {os.path.getsize(output) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*map(os.path.abspath, sys.argv[1:3]))
