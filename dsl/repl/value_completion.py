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

MOST = 20_000
"""How many values of one kind are looked at."""
MOST_THERE = 1000
"""How many of them a registry is asked for."""


class Wanted(Record):
    """A kind of values, as `Completion` has them; `table` and `field` of values and keys, `folder` of paths.

    `there` is the registry that is asked for its repositories (`HOST/`), or the repository for its tags (`HOST/NAME:`).
    """

    kind: str
    table: str = ""
    field: str = ""
    folder: str = ""
    there: str = ""


def wanted_values(kinds: frozenset[str], table: str, field: str, typed: str) -> Wanted | None:
    """Return which values fit; None where only words of the language do."""
    kind = next((kind for kind in ("key", "path", "source", "repository", "reference", "value") if kind in kinds), None)
    if typed.startswith("$"):
        return Wanted("variable")
    if kind == "path":
        return Wanted("path", folder=typed[: typed.rfind("/") + 1])
    if kind in ("key", "value"):
        return Wanted(kind, table, field) if table and field else None
    return Wanted(kind) if kind is not None else None


def wanted_there(wanted: Wanted, typed: str) -> Wanted | None:
    """Return what a registry can tell of the name that is typed; None when no host stands in front of it."""
    host, slash, rest = typed.partition("/")
    if wanted.kind not in ("reference", "repository", "source") or not slash:
        return None
    if not is_host(host):
        return None
    if "@" in rest or (":" in rest and wanted.kind != "reference"):
        return None
    there = f"{host}/{rest.partition(':')[0]}:" if ":" in rest else f"{host}/"
    return Wanted("there", there=there)


def fitting(values: tuple[str, ...], typed: str, most: int) -> list[str]:
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


def quoted(value: str, kind: str) -> str:
    """Return a value as it has to be written where it is wanted."""
    from imq.engine.catalog.tables import is_field_name
    from imq.grammar.lexer import is_word

    if kind == "variable":
        return value
    if kind == "key":
        return value if all(sign.isalnum() or sign in "_-/." for sign in value) and "." not in value else quote(value)
    return value if is_word(value) and not is_field_name(value) else quote(value)


class Values:
    """Looks values up beside the session. `opened` makes the thread's own session, `told` is called when one is there.

    Both are called in the thread. Registries are asked in a second one, so that what the store has waits for no host.
    """

    def __init__(self, opened: Callable[[], Session], told: Callable[[], None]) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._opened = opened
        self._told = told
        self._found: dict[Wanted, tuple[str, ...]] = {}
        self._fresh: set[Wanted] = set()
        self._guard = allocate_lock()
        self._verdicts: dict[str, StatementError | None] = {}
        self._last = ""
        self._asked: SimpleQueue[Wanted | str | None] = SimpleQueue()
        self._there: SimpleQueue[Wanted | str | None] = SimpleQueue()
        self._latest: Wanted | None = None
        self._threads = [
            Thread(target=self._run, args=(queue,), name=name, daemon=True)
            for queue, name in ((self._asked, "imq-values"), (self._there, "imq-values-there"))
        ]
        self._threads[0].start()

    def of(self, wanted: Wanted) -> tuple[str, ...]:
        """Return what is known by now, at once; what is not known, or may have changed, is looked for."""
        with self._guard:
            if wanted not in self._fresh:
                self._fresh.add(wanted)
                if wanted.there:
                    self._latest = wanted
                    if not self._threads[1].ident:
                        self._threads[1].start()
                (self._there if wanted.there else self._asked).put(wanted)
            return self._found.get(wanted, ())

    def wrong(self, text: str) -> StatementError | None:
        """Return what is wrong with the names and types of a text that parses, as far as it is known by now."""
        with self._guard:
            if text not in self._verdicts and text != self._last:
                self._last = text
                self._asked.put(text)
            return self._verdicts.get(text)

    def forget(self) -> None:
        """Look for everything anew when it is next asked for: a statement has been run."""
        with self._guard:
            self._fresh.clear()
            self._verdicts.clear()
            self._last = ""

    def close(self) -> None:
        """End the thread as soon as it is done with what it does."""
        self._asked.put(None)
        self._there.put(None)

    def _run(self, queue: SimpleQueue[Wanted | str | None]) -> None:
        try:
            session = self._opened()
        except (ImqError, OSError):
            return  # the session that the user sees says it
        try:
            while (asked := queue.get()) is not None:
                if isinstance(asked, Wanted) and asked.there and asked != self._latest:
                    with self._guard:
                        self._fresh.discard(asked)  # the user has typed on meanwhile
                    continue
                if isinstance(asked, Wanted):
                    found = look_up(session, asked)
                    with self._guard:
                        self._found[asked] = found
                elif asked == self._last:  # later keys have made the others moot
                    verdict = _verdict(session, asked)
                    with self._guard:
                        self._verdicts[asked] = verdict
                else:
                    continue
                self._told()
        finally:
            session.close()


def look_up(session: Session, wanted: Wanted) -> tuple[str, ...]:
    """Return values, those that are shown first in front; nothing where they cannot be had without waiting long."""
    try:
        match wanted.kind:
            case "reference":
                return _texts(session, f"{_NAMED} select name limit {MOST}")
            case "repository":
                return _texts(session, f"{_NAMED} and not registry = docker.io group by repository select repository")
            case "there":
                return _told_there(session, wanted.there)
            case "path":
                return tuple(paths(wanted.folder))
            case "source":
                return tuple(dict.fromkeys((*session.sources.names(), *_hosts(session))))
            case "variable":
                names = [*session.state.variables, *(f"env.{name}" for name in sorted(session.context.environment))]
                return tuple(f"${name}" for name in names)
            case "key":
                return tuple(_keys(session, wanted))
            case _:
                return _values(session, wanted)
    except (ImqError, OSError, RecursionError):
        return ()


_NAMED = "images in store where name is known"


def _hosts(session: Session) -> tuple[str, ...]:
    """Return the registries that names in the store have, but for Docker Hub, which lists no repositories."""
    return _texts(session, f"{_NAMED} and not registry = docker.io group by registry select registry")


def _told_there(session: Session, there: str) -> tuple[str, ...]:
    """Return the names that a registry has, if it is one that the store or the configuration knows.

    No other is asked: what is typed is nobody's business until it is said.
    """
    host, _, rest = there.partition("/")
    if host not in {*_hosts(session), *(one.host for one in session.context.configuration.registries.values())}:
        return ()
    if rest:
        return _texts(session, f"tags of {quote(there[:-1])} select name order by tag limit {MOST_THERE}")
    return _texts(session, f"repositories in {quote(host)} select name limit {MOST_THERE}")


def _texts(session: Session, text: str) -> tuple[str, ...]:
    (result,) = session.run(text)
    assert isinstance(result, RowSet)
    return tuple(str(row[0]) for row in result.rows if row[0] is not None)


def _values(session: Session, wanted: Wanted) -> tuple[str, ...]:
    """Return the values that a field of the store's tables has, most frequent first; of registries nothing is asked."""
    from imq.engine.catalog.tables import DataType

    table = session.sources.native(wanted.table)
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
    return _texts(session, f"{known} group by {name} select {name}, count order by count desc, {name} limit {MOST}")


def _keys(session: Session, wanted: Wanted) -> list[str]:
    counts: dict[str, int] = {}
    table = session.sources.native(wanted.table)
    if table is None:
        return []
    place = f" in {table.source}" if table.name == "images" else ""
    for text in _texts(session, f"{table.name}{place} select {wanted.field} limit {MOST}"):
        for key in json.loads(text):
            counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: (-counts[key], key))


def paths(folder: str) -> list[str]:
    """Return what is in a folder, each behind the folder as it was written."""
    place = os.path.expanduser(folder) or os.curdir
    with os.scandir(place) as entries:
        return sorted(folder + entry.name + ("/" if entry.is_dir() else "") for entry in entries)


def _verdict(session: Session, text: str) -> StatementError | None:
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
