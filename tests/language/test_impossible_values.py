"""A constant that a field never has is refused: it would select no row, and its negation every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.result import RowSet
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from imq.engine.session.session import Session

REFUSED = """
containers where status = stopped -> values: created, running
containers where status != Running -> did you mean "running"?
containers where status not in (running, up) -> values: created, running
files of redis:7 where type = dir -> values: file, directory
packages of redis:7 where type = pip -> values: deb, apk
images where tag = "<none>" -> tag is unknown
images where repository != "<none>" -> repository is known
images where name like "*<none>*" -> name is unknown
images where tag not in (latest, "<none>") -> tag is unknown
images where created = 2024-07-01 -> date(created) = 2024-07-01
images where created != 2024-07 -> date(created) not like "2024-07-*"
files of redis:7 where path = etc/passwd -> path = "/etc/passwd"
files of redis:7 where path like "etc/*" -> path like "/etc/*"
files of redis:7 where path not in (/etc, bash) -> path = "/bash"
files of redis:7 where path matches "^etc" -> path matches "^/etc"
images where contains file bash -> path like "*/bash"
"""

ALLOWED = """
containers where status in (created, running)
files of redis:7 where path like "*/passwd" or path like "?etc" or path like "[/]etc" or path matches "passwd$"
images where created = 2024-07-01T10:00:00Z
images where created > 2024-07-01
images where label.env = "<none>"
images where date(created) = 2024-07-01
"""


def run(session: Session, text: str) -> list[tuple[object, ...]]:
    return [row for result in session.run(text, dry_run=True) if isinstance(result, RowSet) for row in result.rows]


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_a_constant_that_never_matches_is_refused_with_one_that_does(session: Session, line: str) -> None:
    text, _, hint = line.partition(" -> ")
    with pytest.raises(StatementError) as refused:
        run(session, text)
    assert refused.value.code == "value"
    assert any(hint in one for one in refused.value.hints)


@pytest.mark.parametrize("text", ALLOWED.strip().splitlines())
def test_other_constants_are_valid(session: Session, text: str) -> None:
    run(session, text)


def test_patterns_of_digests_match_the_digits(session: Session) -> None:
    digest = str(run(session, "images where name = redis:7 select id")[0][0])
    digits = digest.removeprefix("sha256:")
    for condition in (
        f"like '{digits[:4]}*'",
        f"like '?{digits[1:8]}*'",
        f"like '{digest[:12]}*'",
        f"like '*{digits[3:40]}*'",
        f"matches '^{digits[:6]}'",
        f"matches '^{digest[:12]}'",
        "matches '^[0-9a-f]{64}$'",
    ):
        assert ("redis:7",) in run(session, f"images where id {condition} select name"), condition
    assert run(session, f"images where id like '{digits[1:9]}*' and name = redis:7") == []


def test_the_date_of_a_time_is_its_day(session: Session) -> None:
    days = run(session, "images where created is known group by date(created) select date(created), count")
    assert days
    for day, count in days:
        assert run(session, f"images where date(created) = {day} count") == [(count,)]
        assert run(session, f"images where created >= {day} and created < date('{day}') + 1d count") == [(count,)]


@pytest.mark.parametrize("condition", ["has containers", "not has layers", "containers is known", "layers is unknown"])
def test_a_number_with_the_name_of_a_relation_is_not_asked_for_rows(session: Session, condition: str) -> None:
    """The number of containers is known when it is 0: `has containers` would hold for every image."""
    with pytest.raises(StatementError) as refused:
        run(session, f"images where {condition}")
    assert refused.value.code == "ambiguous"
    name = "layers" if "layers" in condition else "containers"
    assert refused.value.hints == (f"with at least one: any {name}", f"with none: no {name}")


def test_hints_for_fields_where_rows_are_expected(session: Session) -> None:
    for text, hint in (
        ("images where '80/tcp' in ports", "ports has"),
        ("images where tag in latest", "in (latest)"),
        ("images where no label.env", "label.env is unknown"),
    ):
        with pytest.raises(StatementError) as refused:
            run(session, text)
        assert hint in "".join(refused.value.hints)
