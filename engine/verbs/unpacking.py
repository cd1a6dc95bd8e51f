"""The verb that unpacks images: export."""

from __future__ import annotations

import os

from imq.engine.actions import Action, Export
from imq.engine.paths import home_folder, located
from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

from .declaration import Takes, Verb
from .destinations import placed
from .operands import option_texts, said

if TYPE_CHECKING:
    from imq.grammar import ast

    from .declaration import Planning
    from .operands import Target


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
    places = placed(act, to[0], planning)
    if not any(places.values()):
        raise StatementError("no image matches, so nothing is unpacked", code="nothing", span=act.span)
    return [_export(act, place, found, planning) for place, found in places.items()]


def _export(act: ast.Act, place: str, found: list[Target], planning: Planning) -> Export:
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
    path = os.path.realpath(located(place, planning.folder, home_folder(planning.environment)))
    force = said(act, "force") is not None
    if place == "-":
        raise StatementError(
            "export writes a folder or an archive, and not to standard output",
            code="operand",
            span=act.span,
            hints=('such as: export redis:7 to "rootfs.tar"',),
        )
    if path == "/":
        raise StatementError("the root of this machine cannot be replaced", code="operand", span=act.span)
    packed = None if os.path.isdir(path) else _packed(path)
    if packed is not None and os.path.lexists(path) and not force:
        raise Conflict(f"{path} is there already", code="exists", hints=("give another name, or say force",))
    if packed is None and os.path.lexists(path) and not force and not (os.path.isdir(path) and not os.listdir(path)):
        raise Conflict(
            f"{path} is there already and not empty",
            code="exists",
            hints=("give another folder; with force it is replaced, with all that is in it",),
        )
    root, id_ = images[0]
    return Export(path, found[0].name or id_.short, root, id_, replaces=force, packed=packed)


def _packed(path: str) -> str | None:
    """Return how an archive of this name is packed; None for a folder."""
    return next((packed for ending, packed in _ARCHIVES.items() if path.endswith(ending)), None)


VERBS = (
    Verb(
        "export",
        "Unpack an image to a folder, or to an archive: the files that a container of it would see. A template of paths"
        " makes one for each row.",
        'export redis:7 to "rootfs"',
        Takes.IMAGES,
        options=("to", "force", "dry run"),
        files=("to",),
        differs="It is docker export for an image. A name that ends in .tar, .tar.gz or .tar.zst makes an archive: it"
        " has owners and devices whoever makes it, and tar and docker import read it. In a folder root gives files"
        " their owners; anybody else keeps what is made, and finds an empty file in the place of each device. Either is"
        " there when all of it is, or not at all. With force what is there is replaced, not added to.",
        plan=_plan_export,
    ),
)
