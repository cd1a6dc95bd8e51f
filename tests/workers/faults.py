"""Faults of scan processes, by files in a folder: the interpreter of the worker loads this through `sitecustomize`.

`log` gets the diff ID of each layer that is scanned or verified, and the process that does it. `sleep` has the seconds
that each takes. The presence of `crash-HEX` ends the process that reads the layer, `stuck-HEX` lets the first process
that reads it wait for ever, and `memory-HEX` takes 2 GB.
"""

from __future__ import annotations

import os
import pathlib
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "TEST_FAULTS"


def install() -> None:
    """Change the scanner of this process."""
    from imq.engine.workers.jobs import JobRunner

    folder = pathlib.Path(os.environ[VARIABLE])

    def begin(task: dict[str, object]) -> None:
        layer = str(task["diffId"]).rpartition(":")[2]
        with open(folder / "log", "a") as log:
            log.write(f"{layer} {os.getpid()}\n")
        if (folder / "sleep").exists():
            time.sleep(float((folder / "sleep").read_text()))
        if (folder / f"crash-{layer}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder / f"memory-{layer}").exists():
            bytearray(2 << 30)
        try:
            (folder / f"stuck-{layer}").unlink()
        except FileNotFoundError:
            pass
        else:
            time.sleep(3600)

    def add_faults(run: Callable[..., object]) -> Callable[..., object]:
        def run_with_faults(self: JobRunner, task: dict[str, object], *arguments: object) -> object:
            begin(task)
            return run(self, task, *arguments)

        return run_with_faults

    for name in ("_scan_layer", "_verify"):
        setattr(JobRunner, name, add_faults(getattr(JobRunner, name)))


class Faults:
    """The folder of faults, as a test writes it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        code = pathlib.Path(__file__).read_text(encoding="utf-8")
        (folder / "sitecustomize.py").write_text(f"{code}\n\nif VARIABLE in os.environ:\n    install()\n")

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process has the faults."""
        return {"PYTHONPATH": os.fspath(self.folder), VARIABLE: os.fspath(self.folder)}

    def set(self, kind: str, layer: str = "", content: str = "") -> None:
        """Set a fault, of a layer by its diff ID."""
        name = f"{kind}-{layer.rpartition(':')[2]}" if layer else kind
        (self.folder / name).write_text(content)

    def clear(self) -> None:
        """Remove all faults and the log."""
        for path in self.folder.iterdir():
            if path.is_file() and path.suffix != ".py":
                path.unlink()

    def list_scans(self) -> list[str]:
        """Return the layers that were scanned, each as often as it was begun."""
        return [f"sha256:{line.split()[0]}" for line in self._read_log()]

    def list_running(self) -> list[int]:
        """Return the processes that scanned layers and have not ended."""
        return [pid for line in self._read_log() if os.path.exists(f"/proc/{(pid := int(line.split()[1]))}")]

    def _read_log(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []
