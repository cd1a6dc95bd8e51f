"""The output format `svg`: a picture of images and of the layers that they share.

A node is an image, or layers that several images have as their lowest ones while no image consists of them. An edge
goes from lower layers to the images and layers above them.
"""

from __future__ import annotations

from itertools import pairwise

from imq.engine.catalog.json_values import parse_json
from imq.engine.units.size import human_size
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .text_table import replace_controls
from .values import NONE_TEXT, format_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.result import RowSet

    from .values import DisplayOptions

_SHORT = 12
"""The digits of a short digest in a name."""
_ROW, _STEP, _MARGIN, _BAR = 26, 28, 16, 160
"""The height of a row, the indent of a level, the space around all, and the longest bar, in pixels."""
_LETTER = 7.3
"""The width of a letter at 12 pixels, in pixels: an estimate for the width of the picture."""
_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1b2330}.soft{fill:#566072}"
    ".edge{stroke:#b9c0cc;fill:none}"
    ".node{fill:#3d78c9}.shared{fill:#c3d6f2}.unique{fill:#1b4a8f}.back{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6eaf0}.soft{fill:#a0aabb}.edge{stroke:#5a6475}.back{fill:#1b212b}"
    ".shared{fill:#3b639c}.unique{fill:#a9cbff}}"
)


class Node(Record):
    """An image, or layers without an image. `names` are those of the image; sizes are in bytes, None: unknown.

    `parent` is the position of the node below, None without one; `layers` is the number of layers.
    """

    names: tuple[str, ...]
    size: int | None
    unique_size: int | None
    layers: int
    parent: int | None

    @property
    def label(self) -> str:
        """The names, else what the node is."""
        return ", ".join(self.names) or f"{self.layers} shared layer{'s' if self.layers != 1 else ''}"


def write_svg(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield the graph as a picture: a tree with bars of the bytes of images, those that they alone have first."""
    from html import escape

    nodes = build_graph(row_set, options)
    depths: list[int] = []
    for node in nodes:
        depths.append(0 if node.parent is None else depths[node.parent] + 1)
    order = _order_as_tree(nodes)
    rows = {number: row for row, number in enumerate(order)}
    longest = max(
        (_STEP * depth + _LETTER * len(node.label) for depth, node in zip(depths, nodes, strict=True)), default=0
    )
    bars = _MARGIN * 3 + longest
    width, height = round(bars + _BAR + 260), max(1, len(nodes)) * _ROW + _MARGIN * 2
    largest = max((node.size or 0 for node in nodes), default=0)
    count = f"{len(nodes)} image{'s' if len(nodes) != 1 else ''}"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img"><title>{count} and shared layers</title><style>{_STYLE}</style>'
        f'<rect class="back" width="100%" height="100%"/>\n'
    )
    for number in order:
        node, x, y = nodes[number], _MARGIN + _STEP * depths[number], _MARGIN + _ROW * rows[number] + _ROW // 2
        if node.parent is not None:
            above = _MARGIN + _ROW * rows[node.parent] + _ROW // 2
            yield f'<path class="edge" d="M{x - _STEP + 4} {above + 4}V{y}H{x}"/>'
        yield f'<circle class="{"node" if node.names else "shared"}" cx="{x + 4}" cy="{y}" r="4"/>'
        kind = "" if node.names else ' class="soft"'
        yield f'<text{kind} x="{x + 14}" y="{y + 4}">{escape(node.label)}</text>'
        if node.size is not None and largest:
            whole, own = _BAR * node.size / largest, _BAR * (node.unique_size or 0) / largest
            yield f'<rect class="shared" x="{bars:.0f}" y="{y - 6}" width="{whole:.1f}" height="12"/>'
            yield f'<rect class="unique" x="{bars:.0f}" y="{y - 6}" width="{own:.1f}" height="12"/>'
            yield f'<text class="soft" x="{bars + _BAR + 10:.0f}" y="{y + 4}">{escape(_describe_size(node))}</text>'
        yield "\n"
    yield "</svg>\n"


def _describe_size(node: Node) -> str:
    unique = f", {human_size(node.unique_size)} of its own" if node.unique_size is not None else ""
    return f"{human_size(node.size or 0)}{unique}"


def _order_as_tree(nodes: Sequence[Node]) -> list[int]:
    """Return the positions of nodes, each followed by those above it."""
    children: dict[int | None, list[int]] = {}
    for number, node in enumerate(nodes):
        children.setdefault(node.parent, []).append(number)
    order: list[int] = []
    pending = children.get(None, [])[::-1]
    while pending:
        order.append(pending.pop())
        pending += children.get(order[-1], [])[::-1]
    return order


def build_graph(row_set: RowSet, options: DisplayOptions) -> list[Node]:
    """Return the nodes of whole images; a node follows the one below it. Raises `StatementError` for other rows.

    Images with the same layers are one after another: the first one is below the images with more layers.
    """
    columns = [column.field.name if column.field is not None else "" for column in row_set.columns]
    if row_set.table is None or tuple(columns) != row_set.table.tree_fields:
        raise StatementError(
            "as svg draws whole images: leave out group by, select and count",
            code="unknown-form",
            hints=("example: images where in use as svg",),
        )
    places = {column: place for place, column in enumerate(columns)}
    images: dict[tuple[str, str], tuple[list[str], tuple[str, ...], int | None, int | None]] = {}
    rows = list(row_set.rows)
    for number, (row, cells) in enumerate(zip(rows, format_rows(row_set.replace(rows=rows), options), strict=True)):
        chains = tuple(parse_json(row[places["chain_ids"]])) if row[places["chain_ids"]] is not None else ()
        size, unique = row[places["size"]], row[places["unique_size"]]
        image = images.setdefault(
            (str(row[places["source"]]), str(row[places["id"]] or number)),
            ([], chains, None if size is None else int(size), None if unique is None else int(unique)),
        )
        text, at, digest = cells[places["name"]].partition("@sha256:")
        image[0].append(replace_controls(text + at + digest[:_SHORT]) if row[places["name"]] is not None else NONE_TEXT)
    drawn = _list_forks((source, chains) for (source, _), (_, chains, *_) in images.items())
    nodes: list[Node] = []
    tops: dict[tuple[str, str], int] = {}

    def find_below(source: str, chains: Sequence[str]) -> int | None:
        """Return the node of the most layers among these; shared layers become a node here."""
        for place in range(len(chains) - 1, -1, -1):
            key = source, chains[place]
            if key in tops:
                return tops[key]
            if key in drawn:
                below = find_below(source, chains[:place])
                nodes.append(Node((), None, None, place + 1, below))
                tops[key] = len(nodes) - 1
                return tops[key]
        return None

    by_depth = sorted(images.items(), key=lambda item: len(item[1][1]))
    for (source, _), (names, chains, size, unique) in by_depth:
        nodes.append(Node(tuple(names), size, unique, len(chains), find_below(source, chains[:-1])))
        if chains:
            tops.setdefault((source, chains[-1]), len(nodes) - 1)
    return nodes


def _list_forks(images: Iterator[tuple[str, tuple[str, ...]]]) -> set[tuple[str, str]]:
    """Return the layers, by source and chain ID, with different layers above them in several images."""
    above: dict[tuple[str, str], set[str]] = {}
    for source, chains in images:
        for lower, upper in pairwise(chains):
            above.setdefault((source, lower), set()).add(upper)
    return {key for key, uppers in above.items() if len(uppers) > 1}
