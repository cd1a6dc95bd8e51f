"""Builds the frozen executable: one static file, from the imq installed in this Python environment.

    python build/freeze/freeze.py SCRATCH OUTPUT

PyInstaller collects the files (pyinstaller.spec), and split.py divides them into two halves. The executable is the
static launcher (launcher.c), then the compressed first half with the interpreter (interpreter.c), then the second half,
a zip archive. The same input produces the same file.
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
import sysconfig
import time
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import sbom_components
import split
from imq.engine.layers.zstd import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

EXECUTABLE = 0o755
HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.join(HERE, os.pardir, os.pardir)
OPTIONAL = frozenset({"distributed", "pandas", "psycopg", "pyarrow"})
"""Packages of the extras: imq uses them where they are installed, and the executable says how to get them."""
COMPILE = ("gcc", "-std=gnu17", "-Os", "-Wall", "-Wextra", "-s", "-Wl,--build-id=none")

HEADER = """\
#define FOLDER "{folder}"
#define LOADER "{loader}"
#define PROGRAM "imq"
#define PACKED {packed}
#define APPENDED {appended}
static const struct part parts[] = {{
{rows}
}};
"""


class Part(NamedTuple):
    """A file that the launcher unpacks: its name in the folder, its path here, and whether it is executable."""

    name: str
    path: str
    is_executable: bool = False


def format_array(name: str, content: bytes) -> str:
    """Format bytes as a constant of C."""
    return f"static const unsigned char {name}[] = {{{','.join(map(str, content))}}};\n"


def make_program(scratch: str) -> str:
    """Compile interpreter.c with the interpreter and its first modules; return the path of the program."""
    (start,) = split.compile_modules([("start", os.path.join(HERE, "bootstrap.py"), "PYMODULE")])
    rows = ""
    with open(os.path.join(scratch, "start.h"), "w", encoding="ascii") as header:
        for number, module in enumerate(split.compile_modules(split.find_start_modules())):
            header.write(format_array(f"frozen_{number}", module.code))
            row = f'.name = "{module.name}", .code = frozen_{number}, .size = sizeof frozen_{number}'
            rows += f"    {{{row}, .is_package = {int(module.package)}}},\n"
        header.write(f"static const struct _frozen frozen[] = {{\n{rows}    {{0}},\n}};\n")
        header.write(format_array("start", start.code).replace("unsigned ", ""))
    config = sysconfig.get_config_var
    python = os.path.join(config("LIBPL"), config("LIBRARY"))
    libraries = " ".join(config(name) or "" for name in ("LINKFORSHARED", "MODLIBS", "LIBS", "SYSLIBS")).split()
    program = os.path.join(scratch, "imq.program")
    includes = ["-I.", "-I", sysconfig.get_path("include"), "-I", sysconfig.get_path("platinclude")]
    source = os.path.join(HERE, "interpreter.c")
    subprocess.run([*COMPILE, "-no-pie", *includes, "-o", program, source, python, *libraries], cwd=scratch, check=True)
    return program


def run_pyinstaller(program: str, scratch: str) -> dict[str, Any]:
    """Analyse imq with PyInstaller; return the layout that pyinstaller.spec writes."""
    modules = os.path.join(scratch, "modules.json")
    layout = os.path.join(scratch, "layout.json")
    with open(modules, "w", encoding="utf-8") as file:
        json.dump(split.list_query_modules(), file)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN"]
    folders = ["--distpath", scratch, "--workpath", os.path.join(scratch, "work")]
    subprocess.run(
        [*command, *folders, os.path.join(HERE, "pyinstaller.spec"), "--", modules, program, layout], check=True
    )
    refuse_gaps(os.path.join(scratch, "work", "pyinstaller", "warn-pyinstaller.txt"))
    with open(layout, encoding="utf-8") as file:
        return dict(json.load(file))


def refuse_gaps(report: str) -> None:
    """Exit when imq imports a module that PyInstaller did not find or that pyinstaller.spec excludes."""
    gap = re.compile(r"(missing|excluded) module named '?([\w.]+)'? - imported by .*?\b(imq[\w.]*) \((?!conditional\))")
    with open(report, encoding="utf-8") as file:
        matches = [line.groups() for line in map(gap.search, file) if line]
    gaps = [
        f"{by} imports {name}"
        for kind, name, by in matches
        if name.partition(".")[0] not in OPTIONAL and (kind == "excluded" or not is_attribute(name))
    ]
    if gaps:
        raise SystemExit("freeze: not in the executable: " + "; ".join(gaps))


def is_attribute(name: str) -> bool:
    """Whether a name that PyInstaller reports as a module is an attribute of a module."""
    module, _, attribute = name.rpartition(".")
    try:
        return bool(module) and hasattr(importlib.import_module(module), attribute)
    except ImportError:
        return False


def strip_files(files: Iterable[tuple[str, str]], folder: str) -> Iterator[tuple[str, str]]:
    """Copy files; remove symbols and library search paths from binaries."""
    for name, path in files:
        copy = os.path.join(folder, name)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)
        if name.endswith(".so") or ".so." in name:
            os.chmod(copy, EXECUTABLE)
            subprocess.run(["strip", "--strip-unneeded", copy], check=True)
            subprocess.run(["patchelf", "--remove-rpath", copy], check=True)
        yield name, copy


def write_modules(layout: dict[str, Any], sbom_module: split.Compiled, second: Mapping[str, bytes], ready: str) -> None:
    """Write the file of compiled modules, from which bootstrap.py imports.

    It begins with the length of a table. The table has the offset of each module and the data of extension modules.
    """
    with zipfile.ZipFile(layout["library"]) as library:
        modules = [split.member_module(member, library.read(member)) for member in library.namelist()]
    offsets, content = {}, b""
    for module in sorted([*modules, *split.compile_modules(layout["modules"]), sbom_module]):
        if module.name in split.START_MODULES:
            continue
        offsets[module.name] = (module.package, len(content), len(module.code))
        content += module.code
    first, later = ({name: tuple(files) for name, files in sorted(table.items())} for table in layout["extensions"])
    unpacked = {name: files[0] for name, files in first.items()}
    checks = {name: (len(file), zlib.crc32(file)) for name, file in sorted(second.items())}
    table = marshal.dumps((offsets, unpacked, later, checks))
    with open(ready, "wb") as file:
        file.write(len(table).to_bytes(4, "big") + table + content)


def append_archive(path: str, members: Mapping[str, bytes], date: int) -> None:
    """Append the zip archive of the second half to a file. Offsets of its entries count from the start of the file."""
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        with zipfile.ZipFile(file, "w") as archive:
            for name in sorted(members):
                member = zipfile.ZipInfo(name, time.gmtime(date)[:6])
                archive.writestr(member, members[name], zipfile.ZIP_DEFLATED, compresslevel=9)


def collect_first(layout: dict[str, Any], program: str, system: list[str], scratch: str) -> list[Part]:
    """List the files that the launcher unpacks: the loader, the interpreter, and in lib/ the files that they open."""
    loader, *libraries = system
    files = [*layout["first"], *([os.path.basename(path), path] for path in libraries)]
    copies = [Part(f"lib/{name}", path) for name, path in strip_files(files, os.path.join(scratch, "first"))]
    programs = [Part(os.path.basename(loader), loader, is_executable=True), Part("imq", program, is_executable=True)]
    return sorted([*copies, *programs])


def build_sbom(layout: dict[str, Any], system: Iterable[str]) -> tuple[split.Compiled, dict[str, bytes]]:
    """Return the module with the components (see imq/sbom.py), and the licence texts as members of the archive."""
    located = subprocess.run([COMPILE[0], "-print-file-name=libzstd.a"], capture_output=True, text=True, check=True)
    static = located.stdout.strip()  # the launcher is linked with it and the C library
    components, licence_texts = sbom_components.list_components(
        {*layout["libraries"], *system, static}, layout["top_level"]
    )
    rows = [(entry.name, entry.version, entry.licence, entry.package_url, entry.licence_paths) for entry in components]
    code = compile(f"COMPONENTS = {tuple(rows)!r}", "imq/_components.py", "exec")
    return split.Compiled("imq._components", package=False, code=marshal.dumps(code)), licence_texts


def pack(files: list[Part]) -> tuple[bytes, dict[str, object]]:
    """Compress the first half; return it with the values for parts.h."""
    contents = []
    for part in files:
        with open(part.path, "rb") as file:
            contents.append(file.read())
    parameter = zstd.CompressionParameter
    packed = zstd.compress(b"".join(contents), options={parameter.compression_level: 22, parameter.checksum_flag: True})
    rows = "\n".join(
        f'    {{"{part.name}", {len(content)}, {"0700" if part.is_executable else "0600"}}},'
        for part, content in zip(files, contents, strict=True)
    )
    folder = hashlib.sha256(packed + rows.encode()).hexdigest()[:32]
    (loader,) = (part.name for part in files if part.is_executable and part.name != "imq")
    return packed, {"folder": folder, "loader": loader, "packed": len(packed), "rows": rows}


def compile_launcher(header: Mapping[str, object], appended: int, scratch: str) -> bytes:
    """Compile the launcher. `appended` is the size of the archive that will follow the first half."""
    with open(os.path.join(scratch, "parts.h"), "w", encoding="utf-8") as file:
        file.write(HEADER.format(appended=appended, **header))
    launcher = os.path.join(scratch, "launcher")
    command = [*COMPILE, "-static", "-I.", "-o", launcher, os.path.join(HERE, "launcher.c"), "-lzstd"]
    subprocess.run(command, cwd=scratch, check=True)
    with open(launcher, "rb") as file:
        return file.read()


def main(scratch: str, output: str) -> None:
    """Build the executable `output`. `scratch` is a folder for intermediate files."""
    date = int(os.environ["SOURCE_DATE_EPOCH"])
    program = make_program(scratch)
    layout = run_pyinstaller(program, scratch)
    target, ready = (os.path.join(scratch, name) for name in ("imq.static", "ready"))
    second = {}
    for name, path in strip_files(layout["second"], os.path.join(scratch, "second")):
        with open(path, "rb") as file:
            second[name] = file.read()
    system = split.system_libraries(layout["binaries"], program)
    sbom_module, licence_texts = build_sbom(layout, system)
    write_modules(layout, sbom_module, second, ready)
    layout["first"].append(["ready", ready])
    packed, header = pack(collect_first(layout, program, system, scratch))
    with open(os.path.join(CHECKOUT, "dsl", "docs", "imq.1"), "rb") as file:
        members = {**second, **licence_texts, "imq.1": file.read()}
    draft = compile_launcher(header, 0, scratch)  # has the length of the final one, with the size of the archive
    with open(target, "wb") as file:
        file.write(draft + packed)
    append_archive(target, members, date)
    launcher = compile_launcher(header, os.path.getsize(target) - len(draft) - len(packed), scratch)
    if len(launcher) != len(draft):
        raise SystemExit("freeze: the length of the launcher depends on the size of the archive")
    with open(target, "r+b") as file:
        file.write(launcher)
    os.chmod(target, EXECUTABLE)
    os.makedirs(os.path.dirname(output), exist_ok=True)
    os.replace(target, output)
    print(f"{output}: {os.path.getsize(output) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*map(os.path.abspath, sys.argv[1:3]))
