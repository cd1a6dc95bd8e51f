"""Docker's placeholders of `docker image ls` and its templates, as a statement's `format` writes them.

What each shows is docker's, as Docker CLI 28 prints it.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from imq.engine.render.formats import write_rows
from imq.engine.render.values import DisplayOptions
from imq.engine.result import RowSet
from imq.grammar.errors import StatementError

if TYPE_CHECKING:
    from imq.engine.session.session import Session


def run_statement(session: Session, statement: str, *, no_trunc: bool = False) -> str:
    """Return what a statement writes."""
    (answer,) = session.run(statement)
    assert isinstance(answer, RowSet)
    return "".join(write_rows(answer, DisplayOptions(session.context.clock(), UTC, no_trunc=no_trunc)))


REDIS = "images where name = redis:7 format"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.ID}}", "{id:12}"),
        ("{{.Repository}}:{{.Tag}}", "redis:7"),
        ("{{.Digest}}", "<none>"),
        ("{{.CreatedSince}}", "5 months ago"),
        ("{{.CreatedAt}}", "2024-03-01 10:00:00 +0000 UTC"),
        ("{{.Size}} {{.VirtualSize}}", "60kB 60.02kB"),
        ("{{.Labels}}", "maintainer=redis"),
        # the same without regard to case, and each of imq's own fields under its name
        ("{{.id}} {{.SIZE}} {{.createdsince}}", "{id:12} 60kB 5 months ago"),
        ("{{.size}} {{.UniqueSize}} {{.unique_size}} {{.SharedSize}}", "60kB 40kB 40kB 20kB"),
        ("{{.name}} {{.layer_count}} {{.LayerCount}} {{.dangling}}", "redis:7 2 2 false"),
        ("{{.created}}", "2024-03-01T10:00:00Z"),
        ("{{.cmd}} {{.Entrypoint}} {{.user}}.", "[redis-server]  ."),
        ("{{.Label.maintainer}} {{.label.nope}}", "redis <no value>"),
        ("{{.Env}} {{.env.REDIS_VERSION}}", "map[REDIS_VERSION:7.2.4] 7.2.4"),
        # both delimiters, also in one template, and escapes as docker's CLI expands them
        ("<<.Repository>>", "redis"),
        ("<<.Repository>>:{{.Tag}}", "redis:7"),
        (r"{{.Repository}}\t{{.Tag}}\n-", "redis\t7\n-"),
        # functions: a size is a number that prints as docker's text
        ("{{if gt .Size 50000}}big{{else}}small{{end}}", "big"),
        ('{{printf "%d" .Size}}', "60024"),
        ("{{json .Size}} {{json .Repository}} {{json .Tag}}", '60024 "redis" "7"'),
        ('{{.Repository | upper | printf "%-7s|"}}', "REDIS  |"),
        ("{{truncate .ID 4}} {{pad .Tag 1 2}}. {{title .Repository}}", "{id:4}  7  . Redis"),
        ('{{join .Cmd ","}} {{len .Cmd}} {{index .Cmd 0}}', "redis-server 1 redis-server"),
        ("{{range $k, $v := .Label}}{{$k}}={{$v}};{{end}}", "maintainer=redis;"),
        ("plain text", "plain text"),
    ],
)  # fmt: skip
def test_a_template_formats_one_image(session: Session, template: str, expected: str) -> None:
    hex_ = session.store.find("redis:7").id.encoded
    for length in (12, 4):
        expected = expected.replace(f"{{id:{length}}}", hex_[:length])
    assert run_statement(session, f"{REDIS} '{template}'") == f"{expected}\n"
    if ";" not in template:  # which, bare, would end the statement
        assert run_statement(session, f"{REDIS} {template}") == f"{expected}\n"


def test_an_image_without_names_and_times(session: Session) -> None:
    template = "'{{.Repository}} {{.Tag}} {{.Digest}} {{.CreatedSince}} {{.CreatedAt}} {{.Size}}'"
    assert run_statement(session, f"images where name is unknown format {template}").startswith(
        "<none> <none> <none> 6 months"
    )
    unknown = "images where created is unknown format '{{.Repository}} {{.CreatedSince}} {{.CreatedAt}} [{{.created}}]'"
    assert run_statement(session, unknown) == "reproducible N/A N/A []\n"
    digest = "images where repository like quay.io/* format '{{.Repository}} {{.Tag}} {{.Digest}}'"
    (repository, tag, shown) = run_statement(session, digest).split()
    assert (repository, tag) == ("quay.io/team/tool", "<none>")
    assert shown.startswith("sha256:")
    assert len(shown) == 71


def test_no_trunc_keeps_full_ids(session: Session) -> None:
    whole = run_statement(session, f"{REDIS} {{{{.ID}}}}", no_trunc=True)
    assert whole == f"{session.store.find('redis:7').id}\n"


def test_a_table_is_aligned_under_dockers_titles(session: Session) -> None:
    said = r"images where repository = redis format 'table {{.Repository}}\t{{.Tag}}\t{{.CreatedSince}}\t{{.Size}}'"
    assert run_statement(session, said) == (
        "REPOSITORY   TAG       CREATED        SIZE\n"
        "redis        latest    3 days ago     100kB\n"
        "redis        7         5 months ago   60kB\n"
    )
    ids = run_statement(session, r"images where name = redis:7 format 'table {{.ID}}\t{{.CreatedAt}}\t{{upper .Tag}}'")
    assert ids.splitlines()[0].replace("CREATED AT", "CREATED-AT").replace("IMAGE ID", "IMAGE-ID").split() == [
        "IMAGE-ID",
        "CREATED-AT",
        "TAG",
    ]


def test_a_template_formats_selected_columns_and_groups(session: Session) -> None:
    chosen = 'images where name = redis:7 select repository as repo, size * 2 as double format "{{.repo}} {{.Double}}"'
    assert run_statement(session, chosen) == "redis 120kB\n"
    grouped = 'images where repository = redis group by repository format "{{.Repository}} {{.Count}}"'
    assert run_statement(session, grouped) == "redis 2\n"
    counted = 'images where repository = redis count format "{{.Count}} images"'
    assert run_statement(session, counted) == "2 images\n"


def test_json_of_a_row_is_the_whole_row(session: Session) -> None:
    text = run_statement(
        session, "images where name = redis:7 select repository, size, created, cmd, dangling format {{json .}}"
    )
    assert text == (
        '{"repository":"redis","size":60024,"created":"2024-03-01T10:00:00Z","cmd":["redis-server"],"dangling":false}\n'
    )


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{.Nope}}", "images have no field .nope"),
        ("{{.Size", "unclosed action"),
        ("{{nope .Size}}", 'function "nope" not defined'),
        ("{{if}}", "missing value for if"),
        ("{{end}}", "unexpected {{end}}"),
    ],
)
def test_a_wrong_template_is_refused_before_anything_is_written(session: Session, template: str, why: str) -> None:
    with pytest.raises(StatementError) as caught:
        run_statement(session, f"images format '{template}'")
    assert why in caught.value.message
    assert caught.value.code in ("template", "template-field")
