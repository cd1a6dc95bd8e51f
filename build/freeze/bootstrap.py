"""The first module of the frozen executable: it makes the modules importable, then starts imq.

The executable has two halves. The first has the interpreter, all Python modules, and the libraries that nearly every
statement needs. launcher.c unpacks it to a folder, which is kept. The second is a zip archive at the end of the
executable. Its extension modules are unpacked next to the first half when they are first imported. split.py divides
them.
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
HIDDEN = "_IMQ_ENV_"  # the prefix of the user's variables that launcher.c hid from the dynamic loader
PIECE = 64 << 10
"""Bytes of a file that are read at once to check it."""


def extension_spec(name: str, path: str) -> ModuleSpec:
    """Return the spec of an extension module in a file."""
    spec = ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)
    spec.has_location = True
    return spec


class CompiledModules:
    """A finder for `sys.meta_path`: the compiled modules of one file.

    `modules` has whether a module is a package, and the offset and length of its code; a namespace package has length
    0. `extensions` has the files of extension modules in the folder of the first half.
    """

    def __init__(
        self, file: int, start: int, modules: dict[str, tuple[bool, int, int]], extensions: dict[str, str]
    ) -> None:
        self.file = file
        self.start = start  # the offset of the first module's code
        self.modules = modules
        self.extensions = extensions

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Return the spec of a module; None when it is not in the file."""
        if name not in self.modules:
            return extension_spec(name, os.path.join(PARTS, self.extensions[name])) if name in self.extensions else None
        package = self.modules[name][0]
        spec = ModuleSpec(name, self, origin="imq", is_package=package)  # type: ignore[arg-type]
        if package:
            spec.submodule_search_locations = [os.path.join(PARTS, *name.split("."))]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """Return None: the import system creates the module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code."""
        if self.modules[module.__name__][2]:
            exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102

    def get_code(self, name: str) -> "CodeType":
        """Return the code of a module, for runpy."""
        _, start, length = self.modules[name]
        code: CodeType = marshal.loads(os.pread(self.file, length, self.start + start))  # noqa: S302
        return code

    def get_resource_reader(self, name: str) -> "FileReader":
        """Return a reader of a package's files in the folder of the first half, for importlib.resources."""
        from importlib.readers import FileReader
        from types import SimpleNamespace

        return FileReader(SimpleNamespace(path=os.path.join(PARTS, *name.split("."), "__init__.py")))  # type: ignore[arg-type]


class PackedExtensions:
    """A finder for `sys.meta_path`: the extension modules of the archive."""

    def __init__(
        self, archive: str, extensions: dict[str, tuple[str, ...]], checks: dict[str, tuple[int, int]]
    ) -> None:
        self.archive = archive
        self.extensions = extensions
        self.checks = checks  # the size and the CRC-32 of each file
        self.verified: set[str] = set()  # files that this process has checked

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Unpack an extension module and its libraries; return its spec, or None when it is not in the archive."""
        if name not in self.extensions:
            return None
        member, *libraries = self.extensions[name]
        for library in libraries:
            self._unpack(library)
        return extension_spec(name, self._unpack(member))

    def _unpack(self, member: str) -> str:
        """Write one file next to the first half, unless it exists. Concurrent processes may write the same file."""
        path = os.path.join(PARTS, member)
        if member not in self.verified and not self._is_intact(path, *self.checks[member]):
            from _thread import get_ident

            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            part = f"{path}.{os.getpid()}.{get_ident()}"
            content = self._read(member)
            try:
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    file.write(content)
                os.replace(part, path)
            except OSError as problem:  # usually a full disk
                if os.path.lexists(part):
                    os.unlink(part)
                problem.filename = path
                raise
        self.verified.add(member)
        return path

    def _read(self, member: str) -> bytes:
        from zipimport import zipimporter
        from zlib import crc32, error

        try:
            content = zipimporter(self.archive).get_data(f"{self.archive}/{member}")
        except error:
            content = b""
        if (len(content), crc32(content)) != self.checks[member]:
            sys.stderr.write("error[start]: this executable is damaged: download it again\n")
            raise SystemExit(3)
        return content

    @staticmethod
    def _is_intact(path: str, size: int, check: int) -> bool:
        """Whether a file of an earlier run exists and is unchanged."""
        from zlib import crc32

        buffer = memoryview(bytearray(PIECE))  # a library of 5 MB at once takes longer to read than to check
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size != size:
                    return False
                found = 0
                while count := file.readinto(buffer):
                    found = crc32(buffer[:count], found)
                return found == check
        except OSError:
            return False


def take_descriptors() -> str:
    """Make the launcher's open descriptors close-on-exec; return a path of the executable through its descriptor.

    The descriptors are: the executable, so that replacing the file does not affect a run; the stamp of the folder,
    whose lock marks the folder as used; and for a folder of this run only, a pipe that is closed when the run ends.
    """
    executable, *others = (int(number) for number in os.environ["_IMQ_DESCRIPTORS"].split(","))
    for descriptor in (executable, *others):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    return f"/proc/self/fd/{executable}"


def restore_environment() -> None:
    """Restore the user's environment for imq and the programs that it starts."""
    hidden = {name.removeprefix(HIDDEN): os.environ[name] for name in os.environ if name.startswith(HIDDEN)}
    for name in [name for name in os.environ if name == "LC_ALL" or name.startswith("_IMQ_")]:
        del os.environ[name]
    os.environ.update(hidden)


def start() -> None:
    """Make all modules importable, and run imq."""
    gc.set_threshold(50_000)  # as imq.cli.main does later
    sys.frozen = True  # type: ignore[attr-defined]  # the convention of tools that freeze programs
    archive = take_descriptors()
    restore_environment()
    ready = os.open(os.path.join(PARTS, "ready"), os.O_RDONLY | os.O_CLOEXEC)
    length = int.from_bytes(os.read(ready, 4), "big")
    modules, unpacked, extensions, checks = marshal.loads(os.read(ready, length))  # noqa: S302
    finders = [CompiledModules(ready, 4 + length, modules, unpacked), PackedExtensions(archive, extensions, checks)]
    sys.meta_path[:0] = finders  # before the path finder, which would import unchecked files
    sys.path.append(archive)  # for importlib.metadata and importlib.resources
    sys.argv[0] = "imq"

    from imq.cli.main import run

    run()


start()
