"""Where the images of `copy` and `save` come from: the store, engines, places on disk, or registries."""

from __future__ import annotations

import os
from contextlib import contextmanager

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import parse_name
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action_options import get_option, list_source_refs
from imq.engine.sources.archives import ArchivePlace, read_checked
from imq.engine.sources.layouts.places import STORAGE, Place, parse_place
from imq.engine.store.atomic_files import store_errors
from imq.engine.units.paths import home_directory
from imq.grammar.errors import EngineError, NotFound, StatementError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import Target, build_id_query, several_sources_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Reference
    from imq.engine.query.source import SourceRef
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.archives import ImageArchives
    from imq.engine.sources.layouts.content import ListedImage
    from imq.engine.sources.layouts.place_reader import PlaceReader
    from imq.engine.sources.layouts.transfer import LoadReport
    from imq.engine.store.store import Store
    from imq.grammar import ast

    NamedImages = tuple[tuple[Digest, tuple[str, ...]], ...]
    """Images by the digests that list them in a place, or of their roots in the store; each with its names."""

PLACE_SOURCES = frozenset({"layouts", STORAGE})
"""The sources of places on disk."""
ENGINE_COLUMNS = ("source", "id", "name", "problem")
"""The columns that identify an image of an engine."""
PLACE_COLUMNS = ("_listed", "id", "name", "source")
"""The hidden columns that identify an image of a place."""


class Origin(Record):
    """Images of one place on disk or engine; of the store when `place` is None."""

    images: NamedImages
    place: Place | ArchivePlace | None = None


class RegistryOrigin(Record):
    """An image of a registry: for these platforms, or with `every` for all."""

    reference: Reference
    platforms: tuple[Platform, ...] = ()
    every: bool = False


def parse_prefixed_place(text: str, context: PlanContext) -> Place | None:
    """Return the place of a string with a prefix (`oci:DIR`); None for a path, or anything else."""
    if ":" not in text or text.startswith(("/", ".", "~")):
        return None
    place = parse_place(text, context.folder, home_directory(context.environment), context.environment)
    return place if place is not None and text.startswith(f"{place.kind}:") else None


def find_archives(act: ast.ActionStatement, context: PlanContext, refs: Sequence[SourceRef]) -> ImageArchives | None:
    """Return the archives of the source that has the images of an action; None when it offers none.

    `refs` are the sources of references. Raises `StatementError` for rows of several sources.
    """
    if act.query is None:
        names = [ref.source for ref in refs]
    else:
        select = context.bind(act.query)
        if not select.is_whole_rows or select.table.name != "images" or not select.table.is_staged:
            return None
        names = list(context.scope.fetch.list_sources(select.table))
    found = [context.sources[name].archives for name in dict.fromkeys(names)]
    if len(found) > 1 and any(one is not None for one in found):
        raise several_sources_error(act, list(dict.fromkeys(names)))
    archives: ImageArchives | None = found[0] if found else None
    return archives


def list_archive_targets(
    act: ast.ActionStatement, context: PlanContext, archives: ImageArchives
) -> tuple[list[Target], list[Action]]:
    """Return the images of engines that an action is about, and a failure for each that is not found."""
    from imq.engine.sources.docker.targets import find_targets

    targets, failures = find_targets(act, context)
    return [_target_of_engine(one.source, one.id, one.name, archives) for one in targets], failures


def _target_of_engine(source: Raw, id_: Raw, name: Raw, archives: ImageArchives) -> Target:
    digest = Digest(str(id_))
    name_text = None if name is None else str(name)
    return Target(name_text, digest, digest, name is None, place=ArchivePlace(str(source), archives))


def target_of_engine_row(row: Sequence[Raw], archives: ImageArchives) -> Target:
    """Return the target with these `ENGINE_COLUMNS`. Raises `EngineError` for an incomplete row."""
    source, id_, name, problem = row[-len(ENGINE_COLUMNS) :]
    if problem is not None:
        raise EngineError(str(problem))
    return _target_of_engine(source, id_, name, archives)


def has_place_origin(act: ast.ActionStatement, context: PlanContext) -> bool:
    """Whether the images of an action are in places on disk. Raises `StatementError` when only some of them are."""
    option = get_option(act, "from")
    if act.query is None:
        names = {ref.source for ref in list_source_refs(act, context)}
        if names <= PLACE_SOURCES:
            return True
        if option is not None and not names <= {*PLACE_SOURCES, "store"}:
            (text,) = context.literals(option.values)
            raise StatementError(
                f"from takes the store or a place on disk, not {text}",
                code="place",
                span=option.span,
                hints=(f"for tags of a registry: {act.verb} (tags of REPOSITORY where tag = …) to …",)
                if "registry" in names
                else (),
            )
        return False
    table = context.bind(act.query).table
    names = set(context.scope.fetch.list_sources(table)) if table.is_staged else {table.source}
    if names <= PLACE_SOURCES:
        return True
    if names & PLACE_SOURCES:
        raise StatementError(
            f"{act.verb} works on one source at a time, and these rows are of {' and '.join(sorted(names))}",
            code="operand",
            span=act.query.span,
            hints=(f"write one {act.verb} for each source",),
        )
    return False


def find_reader(text: str, context: PlanContext) -> PlaceReader:
    """Return the reader of a place."""
    reader: PlaceReader = getattr(context.sources[context.sources.resolve(text).source], "reader")  # noqa: B009
    return reader


def list_named_targets(act: ast.ActionStatement, context: PlanContext) -> list[Target]:
    """Return the images with the names of the operands, in the place of the option `from`. Raises `NotFound`."""
    texts = [ref.text for ref in list_source_refs(act, context)]
    targets: list[Target] = []
    for operand, node in zip(context.literals(act.references), act.references, strict=True):
        found = [target for text in texts for target in _find_targets(operand, text, context)]
        if not found:
            raise NotFound(f"no image {operand} in {' and '.join(texts)}", code="no-such-image", span=node.span)
        targets += found
    return list(dict.fromkeys(targets))


def _find_targets(operand: str, text: str, context: PlanContext) -> list[Target]:
    """Return the images of a place with this name, ID or digest."""
    reader = find_reader(text, context)
    place, rows = reader.parse(text), reader.read(text)
    return [
        _target_of_listed(listed, name, place)
        for listed in rows.find(operand)
        for name in rows.matching_names(listed, operand) or (None,)
    ]


def _target_of_listed(listed: ListedImage, name: str | None, place: Place | None) -> Target:
    if not listed.images:
        raise listed.unreadable[0].problem
    size = listed.images[0].download_size or 0
    return Target(name, listed.descriptor.digest, listed.images[0].id, name is None, True, place=place, size=size)


def target_of_place_row(row: Sequence[Raw], context: PlanContext) -> Target:
    """Return the target with these `PLACE_COLUMNS`. Raises `StoreError` for an image that cannot be read."""
    root, id_, name, text = row[-len(PLACE_COLUMNS) :]
    if id_ is None:
        raise StoreError(f"{name or 'an image'} in {text} cannot be read, so it was left alone", code="unreadable")
    reader = find_reader(str(text), context)
    size = next(
        (image.download_size or 0 for listed in reader.read(str(text)).with_id(str(id_)) for image in listed.images),
        0,
    )
    name_text = None if name is None else str(name)
    return Target(name_text, Digest(str(root)), Digest(str(id_)), place=reader.parse(str(text)), size=size)


def query_place_targets(act: ast.ActionStatement, context: PlanContext) -> list[Target]:
    """Return the images of places that the query of an action selects."""
    _, rows = context.rows(build_id_query(act, context), PLACE_COLUMNS)
    return list(dict.fromkeys(target_of_place_row(row, context) for row in rows))


def group_origins(targets: Sequence[Target]) -> tuple[Origin, ...]:
    """Return the images of targets by their places, each image once with all its names."""
    by_place: dict[Place | ArchivePlace | None, dict[Digest, list[str]]] = {}
    for target in targets:
        images = by_place.setdefault(target.place, {})
        images.setdefault(target.root, []).extend([target.name] if target.name else [])
    return tuple(
        Origin(tuple((root, tuple(dict.fromkeys(names))) for root, names in images.items()), place)
        for place, images in by_place.items()
    )


@contextmanager
def open_images(
    origins: Sequence[Origin | RegistryOrigin], context: ExecutionContext, label: str
) -> Iterator[tuple[Store, NamedImages]]:
    """Yield a store with the images, and their roots in it.

    Images of the store itself are not copied. All others are stored in a temporary one first.
    """
    (first, *others) = origins
    if isinstance(first, Origin) and first.place is None and not others:
        yield context.store, first.images
        return
    from imq.engine.sources.layouts.transfer import load_place, open_temporary_store

    with open_temporary_store(context) as store:
        images: dict[Digest, list[str]] = {}
        for origin in origins:
            if isinstance(origin, RegistryOrigin):
                from .pull import pull_image

                pulled = pull_image(store, origin.reference, origin.platforms, context, every=origin.every)
                images.setdefault(pulled.root, []).append(str(origin.reference))
                continue
            assert origin.place is not None, "the store is the only origin then"
            if isinstance(origin.place, ArchivePlace):
                report = load_archive(store, origin.images, origin.place, context, label)
            else:
                selection = {root: frozenset(names) for root, names in origin.images}
                report = load_place(store, origin.place, selection, context, label)
            for _, problem in report.skipped:
                raise problem
            for image in report.images:
                for problem in image.problems:
                    context.progress.warn(problem.message)
                images.setdefault(image.descriptor.digest, []).extend(map(str, image.names))
        if not images:
            raise NotFound("the images are no longer where they were", code="changed")
        yield store, tuple((root, tuple(dict.fromkeys(names))) for root, names in images.items())


@contextmanager
def open_engine_archive(
    images: NamedImages, place: ArchivePlace, context: ExecutionContext
) -> Iterator[Iterator[bytes]]:
    """Yield the content of an archive of images of an engine.

    Raises `NotFound` (`changed`) when a name belongs to another image by now, and `Malformed` for a damaged archive.
    """
    for id_, names in images:
        place.archives.check_image(place.text, id_, names, context)
    references = [name for id_, names in images for name in names or (id_,)]
    with place.archives.open_archive(place.text, references, context) as archive:
        yield read_checked(archive, [id_ for id_, _ in images])


def load_archive(
    store: Store, images: NamedImages, place: ArchivePlace, context: ExecutionContext, label: str
) -> LoadReport:
    """Store images of an engine, by way of a temporary archive."""
    from imq.engine.sources.layouts.places import ARCHIVE, Place
    from imq.engine.sources.layouts.transfer import load_place, open_temporary_folder

    moved = make_byte_counter(context.progress, label, 0)
    with open_temporary_folder(context) as folder:
        path = os.path.join(folder, "images.tar")
        with (
            open_engine_archive(images, place, context) as pieces,
            store_errors(f"write {path}"),
            open(path, "wb") as file,
        ):
            for piece in pieces:
                file.write(piece)
                moved(len(piece))
        return load_place(store, Place(path, ARCHIVE, path), None, context, label)


def is_tagged(name: str) -> bool:
    """Whether a name has a registry and a tag."""
    parsed = parse_name(name)
    return bool(parsed.registry and parsed.tag)
