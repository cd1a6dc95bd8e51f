"""Connections to the catalogue, and its errors. The only module that imports psycopg, an optional dependency."""

from __future__ import annotations

from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.catalog.schema import Raw
    from psycopg import Connection, Error

    Row = tuple[Raw, ...]

OLDEST_SERVER = 120000
"""The oldest version of PostgreSQL that is supported, 12, as its servers report it."""
_CONNECT_TIMEOUT = 10
"""Seconds until a connection attempt fails, unless the URL says otherwise."""
_HINT = "to answer queries without it: set catalogue = none"
_UNSUITABLE_VALUES = ("22", "54")
"""The classes of errors of values: out of range, too large, not representable."""


class CatalogueError(ImqError):
    """The catalogue cannot be reached or used."""

    code = "catalogue"


def connect(url: str, environment: Mapping[str, str]) -> Connection[Row]:
    """Return a connection in the time zone of this machine. Raises `CatalogueError`, which never has the password."""
    try:
        import psycopg
    except ImportError as problem:
        raise _make_missing_error(problem) from problem
    from psycopg.conninfo import conninfo_to_dict

    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error as problem:
        raise CatalogueError(
            "the URL of the catalogue is invalid", hints=("expected postgresql://USER@HOST:PORT/DATABASE",)
        ) from problem
    parameters.setdefault("connect_timeout", _CONNECT_TIMEOUT)
    parameters.setdefault("application_name", "imq")
    parameters["client_encoding"] = "UTF8"
    try:
        connection = psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type] # strings and integers
    except psycopg.Error as problem:
        raise _make_connection_error(problem, url) from None  # its text may repeat the URL
    if connection.info.server_version < OLDEST_SERVER:
        version = connection.info.server_version // 10000
        connection.close()
        raise CatalogueError(
            f"the catalogue {describe_url(url)} is PostgreSQL {version}: expected 12 or later",
            code="catalogue-version",
            hints=(_HINT,),
        )
    _prepare(connection, environment)
    return connection


def _make_missing_error(problem: ImportError) -> CatalogueError:
    import sys

    if getattr(sys, "frozen", False):
        hints = ("install imq as a Python package: pip install 'imq[postgresql]'",)
        message = "this executable has no driver of PostgreSQL"
    else:
        hints = ("install it: pip install 'imq[postgresql]'",)
        message = f"a catalogue in PostgreSQL needs psycopg 3: {problem}"
    return CatalogueError(message, code="catalogue-driver", hints=(*hints, _HINT))


def _make_connection_error(problem: Error, url: str) -> CatalogueError:
    """Return the error of a failed connection: without the password, whatever the driver says."""
    text = " ".join(_redact(str(problem), url).split())
    text = text.partition("Multiple connection attempts failed")[0] or text
    place = describe_url(url)
    if "password" in text or "authentication failed" in text:
        return CatalogueError(
            f"the catalogue {place} refused the user or the password",
            code="catalogue-login",
            hints=("the password is read from ~/.pgpass and from PGPASSWORD too", text),
        )
    if "does not exist" in text:
        return CatalogueError(
            f"the catalogue {place} does not exist: {text}",
            code="catalogue-missing",
            hints=("an administrator creates it: createdb DATABASE",),
        )
    return CatalogueError(f"cannot reach the catalogue {place}: {text}", code="catalogue-unreachable", hints=(_HINT,))


def _prepare(connection: Connection[Row], environment: Mapping[str, str]) -> None:
    """Set the time zone, and read truth values and numbers as SQLite returns them."""
    from psycopg import errors
    from psycopg.adapt import Loader

    class TruthLoader(Loader):
        """Reads true and false as 1 and 0."""

        def load(self, data: object) -> int:
            return int(bytes(data) == b"t")  # type: ignore[call-overload] # a buffer

    class NumericLoader(Loader):
        """Reads numbers without decimals as integers, others as floating-point numbers."""

        def load(self, data: object) -> int | float:
            text = bytes(data).decode()  # type: ignore[call-overload] # a buffer
            return float(text) if "." in text or not text.lstrip("-").isdigit() else int(text)

    connection.adapters.register_loader("bool", TruthLoader)
    connection.adapters.register_loader("numeric", NumericLoader)
    for zone in (find_time_zone(environment), _write_offset()):
        try:
            connection.execute("SELECT set_config('timezone', %s, false)", (zone,))
        except errors.InvalidParameterValue:
            continue  # a name that this server does not know
        break
    connection.execute("SET cursor_tuple_fraction = 1")  # every row is read
    connection.execute("SET client_min_messages = error")


def find_time_zone(environment: Mapping[str, str]) -> str:
    """Return the name of the local time zone, which SQLite uses, as PostgreSQL reads it; its offset when it has none.

    The name is in the variable TZ, else in the target of the link /etc/localtime.
    """
    import os

    name = environment.get("TZ", "").removeprefix(":")
    if not name:
        target = os.path.realpath("/etc/localtime")
        name = target.partition("/zoneinfo/")[2].removeprefix("posix/")
    return name or _write_offset()


def _write_offset() -> str:
    """Return the offset of the local time from UTC as a time zone of PostgreSQL, whose signs are those of POSIX."""
    import time

    offset = -time.timezone
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"<local>{'-' if offset >= 0 else '+'}{hours:02}:{minutes:02}"


def get_driver_error() -> type[Error]:
    """Return the base of the errors of the driver. A connection exists, so the driver is imported."""
    import psycopg

    return psycopg.Error


def describe_url(url: str) -> str:
    """Return the URL of a catalogue without user, password and parameters."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "postgresql://…"
    return f"postgresql://{host}{f':{port}' if port else ''}{parts.path}"


def _redact(text: str, url: str) -> str:
    """Return a text without the password of a URL."""
    from urllib.parse import parse_qs, unquote, urlsplit

    from imq.engine.units.redaction import Secrets

    secrets = Secrets()
    try:
        parts = urlsplit(url)
        for password in (parts.password or "", *parse_qs(parts.query).get("password", ())):
            secrets.add(password, unquote(password))
    except ValueError:
        return "the driver reports an error"
    return secrets.redact(text)


def convert_error(problem: Error) -> ImqError:
    """Return the error that reports a failure of a statement."""
    import psycopg

    text = str(problem).partition("\n")[0]
    if isinstance(problem, psycopg.errors.QueryCanceled):
        return Interrupted("interrupted")
    if isinstance(problem, psycopg.errors.InsufficientPrivilege):
        return CatalogueError(
            f"the catalogue refused access: {text}",
            code="catalogue-permission",
            hints=("its user needs CREATE on the database to add a store: GRANT CREATE ON DATABASE … TO …", _HINT),
        )
    if problem.sqlstate is None or problem.sqlstate.startswith(("08", "57")):
        return CatalogueError(f"the catalogue went away: {text}", code="catalogue-unreachable", hints=(_HINT,))
    return CatalogueError(f"the catalogue failed: {text} ({problem.sqlstate})", hints=(_HINT,))


def is_about_values(problem: Error) -> bool:
    """Whether an error comes from values that PostgreSQL cannot compute with and SQLite can."""
    return problem.sqlstate is not None and problem.sqlstate.startswith(_UNSUITABLE_VALUES)
