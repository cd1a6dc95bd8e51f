"""The words that tell docker's command lines from statements are those of the grammar and of the tables."""

from __future__ import annotations

from imq.cli.docker_words import TABLE_NAMES, list_keywords
from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES


def test_the_names_are_those_of_all_tables() -> None:
    assert set(TABLE_NAMES) == {*TABLES, *UNAVAILABLE_TABLES}
    assert {"where", "union", "images"} <= list_keywords()
