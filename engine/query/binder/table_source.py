"""Resolves the table of a query: the sources that serve it, and the operands of `of`."""

from __future__ import annotations

import re

from imq.engine.catalog.tables import Table, TargetKind
from imq.engine.query import ir
from imq.engine.query.source import NativeTable, SourceRef, StagedTable, TableUse
from imq.grammar import ast
from imq.grammar.errors import InvalidReference, StatementError, join_names
from imq.grammar.record import TYPE_CHECKING

from .literals import is_string

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imq.grammar.errors import Span

    from .expressions import Expressions
    from .scope import Scope

_EXAMPLES = {
    TargetKind.NAMES: "of registry.local:5000/team/app:1",
    TargetKind.IMAGES: "of registry.local:5000/team/app:1",
    TargetKind.TERM: "redis",
    TargetKind.REPOSITORIES: "of registry.local:5000/team/app",
}
_TAG = re.compile(r":(?!\d+(?:/|$))[\w.-]+$|:\d{1,3}$")
"""The tag of a name: a number after a host is a port, and those below 1000 are no ports of registries."""
_TABLES_OF_OPERANDS = ("images", "containers", "tags", "repositories")
"""Tables whose rows are operands of `of`."""
_SHOWN_NAME = "image_name"
"""The field of rows that shows by which name of an image they were selected."""


def check_reference(node: ast.Literal) -> None:
    """Raise `InvalidReference`, with the span of the literal, if its text is not a reference."""
    from imq.engine.oci.reference import Reference

    try:
        Reference.parse(node.text.strip())
    except InvalidReference as error:
        error.span = node.span
        raise


class TableResolver:
    """Resolves the table of one query. `bind_rows` binds a query after `of`, once."""

    def __init__(
        self,
        query: ast.Query,
        scope: Scope,
        expressions: Expressions,
        bind_rows: Callable[[ast.Variable | ast.RowSource], ir.Select],
    ) -> None:
        self._query = query
        self._targets = list(query.targets)
        self._named: list[ast.Query] = []
        self._fetch = scope.fetch
        self._scope = scope
        self._expressions = expressions
        self._bind_rows = bind_rows

    def bind(self, table: Table) -> Table:
        """Return the table in SQL."""
        if self._query.at and table.name != "rows":
            raise StatementError(
                f'"at" is for rows of a file, not for {table.name}',
                code="target",
                span=self._query.span,
                hints=('example: rows of "pod.yaml" at spec.containers',),
            )
        if table.target_fields:
            return self._bind_rows_of_images(table)
        if self._targets and table.target is TargetKind.NOTHING:
            raise StatementError(
                f'"{table.name}" takes no "of"',
                code="target",
                span=self._query.span,
                hints=("name the image in where: images where name = redis:7",) if table.name == "images" else (),
            )
        if table.target is TargetKind.CONTAINERS:
            self._targets = [target for target in self._targets if not _is_every_container(target)]
        uses = self._find_uses(table)
        targets: tuple[str | ir.Select, ...] = ()
        if table.target is TargetKind.FILE:
            targets = self._read_paths(table)
        elif any(isinstance(use.provider, StagedTable) for use in uses):
            targets = tuple(self._bind_target(target, table) for target in self._targets)
        return self._fetch.bind_table(uses, targets, at=self._query.at)

    def _bind_rows_of_images(self, table: Table) -> Table:
        """Return a table that is about rows of images: those of queries and names after `of`, in their sources."""
        refs = tuple(
            ref
            for node in self._query.sources
            for ref in self._fetch.sources.resolve_all(self._expressions.require_literal(node).text, node.span)
        )
        for ref, node in zip(refs, self._query.sources, strict=False):
            self._check_lists_all(table, ref, node)
        names_images = any(isinstance(target, ast.Literal | ast.Variable) for target in self._targets)
        named = refs or (self._scope.default_refs("images") if names_images else ())
        targets = []
        for target in self._targets:
            select = self._bind_images(target, named)
            if not select.is_whole_rows or select.table.name != "images":
                raise StatementError(
                    f"{table.name} of (…) expects a query of images without select", code="target", span=target.span
                )
            fields = [select.table.get_field(name) for name in table.target_fields]
            columns = tuple(ir.Projection(field.name, ir.Column(field), field.column_title, field) for field in fields)
            targets.append(select.replace(columns=columns, is_whole_rows=False))
        found = refs or tuple(dict.fromkeys(ref for select in targets for ref in self._list_refs(select.table)))
        found = found or named or self._scope.default_refs("images")
        uses = self._group_uses(table, found)
        if not uses:
            names = ", ".join(ref.text for ref in found)
            raise self._missing_table_error(table, names, self._fetch.sources.find_uses(table.name), self._query.span)
        return self._fetch.bind_table(uses, tuple(targets))

    def _bind_images(self, target: ast.Literal | ast.Variable | ast.RowSource, refs: Sequence[SourceRef]) -> ir.Select:
        """Bind an operand of `of`: a query of images, or the name or ID of an image in these sources."""
        if not isinstance(target, ast.Literal | ast.Variable):
            return self._bind_rows(target)
        literal = self._expressions.require_literal(target)
        conditions = {self._fetch.sources[ref.source].match_name(literal.text) for ref in refs}
        parts = tuple(condition for condition in conditions if condition is not None)
        sources = tuple(ast.Literal(ref.text, quoted=True) for ref in refs)
        where = parts[0] if len(parts) == 1 else ast.Or(parts) if parts else None
        query = ast.Query("images", sources=sources, where=where, span=target.span)
        self._named.append(query)  # what is bound is remembered by its identity
        return self._bind_rows(query).replace(image=literal.text)

    def _list_refs(self, table: Table) -> Sequence[SourceRef]:
        """Return the sources that the rows of a bound table are from."""
        texts = self._fetch.list_refs(table) or self._fetch.list_sources(table)
        return [ref for text in texts for ref in self._fetch.sources.resolve_all(text)]

    def _find_uses(self, table: Table) -> Sequence[TableUse]:
        """Return the uses of the table: in the named sources, those of the targets, or the default sources."""
        refs: dict[SourceRef, None] = {}
        for node in self._query.sources:
            for ref in self._fetch.sources.resolve_all(self._expressions.require_literal(node).text, node.span):
                if (use := self._find_use_of_names(table, ref)) is not None and len(self._query.sources) == 1:
                    return [use]
                self._check_lists_all(table, ref, node)
                refs[ref] = None
        if refs:
            return self._group_uses(table, tuple(refs))
        if self._targets and table.target is not TargetKind.FILE:
            return self._find_default_uses(table) or self._find_uses_of_targets(table)
        return self._group_uses(table, self._scope.default_refs(table.name)) or [self._find_only_use(table)]

    def _find_use_of_names(self, table: Table, ref: SourceRef) -> TableUse | None:
        """Return the use of a table of which a source has rows of names alone, when its own names are after `of`."""
        provider = self._fetch.sources[ref.source].tables.get(table.name)
        if not isinstance(provider, StagedTable) or provider.lists_all or not self._targets:
            return None
        names = [target.text for target in self._targets if isinstance(target, ast.Literal)]
        is_own = len(names) == len(self._targets) and all(name.startswith(f"{ref.text}/") for name in names)
        return TableUse(provider, ref.source) if is_own else None

    def _group_uses(self, table: Table, refs: Sequence[SourceRef]) -> list[TableUse]:
        """Return the use of the table in each source that can list all of its rows, with the references to it."""
        grouped: dict[str, list[SourceRef]] = {}
        for ref in refs:
            grouped.setdefault(ref.source, []).append(ref)
        uses = []
        for name, source_refs in grouped.items():
            provider = self._fetch.sources[name].tables.get(table.name)
            if provider is not None and (not isinstance(provider, StagedTable) or provider.lists_all):
                uses.append(TableUse(provider, name, tuple(source_refs)))
        return uses

    def _find_default_uses(self, table: Table) -> Sequence[TableUse]:
        """Return the uses in the default sources, when the targets are names and these sources have images by name."""
        if table.target is TargetKind.NAMES or any(not isinstance(target, ast.Literal) for target in self._targets):
            return ()  # without a source, names are those of registries
        uses = self._group_uses(table, self._scope.default_refs(table.name))
        names = [target.text for target in self._targets if isinstance(target, ast.Literal)]
        if table.target is TargetKind.CONTAINERS:  # every source with the table has containers by name
            return uses
        for use in uses:
            source = self._fetch.sources[use.source]
            if isinstance(source.tables.get("images"), NativeTable) or any(
                source.match_name(name) is None for name in names
            ):
                return ()
        return uses

    def _find_only_use(self, table: Table) -> TableUse:
        """Return the use of a table that no default source lists. Raises `StatementError` if it needs a target."""
        uses = self._fetch.sources.find_uses(table.name)
        for use in uses:
            if not isinstance(use.provider, StagedTable):
                return use
        if table.target not in _EXAMPLES:
            refs = self._scope.default_refs(table.name)
            raise self._missing_table_error(table, ", ".join(ref.text for ref in refs), uses, self._query.span)
        raise StatementError(
            f'"{table.name}" needs a target',
            code="target",
            span=self._query.span,
            hints=(f"example: {table.name} {_EXAMPLES.get(table.target, 'in registry.local:5000')}",),
        )

    def _missing_table_error(
        self, table: Table, text: str, uses: Sequence[TableUse], span: Span | None
    ) -> StatementError:
        """Return the error for a table that the sources of a text do not have; `uses` are those in other sources."""
        holders = [self._fetch.sources[use.source] for use in uses]
        subject = "the store" if text.lower() == "store" else text
        return StatementError(
            f"{subject} has no table {table.name}: it is a table of {join_names([one.title for one in holders])}",
            code="place",
            span=span,
            hints=(f"example: {table.name} in {holders[0].example}",),
        )

    def _find_uses_of_targets(self, table: Table) -> Sequence[TableUse]:
        """Return the use in the source of the targets; those in several sources when one query is all there is."""
        if (holder := self._find_first_holder(table)) is not None:
            return [holder]
        uses = self._fetch.sources.find_uses(table.name)
        if len(self._targets) == 1 and not isinstance(self._targets[0], ast.Literal):
            names = self._fetch.list_sources(self._bind_rows(self._targets[0]).table)
            own = [use for use in uses if use.source in names and isinstance(use.provider, StagedTable)]
            if len(own) == len(names) > 1:
                return own
        return [self._find_use_of_targets(table, uses)]

    def _find_first_holder(self, table: Table) -> TableUse | None:
        """Return the use in the first source that has the first image after `of`. The sources after it stay closed."""
        target = self._targets[0]
        if table.target is not TargetKind.IMAGES or not isinstance(target, ast.Literal):
            return None
        for use in self._fetch.sources.iterate_uses(table.name):
            if self._fetch.sources[use.source].has_target(target.text):
                return self._add_refs(use, target) if isinstance(use.provider, StagedTable) else None
        return None

    def _find_use_of_targets(self, table: Table, uses: Sequence[TableUse]) -> TableUse:
        if table.target is TargetKind.CONTAINERS and any(isinstance(target, ast.Literal) for target in self._targets):
            refs = self._scope.default_refs(table.name)
            raise self._missing_table_error(table, ", ".join(ref.text for ref in refs), uses, self._query.span)
        staged = [use for use in uses if isinstance(use.provider, StagedTable)]
        if len(uses) == 1 or not staged:
            return self._add_refs(uses[0], self._targets[0])
        for target in self._targets:
            if isinstance(target, ast.Literal) and table.target is TargetKind.NAMES:
                text = target.text
                holder = next((use for use in uses if self._fetch.sources[use.source].match_name(text) is None), None)
            elif isinstance(target, ast.Literal):
                holder = next((use for use in uses if self._fetch.sources[use.source].has_target(target.text)), None)
            else:
                bound = self._bind_rows(target).table
                holder = next(
                    (use for use in uses if use.source == bound.source), staged[0] if bound.is_staged else None
                )
            if holder is not None and not isinstance(holder.provider, NativeTable):
                return self._add_refs(holder, target)
        return uses[0]

    def _add_refs(self, use: TableUse, target: ast.Literal | ast.Variable | ast.RowSource) -> TableUse:
        """Return the use with the sources of the rows after `of`, when these rows are names alone."""
        if isinstance(target, ast.Literal) or not isinstance(use.provider, StagedTable) or not use.provider.lists_all:
            return use
        select = self._bind_rows(target)
        if select.is_whole_rows:
            return use
        sources = self._fetch.sources
        refs = (sources.resolve(text) for text in self._fetch.list_refs(select.table))
        return TableUse(use.provider, use.source, tuple(ref for ref in refs if ref.source == use.source))

    def _check_lists_all(self, table: Table, ref: SourceRef, node: ast.Literal | ast.Variable) -> None:
        """Refuse a source that cannot list all rows of a table."""
        provider = self._fetch.sources[ref.source].tables.get(table.name)
        if provider is not None and (not isinstance(provider, StagedTable) or provider.lists_all):
            return
        others = self._fetch.sources.find_uses(table.name)
        source = self._fetch.sources[ref.source]
        if provider is None and others and all(isinstance(use.provider, StagedTable) for use in others):
            raise self._missing_table_error(table, ref.text, others, node.span)
        raise StatementError(
            f"{table.name} cannot be read from {ref.text}",
            code="place",
            span=node.span,
            hints=(
                f"for an image: {table.name} of {ref.text}"
                if provider is not None and _TAG.search(ref.text)
                else f"example: {table.name} of {ref.text}/app:1 in {ref.text}"
                if provider is not None
                else f"{source.title} serve{'' if source.title.endswith('s') else 's'}: {join_names(source.tables)}",
            ),
        )

    def _bind_target(self, target: ast.Literal | ast.Variable | ast.RowSource, table: Table) -> str | ir.Select:
        """Bind an operand of `of`: a name, or a query of names."""
        if isinstance(target, ast.Literal):
            literal = self._expressions.require_literal(target)
            self._refuse_table(literal)
            if table.target not in (TargetKind.TERM, TargetKind.CONTAINERS):
                try:
                    check_reference(literal)
                except InvalidReference as error:
                    if "*" in literal.text and table.target is TargetKind.REPOSITORIES:
                        error.hints = (f"for a pattern: {table.name} in {literal.text}", *error.hints)
                    raise
            return literal.text
        return self._bind_names(target, table)

    def _bind_names(self, target: ast.Variable | ast.RowSource, table: Table) -> ir.Select:
        """Bind a query of names: whole rows provide their names, another query its single column of strings.

        The contents of images are looked up by the lookup fields of the relation of these rows, if it has one. The name
        of each row follows when the contents show it.
        """
        select = self._bind_rows(target)
        relation = select.table.find_relation(table.name) or next(
            (one for one in select.table.relations if one.table == table.name), None
        )  # the relation `os_release` has the rows of the table `os_releases`
        if relation is None and (select.table.name, table.name) == ("containers", "differences"):
            relation = select.table.find_relation("files")  # differences belong to no single row
        if (
            select.is_whole_rows
            and relation is not None
            and relation.lookup_fields
            and table.target in (TargetKind.IMAGES, TargetKind.CONTAINERS)
        ):
            fields = [select.table.get_field(name) for name in relation.lookup_fields]
            shown = select.table.find_field("name") if table.find_field(_SHOWN_NAME) is not None else None
            if shown is not None and shown not in fields:
                fields.append(shown)
            columns = tuple(ir.Projection(field.name, ir.Column(field), field.column_title, field) for field in fields)
            return select.replace(columns=columns, is_whole_rows=False)
        if select.is_whole_rows and select.table.name == "containers" and table.target is TargetKind.IMAGES:
            raise StatementError(
                f"{table.name} are of images, and these rows are containers, whose names are their own",
                code="target",
                span=target.span,
                hints=(
                    f"for the images of containers: {table.name} of (containers … select image)",
                    "for what containers changed: changes of (containers …)" if table.name == "files" else "",
                ),
            )
        name = select.table.find_field("name") or (
            select.table.find_field("line") if select.table.name == "lines" else None
        )
        if select.is_whole_rows and name is not None:
            return select.replace(
                columns=(ir.Projection(name.name, ir.Column(name), name.column_title, name),), is_whole_rows=False
            )
        if len(select.columns) != 1 or select.count or not is_string(select.columns[0].value.kind):
            raise StatementError(
                "expected names: a query of rows with names, or of one column of strings",
                code="target",
                span=target.span,
                hints=("add to the query: select name",),
            )
        return select

    def _refuse_table(self, literal: ast.Literal) -> None:
        """Refuse `files of images where …`: the rows of a table are in parentheses, and `images` is a name here."""
        name = literal.text.lower()
        if literal.quoted or literal.span is None or name not in _TABLES_OF_OPERANDS:
            return
        query = self._query
        rest = " where …" if query.where is not None else ""
        raise StatementError(
            f'"{literal.text}" is the name of an image here, and not a table',
            code="target",
            span=literal.span,
            hints=(
                f"for the rows of the table: {query.table.replace('_', ' ')} of ({name}{rest})",
                f'for an image of this name: {query.table.replace("_", " ")} of "{literal.text}"',
            ),
        )

    def _read_paths(self, table: Table) -> tuple[str, ...]:
        paths = []
        for target in self._query.targets:
            if not isinstance(target, ast.Literal):
                raise StatementError("expected a file", code="target", span=getattr(target, "span", None))
            paths.append(target.text)
        if not paths:
            raise StatementError(
                f'"{table.name}" needs a file',
                code="target",
                span=self._query.span,
                hints=(f'example: {table.name} of "list.txt", or {table.name} of stdin',),
            )
        return tuple(paths)


def _is_every_container(target: ast.Literal | ast.Variable | ast.RowSource) -> bool:
    """Whether an operand is the bare word `containers`: `logs of containers`."""
    return isinstance(target, ast.Literal) and not target.quoted and target.text.lower() == "containers"
