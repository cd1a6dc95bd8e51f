"""Types: which operands fit together, and how literals, times, ages and names are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.catalog.tables import DataType
from imq.engine.result import RowSet
from imq.grammar.errors import ImqError, StatementError, TypeMismatch

if TYPE_CHECKING:
    from imq.engine.session.session import Session

OF_KIND = {
    DataType.TEXT: "user",
    DataType.NUMBER: "layer_count",
    DataType.REFERENCE: "name",
    DataType.REPOSITORY: "repository",
    DataType.TAG: "tag",
    DataType.SIZE: "size",
    DataType.TIME: "created",
    DataType.DURATION: "age(created)",
    DataType.BOOLEAN: "dangling",
    DataType.DIGEST: "id",
    DataType.PLATFORM: "platform",
    DataType.LIST: "cmd",
    DataType.MAP: "label",
}
TEXTS = {DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.DIGEST, DataType.PLATFORM}
OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "like", "has", "before", "since", "within"]
SIGNS = "+-*/%"


def rows(session: Session, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of all results of some statements."""
    return [row for result in session.run(statement) if isinstance(result, RowSet) for row in result.rows]


def names(session: Session, condition: str) -> set[str]:
    """Return the names of the images that meet a condition; `-` for an image without a name."""
    return {row[0] or "-" for row in rows(session, f"images where {condition} select name")}


def fits(operator: str, left: DataType, right: DataType) -> bool:
    """Whether values of two types can be compared by an operator."""
    if operator == "has":
        return left in (DataType.LIST, DataType.MAP) and right in TEXTS
    if operator == "like":
        return left in {*TEXTS, DataType.LIST, DataType.MAP} and right in TEXTS
    if operator in ("before", "since", "within"):
        return left is DataType.TIME and (
            right is DataType.DURATION or (right is DataType.TIME and operator != "within")
        )
    if DataType.LIST in (left, right) or DataType.MAP in (left, right):
        return False
    if left is right:
        return left is not DataType.BOOLEAN or operator in ("=", "!=")
    return {left, right} <= TEXTS or {left, right} == {DataType.NUMBER, DataType.SIZE}


@pytest.mark.parametrize("left", OF_KIND)
@pytest.mark.parametrize("operator", OPERATORS)
def test_comparisons_accept_only_matching_types(session: Session, left: DataType, operator: str) -> None:
    for right in OF_KIND:
        statement = f"images where {OF_KIND[left]} {operator} {_right(right)}"
        if fits(operator, left, right):
            assert (
                len(rows(session, statement)) + len(rows(session, f"{statement.replace('where', 'where not')}")) == 11
            )
        else:
            with pytest.raises(TypeMismatch) as caught:
                rows(session, statement)
            assert left.value in caught.value.message or right.value in caught.value.message
            assert caught.value.span is not None


def _right(kind: DataType) -> str:
    return OF_KIND[kind] if kind is DataType.DURATION else f".{OF_KIND[kind]}"


ARITHMETIC = {
    ("+", DataType.NUMBER, DataType.NUMBER): DataType.NUMBER,
    ("+", DataType.SIZE, DataType.SIZE): DataType.SIZE,
    ("+", DataType.SIZE, DataType.NUMBER): DataType.SIZE,
    ("-", DataType.TIME, DataType.TIME): DataType.DURATION,
    ("-", DataType.TIME, DataType.DURATION): DataType.TIME,
    ("+", DataType.TIME, DataType.DURATION): DataType.TIME,
    ("-", DataType.DURATION, DataType.DURATION): DataType.DURATION,
    ("*", DataType.SIZE, DataType.NUMBER): DataType.SIZE,
    ("*", DataType.NUMBER, DataType.DURATION): DataType.DURATION,
    ("/", DataType.SIZE, DataType.NUMBER): DataType.SIZE,
    ("/", DataType.SIZE, DataType.SIZE): DataType.NUMBER,
    ("/", DataType.DURATION, DataType.DURATION): DataType.NUMBER,
    ("*", DataType.SIZE, DataType.SIZE): None,
    ("/", DataType.NUMBER, DataType.SIZE): None,
    ("+", DataType.SIZE, DataType.DURATION): None,
    ("+", DataType.DURATION, DataType.NUMBER): None,
    ("+", DataType.TIME, DataType.TIME): None,
    ("*", DataType.TIME, DataType.NUMBER): None,
}


@pytest.mark.parametrize(("operator", "left", "right"), ARITHMETIC)
def test_arithmetic_returns_the_expected_type(session: Session, operator: str, left: DataType, right: DataType) -> None:
    statement = f"images select {OF_KIND[left]} {operator} {_right(right)} as x"
    kind = ARITHMETIC[operator, left, right]
    if kind is None:
        with pytest.raises(TypeMismatch):
            rows(session, statement)
        return
    (answer,) = session.run(statement)
    assert isinstance(answer, RowSet)
    assert answer.columns[0].type is kind
    assert len(list(answer.rows)) == 11


@pytest.mark.parametrize("left", OF_KIND)
@pytest.mark.parametrize("sign", SIGNS)
def test_arithmetic_returns_a_value_or_a_type_error(session: Session, left: DataType, sign: str) -> None:
    for right in OF_KIND:
        try:
            assert len(rows(session, f"images select {OF_KIND[left]} {sign} {_right(right)} as x")) == 11
        except TypeMismatch as mismatch:
            said = mismatch.message
        else:
            continue
        assert left.value in said
        assert right.value in said


def test_arithmetic_in_numbers(session: Session) -> None:
    answer = "images where name = redis:7 select size + 1kB as a, size * 2 as b, size / 3 as c, layer_count / 4 as d,"
    answer += " layer_count % 2 as e, size / 0 as f, size / download_size > 0.5 as g, -3 + layer_count as h"
    assert rows(session, answer) == [(61024, 120048, 20008, 0.5, 0, None, 1, -1)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # names in every spelling that means the same
        ("name = redis:7", {"redis:7"}),
        ("name = docker.io/library/redis:7", {"redis:7"}),
        ("name = index.docker.io/library/redis:7", {"redis:7"}),
        ("name = library/redis", {"redis:latest"}),
        ("name = redis", {"redis:latest"}),
        ('name = "redis"', {"redis:latest"}),
        ("repository = docker.io/library/redis", {"redis:7", "redis:latest"}),
        ("repository = quay.io/team/tool and tag is unknown and digest is known", {"quay.io/team/tool@sha256:"}),
        ("registry = docker.io and repository = plain", {"plain:1"}),
        ("registry = registry.local:5000", {"registry.local:5000/team/app:1"}),
        ("reference like *:7", {"redis:7"}),
        # ids
        ("id = sha256:{redis:7}", {"redis:7"}),
        ("id = {redis:7:12}", {"redis:7"}),
        ("id = {REDIS:7:12}", {"redis:7"}),
        ("id in ({redis:7:12}, {redis:latest:16})", {"redis:7", "redis:latest"}),
        ("id like sha256:{redis:7:8}*", {"redis:7"}),
        # dates, and what is not known is never older nor newer than anything
        ("created < 2024-02-01", {"team/app:1", "registry.local:5000/team/app:1", "-"}),
        ("created = 2024-03-01T10:00:00Z", {"redis:7"}),
        ("created = 2024-03-01T12:00:00+02:00", {"redis:7"}),
        ("created between 2024-04 and 2024-05", {"team/app:2"}),
        ("created before 2024-01-10", {"-"}),
        ("created is unknown", {"reproducible:1"}),
        ("not created before 2100 and not created after 1971", {"reproducible:1"}),
        ("older than 200d", {"-"}),
        ("older than 28 weeks and tag is known", {"team/app:1", "registry.local:5000/team/app:1"}),
        ("newer than 4 weeks", {"redis:latest", "team/app:3"}),
        ("created within 4 days", {"redis:latest"}),
        ("created since 4 days ago", {"redis:latest"}),
        ("created after 4d ago", {"redis:latest"}),
        ("created before 7 months ago", set()),
        # docker's rule: the image itself is neither before nor since itself
        ("created before team/app:1", {"-"}),
        ("created since team/app:3", {"redis:latest"}),
        ("created after team/app:3", {"redis:latest"}),
        ("created before reproducible:1 or created after reproducible:1", set()),
        ("created = created of redis:7", {"redis:7"}),
        ("dangling = dangling of redis:7 and repository = redis", {"redis:7", "redis:latest"}),
        # sizes
        ("size = 60024", {"redis:7"}),
        ("size = 60.024kB", {"redis:7"}),
        ("size = 60.024 KB", {"redis:7"}),
        ("size between 58KiB and 60KiB", {"redis:7"}),
        ("size between 10MB and 1B", set()),
        # booleans and maps
        ("dangling = yes", {"-", "quay.io/team/tool@sha256:"}),
        ("dangling != false and name is unknown", {"-"}),
        ("label.env = prod and label.ENV is unknown and repository like team/*", {"team/app:1", "team/app:2"}),
        ("LABEL.env = edge", {"edge/agent:1"}),
        ("Architecture = ARM64 or ARCH = arm64", {"edge/agent:1"}),
        ("DownloadSize > 1kB and layerCount = 1 and os = linux and variant = v8", {"edge/agent:1"}),
        ("env.STAGE = $env.STAGE and tag = 2", {"team/app:2"}),
        ("lower($env.STAGE) = .label.env and tag = 2", {"team/app:2"}),
        ('annotations has "org.opencontainers.image.title"', {"edge/agent:1"}),
        ("has annotations", {"edge/agent:1"}),
        ('ports has 6379/tcp and volumes has "/data" and tag = 7', {"redis:7"}),
        ("healthcheck is known", set()),
    ],
)
def test_values_are_read_by_the_type_of_the_field(session: Session, condition: str, expected: set[str]) -> None:
    for name in ("redis:7", "redis:latest"):
        digits = session.store.find(name).id.encoded
        for length in (64, 16, 12, 8):
            condition = condition.replace(f"{{{name}:{length}}}", digits[:length])
            condition = condition.replace(f"{{{name.upper()}:{length}}}", digits[:length].upper())
        condition = condition.replace(f"{{{name}}}", digits)
    assert {name.partition("sha256:")[0] + "sha256:" * ("@" in name) for name in names(session, condition)} == expected


def test_groups_by_alias(session: Session) -> None:
    said = "images where dangling = no group by repository select repository as repo, count as n, sum(size) as total"
    assert [row[:2] for row in rows(session, f"{said} having n > 1 order by n desc, repo")] == [
        ("team/app", 3),
        ("redis", 2),
    ]
    assert rows(session, f"{said} having total > 300kB order by total desc") == [("team/app", 3, 365472)]
    assert rows(session, "images group by label.env select label.env as env, count order by env limit 1") == [
        ("edge", 1)
    ]


def test_equal_rows_follow_the_default_order(session: Session) -> None:
    """Rows with equal sort keys follow the default order: newest first, then by name."""
    found = rows(session, "images where repository like *team/* order by label.env select name, label.env")
    assert [row[0].partition("@")[0] for row in found] == [
        "quay.io/team/tool",
        "team/app:2",
        "registry.local:5000/team/app:1",
        "team/app:1",
        "team/app:3",
    ]


def test_layers_and_history_of_images(session: Session) -> None:
    assert rows(session, "layers of redis:7 select index, size, images") == [(0, 20024, 8), (1, 40000, 1)]
    assert rows(session, "layers of redis:7, redis:latest count") == [(4,)]
    assert rows(session, "history of redis:7 select index, empty, size") == [(0, 0, 20024), (1, 0, 40000), (2, 1, 0)]
    assert rows(session, "history of redis:7 where not empty select created_by")[0] == ("COPY layer 0 /",)


def test_functions_return_the_expected_values(session: Session) -> None:
    said = (
        'images where name = redis:7 select lower("A") as a, upper(tag) as b, length(repository) as c,'
        ' replace(repository, "re", "RE") as d, coalesce(label.nope, user, "none") as e, year(created) as f,'
        " month(created) as g, day(created) as h, age(created) as i, now() as j"
    )
    (row,) = rows(session, said)
    now = session.context.clock()
    assert row == ("a", "7", 5, "REdis", "none", 2024, 3, 1, 13226400 * 1_000_000_000, now)


def test_variables_are_values_never_statements(library_root: str) -> None:
    from imq.engine.session.context import SessionContext
    from imq.engine.session.session import Session as Opened

    injected = "x' or '1'='1; rm all images"
    session = Opened(SessionContext(library_root, {"X": injected, "LIMIT": "2", "BAD": "\udcff"}, clock=lambda: 0))
    try:
        assert names(session, "tag = $env.X") == set()
        assert len(rows(session, "images limit $env.LIMIT")) == 2
        with pytest.raises(StatementError) as caught:
            names(session, "tag = $env.BAD")
        assert caught.value.code == "encoding"
        with pytest.raises(ImqError):
            rows(session, "layers of $env.X")
    finally:
        session.close()


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "=", "!="])
@pytest.mark.parametrize("field", ["created", "pulled_at", "max(created)"])
def test_a_time_compared_with_a_duration_shows_both_meanings(session: Session, field: str, operator: str) -> None:
    clause = "group by repository having" if "(" in field else "where"
    with pytest.raises(TypeMismatch) as refused:
        rows(session, f"images {clause} {field} {operator} 30d")
    called = field.replace("(created)", "(…)")
    assert refused.value.suggestion == ""
    assert refused.value.hints == (
        f"older: {called} < 30d ago",
        f"newer: {called} > 30d ago",
    )


def test_ago_is_a_time(session: Session) -> None:
    for age in ("30d", "400 days", "1 year"):
        assert names(session, f"created < {age} ago") == names(session, f"created before {age}")
        assert names(session, f"created < {age} ago") == names(session, f"older than {age}")
        assert names(session, f"created > {age} ago") == names(session, f"newer than {age}")
        assert names(session, f"created >= {age} ago") == names(session, f"created since {age}")
        assert names(session, f"not created < {age} ago") == names(session, f"not older than {age}")
    between = names(session, "created between 400d ago and 30d ago")
    assert between == names(session, "created >= 400d ago and created <= 30d ago")
    assert names(session, 'created < "30d" ago') == names(session, "created < 30d ago")
    assert rows(session, "let age = 30d; images where created < $age ago count") == rows(
        session, "images where older than 30d count"
    )


@pytest.mark.parametrize("said", ["created = 30d ago", "created != 30d ago", "tag < 30d ago", "created < redis:7 ago"])
def test_invalid_uses_of_ago_are_refused(session: Session, said: str) -> None:
    with pytest.raises(StatementError):
        names(session, said)


def test_a_function_without_its_argument_is_refused(session: Session) -> None:
    with pytest.raises(StatementError) as refused:
        names(session, "age > 30d")
    assert refused.value.hints == ("age is a function: age(…)",)
