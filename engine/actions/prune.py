"""The verb `prune`: removes images of the store that are dangling and not in use, and unused blobs."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.engine.sources.store.source import NAME as STORE
from imq.engine.store.non_image_entries import list_non_image_entries
from imq.engine.units.size import human_size
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import is_of_containers
from .container_removal import plan_container_prune
from .operands import Target, get_image_query, plan_by_source, resolve_targets
from .rm import plan_removals
from .verb import OperandKind, Verb
from .volume_removal import is_of_volumes, plan_volume_removal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext


class CollectGarbage(Record):
    """Remove the blobs that no image reaches, and partial downloads."""

    def describe(self) -> Outcome:
        """Return the blobs, without their number."""
        return Outcome("collect", "blobs that no image reaches")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the blobs. Raises the error of an unreadable image, because any blob may belong to it."""
        from imq.engine.store.file_index import find_file_index

        with context.store.start_transaction() as transaction:
            transaction.collects_all = True
        index, limit = find_file_index(context.store), context.store.file_index_limit
        trimmed = index.trim(limit) if index is not None and limit is not None else 0
        if transaction.collection_error is not None:
            raise transaction.collection_error
        freed = transaction.collected
        parts = ["partial downloads"] if freed.partial_bytes else []
        parts += ["layers of the index of files"] if trimmed else []
        yield Outcome(
            "collect",
            f"{freed.blobs} blob{'' if freed.blobs == 1 else 's'} that no image reaches",
            size=freed.size + freed.partial_bytes + trimmed,
            note=f"including {' and '.join(parts)}" if parts else None,
        )


class TrimIndexCache(Record):
    """Trim the shared cache of indexes of layers to `limit` bytes. Others may use it: each index can be made again."""

    url: str
    limit: int

    def describe(self) -> Outcome:
        """Return the cache with its new size."""
        return Outcome("trim", f"the index cache {self.url}", note=f"to at most {human_size(self.limit)}")

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        """Delete indexes. Raises `ImqError` when the cache cannot be reached."""
        from imq.engine.layer_index.index_cache import open_cache

        yield self.describe().replace(size=open_cache(self.url).trim(self.limit))


def _expand_prune(act: ast.ActionStatement) -> ast.ActionStatement:
    """Return the statement with its full query: images that are dangling and not in use."""
    query = act.query
    if query is None:
        store = (ast.Literal(STORE),)  # also when `use` has set another source
        query = ast.Query("images", sources=store, order=(ast.Ordering(ast.Field(("created",))),))
    elif isinstance(query, ast.Combination):
        query = ast.Query("", base=query, span=query.span)
    unused = (ast.Field(("dangling",)), ast.Not(ast.Predicate("in use")))
    conditions = (query.where,) if query.where is not None else ()
    options = tuple(option for option in act.options if option.name != "from")  # the query names the source
    return act.replace(query=query.replace(where=ast.And((*unused, *conditions))), options=options)


def _plan_prune(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if act.query is not None and is_of_volumes(act):
        return plan_volume_removal(act, context, prunes=True)
    if act.references:
        name = context.literals(act.references[:1])[0]
        error = StatementError(
            "prune takes no names: it removes unused images",
            code="operand",
            span=act.references[0].span,
            hints=(f"to remove an image: rm {name}", "to prune some of the unused images: prune images where …"),
        )
        error.replacement = "images where" if name.lower() == "where" else f"images where {name}"
        raise error
    return plan_by_source(act, _plan_in_store, context, needs_where=False)


def _plan_in_store(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if act.query is not None and is_of_containers(act, context):
        return plan_container_prune(act, context)
    if act.query is not None:
        get_image_query(act, context)
        context.store.check_collectable()
        return plan_removals(resolve_targets(_expand_prune(act), context), context, force=True)
    context.store.check_collectable()
    targets = resolve_targets(_expand_prune(act), context)
    unread = context.store.index.find_unreadable_roots()
    for entry in list_non_image_entries(context.store):
        if entry.descriptor.digest in unread:
            continue
        if entry.name is None or entry.name.tag is None:
            root = entry.descriptor.digest
            targets.append(Target(str(entry.name) if entry.name else None, root, root, every=True))
    url, limit = context.store.index_cache_url, context.store.index_cache_limit
    trims = [TrimIndexCache(url, limit)] if url and limit is not None else []
    return [*plan_removals(targets, context, force=True), CollectGarbage(), *trims]


VERB = Verb(
    "prune",
    "Remove images that are dangling and not in use: those of a query, or all of them and partial downloads. Containers"
    " without processes and unused records of a build cache are pruned by a query of them: prune containers, prune"
    " build_cache in docker.",
    "prune images where older than 7d",
    OperandKind.IMAGES,
    options=("from", "dry run"),
    removes=True,
    needs_confirmation=True,
    operand_optional=True,
    expand=_expand_prune,
    docker_differences=(
        "As in docker, images with a digest but no tag are dangling and are removed. So are partial downloads. "
        "For docker's prune -a: rm images where not in use. While an image cannot be read, prune is refused: any blob "
        "may belong to that image. As docker builder prune does, prune build_cache keeps records that images share; "
        "rm build_cache where … removes these too."
    ),
    plan=_plan_prune,
)
