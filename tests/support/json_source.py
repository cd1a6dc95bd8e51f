"""A source of images in a JSON file: all that a further source takes, in one file and one line of a table.

The file is a list of objects: name, created (nanoseconds), size, labels and layers (sizes).
A listing returns the names; `created` is the first level to fetch, `size` and `label` the second.
Every fetch is recorded in `FETCHED`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from imq.engine.catalog.schema import FetchLevel, Relation
from imq.engine.catalog.tables import IMAGES, LAYERS
from imq.engine.query.source import Place, ScanRequest, Source, SourceRef, StagedTable
from imq.engine.sources.action import Outcome
from imq.engine.sources.scan_rows import ScanRows
from imq.grammar import ast
from imq.grammar.errors import NotFound
from imq.grammar.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.query.source import FetchRequest
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.context import SourceContext

FETCHED: list[tuple[str, list[str]]] = []
CREATED = FetchLevel("created", "the times", "1 request for each")
DETAILS = FetchLevel("details", "the sizes and labels", "2 requests for each")
LAYERS_OF = Relation("layers", "layers", "its layers", "lookup name", lookup_fields=("name",))
TABLES = {
    "images": IMAGES.replace(relations=(LAYERS_OF,)).with_levels({CREATED: "created", DETAILS: "size label"}),
    "layers": LAYERS.with_levels({}),
}


class RemoveFromFile(Record):
    """Remove the image of a name from the file."""

    path: str
    name: str

    def describe(self) -> Outcome:
        return Outcome("remove", self.name)

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        images = read_images(self.path)
        remaining = [image for image in images if image["name"] != self.name]
        if len(remaining) == len(images):
            raise NotFound(f"{self.name} is gone", code="changed")
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(remaining, file)
        yield self.describe()


def read_images(path: str) -> list[dict[str, Any]]:
    """Return the images of a file."""
    with open(path, encoding="utf-8") as file:
        return list(json.load(file))


class Images(ScanRows):
    """The rows of `images`."""

    columns = ("name", "repository", "tag", "source")
    fetched_columns = ("created", "size", "label")

    def __init__(self, source: JsonSource, request: ScanRequest) -> None:
        super().__init__(source.context.store.index.connection, request)
        self._images = {image["name"]: image for image in read_images(source.path)}

    def list_rows(self, _names: Any, /) -> None:
        self.create({"dangling": "0"})
        self.insert((name, *name.split(":"), "test", None) for name in self._images)

    def fetch(self, request: FetchRequest, /) -> None:
        """Copy the fields of the level for the chosen rows."""
        rows = self.read_selected("1", "_row, name")
        FETCHED.append((request.level.name, sorted(str(name) for _, name in rows)))
        for field in ("created",) if request.level is CREATED else ("size", "label"):
            values = ((self._images[name].get(field), row) for row, name in rows)
            text = f"UPDATE temp.{self.rows} SET {field} = ? WHERE _row = ?"
            self.connection.executemany(text, ((json.dumps(v) if field == "label" else v, row) for v, row in values))


class Layers(Images):
    """The rows of `layers`, which are looked up by the name of an image."""

    columns = ("_lookup", "index", "size", "source")
    fetched_columns = ()

    def list_rows(self, names: Any, /) -> None:
        self.create({})
        for (name,) in [*((target,) for target in self.scan.targets), *names]:
            sizes = enumerate(self._images[name]["layers"])
            self.insert((name, index, size, "test", None) for index, size in sizes)


class JsonSource(Source):
    """The source `test`; the file is the value of TEST_IMAGES in the environment of the session."""

    name = "test"

    def __init__(self, context: SourceContext) -> None:
        self.context = context
        self.path = str(context.environment["TEST_IMAGES"])
        scans = {"images": Images, "layers": Layers}
        self.tables = {
            name: StagedTable(table, (CREATED, DETAILS), "1 request", "1 request", partial(scans[name], self), True)
            for name, table in TABLES.items()
        }
        self.planners = {"rm": self._plan_rm}

    def _plan_rm(self, act: ast.Act, context: PlanContext) -> list[Action]:
        assert act.query is not None
        query = ast.Query("", base=act.query, select=(ast.Column(ast.Field(("name",))),), span=act.query.span)
        return [RemoveFromFile(self.path, str(name)) for (name,) in context.rows(query, ())[1]]

    def resolve(self, text: str) -> SourceRef | None:
        return SourceRef(text, self.name, self.path) if text == self.name else None

    def list_names(self) -> tuple[str, ...]:
        return (self.name,)

    def has_target(self, target: str) -> bool:
        return any(image["name"] == target for image in read_images(self.path))

    def match_name(self, text: str) -> ast.Expr:
        return ast.Comparison("=", ast.Field(("name",)), ast.Literal(text, quoted=True))

    def list_places(self) -> tuple[Place, ...]:
        return (Place(self.name, "a JSON file", self.path, len(read_images(self.path))),)


open_source = JsonSource
