"""The output format `dot`: a graph for Graphviz."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .format_tree import list_names, nest_images
from .text_table import replace_controls
from .values import format_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.result import RowSet

    from .format_tree import ImageNode
    from .values import DisplayOptions

_HEAD = 'digraph imq {\n  rankdir=LR;\n  node [shape=box, fontname="sans-serif"];\n'
_SIZES = ("size", "unique_size")


def write_dot(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield a directed graph.

    An image is a node with its names and sizes. An edge leads from a base to an image that is based on it; its label is
    the number of layers on top. In other rows, each value is a node below the value of the column before it.
    """
    yield _HEAD
    if row_set.table is not None and row_set.table.tree_fields == list_names(row_set.columns):
        sizes = [at for at, column in enumerate(row_set.columns) if column.name in _SIZES]
        rows = row_set.replace(rows=list(row_set.rows))
        for images in nest_images(rows, sizes, options).values():
            for image in images:
                yield from _write_image(image, None)
    else:
        yield from _write_paths(format_rows(row_set, options))
    yield "}\n"


def _write_image(image: ImageNode, base: ImageNode | None) -> Iterator[str]:
    node = _quote(image.key)
    label = _quote("\n".join((*image.names, " / ".join(filter(None, image.cells[:-1])))))
    yield f"  {node} [label={label}];\n"
    if base is not None:
        yield f'  {_quote(base.key)} -> {node} [label="{len(image.chains) - len(base.chains)}"];\n'
    for child in image.children:
        yield from _write_image(child, image)


def _write_paths(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the nodes and edges of rows: two rows share a node when they have the same values up to its column."""
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        for depth, cell in enumerate(row, 1):
            path = tuple(row[:depth])
            if path in seen:
                continue
            seen.add(path)
            yield f"  {_quote(_join(path))} [label={_quote(cell)}];\n"
            if depth > 1:
                yield f"  {_quote(_join(path[:-1]))} -> {_quote(_join(path))};\n"


def _join(path: tuple[str, ...]) -> str:
    """Return the name of the node of these values; no two lists of values have the same one."""
    return "/".join(f"{len(value)}:{value}" for value in path)


def _quote(text: str) -> str:
    lines = (replace_controls(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'
