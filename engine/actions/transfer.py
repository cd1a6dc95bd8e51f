"""Verbs that bring images in and take them out: pull, push, copy, import, load, save."""

from __future__ import annotations

import os

from imq.engine.oci.digest import Digest
from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.oci.platform import host
from imq.engine.oci.reference import Reference, read_name
from imq.engine.query.binder import needs_choice, needs_where
from imq.engine.query.binder.literals import is_text
from imq.engine.store.unreadable_images import unreadable_image
from imq.engine.units.paths import home_folder, located
from imq.grammar import ast
from imq.grammar.errors import InvalidReference, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .base import Action, Copy, Fail, Import, Load, Pull, Push, Save, Stay
from .destinations import destinations, name_below, namespace_of
from .operands import (
    TARGET_COLUMNS,
    Target,
    each_target,
    named_query,
    option_texts,
    parsed_name,
    platform_of,
    platforms_of,
    row_target,
    said,
    target_query,
)
from .output_paths import Output, keeps_existing, outputs
from .row_templates import is_template, rendered
from .verb import Takes, Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.grammar.errors import Span

    from .verb import Planning


def _plan_pull(act: ast.Act, planning: Planning) -> list[Action]:
    platforms, every = platforms_of(act, planning)
    references, failures = _references(act, planning)
    names = dict.fromkeys(reference.without_idle_tag() for reference in references)
    return [*(Pull(name, platforms, every) for name in names), *failures]


def _references(act: ast.Act, planning: Planning) -> tuple[list[Reference], list[Action]]:
    """Return the names in registries that an action is given, or that its query gives; each once.

    A registry may list what is no tag: of a query such names are failures beside the rest.
    """
    if act.query is not None:
        names = _names_of(act.query, act.verb, planning)
    else:
        names = list(zip(planning.literals(act.references), (node.span for node in act.references), strict=True))
    select = planning.bind(act.query) if act.query is not None else None
    found: list[Reference] = []
    failures: list[Action] = []
    for text, span in names:
        try:
            if select is not None and select.is_whole_rows and select.table.name == "tags" and "@" in text:
                raise InvalidReference(f'"{text}" is not a tag: a tag has no "@"')
            found.append(Reference.parse(text).with_default_tag())
        except InvalidReference as problem:
            if select is not None and select.is_whole_rows:
                failures.append(Fail(act.verb, text, problem))
                continue
            problem.span = span
            raise
    return list(dict.fromkeys(found)), failures


_NAMED = ("images", "tags", "manifests", "referrers")
"""Tables whose rows have names that can be pulled and copied."""


def _names_of(query: ast.Rows, verb: str, planning: Planning) -> list[tuple[str, Span | None]]:
    """Return the names that a query gives: of whole images their tags, else its one column of texts."""
    select = planning.bind(query)
    if select.is_whole_rows:
        (needs_choice if select.table.is_staged else needs_where)(query, verb)
    if select.is_whole_rows and select.table.name in _NAMED:
        fields = {"images": ("tag", "registry"), "tags": ("tag",)}.get(select.table.name, ())
        known = tuple(ast.Known(ast.Field((field,))) for field in fields)
        named = ast.And(known) if len(known) > 1 else known[0] if known else None
        query = ast.Query("", base=query, where=named, select=(ast.Column(ast.Field(("name",))),), span=query.span)
        select, rows = planning.rows(query, ())
    else:
        select, rows = planning.rows(query, ())
        if len(select.columns) != 1 or not is_text(select.columns[0].value.kind):
            raise StatementError(
                f"{verb} takes names: a query of images, or one with one column of texts",
                code="operand",
                span=query.span,
            )
    return [(str(row[0]), query.span) for row in rows if row[0] is not None]


def _plan_push(act: ast.Act, planning: Planning) -> list[Action]:
    to = said(act, "to")
    platforms, _ = platforms_of(act, planning)
    try:
        if to is None:
            found, failures = each_target(act, planning)
            named = [(_own_name(target, act), target) for target in found]
        else:
            named, failures = _named_by(act, planning.literals(to.values)[0], planning)
    except StatementError as problem:
        problem.span = problem.span or (to.span if to is not None else None)
        raise
    taken: dict[Reference, Target] = {}
    for name, target in named:
        other = taken.setdefault(name, target)
        if other.root != target.root:
            raise _several(name, f"{_called(other)} and {_called(target)}", act)
    return _once([Push(name, target.root, target.id, platforms) for name, target in named]) + failures


def _named_by(act: ast.Act, text: str, planning: Planning) -> tuple[list[tuple[Reference, Target]], list[Action]]:
    """Return each image that is pushed with the name that `to` gives it, and a failure for each that is not here."""
    if is_template(text):
        query = target_query(act, planning) if act.query is not None else named_query(act, planning)
        made = [(made_of, row_target(row)) for (made_of,), row in rendered(query, (text,), planning, TARGET_COLUMNS)]
        return [(_tagged_as(target, made_of), target) for made_of, target in made], []
    found, failures = each_target(act, planning)
    if (place := namespace_of(text)) is not None:
        return [(name_below(place, _own_name(target, act)), target) for target in found], failures
    name = parsed_name(text)
    if len({target.root for target in found}) + len(failures) > 1:
        raise _several(name, f"{len(found) + len(failures)} images", act)
    return [(name, target) for target in found], failures


def _tagged_as(target: Target, text: str) -> Reference:
    """Return the name that a template made of an image, with the image's own tag when it made none."""
    name = Reference.parse(text)
    own = read_name(target.name) if target.name is not None else None
    if name.tag is None and name.digest is None and isinstance(own, Reference):
        return name.replace(tag=own.tag).with_default_tag()
    return parsed_name(text)


def _own_name(target: Target, act: ast.Act) -> Reference:
    """Return the name that an image has, to be pushed as or to keep; raises when it has none."""
    name = read_name(target.name) if target.name is not None else None
    if not isinstance(name, Reference) or name.tag is None:
        raise StatementError(
            f"{_called(target)} has no name to be pushed as",
            code="operand",
            span=act.span,
            hints=("give it one, with its tag: push ID to NAME:TAG",),
        )
    return name


def _called(target: Target) -> str:
    return target.name or target.id.short


def _several(name: Reference, images: str, act: ast.Act) -> StatementError:
    return StatementError(
        f"{images} would be pushed to {name}, and a name can go to one image",
        code="operand",
        span=act.span,
        hints=(
            "leave the tag out to keep the names: push images where … to registry.local:5000/team",
            'or make a name for each: push images where … to "host/{{.Repository}}:{{.Tag}}"',
        ),
    )


def _once(pushes: list[Push]) -> list[Action]:
    """Return each push once: the platforms of an index, which are rows of their own, go together."""
    first = {(push.reference, push.root): push for push in reversed(pushes)}
    return [*reversed(first.values())]


def _plan_copy(act: ast.Act, planning: Planning) -> list[Action]:
    to = option_texts(act, "to", planning)
    if len(to) != 1:
        raise StatementError(
            "copy needs one place to copy to",
            code="operand",
            span=act.span,
            hints=("such as: copy redis:7 to registry.local:5000/team/redis:7",),
        )
    platforms, _ = platforms_of(act, planning)
    try:
        if not is_template(to[0]):
            namespace_of(to[0])  # what is no name is refused before anything is asked
        sources, failures = _references(act, planning)
        places = destinations(sources, to[0], planning)
    except StatementError as problem:
        given = said(act, "to")
        problem.span = problem.span or (given.span if given else None)
        raise
    taken: dict[Reference, Reference] = {}
    for source, target in zip(sources, places, strict=True):
        if taken.setdefault(target, source) != source:
            raise StatementError(
                f"both {taken[target]} and {source} would be copied to {target}", code="operand", span=act.span
            )
    referrers = said(act, "with referrers") is not None
    return [*(Copy(source, target, platforms, referrers) for target, source in taken.items()), *failures]


def _plan_import(act: ast.Act, planning: Planning) -> list[Action]:
    paths = planning.literals(act.references)
    names = option_texts(act, "as", planning)
    if len(paths) == 2 and not names:  # docker's own order: import PATH NAME
        names = [paths.pop()]
    if len(paths) != 1:
        raise StatementError("import takes one folder or archive", code="operand", span=act.span)
    message = option_texts(act, "message", planning)
    changes = option_texts(act, "change", planning)
    apply_instructions({}, changes)  # what docker would refuse is refused before anything is read
    return [
        Import(
            paths[0] if paths[0] == "-" else _path(paths[0], planning),
            parsed_name(names[0]) if names else None,
            tuple(changes),
            message[0] if message else f"Imported from {paths[0]}",
            platform_of(act, planning) or host(),
        )
    ]


def _plan_load(act: ast.Act, planning: Planning) -> list[Action]:
    paths: list[str] = []
    for text, node in zip(planning.literals(act.references), act.references, strict=True):
        path = _path(text, planning)
        found = [path] if os.path.lexists(path) or not any(sign in path for sign in "*?[") else sorted(glob(path))
        if not found:
            raise NotFound(f"no file is like {text}", code="no-such-file", span=node.span)
        paths += found
    return [Load(path) for path in dict.fromkeys(paths)]


def glob(pattern: str) -> list[str]:
    """Return the paths that a pattern means."""
    from glob import glob as paths_like  # with fnmatch and re, which other statements do without

    return paths_like(pattern, recursive=True)


def _plan_save(act: ast.Act, planning: Planning) -> list[Action]:
    to = option_texts(act, "to", planning)
    if not to:
        raise StatementError(
            "save needs a file to write", code="operand", span=act.span, hints=('such as: save redis:7 to "redis.tar"',)
        )
    keeps = keeps_existing(act)
    archives = outputs(act, to[0], planning)
    if not any(archive.targets for archive in archives):
        raise StatementError("no image matches, so no archive is written", code="nothing", span=act.span)
    return [_archive(archive, act, planning, keeps=keeps) for archive in archives]


def _archive(output: Output, act: ast.Act, planning: Planning, *, keeps: bool) -> Save | Stay:
    if output.kind == "folder" or output.path.endswith("/"):
        given = said(act, "to")
        raise StatementError(
            f"{output.path} is a folder, and save writes a file",
            code="path",
            span=given.span if given else None,
            hints=(f'name a file in it: to "{os.path.join(output.path, "images.tar")}"',),
        )
    if output.kind == "file" and keeps:
        return Stay(output.path, output.targets[0].id, "it is there already")
    images: dict[Digest, list[str]] = {}
    for target in output.targets:
        images.setdefault(target.root, []).extend([target.name] if target.name else [])
    for root in images.keys() & planning.store.index.unreadable():
        raise unreadable_image(", ".join(images[Digest(root)]) or Digest(root).short)
    contents = tuple((root, tuple(dict.fromkeys(names))) for root, names in images.items())
    force = said(act, "force") is not None
    return Save(output.path, contents, _bytes(output.targets, planning), output.kind, force)


def _bytes(found: Sequence[Target], planning: Planning) -> int:
    """Return the bytes of all blobs of these images, each once."""
    roots = list({target.root for target in found})
    sizes: dict[str, int] = {}
    for root in roots:
        sizes.update(planning.store.index.connection.execute("SELECT digest, size FROM reach WHERE root = ?", (root,)))
    return sum(sizes.values())


def _path(text: str, planning: Planning) -> str:
    return located(text, planning.folder, home_folder(planning.environment))


VERBS = (
    Verb(
        "pull",
        "Fetch images from their registries, and artifacts; layers that are here already do not travel. Of several"
        " platforms one is taken; more of them, or all, with the index that names them.",
        "pull redis:7 platform linux/amd64, linux/arm64",
        Takes.NAMES,
        options=("platform", "dry run"),
        plan=_plan_pull,
    ),
    Verb(
        "push",
        "Send images to the registries in their names; to takes another name for one image, a host or namespace below"
        " which names are kept, or a template. An index goes whole, unless platforms are named.",
        "push team/app:1 to registry.local:5000/team/app:1",
        Takes.IMAGES,
        options=("platform", "to", "dry run"),
        plan=_plan_push,
    ),
    Verb(
        "copy",
        "Copy images from registry to registry without storing them here, indexes whole; to takes a name, a host or "
        "namespace below which names are kept, or a template. With referrers, signatures, attestations and bills of "
        "materials go along.",
        "copy redis:7, alpine:3.19 to registry.local:5000/mirror",
        Takes.NAMES,
        options=("platform", "to", "with referrers", "dry run"),
        plan=_plan_copy,
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
        differs="An archive may be packed with gzip, zstd, bzip2 or xz. What index.json and manifest.json list is"
        " joined. Of an index the images that are whole are taken in, and each of the others is reported. Archives of"
        " format 1.0, which have repositories in their place, are taken as docker 20.10 takes them.",
        plan=_plan_load,
    ),
    Verb(
        "save",
        "Write images into one archive that docker load, podman, skopeo and imq read; a template of paths makes one"
        " for each row. A file that is there is replaced with force, or when you confirm it; skip existing leaves it.",
        'save images where label.env = prod to "prod.tar"',
        Takes.IMAGES,
        options=("to", "force", "skip existing", "dry run"),
        files=("to",),
        differs="docker save replaces a file without asking. The archive appears when it is whole. Folders that the"
        " values of a template name are made. A link is followed; a device, FIFO or /dev/stdout is written to. In a"
        ' template a label, or another value from inside an image, cannot contain "/" or be "..".',
        plan=_plan_save,
    ),
)
