"""The table `tags`, and `images` of registries: names first, then digests, manifests and configs, as needed."""

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

from .reader import AT_ONCE, Asked
from .table_scan import RegistryScan, is_gone, place_of, reference_of
from .tables import ATTACHED, CONFIG, DIGEST, NAMED, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import FetchLevel, Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.registry.manifests import Fetched

    from .reader import RegistryReader

_BY_INDEX = frozenset({"platform", "os", "architecture", "variant", "os_version", "platforms"})
"""Fields that an index tells without the configs of its images."""
_SIGNATURES = (
    "application/vnd.cncf.notary.signature",
    "application/vnd.dev.cosign.artifact.sig.*",
    "application/vnd.dev.sigstore.bundle*",
)
_CONFIG_COLUMNS = ["created", *(field.name for field in CONFIG_FIELDS)]
_PLACED = ["platform", "os", "architecture", "variant", "os_version"]


class Tags(RegistryScan):
    """Rows of tags. `digest` is what the tag stands for, `manifest` the manifest of the wanted platform.

    `images`: a name without a tag means its default one, that of an image, not all tags of a repository.
    """

    columns = ("_asked", "registry", "repository", "_path", "tag", "name", "source", "digest")
    further = ("_place", "_gone", "manifest", "signed", "stated")

    def __init__(self, source: RegistryReader, scan: ScanRequest, platform: Platform, *, images: bool = False) -> None:
        super().__init__(source, scan)
        self._platform = platform
        self._images = images or scan.single_image
        self._rank = f"rank_{scan.view}"

    # Listing

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Make the view, and list the tags of the repositories, and the names that are given with their tag."""
        self._make()
        single: list[Asked] = []
        whole: list[tuple[str | None, Reference]] = []
        for asked in self.source.names(self.scan, names):
            if isinstance(asked, str):
                nothing = (None,) * (len(self.columns) - 2)
                self.insert([(asked, *nothing[:4], asked, *nothing[4:], "it is not the name of an image")])
            elif asked.reference.tag or asked.reference.digest or self._images:
                single.append(asked.replace(reference=self._selected(asked.reference)))
            else:
                whole.append((asked.text, asked.reference))
        self.insert(map(_row, single))
        told = frozenset(asked.digest for asked in single if asked.digest)
        self._ask([one for one in self._unasked(f"temp.{self.rows} AS t", "1") if str(one.name.digest) not in told])
        alone = len(whole) == 1 and not single and not self.scan.refs and not self.scan.lookup_fields
        self._tags_of(whole, alone=alone)
        self._tags_of(
            [(None, repository) for repository in self.source.repositories(self.scan.refs, self.told)], alone=False
        )

    def _selected(self, reference: Reference) -> Reference:
        """Return what is asked for a name. What is there now under NAME:TAG@DIGEST is what the tag means now."""
        if self.scan.single_image and reference.tag is not None:
            return reference.replace(digest=None)
        return reference.with_default_tag()

    def _tags_of(self, asked: Sequence[tuple[str | None, Reference]], *, alone: bool) -> None:
        """List the tags of repositories: the only one must be there; of others those are told that were named."""
        wanted = ((place, reference) for place, (_, reference) in enumerate(asked))
        counts: dict[int, int] = {}
        for place, page in self.source.many.listings(wanted):
            text, reference = asked[place]
            if isinstance(page, ImqError):
                if is_gone(page) and text in self.scan.targets:
                    where = f"tags in {reference.registry}/{reference.repository}"
                    page.hints = (
                        *page.hints,
                        f"if it need not be there yet: {where}, which also asks what is below it",
                    )
                if alone:
                    raise page
                if not is_gone(page) or text in self.scan.targets:
                    self.source.problem(page, str(reference), self.told)
                continue
            self.insert(_rows(text, reference, page.tags))
            counts[place] = counts.get(place, 0) + len(page.tags)
            if page.last:
                self.source.memory.set_tag_count(reference, counts[place], f"temp.{self.rows}")

    def _make(self) -> None:
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
            **{name: f"coalesce(entry.{name}, config.{name})" for name in _PLACED},
            "dangling": "0",
        }
        self.make(
            fields,
            """LEFT JOIN remembered.document AS named ON named.digest = t.digest
            LEFT JOIN remembered.child AS entry ON entry.parent = t.digest AND entry.position = t._place
            LEFT JOIN remembered.document AS manifest ON manifest.digest = t.manifest
            LEFT JOIN remembered.config AS config ON config.digest = manifest.config""",
        )
        self.connection.create_function(self._rank, 5, self._platform.ranker(), deterministic=True)

    # Fetching

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch what these fields need for the rows in `wanted`."""
        level, names = request.level, {field.name for field in request.fields}
        self._digests(documents=request.continues or level is not DIGEST)
        if level is DIGEST:
            return
        if level is ATTACHED:
            self._attached()
            return
        self.documents("digest")
        self._choose()
        if level is NAMED or (level is CONFIG and names <= _BY_INDEX and not self._others()):
            return
        self.documents("manifest")
        if level is CONFIG:
            self.configs("manifest", "t._place IS NULL" if names <= _BY_INDEX else "")

    def _digests(self, *, documents: bool) -> None:
        """Find out what tags stand for. With `documents` those are fetched at once, where a guess says they are new."""
        rows = f"temp.{self.rows} AS t JOIN temp.{self.wanted} USING (_row)"
        unasked = self._unasked(rows, "t.digest IS NULL AND t.problem IS NULL")
        at_once = documents and not self.source.many.checked_first
        new = {one.row: one.name for one in unasked if at_once and not one.has_document}
        self._ask([one for one in unasked if one.row not in new])
        self._found(self.source.many.documents(new.items()), new)

    def _unasked(self, rows: str, condition: str) -> list[_Unasked]:
        """Return names that are still to be asked for, with what they stood for when they last were.

        What was told within the time that counts as fresh is noted at once.
        """
        now = self.source.clock()
        text = f"""SELECT t.registry, t._path, t.tag, t._row, t.digest, last.digest, last.media_type, last.size,
                last.asked, document.digest IS NOT NULL
            FROM {rows} LEFT JOIN remembered.tag AS last
                ON last.registry = t.registry AND last.repository = t._path AND last.tag = t.tag AND t.digest IS NULL
            LEFT JOIN remembered.document ON document.digest = last.digest
            WHERE t.registry IS NOT NULL AND {condition}"""
        told: list[tuple[str, str, int]] = []
        unasked = []
        for *name, row, own, digest, media_type, size, asked, has_document in self.connection.execute(text).fetchall():
            if digest is not None and now - self.source.fresh < asked <= now:
                told.append((digest, media_type, row))
                continue
            known = Descriptor(media_type, Digest(digest), size) if digest is not None else None
            reference = reference_of(name)
            unasked.append(
                _Unasked(row, reference if own is None else reference.replace(digest=Digest(own)), known, has_document)
            )
        self.connection.executemany(_TOLD.format(self.rows), told)
        return unasked

    def _ask(self, unasked: Sequence[_Unasked]) -> None:
        """Ask what names stand for."""
        names = {one.row: one.name for one in unasked}
        known = {one.row: one.known for one in unasked if one.known is not None}
        self._found(self.source.many.heads(names.items(), known), names)

    def _found(
        self, answers: Iterator[tuple[int, Descriptor | Fetched | ImqError]], asked: dict[int, Reference]
    ) -> None:
        failures: list[tuple[int, ImqError, str]] = []
        found: list[tuple[int, Reference, Descriptor | Fetched]] = []
        for row, answer in answers:
            if isinstance(answer, ImqError):
                failures.append((row, answer, asked[row].familiar_name))
                continue
            found.append((row, asked[row], answer))
            if len(found) >= AT_ONCE:
                failures += self._note(found)
                found = []
        failures += self._note(found)
        gone = [(row,) for row, error, _ in failures if is_gone(error)]
        self.connection.executemany(f"UPDATE temp.{self.rows} SET _gone = 1 WHERE _row = ?", gone)
        if self.scan.lookup_fields:  # what has no such name is not there
            self.connection.executemany(f"DELETE FROM temp.{self.rows} WHERE _row = ?", gone)
            failures = [failure for failure in failures if not is_gone(failure[1])]
        self.failed(failures)

    def _note(self, found: Sequence[tuple[int, Reference, Descriptor | Fetched]]) -> list[tuple[int, ImqError, str]]:
        """Write answers down; return those that are no documents, as failures."""
        good: list[tuple[Digest, str, int]] = []
        named: list[tuple[Reference, Descriptor]] = []
        fetched: list[tuple[int, Reference, Fetched]] = []
        for row, reference, answer in found:
            good.append((answer.digest, answer.media_type, row))
            if isinstance(answer, Descriptor):
                named.append((reference, answer))
            else:
                fetched.append((row, reference, answer))
        failures = [(row, error, ref.familiar_name) for row, ref, error in self.source.remember(fetched)]
        self.source.memory.add_tags(named, self.source.clock())
        self.connection.executemany(_TOLD.format(self.rows), good)
        return failures

    def _choose(self) -> None:
        """Of each index, choose the image of the wanted platform, else its first image; of an image itself."""
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET _place = ({select_position(f"{self.rows}.digest", self._rank)})
            WHERE manifest IS NULL AND digest IS NOT NULL AND _row IN (SELECT _row FROM temp.{self.wanted})"""
        )
        self.connection.execute(
            f"""UPDATE temp.{self.rows} SET manifest = coalesce((
                SELECT child.digest FROM remembered.child WHERE parent = {self.rows}.digest AND position = _place),
                (SELECT digest FROM remembered.document WHERE digest = {self.rows}.digest AND kind <> 'index'))
            WHERE manifest IS NULL AND digest IS NOT NULL AND _row IN (SELECT _row FROM temp.{self.wanted})"""
        )

    def children(self) -> None:
        """Fetch the documents of all entries of the indexes."""
        text = f"""SELECT registry, _path, NULL, child.digest FROM temp.{self.rows} AS t
            JOIN remembered.child ON child.parent = t.digest WHERE t.problem IS NULL AND NOT EXISTS (
                SELECT 1 FROM remembered.document WHERE document.digest = child.digest) GROUP BY child.digest"""
        wanted = self.connection.execute(text).fetchall()
        for _, error in self.source.documents([(reference_of(row), Digest(str(row[3]))) for row in wanted]):
            if not is_gone(error):  # an entry that is gone reaches nothing
                self.source.problem(error, self.scan.table.name, self.told)

    def _others(self) -> bool:
        """Whether some of the rows are of no index."""
        text = "EXISTS (SELECT 1 FROM remembered.document AS d WHERE d.digest = t.digest AND d.kind = 'image')"
        return bool(self.chosen(f"{text} LIMIT 1", "1"))

    def _attached(self) -> None:
        """Find out which rows are signed: by cosign's tag, or by what is attached."""
        unsure = "t.digest IS NOT NULL AND t.signed IS NULL AND t.problem IS NULL"
        rows = self.chosen(unsure, "registry, _path, NULL, t.digest, t._row")
        subjects = {int(row[4] or 0): str(row[3]) for row in rows}
        signed: dict[int, int | None] = dict.fromkeys(subjects, 0)
        tagged = {int(row[4] or 0): reference_of(row).replace(tag=f"{row[3]}.sig".replace(":", "-", 1)) for row in rows}
        there = {(row[0], row[1]): reference_of(row).replace(digest=Digest(str(row[3]))) for row in rows}
        for _ in self.source.many.heads(enumerate(there.values())):
            pass  # it only matters whether each repository answers HEAD for what it has: then it is believed
        for row, answer in self.source.many.heads(tagged.items(), probing=True):
            if not isinstance(answer, ImqError):
                signed[row] = int(str(answer.digest) != subjects[row])
            elif not is_gone(answer):
                signed[row] = None
                self.failed([(row, answer, tagged[row].familiar_name)])
        unsigned = [row for row in rows if signed[int(row[4] or 0)] == 0]
        asked = ((int(row[4] or 0), reference_of(row), Digest(str(row[3]))) for row in unsigned)
        for row, attached in self.source.many.referrers(asked):
            if isinstance(attached, ImqError):
                signed[row] = None
                self.failed([(row, attached, self.scan.table.name)])
            elif any(_signs(one.artifact_type) for one in attached):
                signed[row] = 1
        self.connection.executemany(
            f"UPDATE temp.{self.rows} SET signed = ? WHERE _row = ?", ((value, row) for row, value in signed.items())
        )


_TOLD = "UPDATE temp.{} SET digest = ?, stated = ? WHERE _row = ?"
"""By this a row has what its name stands for, and of what type that is said to be."""


class _Unasked(Record):
    """A name that is still to be asked for: of which row, what it stood for when it last was, and if that is here."""

    row: int
    name: Reference
    known: Descriptor | None
    has_document: bool


def _signs(artifact_type: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(artifact_type, known) for known in _SIGNATURES)


def _rows(asked: str | None, repository: Reference, tags: Iterable[str]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a repository's tags, with no problem."""
    registry, name, path = place_of(repository)
    for tag in tags:
        # what is no tag would make another name of a short one: redis:5000/x
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


def _row(asked: Asked) -> tuple[object, ...]:
    """Return the row of one name, with no problem."""
    reference = asked.reference
    registry, name, path = place_of(reference)
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


class Named(Tags):
    """The names of another scan, as rows of tags. `repositories`: a name without a tag means all of a repository's."""

    def __init__(
        self, source: RegistryReader, scan: ScanRequest, platform: Platform | None = None, *, repositories: bool = False
    ) -> None:
        told = scan.view
        table = TABLES["tags"].replace(view=f"{scan.view}_of")
        scan = scan.replace(view=table.view, table=table)
        super().__init__(source, scan, platform or source.platform, images=not repositories)
        self.told = told

    def ask(self, names: Sequence[tuple[Raw, ...]], level: FetchLevel, field: str) -> None:
        """List them, and fetch a field of this level for all of them."""
        self.list_rows(names)
        self.choose_all()
        self.fetch(FetchRequest(level, frozenset({TABLES["tags"].get_field(field)})))
