"""Stores for tests: used through a session or a process, and checked without imq's own code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Self

from imq.engine.oci.platform import Platform
from imq.engine.result import Documents, Message, RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import ImqError
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_735_689_600_000_000_000  # 2025-01-01
OWN = {"oci-layout", "index.json", "blobs", "ingest", "lock", "index.db", "index.db-wal", "index.db-shm"} | {
    f"{name}.db{part}" for name in ("remote", "files") for part in ("", "-wal", "-shm")
}


class StoreSession:
    """One open store, and a session that runs statements on it."""

    def __init__(self, root: object, **world: Any) -> None:
        self.root = os.fspath(root)  # type: ignore[call-overload]
        given: dict[str, Any] = {"environment": {}, "clock": lambda: NOW, "platform": Platform("linux", "amd64")}
        self.session = Session(SessionContext(self.root, **{**given, **world}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.session.close()

    def rows(self, text: str, *, dry_run: bool = False) -> list[dict[str, Any]]:
        """Run one statement and return its rows as dictionaries."""
        (result,) = self.session.run(text, dry_run=dry_run)
        if isinstance(result, Documents):
            return list(result.documents)
        assert isinstance(result, RowSet)
        names = [heading.name for heading in result.columns]
        return [dict(zip(names, row, strict=True)) for row in result.rows]

    def do(self, text: str) -> list[dict[str, Any]]:
        """Run an action that must succeed, and return its outcomes with all columns."""
        outcomes = self.outcomes(text)
        assert not [outcome for outcome in outcomes if outcome["error"]], outcomes
        return outcomes

    def outcomes(self, text: str, *, dry_run: bool = False) -> list[dict[str, Any]]:
        return self.rows(f"{text} as json", dry_run=dry_run)

    def failure_code(self, text: str) -> str:
        """Run an action that must fail, and return the code of its error."""
        try:
            outcomes = self.outcomes(text)
        except ImqError as error:
            return error.code
        (failed,) = [outcome for outcome in outcomes if outcome["error"]]
        assert failed["message"], "an error has a message"
        return str(failed["error"])

    def error_codes(self, text: str) -> set[str]:
        """Run a query and return the codes of the errors in its result."""
        (result,) = self.session.run(text)
        assert not isinstance(result, Message)
        return {error.code for error in result.errors}

    def read_message(self, text: str) -> str:
        """Run a statement that returns a message, and return the message."""
        (result,) = self.session.run(text)
        assert isinstance(result, Message)
        return result.text

    def names(self, where: str = "") -> list[str | None]:
        """Return the sorted names of the images; None for an image without a name."""
        rows = self.rows(f"images {where} select name".replace("  ", " "))
        return sorted((row["name"] for row in rows), key=lambda name: name or "")

    def dump_tables(self) -> dict[str, list[str]]:
        """Return all rows of all tables with all fields."""
        said = {
            "images": self.rows("images select * as json"),
            "layers": self.rows("layers select * as json"),
            "history": [],
        }
        for id_ in sorted({row["id"] for row in said["images"]}):
            said["history"] += self.rows(f"history of {id_} select * as json")
        return {table: sorted(json.dumps(row, sort_keys=True) for row in rows) for table, rows in said.items()}


def imq(root: object, *words: str, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run imq in a process of its own. `code` is the expected exit code; None: any."""
    done = subprocess.run(command(root, *words), capture_output=True, text=True, check=False, **options)
    assert "Traceback" not in done.stderr, done.stderr
    assert "error[internal]" not in done.stderr, done.stderr
    assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def start(root: object, *words: str) -> subprocess.Popen[str]:
    """Start imq in a process of its own."""
    return subprocess.Popen(command(root, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command(root: object, *words: str) -> list[str]:
    return [sys.executable, "-m", "imq", "--root", os.fspath(root), "--yes", *words]  # type: ignore[call-overload]


def run(*words: object) -> str:
    """Run another tool, which must be installed and succeed, and return its output."""
    require_programs(str(words[0]))
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blobs_in(root: object) -> dict[str, int]:
    """Return the size of each blob of a store."""
    folder = os.path.join(os.fspath(root), "blobs", "sha256")  # type: ignore[call-overload]
    if not os.path.isdir(folder):
        return {}
    return {f"sha256:{entry.name}": entry.stat().st_size for entry in os.scandir(folder)}


def list_ingest(root: object) -> set[str]:
    """Return the names in ingest/, except the disk reserve, which always exists."""
    folder = os.path.join(os.fspath(root), "ingest")  # type: ignore[call-overload]
    return set(os.listdir(folder)) - {"reserve"} if os.path.isdir(folder) else set()


def version_of_index(root: object) -> tuple[int, int]:
    """Return the inode and the time of the last change of index.json, which change when it is written.

    The whole result of `stat` also has the time of the last reading.
    """
    about = os.stat(f"{root}/index.json")
    return about.st_ino, about.st_mtime_ns


def entries_in(root: object) -> list[dict[str, Any]]:
    """Return the descriptors of a store's index.json."""
    path = os.path.join(os.fspath(root), "index.json")  # type: ignore[call-overload]
    if not os.path.exists(path):
        return []
    with open(path, "rb") as source:
        entries: list[dict[str, Any]] = json.load(source)["manifests"]
    return entries


def reached_in(root: object) -> dict[str, int]:
    """Return the blobs that the index.json of a store reaches, with the sizes in their descriptors."""
    reached: dict[str, int] = {}
    for entry in entries_in(root):
        _reach(os.fspath(root), entry, reached)  # type: ignore[call-overload]
    return reached


def check_store(root: object, *, damaged: Mapping[str, str] | None = None) -> None:
    """Check that a store is consistent.

    Blobs hash to their names. All blobs that index.json reaches exist; all others are removed, or the mark exists that
    makes the next collection check all blobs. There are no temporary files except partial blobs, which a pull can
    resume. The index has the same rows as a rebuilt one.
    `damaged` are the blobs that the test itself has damaged (`damaged`) or removed (`missing`).
    """
    root = os.fspath(root)  # type: ignore[call-overload]
    damaged = damaged or {}
    if not os.path.isdir(root):
        return
    assert set(os.listdir(root)) <= OWN
    ingest = list_ingest(root)
    left = {name for name in ingest if not (name.startswith("sha256-") and name.endswith(".part"))}
    if not os.path.exists(
        os.path.join(root, "oci-layout")
    ):  # the process that created the store died: the next one cleans up
        left = {name for name in left if not name.endswith(".new")}
    assert left <= {"sweep"} | {f"{digest.replace(':', '-')}.damaged" for digest in damaged}
    blobs = blobs_in(root)
    for digest in blobs:
        if digest not in damaged:
            with open(_path(root, digest), "rb") as source:
                assert f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}" == digest
    reached = reached_in(root)
    absent = {digest for digest, size in reached.items() if blobs.get(digest) != size} - damaged.keys()
    assert not absent, "every blob that index.json reaches exists and has the size of its descriptor"
    if "sweep" not in ingest:
        assert blobs.keys() <= reached.keys() | damaged.keys(), "unreachable blobs are removed"
    if not damaged:
        _check_index(root)


def _check_index(root: str) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        StoreSession(root) as held,
        StoreSession(os.path.join(folder, "rebuilt")) as rebuilt,
    ):
        os.mkdir(rebuilt.root)
        if os.path.isdir(os.path.join(root, "blobs")):
            link_blobs(root, rebuilt.root)
        for name in {"index.json", "oci-layout"} & set(os.listdir(root)):
            shutil.copy(os.path.join(root, name), rebuilt.root)
        assert held.dump_tables() == rebuilt.dump_tables()


def link_blobs(root: object, other: object) -> None:
    """Link the blobs of a store into another root; copy them if they cannot be linked."""

    def lend(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # on another file system
            shutil.copyfile(source, target)

    shutil.copytree(
        os.path.join(os.fspath(root), "blobs"),  # type: ignore[call-overload]
        os.path.join(os.fspath(other), "blobs"),  # type: ignore[call-overload]
        copy_function=lend,
    )


def _reach(root: str, descriptor: Mapping[str, Any], reached: dict[str, int]) -> None:
    if descriptor["digest"] in reached:
        return
    reached[descriptor["digest"]] = descriptor["size"]
    try:
        with open(_path(root, descriptor["digest"]), "rb") as source:
            document = json.load(source)
    except (OSError, ValueError):
        return
    for child in document.get("manifests", ()):
        if os.path.exists(_path(root, child["digest"])):
            _reach(root, child, reached)
    for blob in (*([document["config"]] if "config" in document else ()), *document.get("layers", ())):
        reached[blob["digest"]] = blob["size"]


def _path(root: str, digest: str) -> str:
    return os.path.join(root, "blobs", *digest.split(":"))
