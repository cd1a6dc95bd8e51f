"""Sums, counts and lists of groups: the rows that they cover, and the alignment of lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.catalog.json_values import to_json_value
from imq.engine.render.formats import write_rows
from imq.engine.render.values import DisplayOptions
from imq.engine.result import RowSet
from imq.grammar.errors import ImqError, StatementError
from language.conftest import NOW

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def answer(session: Session, text: str) -> RowSet:
    (found,) = session.run(text)
    assert isinstance(found, RowSet)
    return found


def rows(session: Session, text: str) -> list[list[Any]]:
    found = answer(session, text)
    return [
        [to_json_value(heading.type, raw) for heading, raw in zip(found.columns, row, strict=True)]
        for row in found.rows
    ]


class TestLists:
    FIELDS = ("name", "tag", "size", "created", "user", "id", "dangling", "layer_count", "label.env")

    @pytest.mark.parametrize("first", FIELDS)
    def test_lists_of_a_group_are_aligned_by_row(self, session: Session, first: str) -> None:
        names = [first, *(name for name in self.FIELDS if name != first)]
        lists = ", ".join(f"list({name})" for name in names)
        groups = rows(session, f"images group by repository select repository, {lists}")
        every = rows(session, f"images select repository, {', '.join(names)}")
        for repository, *found in groups:
            expected = [row for there, *row in every if there == repository]
            assert sorted(map(repr, zip(*found, strict=True))) == sorted(repr(tuple(row)) for row in expected)

    def test_aligned_lists_are_sorted_by_the_first_with_unknown_last(self, session: Session) -> None:
        ((tags, names),) = rows(session, "images select list(tag), list(name)")
        known = [tag for tag in tags if tag is not None]
        assert tags == [*sorted(known), *([None] * (len(tags) - len(known)))]
        assert len(names) == len(tags) == 11

    def test_lists_inside_expressions_are_aligned(self, session: Session) -> None:
        text = "images where tag is known group by repository select join(list(tag), '+') as tags, list(size) as sizes"
        single = dict(rows(session, "images select name, size"))
        for repository, tags, sizes in rows(session, text.replace("select", "select repository,")):
            assert sizes == [single[f"{repository}:{tag}"] for tag in tags.split("+")]

    def test_lists_of_a_relation_are_aligned(self, session: Session) -> None:
        text = "images where id = {} select list(layers.size) as sizes, list(layers.index) as places"
        for (id_,) in rows(session, "images group by id select id"):
            found = rows(session, text.format(id_))
            expected = dict(rows(session, f"layers of {id_} select index, size"))
            for sizes, places in found:
                assert dict(zip(places, sizes, strict=True)) == expected

    def test_a_single_list_omits_unknown_values(self, session: Session) -> None:
        ((tags,),) = rows(session, "images select list(tag)")
        assert tags == sorted(tag for (tag,) in rows(session, "images where tag is known select tag"))
        (apart,) = rows(session, "images select list(distinct user), list(distinct repository)")
        assert apart[0] == ["app"]
        assert len(apart[1]) == len(set(apart[1])) == 7

    def test_an_empty_string_is_a_known_value(self, session: Session) -> None:
        text = "images where tag is known select list(if(tag = 7, '', tag)) as tags, list(name)"
        ((tags, _),) = rows(session, text)
        assert tags == ["", "1", "1", "1", "1", "1", "2", "3", "latest"]

    def test_items_are_formatted_by_their_type(self, session: Session) -> None:
        ((created, dangling),) = rows(session, "images where name = redis:7 select list(created), list(dangling)")
        assert (created, dangling) == (["2024-03-01T10:00:00Z"], [False])
        found = answer(session, "images where name = redis:7 select list(user) as u, list(dangling) as d")
        assert "".join(write_rows(found, DisplayOptions(NOW, None), "table")).split() == ["U", "D", "<none>", "false"]


class TestCounts:
    def test_a_count_of_names_has_its_own_title(self, session: Session) -> None:
        grouped = answer(session, "images group by label.env")
        assert [(heading.name, heading.title) for heading in grouped.columns] == [
            ("label.env", "LABEL.ENV"),
            ("count", "NAMES"),
        ]
        assert answer(session, "layers group by digest").columns[-1].title == "COUNT"
        assert answer(session, "images group by label.env select count as n").columns[0].title == "N"

    def test_distinct_counts_each_image_once(self, session: Session) -> None:
        found = rows(session, "images group by label.env select label.env, count, count(distinct images)")
        assert {env: (names, images) for env, names, images in found} == {
            "edge": (1, 1),
            "prod": (4, 3),
            "test": (1, 1),
            None: (5, 5),
        }
        assert rows(session, "images select count, count(distinct images), count(distinct id)") == [[11, 10, 10]]
        list(session.run("assert count(distinct images) = 10"))
        list(session.run("assert (images count) = 11"))

    def test_distinct_counts_each_row_of_a_relation_once(self, session: Session) -> None:
        based = rows(session, "images select id, name, base.name")
        for name, names, images in rows(session, "images select name, count(children), count(distinct children)"):
            children = [(id_, own) for id_, own, base in based if base == name and name is not None]
            if children:
                assert (names, images) == (len(children), len({id_ for id_, _ in children}))

    @pytest.mark.parametrize("text", ["images select count(images)", "images select count(distinct layers)"])
    def test_ambiguous_counts_are_refused(self, session: Session, text: str) -> None:
        with pytest.raises(StatementError):
            answer(session, text)


def test_a_field_of_a_missing_image_suggests_the_registry(session: Session) -> None:
    with pytest.raises(ImqError) as caught:
        answer(session, "images where digest = digest of nowhere:1")
    assert any("tags of nowhere:1 select digest limit 1" in hint for hint in caught.value.hints)
