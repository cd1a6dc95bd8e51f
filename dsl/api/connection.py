"""Connections: they run statements, given as text or as objects of the Python API."""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident

from imq.grammar import ast
from imq.grammar.errors import AssertionFailed, ImqError
from imq.grammar.record import TYPE_CHECKING

from .literals import Misuse, Node
from .log import LoggingProgress
from .results import Result, Row
from .statements import Statement, explain, to_statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, Self

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.progress import Progress
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Result as EngineResult
    from imq.engine.result import RowSet
    from imq.engine.session.session import Session

_SHOWN_LINES = 20
"""The number of lines of rows that a failed assertion shows."""


def connect(  # noqa: PLR0913 - independent keyword arguments
    source: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    platform: str | None = None,
    jobs: int | None = None,
    catalogue: str | None = None,
    workers: int | str | Any = None,
    insecure: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | Configuration | None = None,
    confirm: Callable[[Result], bool] | None = None,
    progress: bool = False,
) -> Connection:
    """Return a connection. Use it in a `with` statement.

    - `source`: the source that statements use by default, else the embedded store, also while it is empty. The command
      line uses an engine then, and says so; a program names it, so that it does not read and remove images elsewhere on
      another machine.
    - `root`: the folder of that store, else $IMQ_ROOT, else a folder in the user's data directory.
    - `platform`: the platform of transferred images.
    - `jobs`: the number of layers transferred in parallel.
    - `catalogue`: the database that answers queries, `postgresql://USER@HOST/DATABASE`; it needs `imq[postgresql]`.
    - `workers`: what reads layers: a number of processes, the address of a Dask scheduler (`dask://HOST:8786`), or a
      running `distributed.Client`, which stays open. Without it, this process.
    - `insecure`: hosts that may be reached over plain http.
    - `environment`: environment variables, in place of those of the process.
    - `config`: the path of a configuration file, or a `Configuration`. With an empty `Configuration`, no file is read.
    - `confirm`: a function that gets the planned removals and returns whether to execute them. Without it, actions are
      not confirmed.
    - `progress`: whether to write the progress of transfers to standard error. Without it, warnings and transfers go to
      the logger `imq` of `logging`.

    Raises `UnknownName` for an unknown source, `StoreError` when the store cannot be opened, and `ImqError` with code
    `configuration` for an invalid configuration file.
    """
    return Connection(
        source,
        root=root,
        platform=platform,
        jobs=jobs,
        catalogue=catalogue,
        workers=workers,
        insecure=insecure,
        environment=environment,
        config=config,
        confirm=confirm,
        progress=progress,
    )


class Connection:
    """Runs statements. Settings, variables and views last until it is closed.

    It belongs to the thread that opened it, like a connection of sqlite3.
    """

    def __init__(  # noqa: PLR0913 - as in `connect`
        self,
        source: str | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        platform: str | None = None,
        jobs: int | None = None,
        catalogue: str | None = None,
        workers: int | str | Any = None,
        insecure: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
        config: str | os.PathLike[str] | Configuration | None = None,
        confirm: Callable[[Result], bool] | None = None,
        progress: bool = False,
    ) -> None:
        from imq._version import VERSION
        from imq.cli.store_location import expand_home, store_root
        from imq.engine.catalog.settings import CLIENT
        from imq.engine.configuration.configuration import Configuration
        from imq.engine.configuration.load import load_configuration
        from imq.engine.oci.platform import Platform
        from imq.engine.session.context import SessionContext
        from imq.engine.session.session import Session

        variables = os.environ if environment is None else environment
        if not isinstance(config, Configuration):
            config = load_configuration(variables, os.fspath(config) if config is not None else None)
        self._thread = get_ident()
        self._session: Session | None = Session(
            SessionContext(
                root=expand_home(os.fspath(root), variables)
                if root is not None
                else store_root(variables, config.root),
                environment=variables,
                clock=time.time_ns,
                platform=Platform.parse(platform) if platform is not None else None,
                insecure=frozenset(insecure),
                progress=_create_progress() if progress else LoggingProgress(),
                confirm=self._confirm_with(confirm) if confirm is not None else None,
                output_format="json",
                reads_all_fields=True,  # they can be read as attributes
                configuration=config,
                version=VERSION,
                dask_client=None if isinstance(workers, int | str) else workers,
            )
        )
        try:
            if source is not None:
                self._session.use(source)
            if jobs is not None:
                self._session.define("jobs", str(jobs))
            if catalogue is not None:
                self._session.define("catalogue", catalogue)
            if workers is not None:
                self._session.define("workers", str(workers) if isinstance(workers, int | str) else CLIENT)
        except ImqError:
            self.close()
            raise

    def __call__(self, statement: str | Node, *, dry_run: bool = False) -> Result:
        """Run a query, an action or a text, and return its result. A text of several statements returns the last one.

        With `dry_run`, actions are listed and not executed. A failed item does not stop an action: the result has
        `ok`, `errors` and `raise_for_errors()`. Raises `StatementError` or a subclass for an invalid statement,
        `AssertionFailed` for an assertion that does not hold.
        """
        last: Result | None = None
        failed: AssertionFailed | None = None
        for last in self.run(statement, dry_run=dry_run):
            failed = failed or _find_failed_assertion(last)
        if failed is not None:
            raise failed
        if last is None:
            raise Misuse("the text contains no statement")
        return last

    def run(self, statement: str | Node, *, dry_run: bool = False) -> Iterator[Result]:
        """Run the statements of a text one by one, and yield the result of each. Each runs when it is requested.

        An assertion that does not hold is one of the errors of its result.
        """
        if isinstance(statement, str):
            for result in self._require_session().run(statement, dry_run=dry_run):
                yield Result(result, _display_options)
        else:
            yield Result(self._execute(statement, dry_run=dry_run), _display_options)

    def stream(self, query: str | Node) -> Iterator[Row]:
        """Yield the rows of one query as they are read, without keeping them. The connection must stay open.

        Raises `Misuse` when the statement is not a query.
        """
        from imq.engine.result import RowSet

        if isinstance(query, str):
            parsed = self._require_session().parse(query)
            query = Statement(parsed[0]) if len(parsed) == 1 else Statement(ast.Help())
        if not isinstance(to_statement(query), ast.QueryStatement):
            raise Misuse("stream takes a single query", hints=("for other statements: session(statement)",))
        answer = self._execute(query, dry_run=False)
        assert isinstance(answer, RowSet)
        return (Row(answer.columns, row) for row in answer.rows)

    def explain(self, statement: str | Node) -> str:
        """Return the plan of a statement: its stages and its SQL."""
        if isinstance(statement, str):
            return str(self(f"explain {statement}"))
        return str(self(explain(statement)))

    def close(self) -> None:
        """Close the store. Results that were read remain usable."""
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
            raise Misuse(
                "the connection was opened in another thread",
                hints=("open one in each thread: imq.connect()",),
            )
        return self._session

    def _execute(self, statement: Node, *, dry_run: bool) -> EngineResult:
        """Run a statement from its text, so that errors show a position in it."""
        session, node = self._require_session(), to_statement(statement)
        ast.check_limits(node)  # before any recursive walk
        text = str(statement)
        try:
            parsed = session.parse(text)
        except ImqError:
            parsed = ()  # executing the tree raises the better error
        try:
            return session.execute(parsed[0] if parsed == (node,) else node, dry_run=dry_run)
        except ImqError as error:
            raise error.attach_text(text) from error.__cause__

    @staticmethod
    def _confirm_with(confirm: Callable[[Result], bool]) -> Callable[[RowSet], bool]:
        return lambda planned: confirm(Result(planned, _display_options))


def _find_failed_assertion(result: Result) -> AssertionFailed | None:
    """Return the error of a failed assertion, with the rows that violate it."""
    error = next((error for error in result.errors if isinstance(error, AssertionFailed)), None)
    if error is not None:
        error.hints = (*error.hints, *result.render("table").splitlines()[:_SHOWN_LINES])
    return error


def _display_options() -> DisplayOptions:
    from imq._version import VERSION
    from imq.engine.render.values import DisplayOptions

    return DisplayOptions(time.time_ns(), None, version=VERSION)


def _create_progress() -> Progress:
    from imq.cli.progress_bars import create_display

    return create_display(sys.stderr, bars=sys.stderr.isatty())


__all__ = ["Connection", "connect"]
