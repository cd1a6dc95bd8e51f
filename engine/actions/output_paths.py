"""The output paths of verbs: templates of paths, checks, and existing files."""

from __future__ import annotations

import os
from contextlib import suppress

from imq.engine.atomic_writer import classify_output
from imq.engine.sources.action_options import get_option
from imq.engine.sources.row_templates import is_template, render_row_pieces
from imq.engine.units.paths import expand_path, home_directory
from imq.grammar.errors import Conflict, StatementError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import TARGET_COLUMNS, query_of_names, resolve_targets, target_of_row, target_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.render.template.template import Piece
    from imq.engine.sources.action import PlanContext
    from imq.grammar import ast
    from imq.grammar.errors import Span

    from .operands import Target

_NAME_FIELDS = frozenset({"name", "registry", "repository", "tag", "digest", "id", "platform"})
"""Fields whose slashes may separate folders. The values of other fields are chosen by the author of the image."""
_DOTS = frozenset({".", ".."})


class Output(Record):
    """One path to write to. `kind` is what exists there: see `classify_output`."""

    path: str
    kind: str
    targets: tuple[Target, ...]


def resolve_outputs(act: ast.ActionStatement, text: str, context: PlanContext) -> list[Output]:
    """Return what goes to which path: all to one, or, when the text is a template, each row to its own.

    Raises `StatementError` when a value of a row would lead to another folder than the template says, when two paths
    are of one file or one lies below another, and when a path lies in the store.
    """
    if not text:
        raise StatementError(
            f"the path of {act.verb} is empty", code="path", span=_to_span(act), hints=("name a file or a folder",)
        )
    by_path: dict[str, list[Target]] = {}
    if is_template(text):
        query = target_query(act, context) if act.query is not None else query_of_names(act, context)
        for (pieces,), row in render_row_pieces(query, (text,), context, TARGET_COLUMNS):
            by_path.setdefault(_join_path(pieces, act), []).append(target_of_row(row))
    else:
        by_path[text] = resolve_targets(act, context)
    _check_folder(text, act, context)
    found = [_make_output(path, rows, act, context) for path, rows in by_path.items()]
    places: dict[str, str] = {}
    for output in found:
        other = places.setdefault(os.path.realpath(output.path), output.path)
        if other != output.path:
            raise StatementError(f"{other} and {output.path} are one file", code="operand", span=_to_span(act))
        if is_within(output.path, context.store.root):
            raise StatementError(
                f"{output.path} lies in the image store {context.store.root}, whose files only imq itself writes",
                code="operand",
                span=_to_span(act),
                hints=("give a path outside the store",),
            )
    for path, output_path in places.items():
        outer = next((place for place in _folders_above(path) if place in places), None)
        if outer is not None:
            raise StatementError(
                f"{output_path} lies below {places[outer]}, and one would overwrite the other",
                code="operand",
                span=_to_span(act),
            )
    return found


def _folders_above(path: str) -> Iterator[str]:
    while (above := os.path.dirname(path)) != path:
        yield above
        path = above


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it, through links and mounts too. A missing folder has nothing below it."""
    try:
        top = os.stat(folder)
    except OSError:
        return False
    path = os.path.realpath(path)
    while True:
        with suppress(OSError):
            if os.path.samestat(os.stat(path), top):
                return True
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above


def _check_folder(text: str, act: ast.ActionStatement, context: PlanContext) -> None:
    """Raise when the folder in the fixed part of a path is missing. Values of a template may name new folders."""
    opening = min((text.find(mark) for mark in ("{{", "<<") if mark in text), default=len(text))
    start = expand_path(text[:opening], context.folder, home_directory(context.environment), _to_span(act))
    folder = os.path.dirname(start.rstrip("/") if opening == len(text) else start) or os.curdir
    if not os.path.isdir(folder):
        raise StoreError(f"the folder {folder} is missing, or is no folder", hints=("make it first, with mkdir -p",))


def _make_output(path: str, rows: Sequence[Target], act: ast.ActionStatement, context: PlanContext) -> Output:
    path = expand_path(path, context.folder, home_directory(context.environment), _to_span(act))
    try:
        kind = classify_output(path)
    except OSError as problem:
        raise StatementError(
            f"nothing can be written to {path}: {problem.strerror or problem}", code="path", span=_to_span(act)
        ) from None
    return Output(path, kind, tuple(rows))


def _to_span(act: ast.ActionStatement) -> Span | None:
    option = get_option(act, "to")
    return option.span if option is not None else None


def skips_existing(act: ast.ActionStatement) -> bool:
    """Whether a statement skips existing files; raises `StatementError` when it also has `force`."""
    skip = get_option(act, "skip existing")
    if skip is not None and get_option(act, "force") is not None:
        raise StatementError("force replaces what skip existing keeps: give one of them", code="option", span=skip.span)
    return skip is not None


def resolve_path(text: str, context: PlanContext) -> str:
    """Return an absolute path; a relative one begins at the folder of the statement, `~` at the user's home."""
    return expand_path(text, context.folder, home_directory(context.environment))


def label_transfer(verb: str, path: str) -> str:
    """Return the label of a progress bar: the verb and the name of the file or folder."""
    return f"{verb} {os.path.basename(os.path.normpath(path))}"


def files_exist_error(paths: Sequence[str]) -> Conflict:
    """Return the error for existing files that the statement may not replace."""
    first, *others = paths
    more = f" and {len(others)} more are" if others else " is"
    return Conflict(
        f"{first}{more} there already",
        code="exists",
        hints=("to replace it, add: force", "to leave it and write the others, add: skip existing"),
    )


# Templates of paths


def _join_path(pieces: Sequence[Piece], act: ast.ActionStatement) -> str:
    """Return the path that a template made; values choose names in the folders that the template itself writes.

    A value of another field than an image's identity has no slash. No value makes a name of dots, the root or `~`.
    """
    path, value_positions = "", set[int]()  # the characters that values made, by their places
    for piece in pieces:
        if piece.from_action and "/" in piece.text and (piece.fields is None or not piece.fields <= _NAME_FIELDS):
            raise _unsafe_value(piece.text, 'contains "/"', act)
        if piece.from_action:
            value_positions.update(range(len(path), len(path) + max(1, len(piece.text))))
        path += piece.text
    start = 0
    names = path.split("/")
    for number, name in enumerate(names):
        end = start + len(name)
        from_value = not value_positions.isdisjoint(range(start, end + (not name)))
        if from_value and (name in _DOTS or (not number and name == "~")):
            raise _unsafe_value(name, "is no name of a file", act)
        if from_value and not name and not number and path:
            raise _unsafe_value(path, "begins at the root", act)
        if from_value and not name and number == len(names) - 1:
            raise _unsafe_value(path, "has no name of a file", act)
        start = end + 1
    return path


def _unsafe_value(value: str, why: str, act: ast.ActionStatement) -> StatementError:
    shown = value if len(value) <= 120 else f"{value[:117]}…"
    return StatementError(
        f"the template makes a path from {shown!r}, which {why}",
        code="path",
        span=_to_span(act),
        hints=(
            "a value names a file, and the text of the template its folders",
            'to replace slashes: {{join (split .Label.KEY "/") "-"}}',
        ),
    )
