"""Removes records of the build cache of engines: `rm build_cache …` and `prune build_cache …`.

The engine removes a record only when no other record and no running build needs it. So records are requested again as
long as that removes any: those that are built on others go first.
"""

from __future__ import annotations

import json

from imq.engine.query.binder import require_where
from imq.engine.sources.action import BatchedAction, Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .clients import EngineClients
from .json_documents import read_integer, read_object, read_objects, read_text, read_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from imq.engine.docker_engine.client import EngineClient
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

TABLE = "build_cache"
_REMOVING = 600.0
"""The seconds that an engine has to remove a record."""
_COLUMNS = ("source", "id", "description", "size", "usage_count", "in_use")
_KEPT_TYPES = ("internal", "frontend")
"""The types of records that `docker builder prune` keeps without its flag --all, as it keeps shared ones."""


class RemoveCacheRecord(BatchedAction):
    """Remove one record of the build cache. `uses` is how often builds had used it when this was planned."""

    source: str
    id: str
    description: str = ""
    size: int | None = None
    uses: int | None = None

    def describe(self) -> Outcome:
        """Return the ID with what the record is."""
        about = f"{self.description}, " if self.description else ""
        return Outcome("remove", self.id, None, self.size, note=f"{about}in {self.source}")

    @staticmethod
    def execute_batch(actions: Sequence[RemoveCacheRecord], context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the records of each engine. A record that is needed, or was used since the plan, stays."""
        clients = context.get_shared(EngineClients)
        for source in dict.fromkeys(action.source for action in actions):
            own = [action for action in actions if action.source == source]
            try:
                client = clients.get(source)
                records = _list_records(client)
            except ImqError as error:
                yield from (action.describe().with_error(error) for action in own)
                continue
            yield from _remove(client, own, records, context)


def _list_records(client: EngineClient) -> dict[str, dict[str, Any]]:
    usage = client.get_object("system/df", {"type": "build-cache"})  # engines before API 1.42 measure everything
    return {str(record.get("ID")): record for record in read_objects(usage.get("BuildCache"))}


def _remove(
    client: EngineClient,
    actions: Sequence[RemoveCacheRecord],
    records: dict[str, dict[str, Any]],
    context: ExecutionContext,
) -> Iterator[Outcome]:
    pending = []
    for action in actions:
        record = records.get(action.id)
        if record is None:
            yield action.describe().with_error(NotFound(f"no such record of the build cache: {action.id}"))
        elif read_integer(record.get("UsageCount")) != action.uses:
            yield action.describe().with_error(
                Conflict(
                    f"a build has used {action.id} since this was planned, so it was left alone",
                    code="changed",
                    hints=("run the statement again",),
                )
            )
        else:
            pending.append(action)
    total, is_progress = len(pending), True
    while pending and is_progress:
        left = []
        for action in pending:
            context.progress.report_items("remove", total - len(pending), total)
            try:
                freed = _prune(client, action.id)
            except ImqError as error:
                yield action.describe().with_error(error)
                continue
            if freed is None:
                left.append(action)
            else:
                yield action.describe().replace(size=freed)
        is_progress = len(left) < len(pending)
        pending = left
    for action in pending:
        kept = Conflict(
            f"{action.id} stays: another record of the build cache or a running build needs it",
            hints=(f"to see them: build_cache in {action.source}",),
        )
        yield action.describe().with_error(kept)


def _prune(client: EngineClient, id_: str) -> int | None:
    """Remove a record and return the bytes that this frees; None when the engine keeps it."""
    query = {"all": "1", "filters": json.dumps({"id": [id_]})}
    answer = read_object(client.post_json("build/prune", query, timeout=_REMOVING))
    if id_ not in read_texts(answer.get("CachesDeleted")):
        return None
    return read_integer(answer.get("SpaceReclaimed"))


def plan_cache_removal(act: ast.ActionStatement, context: PlanContext, *, prunes: bool = False) -> list[Action]:
    """Return the removal of each record of a query. Records that a build uses are failures.

    `prunes`: records in use, shared ones and those of `_KEPT_TYPES` are left out, as `docker builder prune` does.
    """
    assert act.query is not None
    bind_whole_rows(act, context)
    query = ast.Query("", base=act.query, span=act.query.span)
    if prunes:
        kinds = tuple(ast.Literal(kind, quoted=True) for kind in _KEPT_TYPES)
        kept = (ast.Field(("in_use",)), ast.Field(("shared",)), ast.In(ast.Field(("type",)), kinds))
        query = query.replace(where=ast.And(tuple(ast.Not(one) for one in kept)))
    else:
        require_where(act.query, act.verb)
    columns = tuple(ast.Column(ast.Field((name,))) for name in _COLUMNS)
    actions: list[Action] = []
    for source, id_, description, size, uses, in_use in context.rows(query.replace(select=columns), ())[1]:
        if in_use:
            actions.append(Failed(act.verb, str(id_), Conflict(f"unable to remove {id_}: a build uses it")))
            continue
        numbers = (None if value is None else int(value) for value in (size, uses))
        actions.append(RemoveCacheRecord(str(source), str(id_), read_text(description) or "", *numbers))
    return actions
