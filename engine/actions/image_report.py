"""Reports of images to HTML files: one page with pictures.

Every picture is the answer of a statement, which the page shows below it. All statements run when the report is
planned; the plan holds the page that is written.
"""

from __future__ import annotations

from imq.engine.sources.action import Outcome, Skip
from imq.engine.sources.action_options import get_option, get_option_values
from imq.engine.sources.row_templates import is_template
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import unparse

from .output_file import FileAction, open_output_file
from .output_paths import check_paths, skips_existing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeGuard

    from imq.engine.catalog.schema import Raw
    from imq.engine.render.report.facts import Facts, ImageFacts
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

_STORE = "store"
"""The source whose layers are read for their waste without the option `with waste`: reading them moves no bytes."""
_WASTE_LIMIT = 200
"""The images with the most waste that a report has. More would be neither read nor drawn."""


class ImageReport(FileAction):
    """Write a page about `images` images. `pieces` is its text; a dry run has none."""

    images: int
    pieces: tuple[str, ...] = ()

    def describe(self) -> Outcome:
        """Return the path with the number of images."""
        images = f"{self.images} image{'s' if self.images != 1 else ''}"
        return Outcome("report", self.path, note=f"{images}{self.describe_existing()}")

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        """Write the page. The file appears when it is complete."""
        with open_output_file(self, None) as target:
            for piece in self.pieces:
                target.write(piece.encode("utf-8", "replace"))
        yield self.describe().replace(size=target.size)


def is_image_report(act: ast.ActionStatement, context: PlanContext) -> bool:
    """Whether a report is a page with pictures: of whole images, or of no query, to an HTML file without a format."""
    to = get_option_values(act, "to", context)
    if act.output != ast.Output() or not to or is_template(to[0]) or not to[0].lower().endswith((".html", ".htm")):
        return False
    if act.query is None:
        return not act.references
    select = context.bind(act.query)
    return select.is_whole_rows and select.table.name == "images" and not select.joins


def plan_image_report(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the plan of a page with pictures."""
    (text,) = get_option_values(act, "to", context)
    keeps, force = skips_existing(act), get_option(act, "force") is not None
    (output,) = check_paths(act, text, (text,), context)
    if output.kind == "folder":
        raise StatementError(f"{output.path} is a folder, and report writes a file", code="path", span=act.span)
    if keeps and output.kind == "file":
        return [Skip(output.path, None, "it exists already")]
    query = act.query if act.query is not None else ast.Query("images", span=act.span)
    if isinstance(query, ast.Query):
        query = query.replace(explicit_all=False)
    if context.is_dry_run:
        counted = query_images(query).replace(select=(_column("id"),), order=())
        return [ImageReport(output.path, output.kind, force, len(context.rows(counted, ())[1]))]
    from imq.engine.render.report.page import write_page

    facts = collect_facts(query, context, reads_waste=_reads_waste(act, query, context))
    pieces = tuple(write_page(facts, context.scope.zone))
    return [ImageReport(output.path, output.kind, force, len(facts.images), pieces)]


def _reads_waste(act: ast.ActionStatement, query: ast.RowSource, context: PlanContext) -> bool:
    """Whether to read the layers of the images: as the options say, else for images of the store only."""
    with_waste, without = get_option(act, "with waste"), get_option(act, "with no waste")
    if with_waste is not None and without is not None:
        raise StatementError("with waste and with no waste cannot be combined", code="option", span=without.span)
    if with_waste is not None or without is not None:
        return with_waste is not None
    table = context.bind(query).table
    sources = context.scope.fetch.list_sources(table) if table.is_staged else (_STORE,)
    return set(sources) <= {_STORE}


# The statements


def collect_facts(query: ast.RowSource, context: PlanContext, *, reads_waste: bool) -> Facts:
    """Run the statements of a report about the images of a query."""
    from imq.engine.render.report import facts

    layers, repositories = query_layers(query), query_repositories(query)
    same_layers, waste = query_same_layers(query), query_waste(query)
    images: Sequence[ImageFacts] = facts.read_images(_run(query_images(query), context))
    found_waste = facts.read_waste(_run(waste, context)) if reads_waste and images else () if reads_waste else None
    return facts.Facts(
        context.scope.now,
        unparse(query),
        f"{unparse(query) if _is_whole_table(query) else f'({unparse(query)})'} where ",
        tuple(images),
        facts.read_layers(_run(layers, context), images),
        facts.read_repositories(_run(repositories, context)),
        facts.read_same_layers(_run(same_layers, context)),
        found_waste,
        {
            "images": unparse(_select_images(query)),
            "layers": unparse(layers),
            "lineage": f"{unparse(query)} as tree",
            "repositories": unparse(repositories),
            "ages": unparse(_order(query, "created")),
            "same_layers": unparse(same_layers),
            "waste": unparse(waste),
        },
        tuple(dict.fromkeys(f"{subject}: {error.message}" for subject, error in context.problems)),
    )


def _run(query: ast.RowSource, context: PlanContext) -> list[tuple[Raw, ...]]:
    return context.rows(query, ())[1]


def query_images(query: ast.RowSource) -> ast.Query:
    """Return the query for the images of a query: one row for each image of each source, the largest first."""
    columns = (
        _column("source"),
        _column("id"),
        _named("names", _call("list", "name")),
        _named("repositories", _call("list", "repository")),
        _named("created", _call("max", "created")),
        _named("size", _call("max", "size")),
        _named("unique_size", _call("max", "unique_size")),
        _named("platform", _call("max", "platform")),
        _named("chains", _call("list", "chain_ids")),
    )
    return _over(query, group=(_field("source"), _field("id")), order=(_descending("size"),), select=columns)


def _select_images(query: ast.RowSource) -> ast.Query:
    """Return the statement below the table of images."""
    names = ("name", "id", "created", "size", "unique_size", "platform", "source")
    return _over(query, order=(_descending("size"),), select=tuple(map(_column, names)))


def query_layers(query: ast.RowSource) -> ast.Query:
    """Return the query for the layers of images: one row for each layer of each source, the largest first."""
    columns = (
        _column("source"),
        _column("diff_id"),
        _named("size", _call("max", "size")),
        _named("step", _call("min", "created_by")),
        _named("images", _call("list", "image")),
    )
    keys = (_field("source"), _field("diff_id"))
    return ast.Query("layers", targets=(query,), group=keys, order=(_descending("size"),), select=columns)


def query_repositories(query: ast.RowSource) -> ast.Query:
    """Return the query for repositories: the number of their different layers, and the bytes of these."""
    same = ast.And(
        (
            ast.Comparison("=", _field("named", "id"), _field("image")),
            ast.Comparison("=", _field("named", "source"), _field("source")),
        )
    )
    repository, source, diff_id = _field("named", "repository"), _field("source"), _field("diff_id")
    layers = ast.Query(
        "layers",
        targets=(query,),
        joins=(ast.Join("left", query, "named", same),),
        group=(repository, source, diff_id),
        select=(_named("repository", repository), _column("diff_id"), _named("size", _call("max", "size"))),
    )
    columns = (_column("repository"), _named("layers", ast.Call("count", ())), _named("size", _call("sum", "size")))
    return _over(layers, group=(_field("repository"),), order=(_descending("size"),), select=columns)


def query_same_layers(query: ast.RowSource) -> ast.Query:
    """Return the query for images that differ in nothing but their configs, the largest first."""
    images = ast.Call("count", (_field("id"),), distinct=True)
    columns = (
        _column("source"),
        _column("chain_id"),
        _named("images", images),
        _named("names", _call("list", "name")),
        _named("size", _call("max", "size")),
    )
    having = ast.And(
        (ast.IsKnown(_field("chain_id")), ast.Comparison(">", images, ast.Literal("1"))),
    )
    keys = (_field("source"), _field("chain_id"))
    return _over(query, group=keys, having=having, order=(_descending("size"),), select=columns)


def query_waste(query: ast.RowSource) -> ast.Query:
    """Return the query for the images with the most bytes that upper layers hide."""
    names = ("image_name", "wasted_size", "size", "efficiency", "paths")
    return ast.Query(
        "waste",
        targets=(query,),
        order=(_descending("wasted_size"),),
        limit=ast.Limit(ast.Literal(str(_WASTE_LIMIT))),
        select=tuple(map(_column, names)),
    )


def _over(query: ast.RowSource, **clauses: object) -> ast.Query:
    """Return a query of the rows of another one, without parentheses when that is a whole table."""
    return (query if _is_whole_table(query) else ast.Query("", base=query)).replace(**clauses)


def _is_whole_table(query: ast.RowSource) -> TypeGuard[ast.Query]:
    """Whether a query has no clauses, so that clauses can be added to it."""
    return isinstance(query, ast.Query) and query == ast.Query(query.table, query.targets, query.sources)


def _order(query: ast.RowSource, name: str) -> ast.Query:
    return _over(query, order=(ast.Ordering(_field(name)),))


def _field(*path: str) -> ast.Field:
    return ast.Field(path)


def _column(name: str) -> ast.Column:
    return ast.Column(_field(name))


def _named(name: str, value: ast.Expr) -> ast.Column:
    return ast.Column(value, name)


def _call(function: str, name: str) -> ast.Call:
    return ast.Call(function, (_field(name),))


def _descending(name: str) -> ast.Ordering:
    return ast.Ordering(_field(name), descending=True)
