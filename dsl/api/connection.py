"""Connections: what runs statements, from text or from objects of the Python form."""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident

from imq.grammar import ast
from imq.grammar.errors import AssertionFailed, ImqError
from imq.grammar.record import TYPE_CHECKING

from .literals import Misuse, Node
from .results import Result, Row
from .statements import Statement, explain, to_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.progress import Progress
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Result as Found
    from imq.engine.result import RowSet
    from imq.engine.session.session import Session

_SHOWN_LINES = 20
"""Lines of rows that the error of an assertion shows."""


def connect(  # noqa: PLR0913 - each may be wanted alone, and is given by its name
    source: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    platform: str | None = None,
    jobs: int | None = None,
    insecure: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | Configuration | None = None,
    confirm: Callable[[Result], bool] | None = None,
    progress: bool = False,
) -> Connection:
    """Return a connection, which is best used in a `with`.

    `source` is what questions are asked of, the embedded store when none is named; `root` the folder of that store,
    else $IMQ_ROOT, else the user's data folder. `platform` is for what is moved, `jobs` how many layers travel at
    once, `insecure` the hosts that may be asked by plain http. `environment` takes the place of the process's own.
    `config` is a configuration file in place of the user's, or a `Configuration`: an empty one keeps files from being
    read.
    `confirm` is shown what is to be removed and says whether to go on; without one, calling is confirmation enough.
    `progress` writes to standard error how transfers go.

    Raises `UnknownName` for a source that there is not, `StoreError` when the store cannot be opened, `ImqError` (code
    `configuration`) for what is wrong in a configuration file.
    """
    return Connection(
        source,
        root=root,
        platform=platform,
        jobs=jobs,
        insecure=insecure,
        environment=environment,
        config=config,
        confirm=confirm,
        progress=progress,
    )


class Connection:
    """Runs statements, and remembers settings, variables and views between them.

    It belongs to the thread that made it, as a connection of sqlite3 does.
    """

    def __init__(  # noqa: PLR0913 - as in `connect`
        self,
        source: str | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        platform: str | None = None,
        jobs: int | None = None,
        insecure: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
        config: str | os.PathLike[str] | Configuration | None = None,
        confirm: Callable[[Result], bool] | None = None,
        progress: bool = False,
    ) -> None:
        from imq.cli.store_location import expand_home, store_root
        from imq.engine.configuration.configuration import Configuration
        from imq.engine.configuration.load import load_configuration
        from imq.engine.oci.platform import Platform
        from imq.engine.progress import NullProgress
        from imq.engine.session.context import SessionContext
        from imq.engine.session.session import Session

        given = os.environ if environment is None else environment
        if not isinstance(config, Configuration):
            config = load_configuration(given, os.fspath(config) if config is not None else None)
        self._thread = get_ident()
        self._session: Session | None = Session(
            SessionContext(
                root=expand_home(os.fspath(root), given) if root is not None else store_root(given, config.root),
                environment=given,
                clock=time.time_ns,
                platform=Platform.parse(platform) if platform is not None else None,
                insecure=frozenset(insecure),
                progress=_create_progress() if progress else NullProgress(),
                confirm=self._confirm_with(confirm) if confirm is not None else None,
                output_format="json",  # rows have every field, so that they can be read as attributes
                configuration=config,
            )
        )
        try:
            if source is not None:
                self._session.use(source)
            if jobs is not None:
                self._session.define("jobs", str(jobs))
        except ImqError:
            self.close()
            raise

    def __call__(self, statement: str | Node, *, dry_run: bool = False) -> Result:
        """Run a query, an action or a text, and return what it answers; of several statements in a text, the last.

        `dry_run` lists the actions and does none. One failing item of an action does not stop the rest: the result
        knows it (`ok`, `errors`, `raise_for_errors()`). Raises `StatementError` and its kind for what is wrong with the
        statement, `AssertionFailed` for an assertion that does not hold.
        """
        last: Result | None = None
        failed: AssertionFailed | None = None
        for last in self.run(statement, dry_run=dry_run):
            failed = failed or _find_failed_assertion(last)
        if failed is not None:
            raise failed
        if last is None:
            raise Misuse("the text has no statement")
        return last

    def run(self, statement: str | Node, *, dry_run: bool = False) -> Iterator[Result]:
        """Run the statements of a text one after the other, each when it is asked for, and yield what each answers.

        An assertion that does not hold is among the result's errors.
        """
        if isinstance(statement, str):
            for found in self._require_session().run(statement, dry_run=dry_run):
                yield Result(found, _display_options)
        else:
            yield Result(self._execute(statement, dry_run=dry_run), _display_options)

    def stream(self, query: str | Node) -> Iterator[Row]:
        """Yield the rows of one query as they are found, without keeping them; the connection must stay open.

        Raises `Misuse` for what is no query.
        """
        from imq.engine.result import RowSet

        if isinstance(query, str):
            parsed = self._require_session().parse(query)
            query = Statement(parsed[0]) if len(parsed) == 1 else Statement(ast.Help())
        if not isinstance(to_statement(query), ast.QueryStatement):
            raise Misuse("one query can be streamed", hints=("for all else: session(statement)",))
        answer = self._execute(query, dry_run=False)
        assert isinstance(answer, RowSet)
        return (Row(answer.columns, row) for row in answer.rows)

    def explain(self, statement: str | Node) -> str:
        """Return how a statement would run: its stages and its SQL."""
        if isinstance(statement, str):
            return str(self(f"explain {statement}"))
        return str(self(explain(statement)))

    def close(self) -> None:
        """Close the store; what was read stays."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _require_session(self) -> Session:
        if self._session is None:
            raise Misuse("the connection is closed")
        if get_ident() != self._thread:
            raise Misuse("the connection was made in another thread", hints=("connect in each thread: imq.connect()",))
        return self._session

    def _execute(self, statement: Node, *, dry_run: bool) -> Found:
        """Run a statement as it is written, so that an error can show where in it."""
        session, node = self._require_session(), to_statement(statement)
        ast.check_limits(node)  # before anything walks it
        text = str(statement)
        try:
            parsed = session.parse(text)
        except ImqError:
            parsed = ()  # what is wrong with it, running it tells better
        try:
            return session.execute(parsed[0] if parsed == (node,) else node, dry_run=dry_run)
        except ImqError as error:
            raise error.attach_text(text) from error.__cause__

    @staticmethod
    def _confirm_with(confirm: Callable[[Result], bool]) -> Callable[[RowSet], bool]:
        return lambda planned: confirm(Result(planned, _display_options))


def _find_failed_assertion(result: Result) -> AssertionFailed | None:
    """Return the error of an assertion that does not hold, with the rows that show it."""
    error = next((error for error in result.errors if isinstance(error, AssertionFailed)), None)
    if error is not None:
        error.hints = (*error.hints, *result.render("table").splitlines()[:_SHOWN_LINES])
    return error


def _display_options() -> DisplayOptions:
    from imq.engine.render.values import DisplayOptions

    return DisplayOptions(time.time_ns(), None)


def _create_progress() -> Progress:
    from imq.cli.progress_bars import create_display

    return create_display(sys.stderr, bars=sys.stderr.isatty())


__all__ = ["Connection", "connect"]
