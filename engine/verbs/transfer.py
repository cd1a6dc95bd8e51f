"""Verbs that bring images in and take them out: pull, push, import, load, save."""

from __future__ import annotations

import os

from imq.engine.actions import Action, Import, Load, Pull, Push, Save
from imq.engine.oci.digest import Digest
from imq.engine.oci.platform import host
from imq.engine.oci.reference import Reference
from imq.grammar.errors import InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

from .declaration import Takes, Verb
from .operands import Target, each_target, option_texts, parsed_name, platform_of, targets

if TYPE_CHECKING:
    from imq.grammar import ast

    from .declaration import Planning


def _plan_pull(act: ast.Act, planning: Planning) -> list[Action]:
    if act.query is not None:
        raise StatementError("pull takes names of images", code="operand", span=act.query.span)
    platform = platform_of(act, planning)
    pulls: list[Action] = []
    for text, node in zip(planning.literals(act.references), act.references, strict=True):
        try:
            reference = Reference.parse(text).with_default_tag()
        except InvalidReference as problem:
            problem.span = node.span
            raise
        pulls.append(Pull(reference, platform))
    return list(dict.fromkeys(pulls))


def _plan_push(act: ast.Act, planning: Planning) -> list[Action]:
    to = option_texts(act, "to", planning)
    found, failures = each_target(act, planning)
    if to and len(found) + len(failures) != 1:
        raise StatementError("one image can be pushed to one name", code="operand", span=act.span)
    if to:
        return [Push(parsed_name(to[0]), found[0].root, found[0].id)]
    pushes: list[Action] = []
    for target in found:
        if target.name is None or "@" in target.name:
            raise StatementError(
                f"{target.id.short} has no name to be pushed as",
                code="operand",
                span=act.span,
                hints=("say it: push ID to NAME",),
            )
        pushes.append(Push(Reference.parse(target.name), target.root, target.id))
    return pushes + failures


def _plan_import(act: ast.Act, planning: Planning) -> list[Action]:
    paths = planning.literals(act.references)
    names = option_texts(act, "as", planning)
    if len(paths) == 2 and not names:  # docker's own order: import PATH NAME
        names = [paths.pop()]
    if len(paths) != 1:
        raise StatementError("import takes one folder or archive", code="operand", span=act.span)
    message = option_texts(act, "message", planning)
    return [
        Import(
            paths[0] if paths[0] == "-" else _path(paths[0], planning),
            parsed_name(names[0]) if names else None,
            tuple(option_texts(act, "change", planning)),
            message[0] if message else f"Imported from {paths[0]}",
            platform_of(act, planning) or host(),
        )
    ]


def _plan_load(act: ast.Act, planning: Planning) -> list[Action]:
    return [Load(_path(path, planning)) for path in planning.literals(act.references)]


def _plan_save(act: ast.Act, planning: Planning) -> list[Action]:
    to = option_texts(act, "to", planning)
    if not to:
        raise StatementError(
            "save needs a file to write", code="operand", span=act.span, hints=('such as: save redis:7 to "redis.tar"',)
        )
    images: dict[Digest, list[str]] = {}
    found = targets(act, planning)
    if not found:
        raise StatementError("no image matches, so no archive is written", code="nothing", span=act.span)
    for target in found:
        images.setdefault(target.root, []).extend([target.name] if target.name else [])
    return [
        Save(
            _path(to[0], planning),
            tuple((root, tuple(names)) for root, names in images.items()),
            _bytes(found, planning),
        )
    ]


def _bytes(found: list[Target], planning: Planning) -> int:
    """Return the bytes of all blobs of these images, each once."""
    roots = list({target.root for target in found})
    sizes: dict[str, int] = {}
    for root in roots:
        sizes.update(planning.store.index.connection.execute("SELECT digest, size FROM reach WHERE root = ?", (root,)))
    return sum(sizes.values())


def _path(text: str, planning: Planning) -> str:
    """Return a path with `~` replaced by the user's home."""
    home = planning.environment.get("HOME")
    return os.path.join(home, text[2:]) if home and text.startswith("~/") else text


VERBS = (
    Verb(
        "pull",
        "Fetch images from their registries; layers that are here already do not travel.",
        "pull redis:7 platform linux/arm64",
        Takes.REFERENCES,
        options=("platform", "dry run"),
        plan=_plan_pull,
    ),
    Verb(
        "push",
        "Send images to the registries in their names, or one image to another name.",
        "push team/app:1 to registry.local:5000/team/app:1",
        Takes.IMAGES,
        options=("to", "dry run"),
        plan=_plan_push,
    ),
    Verb(
        "import",
        "Make an image of one layer from a folder or a tar archive; change takes Dockerfile instructions.",
        'import ./rootfs as team/base:1 change "LABEL env=prod", "CMD [\\"sh\\"]"',
        Takes.PATHS,
        options=("as", "change", "message", "platform", "dry run"),
        plan=_plan_import,
    ),
    Verb(
        "load",
        "Take in the images of an archive that docker save, podman save or imq save wrote, or of an OCI layout.",
        'load "images.tar"',
        Takes.PATHS,
        options=("dry run",),
        plan=_plan_load,
    ),
    Verb(
        "save",
        "Write images into one archive that docker load, podman, skopeo and imq read.",
        'save images where label.env = prod to "prod.tar"',
        Takes.IMAGES,
        options=("to", "dry run"),
        plan=_plan_save,
    ),
)
