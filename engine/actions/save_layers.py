"""Saving layers: `save layers of app:1 to "layer-{{.Index}}.tar"`."""

from __future__ import annotations

from itertools import chain

from imq.engine.layers.tar_header import BLOCK_SIZE
from imq.engine.oci.digest import Digest
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import Outcome, Skip
from imq.engine.sources.action_options import get_option
from imq.engine.sources.contents.indexer import check_diff_id, missing_layer_error
from imq.engine.sources.row_templates import is_template, render_row_pieces
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .export import find_compression
from .output_file import FileAction, open_output_file
from .output_paths import check_paths, join_path, label_transfer, skips_existing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.contents.protocol import Chunks, ImageLayers, LayerContents
    from imq.grammar import ast

_COLUMNS = ("image", "source", "diff_id", '"index"', "download_size")


class SaveLayer(FileAction):
    """Write one layer of an image to `path`, as it is stored, or with another `compression`; "" means none.

    `contents` reads the layers of the source, which is named `source`.
    """

    image: Digest
    diff_id: Digest
    index: int
    size: int | None
    source: str
    contents: Any
    compression: str | None

    def describe(self) -> Outcome:
        """Return the path, with the position of the layer in its image."""
        return Outcome("save", self.path, self.image, self.size, note=f"layer {self.index}{self.describe_existing()}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Write the layer. The file appears when its diff ID is verified."""
        from imq.engine.sources.contents.entry_values import find_image

        moved = make_byte_counter(context.progress, label_transfer("save", self.path), self.size or 0)
        contents: LayerContents = self.contents
        with open_output_file(self, self.size) as target:
            image = find_image(contents, self.source, self.image)

            def write(piece: bytes | memoryview) -> None:
                target.write(piece)
                moved(len(piece))

            _copy_layer(contents, image, self.diff_id, write, self.compression)
        yield self.describe().replace(size=target.size)


def _copy_layer(
    contents: LayerContents,
    image: ImageLayers,
    diff_id: Digest,
    write: Callable[[bytes | memoryview], object],
    compression: str | None,
) -> None:
    """Write a layer as the source has it, or with a compression. Raises `ImqError` when it is not that layer."""
    from imq.engine.layers.compression import detect_compression, make_compressor
    from imq.engine.layers.layer_reader import LayerDecompressor, LayerLimits

    found: list[Digest] = []

    def read(layer_id: Digest | None, chunks: Chunks) -> Digest | None:
        if found or layer_id not in (diff_id, None):
            return None
        iterator = iter(chunks)
        first = bytes(next(iterator, b""))
        is_same = compression in (None, detect_compression(first[:BLOCK_SIZE]))
        compressor = make_compressor(compression) if compression and not is_same else None
        with LayerDecompressor(None, LayerLimits(), diff_algorithm=diff_id.algorithm) as layer:
            for chunk in chain((first,), iterator):
                if is_same:
                    write(chunk)
                for piece in layer.feed(chunk):
                    if not is_same:
                        write(piece if compressor is None else compressor.feed(piece))
            for piece in layer.flush():
                if not is_same:
                    write(piece if compressor is None else compressor.feed(piece))
            actual = layer.finish()
        if compressor is not None:
            write(compressor.finish())
        check_diff_id(actual, diff_id)
        found.append(actual)
        return actual

    contents.read_layers(image, [diff_id], read)
    if not found:
        raise missing_layer_error(diff_id)


def is_of_layers(act: ast.ActionStatement, context: PlanContext) -> bool:
    """Whether an action is on rows of the table `layers`."""
    if act.query is None:
        return False
    select = context.bind(act.query)
    return select.table.name == "layers" and select.is_whole_rows


def plan_layers(act: ast.ActionStatement, text: str, context: PlanContext) -> list[Action]:
    """Return the actions that write each layer of a query to a file of its own."""
    query, option = act.query, get_option(act, "to")
    assert query is not None
    span = option.span if option is not None else act.span
    example = (f'each layer has its own file: {act.verb} layers of app:1 to "layer-{{{{.Index}}}}.tar"',)
    keeps = skips_existing(act)
    rows: dict[str, tuple[Raw, ...]] = {}
    for (pieces,), row in render_row_pieces(query, (text,), context, _COLUMNS):
        path = join_path(pieces, act) if is_template(text) else text
        if path in rows:
            raise StatementError(f"{path} is the path of several layers", code="path", span=span, hints=example)
        rows[path] = row
    if not rows:
        raise StatementError("no layer matches, so no file is written", code="nothing", span=act.span)
    outputs = check_paths(act, text, rows, context)
    force = get_option(act, "force") is not None
    actions: list[Action] = []
    for output, (image, source, diff_id, index, size) in zip(outputs, rows.values(), strict=True):
        if output.kind == "folder":
            raise StatementError(f"{output.path} is a folder", code="path", span=span, hints=example)
        if diff_id is None or image is None:
            raise StatementError(f"the layer {index} has no known diff ID in {source}", code="operand", span=act.span)
        if keeps and output.kind == "file":
            actions.append(Skip(output.path, Digest(str(image)), "it exists already"))
            continue
        ref = context.sources.resolve(str(source))
        contents = context.sources[ref.source].open_contents()
        place = (Digest(str(image)), Digest(str(diff_id)), int(index or 0), None if size is None else int(size))
        actions.append(
            SaveLayer(output.path, output.kind, force, *place, str(source), contents, find_compression(output))
        )
    return actions
