"""The settings that `set` shows and changes, declared once."""

from __future__ import annotations

from imq.engine.oci.media_types import DEFAULT_MAX_DOCUMENT, MAX_DOCUMENT
from imq.engine.units.size import parse_size
from imq.grammar.errors import StatementError, UnknownName, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from imq.grammar.errors import Span


class Setting(Record):
    """One setting: its name, its purpose, its default, and its values.

    Without `choices` the value is a whole number, a number of bytes (`is_size`), a duration (`is_duration`), a
    program (`is_program`), workers (`is_workers`), the URL of a database (`is_url`) or of a folder (`is_folder`). A
    size is from `minimum` to `maximum`; without a maximum it may also be `NO_LIMIT`.
    """

    name: str
    doc: str
    default: str
    choices: tuple[str, ...] = ()
    is_size: bool = False
    minimum: int = 0
    maximum: int = 0
    is_duration: bool = False
    is_program: bool = False
    is_workers: bool = False
    is_url: bool = False
    is_folder: bool = False

    @property
    def value_examples(self) -> str:
        """The valid values, for errors."""
        if self.maximum:
            return f"{self.minimum >> 10}KiB to {self.maximum >> 20}MiB"
        if self.is_size:
            return "20GB, 512MiB, none"
        if self.is_duration:
            return "10m, 2 hours, 0"
        if self.is_program:
            return "auto, the name of a program, or its path"
        if self.is_url:
            return "none, postgresql://USER@HOST:PORT/DATABASE"
        if self.is_workers:
            return "none, 1 to 64, dask://HOST:8786, dask+tls://HOST:8786"
        if self.is_folder:
            return "none, /mnt/shared/imq, file:///mnt/shared/imq, s3://bucket/imq"
        return ", ".join(self.choices) or "1 to 64"

    @property
    def syntax(self) -> str:
        """The valid values, for help."""
        kinds = {
            "SIZE": self.is_size,
            "DURATION": self.is_duration,
            "PROGRAM": self.is_program,
            "N | URL": self.is_workers,
            "URL": self.is_url or self.is_folder,
        }
        return " | ".join(self.choices) or next((kind for kind, is_own in kinds.items() if is_own), "N")

    def show(self, value: str) -> str:
        """Return a value as it is shown: a URL without its password."""
        if not self.is_url or "://" not in value:
            return value
        from imq.engine.units.redaction import redact_url

        return redact_url(value)


NO_LIMIT = "none"
NO_CATALOGUE = "none"
_CATALOGUE_SCHEMES = ("postgresql://", "postgres://")


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "verify",
            "full: a pull decompresses each layer to check its diff ID; lazy: only digests are checked, and layers are"
            " measured when a query needs their sizes",
            "full",
            ("full", "lazy"),
        ),
        Setting("jobs", "the number of layers that are transferred or decompressed at once", "4"),
        Setting(
            "quota",
            "the maximum size of all blobs of the store, or none; more is refused. Example: 20GB",
            NO_LIMIT,
            is_size=True,
        ),
        Setting(
            "index_files",
            "query: the files of a layer are indexed when a query first needs them; pull: a pull indexes the layers"
            " that it verifies",
            "query",
            ("query", "pull"),
        ),
        Setting(
            "file_index",
            "the size to which prune trims the index of files: layers that the store does not have, such as those of"
            " registries, go first that no query has read for the longest time; or none. Example: 500MB",
            "1GB",
            is_size=True,
        ),
        Setting(
            "largest_document",
            "the maximum size of a manifest or config; a larger one is refused. Example: 16MiB",
            f"{DEFAULT_MAX_DOCUMENT >> 20}MiB",
            is_size=True,
            minimum=64 << 10,
            maximum=MAX_DOCUMENT,
        ),
        Setting(
            "fresh",
            "how long queries use a cached tag before they request it again; actions and assertions always request it,"
            " and 0 turns the cache off. Example: 10m",
            "30s",
            is_duration=True,
        ),
        Setting(
            "intermediate",
            "show: the images of an engine include the steps of builds that no name leads to, as with docker images -a",
            "hide",
            ("hide", "show"),
        ),
        Setting(
            "runtime",
            "the OCI runtime that starts containers of the store, by its name or path; auto: crun, and runc if crun"
            " is missing or cannot start the container. Example: /usr/local/bin/crun",
            "auto",
            is_program=True,
        ),
        Setting(
            "catalogue",
            "the database that answers queries and that a team can share: none, the store's own index, or a PostgreSQL"
            " database. The password is best kept in ~/.pgpass. Example: postgresql://imq@db.example.com/images",
            NO_CATALOGUE,
            is_url=True,
        ),
        Setting(
            "workers",
            "what reads the layers of queries for files and packages: none, this process; a number of processes of"
            " this machine; or a Dask cluster, by its scheduler. Example: dask://scheduler.local:8786",
            NO_LIMIT,
            is_workers=True,
        ),
        Setting(
            "layers_per_registry",
            "the number of layers that all workers together read of one registry at once",
            "16",
        ),
        Setting(
            "index_cache",
            "a folder or a bucket where a team shares the indexes of layers, so that each layer is scanned once; or"
            " none. Example: s3://bucket/imq",
            NO_LIMIT,
            is_folder=True,
        ),
        Setting(
            "index_cache_size",
            "the size to which prune trims the index cache: indexes of other versions of imq go first, then the"
            " oldest; or none. Example: 50GB",
            NO_LIMIT,
            is_size=True,
        ),
    )
}


_COUNTS = frozenset(map(str, range(1, 65)))
DASK_SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
"""The schemes of the URL of a Dask scheduler, and those that Dask has for them."""
CLIENT = "client"
"""The value of `workers` for a client of Dask that a program handed in."""


def is_workers(value: str) -> bool:
    """Whether a value of `workers` is valid: none, a number, or the address of a scheduler."""
    scheme, separator, address = value.partition("://")
    if not separator:
        return value in (NO_LIMIT, CLIENT) or value in _COUNTS
    host, _, port = address.rpartition(":")
    return scheme in DASK_SCHEMES and bool(host) and port.isdecimal() and not set(address) & set("/@?# ")


def is_folder_url(value: str) -> bool:
    """Whether a value is the URL of a folder, or an absolute path. A URL with a user or a password is none."""
    scheme, separator, rest = value.partition("://")
    if not separator:
        return value.startswith("/") and "\0" not in value
    return scheme.isalnum() and bool(rest) and "@" not in rest


def check_setting(name: str, value: str, span: Span | None = None) -> tuple[str, str]:
    """Return the name and the normalized value of a setting. Raises `UnknownName` or `StatementError`."""
    setting = SETTINGS.get(name.lower())
    if setting is None:
        raise UnknownName(
            f'unknown setting "{name}"',
            code="unknown-setting",
            span=span,
            hints=(closest_hint(name, SETTINGS), "settings: " + ", ".join(SETTINGS)),
        )
    lower = value.lower()
    if setting.is_size:
        size = parse_size_limit(value)
        if setting.maximum:
            is_valid = size is not None and setting.minimum <= size <= setting.maximum
        else:
            is_valid = size is not None or lower == NO_LIMIT
        normalized = lower if lower == NO_LIMIT else value
    elif setting.is_duration:
        is_valid, normalized = parse_duration_setting(value) is not None, value
    elif setting.is_workers:
        is_valid, normalized = is_workers(lower), lower
    elif setting.is_folder:
        is_valid = lower == NO_LIMIT or is_folder_url(value)
        normalized = lower if lower == NO_LIMIT else value.rstrip("/") or "/"
    elif setting.is_program:
        is_valid, normalized = bool(value.strip()) and "\0" not in value, value
    elif setting.is_url:
        is_valid = lower == NO_CATALOGUE or (lower.startswith(_CATALOGUE_SCHEMES) and "\0" not in value)
        normalized = lower if lower == NO_CATALOGUE else value
    else:
        is_valid = lower in (setting.choices or _COUNTS)
        normalized = lower
    if not is_valid:
        raise StatementError(
            f'invalid value "{setting.show(value)}" for {setting.name}',
            code="setting",
            span=span,
            hints=(f"values: {setting.value_examples}",),
        )
    return setting.name, normalized


def parse_size_limit(value: str) -> int | None:
    """Return a size limit in bytes; None for `NO_LIMIT` and for an invalid size."""
    if value == NO_LIMIT:
        return None
    return parse_size(value)


def parse_size_setting(value: str) -> int:
    """Return the bytes of a setting whose value is always a size."""
    size = parse_size(value)
    assert size is not None, value
    return size


def parse_duration_setting(value: str) -> int | None:
    """Return the nanoseconds of a duration; None when it is invalid."""
    if value == "0":
        return 0
    from imq.engine.units.time import parse_duration  # only needed when the setting is not the default

    return parse_duration(value)
