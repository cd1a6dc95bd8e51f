"""`docker tag`, `pull`, `push`, `save`, `load` and `import`: names and images in and out."""

from __future__ import annotations

import os

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.progress import Silent
from imq.grammar import ast
from imq.grammar.errors import ImqError, InvalidReference, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Work, binary
from .messages import canonical, loaded, parsed, pulled, pushed, status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .context import Around, Desk, Outcome
    from .flags import Given

    Statements = tuple[ast.Statement, ...]

_STREAM = "-"


def _literals(*texts: str) -> tuple[ast.Literal, ...]:
    return tuple(ast.Literal(text) for text in texts)


def _options(*pairs: tuple[str, Sequence[str]]) -> tuple[ast.Option, ...]:
    """Return an option for each name that has values; a text that is empty is none."""
    return tuple(
        ast.Option(name, tuple(ast.Literal(text, quoted=name in _TEXTS) for text in texts))
        for name, texts in pairs
        if texts and any(texts)
    )


_TEXTS = frozenset({"change", "message", "to"})
"""Options whose values are written in quotes."""


def _done(desk: Desk, act: ast.Statement) -> tuple[list[Outcome], int]:
    """Do an action; return what came of it and the exit code, what failed having been said."""
    assert isinstance(act, ast.ActionStatement)
    outcomes, errors = desk.outcomes(act)
    return outcomes, max((desk.complain(error) for error in errors), default=0)


# tag


def compile_tag(given: Given, _around: Around) -> Statements:
    """Return the giving of a name."""
    source, target = given.arguments
    if "@" in target:
        raise StatementError("refusing to create a tag with a digest reference", code="reference")
    try:
        parsed(target)
    except InvalidReference as problem:
        problem.message = f'Error parsing reference: "{target}" is not a valid repository/tag: {problem.message}'
        raise
    return (ast.ActionStatement("tag", _literals(source), options=_options(("as", (target,)))),)


def answer_tag(desk: Desk, _given: Given, statements: Statements) -> int:
    """Give the name and say nothing."""
    return _done(desk, statements[0])[1]


# pull and push


def _whole_repository(name: str) -> Reference:
    reference = parsed(name)
    if reference.tag or reference.digest:
        raise StatementError("tag can't be used with --all-tags/-a", code="reference")
    return reference


def compile_pull(given: Given, _around: Around) -> Statements:
    """Return the pull of one image; with -a of every tag of the repository."""
    (name,) = given.arguments
    parsed(name)
    options = _options(("platform", (given.last("platform"),)))
    if given.on("all-tags"):
        _whole_repository(name)
        return (
            ast.ActionStatement("pull", query=ast.Query("tags", _literals(name), explicit_all=True), options=options),
        )
    return (ast.ActionStatement("pull", _literals(name), options=options),)


def answer_pull(desk: Desk, given: Given, statements: Statements) -> int:
    """Pull, and say at the end which digest came and what the image is called in full; -q says this name alone."""
    (name,) = given.arguments
    asked, quiet = parsed(name), given.on("quiet")
    reference = asked.with_default_tag()
    if quiet:
        desk.session.context = desk.session.context.replace(progress=Silent())
    elif not given.on("all-tags"):
        if reference != asked:
            desk.say(("Using default tag: latest\n",))
        desk.stdout.flush()
    outcomes, code = _done(desk, statements[0])
    if given.on("all-tags"):
        _say_all(desk, asked, outcomes, quiet=quiet)
        return code
    what = reference.tag if not reference.digest else canonical(reference)
    for outcome in outcomes:
        if not outcome.error:
            desk.say(() if quiet else (f"{what}: Pulling from {reference.repository}\n",))
            desk.say(() if quiet else pulled(outcome, _digest(desk, reference)))
            desk.say((f"{canonical(reference)}\n",))
    return code


def _say_all(desk: Desk, repository: Reference, outcomes: Sequence[Outcome], *, quiet: bool) -> None:
    """Say of each tag which digest came, and of the repository whether anything was new."""
    came = [outcome for outcome in outcomes if not outcome.error]
    for outcome in () if quiet else came:
        reference = Reference.parse(outcome.target)
        desk.say((f"{reference.tag}: Pulling from {reference.repository}\n",))
        desk.say(f"Digest: {digest}\n" for digest in (_digest(desk, reference),) if digest is not None)
    if came:
        desk.say(() if quiet else (status(repository.familiar_name, came),))
        desk.say((f"{canonical(repository)}\n",))


def _digest(desk: Desk, reference: Reference) -> str | None:
    """Return the digest by which the registry knows what was pulled."""
    if reference.digest:
        return reference.digest
    named = ast.Comparison("=", ast.Field(("name",)), ast.Literal(str(reference), quoted=True))
    rows = desk.rows(ast.Query("images", where=named, select=(ast.Column(ast.Field(("digest",))),)))
    return str(rows[0][0]) if rows and rows[0][0] is not None else None


def compile_push(given: Given, _around: Around) -> Statements:
    """Return the push of one name; with -a of every tag of the repository."""
    (name,) = given.arguments
    parsed(name)
    if not given.on("all-tags"):
        return (ast.ActionStatement("push", _literals(name)),)
    repository = _whole_repository(name).familiar_name
    named = ast.Comparison("=", ast.Field(("repository",)), ast.Literal(repository, quoted=True))
    return (
        ast.ActionStatement(
            "push", query=ast.Query("images", where=ast.And((named, ast.IsKnown(ast.Field(("tag",))))))
        ),
    )


def answer_push(desk: Desk, given: Given, statements: Statements) -> int:
    """Push, and say for each tag the digest and the bytes of its manifest; -q says the names alone."""
    (name,) = given.arguments
    asked, quiet = parsed(name), given.on("quiet")
    if quiet:
        desk.session.context = desk.session.context.replace(progress=Silent())
    else:
        if asked.tag is None and not given.on("all-tags"):
            desk.say(("Using default tag: latest\n",))
        desk.say((f"The push refers to repository [{asked.canonical_name}]\n",))
        desk.stdout.flush()
    try:
        outcomes, code = _done(desk, statements[0])
    except NotFound:
        outcomes, code = [], 1
    if not outcomes:
        raise NotFound(f"An image does not exist locally with the tag: {asked.familiar_name}", code="no-such-image")
    for outcome in outcomes:
        if outcome.error:
            continue
        reference = Reference.parse(outcome.target)
        if quiet:
            desk.say((f"{canonical(reference)}\n",))
        else:
            desk.say((pushed(outcome, reference.tag or "", _manifest_size(desk, outcome)),))
    return code


def _manifest_size(desk: Desk, outcome: Outcome) -> int | None:
    """Return the bytes of the manifest that was pushed, None when the store has another one."""
    digest = (outcome.note or "").removeprefix("digest: ")
    try:
        return len(desk.session.store.read_document(Digest(digest)))
    except ImqError:
        return None


# save and load


def compile_save(given: Given, around: Around) -> Statements:
    """Return the saving of images. A repository's name without a tag means all its tags, as in docker."""
    names = [name for given_name in given.arguments for name in _meant(given_name, around)]
    to = _options(("to", (given.last("output") or _STREAM,)))
    return (ast.ActionStatement("save", _literals(*names), options=(*to, ast.Option("force"))),)


def _meant(name: str, around: Around) -> Sequence[str]:
    """Return the tags of a repository that has this name, else the name as it is."""
    try:
        reference = Reference.parse(name)
    except ImqError:
        return (name,)
    return (() if reference.tag or reference.digest else around.tags(reference.familiar_name)) or (name,)


def answer_save(desk: Desk, given: Given, statements: Statements) -> int:
    """Save and say nothing. What goes to standard output goes when it is whole."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    if given.last("output"):
        return _done(desk, act)[1]
    if desk.stdout.isatty():
        raise StatementError("cowardly refusing to save to a terminal. Use the -o flag or redirect", code="operand")
    from shutil import copyfileobj
    from tempfile import TemporaryDirectory

    target = binary(desk.stdout, "save")
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "archive.tar")
        _, code = _done(desk, act.replace(options=_options(("to", (path,)))))
        if not code:
            with open(path, "rb") as archive:
                copyfileobj(archive, target)
    return code


def compile_load(given: Given, _around: Around) -> Statements:
    """Return the loading of an archive."""
    return (ast.ActionStatement("load", (ast.Literal(given.last("input") or _STREAM, quoted=True),)),)


def answer_load(desk: Desk, given: Given, statements: Statements) -> int:
    """Load, and say which images came. An archive is not read in its order: standard input is put aside first."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    if path := given.last("input"):
        if not os.path.exists(path):
            raise NotFound(f"open {path}: no such file or directory", code="no-such-file")
        return _load(desk, act)
    if desk.stdin.isatty():
        raise _nothing_to_load()
    from shutil import copyfileobj
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "standard-input")
        with open(path, "wb") as archive:
            copyfileobj(binary(desk.stdin, "load"), archive)
            if not archive.tell():
                raise _nothing_to_load()
        return _load(desk, act.replace(references=(ast.Literal(path, quoted=True),)))


def _nothing_to_load() -> StatementError:
    return StatementError("requested load from stdin, but stdin is empty", code="operand")


def _load(desk: Desk, act: ast.ActionStatement) -> int:
    outcomes, code = _done(desk, act)
    desk.say(loaded(outcomes))
    return code


# import


def compile_import(given: Given, _around: Around) -> Statements:
    """Return the making of an image from a file."""
    path, *names = given.arguments
    if "://" in path:
        raise ImqError(
            "imq does not fetch archives from the web: it imports files, folders and standard input",
            code="unavailable",
            hints=(f"curl -L {path} | imq import - {' '.join(names)}".rstrip(),),
        )
    for name in names:
        parsed(name)
    options = _options(
        ("as", names),
        ("change", given.all("change")),
        ("message", (given.last("message"),)),
        ("platform", (given.last("platform"),)),
    )
    return (ast.ActionStatement("import", (ast.Literal(path, quoted=True),), options=options),)


def answer_import(desk: Desk, _given: Given, statements: Statements) -> int:
    """Import, and say the image's id."""
    outcomes, code = _done(desk, statements[0])
    desk.say(f"{outcome.image}\n" for outcome in outcomes if not outcome.error)
    return code


WORK = {
    "image tag": Work(compile_tag, answer_tag),
    "image pull": Work(compile_pull, answer_pull),
    "image push": Work(compile_push, answer_push),
    "image save": Work(compile_save, answer_save),
    "image load": Work(compile_load, answer_load),
    "image import": Work(compile_import, answer_import),
}
