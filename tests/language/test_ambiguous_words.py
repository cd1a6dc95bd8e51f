"""A bare word on the right of an operator that is also the name of a field is refused, with both spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq import field as f
from imq.engine.catalog.tables import TABLES, DataType, is_field_name
from imq.engine.result import RowSet
from imq.grammar.errors import StatementError, format_error

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def get_error(session: Session, text: str) -> StatementError:
    with pytest.raises(StatementError) as refused:
        for _ in session.run(text, dry_run=True):
            pass
    return refused.value


def rows(session: Session, statement: str) -> list[tuple[Any, ...]]:
    return [row for result in session.run(statement) if isinstance(result, RowSet) for row in result.rows]


AMBIGUOUS = """
images where user = user -> user
images where user != user -> user
images where name = base.name -> base.name
images where repository = tag -> tag
images where tag = Repository -> Repository
images where tag = repo -> repo
images where not user = author -> author
images where label.env = label.tier -> label.tier
images where label.env = env -> env
images where tag = version.major -> version.major
images where tag in (latest, repository) -> repository
images where tag not in (repository) -> repository
images where tag between a and repository -> repository
images where tag like repository -> repository
images where tag not like repository -> repository
images where tag matches repository -> repository
images where cmd has user -> user
images where cmd like user -> user
images where platform = os -> os
images where created before pulled_at -> pulled_at
images where "latest" = tag -> tag
images where if(user = author, dangling, not dangling) -> author
images where lower(tag) = repository -> repository
images where any layers where created_by = media_type -> media_type
images where name in (images where user = author select name) -> author
images group by repository having repository = name -> name
images group by repository having max(tag) = n select repository as n -> n
(images select name as a, tag as b) where a = b -> b
images where dangling union images where user = author -> author
images except (images where user = author) -> author
rm images where repository != tag -> tag
"""


@pytest.mark.parametrize("line", AMBIGUOUS.strip().splitlines())
def test_the_error_shows_both_unambiguous_spellings(session: Session, line: str) -> None:
    said, _, word = line.rpartition(" -> ")
    error = get_error(session, said)
    assert error.code == "ambiguous-word"
    assert error.suggestion == ""
    drawn = format_error(error)
    assert f"for the field: .{word}" in drawn
    assert f'for the value: "{word}"' in drawn
    assert error.span is not None
    for written in (f".{word}", f'"{word}"'):
        code = ""
        try:
            for _ in session.run(said[: error.span.start] + written + said[error.span.end :], dry_run=True):
                pass
        except imq.ImqError as still:
            code = still.code
        # a field of another kind, one of many in a group, no platform, an image that is not here: the word is clear
        assert code in ("", "type", "not-grouped", "platform", "no-such-image"), written


@pytest.mark.parametrize(
    ("text", "word", "meaning"),
    [
        ("images where author = history", "history", "a relation"),
        ("images where user = Base", "Base", "a relation"),
        ("images where cmd has history", "history", "a relation"),
        ("images where tag in (latest, outdated)", "outdated", "a condition"),
        ("images where tag like outdated", "outdated", "a condition"),
        ("images where any layers where media_type = name", "name", "a field of the outer row"),
        ("images where no history where created_by = label.env", "label.env", "a field of the outer row"),
        ("images where id in (layers where created_by = repository select digest)", "repository", "a field of"),
        ("images where any containers where any mounts where target = user", "user", "a field of the outer row"),
        ("images where no containers where image = images.name", "images.name", "a field of the outer row"),
        ("images where no layers where created_by = image.user", "image.user", "a field of the outer row"),
    ],
)
def test_words_of_relations_conditions_and_outer_rows(session: Session, text: str, word: str, meaning: str) -> None:
    error = get_error(session, text)
    assert error.code == "ambiguous-word"
    assert f"a value or the name of {meaning}" in error.message
    assert error.hints[-1] == f'for the value: "{word}"'
    assert error.span is not None
    rows(session, text[: error.span.start] + f'"{word}"' + text[error.span.end :])


@pytest.mark.parametrize("field", [field.name for field in TABLES["images"].fields])
def test_every_field_name_is_ambiguous_as_a_value_of_every_type(session: Session, field: str) -> None:
    for left in ("user", "tag", "repository", "name", "registry", "label.env", "platform"):
        error = get_error(session, f"images where {left} = {field}")
        assert (error.code, error.hints) == (
            "ambiguous-word",
            (f"for the field: .{field}", f'for the value: "{field}"'),
        )
    for left in ("size", "created", "dangling", "layer_count", "id", "version"):
        error = get_error(session, f"images where {left} = {field}")
        if error.code == "type":  # the word is no value of that kind: only the field can be meant
            assert f".{field}" in " ".join((*error.hints, error.suggestion))
            assert f'"{field}"' in error.message
        else:
            assert error.code == "ambiguous-word"


@pytest.mark.parametrize(
    "said",
    [
        "images where user = .user",
        'images where user = "user"',
        "images where has label env",
        "images where label has version",
        "containers where status = created",
        "containers where status in (created, running)",
        "images where os = linux and architecture = amd64",
        "images where tag = latest",
        "images where label has base",
        "images where any layers where media_type = gzip",
        "images where id in (images where tag = latest select id)",
        "images where unique_size = shared_size * 1",
        "let u = user; images where user = $u",
        "let u = (user, name); images where user in $u",
        "let u = user; images where user in ($u)",
        "sources where kind = registry",
    ],
)
def test_unambiguous_words_are_accepted(session: Session, said: str) -> None:
    rows(session, said)


def test_a_variable_is_a_value_and_not_a_field(session: Session) -> None:
    assert rows(session, "let w = tag; images where tag = $w count") == [(0,)]


def test_every_enumerated_value_is_a_value(session: Session) -> None:
    enumerated = [(table, field) for table in TABLES.values() for field in table.fields if field.values]
    assert enumerated
    for table, field in enumerated:
        for value in field.values:
            if table.name in ("changes", "logs", "services"):  # the store has none
                assert list(session.run(f"explain {table.name} in docker where {field.name} = {value}"))
            else:
                of = " of redis:7, redis:latest" if table.name == "differences" else ""
                rows(session, f"{table.name}{of} where {field.name} = {value}")


def test_strings_of_the_python_api_are_quoted() -> None:
    assert str(f.user == "user") == 'user = "user"'
    assert str(f.name == "base.name") == 'name = "base.name"'
    assert str(f.tag.in_(["latest", "repository"])) == 'tag in (latest, "repository")'
    assert str(f.author == "history") == 'author = "history"'
    assert str(f.tag == "outdated") == 'tag = "outdated"'
    assert str(f.label.has("env")) == "label has env"
    assert str(f.tag == "latest") == "tag = latest"


def test_statements_of_the_python_api_are_unambiguous(session: Session) -> None:
    for table in TABLES.values():
        for field in table.fields:
            assert is_field_name(field.name)
            if field.type is DataType.TEXT and table.name == "images":
                rows(session, str(imq.images.where(f.user == field.name)))
