"""`docker search` with a server that imitates Docker Hub, and with the catalog of a registry."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from imq.cli.main import Cli
from imq.engine.registry import catalog
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

RESULTS = [
    ("acme/redis", "Redis for\nAcme", 3, False, True),
    ("redis", "Redis is the world's fastest data platform for caching, vector search", 13000, True, False),
    ("acme/redis-exporter", "", 0, False, False),
]


def results_body() -> bytes:
    keys = ("name", "description", "star_count", "is_official", "is_automated")
    return json.dumps({"num_pages": 1, "results": [dict(zip(keys, one, strict=True)) for one in RESULTS]}).encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    with ScriptedServer(Step("GET", "/v1/search", body=results_body())) as server:
        monkeypatch.setattr(catalog, "HUB_SEARCH_HOST", server.host)
        yield server


def search(tmp_path: pathlib.Path, *words: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    code = Cli(io.StringIO(), stdout, stderr, {"IMQ_ROOT": str(tmp_path / "store")}).main(["search", *words])
    return code, stdout.getvalue(), stderr.getvalue()


def test_the_table_is_that_of_docker(hub: ScriptedServer, tmp_path: pathlib.Path) -> None:
    code, output, error = search(tmp_path, "redis")
    assert (code, error) == (0, "")
    assert [request.path.partition("&")[0] for request in hub.requests] == ["/v1/search?q=redis"]
    assert output == (
        "NAME                  DESCRIPTION                                     STARS     OFFICIAL\n"
        "redis                 Redis is the world's fastest data platform f…   13000     [OK]\n"
        "acme/redis            Redis for Acme                                  3         \n"
        "acme/redis-exporter                                                   0         \n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--filter", "stars=3", "--format", "{{.Name}} {{.StarCount}}"], "redis 13000\nacme/redis 3\n"),
        (["-f", "is-official=true", "--no-trunc", "--format", "{{.Description}}"], f"{RESULTS[1][1]}\n"),
        (["-f", "is-official=false", "--limit", "1", "--format", "{{.Name}}"], "acme/redis\n"),
        (["-f", "is-automated=1", "--format", "{{.Name}}{{.IsAutomated}}{{.IsOfficial}}"], "acme/redis[OK]\n"),
        (["-f", "stars=99999", "--format", r"table {{.Name}}\t{{.StarCount}}"], "NAME      STARS\n"),
        (
            ["-f", "is-automated=true", "--limit", "1", "--format", "{{json .}}"],
            (
                '{"Description":"Redis for Acme","IsAutomated":"true","IsOfficial":"false","Name":"acme/redis",'
                '"StarCount":"3"}\n'
            ),
        ),
    ],
)
@pytest.mark.usefixtures("hub")
def test_filters_and_formats(words: list[str], expected: str, tmp_path: pathlib.Path) -> None:
    assert search(tmp_path, "redis", *words) == (0, expected, "")


@pytest.mark.usefixtures("hub")
def test_output_formats_of_imq(tmp_path: pathlib.Path) -> None:
    code, output, _ = search(tmp_path, "redis", "-f", "stars=3", "--output", "csv")
    assert (code, output.splitlines()[0]) == (0, "name,description,stars,official,automated")


def test_a_registry_before_the_term_is_searched(tmp_path: pathlib.Path) -> None:
    catalog = json.dumps({"repositories": ["team/app", "team/web", "other"]}).encode()
    with ScriptedServer(Step("GET", "/v2/_catalog", body=catalog)) as server:
        code, output, error = search(tmp_path, f"{server.host}/team/")
        assert (code, error) == (0, "")
        lines = [line.split() for line in output.splitlines()]
        assert lines[1:] == [[f"{server.host}/team/app", "0"], [f"{server.host}/team/web", "0"]]


def test_a_failing_hub_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    with ScriptedServer(Step("GET", "/v1/search", 403, body=b"{}")) as server:
        monkeypatch.setattr(catalog, "HUB_SEARCH_HOST", server.host)
        code, output, error = search(tmp_path, "redis")
    assert (code, error.startswith("error[")) == (3, True)
    assert "redis" not in output
