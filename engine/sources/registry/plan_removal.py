"""Plans `rm` and `untag` on rows of registries: which tags and manifests are removed, and which are protected.

A registry that cannot remove a tag alone removes the manifest with all its tags. So the plan considers all tags of a
repository. A manifest is protected if another tag, a remaining index, or a remaining subject needs it.
"""

from __future__ import annotations

import re

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.reference import Reference
from imq.engine.query.binder import require_choice
from imq.engine.query.unavailable_fields import check_available
from imq.engine.sources.action import Failed
from imq.engine.sources.action_options import bind_whole_rows, get_option
from imq.grammar import ast
from imq.grammar.errors import Conflict, InvalidReference, NotFound, RegistryError, StatementError, join_names
from imq.grammar.record import TYPE_CHECKING, Record

from .delete import RemoveManifest, RemoveTag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imq.engine.sources.action import Action, PlanContext, RunQuery

WITH_ITS_TAGS = "with its tags"
_DIGEST_TAG = re.compile(r"(sha256|sha384|sha512)-([0-9a-f]{64,128})(?:\.[\w.-]+)?\Z", re.ASCII)
"""A tag that holds artifacts of an image: cosign's tag, or the referrers tag of the OCI specification.

A referrers tag has only the first 64 digits of a longer digest.
"""


class _Row(Record):
    """A tag or manifest of a registry. `tag` is None for a manifest. `digest` is None if the request for it failed.

    `is_gone`: the tag is listed, but has no manifest.
    """

    name: str
    repository: str
    tag: str | None
    digest: str | None
    media_type: str = ""
    problem: str = ""
    source: str = ""
    is_gone: bool = False


def plan_removal(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removals of the tags or manifests of a query, and a failure for each protected one."""
    query = act.query
    assert query is not None
    select = bind_whole_rows(act, context)
    check_available(select, act.verb, query.span)
    require_choice(query, act.verb)
    if (option := get_option(act, "platform")) is not None:
        raise StatementError(
            "platform removes images from indexes of the store, and indexes in registries cannot be changed",
            code="option",
            span=option.span,
            hints=("to create an index with fewer platforms: index NAME, NAME as NAME, or copy … platform …",),
        )
    if select.table.name in ("tags", "images"):
        return _plan_tags(act, context)
    if select.table.name == "manifests" and act.verb == "rm":
        return _plan_manifests(act, context)
    raise StatementError(
        f"{act.verb} takes tags or manifests of registries, not {select.table.name}", code="operand", span=query.span
    )


def _plan_tags(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    assert act.query is not None
    selected = _query_tags(context.rows, ast.Query("", base=act.query, span=act.query.span))
    failures: list[Action] = [
        Failed(act.verb, row.name, _missing_manifest_error(row) if row.is_gone else _request_error(row))
        for row in selected
        if row.is_gone or row.problem
    ]
    selected = [row for row in selected if not row.is_gone and not row.problem and row.tag is not None]
    for row in selected:  # a registry may list names that are not valid tags: they are failures
        try:
            name = Reference.parse(row.name)
            if name.tag != row.tag or name.digest is not None:
                raise InvalidReference(f"{row.tag!r} is not a tag")
        except InvalidReference as error:
            failures.append(Failed(act.verb, row.name, error))
    failed_names = {failure.target for failure in failures if isinstance(failure, Failed)}
    selected = [row for row in selected if row.name not in failed_names]
    if not selected:
        return failures
    repositories = dict.fromkeys(row.repository for row in selected)
    repository_literals = tuple(ast.Literal(repository) for repository in repositories)
    removed_names = {row.name for row in selected}
    all_rows = _query_tags(context.lookup, ast.Query("tags", repository_literals))
    remaining_rows = [row for row in all_rows if row.name not in removed_names and not row.is_gone]
    remaining = _RemainingRows(context, remaining_rows, selected)
    remaining.prefetch_subjects((row.repository, row.tag or "") for row in selected)
    with_tags = get_option(act, WITH_ITS_TAGS) is not None
    actions: dict[object, RemoveTag | RemoveManifest] = {}
    for row in selected:
        assert row.digest is not None
        others = [
            other for other in remaining_rows if other.repository == row.repository and _may_share_manifest(other, row)
        ]
        index = remaining.find_index(row.repository, row.digest)
        subject, reason = remaining.find_subject_of_tag(row.repository, row.tag or "")
        if reason is None and with_tags and index is not None:
            reason = f"is part of {index.name}, which is not removed"
        if reason is not None:
            failures.append(Failed(act.verb, row.name, _protected_error(row.name, reason)))
        elif with_tags:
            tags = [row.tag or "", *(other.tag or "" for other in others)]
            tags += [
                other.tag or ""
                for other in selected
                if _may_share_manifest(other, row) and other.repository == row.repository
            ]
            manifest = Reference.parse(row.repository).replace(digest=Digest(row.digest))
            needed = tuple(remaining.list_needed_children(row))
            actions[manifest] = RemoveManifest(manifest, subject, needed, tuple(sorted(set(tags))))
        else:
            name, only_tag = Reference.parse(row.name), act.verb == "untag"
            needed = tuple(remaining.list_required_names(row, others, index, only_tag=only_tag))
            names = tuple(other.name for other in (*others, *([index] if index is not None else ())))
            actions[name] = RemoveTag(name, subject, needed, Digest(row.digest), names, only_tag)
    return [*_order_by_subject(actions.values()), *failures]


def _order_by_subject(actions: Iterable[RemoveTag | RemoveManifest]) -> list[Action]:
    """Return removals with subjects before the manifests that are attached to them."""
    ordered = sorted(actions, key=lambda action: action.subject is not None)
    return [*ordered]


def _plan_manifests(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    assert act.query is not None
    columns = ("name", "repository", "digest", "tags", "subject", "problem")
    selected = _query_fields(context.rows, ast.Query("", base=act.query, span=act.query.span), columns)
    repositories = tuple(ast.Literal(name) for name in dict.fromkeys(str(row[1]) for row in selected))
    if not repositories:
        return []
    all_rows = _query_fields(context.lookup, ast.Query("manifests", repositories), (*columns, "media_type"))
    removed_keys = {(row[1], row[2]) for row in selected}
    media_types_by_key = {(row[1], row[2]): str(row[6] or "") for row in all_rows}
    removed_rows = [
        _Row(str(row[0]), str(row[1]), None, str(row[2]), media_types_by_key.get((row[1], row[2]), ""))
        for row in selected
        if row[2]
    ]
    remaining_rows = [
        _Row(str(row[0]), str(row[1]), None, str(row[2]), str(row[6] or ""))
        for row in all_rows
        if row[2] and (row[1], row[2]) not in removed_keys
    ]
    remaining = _RemainingRows(context, remaining_rows, removed_rows)
    removed_by_name = {row.name: row for row in removed_rows}
    with_tags = get_option(act, WITH_ITS_TAGS) is not None
    actions: list[RemoveTag | RemoveManifest] = []
    failures: list[Action] = []
    for name, repository_value, value, tags, subject_value, problem in selected:
        target, repository = str(name), str(repository_value)
        if problem is not None or value is None:
            failed_row = _Row(target, repository, None, None, "", str(problem))
            failures.append(Failed(act.verb, target, _request_error(failed_row)))
            continue
        tag_names = _parse_strings(tags)
        subject, reason = (
            remaining.find_subject(repository, str(subject_value)) if subject_value is not None else (None, None)
        )
        for tag in tag_names:
            if reason is None:
                tag_subject, reason = remaining.find_subject_of_tag(repository, tag)
                subject = subject or tag_subject
        if (index := remaining.find_index(repository, str(value))) is not None:
            reason = f"is part of {index.name}, which is not removed"
        if reason is not None:
            failures.append(Failed(act.verb, target, _protected_error(target, reason)))
        elif tag_names and not with_tags:
            conflict = Conflict(
                f"{target} has the tags {join_names(tag_names)}",
                code="shared",
                hints=("to remove it with all of them: with its tags",),
            )
            failures.append(Failed(act.verb, target, conflict))
        else:
            needed = tuple(remaining.list_needed_children(removed_by_name[target]))
            actions.append(RemoveManifest(Reference.parse(target), subject, needed, tuple(tag_names)))
    return [*_order_by_subject(actions), *failures]


class _RemainingRows:
    """The rows of the repositories that remain after a removal, and the removed rows that they need."""

    def __init__(self, context: PlanContext, remaining: Sequence[_Row], removed: Sequence[_Row]) -> None:
        self._context = context
        self._remaining = remaining
        self._removed_rows = removed
        self._rows_by_digest = {(row.repository, row.digest): row for row in remaining if row.digest is not None}
        self._removed = {(row.repository, row.digest) for row in removed}
        self._children = _query_children(context, remaining)
        self._children_of_removed: Mapping[tuple[str, str], Sequence[_Row]] | None = None
        self._subject_reasons: dict[tuple[str, str], str | None] = {}

    def find_index(self, repository: str, digest: str) -> _Row | None:
        """Return a remaining index that lists this digest."""
        return next(iter(self._children.get((repository, digest), ())), None)

    def list_required_names(
        self, row: _Row, others: Sequence[_Row], index: _Row | None, *, only_tag: bool
    ) -> Iterator[tuple[Reference, Digest]]:
        """Yield the names that must still resolve to these digests after the tag of a row is removed."""
        yield from self.list_needed_children(row)
        assert row.digest is not None
        if others or index is not None or only_tag:
            digest = Digest(row.digest)
            yield Reference.parse(row.repository).replace(digest=digest), digest
        for other in (*([index] if index is not None else ()), *others):
            if other.digest is not None:
                yield _parse_reference(other), Digest(other.digest)

    def list_needed_children(self, row: _Row) -> Iterator[tuple[Reference, Digest]]:
        """Yield the images of a removed index that remaining rows need, with their tags."""
        if row.media_type not in media_types.INDEXES or not self._remaining:
            return
        children = {
            digest
            for (repository, digest), indexes in self._query_children_of_removed().items()
            if repository == row.repository and any(index.digest == row.digest for index in indexes)
        }
        needed = {digest for path, digest in (*self._rows_by_digest, *self._children) if path == row.repository}
        for digest in sorted(children & (needed - {row.digest, None})):
            assert digest is not None
            yield Reference.parse(row.repository).replace(digest=Digest(digest)), Digest(digest)
        for other in self._remaining:
            if other.tag is not None and other.repository == row.repository and other.digest in children:
                yield _parse_reference(other), Digest(other.digest)

    def find_subject_of_tag(self, repository: str, tag: str) -> tuple[Digest | None, str | None]:
        """Return the subject of a tag such as `sha256-….sig`, and the reason it protects the tag."""
        digest = self._parse_digest_tag(repository, tag)
        if digest is None:
            return None, None
        if not is_digest(digest):
            return None, f"is attached to {digest}…, which may exist: only a prefix of its digest is known"
        return self.find_subject(repository, digest)

    def _parse_digest_tag(self, repository: str, tag: str) -> str | None:
        """Return the digest in a tag such as `sha256-….sig`, or a prefix of it if the rest is unknown."""
        match = _DIGEST_TAG.match(tag)
        if match is None:
            return None
        prefix = f"{match[1]}:{match[2]}"
        keys = (*self._rows_by_digest, *self._removed, *self._children)
        digests = (digest for path, digest in keys if path == repository)
        return prefix if is_digest(prefix) else next((one for one in digests if one and one.startswith(prefix)), prefix)

    def find_subject(self, repository: str, digest: str) -> tuple[Digest | None, str | None]:
        """Return the subject of a manifest, and the reason it protects the manifest, or None if it does not.

        A subject protects its manifests unless the same statement removes it, or the registry does not have it.
        """
        key = (repository, digest)
        subject_row = self._rows_by_digest.get(key) or self.find_index(*key)
        if subject_row is not None:
            return Digest(digest), f"is attached to {subject_row.name}, which is not removed"
        if key in self._removed or key in self._query_children_of_removed():
            return Digest(digest), None
        if key not in self._subject_reasons:
            self._query_subjects([key])
        return Digest(digest), self._subject_reasons[key]

    def prefetch_subjects(self, tags: Iterable[tuple[str, str]]) -> None:
        """Query in one batch which subjects of these tags exist untagged. Each tag is given with its repository."""
        keys = [(repository, self._parse_digest_tag(repository, tag) or "") for repository, tag in tags]
        known_keys = (*self._rows_by_digest, *self._children, *self._removed)
        unknown_keys = dict.fromkeys(key for key in keys if is_digest(key[1]) and key not in known_keys)
        if unknown_keys:
            self._query_subjects([key for key in unknown_keys if key not in self._query_children_of_removed()])

    def _query_subjects(self, keys: Sequence[tuple[str, str]]) -> None:
        """Store the reason of each subject that has no tag and is in no index."""
        names = {f"{repository}@{digest}": (repository, digest) for repository, digest in keys}
        self._subject_reasons.update(dict.fromkeys(keys))
        if not names:
            return
        for row in _query_tags(self._context.lookup, ast.Query("tags", tuple(ast.Literal(name) for name in names))):
            if row.is_gone:
                continue
            reason = "which may exist: the request for it failed" if row.problem else "which exists without a tag"
            self._subject_reasons[names[row.name]] = f"is attached to {row.name}, {reason}"

    def _query_children_of_removed(self) -> Mapping[tuple[str, str], Sequence[_Row]]:
        if self._children_of_removed is None:
            self._children_of_removed = _query_children(self._context, self._removed_rows)
        return self._children_of_removed


def _query_fields(
    run: RunQuery, query: ast.Query, columns: Sequence[str]
) -> list[tuple[str | int | float | None, ...]]:
    select = tuple(ast.Column(ast.Field((name,))) for name in columns)
    return run(query.replace(select=select), ())[1]


def _query_tags(run: RunQuery, query: ast.Query) -> list[_Row]:
    """Return the tags of a query, including those that are listed but have no manifest."""
    columns = tuple(ast.Column(ast.Field((name,))) for name in _COLUMNS)
    _, rows = run(query.replace(select=columns), ("_gone",))
    return [
        _Row(
            str(name),
            str(repository),
            _string_or_none(tag),
            _string_or_none(digest),
            _string_or_empty(media_type),
            _string_or_empty(problem),
            _string_or_empty(source),
            bool(gone),
        )
        for name, repository, tag, digest, media_type, problem, source, gone in rows
    ]


_COLUMNS = ("name", "repository", "tag", "digest", "media_type", "problem", "source")


def _query_children(context: PlanContext, rows: Iterable[_Row]) -> Mapping[tuple[str, str], Sequence[_Row]]:
    """Return the indexes among the rows, by the repository and digest of each manifest that they list."""
    indexes = {
        f"{row.repository}@{row.digest}": row for row in rows if row.media_type in media_types.INDEXES and row.digest
    }
    indexes_by_child: dict[tuple[str, str], list[_Row]] = {}
    if indexes:
        query = ast.Query("platforms", tuple(ast.Literal(name) for name in indexes))
        for repository, digest, name in _query_fields(context.lookup, query, ("repository", "digest", "name")):
            if digest is not None:
                indexes_by_child.setdefault((str(repository), str(digest)), []).append(indexes[str(name)])
    return indexes_by_child


def _parse_reference(row: _Row) -> Reference:
    """Return the name of a row. The tag is not parsed: a registry may list names that are not valid tags."""
    if row.tag is None:
        return Reference.parse(row.name)
    return Reference.parse(row.repository).replace(tag=row.tag)


def _may_share_manifest(other: _Row, row: _Row) -> bool:
    """Whether another tag has the manifest of a row, or may have it because the digest of the tag is unknown."""
    return other.name != row.name and (other.digest is None or other.digest == row.digest)


def _protected_error(name: str, reason: str) -> Conflict:
    return Conflict(
        f"{name} {reason}",
        code="protected",
        hints=("exclude it in the condition, or remove the other one first",),
    )


def _request_error(row: _Row) -> RegistryError:
    return RegistryError(row.problem, code="unanswered", host=row.repository.partition("/")[0])


def _missing_manifest_error(row: _Row) -> NotFound:
    return NotFound(
        f"{row.name} is listed, but the registry has no manifest for it, so nothing was removed",
        code="manifest-unknown",
        hints=("list the tags again; if the tag is still listed, push an image to it and remove it then",),
    )


def _string_or_empty(value: object) -> str:
    return "" if value is None else str(value)


def _string_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def _parse_strings(value: object) -> list[str]:
    import json

    return [str(text) for text in json.loads(str(value))] if value is not None else []
