"""`any TABLE` is about rows that belong to the row; a table without such a relation is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.result import RowSet
from imq.grammar.errors import ImqError, StatementError

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def count_rows(session: Session, text: str) -> int:
    (result,) = session.run(text)
    assert isinstance(result, RowSet)
    return len(list(result.rows))


@pytest.mark.parametrize(
    "text",
    [
        "blobs where no images",
        "blobs where no (images where dangling)",
        "layers where any history where empty",
        "volumes where no images",
        "blobs where digest like a* or not (any images)",
        "blobs select digest, count(images where dangling)",
    ],
)
def test_a_table_without_a_relation_is_refused(session: Session, text: str) -> None:
    with pytest.raises(StatementError) as refused:
        count_rows(session, text)
    assert refused.value.code == "unrelated"
    assert "whichever row it is" in refused.value.message


def test_a_relation_of_an_enclosing_query_is_refused(session: Session) -> None:
    with pytest.raises(StatementError) as refused:
        count_rows(session, "images where any layers where no history where empty")
    assert refused.value.code == "ambiguous-condition"
    assert refused.value.message == "history is a relation of images, not of layers"


def test_the_hints_are_statements(session: Session) -> None:
    """What the hints offer instead: other rows as values, and a count of the whole table."""
    every = count_rows(session, "blobs")
    assert every > 0
    assert count_rows(session, "blobs where (images count) > 0") == every
    assert 0 < count_rows(session, "blobs where digest in (images select id)") < every


def test_a_query_of_a_source_is_meant_as_it_is(session: Session) -> None:
    assert count_rows(session, "blobs where no (images in store)") == 0


@pytest.mark.parametrize(
    "text",
    [
        "images where any layers as l where l.size > 1MB",
        "images as i where any containers as c where c.image = i.name",
        "images where any (layers) as l where size > 1MB",
    ],
)
def test_names_for_rows_are_explained(session: Session, text: str) -> None:
    with pytest.raises(StatementError) as refused:
        count_rows(session, text)
    assert refused.value.code == "alias"
    assert count_rows(session, refused.value.hints[0].partition(": ")[2]) >= 0


def test_a_misspelled_format_is_no_name(session: Session) -> None:
    with pytest.raises(StatementError) as refused:
        count_rows(session, "images as jsno")
    assert refused.value.code == "unknown-form"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('images where any env like "*A*"', "of a list or a map, any item counts: env like …"),
        ('images where no env like "*A*"', "of a list or a map, any item counts: not env like …"),
        ("containers where exited", "for the value: status = exited"),
        ("containers where running and user = root", "for the value: status = running"),
        ('all files of images where name = "x"', "for the rows of the table: all files of (images where …)"),
        ("files in redis:7 where size > 1kB", "for an image: files of redis:7"),
        ("tags of registry.local:5000/team/* where tag = 1", "for a pattern: tags in registry.local:5000/team/*"),
    ],
)
def test_first_guesses_get_the_condition_to_write(session: Session, text: str, hint: str) -> None:
    with pytest.raises(ImqError) as refused:
        count_rows(session, text)
    assert hint in refused.value.hints


def test_a_program_for_containers_does_not_run_on_this_machine_unawares(session: Session) -> None:
    with pytest.raises(StatementError, match="on this machine, once for each container") as refused:
        list(session.run("dry run exec containers where status = running run rm -rf /data"))
    assert "exec container web" in refused.value.hints[0]
    list(session.run('dry run exec containers where status = running run echo "{{.Name}}"'))
