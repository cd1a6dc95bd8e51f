"""Loads images from a place on disk into the store, or into a temporary store."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial

from imq.engine.progress import make_byte_counter
from imq.grammar.record import TYPE_CHECKING, Record

from .places import LISTINGS, inspect_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Name
    from imq.engine.sources.action import ExecutionContext
    from imq.engine.store.image_builder import LoadedImage
    from imq.engine.store.load import Selection
    from imq.engine.store.store import Store
    from imq.grammar.errors import ImqError

    from .places import Place


class LoadReport(Record):
    """The images that were stored, and those that were not: the name and the error of each.

    `moved_names` has the names that other images had before, each with the ID of that image, by position in `images`.
    """

    images: tuple[LoadedImage, ...]
    skipped: tuple[tuple[str, ImqError], ...]
    moved_names: tuple[tuple[tuple[Name, Digest], ...], ...] = ()


def load_place(
    store: Store, place: Place, selection: Selection | None, context: ExecutionContext, label: str
) -> LoadReport:
    """Store images of a place, all of them or a selection, and name them in one transaction."""
    from imq.engine.store.load import load_files  # tarfile

    from .reader import open_files

    place = inspect_kind(place)
    skipped: list[tuple[str, ImqError]] = []
    with store.start_ingest() as ingest:
        watch = partial(make_byte_counter, context.progress, label)
        with open_files(place, store.largest_document, in_place=selection is not None) as files:
            images = load_files(
                files,
                place.path,
                ingest,
                watch,
                lambda name, problem: skipped.append((name, problem)),
                listings=LISTINGS[place.kind],
                selection=selection,
            )
        ingest.sync()
        ids = {image.descriptor.digest: image.id for image in images}
        moved_names: list[tuple[tuple[Name, Digest], ...]] = []
        with store.start_transaction(ingest.measures) as transaction:
            for image in images:
                descriptor = image.descriptor
                if image.manifests:
                    descriptor, _ = transaction.hold(descriptor, image.manifests)
                moved: list[tuple[Name, Digest]] = []
                for name in image.names:
                    holder = transaction.find_entry(name)
                    if holder is not None and (root := holder.descriptor.digest) != descriptor.digest:
                        old = ids.get(root) or transaction.find_image_id(root)
                        if old is not None and old != image.id:
                            moved.append((name, old))
                    transaction.set_name(name, descriptor, None, context.clock())
                if not image.names:
                    transaction.add_unnamed(descriptor, context.clock())
                moved_names.append(tuple(moved))
    return LoadReport(tuple(images), tuple(skipped), tuple(moved_names))


@contextmanager
def open_temporary_folder(context: ExecutionContext) -> Iterator[str]:
    """Yield a folder that is removed at the end. It lies in $TMPDIR, by default /var/tmp: images are large."""
    import shutil
    import tempfile

    from imq.engine.store.atomic_files import store_errors

    folder = context.environment.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else None)  # noqa: S108
    with store_errors("make a folder for images on their way"):
        root = tempfile.mkdtemp(prefix="imq-", dir=folder)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def open_temporary_store(context: ExecutionContext) -> Iterator[Store]:
    """Yield an empty store in a temporary folder."""
    from imq.engine.store.store import Store

    with open_temporary_folder(context) as folder:
        store = Store(os.path.join(folder, "store"))
        store.largest_document = context.store.largest_document
        store.platform = context.store.platform
        try:
            yield store
        finally:
            store.close()
