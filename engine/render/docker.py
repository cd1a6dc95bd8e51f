"""Answers in docker's own text: its tables, its placeholders, its JSON.

Docker writes every value as a text, cuts ids to 12 digits unless told otherwise, and aligns with Go's tabwriter: a
column is as wide as its widest cell and three blanks, at least ten; the last cell of a line is followed by nothing.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, casefold_name
from imq.engine.oci.timestamp import write_time
from imq.engine.units.size import human_size_exact
from imq.grammar.record import TYPE_CHECKING, Record

from .template_row import Row
from .text_table import GAP, LEAST, clean, width
from .values import STYLES, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import RowSet

    from .values import Manner

MISSING = "<missing>"
"""What docker shows for the id of a step whose image is not here as one of its own."""
_LONGEST_COMMAND = 45
_NOT_APPLICABLE = "N/A"


class Place(Record):
    """One of docker's placeholders: its key, its title, and how it is shown, given a row's values by their names."""

    key: str
    title: str
    show: Callable[[Mapping[str, Raw], Manner], str]


def _of(field: str, show: Callable[[Raw, Manner], str]) -> Callable[[Mapping[str, Raw], Manner], str]:
    return lambda values, manner: show(values.get(field), manner)


def _styled(field: str, style: str) -> Callable[[Mapping[str, Raw], Manner], str]:
    return lambda values, manner: str(STYLES[style](values.get(field), manner))


def _no_value(_values: Mapping[str, Raw], _manner: Manner) -> str:
    return _NOT_APPLICABLE


def _id(raw: Raw, manner: Manner) -> str:
    return text(DataType.DIGEST, raw, manner)


def _exact(raw: Raw, _manner: Manner) -> str:
    return _NOT_APPLICABLE if raw is None else human_size_exact(int(raw))


def _share(values: Mapping[str, Raw], manner: Manner) -> str:
    """Return what can be reclaimed and its share of the whole, which docker leaves out of the build cache's."""
    spare, size = values.get("reclaimable"), values.get("size")
    said = _exact(spare, manner)
    if not size or spare is None or values.get("type") == "Build Cache":
        return said
    return f"{said} ({int(spare) * 100 // int(size)}%)"


def _plain(raw: Raw, _manner: Manner) -> str:
    return "" if raw is None else str(raw)


def _step(raw: Raw, manner: Manner) -> str:
    return MISSING if raw is None else text(DataType.DIGEST, raw, manner)


def _command(raw: Raw, manner: Manner) -> str:
    """Return a step's command in one line, cut as docker cuts it."""
    shown = _plain(raw, manner).replace("\t", " ")
    if manner.whole or width(shown) <= _LONGEST_COMMAND:
        return shown
    return shown[: _LONGEST_COMMAND - 1] + "…"


def _moment(raw: Raw, _manner: Manner) -> str:
    return _NOT_APPLICABLE if raw is None else write_time(int(raw) // 1_000_000_000 * 1_000_000_000)


IMAGES = (
    Place("Containers", "CONTAINERS", _no_value),
    Place("CreatedAt", "CREATED AT", _styled("created", "go-time")),
    Place("CreatedSince", "CREATED", _styled("created", "ago")),
    Place("Digest", "DIGEST", _styled("digest", "or-none")),
    Place("ID", "IMAGE ID", _of("id", _id)),
    Place("Repository", "REPOSITORY", _styled("repository", "or-none")),
    Place("SharedSize", "SHARED SIZE", _no_value),
    Place("Size", "SIZE", _styled("size", "size")),
    Place("Tag", "TAG", _styled("tag", "or-none")),
    Place("UniqueSize", "UNIQUE SIZE", _no_value),
    Place("VirtualSize", "SIZE", _of("size", _exact)),
)
"""The placeholders of `docker images`. What only `docker system df -v` knows is not applicable here, as in docker."""

MEASURED = tuple(
    {
        "Containers": Place("Containers", "CONTAINERS", _of("containers", _plain)),
        "SharedSize": Place("SharedSize", "SHARED SIZE", _of("shared_size", _exact)),
        "UniqueSize": Place("UniqueSize", "UNIQUE SIZE", _of("unique_size", _exact)),
    }.get(place.key, place)
    for place in IMAGES
)
"""Those of the images in `docker system df -v`."""

HISTORY = (
    Place("Comment", "COMMENT", _of("comment", _plain)),
    Place("CreatedAt", "CREATED AT", _of("created", _moment)),
    Place("CreatedBy", "CREATED BY", _of("created_by", _command)),
    Place("CreatedSince", "CREATED", _styled("created", "ago")),
    Place("ID", "IMAGE", _of("image", _step)),
    Place("Size", "SIZE", _styled("size", "size")),
)
"""The placeholders of `docker history`."""

HISTORY_EXACT = tuple(
    {
        "CreatedSince": Place("CreatedSince", "CREATED AT", _of("created", _moment)),
        "Size": Place("Size", "SIZE", _of("size", _plain)),
    }.get(place.key, place)
    for place in HISTORY
)
"""Those of `docker history --human=false`: times and bytes as they are."""

USAGE = (
    Place("Active", "ACTIVE", _of("active", _plain)),
    Place("Reclaimable", "RECLAIMABLE", _share),
    Place("Size", "SIZE", _of("size", _exact)),
    Place("TotalCount", "TOTAL", _of("total", _plain)),
    Place("Type", "TYPE", _of("type", _plain)),
)
"""The placeholders of `docker system df`."""

_LONGEST_DESCRIPTION = 45


def _described(raw: Raw, manner: Manner) -> str:
    """Return a description in one line, cut as docker cuts it."""
    shown = _plain(raw, manner).replace("\n", " ").replace("\r", " ")
    if manner.whole or width(shown) <= _LONGEST_DESCRIPTION:
        return shown
    return shown[: _LONGEST_DESCRIPTION - 1] + "…"


def _true_or_false(raw: Raw, _manner: Manner) -> str:
    return "true" if raw else "false"


def _stars(raw: Raw, _manner: Manner) -> str:
    return str(raw or 0)


SEARCH = (
    Place("Description", "DESCRIPTION", _of("description", _described)),
    Place("IsAutomated", "AUTOMATED", _of("automated", lambda raw, _: "[OK]" if raw else "")),
    Place("IsOfficial", "OFFICIAL", _of("official", lambda raw, _: "[OK]" if raw else "")),
    Place("Name", "NAME", _of("name", _plain)),
    Place("StarCount", "STARS", _of("stars", _stars)),
)
"""The placeholders of `docker search`."""

SEARCH_JSON = tuple(
    place.replace(show=_of({"IsAutomated": "automated", "IsOfficial": "official"}[place.key], _true_or_false))
    if place.key.startswith("Is")
    else place
    for place in SEARCH
)
"""Those of its JSON, where docker writes true and false."""

RAW = (
    "repository: {{.Repository}}\ntag: {{.Tag}}\n"
    "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
)
RAW_WITH_DIGEST = RAW.replace("image_id:", "digest: {{.Digest}}\nimage_id:")
RAW_QUIET = "image_id: {{.ID}}"
"""The forms that `docker images --format raw` stands for."""


class DockerRow:
    """One row as docker's templates see it: texts by docker's names; what docker does not know is imq's own field."""

    __slots__ = ("_manner", "_places", "_row", "_values")

    def __init__(self, answer: RowSet, raw: tuple[Raw, ...], places: Sequence[Place], manner: Manner) -> None:
        self._values = {heading.name: value for heading, value in zip(answer.columns, raw, strict=True)}
        self._row = Row(answer.columns, raw, answer.table, manner)
        self._places = places
        self._manner = manner

    def shown(self, place: Place) -> str:
        """Return the text of a placeholder."""
        return place.show(self._values, self._manner)

    def lookup(self, name: str) -> object:
        """Return what a template's `.name` shows; raises `KeyError` when the row has no such thing."""
        wanted = casefold_name(name)
        for place in self._places:
            if casefold_name(place.key) == wanted:
                return self.shown(place)
        return self._row.lookup(name)

    def data(self) -> dict[str, object]:
        """Return all of docker's placeholders, for `json .`."""
        return {place.key: self.shown(place) for place in self._places}


def docker_rows(answer: RowSet, places: Sequence[Place], manner: Manner) -> Iterator[DockerRow]:
    """Yield the rows of an answer as docker's templates see them."""
    return (DockerRow(answer, raw, places, manner) for raw in answer.rows)


def docker_table(rows: Iterable[DockerRow], places: Sequence[Place], keys: Sequence[str]) -> Iterator[str]:
    """Yield a table with these of the placeholders."""
    by_key = {place.key: place for place in places}
    chosen = [by_key[key] for key in keys]
    lines = [[place.title for place in chosen]]
    lines += [[clean(row.shown(place)) for place in chosen] for row in rows]
    return aligned(lines)


def docker_template(rows: Iterable[DockerRow], places: Sequence[Place], source: str) -> Iterator[str]:
    """Yield each row through a template; `table …` aligns its columns under docker's titles."""
    from imq.engine.render.template.template import Template, expand_escapes, split_table

    tabular, body = split_table(source)
    template = Template.parse(expand_escapes(body))
    if not tabular:
        for row in rows:
            yield template.render(row) + "\n"
        return
    titles = {casefold_name(place.key): place.title for place in places}

    def title(path: tuple[str, ...]) -> str:
        return titles.get(casefold_name(path[0]), path[-1].upper().replace("_", " "))

    texts = [template.headers(title), *(template.render(row) for row in rows)]
    yield from aligned([[clean(cell) for cell in line.split("\t")] for each in texts for line in each.split("\n")])


def docker_json(rows: Iterable[DockerRow]) -> Iterator[str]:
    """Yield one object a line, as `--format json`: all values are texts, and `<` `>` `&` are escaped as Go does."""
    import json

    for row in rows:
        line = json.dumps(row.data(), ensure_ascii=False, separators=(",", ":"))
        yield line.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") + "\n"


def aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines whose cells stand under each other as Go's tabwriter puts them.

    A column is a run of lines that have a cell there and another after it.
    """
    widths: list[list[int]] = [[0] * len(line) for line in lines]
    for column in range(max(map(len, lines), default=0)):
        run: list[int] = []
        for number in range(len(lines) + 1):
            if number < len(lines) and len(lines[number]) > column + 1:
                run.append(number)
                continue
            wide = max([LEAST, *(width(lines[member][column]) + len(GAP) for member in run)])
            for member in run:
                widths[member][column] = wide
            run = []
    for line, wides in zip(lines, widths, strict=True):
        yield "".join(cell + " " * (wide - width(cell)) for cell, wide in zip(line, wides, strict=True)) + "\n"


def reclaimed(size: int) -> str:
    """Return how docker tells what a prune brought."""
    return f"Total reclaimed space: {human_size_exact(size)}\n"
