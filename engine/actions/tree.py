"""The verb `tree`: shows the files of an image as a tree."""

from __future__ import annotations

from imq.engine.layer_index.path_text import show_text
from imq.engine.result import Message
from imq.engine.units.size import Size
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .image_files import find_entry, make_files_query, read_entry_rows
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import PlanContext
    from imq.engine.sources.contents.entry_values import EntryValues

_IMAGE_AND_PATH = 2


def _tree(act: ast.ActionStatement, context: PlanContext) -> Message:
    if not 1 <= len(act.references) <= _IMAGE_AND_PATH or act.query is not None:
        raise StatementError(
            "tree needs an image, and may have a path in it",
            code="operand",
            span=act.span,
            hints=("example: tree redis:7 /etc",),
        )
    image, *paths = act.references
    top = "/"
    where: ast.Expr | None = None
    if paths and context.literals(paths)[0].strip("/"):
        entry = find_entry(image, context.literals(paths)[0], act, context)
        if entry.type_name != "directory":
            raise StatementError(
                f"{entry.path} is a {entry.type_name}, not a directory", code="not-a-directory", span=paths[0].span
            )
        top = entry.path
        escaped = "".join(f"\\{character}" if character in "*?[\\" else character for character in top)
        where = ast.Comparison("like", ast.Field(("path",)), ast.Literal(f"{escaped}/*", quoted=True))
    entries = read_entry_rows(make_files_query(image, act, where), context)
    if not entries and top == "/":
        raise NotFound("the image has no files", code="no-such-file", span=act.span)
    return Message("".join(_draw(top, entries)))


def _draw(top: str, entries: list[EntryValues]) -> Iterator[str]:
    """Yield the lines of the tree. A directory shows the bytes of all files below it."""
    base = "" if top == "/" else top
    children: dict[str, list[EntryValues]] = {}
    sizes: dict[str, int] = {}
    for entry in entries:
        folder = entry.path.rpartition("/")[0]
        children.setdefault(folder, []).append(entry)
        if entry.has_content and entry.type_name != "hardlink":
            while len(folder) >= len(base):
                sizes[folder] = sizes.get(folder, 0) + entry.size
                if not folder:
                    break
                folder = folder.rpartition("/")[0]
    yield f"{show_text(top)}  {Size(sizes.get(base, 0))}\n"
    pending = [(entry, "", place) for place, entry in enumerate(reversed(children.get(base, ())))]
    while pending:
        entry, indent, remaining = pending.pop()
        is_last = remaining == 0
        name = show_text(entry.path.rpartition("/")[2])
        detail = f" -> {show_text(entry.link)}" if entry.link is not None else ""
        size = sizes.get(entry.path, 0) if entry.type_name == "directory" else entry.size
        shown = f"  {Size(size)}" if entry.has_content or entry.type_name == "directory" else ""
        slash = "/" if entry.type_name == "directory" else ""
        yield f"{indent}{'└── ' if is_last else '├── '}{name}{slash}{detail}{shown}\n"
        below = children.get(entry.path, ())
        inner = indent + ("    " if is_last else "│   ")
        pending += [(child, inner, place) for place, child in enumerate(reversed(below))]


VERB = Verb(
    "tree",
    "Show the files of an image, or of a directory in it, as a tree with sizes: tree IMAGE [PATH].",
    "tree redis:7 /etc",
    OperandKind.IMAGE_AND_PATH,
    options=("from",),
    answer=_tree,
)
