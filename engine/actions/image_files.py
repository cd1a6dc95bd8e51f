"""The files of one image that verbs show: by path, with the links on the way followed."""

from __future__ import annotations

from imq.engine.sources.action_options import names_containers
from imq.engine.sources.contents.entry_values import EntryValues
from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound, StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from imq.engine.sources.action import PlanContext
    from imq.engine.sources.contents.protocol import LayerContents

    ImageOperand = ast.Literal | ast.Variable | ast.Query
    """The name of an image, or the query for a container."""

_MAX_LINKS = 40
_CONTAINER_AND_NAME = 2
_NAMES = ("path", "source", "image")


def list_operands(act: ast.ActionStatement) -> tuple[ImageOperand, tuple[ast.Literal | ast.Variable, ...]]:
    """Return the image of a statement, or its container after the word `container`, and the operands after it."""
    if names_containers(act) and len(act.references) > _CONTAINER_AND_NAME:
        _, name, *rest = act.references
        places = next((option.values for option in act.options if option.name == "from"), ())
        return ast.make_container_query(name, places, name.span), tuple(rest)
    return act.references[0], act.references[1:]


def make_files_query(
    image: ImageOperand, act: ast.ActionStatement, where: ast.Expr | None, *, all_layers: bool = False
) -> ast.Query:
    """Return the query for files of an image, in the sources of the option `from`."""
    places = next((option.values for option in act.options if option.name == "from"), ())
    if isinstance(image, ast.Query):
        places = ()  # the container has them
    table = "all_files" if all_layers else "files"
    return ast.Query(table, targets=(image,), sources=places, where=where, span=act.span)


def read_entry_rows(query: ast.RowSource, context: PlanContext) -> list[EntryValues]:
    """Return the entries that a query of files selects, in its order."""
    select = tuple(ast.Column(ast.Field((name,))) for name in _NAMES)
    if not isinstance(query, ast.Query) or query.base is not None:
        raise StatementError(
            "expected a query of files", code="operand", span=query.span, hints=("files of app:1 where …",)
        )
    _, rows = context.rows(query.replace(select=select), ("_content",))
    return [EntryValues.parse(*map(str, row)) for row in rows if row[-1] is not None]


def open_contents_of(entries: Iterable[EntryValues], context: Any) -> LayerContents:
    """Return what reads the layers of the images of entries, which are in one source."""
    for entry in entries:
        ref = context.sources.resolve(entry.source)
        contents: LayerContents | None = context.sources[ref.source].open_contents()
        if contents is not None:
            return contents
    raise ImqError("the source cannot read the layers of images", code="unavailable")


def find_entry(image: ImageOperand, path: str, act: ast.ActionStatement, context: PlanContext) -> EntryValues:
    """Return the entry of a path of an image; symbolic links are followed as in a container. Raises `NotFound`."""
    pending = [name for name in path.split("/") if name not in ("", ".")][::-1]
    resolved: list[str] = []
    for _ in range(_MAX_LINKS):
        prefixes = _list_prefixes(resolved, pending)
        found = _find_paths(image, prefixes, act, context)
        link = next((entry for entry in found if entry.type_name == "symlink"), None)
        if link is None:
            break
        depth = link.path.count("/")
        names = [*resolved, *reversed(pending)]
        target = (link.link or "").split("/")
        names = ([] if (link.link or "").startswith("/") else names[: depth - 1]) + target + names[depth:]
        resolved, pending = [], _clean(names)[::-1]
    else:
        raise NotFound(f"{path}: too many levels of symbolic links", code="no-such-file", span=act.span)
    resolved_path = "/" + "/".join(_clean([*resolved, *reversed(pending)]))
    entry = next((entry for entry in found if entry.path == resolved_path), None)
    if entry is not None:
        return entry
    text = f"container {_get_container_name(image)}" if isinstance(image, ast.Query) else getattr(image, "text", "it")
    nearest = _find_names(image, resolved_path.rpartition("/")[0], act, context) if resolved_path != "/" else []
    raise NotFound(
        f"{text} has no file {path}",
        code="no-such-file",
        span=act.span,
        hints=(closest_hint(resolved_path, nearest), f"to list its files: imq files of {text}"),
    )


def _get_container_name(query: ast.Query) -> str:
    where = query.where.operands[0] if isinstance(query.where, ast.Or) else query.where
    assert isinstance(where, ast.Comparison)
    return getattr(where.right, "text", "")


def _clean(names: Sequence[str]) -> list[str]:
    cleaned: list[str] = []
    for name in names:
        if name == "..":
            del cleaned[-1:]
        elif name not in ("", "."):
            cleaned.append(name)
    return cleaned


def _list_prefixes(resolved: Sequence[str], pending: Sequence[str]) -> list[str]:
    names = _clean([*resolved, *reversed(pending)])
    return ["/" + "/".join(names[:length]) for length in range(1, len(names) + 1)]


def _find_paths(
    image: ImageOperand, paths: Sequence[str], act: ast.ActionStatement, context: PlanContext
) -> list[EntryValues]:
    if not paths:
        raise StatementError("expected a file, not the root folder", code="operand", span=act.span)
    items = tuple(ast.Literal(path, quoted=True) for path in paths)
    where = ast.In(ast.Field(("path",)), items)
    return sorted(read_entry_rows(make_files_query(image, act, where), context), key=lambda entry: len(entry.path))


def _find_names(image: ImageOperand, folder: str, act: ast.ActionStatement, context: PlanContext) -> list[str]:
    where = ast.Comparison("=", ast.Field(("directory",)), ast.Literal(folder or "/", quoted=True))
    return [entry.path for entry in read_entry_rows(make_files_query(image, act, where), context)]
