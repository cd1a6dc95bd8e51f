"""Values for completion: names of images, values of fields, keys of labels, files, sources.

Background threads look them up in separate sessions on the same store, so that typing never waits. Values are cached
until a statement may have changed them, and are offered while they are looked up again.
"""

from __future__ import annotations

import json
import os
from _thread import allocate_lock

from imq.engine.result import RowSet
from imq.engine.sources.layouts.places import PREFIXES
from imq.engine.sources.registry.refs import is_host
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.parser import parse
from imq.grammar.record import TYPE_CHECKING, Record
from imq.grammar.unparser import quote

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from imq.engine.session.session import Session

MAX_VALUES = 20_000
"""The most values of one kind that are read from the store."""
MAX_REMOTE_VALUES = 1000
"""The most values that are requested from a registry."""


class ValueRequest(Record):
    """A request for values of a kind of `Completion`: `table` and `field` for values and keys, `folder` for paths.

    `remote` is `HOST/` for the repositories of a registry, or `HOST/NAME:` for the tags of a repository.
    """

    kind: str
    table: str = ""
    field: str = ""
    folder: str = ""
    remote: str = ""


def request_values(kinds: frozenset[str], table: str, field: str, typed: str) -> ValueRequest | None:
    """Return the request for the values that fit; None when only words of the language do."""
    kind = next((kind for kind in ("key", "path", "source", "repository", "reference", "value") if kind in kinds), None)
    if typed.startswith("$"):
        return ValueRequest("variable")
    if kind == "path":
        return ValueRequest("path", folder=typed[: typed.rfind("/") + 1])
    if kind in ("key", "value"):
        return ValueRequest(kind, table, field) if table and field else None
    return ValueRequest(kind) if kind is not None else None


def registry_request(request: ValueRequest, typed: str) -> ValueRequest | None:
    """Return the request to a registry for the name that is typed; None when the name does not begin with a host."""
    host, slash, rest = typed.partition("/")
    if request.kind not in ("reference", "repository", "source") or not slash:
        return None
    if not is_host(host):
        return None
    if "@" in rest or (":" in rest and request.kind != "reference"):
        return None
    remote = f"{host}/{rest.partition(':')[0]}:" if ":" in rest else f"{host}/"
    return ValueRequest("remote", remote=remote)


def filter_values(values: tuple[str, ...], typed: str, limit: int) -> list[str]:
    """Return at most `limit` values: those that begin with the typed text, then those that contain it.

    Among the latter, those that contain it after a slash come first. Values that are not printable are omitted.
    """
    low = typed.lower()
    values = tuple(value for value in values if value.isprintable())
    matches = [value for value in values if value.lower().startswith(low)][:limit]
    if len(matches) < limit and low:
        inside = [value for value in values if low in value.lower() and not value.lower().startswith(low)]
        matches += sorted(inside, key=lambda value: f"/{low}" not in value.lower())[: limit - len(matches)]
    return [value for value in matches if value != typed]


def quote_value(value: str, kind: str) -> str:
    """Return a value as it is written in a statement, quoted when necessary."""
    from imq.engine.catalog.tables import is_field_name
    from imq.grammar.lexer import is_bare_word

    if kind == "variable":
        return value
    if kind == "key":
        return value if all(char.isalnum() or char in "_-/" for char in value) else quote(value)
    is_field = kind != "path" and is_field_name(value)  # no field can be where a path is
    return value if is_bare_word(value) and not is_field else quote(value)


class ValueCache:
    """Looks up values in background threads: one for the store, one for registries, which may be slow.

    `open_session` opens the session of a thread. `on_update` is called when new values are known. Both are called in
    the thread.
    """

    def __init__(self, open_session: Callable[[], Session], on_update: Callable[[], None]) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._open_session = open_session
        self._on_update = on_update
        self._values: dict[ValueRequest, tuple[str, ...]] = {}
        self._fresh: set[ValueRequest] = set()
        self._lock = allocate_lock()
        self._errors: dict[str, StatementError | None] = {}
        self._last_text = ""
        self._queue: SimpleQueue[ValueRequest | str | None] = SimpleQueue()
        self._remote_queue: SimpleQueue[ValueRequest | str | None] = SimpleQueue()
        self._last_remote: ValueRequest | None = None
        self._threads = [
            Thread(target=self._run, args=(queue,), name=name, daemon=True)
            for queue, name in ((self._queue, "imq-values"), (self._remote_queue, "imq-remote-values"))
        ]
        self._threads[0].start()

    def get(self, request: ValueRequest) -> tuple[str, ...]:
        """Return the cached values without waiting. Missing or outdated values are looked up in the background."""
        with self._lock:
            if request not in self._fresh:
                self._fresh.add(request)
                if request.remote:
                    self._last_remote = request
                    if not self._threads[1].ident:
                        self._threads[1].start()
                (self._remote_queue if request.remote else self._queue).put(request)
            return self._values.get(request, ())

    @property
    def pending_remote(self) -> str:
        """The registry names that are being looked up; "" for none."""
        request = self._last_remote
        return "" if request is None or request in self._values else request.remote.rstrip("/:")

    def find_error(self, text: str) -> StatementError | None:
        """Return the error in the names and types of a parsable text; None while it has not been checked."""
        with self._lock:
            if text not in self._errors and text != self._last_text:
                self._last_text = text
                self._queue.put(text)
            return self._errors.get(text)

    def invalidate(self) -> None:
        """Look up every value again at its next request, since a statement has run."""
        with self._lock:
            self._fresh.clear()
            self._errors.clear()
            self._last_text = ""

    def close(self) -> None:
        """Stop the threads after their current lookup."""
        self._queue.put(None)
        self._remote_queue.put(None)

    def _run(self, queue: SimpleQueue[ValueRequest | str | None]) -> None:
        try:
            session = self._open_session()
        except (ImqError, OSError):
            return  # the user's session reports it
        try:
            while (item := queue.get()) is not None:
                if isinstance(item, ValueRequest) and item.remote and item != self._last_remote:
                    with self._lock:
                        self._fresh.discard(item)  # outdated: the user has typed more
                    continue
                if isinstance(item, ValueRequest):
                    values = look_up(session, item)
                    with self._lock:
                        self._values[item] = values
                elif item == self._last_text:  # earlier texts are outdated
                    error = _check_statement(session, item)
                    with self._lock:
                        self._errors[item] = error
                else:
                    continue
                self._on_update()
        finally:
            session.close()


def look_up(session: Session, request: ValueRequest) -> tuple[str, ...]:
    """Return values in the order of display; no values after an error, or when a lookup would take long."""
    try:
        match request.kind:
            case "reference":
                return _query_texts(session, f"{_NAMED_IMAGES} select name limit {MAX_VALUES}")
            case "repository":
                return _query_texts(
                    session, f"{_NAMED_IMAGES} and not registry = docker.io group by repository select repository"
                )
            case "remote":
                return _query_registry(session, request.remote)
            case "path":
                return tuple(list_folder(request.folder))
            case "source":
                known = (*session.sources.list_names(), *_known_hosts(session), *PREFIXES)
                return tuple(dict.fromkeys(known))
            case "variable":
                names = [*session.state.variables, *(f"env.{name}" for name in sorted(session.context.environment))]
                return tuple(f"${name}" for name in names)
            case "key":
                return tuple(_query_keys(session, request))
            case _:
                return _query_values(session, request)
    except (ImqError, OSError, RecursionError):
        return ()


_NAMED_IMAGES = "images in store where name is known"


def _known_hosts(session: Session) -> tuple[str, ...]:
    """Return the registries of names in the store, except Docker Hub, which lists no repositories."""
    return _query_texts(session, f"{_NAMED_IMAGES} and not registry = docker.io group by registry select registry")


def _query_registry(session: Session, remote: str) -> tuple[str, ...]:
    """Return the names in a registry that the store or the configuration has.

    Other hosts are not contacted: an unfinished statement must not leak to them.
    """
    host, _, rest = remote.partition("/")
    if host not in {*_known_hosts(session), *(one.host for one in session.context.configuration.registries.values())}:
        return ()
    if rest:
        return _query_texts(session, f"tags of {quote(remote[:-1])} select name order by tag limit {MAX_REMOTE_VALUES}")
    return _query_texts(session, f"repositories in {quote(host)} select name limit {MAX_REMOTE_VALUES}")


def _query_texts(session: Session, text: str) -> tuple[str, ...]:
    (result,) = session.run(text)
    assert isinstance(result, RowSet)
    return tuple(str(row[0]) for row in result.rows if row[0] is not None)


def _query_values(session: Session, request: ValueRequest) -> tuple[str, ...]:
    """Return the values of a field of the store's tables, most frequent first; none for tables of registries."""
    from imq.engine.catalog.tables import DataType

    table = session.sources.find_native(request.table)
    field_name, _, key = request.field.partition(".")
    field = table.find_field(field_name) if table is not None else None
    if table is None or field is None or field.level is not None:
        return ()
    texts = (DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.VERSION, DataType.PLATFORM)
    if not (key if field.type is DataType.MAP else field.type in texts):
        return ()
    name = f"{field.name}.{quote(key)}" if key else field.name
    source = f" in {table.source}" if table.name == "images" else ""
    rows = f"{table.name}{source} where {name} is known"
    return _query_texts(
        session, f"{rows} group by {name} select {name}, count order by count desc, {name} limit {MAX_VALUES}"
    )


def _query_keys(session: Session, request: ValueRequest) -> list[str]:
    counts: dict[str, int] = {}
    table = session.sources.find_native(request.table)
    if table is None:
        return []
    source = f" in {table.source}" if table.name == "images" else ""
    for text in _query_texts(session, f"{table.name}{source} select {request.field} limit {MAX_VALUES}"):
        for key in json.loads(text):
            counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: (-counts[key], key))


def list_folder(folder: str) -> list[str]:
    """Return the paths in a folder, each with the folder as it was typed."""
    with os.scandir(os.path.expanduser(folder) or os.curdir) as entries:
        return sorted(folder + entry.name + ("/" if entry.is_dir() else "") for entry in entries)


def _check_statement(session: Session, text: str) -> StatementError | None:
    """Return the error in the names and types of a single statement."""
    try:
        statements = parse(text, session.vocabulary)
        if len(statements) == 1:  # a later one may use names that an earlier one defines when it runs
            session.check(statements[0])
    except StatementError as error:
        return error if error.span is not None else None
    except (ImqError, OSError, RecursionError, RuntimeError):
        return None
    return None
