"""Commands of the interactive session: lines that begin with a backslash, declared once with their help."""

from __future__ import annotations

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import Record


class MetaCommand(Record):
    """A command: its name, its argument (in brackets when it is optional), and its help."""

    name: str
    argument: str
    doc: str


COMMANDS = {
    command.name: command
    for command in (
        MetaCommand("help", "[TOPIC]", "show help on the language, like the statement `help images`"),
        MetaCommand("commands", "", "list these commands; short form: \\?"),
        MetaCommand("examples", "", "show example statements, like Enter on an empty line"),
        MetaCommand("form", "[FORMAT]", "set the output format: table, json, jsonl, yaml, csv, tree, …"),
        MetaCommand("timing", "[on|off]", "print the duration of each statement"),
        MetaCommand("pager", "[on|off|PROGRAM]", "page results longer than the screen; default: $IMQ_PAGER, $PAGER"),
        MetaCommand("edit", "", "edit the last statement in $VISUAL or $EDITOR; Ctrl-X Ctrl-E edits this one"),
        MetaCommand("history", "[TEXT]", "list recent statements, or those that contain TEXT; Ctrl-R searches"),
        MetaCommand("source", "[NAME]", "set the default source, like `use NAME`; without NAME, show it"),
        MetaCommand("quit", "", "exit, like Ctrl-D on an empty line"),
    )
}
"""The commands by name. A unique prefix of a name is enough."""

WORD_COMMANDS = {"quit": "quit", "exit": "quit", "\\?": "commands", "?": "commands"}
"""Lines without a backslash that are commands, and the name \\?, which is not a word."""

EXAMPLES = (
    ("images", "all images, as docker lists them"),
    ("images where dangling", "images without a tag"),
    ("images where size > 1GB order by size desc", "large images, largest first"),
    ("images group by os select os, count", "the number of images per OS"),
    ("layers of redis:7", "the layers of an image"),
    ("dry run rm images where older than 90d", "a preview of a removal"),
    ("pull redis:7", "pull an image"),
    ("help images", "the fields of a table"),
)
"""Example statements and their descriptions."""


def read_command(line: str) -> tuple[MetaCommand, str] | None:
    """Return the command of a line and its argument; None when the line is a statement.

    Raises `StatementError` for an unknown command, and for a prefix of several commands.
    """
    line = line.strip()
    if line.lower() in WORD_COMMANDS:
        return COMMANDS[WORD_COMMANDS[line.lower()]], ""
    if not line.startswith("\\"):
        return None
    word, _, argument = line[1:].partition(" ")
    name = word.lower()
    matches = [COMMANDS[name]] if name in COMMANDS else [one for one in COMMANDS.values() if one.name.startswith(name)]
    if not name or not matches:
        hints = (closest_hint(name, COMMANDS), "\\? lists the commands")
        raise StatementError(f'unknown command "\\{word}"', code="command", hints=hints)
    if len(matches) > 1:
        candidates = ", ".join(f"\\{one.name}" for one in matches)
        raise StatementError(f'ambiguous command "\\{word}": {candidates}', code="command")
    return matches[0], argument.strip()


def format_commands() -> str:
    """Return the list of commands with their help."""
    import textwrap

    indent = " " * 28
    lines = (textwrap.wrap(one.doc, 79 - len(indent)) for one in COMMANDS.values())
    return "".join(
        f"  {_signature(one):<26}" + f"\n{indent}".join(wrapped) + "\n"
        for one, wrapped in zip(COMMANDS.values(), lines, strict=True)
    )


def format_examples() -> str:
    """Return the list of example statements."""
    examples = "".join(f"  {text:<43} {doc}\n" for text, doc in EXAMPLES)
    return f"{examples}  \\? lists commands, help describes the language\n"


def _signature(command: MetaCommand) -> str:
    return f"\\{command.name} {command.argument}".rstrip()
