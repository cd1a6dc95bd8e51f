"""Units: sizes and durations are formatted and parsed as in docker's go-units, times as in Go."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.units.size import Size, human_size, human_size_exact, parse_size
from imq.engine.units.time import format_age, format_created_at, human_duration, parse_duration, parse_time, parse_until

MINUTE, HOUR, DAY = 60, 3600, 86400
WEEK, MONTH, YEAR = 7 * DAY, 30 * DAY, 365 * DAY
NS = 1_000_000_000
LARGEST = (1 << 63) - 1


@pytest.mark.parametrize(
    ("size", "three", "four"),
    [
        (0, "0B", "0B"),
        (1, "1B", "1B"),
        (999, "999B", "999B"),
        (1000, "1kB", "1kB"),
        (1024, "1.02kB", "1.024kB"),
        (1090, "1.09kB", "1.09kB"),
        (762_400, "762kB", "762.4kB"),
        (999_950, "1e+03kB", "1000kB"),
        (1_000_000, "1MB", "1MB"),
        (1_048_576, "1.05MB", "1.049MB"),
        (142_000_000, "142MB", "142MB"),
        (3_420_000_000, "3.42GB", "3.42GB"),
        (5_372_000_000_000, "5.37TB", "5.372TB"),
        (2_220_000_000_000_000, "2.22PB", "2.22PB"),
        (LARGEST, "9.22EB", "9.223EB"),
        (10**28, "1e+04YB", "1e+04YB"),
        (-5, "-5B", "-5B"),
        (-9_760_000, "-9.76MB", "-9.76MB"),
    ],
)
def test_human_size(size: int, three: str, four: str) -> None:
    assert human_size(size) == three
    assert human_size_exact(size) == four
    assert str(Size(size)) == three


def test_size_is_a_number() -> None:
    assert Size(1500) == 1500
    assert Size(1500) + 1 == 1501
    assert f"{Size(1500):d} {Size(1500)}" == "1500 1.5kB"
    assert sorted([Size(3), Size(1)]) == [1, 3]


KB, MB, GB, TB, PB = (1000**power for power in range(1, 6))
KIB, MIB, GIB = (1024**power for power in range(1, 4))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("32", 32),
        ("32b", 32),
        ("32B", 32),
        ("32k", 32 * KB),
        ("32K", 32 * KB),
        ("32kb", 32 * KB),
        ("32Kb", 32 * KB),
        ("32Mb", 32 * MB),
        ("32Gb", 32 * GB),
        ("32Tb", 32 * TB),
        ("32Pb", 32 * PB),
        ("5 GB", 5 * GB),
        ("32.5kB", 32_500),
        ("32.5 kB", 32_500),
        ("32.5 B", 32),
        ("0.3 K", 300),
        ("100MB", 100 * MB),
        ("1.5GiB", 3 * GIB // 2),
        ("32KIB", 32 * KIB),
        ("32Ki", 32 * KIB),
        ("0.3MiB", MIB * 3 // 10),
        ("1.1GB", 1_100_000_000),
        ("1.000000000000000001EB", 10**18 + 1),
        ("8.999999999999999999EB", 8_999_999_999_999_999_999),
        ("9223372036854775807", LARGEST),
        ("9223372036854775808", None),
        ("10EB", None),
        ("", None),
        ("hello", None),
        ("-32", None),
        (" 32 ", None),
        ("32m b", None),
        ("32bm", None),
        ("32  kB", None),
        ("1.2.3k", None),
        (".5", None),
        ("5.", None),
        ("32i", None),
        ("32iB", None),
        ("30d", None),
        ("1e3", None),
        ("٣٢", None),
        ("1" * 100_000, None),
        ("32\n", None),
    ],
)
def test_parse_size(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@given(st.integers(0, LARGEST))
def test_a_printed_size_parses_to_nearly_the_same_size(size: int) -> None:
    back = parse_size(str(Size(size)).replace("1e+03", "1000"))
    assert back is not None
    assert abs(back - size) <= size / 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0, "Less than a second"),
        (0.45, "Less than a second"),
        (1, "1 second"),
        (47, "47 seconds"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (3 * MINUTE, "3 minutes"),
        (35 * MINUTE + 40, "35 minutes"),
        (59 * MINUTE + 59, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR + 29 * MINUTE, "About an hour"),
        (HOUR + 31 * MINUTE, "2 hours"),
        (3 * HOUR + 29 * MINUTE, "3 hours"),
        (3 * HOUR + 31 * MINUTE, "4 hours"),
        (24 * HOUR, "24 hours"),
        (36 * HOUR, "36 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY + 5 * HOUR, "13 days"),
        (2 * WEEK, "2 weeks"),
        (2 * WEEK + 4 * DAY, "2 weeks"),
        (3 * WEEK, "3 weeks"),
        (4 * WEEK + 3 * DAY, "4 weeks"),
        (MONTH, "4 weeks"),
        (MONTH + 2 * WEEK, "6 weeks"),
        (2 * MONTH, "2 months"),
        (3 * MONTH + WEEK, "3 months"),
        (13 * MONTH, "13 months"),
        (24 * MONTH, "24 months"),
        (24 * MONTH + 2 * WEEK, "2 years"),
        (3 * YEAR + 2 * MONTH, "3 years"),
        (55 * YEAR, "55 years"),
    ],
)
def test_human_duration(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
    assert format_age(seconds) == f"{text} ago"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("90s", 90),
        ("24h", 24 * HOUR),
        ("1h30m", HOUR + 30 * MINUTE),
        ("1h15m30.918s", 4530.918),
        ("1.5h", 5400),
        (".5m", 30),
        ("1.m", 60),
        ("300ms", 0.3),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("5μs", 5e-6),
        ("7ns", 7e-9),
        ("30d", 30 * DAY),
        ("2w", 2 * WEEK),
        ("1y", YEAR),
        ("2 weeks", 2 * WEEK),
        ("1 week", WEEK),
        ("1 Day 12 Hours", DAY + 12 * HOUR),
        ("1 month", MONTH),
        ("3 months", 3 * MONTH),
        ("1 year", YEAR),
        ("1 year 2 months", YEAR + 2 * MONTH),
        ("45 minutes", 45 * MINUTE),
        ("10 seconds", 10),
        ("1.5 days", 36 * HOUR),
        ("2days", 2 * DAY),
        ("", None),
        ("30", None),
        ("d", None),
        (".h", None),
        ("-1h", None),
        ("+1h", None),
        ("1H", None),
        ("3M", None),
        ("1 fortnight", None),
        ("30d ", None),
        (" 30d", None),
        ("30  d", None),
        ("1h30", None),
        ("10MB", None),
        ("293 years", None),
        ("1" * 100_000 + "h", None),
        ("1h" * 50_000 + "!", None),
        ("٣d", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_parse_duration(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == (None if seconds is None else round(seconds * NS))


AUTUMN = 1_795_468_322 * NS


@pytest.mark.parametrize(
    ("ns", "zone", "text"),
    [
        (AUTUMN, UTC, "2026-11-23 21:12:02 +0000 UTC"),
        (AUTUMN + 999_999_999, UTC, "2026-11-23 21:12:02 +0000 UTC"),
        (AUTUMN, ZoneInfo("Europe/Berlin"), "2026-11-23 22:12:02 +0100 CET"),
        (AUTUMN, ZoneInfo("America/Sao_Paulo"), "2026-11-23 18:12:02 -0300 -03"),
        (AUTUMN, timezone(timedelta(hours=5, minutes=30)), "2026-11-24 02:42:02 +0530 +0530"),
        (0, UTC, "1970-01-01 00:00:00 +0000 UTC"),
        (-1, UTC, "1969-12-31 23:59:59 +0000 UTC"),
        (LARGEST, UTC, "2262-04-11 23:47:16 +0000 UTC"),
    ],
)
def test_created_at(ns: int, zone: ZoneInfo | timezone, text: str) -> None:
    assert format_created_at(ns, zone) == text


DAY_2024 = 19_723 * DAY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024", DAY_2024),
        ("2024-01", DAY_2024),
        ("2024-02", DAY_2024 + 31 * DAY),
        ("2024-01-31", DAY_2024 + 30 * DAY),
        ("2024-01-31T10:00", DAY_2024 + 30 * DAY + 10 * HOUR),
        ("2024-01-31 10:00:05", DAY_2024 + 30 * DAY + 10 * HOUR + 5),
        ("2024-01-31T10:00:05z", DAY_2024 + 30 * DAY + 10 * HOUR + 5),
        ("2024-01-31T10:00+02:00", DAY_2024 + 30 * DAY + 8 * HOUR),
        ("2024-01-31-01:30", DAY_2024 + 30 * DAY + HOUR + 30 * MINUTE),
        ("2024-01-31Z", DAY_2024 + 30 * DAY),
        ("2016-12-31T23:59:60Z", 1_483_228_799),
        ("1970", 0),
        ("1969-12-31T23:59:59Z", -1),
        ("2024-02-30", None),
        ("2024-13", None),
        ("2024-1-1", None),
        ("24", None),
        ("20240131", None),
        ("2024-01-31T25:00", None),
        ("2024-01-31T10", None),
        ("2024-01-31T10:00:05.", None),
        ("2024-01-31T10:00 Z", None),
        ("0000", None),
        ("0001", None),
        ("0001-01-01T00:00:00+02:00", None),
        ("9999", None),
        ("9999-12-31T23:59:59-02:00", None),
        ("", None),
        ("yesterday", None),
        ("2024\n", None),
    ],
)
def test_parse_moment(text: str, seconds: int | None) -> None:
    assert parse_time(text, UTC) == (None if seconds is None else seconds * NS)


def test_parse_moment_keeps_nanoseconds() -> None:
    assert parse_time("2024-01-01 00:00:00.25", UTC) == DAY_2024 * NS + 250_000_000
    assert parse_time("2024-01-01T00:00:00.123456789Z") == DAY_2024 * NS + 123_456_789
    assert parse_time("2024-01-01T00:00:00.1234567899Z") == DAY_2024 * NS + 123_456_789


def test_parse_moment_without_a_zone_uses_the_argument() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_time("2024-01-01", berlin) == (DAY_2024 - HOUR) * NS
    assert parse_time("2024-07-01T12:00", berlin) == parse_time("2024-07-01T10:00Z")
    assert parse_time("2024-01-01Z", berlin) == DAY_2024 * NS


@given(st.integers(-(10**18), 10**18))
def test_created_at_reads_back(seconds_ns: int) -> None:
    date, clock, _offset, _name = format_created_at(seconds_ns, UTC).split()
    assert parse_time(f"{date}T{clock}Z") == seconds_ns // NS * NS


@given(st.integers(-(10**18), 10**18))
def test_local_time_is_the_default(ns: int) -> None:
    date, clock, offset, _name = format_created_at(ns).split()
    assert parse_time(f"{date}T{clock}{offset[:3]}:{offset[3:]}") == ns // NS * NS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", AUTUMN // NS - DAY),
        ("1h30m", AUTUMN // NS - 5400),
        ("1.5h", AUTUMN // NS - 5400),
        ("+10m", AUTUMN // NS - 600),
        ("-10m", AUTUMN // NS + 600),
        ("1ms", AUTUMN // NS),  # to the second, of AUTUMN and a half
        ("600ms", AUTUMN // NS - 1),
        ("0s", AUTUMN // NS),
        ("2024-01-31", DAY_2024 + 30 * DAY - HOUR),
        ("2024-01-31Z", DAY_2024 + 30 * DAY),
        ("2024-01-31+02:00", DAY_2024 + 30 * DAY - 2 * HOUR),
        ("2024-01-31-02:00", DAY_2024 + 30 * DAY + 2 * HOUR),
        ("2024-01-31T10", DAY_2024 + 30 * DAY + 9 * HOUR),
        ("2024-01-31T5:30", DAY_2024 + 30 * DAY + 4 * HOUR + 30 * MINUTE),
        ("2024-01-31T10:00:05", DAY_2024 + 30 * DAY + 9 * HOUR + 5),
        ("2024-07-31T10:00:05", 1_722_416_405),  # with the offset of now, as docker: Berlin had two hours then
        ("2024-01-31T10Z", DAY_2024 + 30 * DAY + 10 * HOUR),
        ("2024-01-31T10:00+02:00", DAY_2024 + 30 * DAY + 8 * HOUR),
        ("2024-01-31T10:00:05-01:00", DAY_2024 + 30 * DAY + 11 * HOUR + 5),
        ("2024-01-31T10:00:05.25Z", DAY_2024 + 30 * DAY + 10 * HOUR + 5.25),
        ("2024-01-31T10:00:05,25Z", DAY_2024 + 30 * DAY + 10 * HOUR + 5.25),
        ("1700000000", 1_700_000_000),
        ("+1700000000", 1_700_000_000),
        ("1700000000.5", 1_700_000_000.5),
        ("0", 0),
        ("2024", 2024),
        ("", None),
        ("1d", None),
        ("2 weeks", None),
        ("30", 30),
        ("1h30", None),
        ("-1700000000", None),
        ("1700000000.", None),
        (".5", None),
        ("1e9", None),
        ("1700000000000", None),
        ("2024-1-31", None),
        ("2024-02-30", None),
        ("2024-01-31 10:00", None),
        ("2024-01-31t10:00:05z", None),
        ("2024-01-31T25:00", None),
        ("2024-01-31T10:00:60", None),
        ("2024-01-31T10:00.5", None),
        ("2024-01-31T", None),
        ("2024-01-31T10:00:05+0200", None),
        ("yesterday", None),
        ("300y", None),
        ("3000000h", None),
        ("1700000000\n", None),
        ("٣h", None),
    ],
)
def test_parse_until(text: str, seconds: float | None) -> None:
    ns = parse_until(text, AUTUMN + NS // 2, ZoneInfo("Europe/Berlin"))
    assert ns == (None if seconds is None else round(seconds * 4) * NS // 4)


def test_parse_until_keeps_nanoseconds() -> None:
    assert parse_until("1700000000.000000001", AUTUMN) == 1_700_000_000 * NS + 1
    assert parse_until("1700000000.1234567899", AUTUMN) == 1_700_000_000 * NS + 123_456_789
    assert parse_until("2024-01-01T00:00:00.123456789Z", AUTUMN) == DAY_2024 * NS + 123_456_789


@given(st.text() | st.from_regex(r"[0-9]{0,5}[-. ]?[0-9]{0,3}[a-zZ+:]{0,4}[0-9]{0,3}[a-z]{0,3}"))
def test_any_text_is_parsed_or_none(text: str) -> None:
    for read in (parse_size, parse_duration, parse_time, lambda text: parse_until(text, AUTUMN)):
        value = read(text)
        assert value is None or abs(value) <= LARGEST
