"""The recipes of the README, of the page for operators and of the guides do what their headings say."""

from __future__ import annotations

import pathlib
import re
import shlex
from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from imq.cli.options import OPTIONS
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from language.conftest import NOW
from support.statement_rows import read_all_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = pathlib.Path(__file__).parents[2]
OPERATORS = (CHECKOUT / "build" / "OPERATORS.md").read_text(encoding="utf-8")
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
AUTOMATION = (CHECKOUT / "dsl" / "docs" / "AUTOMATION.md").read_text(encoding="utf-8")
DAY = 86_400


@pytest.fixture
def session(recipe_root: str) -> Iterator[Session]:
    opened = Session(SessionContext(recipe_root, {}, clock=lambda: NOW, zone=UTC))
    yield opened
    opened.close()


def plan(session: Session, statement: str) -> list[str]:
    """Return the targets of an action, in the order of the plan."""
    return [row[1].partition("@")[0] for row in read_all_rows(session, statement)]


def read_jobs() -> dict[str, list[str]]:
    """Return the words of each job of the crontab, by its comment; a job is for root, with five fields of time."""
    (table,) = re.findall(r"^```\n# /etc/cron\.d/imq\n(.*?)^```$", OPERATORS, re.MULTILINE | re.DOTALL)
    jobs = {}
    for comment, line in re.findall(r"^# (.+)\n(.+)$", table, re.MULTILINE):
        *times, user, command = line.split(None, 6)
        assert (len(times), user) == (5, "root")
        assert all(re.fullmatch(r"[*]|\d+", field) for field in times)
        assert not re.search(r"(?<!\\)%", command), "cron ends the line at %"
        jobs[comment] = shlex.split(command.replace(r"\%", "%"))
    assert table.count("\n") == 2 * len(jobs)
    return jobs


JOBS = read_jobs()


def statement_of(comment: str, *options: str) -> str:
    program, *words = JOBS[next(name for name in JOBS if comment in name)]
    assert program == "imq"
    known = {name for option in OPTIONS for name in option.names}
    assert set(options) == {word for word in words if word.startswith("-")} <= known
    (statement,) = (word for word in words if not word.startswith("-"))
    return statement


def test_every_job_has_a_test() -> None:
    assert len(JOBS) == 4


def test_what_no_container_used_for_a_month_is_removed(session: Session) -> None:
    removed = plan(session, statement_of("for a month", "--yes"))
    assert removed == ["lib/jar:1.2.0", "lib/jar:1.1.0", "lib/jar:2.0-SNAPSHOT", "lib/jar:1.0-SNAPSHOT"]
    facts = {
        row[0]: row[1:]
        for row in read_all_rows(session, "images where repository = lib/jar select name, in_use, last_used, pulled_at")
    }
    assert all(facts[name] == [False, None, "2024-05-01T00:00:00Z"] for name in removed)
    condition = statement_of("for a month", "--yes").partition(" where ")[2]
    old = {row[0] for row in read_all_rows(session, f"images where {condition} select name")}
    assert "jenkins:2" in old  # used 47 days ago
    assert not old & {"deep:1", "java:17", "demo_web:1", "fresh:1"}  # used or pulled in this month
    assert not old & {"redis:7", "team/app:3", "plain:1"}  # in use, created and pulled long ago


def test_images_without_a_name_are_removed(session: Session) -> None:
    assert plan(session, statement_of("without a name", "--yes")) == ["<none>"]


def test_a_full_disk_is_cleared_from_the_longest_unused(session: Session) -> None:
    statement = statement_of("disk", "--yes")
    assert "disk use <= 75% when disk use > 85%" in statement
    order = plan(session, statement.replace("<= 75%", "<= 1%").replace("> 85%", "> 0%"))
    assert order[-4:] == ["jenkins:2", "deep:1", "demo_web:1", "fresh:1"]
    assert not {"redis:7", "redis:latest", "team/app:3", "java:17", "plain:1"} & set(order)


def test_all_blobs_are_verified(session: Session) -> None:
    targets = plan(session, statement_of("read all blobs"))
    assert {"redis:7", "deep:1", "jenkins:2"} < set(targets)


def find_pairs() -> list[tuple[str, str, str]]:
    """Return the headings before and after of the README, each with its shell line and its statement."""
    return re.findall(r"^([A-Z][^\n]+)\n\n```sh\n(.+?)^```\n\n```imq\n(.+?)\n```$", README, re.MULTILINE | re.DOTALL)


def test_the_newest_of_a_repository_stay_whatever_their_age(session: Session) -> None:
    (heading, _, statement), *rest = find_pairs()
    assert (len(rest), "not its newest three" in heading) == (2, True)
    assert plan(session, statement) == []
    removed = plan(session, statement.replace("team/app", "lib/jar"))
    assert removed == ["lib/jar:1.2.0", "lib/jar:1.1.0", "lib/jar:2.0-SNAPSHOT", "lib/jar:1.0-SNAPSHOT"]


def test_releases_are_full_versions(session: Session, tmp_path: pathlib.Path) -> None:
    _, (heading, shell, statement), _ = find_pairs()
    assert "five newest releases" in heading
    pattern = re.findall(r"grep -E '(.+?)'", shell)[0]
    tags = ["7.2.4", "7.10.0", "7", "7.2", "latest", "7.2.4-alpine", "8.0.0-rc1", "6.0.1"]
    (tmp_path / "tags.csv").write_text("\n".join(["tag", *tags, "1.0.0", "1.0.1", "1.0.2"]))
    local = statement.replace("tags of redis", f'rows of "{tmp_path}/tags.csv"').replace(
        "by version", "by version(tag)"
    )
    found = [row[0] for row in read_all_rows(session, local)]
    assert found == ["7.10.0", "7.2.4", "6.0.1", "1.0.2", "1.0.1"]
    assert all(re.match(pattern, tag) for tag in found)


def test_images_with_a_large_layer(session: Session) -> None:
    *_, (heading, _, statement) = find_pairs()
    assert "more than 100 MB" in heading
    assert read_all_rows(session, statement) == []
    small = statement.replace("100MB", "90kB")
    assert {row[0] for row in read_all_rows(session, small)} == {
        "plain",
        "team/app",
        "registry.local:5000/team/app",
        None,
    }


def test_the_playbook_removes_old_unused_images_but_not_the_newest(session: Session) -> None:
    import yaml

    (text,) = re.findall(r"^```yaml\n(- name: Remove.+?)^```$", AUTOMATION, re.MULTILINE | re.DOTALL)
    (task,) = yaml.safe_load(text)
    assert "newest three" in task["name"]
    program, *options, statement = task["ansible.builtin.command"]["argv"]
    assert (program, options) == ("imq", ["--yes", "--output=ansible"])
    assert plan(session, statement) == [
        "lib/jar:1.2.0",
        "lib/jar:1.1.0",
        "lib/jar:2.0-SNAPSHOT",
        "lib/jar:1.0-SNAPSHOT",
    ]
