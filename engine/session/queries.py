"""Runs the queries and assertions of a session: bind, plan, fetch, select."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from itertools import chain, islice

from imq.engine.catalog.tables import TABLES, DataType, TargetKind
from imq.engine.query.binder import Scope, bind, bind_condition
from imq.engine.query.fetch_executor import FetchExecutor
from imq.engine.query.ir import Column as ColumnValue
from imq.engine.query.ir import (
    Comparison,
    Exists,
    InSubquery,
    LayerRelation,
    Limit,
    Not,
    Projection,
    RowInSubquery,
    Union,
    get_subquery,
    walk,
    walk_subqueries,
)
from imq.engine.query.plan import (
    AssertionPlan,
    QueryPlan,
    collect_fields,
    depends_on_others,
    list_columns,
    plan,
    plan_assertion,
    plan_values,
    reads_documents,
)
from imq.engine.query.source import StagedTable
from imq.engine.result import Column, Message, RowSet, get_exit_code
from imq.engine.store.index import INDEX_MISMATCH
from imq.grammar import ast
from imq.grammar.errors import AssertionFailed, ImqError, NotFound, Refused, StoreError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING, Record

from .state import DEFAULT_SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Field, Raw
    from imq.engine.catalog.tables import Table
    from imq.engine.query.certainty import LeftOutRows
    from imq.engine.query.ir import Expr, KeepNewest, Select
    from imq.engine.query.plan import Plan
    from imq.engine.query.source import Estimator, Source
    from imq.engine.query.sql.statements import Sql
    from imq.engine.result import Result

    from .catalogue_answers import PlannedAnswer
    from .resources import Resources

    RowErrors = list[tuple[str, ImqError]]


class UncertainRow(Record):
    """A row for which it is unknown whether a condition holds: its name, its ID, and the values that are unknown."""

    name: Raw
    id: Raw
    unknown: tuple[str, ...]

    @property
    def text(self) -> str:
        """The name, or else the ID, in messages."""
        return str(self.name if self.name is not None else self.id)


_IMAGE_ID_FIELDS = ("id", "image_id", "image")
"""The digests of these names are image IDs, except for the `id` of containers."""
_ROWS_READ_FIRST = 1000
"""The number of rows that are read before the first is yielded; see `_read_first`."""


class QueryRunner:
    """Runs queries and assertions."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._fetch = FetchExecutor(resources.sources, self._fetch_names)

    def close(self) -> None:
        """Close the connections of the sources."""
        self._fetch.close()

    # Binding and planning

    def make_scope(self, note: Callable[[str], None] = lambda _text: None) -> Scope:
        """Prepare the store and the sources for a statement, and return the scope that it is bound in.

        `note` reports remarks on the statement.
        """
        resources = self._resources
        resources.prepare_statement()
        self._fetch.begin(resources.runner)
        return Scope(
            resources.clock(),
            resources.context.zone,
            lambda text: resources.store.find(text).key,
            self._fetch,
            resources.default_refs,
            note=note,
        )

    def make_notes(self) -> Callable[[str], None]:
        """Return a function that reports each remark on a statement once, however often its parts are bound."""
        resources, reported = self._resources, set[str]()

        def note(text: str) -> None:
            if text not in reported and resources.explains_conditions:
                reported.add(text)
                resources.progress.note(text)

        return note

    def plan(self, select: Select, now: int, hidden: Sequence[str] = ()) -> QueryPlan:
        """Return the plan of a query; the columns `hidden` follow the selected ones."""
        levels = self._fetch.find_required_levels(walk_subqueries(select))
        return plan(select, now, tuple(hidden), self._fetch.plan(select), levels)

    def plan_output(self, statement: ast.QueryStatement, scope: Scope) -> QueryPlan:
        """Return the plan of a query statement, with the fields that its output format or template needs."""
        select = bind(statement.query, scope)
        fields = self._fields_for_output(statement, select)
        return self.plan(select if fields is None else bind(statement.query, scope, fields), scope.now)

    def plan_assertion(self, condition: Expr, now: int) -> AssertionPlan:
        """Return the plan of a condition that does not refer to a row."""
        nested = (subquery for value in walk((condition,)) if (subquery := get_subquery(value)) is not None)
        levels = self._fetch.find_required_levels(one for subquery in nested for one in walk_subqueries(subquery))
        return plan_assertion(condition, now, self._fetch.plan_condition(condition), levels)

    def make_estimators(self, planned: Plan | None, *, fresh: bool = True) -> Mapping[str, Estimator]:
        """Return the estimators of a plan's requests by source. Without `fresh` no cached tags are used."""
        if planned is None or not planned.steps:
            return {}
        return self._fetch.create_estimators(planned.now, self._resources.fresh if fresh else 0)

    def plan_answer(self, planned: Plan) -> PlannedAnswer | None:
        """Return what the catalogue computes of a plan; None without a catalogue."""
        catalogue = self._resources.catalogue
        if catalogue is None or not isinstance(planned, QueryPlan | AssertionPlan):
            return None
        from .catalogue_answers import plan_answer

        query = planned.select if isinstance(planned, QueryPlan) else planned.condition
        return plan_answer(catalogue, query, planned.now)

    def describe_pending(self, planned: Plan | None) -> list[str]:
        """Return descriptions of the preparation that native tables need before a plan runs, for `explain`."""
        levels = planned.native_levels if planned is not None else frozenset()
        return [provider.describe_pending(level) for provider, level in self._fetch.list_native_levels(levels)]

    def _fields_for_output(self, statement: ast.QueryStatement, select: Select) -> list[Field] | None:
        """Return the fields that the output needs; None for selected columns and for the default columns."""
        if not select.is_whole_rows:
            return None
        from imq.engine.render.output_fields import list_output_fields

        joins = frozenset(join.name for join in select.joins)
        context, table = self._resources.context, select.table
        more: tuple[Field, ...] = ()
        if table.find_relation("texts") is not None and _finds_text(statement.query):
            from imq.engine.catalog.predicates import FOUND

            more = (FOUND,)
            table = table.replace(fields=(*table.fields, *more))
        fields = list_output_fields(
            statement.output, table, joins, context.output_format, every=context.reads_all_fields
        )
        if more and fields is None and "ids" not in (statement.output.format, context.output_format):
            return [*map(table.get_field, table.default_columns), *more]
        return fields

    # Running

    def run_query(self, statement: ast.QueryStatement) -> RowSet:
        """Run a query statement. The errors of the result are those of rows that could not be fetched or read.

        A name with a host after `of` that the engine of the default source lacks is read from its registry, as it is
        with the store. When the engine has it, a note says so.
        """
        remote = self._add_registry(statement)
        if remote is None:
            return self._run_query(statement)
        source = self._resources.state.current_source
        try:
            result = self._run_query(statement)
        except NotFound:
            self._resources.progress.note(f"{source} does not have this image: its registry is read")
            return self._run_query(remote)
        from imq.grammar.unparser import unparse

        self._resources.progress.note(
            f"{source} has this image and is read, not the registry: for that, {unparse(remote.query)}"
        )
        return result

    def _add_registry(self, statement: ast.QueryStatement) -> ast.QueryStatement | None:
        """Return a query of one name with a host, and without a source, as a query of its registry.

        None for any other query, and when the default source is no engine.
        """
        query, resources = statement.query, self._resources
        if not isinstance(query, ast.Query) or query.sources or len(query.targets) != 1:
            return None
        target = query.targets[0]
        if not isinstance(target, ast.Literal) or TABLES[query.table].target is not TargetKind.IMAGES:
            return None
        host = target.text.partition("/")[0]
        if host in (target.text, "localhost"):  # podman's prefix of names without a registry
            return None
        sources = resources.sources
        holders = [sources[use.source] for use in sources.find_uses(query.table)]
        own = {sources[ref.source] for ref in resources.default_refs(query.table)}
        if any(one.match_name(target.text) is None or not _lists_images(one) for one in own) or not any(
            one.has_target(target.text) for one in holders if one.match_name(target.text) is None
        ):
            return None
        return statement.replace(query=query.replace(sources=(ast.Literal(host),)))

    def _run_query(self, statement: ast.QueryStatement) -> RowSet:
        planned = self.plan_output(statement, self.make_scope(self.make_notes()))
        if planned.steps or any(field.is_unavailable for field in collect_fields(planned.select)):
            from imq.engine.query.unavailable_fields import list_unavailable_fields

            for name, kind in list_unavailable_fields(planned.select):
                self._resources.progress.warn(f"{kind} does not report {name}: it is unknown for all its images")
        return self._explain_empty(self._fetch_answer(planned, statement.output), planned, statement)

    def run_assertion(self, statement: ast.Assert) -> Result:
        """Run an assertion. Return an empty message if it is true, else the offending rows and exit code 1."""
        scope = self.make_scope(self.make_notes())
        conditions = (
            statement.condition.operands if isinstance(statement.condition, ast.And) else (statement.condition,)
        )
        for part in conditions:
            condition = bind_condition(part, scope)
            planned = self.plan_assertion(condition, scope.now)
            nested = [subquery for value in walk((condition,)) if (subquery := get_subquery(value)) is not None]
            fetched = self._run_stages(planned, max_age=0)  # an assertion often guards the actions after it
            for problem in (*self._list_unreadable(*nested), *self._prepare(planned), *fetched):
                raise problem
            self._check(planned)
            result = next(self._answer(condition, planned.sql, planned.now), None)
            assert result is not None
            if not result[0]:
                from imq.grammar.unparser import unparse

                failure = AssertionFailed(f"assertion failed: {unparse(part)}", span=part.span)
                counterexample = self._find_counterexample(part, planned, scope, statement.output)
                return counterexample.replace(errors=(failure,), exit_code=1)
            self._note_left_out(nested, scope.now)
        return Message("")

    def select_rows(
        self,
        query: ast.RowSource,
        hidden: Sequence[str],
        scope: Scope,
        problems: RowErrors | None,
        uncertain: list[UncertainRow] | None = None,
    ) -> tuple[Select, list[tuple[Raw, ...]]]:
        """Return the rows that an action works on.

        Raises the error of data that other parts of the query depend on. Errors of rows of the query itself are
        appended to `problems`, each with its subject. With `uncertain` only the rows are returned for which the
        condition certainly holds; those are appended to it for which that is unknown.
        """
        select = bind(query, scope if uncertain is None else scope.replace(is_removal=True))
        chosen = select
        if uncertain is not None:
            from imq.engine.query.certainty import remove_limits, require_certain

            if (chosen := require_certain(select)) is not select:
                select = remove_limits(select)
        planned = self.plan(select, scope.now, hidden)
        if chosen is not select:  # the limits that are removed there read layers
            layers = (one.until.layers for one in walk_subqueries(chosen) if one.until is not None)
            steps = [step for one in layers if one is not None for step in self._fetch.plan(one)]
            planned = planned.replace(steps=(*steps, *planned.steps))
        unreadable = self._list_unreadable(select) if depends_on_others(select) else ()
        for problem in (*unreadable, *self._prepare(planned)):
            raise problem
        failed = self._fetch.run(planned.steps, self._resources.runner, planned.now)
        excluded = frozenset[str]()
        if self._fetch.unread:
            from imq.engine.query.certainty import require_read

            chosen, excluded = require_read(chosen, self._fetch.unread)
            planned = plan(chosen, scope.now, tuple(hidden))
            if problems is None or _has_changing_limit(chosen, uncertain):
                excluded = frozenset()
        for view, subject, problem in failed:
            if view != select.table.sql_name and view not in excluded:
                raise problem
            if problems is not None:
                problems.append((subject, problem))
        self._check(planned)
        self._check_excluded_lists(select, scope.now, is_removal=uncertain is not None)
        if uncertain is None and problems is not None:
            self._note_left_out((chosen,), scope.now)
        if uncertain is not None:
            self._warn_of_kept_names(chosen, scope.now)
        if chosen is select or uncertain is None:
            return chosen, list(self._resources.runner.run(planned.sql))
        uncertain += self._find_uncertain(chosen, select, scope.now)
        return chosen, list(self._resources.runner.run(plan(chosen, scope.now, tuple(hidden)).sql))

    def _warn_of_kept_names(self, chosen: Select, now: int) -> None:
        """Warn when `except newest N` of a removal keeps N names of fewer images, or N names of several sources.

        `skip N` may keep N platforms of fewer names.
        """
        from imq.engine.query.sql.statements import write_kept_counts

        for select in _walk_bases(chosen):
            self._warn_of_skipped_platforms(select, now)
            newest, table = select.keep_newest, select.table
            identity = {"images": "id", "tags": "digest"}.get(table.name)
            if newest is None or identity is None or select.group is not None:
                continue
            self._warn_of_joint_count(table, newest)
            if identity == "digest" and newest.by != ColumnValue(table.get_field("created")):
                continue  # the digests of the tags that stay are not fetched
            values = (*newest.per, *(ColumnValue(table.get_field(name)) for name in ("source", identity, "name")))
            columns = tuple(Projection("", value, "") for value in values)
            unlimited = select.replace(columns=columns, is_whole_rows=False, skip=None, limit=None, until=None)
            counts = self._resources.runner.first_row(write_kept_counts(unlimited, now))
            assert counts is not None
            names, images = (int(count or 0) for count in counts)
            if images < names:
                self._resources.progress.warn(
                    f"except newest counts names: the {names} that stay are of {images}"
                    f" image{'' if images == 1 else 's'}"
                )

    def _warn_of_skipped_platforms(self, select: Select, now: int) -> None:
        """Warn when the rows that `skip` of a removal leaves are several platforms of one name."""
        from imq.engine.query.sql.statements import write_name_counts

        if select.skip is None or select.table.name != "images" or select.group is not None:
            return
        fields = (select.table.get_field(name) for name in ("source", "name"))
        skipped = select.replace(
            columns=tuple(Projection("", ColumnValue(field), "") for field in fields),
            is_whole_rows=False,
            skip=None,
            limit=Limit(select.skip.count, select.skip.per),
            until=None,
        )
        counts = self._resources.runner.first_row(write_name_counts(skipped, now))
        assert counts is not None
        rows, names = (int(count or 0) for count in counts)
        if names < rows:
            self._resources.progress.warn(
                f"skip counts rows, and a name has one for each platform: the {rows} that it leaves out are of {names}"
                f" name{'' if names == 1 else 's'}; to keep names: except newest"
            )

    def _warn_of_joint_count(self, table: Table, newest: KeepNewest) -> None:
        """Warn when `except newest` counts the names of several sources together: hosts often have the same ones."""
        count = len(set(self._fetch.list_refs(table)))
        is_each = any(isinstance(key, ColumnValue) and key.field.name == "source" for key in newest.per)
        if table.name == "images" and count > 1 and not is_each:
            self._resources.progress.warn(
                f"except newest counts the names of {count} sources together; to keep the newest of each: per source"
            )

    def _find_uncertain(self, chosen: Select, unlimited: Select, now: int) -> list[UncertainRow]:
        """Return the rows for which it is unknown whether the condition of a removal holds.

        Raises `Refused` when other rows would take their places among those of a limit.
        """
        from imq.engine.query.certainty import has_order_limit, list_subject_fields, list_uncertain_rows

        found: dict[tuple[Raw, ...], UncertainRow] = {}
        for rows in list_uncertain_rows(unlimited, self._fetch.unread):
            names = [field.name for field in list_subject_fields(rows.select)]
            for row in self._resources.runner.run(plan(rows.select, now).sql):
                subject = dict(zip(names, row, strict=False))
                unknown = tuple(name for name, flag in zip(rows.values, row[len(names) :], strict=True) if flag)
                found.setdefault(row[: len(names)], UncertainRow(subject.get("name"), subject.get("id"), unknown))
        if found and has_order_limit(chosen):
            first = next(iter(found.values()))
            raise Refused(
                f"limit, skip or until would choose other rows while these values of {first.text} are unknown:"
                f" {', '.join(first.unknown)}",
                code="uncertain",
                hints=(f"to leave such rows out: … and {first.unknown[0]} is known",) if first.unknown else (),
            )
        return list(found.values())

    def _check_excluded_lists(self, select: Select, now: int, *, is_removal: bool) -> None:
        """Raise `Refused` when a list after `not in` or `not based on` has unknown values from another source.

        So it does for IDs of another kind, and for IDs in a list of the names that a removal keeps.

        A container whose image has an unknown digest may use any image: without it, too many rows would be selected.
        So would be all rows without a list in which no ID of them can be. A removal warns of an empty file.
        """
        from imq.engine.query.sql.statements import write_unknown_check

        for one in walk_subqueries(select):
            negations = (
                value for value in walk((one.where,) if one.where is not None else ()) if isinstance(value, Not)
            )
            for test in (value for negation in negations for value in walk((negation.operand,))):
                if isinstance(test, InSubquery | RowInSubquery):
                    self._check_id_kinds(one, test)
                if is_removal and isinstance(test, InSubquery):
                    self._warn_of_empty_list(test.select, now)
                    if test.operand.kind is DataType.REFERENCE:
                        self._check_names(test.select, now)
                if not isinstance(test, InSubquery | LayerRelation) or not test.select.table.is_staged:
                    continue
                if self._resources.runner.first_row(write_unknown_check(test.select, now)) is not None:
                    name = test.select.columns[0].name
                    words = test.relationship if isinstance(test, LayerRelation) else "in"
                    raise Refused(
                        f"{name} is unknown in some {test.select.table.name} after not {words}, and may be any value",
                        code="unknown-items",
                        hints=(f"to leave these {test.select.table.name} out: … where {name} is known select {name}",),
                    )

    def _warn_of_empty_list(self, items: Select, now: int) -> None:
        """Warn of a file after `not in` that keeps no row from removal."""
        is_file = items.table.name in ("lines", "rows")
        if is_file and self._resources.runner.first_row(plan(items, now).sql) is None:
            self._resources.progress.warn(
                f"not in ({items.table.name} of …) keeps nothing: the list is empty; nonempty refuses an empty one"
            )

    def _check_names(self, items: Select, now: int) -> None:
        """Raise `Refused` when a list of the names to keep has an ID, or a name with a tag and a digest.

        No name equals them, so their images would be removed.
        """
        from imq.engine.query.sql.statements import write_non_name_check

        row = self._resources.runner.first_row(write_non_name_check(items, now))
        assert row is not None
        id_, full_name = row
        if id_ is not None:
            column = "image_id" if items.table.name == "containers" else "…"
            raise Refused(
                f'"{str(id_).strip()}" after not in is an ID, which no name equals',
                code="unlike-names",
                hints=(f"compare IDs: … where id not in (… select {column})",),
            )
        if full_name is not None:
            text = str(full_name).strip()
            raise Refused(
                f'"{text}" after not in has a tag and a digest, and a name has one of them',
                code="unlike-names",
                hints=(f"name the tag: {text.partition('@')[0]}",),
            )

    def _check_id_kinds(self, select: Select, test: InSubquery | RowInSubquery) -> None:
        """Raise `Refused` when a condition of a removal compares image IDs that never match."""
        if (kinds := self._find_unlike_ids(select, test)) is not None:
            raise Refused(
                f"the IDs of images in {kinds[True]} are digests of manifests, and those in {kinds[False]} of configs:"
                " they never match, so too many images would be selected",
                code="different-ids",
                hints=("compare digests: … where digest not in (… select digest)",),
            )

    def _find_unlike_ids(self, select: Select, test: InSubquery | RowInSubquery) -> dict[bool, str] | None:
        """Return a source of either kind of image IDs when a condition compares both kinds; see `has_manifest_ids`."""
        compared = (test.operand,) if isinstance(test, InSubquery) else test.keys
        if not any(_is_image_id(value, select.table.name) for value in compared):
            return None
        kinds = self._fetch.list_id_kinds(chain(_walk_bases(select), _walk_bases(test.select)))
        return kinds if len(kinds) > 1 else None

    def _warn_of_unlike_ids(self, select: Select) -> None:
        """Warn of a condition that compares image IDs which never match."""
        for one in walk_subqueries(select):
            for test in walk((one.where,) if one.where is not None else ()):
                if isinstance(test, InSubquery | RowInSubquery) and (kinds := self._find_unlike_ids(one, test)):
                    self._resources.progress.warn(
                        f"the IDs of images in {kinds[True]} are digests of manifests, and those in {kinds[False]} of"
                        " configs: they never match, so compare digests"
                    )

    def repair_index(self, problem: Exception) -> bool:
        """Rebuild the index if it is corrupt and caused this error; return whether it was rebuilt."""
        if isinstance(problem, ImqError) and problem.code not in ("index", INDEX_MISMATCH):
            return False
        try:
            return self._resources.store.index.recover(problem.__cause__ or problem)
        except (ImqError, sqlite3.Error):
            return False

    def _fetch_answer(self, planned: QueryPlan, output: ast.Output) -> RowSet:
        select = planned.select
        problems = (*self._list_unreadable(select), *self._prepare(planned), *self._run_stages(planned))
        if self._fetch.unread:
            from imq.engine.query.certainty import require_read

            select, _ = require_read(select, self._fetch.unread)
            planned = planned.replace(sql=plan(select, planned.now).sql)
        self._check(planned)
        if planned.steps:
            from imq.engine.query.accuracy_warnings import find_warnings

            for warning in find_warnings(select):
                self._resources.progress.warn(warning)
            self._warn_of_unlike_ids(select)
        notes = self._note_left_out((select,), planned.now)
        code = get_exit_code(problems)
        rows = self._read_first(self._answer(select, planned.sql, planned.now))
        if select.count:
            column = Column("count", "COUNT", DataType.NUMBER)
            return RowSet((column,), rows, output, None, single=True, errors=problems, exit_code=code, notes=notes)
        return RowSet(list_columns(select), rows, output, select.table, errors=problems, exit_code=code, notes=notes)

    def _are_measured(self, left_out: LeftOutRows) -> bool:
        """Whether no value that decides these rows can be unknown: the layers of the store are all measured.

        A row of `images` may also be a document that could not be read.
        """
        table = left_out.table
        if table.is_staged or table.name == "images":
            return False
        fields = [table.find_field(name) for name in left_out.values]
        levels = frozenset(field.level for field in fields if field is not None and field.level is not None)
        if len(levels) != 1 or any(field is None or field.level is None for field in fields):
            return False
        native = self._fetch.list_native_levels(frozenset((table.source, table.name, level) for level in levels))
        return not any(provider.describe_pending(level) for provider, level in native)

    def _note_left_out(self, selects: Iterable[Select], now: int) -> tuple[str, ...]:
        """Report how many rows queries leave out because values are unknown, of which values, and what to write.

        Docker's command lines report nothing: docker leaves out such rows too.
        """
        if not self._resources.explains_conditions:
            return ()
        from imq.engine.query.certainty import list_left_out_rows

        notes: dict[str, None] = {}
        for left_out in (one for select in selects for one in list_left_out_rows(select)):
            if self._are_measured(left_out):
                continue
            if total := self._count(left_out.rows, now):
                is_only = len(left_out.values) == 1
                counts = {name: total if is_only else self._count(one, now) for name, one in left_out.values.items()}
                notes[_describe_left_out(left_out.table.name, total, counts)] = None
        for note in notes:
            self._resources.progress.note(note)
        return tuple(notes)

    def _count(self, select: Select, now: int) -> int:
        row = self._resources.runner.first_row(plan(select, now).sql)
        return int(row[0]) if row is not None and row[0] is not None else 0

    def _answer(self, query: Select | Expr, sql: Sql, now: int) -> Iterator[tuple[Raw, ...]]:
        """Return the rows of a query, or the value of a condition: from the catalogue, else from SQLite by `sql`."""
        if (catalogue := self._resources.catalogue) is not None:
            from .catalogue_answers import Unsupported, answer

            with suppress(Unsupported):
                return answer(catalogue, self._resources.store.index, query, now)
        return self._resources.runner.run(sql)

    def _explain_empty(self, result: RowSet, planned: QueryPlan, statement: ast.QueryStatement) -> RowSet:
        """Report where imq looked when a result of the default source has no rows, or counts none.

        A compared name without a tag is reported too: it is the name with the tag latest.
        """
        rows = iter(result.rows)
        first = list(islice(rows, 1))
        table = planned.select.table
        if not first or (result.single and first == [(0,)]):
            if _reads_default_alone(planned):
                self._resources.explain_empty(table.name)
            field = table.find_field("name")
            where = statement.query.where if isinstance(statement.query, ast.Query) else None
            if field is not None and field.type is DataType.REFERENCE and (name := _find_untagged_name(where)):
                self._resources.progress.note(
                    f"names have tags: name = {name} matches only {name}:latest; for every tag: repository = {name}"
                )
        return result.replace(rows=chain(first, rows))

    def _read_first(self, rows: Iterator[tuple[Raw, ...]]) -> Iterator[tuple[Raw, ...]]:
        """Read the first rows eagerly, so that a corrupt index is found and repaired before any output is written."""
        first = list(islice(rows, _ROWS_READ_FIRST))
        return chain(first, self._read_rest(rows)) if len(first) == _ROWS_READ_FIRST else iter(first)

    def _read_rest(self, rows: Iterator[tuple[Raw, ...]]) -> Iterator[tuple[Raw, ...]]:
        try:
            yield from rows
        except ImqError as problem:
            if self.repair_index(problem):
                problem.hints = ("the index was corrupt and has been rebuilt: run the statement again",)
            raise

    def _prepare(self, planned: Plan) -> tuple[ImqError, ...]:
        return self._fetch.prepare(planned.native_levels)

    def _list_unreadable(self, *selects: Select) -> tuple[ImqError, ...]:
        """Return the errors of unreadable images, if these queries read documents of images."""
        return self._resources.store.index.list_problems() if any(map(reads_documents, selects)) else ()

    def _run_stages(self, planned: Plan, max_age: int | None = None) -> tuple[ImqError, ...]:
        """Run the stages; cached tags are used for `max_age` nanoseconds, by default for those of `set fresh`."""
        resources = self._resources
        age = resources.fresh if max_age is None else max_age
        problems = self._fetch.run(planned.steps, resources.runner, planned.now, age)
        return tuple(error for *_, error in problems)

    def _fetch_names(self, select: Select, hidden: tuple[str, ...]) -> Iterator[tuple[Raw, ...]]:
        """Run a query whose rows are the names of a scan's targets."""
        levels = self._fetch.find_required_levels(walk_subqueries(select))
        planned = plan(select, self._resources.clock(), hidden, native_levels=levels)
        for problem in self._prepare(planned):
            raise problem
        self._check(planned)
        return self._resources.runner.run(planned.sql)

    def _check(self, planned: Plan) -> None:
        """Raise for an empty `nonempty` list, for a list of ids with other values, and for a missing store."""
        resources = self._resources
        if resources.context.missing_store != "pass" and not resources.store.layout.exists:
            scans = self._fetch.scans.values()
            if planned.reads_store or any(DEFAULT_SOURCE in scan.sources for scan in scans):
                self._report_missing_store()
        for check in planned.checks:
            row = resources.runner.first_row(check.sql)
            if check.digests and row is not None:
                raise TypeMismatch(f'the list has "{row[0]}", which is not an id: expected digests or prefixes of them')
            if check.image and row is None:
                raise NotFound(f"No such image: {check.image}", code="no-such-image")
            if not check.digests and row is None:
                if check.text.startswith("containers "):
                    raise NotFound(f"No such container: {check.text} returns no rows", code="no-such-container")
                raise Refused(f"{check.text} returns no rows, which nonempty does not allow", code="empty")

    def _report_missing_store(self) -> None:
        resources = self._resources
        message = f"no store found at {resources.store.root}"
        if resources.context.missing_store == "warn":
            resources.progress.warn(message)
            return
        hints = (
            "check --root; pull, load and import create a store",
            "without --root, imq reads the default store, or an engine that responds",
        )
        raise StoreError(message, code="no-store", hints=hints)

    def _find_counterexample(self, part: ast.Expr, planned: AssertionPlan, scope: Scope, output: ast.Output) -> RowSet:
        """Return the evidence against a condition: the offending rows, or the values of both sides of a comparison."""
        match planned.condition, part:
            case Not(Exists()), ast.Exists(rows):
                offending = self.plan_output(ast.QueryStatement(rows, output), self.make_scope())
                return self._fetch_answer(offending, output)
            case Comparison(_, left, right), _:
                values = self._resources.runner.first_row(plan_values((left, right), scope.now))
                assert values is not None
                types = [DataType.NUMBER if side.kind is DataType.SIZE else side.kind for side in (left, right)]
                columns = (Column("left", "LEFT", types[0]), Column("right", "RIGHT", types[1]))
                return RowSet(columns, [values], output)
            case _:
                return RowSet((Column("holds", "HOLDS", DataType.BOOLEAN),), [(0,)], output)


def _finds_text(query: ast.RowSource) -> bool:
    """Whether the condition of a query has `contains text`, so that its rows have the field `found`."""
    if isinstance(query, ast.Query) and query.where is None and query.base is None:
        return False
    from imq.engine.query.binder.found_texts import list_found_texts

    return bool(list_found_texts(query))


def _describe_left_out(table: str, total: int, counts: Mapping[str, int]) -> str:
    """Return the note on `total` rows that a query leaves out; `counts` are those of which each value is unknown."""
    names = [name for name, count in counts.items() if count]
    names = next(([name] for name in names if counts[name] == total), names)
    verb, them = ("are", "them") if total > 1 else ("is", "it")
    unknown = " or ".join(f"{name} is unknown" for name in names)
    known = " and ".join(f"{name} is known" for name in names)
    reason = f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} unknown"
    return "\n".join(
        (
            f"{total} of the {table} {verb} left out, because {reason}",
            f"  to have {them} too: … or {unknown}",
            f"  to leave {them} out without this note: … and {known}",
        )
    )


def _lists_images(source: Source) -> bool:
    """Whether the images of a source are listed by a statement: it is not the store."""
    return isinstance(source.tables.get("images"), StagedTable)


def _find_untagged_name(condition: ast.Expr | None) -> str:
    """Return the name without tag and digest that a condition requires; "" without one."""
    match condition:
        case ast.And(operands):
            return next((name for one in operands if (name := _find_untagged_name(one))), "")
        case ast.Comparison(operator="=", left=ast.Field(path), right=ast.Literal(text)) if path[-1].lower() == "name":
            has_tag = not text or "@" in text or ":" in text.rpartition("/")[2]
            return "" if has_tag else text
        case _:
            return ""


def _is_image_id(value: Expr, table: str) -> bool:
    """Whether an expression over rows of a table is a field that has image IDs."""
    if not isinstance(value, ColumnValue) or value.kind is not DataType.DIGEST:
        return False
    return value.field.name in _IMAGE_ID_FIELDS and not (value.field.name == "id" and table == "containers")


def _walk_bases(select: Select) -> Iterator[Select]:
    """Yield a query and those that its rows come from."""
    yield select
    bases = (select.base.left, select.base.right) if isinstance(select.base, Union) else (select.base,)
    for base in bases:
        if base is not None:
            yield from _walk_bases(base)


def _has_changing_limit(select: Select, uncertain: list[UncertainRow] | None) -> bool:
    """Whether a removal has a limit, which lets other rows in when some are missing."""
    if uncertain is None:
        return False
    from imq.engine.query.certainty import has_order_limit

    return has_order_limit(select)


def _reads_default_alone(planned: Plan) -> bool:
    """Whether all rows that are fetched are those of the default source."""
    if not planned.steps:
        return True
    from imq.engine.query.fetch_plan import BatchedStages

    for step in planned.steps:
        for stage in step.stages if isinstance(step, BatchedStages) else (step,):
            if any(source != DEFAULT_SOURCE for source in stage.scan.sources):
                return False
    return True
