"""The table `tags`, and `images` of registries: names first, then digests, manifests and configs on demand."""

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
from .table_scan import RegistryScan, is_not_found, location_columns, row_reference
from .tables import CONFIG, DIGEST, REFERRERS_LEVEL, ROOT_MANIFEST, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import FetchLevel, Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.registry.manifests import FetchedManifest

    from .reader import RegistryReader

_INDEX_FIELDS = frozenset({"platform", "os", "architecture", "variant", "os_version", "platforms"})
"""Fields that an index states, without the configs of its images."""
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
    fetched_columns = ("_place", "_gone", "manifest", "signed", "stated")

    def __init__(self, source: RegistryReader, scan: ScanRequest, platform: Platform, *, images: bool = False) -> None:
        super().__init__(source, scan)
        self._platform = platform
        self._single_names = images or scan.single_image
        self._rank_function = f"rank_{scan.view}"

    # Listing

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Create the view, and list the tags of repositories and the names with a tag."""
        self._make_view()
        single: list[RequestedName] = []
        whole: list[tuple[str | None, Reference]] = []
        for asked in self.reader.parse_names(self.scan, names):
            if isinstance(asked, str):
                nothing = (None,) * (len(self.columns) - 2)
                self.insert([(asked, *nothing[:4], asked, *nothing[4:], "it is not the name of an image")])
            elif asked.reference.tag or asked.reference.digest or self._single_names:
                single.append(asked.replace(reference=self._normalize_reference(asked.reference)))
            else:
                whole.append((asked.text, asked.reference))
        self.insert(map(_name_row, single))
        told = frozenset(asked.digest for asked in single if asked.digest)
        self._fetch_heads(
            [
                one
                for one in self._find_unresolved(f"temp.{self.rows} AS t", "1")
                if str(one.reference.digest) not in told
            ]
        )
        alone = len(whole) == 1 and not single and not self.scan.refs and not self.scan.lookup_fields
        self._list_tags(whole, alone=alone)
        self._list_tags(
            [(None, repository) for repository in self.reader.list_repositories(self.scan.refs, self.error_view)],
            alone=False,
        )

    def _normalize_reference(self, reference: Reference) -> Reference:
        """Return the reference to request. With a single image, NAME:TAG@DIGEST means the tag's current digest."""
        if self.scan.single_image and reference.tag is not None:
            return reference.replace(digest=None)
        return reference.with_default_tag()

    def _list_tags(self, asked: Sequence[tuple[str | None, Reference]], *, alone: bool) -> None:
        """List the tags of repositories.

        A missing repository raises when it is the only target, and is a problem when the statement names it.
        """
        wanted = ((place, reference) for place, (_, reference) in enumerate(asked))
        counts: dict[int, int] = {}
        for place, page in self.reader.batch.fetch_tags(wanted):
            text, reference = asked[place]
            if isinstance(page, ImqError):
                if is_not_found(page) and text in self.scan.targets:
                    where = f"tags in {reference.registry}/{reference.repository}"
                    page.hints = (
                        *page.hints,
                        f"if it need not be there yet: {where}, which also asks what is below it",
                    )
                if alone:
                    raise page
                if not is_not_found(page) or text in self.scan.targets:
                    self.reader.add_problem(page, str(reference), self.error_view)
                continue
            self.insert(_tag_rows(text, reference, page.tags))
            counts[place] = counts.get(place, 0) + len(page.tags)
            if page.is_last:
                self.reader.cache.set_tag_count(reference, counts[place], f"temp.{self.rows}")

    def _make_view(self) -> None:
        fields = {
            "manifest_digest": "t.manifest",
            "media_type": "coalesce(named.media_type, nullif(t.stated, ''))",
            "artifact_type": "named.artifact_type",
            "platforms": """CASE named.kind WHEN 'index' THEN (SELECT json_group_array(platform) FROM (SELECT platform
                FROM remembered.child WHERE parent = t.digest AND NOT attestation ORDER BY position))
                WHEN 'image' THEN json_array(config.platform) END""",
            "id": "manifest.config",
            "layer_count": "manifest.layer_count",
            "annotations": "json_patch(named.annotations, coalesce(manifest.annotations, '{}'))",
            "size": "manifest.download_size",
            "download_size": "manifest.download_size",
            **{name: f"config.{name}" for name in _CONFIG_COLUMNS},
            **{name: f"coalesce(entry.{name}, config.{name})" for name in _PLATFORM_FIELDS},
            "dangling": "0",
        }
        self.create(
            fields,
            """LEFT JOIN remembered.document AS named ON named.digest = t.digest
            LEFT JOIN remembered.child AS entry ON entry.parent = t.digest AND entry.position = t._place
            LEFT JOIN remembered.document AS manifest ON manifest.digest = t.manifest
            LEFT JOIN remembered.config AS config ON config.digest = manifest.config""",
        )
        self.connection.create_function(self._rank_function, 5, self._platform.make_ranker(), deterministic=True)

    # Fetching

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch these fields for the rows in `selected_rows`."""
        level, names = request.level, {field.name for field in request.fields}
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
            self.fetch_configs("manifest", "t._place IS NULL" if names <= _INDEX_FIELDS else "")

    def _resolve_digests(self, *, documents: bool) -> None:
        """Resolve the digests of tags. With `documents`, manifests that are probably new are fetched at once."""
        rows = f"temp.{self.rows} AS t JOIN temp.{self.selected} USING (_row)"
        unasked = self._find_unresolved(rows, "t.digest IS NULL AND t.problem IS NULL")
        at_once = documents and not self.reader.batch.resolves_tags_first
        new = {one.row: one.reference for one in unasked if at_once and not one.has_manifest}
        self._fetch_heads([one for one in unasked if one.row not in new])
        self._handle_results(self.reader.batch.fetch_manifests(new.items()), new)

    def _find_unresolved(self, rows: str, condition: str) -> list[_UnresolvedName]:
        """Return the names to resolve, with their cached descriptors.

        Fresh cached digests are stored in the rows at once.
        """
        now = self.reader.clock()
        text = f"""SELECT t.registry, t._path, t.tag, t._row, t.digest, last.digest, last.media_type, last.size,
                last.asked, document.digest IS NOT NULL
            FROM {rows} LEFT JOIN remembered.tag AS last
                ON last.registry = t.registry AND last.repository = t._path AND last.tag = t.tag AND t.digest IS NULL
            LEFT JOIN remembered.document ON document.digest = last.digest
            WHERE t.registry IS NOT NULL AND {condition}"""
        told: list[tuple[str, str, int]] = []
        unasked = []
        for *name, row, own, digest, media_type, size, asked, has_document in self.connection.execute(text).fetchall():
            if digest is not None and now - self.reader.fresh_nanoseconds < asked <= now:
                told.append((digest, media_type, row))
                continue
            known = Descriptor(media_type, Digest(digest), size) if digest is not None else None
            reference = row_reference(name)
            unasked.append(
                _UnresolvedName(
                    row, reference if own is None else reference.replace(digest=Digest(own)), known, has_document
                )
            )
        self.connection.executemany(_SET_DIGEST.format(self.rows), told)
        return unasked

    def _fetch_heads(self, unasked: Sequence[_UnresolvedName]) -> None:
        """Resolve names with HEAD requests."""
        names = {one.row: one.reference for one in unasked}
        known = {one.row: one.cached for one in unasked if one.cached is not None}
        self._handle_results(self.reader.batch.fetch_heads(names.items(), known), names)

    def _handle_results(
        self, answers: Iterator[tuple[int, Descriptor | FetchedManifest | ImqError]], asked: dict[int, Reference]
    ) -> None:
        failures: list[tuple[int, ImqError, str]] = []
        found: list[tuple[int, Reference, Descriptor | FetchedManifest]] = []
        for row, answer in answers:
            if isinstance(answer, ImqError):
                failures.append((row, answer, asked[row].familiar_name))
                continue
            found.append((row, asked[row], answer))
            if len(found) >= WRITE_BATCH:
                failures += self._store_results(found)
                found = []
        failures += self._store_results(found)
        gone = [(row,) for row, error, _ in failures if is_not_found(error)]
        self.connection.executemany(f"UPDATE temp.{self.rows} SET _gone = 1 WHERE _row = ?", gone)
        if self.scan.lookup_fields:  # a name that does not exist is no row of a lookup
            self.connection.executemany(f"DELETE FROM temp.{self.rows} WHERE _row = ?", gone)
            failures = [failure for failure in failures if not is_not_found(failure[1])]
        self.set_problems(failures)

    def _store_results(
        self, found: Sequence[tuple[int, Reference, Descriptor | FetchedManifest]]
    ) -> list[tuple[int, ImqError, str]]:
        """Store results in the rows and the cache; return invalid manifests as failures."""
        good: list[tuple[Digest, str, int]] = []
        named: list[tuple[Reference, Descriptor]] = []
        fetched: list[tuple[int, Reference, FetchedManifest]] = []
        for row, reference, answer in found:
            good.append((answer.digest, answer.media_type, row))
            if isinstance(answer, Descriptor):
                named.append((reference, answer))
            else:
                fetched.append((row, reference, answer))
        failures = [(row, error, ref.familiar_name) for row, ref, error in self.reader.store_manifests(fetched)]
        self.reader.cache.add_tags(named, self.reader.clock())
        self.connection.executemany(_SET_DIGEST.format(self.rows), good)
        return failures

    def _select_manifests(self) -> None:
        """Select the manifest of each row: of an index the image for the platform, else its first image."""
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET _place = ({select_position(f"{self.rows}.digest", self._rank_function)})
            WHERE manifest IS NULL AND digest IS NOT NULL AND _row IN (SELECT _row FROM temp.{self.selected})"""
        )
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET manifest = coalesce((
                SELECT child.digest FROM remembered.child WHERE parent = {self.rows}.digest AND position = _place),
                (SELECT digest FROM remembered.document WHERE digest = {self.rows}.digest AND kind <> 'index'))
            WHERE manifest IS NULL AND digest IS NOT NULL AND _row IN (SELECT _row FROM temp.{self.selected})"""
        )

    def fetch_index_entries(self) -> None:
        """Fetch the manifests of all entries of the indexes."""
        text = f"""SELECT registry, _path, NULL, child.digest FROM temp.{self.rows} AS t
            JOIN remembered.child ON child.parent = t.digest WHERE t.problem IS NULL AND NOT EXISTS (
                SELECT 1 FROM remembered.document WHERE document.digest = child.digest) GROUP BY child.digest"""
        wanted = self.connection.execute(text).fetchall()
        for _, error in self.reader.fetch_manifests([(row_reference(row), Digest(str(row[3]))) for row in wanted]):
            if not is_not_found(error):  # a missing entry has no contents
                self.reader.add_problem(error, self.scan.table.name, self.error_view)

    def _has_single_images(self) -> bool:
        """Whether some of the rows are images without an index."""
        text = "EXISTS (SELECT 1 FROM remembered.document AS d WHERE d.digest = t.digest AND d.kind = 'image')"
        return bool(self.read_selected(f"{text} LIMIT 1", "1"))

    def _detect_signatures(self) -> None:
        """Detect which rows are signed: by cosign's tag, or by a referrer."""
        unsure = "t.digest IS NOT NULL AND t.signed IS NULL AND t.problem IS NULL"
        rows = self.read_selected(unsure, "registry, _path, NULL, t.digest, t._row")
        subjects = {int(row[4] or 0): str(row[3]) for row in rows}
        signed: dict[int, int | None] = dict.fromkeys(subjects, 0)
        tagged = {
            int(row[4] or 0): row_reference(row).replace(tag=f"{row[3]}.sig".replace(":", "-", 1)) for row in rows
        }
        there = {(row[0], row[1]): row_reference(row).replace(digest=Digest(str(row[3]))) for row in rows}
        for _ in self.reader.batch.fetch_heads(enumerate(there.values())):
            pass  # only detects whether HEAD works in each repository: then its 404 is final
        for row, answer in self.reader.batch.fetch_heads(tagged.items(), expect_missing=True):
            if not isinstance(answer, ImqError):
                signed[row] = int(str(answer.digest) != subjects[row])
            elif not is_not_found(answer):
                signed[row] = None
                self.set_problems([(row, answer, tagged[row].familiar_name)])
        unsigned = [row for row in rows if signed[int(row[4] or 0)] == 0]
        asked = ((int(row[4] or 0), row_reference(row), Digest(str(row[3]))) for row in unsigned)
        for row, attached in self.reader.batch.fetch_referrers(asked):
            if isinstance(attached, ImqError):
                signed[row] = None
                self.set_problems([(row, attached, self.scan.table.name)])
            elif any(_is_signature(one.artifact_type) for one in attached):
                signed[row] = 1
        self.connection.executemany(
            f"UPDATE temp.{self.rows} SET signed = ? WHERE _row = ?", ((value, row) for row, value in signed.items())
        )


_SET_DIGEST = "UPDATE temp.{} SET digest = ?, stated = ? WHERE _row = ?"
"""Sets the digest of a row, and the stated media type."""


class _UnresolvedName(Record):
    """A name to resolve: its row, its cached descriptor, and whether that manifest is cached."""

    row: int
    reference: Reference
    cached: Descriptor | None
    has_manifest: bool


def _is_signature(artifact_type: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(artifact_type, known) for known in _SIGNATURE_TYPES)


def _tag_rows(asked: str | None, repository: Reference, tags: Iterable[str]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a repository's tags, without a problem."""
    registry, name, path = location_columns(repository)
    for tag in tags:
        # an invalid tag would change the meaning of a short name: redis:5000/x
        whole = name if "/" not in tag else f"{registry}/{path}"
        yield (
            asked,
            registry,
            name,
            path,
            tag,
            f"{whole}:{tag}",
            registry,
            None,
            None,
        )


def _name_row(asked: RequestedName) -> tuple[object, ...]:
    """Return the row of one name, without a problem."""
    reference = asked.reference
    registry, name, path = location_columns(reference)
    return (
        asked.text,
        registry,
        name,
        path,
        reference.tag,
        str(reference),
        registry,
        asked.digest or reference.digest,
        None,
    )


class ResolvedNames(Tags):
    """The names of another scan, as rows of tags.

    With `repositories` a name without a tag means all tags of its repository.
    """

    def __init__(
        self, source: RegistryReader, scan: ScanRequest, platform: Platform | None = None, *, repositories: bool = False
    ) -> None:
        told = scan.view
        table = TABLES["tags"].replace(view=f"{scan.view}_of")
        scan = scan.replace(view=table.view, table=table)
        super().__init__(source, scan, platform or source.platform, images=not repositories)
        self.told = told

    def resolve(self, names: Sequence[tuple[Raw, ...]], level: FetchLevel, field: str) -> None:
        """List the names, and fetch a field of this level for all of them."""
        self.list_rows(names)
        self.select_all()
        self.fetch(FetchRequest(level, frozenset({TABLES["tags"].get_field(field)})))
