"""What `rm` and `untag` do to rows of registries: which tags and manifests go, and which must stay.

A registry that cannot take a tag alone removes the manifest, with every tag that it has. So all tags of a repository
are looked at: what another tag, an index that stays, or the image that it belongs to needs, stays.
"""

from __future__ import annotations

import re

from imq.engine.actions import Action, Fail, RemoveManifest, RemoveTag
from imq.engine.bind import needs_choice
from imq.engine.oci import media
from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.places import STORE
from imq.engine.visibility import check_seen
from imq.grammar import ast
from imq.grammar.errors import Conflict, RegistryError, StatementError, listed
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import said
from .there import check_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .declaration import Planning

WITH_ITS_TAGS = "with its tags"
_DIGEST_TAG = re.compile(r"sha256-([0-9a-f]{64})(?:\.\w+)?\Z", re.ASCII)
"""A tag under which signatures and the like of an image are found: cosign's, and the fallback of the specification."""


class Row(Record):
    """A tag or manifest of a registry. `tag` is None of a manifest; `digest` when it could not be found out."""

    name: str
    repository: str
    tag: str | None
    digest: str | None
    media_type: str = ""
    problem: str = ""
    source: str = ""


def plan_removal(act: ast.Act, planning: Planning) -> list[Action]:
    """Return the removals of tags or manifests that a query gives, and a failure for each that must stay."""
    query = act.query
    assert query is not None
    select = check_whole(act, planning)
    check_seen(select, act.verb, query.span)
    needs_choice(query, act.verb)
    if (option := said(act, "platform")) is not None:
        raise StatementError(
            "platform takes images out of indexes of the store; in a registry an index is what it is",
            code="option",
            span=option.span,
            hints=("to make one of fewer platforms there: index NAME, NAME as NAME, or copy … platform …",),
        )
    if select.table.name in ("tags", "images"):
        return _tags(act, planning)
    if select.table.name == "manifests" and act.verb == "rm":
        return _manifests(act, planning)
    raise StatementError(
        f"{act.verb} takes tags or manifests of registries, not {select.table.name}", code="operand", span=query.span
    )


def _tags(act: ast.Act, planning: Planning) -> list[Action]:
    assert act.query is not None
    chosen = _rows(planning, ast.Query("", base=act.query, span=act.query.span))
    if any(row.source == STORE for row in chosen):
        raise StatementError(
            f"{act.verb} works in one kind of place at a time: in the store, or in registries",
            code="operand",
            span=act.query.span,
            hints=(f"say {act.verb} once for each",),
        )
    failures: list[Action] = [Fail(act.verb, row.name, _untold(row)) for row in chosen if row.problem]
    chosen = [row for row in chosen if not row.problem and row.tag is not None]
    if not chosen:
        return failures
    repositories = dict.fromkeys(row.repository for row in chosen)
    places = tuple(ast.Literal(repository) for repository in repositories)
    going = {row.name for row in chosen}
    staying = [row for row in _rows(planning, ast.Query("tags", places)) if row.name not in going]
    parts = _parts(planning, staying)
    together = said(act, WITH_ITS_TAGS) is not None
    actions: dict[object, Action] = {}
    for row in chosen:
        assert row.digest is not None
        others = [other.name for other in staying if other.repository == row.repository and _shares(other, row)]
        if (needed := _belongs_to(row, staying, parts)) is not None:
            failures.append(Fail(act.verb, row.name, _protected(row.name, needed)))
        elif together:
            if part_of := parts.get((row.repository, row.digest)):
                failures.append(Fail(act.verb, row.name, _protected(row.name, f"a part of {part_of}")))
                continue
            tags = [Reference.parse(name).tag or "" for name in (row.name, *others)]
            tags += [other.tag or "" for other in chosen if _shares(other, row) and other.repository == row.repository]
            manifest = Reference.parse(row.repository).replace(digest=Digest(row.digest))
            actions[manifest] = RemoveManifest(manifest, tuple(sorted(set(tags))))
        else:
            if part_of := parts.get((row.repository, row.digest)):
                others.append(part_of)
            name = Reference.parse(row.name)
            actions[name] = RemoveTag(name, Digest(row.digest), tuple(others), only_tag=act.verb == "untag")
    return [*actions.values(), *failures]


def _manifests(act: ast.Act, planning: Planning) -> list[Action]:
    assert act.query is not None
    columns = ("name", "repository", "digest", "tags", "subject", "problem")
    chosen = _table(planning, ast.Query("", base=act.query, span=act.query.span), columns)
    repositories = tuple(ast.Literal(name) for name in dict.fromkeys(str(row[1]) for row in chosen))
    if not repositories:
        return []
    every = _table(planning, ast.Query("manifests", repositories), (*columns, "media_type"))
    going = {(row[1], row[2]) for row in chosen}
    staying = [row for row in every if (row[1], row[2]) not in going]
    there = {(str(row[1]), str(row[2])): str(row[0]) for row in staying}
    rows = [Row(str(row[0]), str(row[1]), None, str(row[2]), str(row[6] or "")) for row in staying if row[2]]
    parts = _parts(planning, rows)
    together = said(act, WITH_ITS_TAGS) is not None
    actions: list[Action] = []
    for name, repository, digest, tags, subject, problem in chosen:
        target = str(name)
        if problem is not None or digest is None:
            actions.append(Fail(act.verb, target, _untold(Row(target, str(repository), None, None, "", str(problem)))))
            continue
        have = _texts(tags)
        if part_of := parts.get((str(repository), str(digest))):
            actions.append(Fail(act.verb, target, _protected(target, f"a part of {part_of}")))
        elif (about := there.get((str(repository), str(subject)))) is not None:
            actions.append(Fail(act.verb, target, _protected(target, f"attached to {about}")))
        elif have and not together:
            tagged = Conflict(
                f"{target} has the tags {listed(have)}",
                code="shared",
                hints=("with its tags removes it with all of them",),
            )
            actions.append(Fail(act.verb, target, tagged))
        else:
            actions.append(RemoveManifest(Reference.parse(target), tuple(have)))
    return actions


def _table(planning: Planning, query: ast.Query, columns: Sequence[str]) -> list[tuple[str | int | float | None, ...]]:
    select = tuple(ast.Column(ast.Field((name,))) for name in columns)
    return planning.rows(query.replace(select=select), ())[1]


def _rows(planning: Planning, query: ast.Query) -> list[Row]:
    """Return tags; those that have vanished since they were listed are left out."""
    columns = tuple(ast.Column(ast.Field((name,))) for name in _COLUMNS)
    _, rows = planning.rows(query.replace(select=columns), ("_gone",))
    return [
        Row(str(row[0]), str(row[1]), _text(row[2]), _text(row[3]), *(str(value or "") for value in row[4:7]))
        for row in rows
        if not row[7]
    ]


_COLUMNS = ("name", "repository", "tag", "digest", "media_type", "problem", "source")


def _parts(planning: Planning, staying: Iterable[Row]) -> Mapping[tuple[str, str], str]:
    """Return what the indexes that stay are made of: by repository and digest, the name of one that has it."""
    indexes = [row for row in staying if row.media_type in media.INDEXES and not row.problem]
    if not indexes:
        return {}
    query = ast.Query("platforms", tuple(ast.Literal(row.name) for row in indexes))
    found = _table(planning, query, ("repository", "digest", "name"))
    return {(str(repository), str(digest)): str(name) for repository, digest, name in found if digest is not None}


def _shares(other: Row, row: Row) -> bool:
    """Whether another tag has the manifest of a row; one of which that is not known may have it."""
    return other.name != row.name and (other.digest is None or other.digest == row.digest)


def _belongs_to(row: Row, staying: Sequence[Row], parts: Mapping[tuple[str, str], str]) -> str | None:
    """Return the image that stays and that a tag such as `sha256-….sig` belongs to."""
    found = _DIGEST_TAG.match(row.tag or "")
    if found is None:
        return None
    digest = f"sha256:{found[1]}"
    mine = (other.name for other in staying if other.repository == row.repository and other.digest == digest)
    about = next(mine, None) or parts.get((row.repository, digest))
    return None if about is None else f"attached to {about}"


def _protected(name: str, why: str) -> Conflict:
    return Conflict(
        f"{name} is {why}, which stays",
        code="protected",
        hints=("leave it out of the condition; it can go when that has gone",),
    )


def _untold(row: Row) -> RegistryError:
    return RegistryError(row.problem, code="unanswered", host=row.repository.partition("/")[0])


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _texts(value: object) -> list[str]:
    import json

    return [str(text) for text in json.loads(str(value))] if value is not None else []
