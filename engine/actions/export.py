"""The verb that unpacks images: export."""

from __future__ import annotations

import os

from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

from .base import Action, Export, Stay
from .operands import option_texts, said
from .output_paths import Output, keeps_existing, outputs
from .verb import Takes, Verb

if TYPE_CHECKING:
    from imq.grammar import ast

    from .verb import Planning


_ARCHIVES = {".tar": "", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd", ".tzst": "zstd"}
"""How the names of archives end, and how these are packed."""


def _plan_export(act: ast.Act, planning: Planning) -> list[Action]:
    to = option_texts(act, "to", planning)
    if len(to) != 1:
        raise StatementError(
            "export needs a folder to unpack to, or an archive to write",
            code="operand",
            span=act.span,
            hints=('such as: export redis:7 to "rootfs", or to "rootfs.tar"',),
        )
    if to[0] == "-":
        raise StatementError(
            "export writes a folder or an archive, and not to standard output",
            code="operand",
            span=act.span,
            hints=('such as: export redis:7 to "rootfs.tar"',),
        )
    keeps = keeps_existing(act)
    places = outputs(act, to[0], planning)
    if not any(place.targets for place in places):
        raise StatementError("no image matches, so nothing is unpacked", code="nothing", span=act.span)
    return [_export(act, place, planning, keeps=keeps) for place in places]


def _export(act: ast.Act, output: Output, planning: Planning, *, keeps: bool) -> Export | Stay:
    found = output.targets
    images = list(dict.fromkeys((target.root, target.id) for target in found))
    if len(images) != 1:
        raise StatementError(
            f"one image can be unpacked to one place, and these are {len(images)}",
            code="operand",
            span=act.span,
            hints=('a place for each: export images where … to "{{.Tag}}"',),
        )
    if not planning.store.index.shows(images[0][0]):
        raise StatementError(
            f"{found[0].name or images[0][0].short} is no container image, so there is nothing to unpack",
            code="not-an-image",
            span=act.span,
            hints=("other artifacts have their own tools, such as oras or helm",),
        )
    force = said(act, "force") is not None
    root, id_ = images[0]
    name = found[0].name or id_.short
    path = output.path if output.kind == "stream" else os.path.realpath(output.path)
    packed = _packed(output)
    if output.kind == "file" and keeps:
        return Stay(path, id_, "it is there already")
    if packed is not None:
        return Export(path, name, root, id_, force, packed, output.kind)
    if _holds(path, planning.store.root):
        what = "the root of this machine" if path == "/" else f"{path}, which holds the image store,"
        raise StatementError(f"{what} cannot be replaced", code="operand", span=act.span)
    if output.kind and not force and not (output.kind == "folder" and not os.listdir(path)):
        if keeps:
            return Stay(path, id_, "it is there already")
        raise Conflict(
            f"{path} is there already and {'not empty' if output.kind == 'folder' else 'no folder'}",
            code="exists",
            hints=("give another folder; with force it is replaced, with all that is in it",),
        )
    return Export(path, name, root, id_, force, packed, output.kind)


def _packed(output: Output) -> str | None:
    """Return how the archive to write is packed, by the name of its file; None for a folder."""
    if output.kind == "folder":
        return None
    default = "" if output.kind == "stream" else None
    return next((packed for ending, packed in _ARCHIVES.items() if output.path.endswith(ending)), default)


def _holds(folder: str, path: str) -> bool:
    """Whether a folder is the place of a path, or has it below."""
    path = os.path.realpath(path)
    return os.path.commonpath((folder, path)) == folder


VERBS = (
    Verb(
        "export",
        "Unpack an image to a folder, or to an archive: the files that a container of it would see. A template of paths"
        " makes one for each row.",
        'export redis:7 to "rootfs"',
        Takes.IMAGES,
        options=("to", "force", "skip existing", "dry run"),
        files=("to",),
        differs="It is docker export for an image. A name that ends in .tar, .tar.gz or .tar.zst makes an archive: it"
        " has owners and devices whoever makes it, and tar and docker import read it. In a folder root gives files"
        " their owners; anybody else keeps what is made, without setuid and setgid bits, and finds an empty file in the"
        " place of each device. Either is there when all of it is, or not at all. With force what is there is replaced,"
        " not added to; skip existing leaves it. A device, FIFO or /dev/stdout is written to, as one archive.",
        plan=_plan_export,
    ),
)
