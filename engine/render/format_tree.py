"""The output format `tree`: images nested by their bases, and other rows grouped by their leading columns."""

from __future__ import annotations

from imq.engine.catalog.json_values import parse_json
from imq.engine.catalog.schema import DataType
from imq.engine.units.bars import draw_split_bar
from imq.grammar.record import TYPE_CHECKING, Record

from .lineage import find_bases
from .text_table import align_columns, fit_columns
from .values import NONE_TEXT, format_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import Column, RowSet

    from .values import DisplayOptions

    Branches = dict[str, "Branches"] | list[str]
    """The children of a value: the values of the next column, or at the last level the lines of rows."""


class _Marks(Record):
    """How the children of a value are drawn: the marks before the last and the other ones, and before what is below."""

    inner: tuple[str, str]
    last: tuple[str, str]


_MARKS = _Marks(("├── ", "│   "), ("└── ", "    "))
_ASCII_MARKS = _Marks(("|-- ", "|   "), ("`-- ", "    "))
_BARS = ("█ UNIQUE ░ SHARED", "# UNIQUE - SHARED")
"""The title of the bars, with the characters of Unicode and of ASCII."""
_CUT_NAME = 20
"""The width in columns to which a terminal cuts the names of images."""
_SHORTEST_NAME = 12
"""The width in columns to which a very narrow terminal cuts them."""
_NARROWER = (
    ((), None),
    (("IMAGE ID",), None),
    ((), _CUT_NAME),
    (("IMAGE ID",), _CUT_NAME),
    (("IMAGE ID", *_BARS), None),
    (("IMAGE ID", *_BARS), _CUT_NAME),
    (("IMAGE ID", "UNIQUE", "SHARED", *_BARS), _SHORTEST_NAME),
)
"""The columns that narrower and narrower terminals omit, and the width to which they cut names."""
_SHORT = 12
"""The digits of a short digest in a name."""
_SIZES = {"size": "SIZE", "unique_size": "UNIQUE", "shared_size": "SHARED"}
"""The sizes of images, with the titles of their columns."""
_LEVEL_TYPES = frozenset(
    {DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.DIGEST, DataType.BOOLEAN}
)
"""Types whose values can be levels of the tree. Sizes and times belong to one row."""


def write_tree(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield rows as a tree, as the command `tree` draws it. Images are nested by their bases, see `nest_images`.

    The leading columns in which rows share values are levels. The other columns are aligned on the line of their row.
    Values and rows keep their order. The levels depend on all rows, so all rows are held in memory.
    """
    rows = list(row_set.rows)
    marks = _ASCII_MARKS if options.ascii else _MARKS
    if row_set.table is not None and list_names(row_set.columns) == row_set.table.tree_fields:
        return _write_images(row_set.replace(rows=rows), options, marks)
    lines = list(format_rows(row_set.replace(rows=rows), options))
    levels = _count_levels(row_set.columns, rows)
    top: Branches = {} if levels else []
    for line, leaf in zip(lines, align_columns([line[levels:] for line in lines]), strict=True):
        under = top
        for depth, value in enumerate(line[:levels], 1):
            assert isinstance(under, dict)
            under = under.setdefault(value or NONE_TEXT, {} if depth < levels else [])
        assert isinstance(under, list)
        under.append(leaf)
    return _draw(top, marks)


def _count_levels(columns: Sequence[Column], rows: Sequence[tuple[Raw, ...]]) -> int:
    """Return the number of leading columns in which at least two rows share a known value."""
    levels = 0
    for index, column in enumerate(columns[:-1]):
        prefixes = [row[: index + 1] for row in rows if row[index] is not None]
        if column.type not in _LEVEL_TYPES or len(set(prefixes)) == len(prefixes):
            break
        levels += 1
    return levels


def _draw(under: Branches, marks: _Marks, indent: str | None = None) -> Iterator[str]:
    """Yield the lines of the children of a value. `indent` is the start of their lines, None for the roots."""
    last = len(under) - 1
    for number, value in enumerate(under):
        mark, stem = ("", "") if indent is None else marks.last if number == last else marks.inner
        yield (indent or "") + mark + value.rstrip("\n") + "\n"
        if isinstance(under, dict):
            yield from _draw(under[value], marks, (indent or "") + stem)


# Images by their bases


class ImageNode:
    """One image: its names, its values, the chain IDs of its layers, and the images that are based on it.

    `key` is the source and the ID of the image, which no other image has.
    """

    def __init__(self, cells: list[str], chains: Sequence[str], key: str = "") -> None:
        self.key = key
        self.names: list[str] = []
        self.cells = cells
        self.chains = chains
        self.children: list[ImageNode] = []


def list_names(columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the name of the field of each column, "" for a column that is not a field."""
    return tuple(column.field.name if column.field is not None else "" for column in columns)


def _write_images(row_set: RowSet, options: DisplayOptions, marks: _Marks) -> Iterator[str]:
    """Yield images under a line of titles. Columns that are unknown or empty in all rows are left out.

    Where unique sizes are known, a bar shows the bytes of an image; those that it alone has are first.
    """
    rows = list(row_set.rows)
    known = [at for at, name in enumerate(list_names(row_set.columns)) if name in _SIZES]
    known = [at for at in known if any(row[at] is not None for row in rows)]
    lines = [["IMAGE", "IMAGE ID", *(_SIZES[row_set.columns[at].name] for at in known), "NOTE"]]
    bars = _draw_bars(row_set.columns, rows, options)
    if bars:
        lines[0].insert(-1, _BARS[options.ascii])
    by_source = nest_images(row_set.replace(rows=rows), [1, *known], options, bars)
    for source, images in by_source.items():
        roots: list[ImageNode] = images
        if len(by_source) > 1:
            place = ImageNode([""] * (len(lines[0]) - 1), ())
            place.names, place.children, roots = [source], images, [place]
        for root in roots:
            lines += _draw_image(root, marks, "", "")
    if not any(line[-1] for line in lines[1:]):
        lines = [line[:-1] for line in lines]
    if rows:
        yield from _fit(lines, options.width if not options.no_trunc else None)


def _fit(lines: list[list[str]], width: int | None) -> Iterator[str]:
    """Return the lines of the images. On a narrow terminal, columns are left out and names are cut until they fit."""
    if width is not None:
        for omitted, name_width in _NARROWER:
            kept = [at for at, title in enumerate(lines[0]) if title not in omitted]
            table = [[line[at] for at in kept] for line in lines]
            smallest = [name_width, *[None] * (len(kept) - 1)]
            if (found := fit_columns(table, width, smallest)) is not None:
                return found
    return align_columns(lines)


def _draw_bars(columns: Sequence[Column], rows: Sequence[tuple[Raw, ...]], options: DisplayOptions) -> list[str]:
    """Return the bar of each row, as long as the bytes of the image are; empty when no unique size is known."""
    names = list_names(columns)
    sizes = [(int(row[names.index("size")] or 0), row[names.index("unique_size")]) for row in rows]
    largest = max((size for size, unique in sizes if unique is not None), default=0)
    if not largest:
        return []
    return [
        "" if unique is None else draw_split_bar(int(unique), size, largest, ascii_only=options.ascii)
        for size, unique in sizes
    ]


def nest_images(
    row_set: RowSet, shown: Sequence[int], options: DisplayOptions, bars: Sequence[str] = ()
) -> dict[str, list[ImageNode]]:
    """Return the images of each source that have no base among the rows, with those that are based on them.

    Of images with the same layers the first one is the base of others, and the next ones say so. Images keep the order
    of their first rows.
    """
    places = {column.name: at for at, column in enumerate(row_set.columns)}
    images: dict[tuple[str, str], ImageNode] = {}
    tops: dict[tuple[str, str], ImageNode] = {}
    roots: dict[str, list[ImageNode]] = {}
    for number, (row, cells) in enumerate(zip(row_set.rows, format_rows(row_set, options), strict=True)):
        source, id_ = str(row[places["source"]]), str(row[places["id"]] or number)
        image = images.get((source, id_))
        if image is None:
            chains = parse_json(row[places["chain_ids"]])
            shown_cells = [*(cells[at] for at in shown), *bars[number : number + 1], ""]
            image = images[source, id_] = ImageNode(shown_cells, chains, f"{source}/{id_}")
            roots.setdefault(source, [])
            if chains:
                first = tops.setdefault((source, chains[-1]), image)
                if first is not image:
                    image.cells[-1] = f"the layers of {first.names[0]}"
        name, at, digest = cells[places["name"]].partition("@sha256:")
        image.names.append(name + at + (digest if options.no_trunc else digest[:_SHORT]))
    listed = [(source, image) for (source, _), image in images.items()]
    for (source, image), base in zip(
        listed, find_bases([(source, image.chains) for source, image in listed]), strict=True
    ):
        (roots[source] if base is None else listed[base][1].children).append(image)
    return roots


def _draw_image(image: ImageNode, marks: _Marks, mark: str, indent: str) -> Iterator[list[str]]:
    """Yield the cells of an image and of those that are based on it."""
    yield [mark + ", ".join(image.names), *image.cells]
    last = len(image.children) - 1
    for number, child in enumerate(image.children):
        branch, stem = marks.last if number == last else marks.inner
        yield from _draw_image(child, marks, indent + branch, indent + stem)
