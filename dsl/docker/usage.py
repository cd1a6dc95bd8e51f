"""The usage texts of docker's commands, and the errors of invalid command lines."""

from __future__ import annotations

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING

from .commands import COMMANDS, GROUPS

if TYPE_CHECKING:
    from .commands import Command
    from .flags import Flag, ParsedFlags


_WAYS = {
    "system prune": (
        "prune containers removes stopped containers, prune images without a name that nothing uses; in docker: prune"
        " containers in docker; prune in docker; prune build_cache in docker"
    ),
    "volume create": "a container with mount = NAME:TARGET creates one",
    "volume inspect": "volumes where name = NAME as json",
}
"""Commands in docker's groups that imq does not have, each with what to use in its place."""


def command_help(command: Command, name: str) -> str:
    """Return the usage text of a command under this name."""
    parts = [f"Usage:  {_usage(command, name)}", command.doc]
    if len(command.names) > 1:
        parts.append("Aliases:\n  " + ", ".join(f"imq {each}" for each in command.names))
    if any(not flag.refusal for flag in command.flags):
        parts.append("Options:\n" + "\n".join(_describe_flags(command.flags)))
    if refused := sorted(f"--{flag.name}" for flag in command.flags if flag.refusal):
        import textwrap

        names = textwrap.wrap(", ".join(refused), 100, break_on_hyphens=False)
        parts.append("Flags of docker that imq does not support:\n" + "\n".join(f"  {line}" for line in names))
    parts.append(f"In statements of the language: imq help {word}" if (word := _find_topic(command)) else "")
    return "\n\n".join(filter(None, parts)) + "\n"


def _find_topic(command: Command) -> str:
    """Return the page of help about a command in the language; "" without one."""
    from imq.engine.actions import VERBS
    from imq.engine.catalog.tables import TABLES

    return next((word for name in command.names if (word := name.split()[-1]) in VERBS or word in TABLES), "")


def group_help(group: str) -> str:
    """Return the usage text of a group, with its commands."""
    inside = [(name.split()[1], command.doc) for command in COMMANDS for name in _names_in_group(command, group)]
    width = max(len(name) for name, _ in inside)
    lines = "\n".join(f"  {name.ljust(width)}   {doc}" for name, doc in sorted(inside))
    return (
        f"Usage:  imq {group} COMMAND\n\n{GROUPS[group]}\n\nCommands:\n{lines}\n\n"
        f"Run 'imq {group} COMMAND --help' for more information on a command.\n"
    )


def unknown_command(group: str, word: str) -> StatementError:
    """Return the error for an unknown command of a group."""
    from imq.engine.actions import ABSENT

    inside = [name.split()[1] for command in COMMANDS for name in command.names if name.startswith(f"{group} ")]
    way = _WAYS.get(f"{group} {word}") or dict(ABSENT).get(word, "")
    return StatementError(
        f"imq has no command {group} {word}" if way else f"unknown command: imq {group} {word}",
        code="unavailable" if way else "unknown-command",
        hints=(way or closest_hint(word, inside), f"imq {group} --help lists its commands"),
    )


def invalid_line(command: Command, name: str, parsed: ParsedFlags) -> StatementError:
    """Return the error for an invalid flag, or for too few or too many arguments."""
    usage = (f"usage: {_usage(command, name)}", f"imq {name} --help describes it")
    if parsed.error is not None:
        parsed.error.hints = (*parsed.error.hints, *usage)
        return parsed.error
    minimum, maximum = command.min_arguments, command.max_arguments
    if maximum == 0:
        requirement = "accepts no arguments"
    elif minimum == maximum:
        requirement = f"requires {_count_arguments(minimum)}"
    elif len(parsed.arguments) < minimum:
        requirement = f"requires at least {_count_arguments(minimum)}"
    else:
        requirement = f"requires at most {_count_arguments(maximum or 0)}"
    return StatementError(f"'imq {name}' {requirement}", code="arguments", hints=usage)


def _names_in_group(command: Command, group: str) -> list[str]:
    return [name for name in command.names if name.startswith(f"{group} ")][:1]


def _usage(command: Command, name: str) -> str:
    options = " [OPTIONS]" if command.flags else ""
    return f"imq {name}{options} {command.arguments}".rstrip()


def _count_arguments(count: int) -> str:
    return f"{count} argument{'' if count == 1 else 's'}"


def _describe_flags(flags: tuple[Flag, ...]) -> list[str]:
    rows = []
    for flag in sorted((flag for flag in flags if not flag.refusal), key=lambda flag: flag.name):
        letter = f"-{flag.letter}, " if flag.letter else "    "
        rows.append(
            (
                f"  {letter}--{flag.name} {flag.value_type}".rstrip(),
                flag.doc + (" (default true)" if flag.default_on else ""),
            )
        )
    width = max(len(head) for head, _ in rows)
    return [f"{head.ljust(width)}   {doc}" for head, doc in rows]
