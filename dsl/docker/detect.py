"""Distinguishes docker's command lines from statements of the language, which take precedence.

A line with a keyword, a table name or a special character where docker has a name is a statement. Examples: `images
where …`, `history of X`, `pull a, b`, `save X to FILE`, `tag X as Y`. Other lines are docker's.
"""

from __future__ import annotations

from imq.cli.options import FLAGS, VALUED, Options, first_word, read_options
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .commands import GROUPS, find_command
from .flags import Flag, parse_flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .commands import Command
    from .flags import ParsedFlags

_LANGUAGE_CHARACTERS = frozenset(" \t\r\n,;()<>=\"'#$")
"""Characters of the language that names of images cannot contain."""
_IMQ_FLAGS = tuple(
    Flag(name.removeprefix("--"), value_type=kind, imq_only=True)
    for names, kind in ((VALUED, "string"), (FLAGS, ""))
    for name in names
    if name.startswith("--") and name not in ("--help", "--platform")
)
"""The options of imq that docker does not have. `--platform` is a flag of those commands for which docker has it."""


_LANGUAGE_WORDS = frozenset(
    [
        "create",
        "exec",
        "history",
        "images",
        "import",
        "inspect",
        "kill",
        "load",
        "login",
        "logout",
        "logs",
        "pause",
        "pull",
        "push",
        "restart",
        "run",
        "save",
        "start",
        "stop",
        "tag",
        "attach",
        "unpause",
        "wait",
    ]
)
"""Commands with the name of a table or a verb of the language."""


class CommandLine(Record):
    """A docker command line: the command, the name that was used, its flags, and the options of imq.

    `help` is the text to print instead of running it; `error` is the error of an invalid line.
    """

    command: Command | None
    name: str
    flags: ParsedFlags
    options: Options
    help: str | None = None
    error: ImqError | None = None


def parse_docker_line(arguments: Sequence[str], vocabulary: Iterable[str]) -> CommandLine | None:
    """Parse a docker command line; return None for a statement of the language.

    `vocabulary` has the words that mark a statement: keywords and names of tables, in lower case.
    """
    start = first_word(arguments)
    words = list(arguments[start:])
    if not words:
        return None
    before = read_options(arguments[:start])
    if before.flags & {"help", "version"}:
        return None
    keywords = frozenset(vocabulary)
    if words[0] in GROUPS:
        return _parse_group(words, before, keywords)
    command = find_command(words[0])
    return None if command is None else _parse_command(command, words[0], words[1:], before, keywords)


def _parse_group(words: list[str], before: Options, vocabulary: frozenset[str]) -> CommandLine | None:
    group, inside = words[0], words[1:]
    nothing = parse_flags((), ())
    from .usage import group_help, unknown_command

    if not inside or inside[0] in ("--help", "-h"):
        return CommandLine(None, group, nothing, before, help=group_help(group))
    name = f"{group} {inside[0]}"
    command = find_command(name)
    if command is not None:
        return _parse_command(command, name, inside[1:], before, vocabulary)
    if _is_of_language(inside[0], vocabulary):
        return None
    return CommandLine(None, name, nothing, before, error=unknown_command(group, inside[0]))


def _parse_command(
    command: Command, name: str, words: list[str], before: Options, vocabulary: frozenset[str]
) -> CommandLine | None:
    docker_names = {flag.name for flag in command.flags}
    imq_flags = [flag for flag in _IMQ_FLAGS if flag.name not in docker_names]
    parsed = parse_flags((*command.flags, *imq_flags), words, leading=command.program_at)
    # A flag of docker decides that the line is docker's. Then paths may contain any character.
    has_docker_flag = bool(parsed.values.keys() & docker_names)
    names = parsed.arguments[command.path_arguments if has_docker_flag else 0 : command.program_at]
    if command.needs_flag and " " not in name and not has_docker_flag and not parsed.is_on("help"):
        return None
    if command.program_at is not None and parsed.arguments[:1] == ("container",):
        return None  # `exec container web run ls` is a statement
    if command.names[0] == "create" and parsed.arguments[1:2] == ("from",) and not has_docker_flag:
        return None  # `create web from redis:7` is a statement; no image has a program of this name
    if any(_is_of_language(word, vocabulary) for word in names):
        return None
    if parsed.is_on("help"):
        from .usage import command_help

        return CommandLine(command, name, parsed, before, help=command_help(command, name))
    try:
        _check_arguments(command, name, parsed)
    except ImqError as problem:
        if parsed.error is None and not has_docker_flag and name in _LANGUAGE_WORDS:
            return None  # `history` and `load images.tar` are statements
        return CommandLine(command, name, parsed, before, error=problem)
    return CommandLine(command, name, parsed, _merge_options(before, parsed, imq_flags))


def _check_arguments(command: Command, name: str, parsed: ParsedFlags) -> None:
    """Raise the error of a command line: that of an invalid flag, or of the number of arguments."""
    count, limit = len(parsed.arguments), command.max_arguments
    if parsed.error is not None or count < command.min_arguments or (limit is not None and count > limit):
        from .usage import invalid_line

        raise invalid_line(command, name, parsed)


def _is_of_language(word: str, vocabulary: frozenset[str]) -> bool:
    """Whether a word belongs to the language where docker has a name."""
    return word.lower() in vocabulary or not _LANGUAGE_CHARACTERS.isdisjoint(word)


def _merge_options(before: Options, parsed: ParsedFlags, imq_flags: Sequence[Flag]) -> Options:
    """Return the options of imq from before and after the command."""
    imq_values = {f"--{flag.name}": parsed.get_all(flag.name) for flag in imq_flags if parsed.get_all(flag.name)}
    values = {**before.values, **{VALUED[name]: texts for name, texts in imq_values.items() if name in VALUED}}
    flags = {FLAGS[name] for name in imq_values if name in FLAGS}
    return Options(values, before.flags | flags, ())
