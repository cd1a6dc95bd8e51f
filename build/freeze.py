"""Makes the frozen executable: one static file, from the imq installed in the environment that runs this.

    python build/freeze.py SCRATCH OUTPUT

PyInstaller finds the parts and makes the program (imq.spec), parts.py divides them, staticx puts the first half behind
a static loader, and the second half is appended as a zip archive. The same input gives the same file.
"""

from __future__ import annotations

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
from typing import TYPE_CHECKING, Any

import parts
from staticx.api import StaticxGenerator
from staticx.elf import is_dynamic_elf, remove_rpath, strip_elf

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterable, Iterator

EXECUTABLE = 0o755
HERE = os.path.dirname(os.path.abspath(__file__))

# What the static loader says when it cannot unpack itself leaves people without a next step. Its texts can be changed
# where they stand: each one here is at most as long as the one it replaces.
LOADER_TEXTS = {
    b"Failed to create temporary directory in %s": b"cannot write to %s (set TMPDIR)",
    b"tar_extract_all() failed": b"unpacking (set TMPDIR)",
    b"Failed to execv() %s: %m\n": b"run %s: %m (set TMPDIR)\n",
}


class FirstHalf(StaticxGenerator):
    """A staticx executable whose archive has folders, and nothing of the time and place of its making."""

    def __init__(self, program: str, date: int) -> None:
        super().__init__(program, strip=True, compress=False)
        plain = self.sxar.tar.addfile

        def addfile(member: tarfile.TarInfo, content: Any = None) -> None:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = date
            plain(member, content)

        self.sxar.tar.addfile = addfile

    def add(self, name: str, path: str) -> None:
        """Add a file to the folder where PyInstaller's program looks for its parts."""
        self.sxar.add_file(path, arcname=f"lib/{name}")

    def _get_bootloader(self) -> None:
        super()._get_bootloader()
        with open(self.tmpoutput, "r+b") as file:
            loader = file.read()
            for old, new in LOADER_TEXTS.items():
                if loader.count(old + b"\0") != 1:
                    raise SystemExit(f"freeze: this staticx does not say {old!r} once: see LOADER_TEXTS")
                loader = loader.replace(old + b"\0", new.ljust(len(old) + 1, b"\0"))
            file.seek(0)
            file.write(loader)


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
            strip_elf(copy)
            if is_dynamic_elf(copy):
                remove_rpath(copy)
        yield name, copy


def write_modules(layout: dict[str, Any], ready: str) -> dict[str, bytes]:
    """Write the file of the modules that start.py has ready, and return the others as members of the archive."""
    modules = [*parts.compiled(layout["ready"])]
    packed = [*parts.compiled(layout["packed"])]
    early = frozenset(layout["early"])
    with zipfile.ZipFile(layout["library"]) as library:
        for member in library.namelist():
            module = parts.member_module(member, library.read(member))
            (modules if module.name in early else packed).append(module)
    table = {module.name: (module.package, module.code) for module in sorted(modules)}
    extensions = {name: tuple(files) for name, files in sorted(layout["extensions"].items())}
    with open(ready, "wb") as file:
        marshal.dump((table, extensions), file)
    return dict(module.member() for module in packed)


def write_archive(path: str, members: dict[str, bytes], date: int) -> None:
    """Write the zip archive of the second half."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(members):
            member = zipfile.ZipInfo(name, time.gmtime(date)[:6])
            archive.writestr(member, members[name], zipfile.ZIP_DEFLATED, compresslevel=9)


def main(scratch: str, output: str) -> None:
    """Make the executable `output`; `scratch` is a folder for what is needed on the way."""
    date = int(os.environ["SOURCE_DATE_EPOCH"])
    layout = run_pyinstaller(scratch)
    made, ready, second = (os.path.join(scratch, name) for name in ("imq.static", "ready", "second.zip"))
    members = write_modules(layout, ready)
    with FirstHalf(os.path.join(scratch, "work", "imq", "imq"), date) as first:
        for name, path in stripped([*layout["first"], ("ready", ready)], os.path.join(scratch, "first")):
            first.add(name, path)
        for path in layout["system"]:
            first.add_library(path, exist_ok=True)
        first.generate(made)
    for name, path in stripped(layout["second"], os.path.join(scratch, "second")):
        with open(path, "rb") as file:
            members[name] = file.read()
    write_archive(second, members, date)
    with open(made, "ab") as program, open(second, "rb") as archive:
        shutil.copyfileobj(archive, program)
    os.chmod(made, EXECUTABLE)
    os.makedirs(os.path.dirname(output), exist_ok=True)
    os.replace(made, output)
    print(f"{output}: {os.path.getsize(output) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*map(os.path.abspath, sys.argv[1:3]))
