"""Sessions over an engine whose answers are written down, and the documents of such answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from registry.support.query import execute, open_session

from .engines import ScriptedEngine, http_answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from registry.support.query import QueryResult

A, B, C = (f"sha256:{digit * 64}" for digit in "abc")


def answer(document: object) -> bytes:
    """Return a response with a JSON document."""
    return http_answer(json.dumps(document).encode(), "Content-Type: application/json")


def image(id_: str, *tags: str, **changes: Any) -> dict[str, Any]:
    """Return an image as listed."""
    listed = {"Id": id_, "RepoTags": list(tags), "RepoDigests": [], "Created": 1_700_000_000, "Size": 10, "Labels": {}}
    return {**listed, **changes}


def inspected(id_: str, *tags: str, **changes: Any) -> dict[str, Any]:
    """Return an image as inspected."""
    described = {"Id": id_, "RepoTags": list(tags), "RepoDigests": [], "Config": {}, "RootFS": {"Layers": []}}
    return {**described, **changes}


def container(image_id: object, **changes: Any) -> dict[str, Any]:
    """Return a container as listed."""
    return {"Id": "1" * 64, "Names": ["/web"], "Image": "x", "ImageID": image_id, "State": "exited", **changes}


class Script:
    """A scripted engine, and a session in which it is `docker`."""

    def __init__(self, folder: Path, answers: Mapping[str, bytes | None]) -> None:
        folder.mkdir()
        self.engine = ScriptedEngine(folder / "engine.sock", answers)
        self.engine.__enter__()
        self.address = self.engine.address
        self.session = open_session(folder / "store", environment={"DOCKER_HOST": self.address})

    def ask(self, text: str) -> QueryResult:
        """Run statements."""
        return execute(self.session, text)

    def requests(self, part: str) -> list[str]:
        """Return the requests with a part."""
        return [line for line in self.engine.requests if part in line]

    @property
    def removals(self) -> list[str]:
        """The requests that remove something."""
        return self.requests("DELETE")

    def close(self) -> None:
        """Stop the engine."""
        self.session.close()
        self.engine.__exit__()
