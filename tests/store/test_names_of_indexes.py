"""An index is one image under each of its names: rules count the name once, and take it only with all its platforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store.support.stores import StoreSession
from support.images import ARM64, Image, Layout, layer
from support.warned import Warned

if TYPE_CHECKING:
    from pathlib import Path

YEARS = range(2020, 2025)


def of_year(year: int) -> list[Image]:
    """Two images of one index: that for arm64 was made a day after the other."""
    text = str(year).encode()
    return [
        Image([layer({"amd64": text})], f"{year}-01-01T00:00:00Z"),
        Image([layer({"arm64": text})], f"{year}-01-02T00:00:00Z", ARM64),
    ]


@pytest.fixture
def store(tmp_path: Path) -> StoreSession:
    """Five indexes `app:2020` to `app:2024`; the newest is `app:latest` too, and `tool:1` is an image."""
    layout = Layout(tmp_path / "store")
    for year in YEARS:
        names = (f"app:{year}", "app:latest") if year == YEARS[-1] else (f"app:{year}",)
        layout.add_index(of_year(year), *names)
    layout.add(Image([layer({"tool": b"1"})], "2019-01-01T00:00:00Z"), "tool:1")
    return StoreSession(tmp_path / "store")


def stays(store: StoreSession) -> list[str]:
    return sorted({str(row["name"]) for row in store.rows("images where name is known select name")})


def test_the_newest_name_of_an_index_with_two_names_stays(store: StoreSession) -> None:
    store.do("rm images where tag in (2024, latest) except newest 1 per repository")
    assert stays(store) == ["app:2020", "app:2021", "app:2022", "app:2023", "app:2024", "tool:1"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_except_newest_counts_a_name_once_for_all_its_platforms(store: StoreSession, count: int) -> None:
    names = ["app:2024", "app:latest", "app:2023", "app:2022"][:count]
    store.do(f"rm images except newest {count} per repository")
    assert stays(store) == sorted([*names, "tool:1"])


def test_except_newest_counts_names_of_a_list_too(store: StoreSession) -> None:
    rows = store.rows("images where repository = app and tag != latest except newest 3 select name, architecture")
    assert [(row["name"], row["architecture"]) for row in rows] == [
        ("app:2021", "arm64"),
        ("app:2021", "amd64"),
        ("app:2020", "arm64"),
        ("app:2020", "amd64"),
    ]


def test_limit_skip_and_count_count_rows(store: StoreSession) -> None:
    """A name of several platforms has a row for each: three rows are both of the first name, and one of the next."""
    rows = store.rows("images where repository = app and tag != latest order by created desc skip 3 select tag")
    assert [row["tag"] for row in rows] == ["2023", "2022", "2022", "2021", "2021", "2020", "2020"]
    assert len(store.rows("images limit 3")) == 3
    (counts,) = store.rows("images select count, count(distinct name) as names, count(distinct images) as images")
    assert counts == {"count": 13, "names": 7, "images": 11}


def test_except_newest_of_each_platform_counts_names_of_that_platform(store: StoreSession) -> None:
    rows = store.rows("images where tag in (2022, 2023) except newest 1 per repository, architecture select name")
    assert [row["name"] for row in rows] == ["app:2022", "app:2022"]


def test_except_newest_warns_of_images_and_not_of_platforms(tmp_path: Path, store: StoreSession) -> None:
    store.close()
    warned = Warned()
    with StoreSession(tmp_path / "store", progress=warned) as opened:
        opened.outcomes("rm images where repository = app and tag != latest except newest 3", dry_run=True)
        assert warned.texts == []
        opened.outcomes("rm images where repository = app except newest 3", dry_run=True)
    assert warned.texts == ["except newest counts names: the 3 that stay are of 2 images"]


def test_skip_of_a_removal_warns_of_platforms(tmp_path: Path, store: StoreSession) -> None:
    store.close()
    warned = Warned()
    with StoreSession(tmp_path / "store", progress=warned) as opened:
        rows = "images where repository = app and tag != latest order by created desc"
        opened.rows(f"{rows} skip 3")
        opened.outcomes("rm images where repository = tool skip 1", dry_run=True)
        opened.outcomes("rm images where architecture = arm64 and tag != latest skip 3 per repository", dry_run=True)
        assert warned.texts == []
        opened.outcomes(f"rm {rows} skip 3", dry_run=True)
        opened.outcomes(f"rm {rows} skip 2 per repository limit 1", dry_run=True)
    start, end = "skip counts rows, and a name has one for each platform", "to keep names: except newest"
    left_out = ("the 3 that it leaves out are of 2 names", "the 2 that it leaves out are of 1 name")
    assert warned.texts == [f"{start}: {text}; {end}" for text in left_out]


def test_a_name_of_which_one_platform_is_selected_stays(store: StoreSession) -> None:
    """The other name of the same index is selected with the other platform."""
    (amd64, arm64) = of_year(2024)
    condition = f'(tag = 2024 and id = "{amd64.id}") or (tag = latest and id = "{arm64.id}")'
    (outcome,) = store.outcomes(f"rm images where {condition}")
    assert (outcome["action"], outcome["target"]) == ("stay", "app:2024, app:latest")
    assert stays(store) == [f"app:{year}" for year in YEARS] + ["app:latest", "tool:1"]


def test_a_name_of_which_all_platforms_are_selected_goes_beside_one_that_stays(store: StoreSession) -> None:
    condition = "tag = 2024 or (tag = latest and architecture = arm64)"
    outcomes = store.outcomes(f"rm images where {condition}")
    assert [(row["action"], row["target"]) for row in outcomes] == [("untag", "app:2024"), ("stay", "app:latest")]
    assert stays(store) == ["app:2020", "app:2021", "app:2022", "app:2023", "app:latest", "tool:1"]


def test_untag_leaves_the_name_of_an_index_of_which_one_platform_is_selected(store: StoreSession) -> None:
    outcomes = store.outcomes("untag images where tag in (2023, 2024) and architecture = arm64 or tag = 2020")
    assert [(row["action"], row["target"]) for row in outcomes] == [
        ("untag", "app:2020"),
        ("stay", "app:2024"),
        ("stay", "app:2023"),
    ]
    assert outcomes[2]["note"] == "it has linux/amd64 too; to remove the name: untag app:2023"
    assert stays(store) == ["app:2021", "app:2022", "app:2023", "app:2024", "app:latest", "tool:1"]
