"""Verifies images where they lie: `verify images in "oci:DIR" where …`. Every blob is hashed, and every layer unpacked.

Blobs are streamed: nothing is written, and a blob that several images have is read once in a statement.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress

from imq.engine.layers.compression import detect_compression
from imq.engine.layers.layer_meter import LayerMeter
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Manifest
from imq.engine.query.binder import require_where
from imq.engine.sources.action import Outcome, PreparedAction
from imq.engine.sources.action_options import bind_whole_rows, get_option, list_source_refs
from imq.engine.store.archive_files import Folder
from imq.engine.store.archive_listing import (
    get_blob_path,
    has_blob,
    read_blob_document,
    read_docker_images,
    read_listing,
    read_tree,
)
from imq.grammar import ast
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .places import STORAGE, Place, inspect_kind
from .reader import open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, BinaryIO

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.contents.blob_checks import BlobCheck
    from imq.engine.store.archive_files import ImageFiles

    from .content import ListedImage
    from .place_reader import PlaceReader

_READ_SIZE = 1 << 20
_MAGIC_SIZE = 512


class VerifyImage(PreparedAction):
    """Verify the blobs of one entry of the listing of a place: `root` is its digest, `id` that of its first image."""

    place: Place
    name: str
    root: Digest
    id: Digest | None

    def describe(self) -> Outcome:
        """Return the image with its place."""
        return Outcome("verify", self.name, self.id, note=f"in {self.place.text}")

    @staticmethod
    def prepare(actions: Sequence[Any], context: ExecutionContext) -> None:
        """Let workers check the layers of layouts, if there are any. Archives are read here: they are one file."""
        if context.workers is None:
            return
        from imq.engine.sources.contents.blob_checks import check_blobs

        places: dict[Place, list[Digest]] = {}
        for action in actions:
            places.setdefault(action.place, []).append(action.root)
        of_places: dict[BlobCheck, str] = {}
        for place, roots in places.items():
            with suppress(ImqError):  # it is reported when the first image is verified
                of_places |= dict.fromkeys(_list_checks(inspect_kind(place), roots, context), place.path)
        results = context.get_shared(_Results).errors
        for check, found in check_blobs(context.workers, list(of_places), context.progress):
            key = (of_places[check], str(check.descriptor.digest), str(check.diff_id))
            results[key] = found if isinstance(found, ImqError) else None

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Verify the image; yield an outcome for each defect, or one for the intact image.

        Raises `NotFound` (`changed`) when the place no longer lists it.
        """
        results = context.get_shared(_Results)
        place = inspect_kind(self.place)
        with open_files(place, context.store.largest_document) as files:
            verifier = _Verifier(files, place, context.store.largest_document, results)
            size = verifier.verify(self.root)
        for error in verifier.defects:
            yield Outcome("verify", self.name, self.id, note=f"in {self.place.text}", error=error)
        if not verifier.defects:
            absent = f"; {verifier.absent} of its index not here" if verifier.absent else ""
            yield Outcome("verify", self.name, self.id, size, note=f"every blob is intact{absent}")


def _list_checks(place: Place, roots: Iterable[Digest], context: ExecutionContext) -> Iterator[BlobCheck]:
    """Yield the layers of entries of the listing of a place that other processes can read."""
    from imq.engine.sources.contents.blob_checks import BlobCheck

    with open_files(place, context.store.largest_document) as files:
        if not isinstance(files, Folder):
            return
        verifier = _Verifier(files, place, context.store.largest_document, context.get_shared(_Results))
        for layer, diff_id in verifier.list_layers(roots):
            path = files.find_path(get_blob_path(layer.digest)) if layer.digest.is_supported else None
            if path is not None and diff_id is not None and media_types.is_layer(layer.media_type):
                yield BlobCheck(layer, diff_id, path)


class _Results:
    """What a statement has read, by the path of the place: the listing, and the blobs, each with its error."""

    def __init__(self, _context: ExecutionContext) -> None:
        self.listings: dict[str, dict[Digest, ListedImage]] = {}
        self.errors: dict[tuple[str, str, str], ImqError | None] = {}


class _Verifier:
    def __init__(self, files: ImageFiles, place: Place, max_size: int, results: _Results) -> None:
        self._files = files
        self._place = place
        self._max_size = max_size
        self._listings = results.listings
        self._results = results.errors
        self.defects: list[ImqError] = []
        self.absent = 0

    def verify(self, root: Digest) -> int:
        """Verify the blobs of an entry of the listing, and return their size in bytes."""
        entry = self._read_listing().get(root)
        if entry is None:
            raise NotFound(f"{self._place.text} no longer lists {root.short}", code="changed")
        return self._verify_docker_image(entry) if self._is_docker_image(entry) else self._verify_tree(entry)

    def _read_listing(self) -> dict[Digest, ListedImage]:
        listing = self._listings.get(self._place.path)
        if listing is None:
            from .reader import ListingReader

            listed = ListingReader(self._files, self._place, self._max_size).read()
            listing = self._listings[self._place.path] = {one.descriptor.digest: one for one in listed}
        return listing

    @staticmethod
    def _is_docker_image(entry: ListedImage) -> bool:
        return any(image.manifest is None for image in entry.images) or not entry.descriptor.media_type

    def _verify_tree(self, entry: ListedImage) -> int:
        sizes: dict[Digest, int] = {}

        def fail(_descriptor: Descriptor, error: ImqError) -> None:
            self.defects.append(error)

        tree = read_tree(
            self._files, entry.descriptor, self._max_size, fail, {}
        )  # documents are verified as they are read
        for node in tree.top_down():
            sizes[node.descriptor.digest] = node.descriptor.size
            if not isinstance(node.document, Manifest):
                self.absent += sum(not has_blob(self._files, one.digest) for one in node.document.manifests)
                continue
            manifest = node.document
            sizes[manifest.config.digest] = manifest.config.size
            for layer, diff_id in self._read_layers(manifest, self.defects.append):
                sizes[layer.digest] = layer.size
                self._verify_blob(layer, diff_id)
        return sum(sizes.values())

    def list_layers(self, roots: Iterable[Digest]) -> Iterator[tuple[Descriptor, Digest | None]]:
        """Yield the layers of entries of the listing, as far as they are known, with their diff IDs."""
        listed = self._read_listing()
        for root in roots:
            entry = listed.get(root)
            if entry is None or self._is_docker_image(entry):
                continue
            for node in read_tree(self._files, entry.descriptor, self._max_size, _ignore, {}).top_down():
                if isinstance(node.document, Manifest):
                    yield from self._read_layers(node.document, lambda _: None)

    def _read_layers(
        self, manifest: Manifest, fail: Callable[[ImqError], None]
    ) -> Iterator[tuple[Descriptor, Digest | None]]:
        """Yield the layers of a manifest with their diff IDs; `fail` gets the error of its config."""
        diff_ids: tuple[Digest, ...] = ()
        try:
            content = read_blob_document(self._files, manifest.config, self._max_size)
            if manifest.is_image:
                from imq.engine.oci.config import Config

                diff_ids = Config.parse(content, f"the config {manifest.config.digest}").diff_ids
        except ImqError as error:
            fail(error)
        for at, layer in enumerate(manifest.layers):
            yield layer, diff_ids[at] if at < len(diff_ids) else None

    def _verify_blob(self, blob: Descriptor, diff_id: Digest | None) -> None:
        key = (self._place.path, str(blob.digest), str(diff_id))
        if key not in self._results:
            try:
                self._results[key] = None
                self._check_blob(blob, diff_id)
            except ImqError as error:
                self._results[key] = error
        if (problem := self._results[key]) is not None:
            self.defects.append(problem)

    def _check_blob(self, blob: Descriptor, diff_id: Digest | None) -> None:
        """Raise the error of a blob that is missing, or whose content does not have its digest or diff ID."""
        source = self._files.open(get_blob_path(blob.digest)) if has_blob(self._files, blob.digest) else None
        if source is None:
            raise NotFound(f"the layer {blob.digest} is missing", code="blob-missing")
        with source:
            hashed = hashlib.new(blob.digest.algorithm)
            is_layer = diff_id is not None and media_types.is_layer(blob.media_type)
            found: Digest | None = None
            problem: Malformed | None = None
            try:
                found = _measure(source, f"the layer {blob.digest}", hashed, diff_id if is_layer else None)
            except Malformed as error:
                problem = error
        if hashed.hexdigest() != blob.digest.encoded:
            raise DigestMismatch(f"the layer {blob.digest} is damaged: its content has another digest")
        if problem is not None:
            raise problem
        if is_layer and found != diff_id:
            raise DigestMismatch(f"the layer {blob.digest} unpacks to {found}, and its config says {diff_id}")

    def _verify_docker_image(self, entry: ListedImage) -> int:
        """Verify an image of docker's own format: its config is named by its digest, its layers by their diff IDs."""
        self.defects += [one.problem for one in entry.unreadable]
        content = read_listing(self._files, "manifest.json", self._place.path)
        size = entry.descriptor.size
        for listed in read_docker_images(content, self._place.path) if content is not None else ():
            if not set(map(str, listed.names)) & set(map(str, entry.names)) and entry.names:
                continue
            for image in entry.images:
                if len(listed.layers) != len(image.layers) or image.id.encoded not in listed.config:
                    continue
                for name, layer in zip(listed.layers, image.layers, strict=True):
                    size += self._files.size(name)
                    self._verify_file(name, layer.diff_id)
        return size

    def _verify_file(self, name: str, diff_id: Digest) -> None:
        key = (self._place.path, name, str(diff_id))
        if key not in self._results:
            try:
                self._results[key] = None
                source = self._files.open(name)
                if source is None:
                    raise NotFound(f"the layer {name} is missing from the archive", code="blob-missing")
                with source:
                    found = _measure(source, f"the layer {name}", hashlib.new("sha256"), diff_id)
                if found != diff_id:
                    raise DigestMismatch(f"the layer {name} unpacks to {found}, and its config says {diff_id}")
            except ImqError as error:
                self._results[key] = error
        if (problem := self._results[key]) is not None:
            self.defects.append(problem)


def _ignore(_descriptor: Descriptor, _error: ImqError) -> None:
    """Do nothing."""


def _measure(source: BinaryIO, name: str, hashed: hashlib._Hash, diff_id: Digest | None) -> Digest | None:
    """Hash a blob; with a diff ID also unpack it, and return the diff ID that it has. Raises `Malformed`."""
    if diff_id is None:
        while chunk := source.read(_READ_SIZE):
            hashed.update(chunk)
        return None
    head = source.read(_MAGIC_SIZE)
    compression = detect_compression(head)
    meter = LayerMeter(compression, diff_algorithm=diff_id.algorithm)
    error: Malformed | None = None
    chunk = head
    with meter:
        while chunk:
            hashed.update(chunk)
            try:
                if error is None:
                    meter.feed(chunk)
            except Malformed as problem:
                error = problem  # the rest is hashed: the digest tells a damaged blob from one that was made like this
            chunk = source.read(_READ_SIZE)
        if error is None:
            try:
                return meter.finish().diff_id
            except Malformed as problem:
                error = problem
    raise Malformed(f"{name} cannot be unpacked: {error.message}", code=error.code)


def plan_verify(reader: PlaceReader, act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the verification of each image that an action is about."""
    repair = get_option(act, "repair")
    if repair is not None:
        raise StatementError(
            "repair works in the store alone: imq does not change images that lie elsewhere",
            code="option",
            span=repair.span,
            hints=("bring them into the store first: copy images in PLACE where … to store",),
        )
    actions: dict[tuple[str, Digest], Action] = {}
    for text, listed, name in _list_targets(reader, act, context):
        place = reader.parse(text)
        assert place is not None
        if inspect_kind(place).kind == STORAGE:
            raise StatementError(
                f"{text} keeps layers unpacked, so they have no digest to verify",
                code="place",
                span=act.span,
                hints=("podman verifies its storage itself: podman system check",),
            )
        digest = listed.descriptor.digest
        id_ = listed.images[0].id if listed.images else None
        actions.setdefault((text, digest), VerifyImage(place, name or digest.short, digest, id_))
    return list(actions.values())


def _list_targets(
    reader: PlaceReader, act: ast.ActionStatement, context: PlanContext
) -> Iterator[tuple[str, ListedImage, str | None]]:
    """Yield the entries of an action: the string of the place, the entry and a name."""
    if act.query is None:
        texts = [ref.text for ref in list_source_refs(act, context)]
        if not act.references:  # verify all
            for text in texts:
                yield from ((text, one, _first_name(one)) for one in reader.read(text).content.listed)
        for operand, node in zip(context.literals(act.references), act.references, strict=True):
            found = [(text, listed) for text in texts for listed in reader.read(text).find(operand)]
            if not found:
                raise NotFound(f"no image {operand} in {' and '.join(texts)}", code="no-such-image", span=node.span)
            yield from ((text, listed, operand) for text, listed in found)
        return
    select = bind_whole_rows(act, context)
    if select.table.name != "images":
        raise StatementError(f"verify takes images, not {select.table.name}", code="operand", span=act.query.span)
    require_where(act.query, act.verb)
    columns = (ast.Column(ast.Field(("source",))), ast.Column(ast.Field(("name",))))
    query = ast.Query("", base=act.query, select=columns, span=act.query.span)
    for place, name, root in context.rows(query, ("_listed",))[1]:
        for listed in reader.read(str(place)).content.listed:
            if listed.descriptor.digest == root:
                yield str(place), listed, None if name is None else str(name)


def _first_name(listed: ListedImage) -> str | None:
    return str(listed.names[0]) if listed.names else None
