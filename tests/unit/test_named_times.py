"""Times that are named relative to the current one: the beginning of a day, week, month or year of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from imq.engine.units.time import NAMED_TIMES, is_like_date, parse_named_time

WEDNESDAY = datetime(2024, 5, 15, 13, 30, tzinfo=UTC)


def resolve(text: str, now: datetime = WEDNESDAY, zone: str = "UTC") -> str | None:
    found = parse_named_time(text, int(now.timestamp()) * 10**9, ZoneInfo(zone))
    return None if found is None else datetime.fromtimestamp(found / 10**9, ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", "2024-05-15"),
        ("Yesterday", "2024-05-14"),
        ("wednesday", "2024-05-15"),
        ("last wednesday", "2024-05-08"),
        ("monday", "2024-05-13"),
        ("thursday", "2024-05-09"),
        ("last thursday", "2024-05-09"),
        ("this week", "2024-05-13"),
        ("last  week", "2024-05-06"),
        ("this month", "2024-05-01"),
        ("last month", "2024-04-01"),
        ("this year", "2024-01-01"),
        ("last year", "2023-01-01"),
    ],
)
def test_a_named_time_is_the_beginning_of_its_day(text: str, day: str) -> None:
    assert resolve(text) == f"{day}T00:00:00+00:00"


def test_now_is_the_current_time() -> None:
    assert resolve("now") == "2024-05-15T13:30:00+00:00"


def test_the_month_before_january_is_in_the_year_before() -> None:
    assert resolve("last month", datetime(2024, 1, 31, tzinfo=UTC)) == "2023-12-01T00:00:00+00:00"


def test_a_leap_day_has_a_year_before() -> None:
    assert resolve("last year", datetime(2024, 2, 29, tzinfo=UTC)) == "2023-01-01T00:00:00+00:00"


def test_days_begin_in_the_zone_of_the_calendar() -> None:
    late = datetime(2024, 5, 15, 23, 30, tzinfo=UTC)  # already Thursday in Berlin
    assert resolve("today", late, "Europe/Berlin") == "2024-05-16T00:00:00+02:00"
    assert resolve("yesterday", datetime(2024, 3, 31, 12, tzinfo=UTC), "Europe/Berlin") == "2024-03-30T00:00:00+01:00"


@pytest.mark.parametrize("text", ["tomorrow", "this monday", "week", "last", "", "redis", "todays"])
def test_other_words_are_no_times(text: str) -> None:
    assert resolve(text) is None


def test_every_named_time_is_resolved() -> None:
    assert all(resolve(text) is not None for text in NAMED_TIMES)


@pytest.mark.parametrize("text", ["2024-13-01", "31/01/2024", "1.2.24", "2024/01/31", "2024-01-31T25:00", "2024-1-1Z"])
def test_wrong_dates_are_recognised(text: str) -> None:
    assert is_like_date(text)


@pytest.mark.parametrize("text", ["redis", "7.2.4", "2024", "10.0.0.1", "registry:5000/a"])
def test_names_are_not_like_dates(text: str) -> None:
    assert not is_like_date(text)
