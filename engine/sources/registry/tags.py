"""The tables `tags` and `images` of registries: names first, then digests, manifests and configs on demand."""

from __future__ import annotations

from imq.engine.catalog.tables import CONFIG_FIELDS
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.query.source import FetchRequest
from imq.engine.store.registry_cache import select_position
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .reader import WRITE_BATCH, RequestedName
from .table_scan import RegistryScan, get_location_columns, is_not_found, parse_row_reference
from .tables import BASES, CONFIG, DIGEST, REFERRERS_LEVEL, ROOT_MANIFEST, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import FetchLevel, Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.registry.manifests import FetchedManifest

    from .reader import RegistryReader

_INDEX_FIELDS = frozenset({"platform", "os", "architecture", "variant", "os_version", "platforms"})
"""Fields that an index contains, so that the configs of its images are not needed."""
_SIGNATURE_TYPES = (
    "application/vnd.cncf.notary.signature",
    "application/vnd.dev.cosign.artifact.sig.*",
    "application/vnd.dev.sigstore.bundle*",
)
_CONFIG_COLUMNS = ["created", *(field.name for field in CONFIG_FIELDS)]
_PLATFORM_FIELDS = ["platform", "os", "architecture", "variant", "os_version"]


class Tags(RegistryScan):
    """Rows of tags. `digest` is that of the tag, `manifest` that of the image for the selected platform.

    With `images` a name without a tag means its default tag, not all tags of the repository.
    """

    columns = ("_lookup", "registry", "repository", "_path", "tag", "name", "source", "digest")
    fetched_columns = ("_position", "_gone", "manifest", "chain_id", "base_chain_id", "signed", "stated_media_type")

    def __init__(self, source: RegistryReader, scan: ScanRequest, platform: Platform, *, images: bool = False) -> None:
        super().__init__(source, scan)
        self._platform = platform
        self._single_names = images or scan.single_image
        self._rank_function = f"rank_{scan.view}"

    # Listing

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Create the view, and list the tags of repositories and the names with a tag."""
        self._make_view()
        single_names: list[RequestedName] = []
        repositories: list[tuple[str | None, Reference]] = []
        for requested in self.reader.parse_names(self.scan, names):
            if isinstance(requested, str):
                nothing = (None,) * (len(self.columns) - 2)
                self.insert([(requested, *nothing[:4], requested, *nothing[4:], "invalid image name")])
            elif requested.reference.tag or requested.reference.digest or self._single_names:
                single_names.append(requested.replace(reference=self._normalize_reference(requested.reference)))
            else:
                repositories.append((requested.text, requested.reference))
        self.insert(map(_make_name_row, single_names))
        known_digests = frozenset(name.digest for name in single_names if name.digest)
        self._fetch_heads(
            [
                one
                for one in self._find_unresolved(f"temp.{self.rows} AS t", "1")
                if str(one.reference.digest) not in known_digests
            ]
        )
        is_only = len(repositories) == 1 and not single_names and not self.scan.refs and not self.scan.lookup_fields
        self._list_tags(repositories, is_only_target=is_only)
        self._list_tags(
            [(None, repository) for repository in self.reader.list_repositories(self.scan.refs, self.error_view)],
            is_only_target=False,
        )

    def _normalize_reference(self, reference: Reference) -> Reference:
        """Return the reference to request. For a single image, NAME:TAG@DIGEST is the current digest of the tag."""
        if self.scan.single_image and reference.tag is not None:
            return reference.replace(digest=None)
        return reference.with_default_tag()

    def _list_tags(self, repositories: Sequence[tuple[str | None, Reference]], *, is_only_target: bool) -> None:
        """List the tags of repositories.

        A missing repository is an error if it is the only target, and a problem if the statement names it.
        """
        requests = ((number, reference) for number, (_, reference) in enumerate(repositories))
        counts: dict[int, int] = {}
        for number, page in self.reader.batch.fetch_tags(requests):
            text, reference = repositories[number]
            if isinstance(page, ImqError):
                if is_not_found(page) and text in self.scan.targets:
                    alternative = f"tags in {reference.registry}/{reference.repository}"
                    page.hints = (
                        *page.hints,
                        f"if the repository may be missing: {alternative}, which also includes repositories below it",
                    )
                if is_only_target:
                    raise page
                if not is_not_found(page) or text in self.scan.targets:
                    self.reader.add_problem(page, str(reference), self.error_view)
                continue
            self.insert(_make_tag_rows(text, reference, page.tags))
            counts[number] = counts.get(number, 0) + len(page.tags)
            if page.is_last:
                self.reader.cache.set_tag_count(reference, counts[number], f"temp.{self.rows}")

    def _make_view(self) -> None:
        fields = {
            "manifest_digest": "t.manifest",
            "media_type": "coalesce(named.media_type, nullif(t.stated_media_type, ''))",
            "artifact_type": "named.artifact_type",
            "platforms": """CASE named.kind WHEN 'index' THEN (SELECT json_group_array(platform) FROM (SELECT platform
                FROM cache.child WHERE parent = t.digest AND NOT attestation ORDER BY position))
                WHEN 'image' THEN iif(config.platform IS NULL, NULL, json_array(config.platform)) END""",
            "id": "manifest.config",
            "layer_count": "manifest.layer_count",
            "annotations": "json_patch(named.annotations, coalesce(manifest.annotations, '{}'))",
            "size": "manifest.download_size",
            "download_size": "manifest.download_size",
            **{name: f"config.{name}" for name in _CONFIG_COLUMNS},
            **{name: f"coalesce(entry.{name}, config.{name})" for name in _PLATFORM_FIELDS},
            "diff_ids": "config.diff_ids",
            "chain_ids": "config.chain_ids",
            "dangling": "0",
        }
        self.create(
            fields,
            """LEFT JOIN cache.document AS named ON named.digest = t.digest
            LEFT JOIN cache.child AS entry ON entry.parent = t.digest AND entry.position = t._position
            LEFT JOIN cache.document AS manifest ON manifest.digest = t.manifest
            LEFT JOIN cache.config AS config ON config.digest = manifest.config""",
        )
        self.connection.create_function(self._rank_function, 5, self._platform.make_ranker(), deterministic=True)

    # Fetching

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch these fields for the rows in `selected_rows`."""
        level, names = request.level, {field.name for field in request.fields}
        if level is BASES:
            self._fetch_bases()
            return
        self._resolve_digests(documents=request.continues or level is not DIGEST)
        if level is DIGEST:
            return
        if level is REFERRERS_LEVEL:
            self._detect_signatures()
            return
        self.fetch_manifests("digest")
        self._select_manifests()
        if level is ROOT_MANIFEST or (level is CONFIG and names <= _INDEX_FIELDS and not self._has_single_images()):
            return
        self.fetch_manifests("manifest")
        if level is CONFIG:
            self.fetch_configs("manifest", "t._position IS NULL" if names <= _INDEX_FIELDS else "")
            self._set_chain_ids()

    def _fetch_bases(self) -> None:
        """Fetch the configs of all rows, and set the bases of the selected ones."""
        selected = self.selected
        self.select_all()
        try:
            self._resolve_digests(documents=True)
            self.fetch_manifests("digest")
            self._select_manifests()
            self.fetch_manifests("manifest")
            self.fetch_configs("manifest")
            self._set_chain_ids()
        finally:
            self.selected = selected
        text = f"SELECT DISTINCT source, id, chain_id, chain_ids FROM temp.{self.scan.view} WHERE chain_id IS NOT NULL"
        self.set_bases(self.connection.execute(text).fetchall())

    def _set_chain_ids(self) -> None:
        """Set the chain IDs of the selected rows, by which images are joined with their bases."""
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET chain_id = (
                SELECT value FROM temp.{self.scan.view} AS row, json_each(row.chain_ids) AS one
                WHERE row._row = {self.rows}._row ORDER BY one.key DESC LIMIT 1)
            WHERE chain_id IS NULL AND _row IN (SELECT _row FROM temp.{self.selected})"""
        )

    def _resolve_digests(self, *, documents: bool) -> None:
        """Resolve the digests of tags. With `documents`, manifests that are not cached are fetched by tag directly."""
        rows = f"temp.{self.rows} AS t JOIN temp.{self.selected} USING (_row)"
        unresolved = self._find_unresolved(rows, "t.digest IS NULL AND t.problem IS NULL")
        is_shared = self.reader.shared is not None  # then the documents of a digest may be known without a request
        fetch_directly = documents and not self.reader.batch.resolves_tags_first and not is_shared
        new = {one.row: one.reference for one in unresolved if fetch_directly and not one.has_manifest}
        self._fetch_heads([one for one in unresolved if one.row not in new])
        self._handle_results(self.reader.batch.fetch_manifests(new.items()), new)

    def _find_unresolved(self, rows: str, condition: str) -> list[_UnresolvedName]:
        """Return the names to resolve, with their cached descriptors.

        Fresh cached digests are stored in the rows without a request.
        """
        now = self.reader.clock()
        text = f"""SELECT t.registry, t._path, t.tag, t._row, t.digest, last.digest, last.media_type, last.size,
                last.requested_at, document.digest IS NOT NULL
            FROM {rows} LEFT JOIN cache.tag AS last
                ON last.registry = t.registry AND last.repository = t._path AND last.tag = t.tag AND t.digest IS NULL
            LEFT JOIN cache.document ON document.digest = last.digest
            WHERE t.registry IS NOT NULL AND {condition}"""
        fresh: list[tuple[str, str, int]] = []
        unresolved = []
        for *name, row, row_digest, digest, media_type, size, requested_at, has_document in self.connection.execute(
            text
        ).fetchall():
            if digest is not None and now - self.reader.fresh_nanoseconds < requested_at <= now:
                fresh.append((digest, media_type, row))
                continue
            cached = Descriptor(media_type, Digest(digest), size) if digest is not None else None
            reference = parse_row_reference(name)
            unresolved.append(
                _UnresolvedName(
                    row,
                    reference if row_digest is None else reference.replace(digest=Digest(row_digest)),
                    cached,
                    has_document,
                )
            )
        self.connection.executemany(_SET_DIGEST.format(self.rows), fresh)
        return unresolved

    def _fetch_heads(self, unresolved: Sequence[_UnresolvedName]) -> None:
        """Resolve names with HEAD requests."""
        names = {one.row: one.reference for one in unresolved}
        cached = {one.row: one.cached for one in unresolved if one.cached is not None}
        self._handle_results(self.reader.batch.fetch_heads(names.items(), cached), names)

    def _handle_results(
        self, results: Iterator[tuple[int, Descriptor | FetchedManifest | ImqError]], names: dict[int, Reference]
    ) -> None:
        failures: list[tuple[int, ImqError, str]] = []
        batch: list[tuple[int, Reference, Descriptor | FetchedManifest]] = []
        for row, result in results:
            if isinstance(result, ImqError):
                failures.append((row, result, names[row].familiar_name))
                continue
            batch.append((row, names[row], result))
            if len(batch) >= WRITE_BATCH:
                failures += self._store_results(batch)
                batch = []
        failures += self._store_results(batch)
        missing = [(row,) for row, error, _ in failures if is_not_found(error)]
        self.connection.executemany(f"UPDATE temp.{self.rows} SET _gone = 1 WHERE _row = ?", missing)
        if self.scan.lookup_fields:  # in a lookup, a missing name has no row
            self.connection.executemany(f"DELETE FROM temp.{self.rows} WHERE _row = ?", missing)
            failures = [failure for failure in failures if not is_not_found(failure[1])]
        self.set_problems(failures)

    def _store_results(
        self, results: Sequence[tuple[int, Reference, Descriptor | FetchedManifest]]
    ) -> list[tuple[int, ImqError, str]]:
        """Store results in the rows and the cache; return invalid manifests as failures."""
        digests: list[tuple[Digest, str, int]] = []
        tags: list[tuple[Reference, Descriptor]] = []
        fetched: list[tuple[int, Reference, FetchedManifest]] = []
        for row, reference, result in results:
            digests.append((result.digest, result.media_type, row))
            if isinstance(result, Descriptor):
                tags.append((reference, result))
            else:
                fetched.append((row, reference, result))
        failures = [(row, error, ref.familiar_name) for row, ref, error in self.reader.store_manifests(fetched)]
        self.reader.cache.add_tags(tags, self.reader.clock())
        self.connection.executemany(_SET_DIGEST.format(self.rows), digests)
        return failures

    def _select_manifests(self) -> None:
        """Select the manifest of each row. For an index it is the image for the platform, or else the first image."""
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET _position = ({select_position(f"{self.rows}.digest", self._rank_function)})
            WHERE manifest IS NULL AND digest IS NOT NULL AND _row IN (SELECT _row FROM temp.{self.selected})"""
        )
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET manifest = coalesce((
                SELECT child.digest FROM cache.child WHERE parent = {self.rows}.digest AND position = _position),
                (SELECT digest FROM cache.document WHERE digest = {self.rows}.digest AND kind <> 'index'))
            WHERE manifest IS NULL AND digest IS NOT NULL AND _row IN (SELECT _row FROM temp.{self.selected})"""
        )

    def fetch_index_entries(self) -> None:
        """Fetch the manifests of all entries of the indexes."""
        text = f"""SELECT registry, _path, NULL, child.digest FROM temp.{self.rows} AS t
            JOIN cache.child ON child.parent = t.digest WHERE t.problem IS NULL AND NOT EXISTS (
                SELECT 1 FROM cache.document WHERE document.digest = child.digest) GROUP BY child.digest"""
        missing_rows = self.connection.execute(text).fetchall()
        for _, error in self.reader.fetch_manifests(
            [(parse_row_reference(row), Digest(str(row[3]))) for row in missing_rows]
        ):
            if not is_not_found(error):  # a missing entry has no contents
                self.reader.add_problem(error, self.scan.table.name, self.error_view)

    def _has_single_images(self) -> bool:
        """Whether some of the rows are images without an index."""
        text = "EXISTS (SELECT 1 FROM cache.document AS d WHERE d.digest = t.digest AND d.kind = 'image')"
        return bool(self.read_selected(f"{text} LIMIT 1", "1"))

    def _detect_signatures(self) -> None:
        """Detect which rows have a signature: a cosign tag, or a referrer."""
        undetermined = "t.digest IS NOT NULL AND t.signed IS NULL AND t.problem IS NULL"
        rows = self.read_selected(undetermined, "registry, _path, NULL, t.digest, t._row")
        subjects = {int(row[4] or 0): str(row[3]) for row in rows}
        signed: dict[int, int | None] = dict.fromkeys(subjects, 0)
        signature_tags = {
            int(row[4] or 0): parse_row_reference(row).replace(tag=f"{row[3]}.sig".replace(":", "-", 1)) for row in rows
        }
        images = {(row[0], row[1]): parse_row_reference(row).replace(digest=Digest(str(row[3]))) for row in rows}
        for _ in self.reader.batch.fetch_heads(enumerate(images.values())):
            pass  # detects whether HEAD works in each repository; if so, a 404 is final
        for row, result in self.reader.batch.fetch_heads(signature_tags.items(), expect_missing=True):
            if not isinstance(result, ImqError):
                signed[row] = int(str(result.digest) != subjects[row])
            elif not is_not_found(result):
                signed[row] = None
                self.set_problems([(row, result, signature_tags[row].familiar_name)])
        unsigned = [row for row in rows if signed[int(row[4] or 0)] == 0]
        requests = ((int(row[4] or 0), parse_row_reference(row), Digest(str(row[3]))) for row in unsigned)
        for row, referrers in self.reader.batch.fetch_referrers(requests):
            if isinstance(referrers, ImqError):
                signed[row] = None
                self.set_problems([(row, referrers, self.scan.table.name)])
            elif any(_is_signature(one.artifact_type) for one in referrers):
                signed[row] = 1
        self.connection.executemany(
            f"UPDATE temp.{self.rows} SET signed = ? WHERE _row = ?", ((value, row) for row, value in signed.items())
        )


_SET_DIGEST = "UPDATE temp.{} SET digest = ?, stated_media_type = ? WHERE _row = ?"
"""Sets the digest of a row, and the media type in the response header."""


class _UnresolvedName(Record):
    """A name to resolve: its row, its cached descriptor, and whether that manifest is cached."""

    row: int
    reference: Reference
    cached: Descriptor | None
    has_manifest: bool


def _is_signature(artifact_type: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(artifact_type, pattern) for pattern in _SIGNATURE_TYPES)


def _make_tag_rows(lookup_name: str | None, repository: Reference, tags: Iterable[str]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a repository's tags, without a problem."""
    registry, name, path = get_location_columns(repository)
    for tag in tags:
        # an invalid tag would change the meaning of a short name: redis:5000/x
        full_name = name if "/" not in tag else f"{registry}/{path}"
        yield (
            lookup_name,
            registry,
            name,
            path,
            tag,
            f"{full_name}:{tag}",
            registry,
            None,
            None,
        )


def _make_name_row(requested: RequestedName) -> tuple[object, ...]:
    """Return the row of one name, without a problem."""
    reference = requested.reference
    registry, name, path = get_location_columns(reference)
    return (
        requested.text,
        registry,
        name,
        path,
        reference.tag,
        str(reference),
        registry,
        requested.digest or reference.digest,
        None,
    )


class ResolvedNames(Tags):
    """The names of another scan, as rows of tags.

    With `repositories` a name without a tag means all tags of its repository.
    """

    def __init__(
        self, source: RegistryReader, scan: ScanRequest, platform: Platform | None = None, *, repositories: bool = False
    ) -> None:
        error_view = scan.view
        table = TABLES["tags"].replace(view=f"{scan.view}_of")
        scan = scan.replace(view=table.view, table=table)
        super().__init__(source, scan, platform or source.platform, images=not repositories)
        self.error_view = error_view

    def resolve(self, names: Sequence[tuple[Raw, ...]], level: FetchLevel, field: str) -> None:
        """List the names, and fetch a field of this level for all of them."""
        self.list_rows(names)
        self.select_all()
        self.fetch(FetchRequest(level, frozenset({TABLES["tags"].get_field(field)})))
