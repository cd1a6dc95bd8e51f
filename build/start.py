"""What the frozen executable runs first: it finds the parts of the executable, then starts imq.

The executable has two halves. The first holds what nearly every statement needs; the static loader unpacks it at each
start, at 1.2 ms per megabyte. The second is a compressed zip archive at the end of the executable file: its modules
are imported from where they are, and extension modules are unpacked next to the first half when they are imported.
parts.py divides them.
"""

import _signal
import marshal
import os
import sys
import time
from zipimport import ZipImportError, zipimporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, FrameType, ModuleType
else:
    from _frozen_importlib import ModuleSpec

PARTS: str = sys._MEIPASS  # type: ignore[attr-defined]  # noqa: SLF001  # the folder of the first half, from PyInstaller
ECHO = 0.2  # seconds in which the static loader passes an interrupt on


class ReadyModules:
    """Finds the modules of an ordinary query, for `sys.meta_path`, in one file that is read once.

    PyInstaller opens its archive for each module: 10 ms more at each start.
    """

    def __init__(self, modules: dict[str, tuple[bool, bytes]]) -> None:
        self.modules = modules

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Say where a module comes from, or None when it is not one of these."""
        if name not in self.modules:
            return None
        package, _ = self.modules[name]
        spec = ModuleSpec(name, self, origin="imq", is_package=package)  # type: ignore[arg-type]
        if package:
            spec.submodule_search_locations = [os.path.join(PARTS, *name.split("."))]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Leave it to the import system."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code."""
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102

    def get_code(self, name: str) -> "CodeType":
        """Return the code of a module, as runpy asks for it."""
        code: CodeType = marshal.loads(self.modules[name][1])  # noqa: S302
        return code


class PackedModules:
    """Finds the modules of the archive, for `sys.meta_path`; asked last, so it costs the first half nothing.

    A package may be divided between the halves, so modules are looked up by their full name, never by `__path__`.
    """

    def __init__(self, archive: str, extensions: dict[str, tuple[str, ...]]) -> None:
        self.archive = archive
        self.extensions = extensions

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Say where a module comes from, or None when the archive has no such module."""
        if name in self.extensions:
            return self._extension(name)
        package = name.rpartition(".")[0].replace(".", "/")
        try:
            return zipimporter(f"{self.archive}/{package}" if package else self.archive).find_spec(name)
        except ZipImportError:
            return None

    def _extension(self, name: str) -> ModuleSpec:
        from importlib.machinery import ExtensionFileLoader

        member, *libraries = self.extensions[name]
        for library in libraries:
            self._unpack(library)
        path = self._unpack(member)
        spec = ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)
        spec.has_location = True
        return spec

    def _unpack(self, member: str) -> str:
        """Write one file beside the first half, unless it is there; safe when threads ask for the same one."""
        path = os.path.join(PARTS, member)
        if not os.path.exists(path):
            from _thread import get_ident

            os.makedirs(os.path.dirname(path), exist_ok=True)
            part = f"{path}.{get_ident()}"
            with open(part, "wb") as file:
                file.write(zipimporter(self.archive).get_data(f"{self.archive}/{member}"))
            os.replace(part, path)
        return path


def restore_environment() -> None:
    """Take back what the loaders put into the environment, so that the programs imq starts do not inherit it."""
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before
    for name in [name for name in os.environ if name.startswith(("_PYI_", "STATICX_"))]:
        del os.environ[name]


def take_interrupts_once() -> None:
    """Make one Ctrl-C one interrupt: the terminal sends it to imq and to the static loader, which passes it on."""
    last = float("-inf")

    def interrupt(number: int, frame: "FrameType | None") -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > ECHO:
            _signal.default_int_handler(number, frame)

    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, interrupt)


def open_archive() -> str:
    """Hold the executable open and name it by its descriptor, so that replacing the file does not disturb a run."""
    descriptor = os.open(os.environ["STATICX_PROG_PATH"], os.O_RDONLY | os.O_CLOEXEC)
    return f"/proc/self/fd/{descriptor}"


def start() -> None:
    """Make the frozen executable what the package is, and run it."""
    archive = open_archive()
    with open(os.path.join(PARTS, "ready"), "rb") as file:
        modules, extensions = marshal.load(file)  # noqa: S302
    builtin_and_frozen = 2
    sys.meta_path.insert(builtin_and_frozen, ReadyModules(modules))
    sys.meta_path.append(PackedModules(archive, extensions))
    sys.path.append(archive)  # for importlib.metadata and importlib.resources
    restore_environment()
    take_interrupts_once()

    from imq.cli import run

    run()


start()
