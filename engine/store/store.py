"""The content store: opening it, resolving names, reading blobs, and starting ingests and transactions."""

from __future__ import annotations

import os
from _thread import allocate_lock

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest, parse_hex_prefix
from imq.grammar.errors import InvalidReference, NotFound, StoreError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

from .layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Reference
    from imq.grammar.errors import ImqError

    from .corruption import VerifiedBlob
    from .index import StoreIndex
    from .ingest import Ingest
    from .layer_measure import LayerMeasure
    from .transaction import Transaction


class ResolvedImage(Record):
    """A resolved image. `name` is the name of its entry when it was resolved by name, else None."""

    key: int
    id: Digest
    manifest: Digest
    root: Digest
    name: str | None


class Store:
    """One store. Opening it reads only the index; a store that does not exist is empty and is created by a write."""

    def __init__(self, root: str, *, creates_for_cache: bool = True) -> None:
        self.layout = Layout(os.path.abspath(root))
        self._creates_for_cache = creates_for_cache
        self._index: StoreIndex | None = None
        self._maps_index = True
        self._should_retry = True
        self._mutex = allocate_lock()
        self.platform: Platform | None = None
        """The platform to resolve names of indexes for; None: the platform of this machine."""
        self.file_index_limit: int | None = None
        self.index_cache_url = ""
        """The shared cache of indexes of layers, "" without one."""
        self.index_cache_limit: int | None = None
        """The size in bytes to which `prune` trims the index of files; None: it keeps everything."""
        self.quota: int | None = None
        """The maximum size in bytes of all blobs, enforced by new ingests; None: limited by the disk."""
        self.read_containers: Callable[[StoreIndex], None] | None = None
        """Brings the rows of containers up to date; called once in each statement."""

    @property
    def largest_document(self) -> int:
        """The maximum size in bytes of a manifest or config. A larger one is refused, or unreadable if it is stored."""
        return self.layout.largest_document

    @largest_document.setter
    def largest_document(self, size: int) -> None:
        self.layout.largest_document = size

    def count_running_ingests(self) -> int:
        """Return the number of transfers into the store that are running now, in all processes."""
        from .leases import count_running_ingests

        return count_running_ingests(self.layout)

    @property
    def root(self) -> str:
        """The store's folder."""
        return self.layout.root

    @property
    def index(self) -> StoreIndex:
        """The index, synchronized with the layout."""
        if self._index is None:
            writable = self.layout.exists and self.layout.is_writable()
            if writable and self.layout.has_leftovers():
                from .leases import remove_leftovers

                remove_leftovers(self.layout)
            elif not self.layout.exists and os.path.lexists(self.layout.root):
                self.layout.check()
            from .index import StoreIndex  # loads SQLite

            self._index = StoreIndex(self.layout, create=writable, maps_file=self._maps_index)
        retries, self._should_retry = self._should_retry, False
        self._index.sync_with_layout(retry=retries)
        if retries and self.read_containers is not None:
            self.read_containers(self._index)
        return self._index

    def map_index(self, maps_index: bool) -> None:
        """Map the file of the index into memory, or not; see `StoreIndex.map_file`."""
        self._maps_index = maps_index
        if self._index is not None:
            self._index.map_file(maps_index)

    def has_containers(self) -> bool:
        """Whether the store has any container."""
        return self.index.connection.execute("SELECT 1 FROM container LIMIT 1").fetchone() is not None

    def refresh_containers(self) -> None:
        """Bring the rows of containers up to date."""
        if self.read_containers is not None:
            self.read_containers(self.index)

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
            self._index = None
        self.layout.close_directories()

    def get_cache_layout(self) -> Layout | None:
        """Return the layout for the registry cache; None when it is not writable.

        It is created if it is missing, unless the store was opened without `creates_for_cache`.
        """
        try:
            if not self._creates_for_cache and not self.layout.exists:
                return None
            self.layout.create()
        except StoreError as problem:
            if problem.code == "unsafe-file":
                raise
            return None
        return self.layout if self.layout.is_writable() else None

    def begin_statement(self) -> None:
        """Begin a statement: unreadable documents are read again.

        An index in memory is replaced when the store has been created since it was opened.
        """
        self._should_retry = True
        self.layout.close_directories()
        if self._index is not None and not self._index.is_persistent and self.layout.exists:
            self.close()

    def _create_layout(self) -> Layout:
        """Return the layout, created if it is missing."""
        if not self.layout.exists:
            self.close()
        self.layout.create()
        return self.layout

    def start_ingest(self, *, measure_later: bool = False, scan_folder: str | None = None) -> Ingest:
        """Return an ingest. `measure_later` defers the decompression of layers and its checks.

        With `scan_folder`, layers are scanned for the index of files while they are measured.
        """
        from .ingest import Ingest  # loads the codecs, which queries do not need

        return Ingest(self._create_layout(), measure=not measure_later, quota=self.quota, scan_folder=scan_folder)

    def start_transaction(self, measures: Iterable[LayerMeasure] = ()) -> Transaction:
        """Return a transaction. `measures` are the layer measures of an ingest."""
        from .transaction import Transaction

        return Transaction(self._create_layout(), self.index, measures)

    def check_collectable(self) -> None:
        """Raise `StoreError` while an image is unreadable: it may need any of the blobs that seem unreachable."""
        if incomplete := self.index.find_incomplete_roots():
            from .unreadable_images import collection_blocked

            raise collection_blocked(incomplete.values())

    def check_exists(self) -> None:
        """Raise `StoreError` when there is no store."""
        if not self.layout.exists:
            if os.path.lexists(self.root):
                self.layout.check()
            raise StoreError(
                f"no store found at {self.root}",
                code="no-store",
                hints=("check --root; pull, load and import create a store when it does not exist",),
            )

    def reindex(self) -> None:
        """Rebuild the index from the layout; layers are measured when a query next needs their sizes."""
        self._create_layout()
        self.index.rebuild()

    # Finding

    def has_images(self) -> bool:
        """Whether the store has any image."""
        return self.index.connection.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is not None

    def find(self, text: str) -> ResolvedImage:
        """Return the image of a name, or of an ID or digest or the beginning of one. Names take precedence.

        Raises `NotFound` with similar names, or with the candidates of an ambiguous ID.
        """
        from imq.engine.oci.reference import Reference

        reference: Reference | None = None
        problem: InvalidReference | None = None
        if not is_digest(text):
            try:
                reference = Reference.parse(text)
            except InvalidReference as invalid:
                problem = invalid
        if (image := self._find_layout_name(text)) or (
            reference is not None and (image := self._find_by_name(reference))
        ):
            return image
        if (digits := parse_hex_prefix(text)) and (image := self._find_by_id(text, digits)):
            return image
        if problem is not None and not parse_hex_prefix(text):
            raise problem
        raise self._not_found(text, reference)

    def _find_layout_name(self, text: str) -> ResolvedImage | None:
        """Return the image of a name by another tool that is not a docker reference."""
        from imq.engine.oci.reference import LayoutName, parse_name

        if not isinstance(parse_name(text), LayoutName):
            return None
        row = self._select_image("name = ?", (text,))
        return None if row is None else ResolvedImage(*row)

    def find_named(self, reference: Reference) -> ResolvedImage | None:
        """Return the readable image with this name; None when there is none. It suggests no names, as `find` does."""
        return self._find_by_name(reference)

    def _find_by_name(self, reference: Reference) -> ResolvedImage | None:
        values: tuple[str, ...]
        if reference.digest is not None:
            where, values = (
                "repository = ?1 AND (?2 IN (digest, _root, manifest_digest) OR instr(_other_digests, ?2))",
                (reference.familiar_name, reference.digest),
            )
        else:
            where, values = "name = ?", (str(reference.with_default_tag()),)
        row = self._select_image(where, values)
        return None if row is None else ResolvedImage(*row)

    def find_root(self, name: Reference) -> Digest | None:
        """Return the digest of the manifest or index of a name; None when it has no readable image."""
        sql = "SELECT root FROM entry WHERE name = ? AND image IS NOT NULL LIMIT 1"
        row = self.index.connection.execute(sql, (str(name),)).fetchone()
        return Digest(row[0]) if row else None

    def find_repositories(self, registry: str, blobs: Iterable[Digest]) -> dict[Digest, str]:
        """Return for each blob a repository of the registry with an image that has it, as far as known."""
        import json

        from imq.engine.oci.reference import Reference

        rows = self.index.connection.execute(
            "SELECT blob.digest, min(entry.repository) FROM json_each(?)"
            " CROSS JOIN descriptor AS blob ON blob.digest = value CROSS JOIN reaching ON reaching.blob = blob.key"
            " CROSS JOIN descriptor AS root ON root.key = reaching.root"
            " CROSS JOIN entry ON entry.root = root.digest"
            " WHERE entry.registry = ? AND entry.digest IS NOT NULL GROUP BY blob.digest",
            (json.dumps(list(blobs)), registry),
        )
        return {Digest(digest): Reference.parse(repository).repository for digest, repository in rows}

    def list_absent_manifests(self, root: Digest) -> dict[Digest, str]:
        """Return the manifests of an index that are not held, each with its platform or short digest."""
        from imq.engine.oci.manifest import Descriptor, Index, parse_manifest
        from imq.engine.oci.manifest_walk import read_manifest_tree

        from .index_check import make_holds

        holds = make_holds(self.index, root)
        absent: dict[Digest, str] = {}
        tree = read_manifest_tree(
            Descriptor("", root, 0),
            lambda index: parse_manifest(self.read_document(index.digest)),
            descends=lambda child: child.media_type in media_types.INDEXES and holds(child),
        )
        for node in tree.top_down():
            for child in node.document.manifests if isinstance(node.document, Index) else ():
                if not holds(child):
                    is_known = child.platform is not None and child.platform.is_known
                    label = child.platform.canonical if is_known and child.platform else child.digest.short
                    absent[child.digest] = label
        return absent

    def _find_by_id(self, text: str, digits: str) -> ResolvedImage | None:
        low, high = f"sha256:{digits}", f"sha256:{digits}g"  # g follows the hex digits
        for column in ("id", "_root", "manifest_digest"):
            rows = self.index.connection.execute(
                f"SELECT DISTINCT {column}, name FROM images"
                f" WHERE {column} >= ? AND {column} < ? AND _image IS NOT NULL LIMIT 20",
                (low, high),
            ).fetchall()
            candidates = {row[0] for row in rows}
            if len(candidates) > 1:
                shown = [f"{id_.removeprefix('sha256:')[:19]}  {name or '<none>'}" for id_, name in rows]
                raise NotFound(f'the id "{text}" is ambiguous', code="ambiguous-id", hints=("it could be:", *shown))
            if candidates:
                row = self._select_image(f"{column} >= ? AND {column} < ?", (low, high))
                assert row is not None
                return ResolvedImage(*row[:4], None)
        return None

    def _select_image(
        self, condition: str, values: tuple[str, ...]
    ) -> tuple[int, Digest, Digest, Digest, str | None] | None:
        rows = self.index.connection.execute(
            "SELECT _image, id, manifest_digest, _root, name, os, architecture, variant, os_version, NULL"
            f" FROM images WHERE ({condition}) AND _image IS NOT NULL ORDER BY _image",
            values,
        ).fetchall()
        if len({row[0] for row in rows}) > 1:
            from imq.engine.oci.platform import host_platform

            rank = (self.platform or host_platform()).make_ranker()
            ranks = [rank(*row[5:]) for row in rows]
            matching = [(row_rank, position) for position, row_rank in enumerate(ranks) if row_rank is not None]
            row = rows[min(matching)[1] if matching else 0]
        else:
            row = rows[0] if rows else None
        return row and (row[0], Digest(row[1]), Digest(row[2]), Digest(row[3]), row[4])

    def _not_found(self, text: str, reference: Reference | None) -> NotFound:
        if self.layout.exists:
            from .index_check import check_name

            name = str(reference.with_default_tag()) if reference is not None and not reference.digest else text
            check_name(self.index, name)
            if self.index.find_unreadable_roots():
                from .unreadable_images import find_named_problem

                if problem := find_named_problem(self.index.connection, name, parse_hex_prefix(text) or ""):
                    return problem
        names = [
            row[0]
            for row in self.index.connection.execute(
                "SELECT DISTINCT name FROM entry WHERE name IS NOT NULL LIMIT 5000"
            )
        ]
        shown = str(reference.with_default_tag()) if reference is not None and not reference.digest else text
        same = [name for name in names if reference is not None and name.startswith(f"{reference.familiar_name}:")]
        hint = f"tags in the store: {', '.join(sorted(same)[:8])}" if same else closest_hint(text, names)
        if not self.layout.exists:
            hint = f"no store found at {self.root}"
        return NotFound(f"No such image: {shown}", code="no-such-image", hints=(hint, f"to fetch it: imq pull {text}"))

    # Reading

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open a stored blob for reading, without verification.

        Raises `NotFound` (code `changed`) when another process has removed its last image.
        """
        try:
            return self.layout.open_blob(digest)
        except FileNotFoundError:
            if not self._is_reachable(digest):
                raise NotFound(
                    f"the image of the blob {digest} was removed while it was read",
                    code="changed",
                    hints=("run the statement again",),
                ) from None
        try:
            return self.layout.open_blob(digest)  # it may have been removed and stored again
        except FileNotFoundError:
            from .corruption import REPAIR_HINTS

            raise StoreError(
                f"the blob {digest} is not in the store", code="blob-missing", hints=REPAIR_HINTS
            ) from None

    def _is_reachable(self, digest: Digest) -> bool:
        """Whether an image of the current index.json has a blob."""
        with self._mutex:  # blobs are opened in threads
            return self._index is None or self._index.is_reachable(digest)

    def open_verified(self, digest: Digest) -> VerifiedBlob:
        """Open a stored blob for one sequential read that is verified before its last bytes are returned."""
        from .corruption import VerifiedBlob

        return VerifiedBlob(self.layout, digest, self.open_blob(digest))

    def read_document(self, digest: Digest) -> bytes:
        """Return the content of a document, verified against its digest."""
        from .corruption import read_verified_document

        return read_verified_document(self.layout, digest, self.open_blob)

    # Measuring

    def list_unmeasured_layers(self, root: Digest | None = None) -> list[tuple[Digest, Digest, int, str]]:
        """Return digest, diff ID, size and media type of each unmeasured layer of a known media type.

        With a `root`: only the layers of its images.
        """
        return [
            (Digest(row[0]), Digest(row[1]), row[2], row[3])
            for row in self.index.connection.execute(
                # CROSS JOIN: SQLite starts with the images of unknown size; usually there are none
                "SELECT DISTINCT descriptor.digest, chain.diff_id, descriptor.size, descriptor.media_type FROM image"
                " CROSS JOIN stack ON stack.image = image.key"
                " CROSS JOIN descriptor ON descriptor.key = stack.descriptor AND unpacked_size IS NULL"
                " CROSS JOIN chain ON chain.key = stack.chain"
                " WHERE image.size IS NULL AND image.shared_size IS NULL"
                " AND (:root IS NULL OR image.key IN (SELECT image FROM entry WHERE root = :root))",
                {"root": root},
            )
            if media_types.is_layer(row[3])
        ]

    def find_absent_blobs(self) -> None:
        """Look for the blobs of all images in the folder of the store, for the field `complete`."""
        self.index.update_absent_blobs()

    def measure_layers(
        self, jobs: int, root: Digest | None = None, on_progress: Callable[[int], None] = lambda _: None
    ) -> tuple[ImqError, ...]:
        """Decompress the unmeasured layers of `root`, else of all images; check their diff IDs and store the measures.

        `on_progress` is called with the size of each finished layer. Returns an error for each corrupt layer; the sizes
        of its images stay unknown.
        """
        pending = self.list_unmeasured_layers(root)
        if not pending:
            return ()
        from .measure import measure_layers  # loads the codecs only when they are needed

        measures: list[LayerMeasure] = []
        try:
            problems = measure_layers(self, pending, jobs, measures.append, on_progress)
            return tuple(problem for _, problem in problems if problem.code != "changed")
        finally:
            self.index.add_measures(measures)
