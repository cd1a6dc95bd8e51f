"""What only the world knows and completion offers: names of images, values of fields, keys of labels, files, sources.

A thread of its own asks for them, in a session of its own on the same store, so that no key waits for anything; what
it finds is kept until a statement may have changed it, and is offered while it is looked for anew.
"""

from __future__ import annotations

import json
import os
from _thread import allocate_lock

from imq.engine.result import RowSet
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
"""How many values of one kind are looked at."""
MAX_REMOTE_VALUES = 1000
"""How many of them a registry is asked for."""


class ValueRequest(Record):
    """A kind of values, as `Completion` has them; `table` and `field` of values and keys, `folder` of paths.

    `there` is the registry that is asked for its repositories (`HOST/`), or the repository for its tags (`HOST/NAME:`).
    """

    kind: str
    table: str = ""
    field: str = ""
    folder: str = ""
    remote: str = ""


def request_values(kinds: frozenset[str], table: str, field: str, typed: str) -> ValueRequest | None:
    """Return which values fit; None where only words of the language do."""
    kind = next((kind for kind in ("key", "path", "source", "repository", "reference", "value") if kind in kinds), None)
    if typed.startswith("$"):
        return ValueRequest("variable")
    if kind == "path":
        return ValueRequest("path", folder=typed[: typed.rfind("/") + 1])
    if kind in ("key", "value"):
        return ValueRequest(kind, table, field) if table and field else None
    return ValueRequest(kind) if kind is not None else None


def registry_request(wanted: ValueRequest, typed: str) -> ValueRequest | None:
    """Return what a registry can tell of the name that is typed; None when no host stands in front of it."""
    host, slash, rest = typed.partition("/")
    if wanted.kind not in ("reference", "repository", "source") or not slash:
        return None
    if not is_host(host):
        return None
    if "@" in rest or (":" in rest and wanted.kind != "reference"):
        return None
    there = f"{host}/{rest.partition(':')[0]}:" if ":" in rest else f"{host}/"
    return ValueRequest("there", remote=there)


def filter_values(values: tuple[str, ...], typed: str, most: int) -> list[str]:
    """Return values that begin so, then those that have it inside; a name may begin behind any of its slashes.

    What cannot be shown as it is, such as a label with an escape character, is not offered.
    """
    low = typed.lower()
    values = tuple(value for value in values if value.isprintable())
    first = [value for value in values if value.lower().startswith(low)][:most]
    if len(first) < most and low:
        inside = [value for value in values if low in value.lower() and not value.lower().startswith(low)]
        first += sorted(inside, key=lambda value: f"/{low}" not in value.lower())[: most - len(first)]
    return [value for value in first if value != typed]


def quote_value(value: str, kind: str) -> str:
    """Return a value as it has to be written where it is wanted."""
    from imq.engine.catalog.tables import is_field_name
    from imq.grammar.lexer import is_bare_word

    if kind == "variable":
        return value
    if kind == "key":
        return value if all(sign.isalnum() or sign in "_-/." for sign in value) and "." not in value else quote(value)
    return value if is_bare_word(value) and not is_field_name(value) else quote(value)


class ValueCache:
    """Looks values up beside the session. `opened` makes the thread's own session, `told` is called when one is there.

    Both are called in the thread. Registries are asked in a second one, so that what the store has waits for no host.
    """

    def __init__(self, opened: Callable[[], Session], told: Callable[[], None]) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._open_session = opened
        self._on_update = told
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
            for queue, name in ((self._queue, "imq-values"), (self._remote_queue, "imq-values-there"))
        ]
        self._threads[0].start()

    def get(self, wanted: ValueRequest) -> tuple[str, ...]:
        """Return what is known by now, at once; what is not known, or may have changed, is looked for."""
        with self._lock:
            if wanted not in self._fresh:
                self._fresh.add(wanted)
                if wanted.remote:
                    self._last_remote = wanted
                    if not self._threads[1].ident:
                        self._threads[1].start()
                (self._remote_queue if wanted.remote else self._queue).put(wanted)
            return self._values.get(wanted, ())

    def find_error(self, text: str) -> StatementError | None:
        """Return what is wrong with the names and types of a text that parses, as far as it is known by now."""
        with self._lock:
            if text not in self._errors and text != self._last_text:
                self._last_text = text
                self._queue.put(text)
            return self._errors.get(text)

    def invalidate(self) -> None:
        """Look for everything anew when it is next asked for: a statement has been run."""
        with self._lock:
            self._fresh.clear()
            self._errors.clear()
            self._last_text = ""

    def close(self) -> None:
        """End the thread as soon as it is done with what it does."""
        self._queue.put(None)
        self._remote_queue.put(None)

    def _run(self, queue: SimpleQueue[ValueRequest | str | None]) -> None:
        try:
            session = self._open_session()
        except (ImqError, OSError):
            return  # the session that the user sees says it
        try:
            while (asked := queue.get()) is not None:
                if isinstance(asked, ValueRequest) and asked.remote and asked != self._last_remote:
                    with self._lock:
                        self._fresh.discard(asked)  # the user has typed on meanwhile
                    continue
                if isinstance(asked, ValueRequest):
                    found = look_up(session, asked)
                    with self._lock:
                        self._values[asked] = found
                elif asked == self._last_text:  # later keys have made the others moot
                    verdict = _check_statement(session, asked)
                    with self._lock:
                        self._errors[asked] = verdict
                else:
                    continue
                self._on_update()
        finally:
            session.close()


def look_up(session: Session, wanted: ValueRequest) -> tuple[str, ...]:
    """Return values, those that are shown first in front; nothing where they cannot be had without waiting long."""
    try:
        match wanted.kind:
            case "reference":
                return _query_texts(session, f"{_NAMED_IMAGES} select name limit {MAX_VALUES}")
            case "repository":
                return _query_texts(
                    session, f"{_NAMED_IMAGES} and not registry = docker.io group by repository select repository"
                )
            case "there":
                return _query_registry(session, wanted.remote)
            case "path":
                return tuple(list_folder(wanted.folder))
            case "source":
                return tuple(dict.fromkeys((*session.sources.list_names(), *_known_hosts(session))))
            case "variable":
                names = [*session.state.variables, *(f"env.{name}" for name in sorted(session.context.environment))]
                return tuple(f"${name}" for name in names)
            case "key":
                return tuple(_query_keys(session, wanted))
            case _:
                return _query_values(session, wanted)
    except (ImqError, OSError, RecursionError):
        return ()


_NAMED_IMAGES = "images in store where name is known"


def _known_hosts(session: Session) -> tuple[str, ...]:
    """Return the registries that names in the store have, but for Docker Hub, which lists no repositories."""
    return _query_texts(session, f"{_NAMED_IMAGES} and not registry = docker.io group by registry select registry")


def _query_registry(session: Session, there: str) -> tuple[str, ...]:
    """Return the names that a registry has, if it is one that the store or the configuration knows.

    No other is asked: what is typed is nobody's business until it is said.
    """
    host, _, rest = there.partition("/")
    if host not in {*_known_hosts(session), *(one.host for one in session.context.configuration.registries.values())}:
        return ()
    if rest:
        return _query_texts(session, f"tags of {quote(there[:-1])} select name order by tag limit {MAX_REMOTE_VALUES}")
    return _query_texts(session, f"repositories in {quote(host)} select name limit {MAX_REMOTE_VALUES}")


def _query_texts(session: Session, text: str) -> tuple[str, ...]:
    (result,) = session.run(text)
    assert isinstance(result, RowSet)
    return tuple(str(row[0]) for row in result.rows if row[0] is not None)


def _query_values(session: Session, wanted: ValueRequest) -> tuple[str, ...]:
    """Return the values that a field of the store's tables has, most frequent first; of registries nothing is asked."""
    from imq.engine.catalog.tables import DataType

    table = session.sources.find_native(wanted.table)
    named, _, key = wanted.field.partition(".")
    field = table.find_field(named) if table is not None else None
    if table is None or field is None or field.level is not None:
        return ()
    texts = (DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.VERSION, DataType.PLATFORM)
    if not (key if field.type is DataType.MAP else field.type in texts):
        return ()
    name = f"{field.name}.{quote(key)}" if key else field.name
    place = f" in {table.source}" if table.name == "images" else ""
    known = f"{table.name}{place} where {name} is known"
    return _query_texts(
        session, f"{known} group by {name} select {name}, count order by count desc, {name} limit {MAX_VALUES}"
    )


def _query_keys(session: Session, wanted: ValueRequest) -> list[str]:
    counts: dict[str, int] = {}
    table = session.sources.find_native(wanted.table)
    if table is None:
        return []
    place = f" in {table.source}" if table.name == "images" else ""
    for text in _query_texts(session, f"{table.name}{place} select {wanted.field} limit {MAX_VALUES}"):
        for key in json.loads(text):
            counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: (-counts[key], key))


def list_folder(folder: str) -> list[str]:
    """Return what is in a folder, each behind the folder as it was written."""
    place = os.path.expanduser(folder) or os.curdir
    with os.scandir(place) as entries:
        return sorted(folder + entry.name + ("/" if entry.is_dir() else "") for entry in entries)


def _check_statement(session: Session, text: str) -> StatementError | None:
    """Return what the names and types of a text's only statement have against them."""
    try:
        statements = parse(text, session.vocabulary)
        if len(statements) == 1:  # what earlier ones would define is not known before they run
            session.check(statements[0])
    except StatementError as error:
        return error if error.span is not None else None
    except (ImqError, OSError, RecursionError, RuntimeError):
        return None
    return None
