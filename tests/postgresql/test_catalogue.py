"""The rows of a store in a catalogue, its answers, and its errors."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.postgresql import store_rows
from imq.engine.session import catalogue_answers
from imq.engine.session.catalogue_answers import Unsupported
from imq.grammar.errors import ImqError, StatementError
from language.conftest import open_session
from support.images import write_library
from support.postgresql import PASSWORD
from support.servers import find_free_port

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from imq.engine.session.session import Session
    from support.postgresql import PostgresqlServer

TABLES = (*store_rows._KEYED, *store_rows._PARTS, "image_use")


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    folder = os.fspath(tmp_path / "store")
    write_library(folder)
    return folder


@pytest.fixture
def session(root: str, server: PostgresqlServer, database: str) -> Iterator[Session]:
    """A session with a catalogue of its own."""
    opened = open_session(root)
    opened.define("catalogue", server.url(database))
    yield opened
    opened.close()


def read(session: Session, text: str) -> list[Any]:
    """Return the rows of the last statement of a text."""
    *_, last = session.run(text)
    return list(last.rows)  # type: ignore[union-attr]


def list_reasons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives "" for each answer of PostgreSQL, else why SQLite answers."""
    reasons: list[str] = []
    answer = catalogue_answers.answer

    def record(*arguments: Any) -> Any:
        try:
            rows = answer(*arguments)
        except Unsupported as reason:
            reasons.append(str(reason))
            raise
        reasons.append("")
        return rows

    monkeypatch.setattr(catalogue_answers, "answer", record)
    return reasons


class TestRows:
    def check(self, session: Session, server: PostgresqlServer, database: str) -> None:
        """Compare every table of the store in the catalogue with the index."""
        source = session.store.index.connection
        for table in TABLES:
            names = ", ".join(f'"{row[1]}"' for row in source.execute(f"PRAGMA table_info({table})"))
            expected = [tuple(row) for row in source.execute(f"SELECT {names} FROM {table}")]
            found = server.execute(f"SELECT {names} FROM imq_place_1.{table}", database)
            assert sorted(found, key=repr) == sorted(expected, key=repr), table

    def test_they_follow_the_store(self, session: Session, root: str, server: PostgresqlServer, database: str) -> None:
        """Another session changes the store; the catalogue has the same rows after each change."""
        assert read(session, "images count") == read(session, "set catalogue = none; images count")
        session.define("catalogue", server.url(database))
        other = open_session(root)
        chance = random.Random(1)
        for number in range(12):
            names = [row[0] for row in read(other, "images where name is known select name")]
            if number % 3 < 2:
                list(other.run(f"tag {chance.choice(names)} as team/new:{number}"))
            else:
                list(other.run(f"rm {chance.choice(names)} force"))
            assert read(session, "images count") == read(other, "images count")
            self.check(session, server, database)
        other.close()

    def test_only_rows_that_differ_are_written(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        read(session, "images count")
        written: list[store_rows.Difference] = []
        update = store_rows.update_tables

        def record(*arguments: Any) -> Any:
            written.append(update(*arguments))
            return written[-1]

        monkeypatch.setattr("imq.engine.postgresql.catalogue.update_tables", record)
        read(session, "images count")
        assert written == []
        list(session.run("tag redis:7 as team/copy:1"))
        read(session, "images count")
        (difference,) = written
        assert (difference.copied, difference.deleted) == (1, 0)

    def test_several_processes_fill_an_empty_catalogue(
        self, root: str, server: PostgresqlServer, database: str
    ) -> None:
        command = [sys.executable, "-m", "imq", "--root", root, "--catalogue", server.url(database), "images", "count"]
        environment = {**os.environ, "IMQ_CONFIG": os.devnull}
        started = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
            for _ in range(3)
        ]
        answers = [process.communicate(timeout=120) for process in started]
        assert {out for out, _ in answers} == {"11\n"}, answers
        assert server.execute("SELECT count(*) FROM imq.place", database) == [(1,)]

    def test_text_that_postgresql_cannot_hold_is_replaced(self) -> None:
        row = ("a\0b", '{"k": "\\u0000", "l": "\\\\u0000"}', 1, None)
        assert store_rows.clean(row) == ("a\ufffdb", '{"k": "\ufffd", "l": "\\\\u0000"}', 1, None)

    def test_a_store_that_does_not_exist_has_no_rows(
        self, tmp_path: pathlib.Path, server: PostgresqlServer, database: str
    ) -> None:
        session = open_session(os.fspath(tmp_path / "nothing"))
        session.define("catalogue", server.url(database))
        assert read(session, "images count") == [(0,)]
        session.close()
        assert server.execute("SELECT to_regclass('imq.place') IS NULL", database) == [(True,)]

    def test_an_index_of_another_version_is_copied_again(
        self, session: Session, server: PostgresqlServer, database: str
    ) -> None:
        expected = read(session, "images")
        server.execute("UPDATE imq.place SET version = 1", database)
        server.execute("DROP TABLE imq_place_1.config CASCADE", database)
        assert read(session, "images") == expected
        self.check(session, server, database)


class TestAnswers:
    def test_a_result_is_read_while_another_statement_runs(self, session: Session) -> None:
        expected = read(session, "images")
        first, second = session.run("images; images where dangling")
        rows = iter(first.rows)  # type: ignore[union-attr]
        head = list(islice(rows, 2))
        assert len(list(second.rows)) == len(read(session, "images where dangling"))  # type: ignore[union-attr]
        assert head + list(rows) == expected

    def test_a_result_that_is_not_read_is_dropped(
        self, session: Session, server: PostgresqlServer, database: str
    ) -> None:
        (result,) = session.run("images")
        rows = iter(result.rows)  # type: ignore[union-attr]
        next(rows)
        del rows, result
        states = f"SELECT state FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'imq'"
        assert server.execute(states) == [("idle",)]

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "Nowhere/Land"])
    def test_dates_are_in_the_local_time_zone(
        self, root: str, server: PostgresqlServer, database: str, zone: str
    ) -> None:
        """In a process of its own: the zone of SQLite is that of the process."""
        text = 'images order by name select name, date("2024-07-26T20:00") as time, day(created), date(created) as json'
        program = f"import sys, imq\nprint(list(imq.connect(root=sys.argv[1], catalogue=sys.argv[2])({text!r})))"
        environment = {**os.environ, "TZ": zone, "IMQ_CONFIG": os.devnull}
        printed = [
            subprocess.run(
                [sys.executable, "-c", program, root, url], capture_output=True, text=True, check=True, env=environment
            ).stdout
            for url in ("none", server.url(database))
        ]
        assert printed[0] == printed[1]
        assert "redis:7" in printed[0]

    def test_an_interrupted_statement_leaves_no_transaction(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = read(session, "images")

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr("imq.engine.postgresql.catalogue.copy_views", interrupt)
            with pytest.raises(KeyboardInterrupt):
                read(session, "images")
        assert read(session, "images") == expected

    def test_numbers_that_are_too_large_are_left_to_sqlite(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reasons = list_reasons(monkeypatch)
        text = "images where name = redis:7 select layer_count * 9223372036854775807 as many"
        found = read(session, text)
        assert reasons == ["bigint out of range"]
        assert found == read(session, f"set catalogue = none; {text}")

    def test_an_ambiguous_capture_is_left_to_sqlite(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        reasons = list_reasons(monkeypatch)
        text = 'images where name is known order by name select capture(name, "(a|ab)(c|bcd)?") as found'
        found = read(session, text)
        assert len(reasons) == 1
        assert reasons[0].startswith("capture")
        assert found == read(session, f"set catalogue = none; {text}")
        explained = session.explain(session.parse(text)[0])
        assert "note:      the catalogue does not answer this statement: it lacks capture" not in explained
        session.define("catalogue", "postgresql://db.example.com/images")
        explained = session.explain(session.parse(text)[0])
        assert "note:      the catalogue does not answer this statement: it lacks capture" in explained

    def test_explain_shows_the_sql_of_postgresql(self, session: Session) -> None:
        explained = session.explain(session.parse('images where tag like "1*" group by lower(tag)')[0])
        assert "stage:     copy the rows that changed to the catalogue postgresql://" in explained
        assert "stage:     query the catalogue, no requests" in explained
        assert "LIKE" in explained
        assert "LATERAL" in explained

    def test_verbs_choose_their_rows_in_sqlite(self, session: Session, server: PostgresqlServer, database: str) -> None:
        """Whoever can write to the catalogue does not decide what is removed."""
        read(session, "images count")
        server.execute("UPDATE imq_place_1.entry SET repository = 'team/forged'", database)
        assert read(session, "images where repository = team/forged count") != [(0,)]
        assert read(session, "dry run rm images where repository = team/forged") == []

    def test_a_lost_connection_is_opened_again(self, session: Session, server: PostgresqlServer, database: str) -> None:
        expected = read(session, "images")
        ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        server.execute(f"{ended} AND application_name = 'imq'")
        assert read(session, "images") == expected

    def test_programs_and_command_lines_use_it(self, root: str, server: PostgresqlServer, database: str) -> None:
        with imq.connect(root=root, catalogue=server.url(database), environment={"HOME": "/nonexistent"}) as connection:
            assert connection("images count").scalar() == 11
        assert server.execute("SELECT count(*) FROM imq_place_1.entry", database) == [(11,)]


class TestErrors:
    def fail(self, session: Session, url: str) -> ImqError:
        """Return the error of a query with another catalogue; it never has the password."""
        session.define("catalogue", url)
        with pytest.raises(ImqError) as caught:
            read(session, "images count")
        shown = " ".join((caught.value.message, *caught.value.hints))
        assert PASSWORD not in shown
        assert "wrong-horse" not in shown
        return caught.value

    def test_no_server(self, session: Session) -> None:
        error = self.fail(session, f"postgresql://imq:{PASSWORD}@127.0.0.1:{find_free_port()}/images")
        assert error.code == "catalogue-unreachable"
        assert error.message.startswith("cannot reach the catalogue postgresql://127.0.0.1:")
        assert "set catalogue = none" in error.hints[-1]

    def test_wrong_password(self, session: Session, server: PostgresqlServer, database: str) -> None:
        error = self.fail(session, server.tcp_url(database, "wrong-horse"))
        assert error.code == "catalogue-login"

    def test_no_database(self, session: Session, server: PostgresqlServer) -> None:
        assert self.fail(session, server.tcp_url("nothing")).code == "catalogue-missing"

    def test_no_permission(self, session: Session, server: PostgresqlServer) -> None:
        server.execute("REVOKE CREATE ON DATABASE postgres FROM PUBLIC")
        error = self.fail(session, server.tcp_url("postgres"))
        assert error.code == "catalogue-permission"
        assert "GRANT CREATE ON DATABASE" in error.hints[0]

    def test_a_newer_catalogue(self, session: Session, server: PostgresqlServer, database: str) -> None:
        read(session, "images count")
        server.execute("UPDATE imq.catalogue SET revision = 99", database)
        session.define("catalogue", "none")
        read(session, "images count")
        assert self.fail(session, server.url(database)).code == "catalogue-version"

    @pytest.mark.parametrize("is_frozen", [False, True])
    def test_no_driver(self, session: Session, monkeypatch: pytest.MonkeyPatch, is_frozen: bool) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        monkeypatch.setattr(sys, "frozen", is_frozen, raising=False)
        error = self.fail(session, "postgresql://127.0.0.1/images")
        assert error.code == "catalogue-driver"
        assert "pip install 'imq[postgresql]'" in error.hints[0]

    @pytest.mark.parametrize("url", ["mysql://127.0.0.1/images", "images", ""])
    def test_another_database(self, session: Session, url: str) -> None:
        with pytest.raises(StatementError, match="invalid value"):
            session.define("catalogue", url)

    def test_settings_show_no_password(self, session: Session) -> None:
        session.define("catalogue", f"postgresql://imq:{PASSWORD}@h/d?password={PASSWORD}&sslmode=require")
        shown = dict(row[:2] for row in read(session, "set"))["catalogue"]
        assert shown == "postgresql://imq:***@h/d?password=***&sslmode=require"
