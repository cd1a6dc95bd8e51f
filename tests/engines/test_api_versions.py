"""Versions of the Engine API that no engine of these tests speaks.

The answers in `recorded/` are made by hand from the published description of each version: no daemon gave them.
"""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.docker_engine.client import MAX_API
from support.engines import http_answer
from support.scripted_session import A, B, Script, answer, image

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = [
    json.loads(path.read_text())
    for path in sorted((pathlib.Path(__file__).parent / "recorded").glob("*.json"))
]  # fmt: skip


def ping(version: str) -> bytes:
    """Return the response of a docker engine to a ping."""
    return http_answer(b"OK", f"Api-Version: {version}", "Ostype: linux", "Server: Docker/29.0.0 (linux)")


@pytest.fixture(params=RECORDED, ids=lambda recorded: f"v{recorded['api']}")
def recorded(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[tuple[Script, dict[str, Any]]]:
    """An engine that gives the answers of one version, and these answers."""
    document: dict[str, Any] = request.param
    answers = {part: answer(one) for part, one in document["answers"].items()}
    # the longest part comes first: `images/ID/json` ends as `images/json` does
    ordered = dict(sorted(answers.items(), key=lambda item: -len(item[0])))
    script = Script(tmp_path / "engine", {"_ping": ping(document["api"]), **ordered})
    yield script, document
    script.close()


def test_the_answers_are_called_what_they_are() -> None:
    assert [one["api"] for one in RECORDED] == ["1.47", "1.48", "1.51", "1.52", "1.53"]
    assert all("No daemon of this version gave these answers" in one["about"] for one in RECORDED)


def test_statements_have_the_values_of_the_answers(recorded: tuple[Script, dict[str, Any]]) -> None:
    script, document = recorded
    for statement, rows in document["expected"].items():
        result = script.ask(statement)
        assert (result.rows, result.errors) == (rows, ()), statement


def test_requests_have_the_newest_version_of_both(recorded: tuple[Script, dict[str, Any]]) -> None:
    script, document = recorded
    script.ask("images in docker")
    offered = tuple(map(int, document["api"].split(".")))
    version = ".".join(map(str, min(offered, MAX_API)))
    assert script.requests("images/json") == [f"GET /v{version}/images/json HTTP/1.1"]


def test_a_descriptor_tells_which_image_store_it_is(tmp_path: pathlib.Path) -> None:
    """Without it, and without names, an engine is asked for its driver."""
    listed = [image(A), image(B)]
    for descriptor, driver, stored in (
        (True, [], True),
        (False, [["driver-type", "io.containerd.snapshotter.v1"]], True),
        (False, [], False),
    ):
        for one in listed:
            one["Descriptor"] = {"digest": one["Id"], "mediaType": "application/x", "size": 1} if descriptor else None
        answers = {
            "images/json": answer(listed),
            "containers/json": answer([{"Id": "1" * 64, "ImageID": A, "Image": A, "State": "created"}]),
            "info": answer({"DriverStatus": driver, "Architecture": "x86_64"}),
        }
        script = Script(tmp_path / f"{descriptor}-{bool(driver)}", {"_ping": ping("1.52"), **answers})
        assert script.ask("containers in docker select image_digest").column("image_digest") == [A if stored else None]
        assert len(script.requests("info")) == (0 if descriptor else 1)
        script.close()


def test_the_error_of_a_stream_may_be_in_its_detail_alone(tmp_path: pathlib.Path) -> None:
    """API 1.48 deprecates the other place of it."""
    lines = b'{"status":"Pulling from app"}\n{"errorDetail":{"message":"no space left on device"}}\n'
    gone = http_answer(b'{"message":"No such image: app:1"}', status="404 Not Found")
    script = Script(tmp_path / "engine", {"_ping": ping("1.52"), "images/create": http_answer(lines), "/json": gone})
    result = script.ask("pull docker.io/library/app:1 to docker")
    script.close()
    assert [error.message for error in result.errors] == ["no space left on device"]
