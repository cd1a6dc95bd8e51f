"""What the frozen executable runs first: it finds the parts of the executable, then starts imq.

The executable has two halves. The first holds the interpreter, all modules of Python code, and what else nearly every
statement needs: launcher.c unpacks it to a folder, which is kept. The second is a compressed zip archive at the end of
the executable file: its extension modules are unpacked next to the first half when they are first imported. split.py
divides them.
"""

import gc
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    from importlib.readers import FileReader
    from types import CodeType, ModuleType
else:
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import ExtensionFileLoader

PARTS = os.path.join(os.path.dirname(sys.executable), "lib")
"""The folder of the first half."""
HIDDEN = "_IMQ_ENV_"  # before the names of the user's variables that the loaders would have taken for theirs


def extension_spec(name: str, path: str) -> ModuleSpec:
    """Say that an extension module is in a file."""
    spec = ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)
    spec.has_location = True
    return spec


class ReadyModules:
    """Finds modules, for `sys.meta_path`, in one file: where each begins, and its length, which is 0 for a bare folder.

    `extensions`: the files of extension modules, in the folder of the first half.
    """

    def __init__(
        self, file: int, start: int, modules: dict[str, tuple[bool, int, int]], extensions: dict[str, str]
    ) -> None:
        self.file = file
        self.start = start  # of the first module's code
        self.modules = modules
        self.extensions = extensions

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Say where a module comes from, or None when it is not one of these."""
        if name not in self.modules:
            return extension_spec(name, os.path.join(PARTS, self.extensions[name])) if name in self.extensions else None
        package = self.modules[name][0]
        spec = ModuleSpec(name, self, origin="imq", is_package=package)  # type: ignore[arg-type]
        if package:
            spec.submodule_search_locations = [os.path.join(PARTS, *name.split("."))]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Leave it to the import system."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code."""
        if self.modules[module.__name__][2]:
            exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102

    def get_code(self, name: str) -> "CodeType":
        """Return the code of a module, as runpy asks for it."""
        _, start, length = self.modules[name]
        code: CodeType = marshal.loads(os.pread(self.file, length, self.start + start))  # noqa: S302
        return code

    def get_resource_reader(self, name: str) -> "FileReader":
        """Read the files of a package, as importlib.resources asks: they are in the folder of the first half."""
        from importlib.readers import FileReader
        from types import SimpleNamespace

        return FileReader(SimpleNamespace(path=os.path.join(PARTS, *name.split("."), "__init__.py")))  # type: ignore[arg-type]


class PackedExtensions:
    """Finds the extension modules of the archive, for `sys.meta_path`."""

    def __init__(
        self, archive: str, extensions: dict[str, tuple[str, ...]], checks: dict[str, tuple[int, int]]
    ) -> None:
        self.archive = archive
        self.extensions = extensions
        self.checks = checks  # the size and the CRC-32 of each file that is unpacked
        self.whole: set[str] = set()  # what this process has seen to be as it was made

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Unpack an extension module and the libraries that it needs; None when the archive has no such module."""
        if name not in self.extensions:
            return None
        member, *libraries = self.extensions[name]
        for library in libraries:
            self._unpack(library)
        return extension_spec(name, self._unpack(member))

    def _unpack(self, member: str) -> str:
        """Write one file beside the first half, unless it is there; safe when others want the same one."""
        path = os.path.join(PARTS, member)
        if member not in self.whole and not self._is_whole(path, *self.checks[member]):
            from _thread import get_ident

            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            part = f"{path}.{os.getpid()}.{get_ident()}"
            content = self._read(member)
            try:
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    file.write(content)
                os.replace(part, path)
            except OSError as problem:  # most likely a full disk
                if os.path.lexists(part):
                    os.unlink(part)
                problem.filename = path
                raise
        self.whole.add(member)
        return path

    def _read(self, member: str) -> bytes:
        from zipimport import zipimporter
        from zlib import crc32, error

        try:
            content = zipimporter(self.archive).get_data(f"{self.archive}/{member}")
        except error:
            content = b""
        if (len(content), crc32(content)) != self.checks[member]:
            sys.stderr.write("error[start]: this executable is damaged: get it again\n")
            raise SystemExit(3)
        return content

    @staticmethod
    def _is_whole(path: str, size: int, check: int) -> bool:
        """Tell whether an earlier run has left a file, and it is still as it was made."""
        from zlib import crc32

        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                return os.fstat(file.fileno()).st_size == size and crc32(file.read()) == check
        except OSError:
            return False


def take_descriptors() -> str:
    """Keep what the launcher left open from the programs that imq starts, and name the executable by its descriptor.

    They are the executable itself, so that replacing the file does not disturb a run; the stamp of the folder, whose
    lock says that it is in use; and, if the folder is for this run alone, the pipe whose end tells that it is over.
    """
    executable, *others = (int(number) for number in os.environ["_IMQ_DESCRIPTORS"].split(","))
    for descriptor in (executable, *others):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    return f"/proc/self/fd/{executable}"


def restore_environment() -> None:
    """Make the environment the user's again, so that imq and the programs that it starts see no other."""
    hidden = {name.removeprefix(HIDDEN): os.environ[name] for name in os.environ if name.startswith(HIDDEN)}
    for name in [name for name in os.environ if name == "LC_ALL" or name.startswith("_IMQ_")]:
        del os.environ[name]
    os.environ.update(hidden)


def start() -> None:
    """Make the frozen executable what the package is, and run it."""
    gc.set_threshold(50_000)  # as imq.cli does a little later
    sys.frozen = True  # type: ignore[attr-defined]  # the word of all tools that freeze
    archive = take_descriptors()
    restore_environment()
    ready = os.open(os.path.join(PARTS, "ready"), os.O_RDONLY | os.O_CLOEXEC)
    length = int.from_bytes(os.read(ready, 4), "big")
    modules, unpacked, extensions, checks = marshal.loads(os.read(ready, length))  # noqa: S302
    finders = [ReadyModules(ready, 4 + length, modules, unpacked), PackedExtensions(archive, extensions, checks)]
    sys.meta_path[:0] = finders  # before the one that would take what is in a folder as it is
    sys.path.append(archive)  # for importlib.metadata and importlib.resources
    sys.argv[0] = "imq"

    from imq.cli.main import run

    run()


start()
