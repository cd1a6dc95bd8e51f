"""What a table and a field are: one declaration each, from which binding, help, output and completion follow."""

from __future__ import annotations

from enum import Enum

from imq.grammar.errors import UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imq.grammar.errors import Span


class DataType(Enum):
    """The type of a value; the text is how errors and help name it."""

    TEXT = "a text"
    NUMBER = "a number"
    REFERENCE = "an image name"
    REPOSITORY = "a repository name"
    TAG = "a tag"
    SIZE = "a size in bytes"
    TIME = "a time"
    DURATION = "a duration"
    BOOLEAN = "true or false"
    DIGEST = "a digest"
    VERSION = "a version"
    PLATFORM = "a platform"
    LIST = "a list of texts"
    MAP = "a map of texts"


class FetchLevel(Record):
    """Something that a source fetches for rows that it has listed, with what `explain` says of it.

    `content` is what is fetched, `requests` how many requests that takes. Each source declares its own levels, in
    order (see query/source.py).
    """

    name: str
    content: str
    requests: str


class TargetKind(Enum):
    """What may follow `TABLE of`; the text is how errors and help name it."""

    NOTHING = "nothing"
    IMAGES = "images"
    FILE = "a file"
    REPOSITORIES = "repositories"
    NAMES = "names in registries"
    TERM = "a word to search for"


class FromConfig(Record):
    """Where an image config holds the value of a field: at `key`, in this shape.

    Shapes of the runtime part of the config: `string`; `list` of strings; `pairs`, a list of NAME=VALUE; `map` of
    strings; `keys`, an object whose values are empty; `healthcheck`. The shape `property` is a string of the config
    itself. The type of the field follows: TEXT for a string, LIST for a list and for keys, MAP for pairs and a map.
    """

    key: str
    shape: str


class Field(Record):
    """One field of a table.

    `doc` is its help. `aliases` are further names. `placeholders` maps docker's template names that show the field to
    how they show it (see render/values.py); the field's own name always works, with or without underscores.
    `ending` is what a text may go without that is looked for in a list: the protocol of a port. `items` is the kind of
    what a list has. A field that is
    `worked_out` is kept nowhere: a function lent to SQL, another field that it is given, and the part that is meant.
    `normalise` returns the form that a value in a statement has in this field, and raises `StatementError`.
    `values` are the only values that a field has, where these are few. `of_containers`: it tells of containers, which
    only their engines know; `unseen`: the place of this table cannot tell it of any row.
    """

    name: str
    type: DataType
    doc: str
    aliases: tuple[str, ...] = ()
    docker_placeholders: tuple[tuple[str, str], ...] = ()
    title: str = ""
    level: FetchLevel | None = None
    optional_suffix: str = ""
    items: DataType = DataType.TEXT
    computed_from: tuple[str, str, int] | None = None
    values: tuple[str, ...] = ()
    normalise: Callable[[str], str] | None = None
    about_containers: bool = False
    is_unavailable: bool = False
    config: FromConfig | None = None

    @property
    def all_names(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *self.aliases)

    @property
    def column_title(self) -> str:
        """The column title: docker's when it has one."""
        return self.title or self.name.upper().replace("_", " ")


if TYPE_CHECKING:
    Raw = str | int | float | None
    """A value as SQLite gives it."""

DERIVED = "="
"""The `view` of a table that only a query inside the statement makes."""


class Relation(Record):
    """Rows of another table that belong to a row: `any layers where …`, `count(layers)`, `base.name`.

    `link` is the word by which the writer of SQL knows how they belong together. `many`: there can be several.
    `singular` and `keys` are for `has layer D`: D is one of these fields of a row. `drives` are the fields of the row
    outside by which rows of a registry are asked for; the link is then `asked`, the first of them, and those that are
    the same in both rows, or `INSIDE=OUTSIDE` where they have two names.
    """

    name: str
    table: str
    doc: str
    join: str = "image"
    is_many: bool = True
    item_name: str = ""
    item_fields: tuple[str, ...] = ()
    lookup_fields: tuple[str, ...] = ()
    source: str = ""
    members: tuple[Relation, ...] = ()


def registry_relation(field: str) -> Relation:
    """Return the relation of rows that have a name in this field to what its registry has under it."""
    doc = "what its registry has now under its name"
    return Relation("remote", "tags", doc, f"asked {field}", is_many=False, lookup_fields=(field,), source="registry")


class Table(Record):
    """One table. `shown` are the columns of a plain answer, `order` its usual order (`-` before a key: descending).

    `key` are the fields by which rows of two queries are the same. `takes` is what may follow `of`: images, a file
    (which then must be there), or nothing. `remote` tables are of registries; `places` says that `in HOST` may follow.
    `view` is what it is called in SQL, when that is not its name.
    """

    name: str
    doc: str
    fields: tuple[Field, ...]
    default_columns: tuple[str, ...]
    order: tuple[str, ...]
    key: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()
    target: TargetKind = TargetKind.NOTHING
    is_staged: bool = False
    source: str = ""
    view: str = ""

    @property
    def sql_name(self) -> str:
        """What the table is called in SQL."""
        return self.view or self.name

    @property
    def stored_fields(self) -> tuple[Field, ...]:
        """The fields that are columns in SQL: all that are not worked out of others."""
        return tuple(field for field in self.fields if field.computed_from is None)

    def with_levels(self, levels: Mapping[FetchLevel, str]) -> Table:
        """Return the table as a source serves it that fetches these fields, named in one string each, by level."""
        by_name = {name: level for level, names in levels.items() for name in names.split()}
        return self.replace(fields=tuple(field.replace(level=by_name.get(field.name)) for field in self.fields))

    def find_relation(self, name: str) -> Relation | None:
        """Return the relation of this name."""
        folded = casefold_name(name)
        return next((relation for relation in self.relations if casefold_name(relation.name) == folded), None)

    def find_field(self, name: str) -> Field | None:
        """Return the field of this name or alias, without regard to case and underscores."""
        folded = casefold_name(name)
        for field in self.fields:
            if folded == casefold_name(field.name) or any(folded == casefold_name(alias) for alias in field.aliases):
                return field
        return None

    def get_field(self, name: str, span: Span | None = None) -> Field:
        """Return the field of this name or alias; else raise `UnknownName` with the nearest."""
        if (field := self.find_field(name)) is not None:
            return field
        names = [field.name for field in self.fields]
        problem = UnknownName(
            f'{self.name} have no field "{name}"',
            code="unknown-field",
            span=span,
            hints=(
                closest_hint(name, [*names, *(a for f in self.fields for a in f.aliases)])
                or f"fields: {join_names(names)}",
            ),
        )
        problem.name = name
        raise problem


def casefold_name(name: str) -> str:
    """Return a name as it is compared: `DownloadSize`, `download_size` and `DOWNLOAD_SIZE` are one."""
    return name.replace("_", "").lower()
