"""Telling docker's command lines from the sentences of the language, which come first.

`images where …`, `history of X`, `pull a, b`, `save X to FILE` and `tag X as Y` are sentences: a keyword, the name of a
table or a sign of the language stands where docker has a name. What is left is docker's.
"""

from __future__ import annotations

from imq.cli.options import FLAGS, VALUED, Options, first_word, read_options
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .commands import GROUPS, named
from .flags import Flag, read_flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .commands import Command
    from .flags import Given

_SIGNS = frozenset(" \t\r\n,;()<>=\"'#$")
"""Signs of the language that stand in no name of an image."""
_OWN = tuple(
    Flag(name.removeprefix("--"), kind=kind, own=True)
    for names, kind in ((VALUED, "string"), (FLAGS, ""))
    for name in names
    if name.startswith("--") and name not in ("--help", "--platform")
)
"""The options of imq that docker does not know; `--platform` stands where docker has it, so that none is ignored."""


_SHARED = frozenset(
    {"history", "images", "import", "inspect", "load", "login", "logout", "pull", "push", "save", "tag"}
)
"""Commands that are called as a table or a verb of the language is."""


class Line(Record):
    """A docker command line: the command, the name it was called by, what it was given, and the options of imq.

    `help` is the text to print instead; `problem` what is wrong with the line.
    """

    command: Command | None
    name: str
    given: Given
    options: Options
    help: str | None = None
    problem: ImqError | None = None


def docker_line(arguments: Sequence[str], vocabulary: Iterable[str]) -> Line | None:
    """Return the docker command line that the arguments are; None when they are for the language.

    `vocabulary` are the words that make a sentence: keywords and names of tables, in lower case.
    """
    start = first_word(arguments)
    words = list(arguments[start:])
    if not words:
        return None
    before = read_options(arguments[:start])
    if before.flags & {"help", "version"}:
        return None
    known = frozenset(vocabulary)
    if words[0] in GROUPS:
        return _in_group(words, before, known)
    command = named(words[0])
    return None if command is None else _line(command, words[0], words[1:], before, known)


def _in_group(words: list[str], before: Options, vocabulary: frozenset[str]) -> Line | None:
    group, inside = words[0], words[1:]
    nothing = read_flags((), ())
    from .usage import group_help, unknown_command

    if not inside or inside[0] in ("--help", "-h"):
        return Line(None, group, nothing, before, help=group_help(group))
    name = f"{group} {inside[0]}"
    command = named(name)
    if command is not None:
        return _line(command, name, inside[1:], before, vocabulary)
    if _speaks(inside[0], vocabulary):
        return None
    return Line(None, name, nothing, before, problem=unknown_command(group, inside[0]))


def _line(command: Command, name: str, words: list[str], before: Options, vocabulary: frozenset[str]) -> Line | None:
    theirs = {flag.name for flag in command.flags}
    own = [flag for flag in _OWN if flag.name not in theirs]
    given = read_flags((*command.flags, *own), words)
    spelled = given.values.keys() & theirs  # a file's name may have any sign in it, once it is clear that it is one
    if any(_speaks(word, vocabulary) for word in given.arguments[command.files if spelled else 0 :]):
        return None
    if given.on("help"):
        from .usage import command_help

        return Line(command, name, given, before, help=command_help(command, name))
    try:
        _check(command, name, given)
    except ImqError as problem:
        if given.problem is None and not spelled and name in _SHARED:
            return None  # `history`, `load images.tar`: what is no docker line can be a sentence
        return Line(command, name, given, before, problem=problem)
    return Line(command, name, given, _options(before, given, own))


def _check(command: Command, name: str, given: Given) -> None:
    """Raise what is wrong with a command line: a flag that could not be read, or the number of arguments."""
    count, most = len(given.arguments), command.most
    if given.problem is not None or count < command.least or (most is not None and count > most):
        from .usage import wrong_line

        raise wrong_line(command, name, given)


def _speaks(word: str, vocabulary: frozenset[str]) -> bool:
    """Whether a word stands in the language where docker would have a name."""
    return word.lower() in vocabulary or not _SIGNS.isdisjoint(word)


def _options(before: Options, given: Given, own: Sequence[Flag]) -> Options:
    """Return the options of imq, those behind the command too."""
    said = {f"--{flag.name}": given.all(flag.name) for flag in own if given.all(flag.name)}
    values = {**before.values, **{VALUED[name]: texts for name, texts in said.items() if name in VALUED}}
    flags = {FLAGS[name] for name in said if name in FLAGS}
    return Options(values, before.flags | flags, ())
