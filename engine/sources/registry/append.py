"""Adds a layer to images in a registry: only the layer, a config and a manifest are uploaded."""

from __future__ import annotations

import os
import tempfile

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values
from imq.engine.store.derived_image import Step
from imq.engine.units.paths import expand_path
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .change import ChangeRemote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from imq.engine.registry.client import Client
    from imq.engine.sources.action import Action, PlanContext
    from imq.grammar import ast

_PIECE = 1 << 20


class AppendRemote(ChangeRemote):
    """Add a layer with the files of a folder or an uncompressed tar archive."""

    path: str = ""

    def describe(self) -> Outcome:
        """Return the new name and the image below."""
        return Outcome("append", str(self.name), note=f"to {self.base}")

    def list_steps(self) -> Sequence[Step]:
        """Return the step of the layer."""
        return (Step(f"append {os.path.basename(self.path)}"),)

    def upload_layers(self, client: Client) -> Sequence[tuple[Descriptor, Digest]]:
        """Pack the layer to a temporary file, and upload it unless the repository has it."""
        from contextlib import ExitStack

        from imq.engine.layers.layer_meter import LayerMeter
        from imq.engine.store.atomic_files import store_errors
        from imq.engine.store.layer_writer import write_plain_layer

        with store_errors(f"pack {self.path}"), LayerMeter("", hashes_inline=True) as meter, ExitStack() as stack:
            file: BinaryIO

            def open_file() -> int:
                nonlocal file
                file = stack.enter_context(tempfile.TemporaryFile())
                return file.fileno()

            written = write_plain_layer(_pack(self.path), meter, open_file, lambda *_: None)
            diff_id = meter.finish().diff_id
            media_type = media_types.LAYER_TYPES[written.compression]
            layer = Descriptor(media_type, written.digest or diff_id, written.size)

            def open_content() -> object:
                copy = os.fdopen(os.dup(file.fileno()), "rb")
                copy.seek(0)
                return copy

            client.upload_blob(self.name, layer, open_content)  # type: ignore[arg-type] # a file is a content
        return ((layer, diff_id),)


def _pack(path: str) -> Iterator[bytes | memoryview]:
    """Yield the archive of a folder, or the content of an archive. Raises `StatementError` for a compressed one."""
    from imq.engine.layers.compression import detect_compression
    from imq.engine.layers.pack import pack_tree
    from imq.engine.layers.rooted_fs import MAX_DEPTH

    if os.path.isdir(path):
        yield from pack_tree(path, max_depth=MAX_DEPTH)
        return
    with open(path, "rb") as archive:
        piece = archive.read(_PIECE)
        if detect_compression(piece):
            raise StatementError(
                f"{path} is compressed", code="path", hints=("append takes folders and plain archives in a registry",)
            )
        while piece:
            yield piece
            piece = archive.read(_PIECE)


def plan_append(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the addition of one layer to one image of a registry."""
    (path,) = context.literals(act.references)
    (image,) = get_option_values(act, "to", context)
    (name,) = get_option_values(act, "as", context)
    changes = tuple(get_option_values(act, "change", context))
    base = Reference.parse(image).with_default_tag()
    return [AppendRemote(base, parse_tag_name(name), changes, expand_path(path, context.folder, None))]
