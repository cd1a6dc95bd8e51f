"""The commands `docker tag`, `pull`, `push`, `save`, `load` and `import`."""

from __future__ import annotations

import os

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.grammar import ast
from imq.grammar.errors import ImqError, InvalidReference, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Handler, binary_stream
from .messages import describe_loaded, describe_pulled, describe_pushed, full_name, parse_reference, pull_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .context import CommandContext, CompileContext, Outcome
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_STREAM = "-"


def _literals(*texts: str) -> tuple[ast.Literal, ...]:
    return tuple(ast.Literal(text) for text in texts)


def _make_options(*pairs: tuple[str, Sequence[str]]) -> tuple[ast.Option, ...]:
    """Return an option for each name with a value that is not empty."""
    return tuple(
        ast.Option(name, tuple(ast.Literal(text, quoted=name in _QUOTED_OPTIONS) for text in texts))
        for name, texts in pairs
        if texts and any(texts)
    )


_QUOTED_OPTIONS = frozenset({"change", "message", "to"})
"""The options whose values are quoted."""


# tag


def compile_tag(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that creates a tag."""
    source, target = parsed.arguments
    if "@" in target:
        raise StatementError("refusing to create a tag with a digest reference", code="reference")
    try:
        parse_reference(target)
    except InvalidReference as problem:
        problem.message = f'Error parsing reference: "{target}" is not a valid repository/tag: {problem.message}'
        raise
    return (ast.ActionStatement("tag", _literals(source), options=_make_options(("as", (target,)))),)


def run_tag(context: CommandContext, _parsed: ParsedFlags, statements: Statements) -> int:
    """Create the tag, without output."""
    return context.run_and_report(statements[0])[1]


# pull and push


def _parse_repository(name: str) -> Reference:
    reference = parse_reference(name)
    if reference.tag or reference.digest:
        raise StatementError("tag can't be used with --all-tags/-a", code="reference")
    return reference


def compile_pull(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that pulls one image; with -a every tag of the repository."""
    (name,) = parsed.arguments
    parse_reference(name)
    options = _make_options(("platform", (parsed.get_last("platform"),)))
    if parsed.is_on("all-tags"):
        _parse_repository(name)
        return (
            ast.ActionStatement("pull", query=ast.Query("tags", _literals(name), explicit_all=True), options=options),
        )
    return (ast.ActionStatement("pull", _literals(name), options=options),)


def run_pull(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Pull, and write the digest and the full name of the image at the end; with -q only the name."""
    (name,) = parsed.arguments
    requested, quiet = parse_reference(name), parsed.is_on("quiet")
    reference = requested.with_default_tag()
    if quiet:
        context.session.context = context.session.context.replace(progress=NullProgress())
    elif not parsed.is_on("all-tags"):
        if reference != requested:
            context.write(("Using default tag: latest\n",))
        context.stdout.flush()
    outcomes, code = context.run_and_report(statements[0])
    if parsed.is_on("all-tags"):
        _report_all_tags(context, requested, outcomes, quiet=quiet)
        return code
    title = reference.tag if not reference.digest else full_name(reference)
    for outcome in outcomes:
        if not outcome.error:
            context.write(() if quiet else (f"{title}: Pulling from {reference.repository}\n",))
            context.write(() if quiet else describe_pulled(outcome, _stored_digest(context, reference)))
            context.write((f"{full_name(reference)}\n",))
    return code


def _report_all_tags(
    context: CommandContext, repository: Reference, outcomes: Sequence[Outcome], *, quiet: bool
) -> None:
    """Write the digest of each tag, and whether any image of the repository was new."""
    pulled = [outcome for outcome in outcomes if not outcome.error]
    for outcome in () if quiet else pulled:
        reference = Reference.parse(outcome.target)
        context.write((f"{reference.tag}: Pulling from {reference.repository}\n",))
        context.write(f"Digest: {digest}\n" for digest in (_stored_digest(context, reference),) if digest is not None)
    if pulled:
        context.write(() if quiet else (pull_status(repository.familiar_name, pulled),))
        context.write((f"{full_name(repository)}\n",))


def _stored_digest(context: CommandContext, reference: Reference) -> str | None:
    """Return the digest of a pulled image in its registry."""
    if reference.digest:
        return reference.digest
    named = ast.Comparison("=", ast.Field(("name",)), ast.Literal(str(reference), quoted=True))
    rows = context.query_rows(ast.Query("images", where=named, select=(ast.Column(ast.Field(("digest",))),)))
    return str(rows[0][0]) if rows and rows[0][0] is not None else None


def compile_push(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that pushes one name; with -a every tag of the repository."""
    (name,) = parsed.arguments
    parse_reference(name)
    if not parsed.is_on("all-tags"):
        return (ast.ActionStatement("push", _literals(name)),)
    repository = _parse_repository(name).familiar_name
    named = ast.Comparison("=", ast.Field(("repository",)), ast.Literal(repository, quoted=True))
    return (
        ast.ActionStatement(
            "push", query=ast.Query("images", where=ast.And((named, ast.IsKnown(ast.Field(("tag",))))))
        ),
    )


def run_push(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Push, and write the digest and manifest size of each tag; with -q only the names."""
    (name,) = parsed.arguments
    requested, quiet = parse_reference(name), parsed.is_on("quiet")
    if quiet:
        context.session.context = context.session.context.replace(progress=NullProgress())
    else:
        if requested.tag is None and not parsed.is_on("all-tags"):
            context.write(("Using default tag: latest\n",))
        context.write((f"The push refers to repository [{requested.canonical_name}]\n",))
        context.stdout.flush()
    try:
        outcomes, code = context.run_and_report(statements[0])
    except NotFound:
        outcomes, code = [], 1
    if not outcomes:
        raise NotFound(f"An image does not exist locally with the tag: {requested.familiar_name}", code="no-such-image")
    for outcome in outcomes:
        if outcome.error:
            continue
        reference = Reference.parse(outcome.target)
        if quiet:
            context.write((f"{full_name(reference)}\n",))
        else:
            context.write((describe_pushed(outcome, reference.tag or "", _manifest_size(context, outcome)),))
    return code


def _manifest_size(context: CommandContext, outcome: Outcome) -> int | None:
    """Return the size of the pushed manifest in bytes; None when the store does not have that manifest."""
    digest = (outcome.note or "").removeprefix("digest: ")
    try:
        return len(context.session.store.read_document(Digest(digest)))
    except ImqError:
        return None


# save and load


def compile_save(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the statement that saves images. As in docker, a repository without a tag selects all its tags."""
    names = [name for argument in parsed.arguments for name in _expand_repository(argument, compile_context)]
    to = _make_options(("to", (parsed.get_last("output") or _STREAM,)))
    return (ast.ActionStatement("save", _literals(*names), options=(*to, ast.Option("force"))),)


def _expand_repository(name: str, compile_context: CompileContext) -> Sequence[str]:
    """Return the tags of the repository with this name; the name itself when there is none."""
    try:
        reference = Reference.parse(name)
    except ImqError:
        return (name,)
    return (() if reference.tag or reference.digest else compile_context.list_tags(reference.familiar_name)) or (name,)


def run_save(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Save without output. An archive for standard output is written when it is complete."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    if parsed.get_last("output"):
        return context.run_and_report(act)[1]
    if context.stdout.isatty():
        raise StatementError("cowardly refusing to save to a terminal. Use the -o flag or redirect", code="operand")
    from shutil import copyfileobj
    from tempfile import TemporaryDirectory

    target = binary_stream(context.stdout, "save")
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "archive.tar")
        _, code = context.run_and_report(act.replace(options=_make_options(("to", (path,)))))
        if not code:
            with open(path, "rb") as archive:
                copyfileobj(archive, target)
    return code


def compile_load(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that loads an archive."""
    return (ast.ActionStatement("load", (ast.Literal(parsed.get_last("input") or _STREAM, quoted=True),)),)


def run_load(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Load, and write the names of the images. Standard input is copied to a file first: it is not read in order."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    if path := parsed.get_last("input"):
        if not os.path.exists(path):
            raise NotFound(f"open {path}: no such file or directory", code="no-such-file")
        return _load(context, act)
    if context.stdin.isatty():
        raise _empty_stdin()
    from shutil import copyfileobj
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "standard-input")
        with open(path, "wb") as archive:
            copyfileobj(binary_stream(context.stdin, "load"), archive)
            if not archive.tell():
                raise _empty_stdin()
        return _load(context, act.replace(references=(ast.Literal(path, quoted=True),)))


def _empty_stdin() -> StatementError:
    return StatementError("requested load from stdin, but stdin is empty", code="operand")


def _load(context: CommandContext, act: ast.ActionStatement) -> int:
    outcomes, code = context.run_and_report(act)
    context.write(describe_loaded(outcomes))
    return code


# import


def compile_import(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement that imports a file."""
    path, *names = parsed.arguments
    if "://" in path:
        raise ImqError(
            "imq does not fetch archives from the web: it imports files, folders and standard input",
            code="unavailable",
            hints=(f"curl -L {path} | imq import - {' '.join(names)}".rstrip(),),
        )
    for name in names:
        parse_reference(name)
    options = _make_options(
        ("as", names),
        ("change", parsed.get_all("change")),
        ("message", (parsed.get_last("message"),)),
        ("platform", (parsed.get_last("platform"),)),
    )
    return (ast.ActionStatement("import", (ast.Literal(path, quoted=True),), options=options),)


def run_import(context: CommandContext, _parsed: ParsedFlags, statements: Statements) -> int:
    """Import, and write the image's ID."""
    outcomes, code = context.run_and_report(statements[0])
    context.write(f"{outcome.image}\n" for outcome in outcomes if not outcome.error)
    return code


TAG = Handler(compile_tag, run_tag)
PULL = Handler(compile_pull, run_pull)
PUSH = Handler(compile_push, run_push)
SAVE = Handler(compile_save, run_save)
LOAD = Handler(compile_load, run_load)
IMPORT = Handler(compile_import, run_import)
