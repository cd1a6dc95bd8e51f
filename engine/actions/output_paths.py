"""The output paths of verbs: path templates, checks, and existing files."""

from __future__ import annotations

import os
from contextlib import suppress

from imq.engine.atomic_writer import classify_output
from imq.engine.sources.action_options import get_option, list_source_refs
from imq.engine.sources.row_templates import is_template, render_row_pieces
from imq.engine.units.paths import expand_path, home_directory
from imq.grammar.errors import Conflict, StatementError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import (
    TARGET_COLUMNS,
    build_names_query,
    check_targets,
    get_target_query,
    parse_target_row,
    resolve_targets,
)
from .origins import (
    ENGINE_COLUMNS,
    PLACE_COLUMNS,
    find_archives,
    has_place_origin,
    list_archive_targets,
    list_named_targets,
    query_place_targets,
    target_of_engine_row,
    target_of_place_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imq.engine.render.template.template import Piece
    from imq.engine.sources.action import PlanContext
    from imq.engine.sources.archives import ImageArchives
    from imq.grammar import ast
    from imq.grammar.errors import Span

    from .operands import Target

_NAME_FIELDS = frozenset({"name", "registry", "repository", "tag", "digest", "id", "platform", "image_name"})
"""Fields whose slashes may separate folders. Other values come from inside the image, so they are not trusted."""
_DOTS = frozenset({".", ".."})


class Output(Record):
    """One path to write to. `kind` is the kind of file that exists there: see `classify_output`."""

    path: str
    kind: str
    targets: tuple[Target, ...]


def resolve_outputs(
    act: ast.ActionStatement, text: str, context: PlanContext, *, takes_places: bool = False
) -> list[Output]:
    """Return the outputs of an action: one for all images, or, with a template, one for each path that it renders.

    Raises `StatementError` for a path whose folder a value of a row would change, for two paths of the same file, for a
    path below another one, and for a path in the store.
    """
    if not text:
        raise StatementError(
            f"the path of {act.verb} is empty",
            code="path",
            span=_get_to_span(act),
            hints=("expected a file or a folder",),
        )
    by_path: dict[str, list[Target]] = {}
    if takes_places and (archives := find_archives(act, context, list_source_refs(act, context))) is not None:
        by_path = _engine_targets(act, text, context, archives)
    elif takes_places and has_place_origin(act, context):
        by_path = _place_targets(act, text, context)
    elif is_template(text):
        query = get_target_query(act, context) if act.query is not None else build_names_query(act, context)
        for (pieces,), row in render_row_pieces(query, (text,), context, TARGET_COLUMNS):
            by_path.setdefault(join_path(pieces, act), []).append(parse_target_row(row))
        by_path = {path: check_targets(targets, act, context) for path, targets in by_path.items()}
    else:
        by_path[text] = resolve_targets(act, context)
    return _check_outputs(act, text, by_path, context)


def resolve_output(act: ast.ActionStatement, text: str, context: PlanContext) -> Output:
    """Return one path that images of registries go to, checked as those of `resolve_outputs` are."""
    if not text or is_template(text):
        raise StatementError(
            f"{act.verb} takes one path for images of registries",
            code="path",
            span=_get_to_span(act),
            hints=("to oci:DIR",),
        )
    (output,) = _check_outputs(act, text, {text: []}, context)
    return output


def _check_outputs(
    act: ast.ActionStatement, text: str, by_path: Mapping[str, Sequence[Target]], context: PlanContext
) -> list[Output]:
    outputs = check_paths(act, text, by_path, context)
    return [output.replace(targets=tuple(rows)) for output, rows in zip(outputs, by_path.values(), strict=True)]


def check_paths(act: ast.ActionStatement, text: str, paths: Iterable[str], context: PlanContext) -> list[Output]:
    """Return the outputs of paths that the template `text` rendered, without targets.

    Raises `StatementError` as `resolve_outputs` does.
    """
    _check_folder(text, act, context)
    outputs = [_make_output(path, act, context) for path in paths]
    path_by_real_path: dict[str, str] = {}
    for output in outputs:
        other = path_by_real_path.setdefault(os.path.realpath(output.path), output.path)
        if other != output.path:
            raise StatementError(f"{other} and {output.path} are the same file", code="operand", span=_get_to_span(act))
        if is_within(output.path, context.store.root):
            raise StatementError(
                f"{output.path} is in the image store {context.store.root}, which only imq itself may change",
                code="operand",
                span=_get_to_span(act),
                hints=("choose a path outside the store",),
            )
    for path, output_path in path_by_real_path.items():
        outer = next((parent for parent in _iter_parent_folders(path) if parent in path_by_real_path), None)
        if outer is not None:
            raise StatementError(
                f"{output_path} is below {path_by_real_path[outer]}, and one would overwrite the other",
                code="operand",
                span=_get_to_span(act),
            )
    return outputs


def _place_targets(act: ast.ActionStatement, text: str, context: PlanContext) -> dict[str, list[Target]]:
    """Return the images of places on disk, by the path that they go to."""
    if act.query is None:
        if is_template(text):
            raise StatementError(
                "a template of paths needs a query of images",
                code="operand",
                span=_get_to_span(act),
                hints=(f"{act.verb} images in PLACE where … to …",),
            )
        return {text: list_named_targets(act, context)}
    query = get_target_query(act, context)
    if is_template(text):
        by_path: dict[str, list[Target]] = {}
        for (pieces,), row in render_row_pieces(query, (text,), context, PLACE_COLUMNS):
            by_path.setdefault(join_path(pieces, act), []).append(target_of_place_row(row, context))
        return by_path
    return {text: query_place_targets(act, context)}


def _engine_targets(
    act: ast.ActionStatement, text: str, context: PlanContext, archives: ImageArchives
) -> dict[str, list[Target]]:
    """Return the images of engines, by the path that they go to. Raises the error of one that is not found."""
    if not is_template(text):
        targets, failures = list_archive_targets(act, context, archives)
        for failure in failures:
            if (error := failure.describe().error) is not None:
                raise error
        return {text: targets}
    if act.query is None:
        raise StatementError(
            "a template of paths needs a query of images",
            code="operand",
            span=_get_to_span(act),
            hints=(f"{act.verb} images in docker where … to …",),
        )
    by_path: dict[str, list[Target]] = {}
    for (pieces,), row in render_row_pieces(get_target_query(act, context), (text,), context, ENGINE_COLUMNS):
        by_path.setdefault(join_path(pieces, act), []).append(target_of_engine_row(row, archives))
    return by_path


def _iter_parent_folders(path: str) -> Iterator[str]:
    while (above := os.path.dirname(path)) != path:
        yield above
        path = above


def is_within(path: str, folder: str) -> bool:
    """Return whether a path is `folder` or below it, links and mounts resolved. False if the folder is missing."""
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
    """Raise when the folder in the fixed part of a path is missing. Rendered values may name new folders."""
    opening = min((text.find(mark) for mark in ("{{", "<<") if mark in text), default=len(text))
    start = expand_path(text[:opening], context.folder, home_directory(context.environment), _get_to_span(act))
    folder = os.path.dirname(start.rstrip("/") if opening == len(text) else start) or os.curdir
    if not os.path.isdir(folder):
        raise StoreError(f"{folder} is missing or is not a folder", hints=("create it first, with mkdir -p",))


def _make_output(path: str, act: ast.ActionStatement, context: PlanContext) -> Output:
    if "\0" in path:
        raise _unsafe_value_error(path, "contains a NUL character", act)
    path = expand_path(path, context.folder, home_directory(context.environment), _get_to_span(act))
    try:
        kind = classify_output(path)
    except OSError as problem:
        raise StatementError(
            f"cannot write to {path}:  {problem.strerror or problem}", code="path", span=_get_to_span(act)
        ) from None
    return Output(path, kind, ())


def _get_to_span(act: ast.ActionStatement) -> Span | None:
    option = get_option(act, "to")
    return option.span if option is not None else None


def skips_existing(act: ast.ActionStatement) -> bool:
    """Return whether a statement skips existing files; raises `StatementError` when it also has `force`."""
    skip = get_option(act, "skip existing")
    if skip is not None and get_option(act, "force") is not None:
        raise StatementError("force and skip existing cannot be combined", code="option", span=skip.span)
    return skip is not None


def resolve_path(text: str, context: PlanContext) -> str:
    """Return an absolute path. A relative one starts at the folder of the statement, `~` is the user's home."""
    return expand_path(text, context.folder, home_directory(context.environment))


def label_transfer(verb: str, path: str) -> str:
    """Return the label of a progress bar: the verb and the name of the file or folder."""
    return f"{verb} {os.path.basename(os.path.normpath(path))}"


def files_exist_error(paths: Sequence[str]) -> Conflict:
    """Return the error for existing files that the statement may not replace."""
    first, *others = paths
    more = f" and {len(others)} more" if others else ""
    return Conflict(
        f"{first}{more} already exist{'' if others else 's'}",
        code="exists",
        hints=("to replace, add: force", "to keep and write only the others, add: skip existing"),
    )


# Path templates


def join_path(pieces: Sequence[Piece], act: ast.ActionStatement) -> str:
    """Return the path that a template rendered. Values may choose file names, and the template's text the folders.

    Only the fields in `_NAME_FIELDS` may contain a slash. No value may result in `.`, `..`, `~` or an absolute path.
    """
    path, value_positions = "", set[int]()  # positions of the characters that come from values
    for piece in pieces:
        if piece.from_action and "/" in piece.text and (piece.fields is None or not piece.fields <= _NAME_FIELDS):
            raise _unsafe_value_error(piece.text, 'contains "/"', act)
        if piece.from_action:
            value_positions.update(range(len(path), len(path) + max(1, len(piece.text))))
        path += piece.text
    start = 0
    names = path.split("/")
    for number, name in enumerate(names):
        end = start + len(name)
        from_value = not value_positions.isdisjoint(range(start, end + (not name)))
        if from_value and (name in _DOTS or (not number and name == "~")):
            raise _unsafe_value_error(name, "is not a file name", act)
        if from_value and not name and not number and path:
            raise _unsafe_value_error(path, "is an absolute path", act)
        if from_value and not name and number == len(names) - 1:
            raise _unsafe_value_error(path, "has no file name", act)
        start = end + 1
    return path


def _unsafe_value_error(value: str, problem: str, act: ast.ActionStatement) -> StatementError:
    shown = value if len(value) <= 120 else f"{value[:117]}…"
    return StatementError(
        f"the template renders the path {shown!r}, which {problem}",
        code="path",
        span=_get_to_span(act),
        hints=(
            "a value may only name a file; folders are written in the template",
            'to replace slashes: {{join (split .Label.KEY "/") "-"}}',
        ),
    )
