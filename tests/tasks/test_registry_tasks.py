"""The registry tasks of tasks.toml: each is one statement, run against docker-registry; actions are dry runs."""

from __future__ import annotations

import os
import shutil
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.result import Message
from registry.support.query import QueryResult, open_session
from registry.support.thousand_tags import BILL, UNKNOWN, RegistryWriter, SampleManifest
from support import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.session.session import Session

TASKS: list[dict[str, Any]] = [
    task
    for task in tomllib.loads((Path(__file__).parent / "tasks.toml").read_text(encoding="utf-8"))["task"]
    if task.get("registry")
]
APP = "team/app"
AGES = {
    "main": 2, "stable": 95, "v1": 200, "v2": 150, "v3": 10, "pr-1": 50, "pr-2": 3, "test-1": 60, "test-2": 1,
    "1.14.1-alpine": 130, "1.14.2-alpine": 120, "1.14.3-alpine": 110, "1.14.1-stretch": 105, "broken": 7, "lonely": 31,
    "nightly": 140,
}  # fmt: skip
"""The ages in days of the tags of `team/app` that have an image of their own."""
REDIS = {"7.0.1": 300, "7.0.2": 200, "7.2.0": 80, "7.2.1": 30, "7.4.0-rc1": 5}
UNTAGGED = range(2, 14)
"""The ages in days of the images whose tags are removed after imq has seen them."""
PARTS = ("v1-amd64", "v1-arm64", "half")
"""The tags of the images of an index, and of an index with a missing image."""


def days_ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def write(folder: Path) -> RegistryWriter:
    """Push the images that the statements query."""
    writer = RegistryWriter(folder)
    for tag, age in AGES.items():
        writer.tag(APP, tag, writer.add_image(APP, tag, days_ago(age), labels={"env": "prod"} if tag == "main" else {}))
    for tag, age in REDIS.items():
        writer.tag("library/redis", tag, writer.add_image("library/redis", tag, days_ago(age)))
    for tag in ("latest", "7"):
        writer.tag("library/redis", tag, writer.contents.find("library/redis", "7.2.1"))
    for age in UNTAGGED:
        writer.tag(APP, f"gone-{age}", writer.add_image(APP, f"gone-{age}", days_ago(age)))
    writer.tag("team/other", "broken", writer.add_image("team/other", "broken", days_ago(9)))
    parts = [_part(writer, architecture) for architecture in ("amd64", "arm64")]
    attestation = writer.add_image(APP, "attestation", platform=UNKNOWN).entry(platform=UNKNOWN)
    whole = writer.add_index(APP, [*(entry for _, entry in parts), attestation])
    for tag in ("1", "latest"):
        writer.tag(APP, tag, whole)
    for made, entry in parts:
        writer.tag(APP, f"v1-{entry['platform']['architecture']}", made)
    bill = writer.add_artifact(APP, BILL, b"a bill", subject=whole.entry(), artifactType=BILL)
    writer.tag(APP, f"sha256-{whole.digest.encoded}", writer.add_index(APP, [bill.entry(artifactType=BILL)]))
    platform = {"os": "linux", "architecture": "s390x"}
    lost = {"mediaType": whole.media_type, "digest": "sha256:" + "5" * 64, "size": 99, "platform": platform}
    writer.tag(APP, "half", writer.add_index(APP, [parts[0][1], lost]))
    return writer


def _part(writer: RegistryWriter, architecture: str) -> tuple[SampleManifest, dict[str, Any]]:
    platform = {"os": "linux", "architecture": architecture}
    made = writer.add_image(APP, f"part-{architecture}", days_ago(5), platform=platform)
    return made, made.entry(platform=platform)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[servers.Registry, RegistryWriter]]:
    servers.require_programs(servers.PROGRAM)
    folder = tmp_path_factory.mktemp("tasks-registry")
    writer = write(folder / "data")
    with servers.Registry(folder) as running:
        yield running, writer


@pytest.fixture(scope="module")
def host(registry: tuple[servers.Registry, RegistryWriter]) -> str:
    return registry[0].host


@pytest.fixture(scope="module")
def session(
    registry: tuple[servers.Registry, RegistryWriter], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    """A session in the folder with the lists. It has seen the untagged images when they had a tag."""
    folder, host = tmp_path_factory.mktemp("tasks-lists"), registry[0].host
    (folder / "images.txt").write_text(f"{host}/{APP}:main\n{host}/library/redis:7\n{host}/{APP}:nothing\n")
    (folder / "expected.txt").write_text("linux/amd64\nlinux/arm64\n")
    (folder / "branches.txt").write_text("main\npr-2\nstable\n")
    running = open_session(folder / "store")
    digests = QueryResult(running, f"tags of {host}/{APP} where tag in (main, stable) select digest").column("digest")
    (folder / "digests.txt").write_text("\n".join(digests))
    QueryResult(running, f"tags of {host}/{APP} where digest is known")
    for age in UNTAGGED:
        shutil.rmtree(f"{registry[0].folder}/data/docker/registry/v2/repositories/{APP}/_manifests/tags/gone-{age}")
    before = os.getcwd()
    os.chdir(folder)
    yield running
    os.chdir(before)
    running.close()


def _named(tags: set[str]) -> set[str]:
    return {f"HOST/{APP}:{tag}" for tag in tags}


def old(days: int) -> set[str]:
    return {tag for tag, age in AGES.items() if age > days}


EXPECTED: dict[int, tuple[str, set[Any]]] = {
    5: ("target", {f"HOST/{APP}:{tag}" for tag in old(30)}),
    7: ("target", {f"gone-{age}" for age in UNTAGGED}),
    23: ("tag", {"7", "7.2.1"}),
    27: ("line", {f"HOST/{APP}:nothing"}),
    31: ("platform", {"linux/amd64", "linux/arm64"}),
    41: ("target", {f"HOST/{APP}:1.14.1-alpine"}),
    43: ("target", {f"HOST/{APP}:1"}),
    61: ("target", _named({"pr-1", "test-1", "test-2", "broken", "lonely", "nightly", "half"})),
    63: ("target", {f"HOST/{APP}:prod"}),
    73: ("target", {f"HOST/mirror/library/redis:{tag}" for tag in ("7.2.0", "7.2.1", "7.4.0-rc1", "latest", "7")}),
    87: ("digest", {"sha256:" + "5" * 64}),
    107: ("target", _named({*AGES, "1", "latest", *PARTS} - {"main", "stable"})),
    111: ("target", {f"HOST/{APP}:v1"}),
    123: ("target", {f"HOST/mirror/library/redis:{tag}" for tag in ("latest", "7", "7.2.1")}),
    129: ("target", {"gone-12", "gone-13"}),
    145: ("name", {f"HOST/{APP}:main"}),
    151: ("tag", {*AGES, "v1-amd64", "half"}),
    155: ("total", {2088}),
    163: ("name", {f"HOST/{APP}:nightly"}),
    165: ("tag", {*REDIS, "latest", "7"}),
    169: ("target", set()),
    171: ("max(version.major) + 1", {4}),
    181: ("target", {f"HOST/{APP}:v1"}),
    193: ("target", {f"HOST/{APP}:broken", "HOST/team/other:broken"}),
}  # fmt: skip
"""The expected values of one column, for results that are known in advance."""


TOLERATED = {"protected", "manifest-unknown", "incomplete"}
"""The error codes of single rows: a protected image, a missing name, an incomplete index."""


@pytest.mark.parametrize("task", TASKS, ids=[str(task["id"]) for task in TASKS])
def test_registry_task(
    task: dict[str, Any], host: str, session: Session, registry: tuple[servers.Registry, RegistryWriter]
) -> None:
    sentence = task["imq"].replace("registry.local:5000", host).replace("mirror.local:5000", f"{host}/mirror")
    sentence = sentence.replace("of redis", f"of {host}/library/redis")
    if sentence.startswith("assert"):
        assert list(session.run(sentence)) == [Message("")]
        return
    acts = sentence.split()[0] in ("rm", "untag", "tag", "copy", "pull", "index")
    *before, last = sentence.split("; ")
    for statement in before:
        assert QueryResult(session, statement).rows
    found = QueryResult(session, f"dry run {last}" if acts else last)
    assert {error.code for error in found.errors} <= TOLERATED
    if task["id"] in EXPECTED:
        column, values = EXPECTED[task["id"]]
        done = [row[column] for row in found.rows if not row.get("error") and "sha256-" not in str(row[column])]
        made = registry[1].contents.tags[APP]
        named = {f"{host}/{APP}@{made[tag].digest}": tag for tag in made if tag.startswith("gone-")}
        expected = {value.replace("HOST", host) if isinstance(value, str) else value for value in values}
        assert {named.get(value, value) for value in done} == expected
    else:
        assert found.rows


def test_every_registry_task_has_a_statement() -> None:
    assert len(TASKS) == 33
