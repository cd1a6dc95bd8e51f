"""Tables, fields and relations: one declaration each, from which binding, help, output and completion follow."""

from __future__ import annotations

from enum import Enum

from imq.grammar.errors import UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imq.grammar.errors import Span


class DataType(Enum):
    """The type of a value. Errors and help use the value of the member."""

    TEXT = "a string"
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
    PACKAGE_VERSION = "a package version"
    PLATFORM = "a platform"
    LIST = "a list of strings"
    MAP = "a map of strings"

    @property
    def is_version(self) -> bool:
        """Whether SQLite holds values of this type with a sort key before the text."""
        return self in (DataType.VERSION, DataType.PACKAGE_VERSION)


class FetchLevel(Record):
    """A group of fields that a source fetches together for rows that it has listed.

    `content` and `requests` are the words of `explain`: the documents that are fetched, and the number of requests.
    Each source declares its own levels in order (see query/source.py).
    """

    name: str
    content: str
    requests: str


class TargetKind(Enum):
    """The operands of `TABLE of`. Errors and help use the value of the member."""

    NOTHING = "nothing"
    IMAGES = "images"
    FILE = "a file"
    REPOSITORIES = "repositories"
    NAMES = "names in registries"
    TERM = "a word to search for"
    CONTAINERS = "containers"


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

    - `doc` is its help; `aliases` are further names.
    - `docker_placeholders` maps docker's template names to how they show the field (see render/values.py). The name of
      the field works in templates too, with or without underscores.
    - `level` is the fetch level of the field in a staged table.
    - `optional_suffix` may be omitted when a value is compared with an item of the list: the protocol of a port.
    - `items` is the type of the items of a list.
    - `computed_from` is the SQL function, the other field and the part of its result that give the value; such a field
      is not stored.
    - `normalise` returns the form that a value in a statement has in this field, and raises `StatementError`.
    - `has_algorithm`: a digest begins with its algorithm; the IDs of containers are hex digits alone.
    - `takes_any_text`: a digest may be any text, as the IDs that clients of containerd choose for containers.
    - `values` are the only values of the field, where these are few; `prefix` is what every value begins with.
    - `about_containers`: only container engines know the value.
    - `is_optional`: an object may lack the value, so that a query does not report the rows that it leaves out for it.
    - `is_unavailable`: the source of this table knows the value of no row.
    - `empty_is_unknown`: an empty string in a document means that there is no value, so that `= ""` is `is unknown`.
    - `config` is where an image config holds the value.
    - `search_column`: the source searches the value for `like`, `matches` and `has` with a constant where it is, and
      the hidden column of this name has the results (see query/searches.py).
    - `shown_items`: a table shows so many items of a list at most, and the number of the others; 0: all.
    - `on_request`: `select *` and formats with all fields leave it out, because it is large or slow to read.
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
    prefix: str = ""
    normalise: Callable[[str], str] | None = None
    has_algorithm: bool = True
    takes_any_text: bool = False
    about_containers: bool = False
    is_optional: bool = False
    is_unavailable: bool = False
    empty_is_unknown: bool = False
    config: FromConfig | None = None
    on_request: bool = False
    shown_items: int = 0
    search_column: str = ""

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
    """A value as SQLite returns it."""

DERIVED = "="
"""The `view` of a table that is the result of a query in the statement."""


class Relation(Record):
    """Rows of another table that belong to a row: `any layers where …`, `count(layers)`, `base.name`.

    - `join` selects the join condition of the SQL generator. `is_many`: a row can have several.
    - `item_name` and `item_fields` are for `has layer D`: D is the value of one of these fields.
    - `lookup_fields` are the fields of the outer row by which rows are looked up in a registry. `join` is then
      `lookup`, the first of them, and the fields that are equal in both rows, as `INNER=OUTER` where their names
      differ.
    - `is_of_same_source`: the rows are those of the table in the sources of the outer row. `join` is then `fields` and
      the equal fields, written as for `lookup`.
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
    is_of_same_source: bool = False

    def list_equal_fields(self) -> tuple[tuple[str, str], ...]:
        """Return the fields by which rows of the same source are joined: of the relation, and of the outer row."""
        return parse_equal_fields(self.join) if self.is_of_same_source else ()


def parse_equal_fields(join: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of a join `fields INNER=OUTER SAME …`; of any other join, none."""
    kind, _, names = join.partition(" ")
    if kind != "fields":
        return ()
    return tuple((name.partition("=")[0], name.rpartition("=")[2]) for name in names.split())


def make_registry_relation(field: str) -> Relation:
    """Return the relation from the name in this field to the tag of its registry."""
    doc = "the current tag of this name in its registry"
    return Relation("remote", "tags", doc, f"lookup {field}", is_many=False, lookup_fields=(field,), source="registry")


def make_content_relations(field: str, second: str = "source", *, owner: str = "image") -> tuple[Relation, ...]:
    """Return the relations from the image in this field to what the image contains; `owner` may be a container.

    It is looked up by this field and a `second` one: its source, or the digest of its manifest.
    """
    lookup, fields = f"lookup {field} source", (field, second)
    in_place = f"lookup {field} place=source"
    return (
        Relation("files", "files", f"the files of the {owner}", lookup, lookup_fields=fields),
        Relation("all_files", "all_files", "the files in its layers, hidden ones too", lookup, lookup_fields=fields),
        Relation("archive_files", "archive_files", "the files and members of archives", lookup, lookup_fields=fields),
        Relation("packages", "packages", "the packages installed in it", in_place, lookup_fields=fields),
        Relation("texts", "texts", "the lines of text in its files and settings", lookup, lookup_fields=fields),
        Relation("waste", "waste", "what its layers waste", in_place, is_many=False, lookup_fields=fields),
        Relation("os_release", "os_releases", "its operating system", in_place, is_many=False, lookup_fields=fields),
    )


class Table(Record):
    """One table.

    - `default_columns` are the columns of a query without `select`.
    - `order` is the default order; `-` before a field: descending.
    - `has_ordered_index`: the store has an SQL index of its rows in that order.
    - `range_field`: the field of which few rows of the store are above a bound, and which has an SQL index.
    - `key` are the fields that identify a row when the rows of two queries are compared.
    - `target` is the operand of `of`: images, a file (required then), or nothing.
    - `is_staged`: rows are listed first, and fields are fetched level by level.
    - `view` is the name in SQL when it differs from `name`.
    - `source_kind` is what the source is, for messages about fields that it cannot know: "a registry".
    - `has_containers`: the source runs containers, so that what the fields say of them is all that there is.
    - `target_fields` are the fields of the rows of a query after `of` that the source needs.
    - `tree_fields` are those of the output format `tree` when its rows are nested by their lineage.
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
    source_kind: str = ""
    has_containers: bool = False
    target_fields: tuple[str, ...] = ()
    tree_fields: tuple[str, ...] = ()
    has_ordered_index: bool = False
    range_field: str = ""

    @property
    def sql_name(self) -> str:
        """The name of the table in SQL."""
        return self.view or self.name

    @property
    def output_fields(self) -> tuple[Field, ...]:
        """The fields of `select *` and of formats with all fields."""
        return tuple(field for field in self.fields if not field.on_request)

    @property
    def stored_fields(self) -> tuple[Field, ...]:
        """The fields that are columns in SQL: those that are not computed from others."""
        return tuple(field for field in self.fields if field.computed_from is None)

    def with_levels(self, levels: Mapping[FetchLevel, str]) -> Table:
        """Return the table with fetch levels. `levels` maps a level to the names of its fields, separated by spaces."""
        by_name = {name: level for level, names in levels.items() for name in names.split()}
        return self.replace(
            fields=tuple(
                [
                    field if field.level is (level := by_name.get(field.name)) else field.replace(level=level)
                    for field in self.fields
                ]
            )
        )

    def find_relation(self, name: str) -> Relation | None:
        """Return the relation of this name; None when there is none."""
        folded = casefold_name(name)
        return next((relation for relation in self.relations if casefold_name(relation.name) == folded), None)

    def find_field(self, name: str) -> Field | None:
        """Return the field of this name or alias, ignoring case and underscores; None when there is none."""
        folded = casefold_name(name)
        for field in self.fields:
            if folded == casefold_name(field.name) or any(folded == casefold_name(alias) for alias in field.aliases):
                return field
        return None

    def get_field(self, name: str, span: Span | None = None) -> Field:
        """Return the field of this name or alias. Raises `UnknownName` with a suggestion."""
        if (field := self.find_field(name)) is not None:
            return field
        names = [field.name for field in self.fields]
        if (relation := self.find_relation(name)) is not None:
            form = f"count({relation.name})" if relation.is_many else f"{relation.name}.FIELD"
            hint = f"{relation.name} is a relation: write {form}, or any {relation.name} where …"
        elif (field := next((one for one in self.fields if name.lower() in one.values), None)) is not None:
            hint = f"for the value: {field.name} = {name.lower()}"
        else:
            hint = closest_hint(name, [*names, *(a for f in self.fields for a in f.aliases)])
        problem = UnknownName(
            f'{self.name} have no field "{name}"',
            code="unknown-field",
            span=span,
            hints=(hint or f"fields: {join_names(names)}",),
        )
        problem.name = name
        raise problem


def casefold_name(name: str) -> str:
    """Return a name without case and underscores: `DownloadSize` and `download_size` are the same name."""
    return name.replace("_", "").lower()
