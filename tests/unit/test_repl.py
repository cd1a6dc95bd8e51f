"""The interactive session without a terminal: statements, commands, history, completion of values, pagers."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.cli.pager import pager_command, write_paged
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import StatementError
from imq.repl.diagnostics import find_error, is_certain, is_unfinished
from imq.repl.highlight import STYLES, highlight
from imq.repl.history import History
from imq.repl.meta_commands import COMMANDS, EXAMPLES, format_commands, format_examples, read_command
from imq.repl.secrets_filter import has_secret
from imq.repl.value_completion import ValueCache, ValueRequest, registry_request
from language.strategies import VOCABULARY
from support.images import write_library
from support.waiting import deadline

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("images", False),
        ("images where", True),
        ("images where tag =", True),
        ("images where (tag = x", True),
        ('images where tag = "x', True),
        ('images where tag = "x"', False),
        ("images where tag = 'it \\' is", True),
        ("images where dangling and # why", True),
        ("images \\", True),
        ("images where\n", False),
        ("images where\ndangling and", True),
        ("images whre", False),
        ("images where ) and", False),
        ("", False),
        ("   ", False),
        ("# only this", False),
    ],
)
def test_an_incomplete_statement_continues_on_the_next_line(text: str, more: bool) -> None:
    assert is_unfinished(text, VOCABULARY) is more


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("images whre size > 1|", 7),
        ("images whre|", None),  # the word may be incomplete
        ("images wh|re size > 1", None),
        ("|images whre size > 1", 7),
        ("images where|", None),
        ('images where tag = "x|', None),
        ("images where dangling\nimages ) |", 29),
        ("images|", None),
    ],
)
def test_an_error_is_reported_when_no_further_input_can_fix_it(text: str, position: int | None) -> None:
    cursor = text.index("|")
    text = text.replace("|", "")
    error = find_error(text, VOCABULARY)
    is_reported = error is not None and is_certain(error, cursor, text)
    assert is_reported is (position is not None)
    if position is not None:
        assert error is not None
        assert error.span is not None
        assert error.span.start == position


def test_highlighted_spans_follow_the_parser() -> None:
    text = 'images where tag = "x" and size > 10MB # why\nrm $gone ) images'
    actual = [(text[start:end], kind) for start, end, kind in highlight(text, VOCABULARY)]
    assert actual == [
        ("images", "table"), ("where", "keyword"), ("tag", "field"), ('"x"', "text"), ("and", "keyword"),
        ("size", "field"), ("10MB", "number"), ("# why", "comment"), ("rm", "verb"), ("$gone", "variable"),
    ]  # fmt: skip


@given(st.text(alphabet=st.sampled_from(list("images where()\"'#\\\n\x00画$.<>{};,")), max_size=60))
def test_any_text_can_be_highlighted_while_it_is_typed(text: str) -> None:
    end = 0
    for start, stop, kind in highlight(text, VOCABULARY):
        assert end <= start < stop <= len(text)
        assert kind in STYLES
        end = stop
    is_unfinished(text, VOCABULARY)
    find_error(text, VOCABULARY)


@pytest.mark.parametrize(("text", "_doc"), EXAMPLES)
def test_the_examples_are_statements(text: str, _doc: str, tmp_path: pathlib.Path) -> None:
    write_library(tmp_path)
    session = Session(SessionContext(str(tmp_path), environment={}, clock=time.time_ns))
    (statement,) = session.parse(text)
    session.check(statement)


def test_lists_of_commands_and_examples_fit_in_80_columns() -> None:
    for line in (format_commands() + format_examples()).splitlines():
        assert len(line) < 80


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("\\q", "quit", ""),
        ("quit", "quit", ""),
        ("  EXIT ", "quit", ""),
        ("\\?", "commands", ""),
        ("\\form  json ", "form", "json"),
        ("\\h created", None, ""),  # help or history
        ("\\he older than", "help", "older than"),
        ("\\", None, ""),
        ("\\nonsense", None, ""),
    ],
)
def test_a_command_may_be_abbreviated(line: str, name: str | None, argument: str) -> None:
    if name is None:
        with pytest.raises(StatementError):
            read_command(line)
        return
    assert read_command(line) == (COMMANDS[name], argument)


def test_a_statement_is_not_a_command() -> None:
    assert read_command("images") is None
    assert read_command("help quit") is None


def test_history_is_saved_and_loaded(tmp_path: pathlib.Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path / "state")}
    history = History(environment)
    for text in ("images", "images", "images where\n  dangling", "+ odd\n\nlines", "\udcff", "画像"):
        history.add(text)
    kept = ["images", "images where\n  dangling", "+ odd\n\nlines", "\udcff", "画像"]
    assert History(environment).entries == kept
    path = tmp_path / "state" / "imq" / "history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        "login ghcr.io as me -p hunter2",
        "login ghcr.io --password hunter2",
        'let token = "hunter2"',
        "let my_password=hunter2",
        "set API_KEY = hunter2",
        "pull https://me:hunter2@registry.example.com/a",
        " images where label.x = hunter2",
        "pull me:hunter2@registry.example.com/a:1",
        "pull https://:hunter2@registry.example.com/a",
        "pull https://hunter2@registry.example.com/a",
        "pull https://me:hun/ter@hunter2@registry.example.com/a",
        "exec images run curl -u me:hunter2 https://h/{{.Name}}",
        'exec images run "curl" "-u" "me:hunter2" "https://h"',
        "exec images run curl -ume:hunter2 https://h",
        "exec images run curl --user=me:hunter2 https://h",
        "exec images run skopeo copy --dest-creds me:hunter2 a b",
        'exec images run curl -H "Authorization: Bearer hunter2" https://h',
        'exec images run curl -H "X-Registry-Auth: hunter2" https://h',
        'exec images run curl -H "Cookie: sid=hunter2" https://h',
        "exec images run mysql --password hunter2",
        "exec images run mysql --db-password=hunter2",
        "exec images run tool --api-key hunter2",
        "exec images run env PASS=hunter2 tool",
        "exec images run env DB_PASS=hunter2 tool",
        "exec images run env MYSQL_PWD=hunter2 tool",
        'import x as a:1 change "ENV DB_PASSWORD=hunter2"',
        'import x as a:1 change "ENV DB_PASSWORD hunter2"',
        'import x as a:1 change "LABEL auth=hunter2"',
        'import x as a:1 message "{\\"password\\": \\"hunter2\\"}"',
        'import x as a:1 message "-----BEGIN RSA PRIVATE KEY----- hunter2"',
        "images where env.SECRET_KEY = hunter2",
        'images where env like "*TOKEN=hunter2"',
        'let pw = "hunter2"',
        "let db_pass = hunter2",
        'LET ApiKey = "hunter2"',
        "let signing_key = hunter2",
        "let my_auth = hunter2",
        "login ghcr.io me hunter2",
        "docker login -u me -p hunter2 ghcr.io",
        "images; login ghcr.io me hunter2",
        "images\nlogin ghcr.io me hunter2",
        "pull https://h/a?sig=hunter2",
        'let tok = "hunter2"',
        "let db_pin = hunter2",
        "images where env.PIN = hunter2",
        'import x change "ENV STRIPE_KEY=hunter2" as y',
        "exec all images run mysqldump -phunter2",
        "exec all images run sshpass -p hunter2 ssh h",
        "exec all images run curl --oauth2-bearer hunter2 h",
    ],
)
def test_secrets_are_in_the_session_history_and_not_in_the_file(tmp_path: pathlib.Path, text: str) -> None:
    environment = {"HOME": str(tmp_path)}
    history = History(environment)
    history.add(text)
    assert history.entries == [text]
    assert "hunter2" not in (tmp_path / ".local/state/imq/history").read_text()
    assert History(environment).entries == []


TOKENS = (
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c69",
    "gho_16C7e42F292c69", "ghs_16C7e42F292c69", "github_pat_11ABC_16C7e42F", "glpat-ABCdef123456", "gldt-ABCdef123456",
    "xoxb-1234-abcdef", "xoxp-1234-abcdef", "dckr_pat_ABCdef123", "npm_ABCdef1234567", "pypi-AgEIcHlwaS5vcmc",
    "sk_live_ABCdef123", "AIzaSyABCdef123456", "ya29.ABCdef123", "hvs.ABCdef123", "hf_ABCdef12345678",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY12",
)  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("statement", ["let t = {}", 'images where label.x = "{}"', "images where name in (a, {})"])
def test_tokens_are_recognised_by_their_prefix(statement: str, token: str) -> None:
    assert has_secret(statement.format(token))


@pytest.mark.parametrize(
    "text",
    [
        "images",
        "images where author = me and created < 30d ago",
        "images where label.env = prod and not dangling",
        f"pull redis:7@sha256:{'a1' * 32}",
        f"pull registry.example.com:5000/team/app:1@sha256:{'a1' * 32}",
        f"images where id = sha256:{'0f' * 32}",
        f"images where id = {'0f' * 32}",
        "tags in registry.example.com:5000/team/* where tag like v1-*",
        "pull localhost:5000/a:1 to registry.example.com:443/b",
        "let days = 30d",
        "let keep = (redis:7, alpine:3)",
        "view stale as images where older than 90d",
        "login",
        "login ghcr.io",
        'login ghcr.io as me from "pw.txt"',
        "login work; images",
        "images where registry = ghcr.io and repository = login",
        'images where any history where created_by like "*passed*"',
        "images where tag = bypass",
        'rm images where repository like "team/*" and older than 30d except newest 3 per repository',
        "exec images run trivy image {{.Name}} --format json -u 7",
        "images where env.PATH = /usr/local/bin:/usr/bin",
        'import x as a:1 change "EXPOSE 80:80"',
    ],
)
def test_statements_without_secrets_are_saved(tmp_path: pathlib.Path, text: str) -> None:
    environment = {"HOME": str(tmp_path)}
    History(environment).add(text)
    assert History(environment).entries == [text]


def test_secrets_saved_by_an_earlier_version_are_removed(tmp_path: pathlib.Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    folder = tmp_path / "imq"
    folder.mkdir()
    (folder / "history").write_text("\n+images\n\n+pull me:hunter2@h.example/a\n\n+usage\n")
    assert History(environment).entries == ["images", "usage"]
    assert "hunter2" not in (folder / "history").read_text()
    assert History(environment).entries == ["images", "usage"]


def test_a_long_text_is_searched_for_secrets_quickly() -> None:
    with deadline():
        for text in ("a:" * 50_000, "$" * 50_000, "://" * 30_000, "a" * 100_000, "-" * 50_000, "aA1+" * 20_000):
            has_secret(text)


def test_a_history_file_with_wrong_permissions_or_a_link_is_refused(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "imq"
    folder.mkdir()
    (folder / "history").write_text("\n+images\n")
    (folder / "history").chmod(0o644)
    history = History({"XDG_STATE_HOME": str(tmp_path)})
    assert history.entries == ["images"]
    assert stat.S_IMODE((folder / "history").stat().st_mode) == 0o600
    (folder / "history").rename(tmp_path / "other")
    (folder / "history").symlink_to(tmp_path / "other")
    assert "history is not saved" in History({"XDG_STATE_HOME": str(tmp_path)}).problem


def test_a_long_history_is_truncated(tmp_path: pathlib.Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    History(environment)
    (tmp_path / "imq" / "history").write_text("".join(f"\n+images limit {number}\n" for number in range(10_001)))
    assert len(History(environment).entries) == 5000
    again = History(environment)
    assert len(again.entries) == 5000
    assert again.entries[-1] == "images limit 10000"
    assert sorted(os.listdir(tmp_path / "imq")) == ["history"]


@pytest.fixture
def value_cache(tmp_path: pathlib.Path) -> Iterator[tuple[ValueCache, threading.Event]]:
    write_library(tmp_path)
    ready = threading.Event()
    values = ValueCache(
        lambda: Session(SessionContext(str(tmp_path), environment={"HOME": "/"}, clock=time.time_ns)), ready.set
    )
    yield values, ready
    values.close()


@pytest.mark.parametrize(
    ("value_request", "first"),
    [
        (ValueRequest("reference"), "redis:latest"),
        (ValueRequest("value", "images", "repository"), "redis"),
        (ValueRequest("value", "images", "tag"), "1"),
        (ValueRequest("key", "images", "label"), "env"),
        (ValueRequest("value", "images", "label.env"), "prod"),
        (ValueRequest("variable"), "$env.HOME"),
        (ValueRequest("source"), "store"),
        (ValueRequest("source"), "registry.local:5000"),
        (ValueRequest("repository"), "registry.local:5000/team/app"),
        (ValueRequest("path", folder="/"), "/etc/"),
    ],
)
def test_values_are_fetched_in_the_background(
    value_cache: tuple[ValueCache, threading.Event], value_request: ValueRequest, first: str
) -> None:
    values, ready = value_cache
    assert values.get(value_request) == ()  # the first call does not block
    assert ready.wait(10)
    assert first in values.get(value_request)


@pytest.mark.parametrize(
    "value_request",
    [
        ValueRequest("value", "images", "size"),  # measures layers
        ValueRequest("value", "tags", "tag"),  # requires requests to a registry
        ValueRequest("value", "nonsense", "nonsense"),
        ValueRequest("path", folder="/nonsense/"),
        ValueRequest("remote", remote="not.known.test/"),  # registries that the session has not used are not queried
        ValueRequest("remote", remote="not.known.test/app:"),
    ],
)
def test_slow_or_failing_sources_have_no_values(
    value_cache: tuple[ValueCache, threading.Event], value_request: ValueRequest
) -> None:
    values, ready = value_cache
    values.get(value_request)
    assert ready.wait(10)
    assert values.get(value_request) == ()


@pytest.mark.parametrize(
    ("value_request", "typed", "remote"),
    [
        (ValueRequest("reference"), "registry.local:5000/te", "registry.local:5000/"),
        (ValueRequest("reference"), "registry.local:5000/team/app:la", "registry.local:5000/team/app:"),
        (ValueRequest("repository"), "localhost/", "localhost/"),
        (ValueRequest("source"), "registry.local:5000/team", "registry.local:5000/"),
        (ValueRequest("reference"), "redis:7", None),
        (ValueRequest("reference"), "team/app:1", None),
        (ValueRequest("reference"), "registry.local:5000", None),
        (ValueRequest("reference"), "registry.local:5000/app@sha256:0", None),
        (ValueRequest("repository"), "registry.local:5000/app:1", None),
        (ValueRequest("value", "images", "tag"), "registry.local:5000/app", None),
    ],
)
def test_the_registry_request_for_a_partly_typed_name(
    value_request: ValueRequest, typed: str, remote: str | None
) -> None:
    actual = registry_request(value_request, typed)
    assert (actual and actual.remote) == remote


def test_names_and_types_are_checked_in_the_background(value_cache: tuple[ValueCache, threading.Event]) -> None:
    values, ready = value_cache
    assert values.find_error("images where sizz > 1") is None
    assert ready.wait(10)
    error = values.find_error("images where sizz > 1")
    assert error is not None
    assert error.code == "unknown-field"


def test_ctrl_c_interrupts_sqlite() -> None:
    code = """
import os, signal, sqlite3, threading
from imq.engine.query.sqlite_executor import SqliteExecutor
from imq.engine.query.sql.statements import Sql
from imq.grammar.errors import Interrupted
runner = SqliteExecutor(sqlite3.connect(":memory:"))
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    runner.first_row(Sql("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n", {}))
except Interrupted:
    print(runner.first_row(Sql("SELECT 1", {})))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr) == ("(1,)\n", "")


@pytest.mark.parametrize(
    ("environment", "pager"),
    [
        ({}, "less"),
        ({"PAGER": "more"}, "more"),
        ({"PAGER": "more", "IMQ_PAGER": "most -x"}, "most -x"),
        ({"PAGER": "more", "IMQ_PAGER": ""}, ""),
        ({"PAGER": "cat"}, ""),
    ],
)
def test_the_pager_comes_from_the_environment(environment: dict[str, str], pager: str) -> None:
    assert pager_command(environment) == pager


def test_no_pager_is_used_without_a_terminal() -> None:
    stream = io.StringIO()
    write_paged(["a\n"] * 1000, stream, "false", dict(os.environ))
    assert stream.getvalue() == "a\n" * 1000
