"""Every retention rule of dsl/docs/RETENTION.md as a dry run against a real registry."""

from __future__ import annotations

import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from registry.support.query import QueryResult, open_session
from registry.support.thousand_tags import BILL, RegistryWriter
from support import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.session.session import Session

PAGE = (Path(__file__).parents[2] / "dsl" / "docs" / "RETENTION.md").read_text(encoding="utf-8")
APP = "team/app"
AGES = {
    "release-1": 400, "release-2": 300, "release-3": 60, "release-4": 20, "pr-1": 90, "pr-2": 40, "pr-3": 15, "pr-4": 2,
    "main": 1, "1.2.0": 200, "1.10.0": 150, "1.3.0": 100, "2.0.0-rc.1": 5,
}  # fmt: skip
"""The age in days of the image of each tag; `latest` is the image of 1.10.0."""
OTHER = {"1.0.0": 30, "1.1.0": 20, "1.2.0": 10}
UNTAGGED = {"gone-1": 3, "gone-2": 0.5}
ALL = {*AGES, "latest"}
_OLD = {"release-1", "release-2", "release-3", "pr-1", "pr-2", "1.2.0", "1.10.0", "1.3.0"}
"""The tags with an image of their own that is older than 30 days."""
_NOT_OF_TEN = {"release-1", "release-2", "1.2.0"}
"""The tags that are not among the newest ten, without `latest`."""
EXPECTED: dict[str, set[str]] = {
    "ECR: tags with a prefix or pattern, `imageCountMoreThan` 2": {"release-1", "release-2"},
    "ECR: tags with a prefix or pattern, `sinceImagePushed` 14 days": {"pr-1", "pr-2", "pr-3"},
    "ECR: any tag, after a rule for releases, `sinceImagePushed` 30 days": {"pr-1", "pr-2", "1.2.0", "1.10.0", "1.3.0"},
    "ECR: any tag, `imageCountMoreThan` 10": _NOT_OF_TEN,
    "ECR: untagged, `sinceImagePushed` 1 day": {"gone-1"},
    "Harbor: keep the most recently pushed 10": _NOT_OF_TEN,
    "Harbor: keep images pushed within 30 days": {*_OLD, "latest"},
    "Harbor: always keep matching tags": {"pr-1", "pr-2", "pr-3", "pr-4", "1.2.0", "1.10.0", "1.3.0", "2.0.0-rc.1"},
    "Harbor: three rules: always keep releases, 30 days, the most recent 8": {"1.2.0", "1.10.0", "1.3.0", "latest"},
    "Harbor: untagged artifacts": {"gone-1", "gone-2", "a bill"},
    "GitLab: `name_regex_delete` ^pr-, `name_regex_keep` ^pr-1$, `keep_n` 1, `older_than` 30d": {"pr-2"},
    "Artifact Registry: DELETE `olderThan` 30d, KEEP `tagPrefixes` release-": (
        _OLD - {"release-1", "release-2", "release-3"} | {"latest"}
    ),
    "Artifact Registry: DELETE `tagPrefixes` pr-, KEEP `mostRecentVersions` 2": {"pr-1", "pr-2"},
    "Artifact Registry: DELETE any, `newerThan` 3d": {"pr-4", "main"},
    "Quay: `number_of_tags` 2, `tagPattern` with `tagPatternMatches` false": {"1.2.0", "1.10.0", "1.3.0"},
    "Quay: `creation_date` 90d": {"release-1", "release-2", "pr-1", "1.2.0", "1.10.0", "1.3.0", "latest"},
    "zot: `patterns` ^release-.*, `mostRecentlyPushedCount` 3, everything else `pushedWithin` 30d": (
        _OLD - {"release-2", "release-3"} | {"latest"}
    ),
    "zot: `deleteUntagged` with a `delay` of 24h": {"gone-1"},
    "zot: `deleteReferrers`, of removed images": {"a bill"},
    "docker-registry-pruner: `keep_versions` 2": {"1.2.0", "1.3.0"},
    "docker-registry-pruner: `keep_versions` 2 in several repositories, no pre-releases": {"1.2.0", "other:1.0.0"},
    "docker-registry-pruner: `keep_days` 30, `ignore_tags` ^release-": {"pr-1", "pr-2", "1.2.0", "1.10.0", "1.3.0"},
    "docker-registry-pruner: `keep_recent` 10": _NOT_OF_TEN,
    "In use: tags older than 30 days that are not in the list": {*_OLD, "latest"} - {"1.10.0", "release-3"},
}
"""The expected removals of each rule with a statement on the page. `pr-1` is just over 90 days old."""


def rules() -> list[tuple[str, str]]:
    """Return the rules of the page: the text before each code block, and the statement in the block."""
    return re.findall(r"^\*\*(.+)\*\*\n\n```\n(.+)\n```$", PAGE, re.MULTILINE)


def test_every_rule_has_expected_rows() -> None:
    assert [rule for rule, _ in rules()] == list(EXPECTED)
    assert PAGE.count("```") == 2 * len(rules())


@pytest.mark.parametrize(("rule", "sentence"), rules(), ids=[rule for rule, _ in rules()])
def test_retention_rule(rule: str, sentence: str, registry_session: tuple[Session, str, dict[str, str]]) -> None:
    session, host, names = registry_session
    result = QueryResult(session, f"dry run {sentence}".replace("registry.local:5000", host))
    assert not result.errors
    removed = [re.sub(rf"^{host}/team/(app[:@])?", "", row["target"]) for row in result.rows]
    assert {names.get(name, name) for name in removed} == EXPECTED[rule]


@pytest.fixture(scope="module")
def registry_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, str, dict[str, str]]]:
    """A session that has seen the untagged images when they had a tag; the host; the names of the digests."""
    servers.require_programs(servers.PROGRAM)
    folder = tmp_path_factory.mktemp("retention")
    writer = RegistryWriter(folder / "registry" / "data")
    now = datetime.now(UTC)
    for tag, age in {**AGES, **UNTAGGED}.items():
        writer.tag(APP, tag, writer.add_image(APP, tag, now - timedelta(days=age)))
    writer.tag(APP, "latest", writer.contents.find(APP, "1.10.0"))
    lost = {"mediaType": media_types.OCI_MANIFEST, "digest": "sha256:" + "5" * 64, "size": 99}
    bill = writer.add_artifact(APP, BILL, b"a bill", subject=lost, artifactType=BILL)
    writer.tag(APP, "bill", bill)
    for tag, age in OTHER.items():
        writer.tag("team/other", tag, writer.add_image("team/other", tag, now - timedelta(days=age)))
    with servers.Registry(folder / "registry") as running:
        session = open_session(folder / "store")
        QueryResult(session, f"tags of {running.host}/{APP} where digest is known")
        names = {str(writer.contents.find(APP, tag).digest): tag for tag in UNTAGGED} | {str(bill.digest): "a bill"}
        (folder / "used.txt").write_text("1.10.0\nrelease-3\nmain\n")
        before = os.getcwd()
        os.chdir(folder)
        for tag in (*UNTAGGED, "bill"):
            shutil.rmtree(f"{running.folder}/data/docker/registry/v2/repositories/{APP}/_manifests/tags/{tag}")
        yield session, running.host, names
        os.chdir(before)
        session.close()
