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
        MetaCommand(
            "x", "[on|off|auto]", "show rows as records: always, never, or when they are wider than the screen"
        ),
        MetaCommand("go", "[FILE]", "run the last query again; with FILE, write its result there; short form: \\g"),
        MetaCommand("watch", "[SECONDS]", "run the last query every SECONDS (default 2) until Ctrl-C"),
        MetaCommand("output", "[FILE]", "write results to FILE; without FILE, to the screen again; short form: \\o"),
        MetaCommand("describe", "[NAME]", "show the fields of a table or the query of a view; without NAME, list them"),
        MetaCommand(
            "save", "[NAME]", "keep the last query in the configuration as the view NAME; without NAME, list them"
        ),
        MetaCommand("unsave", "NAME", "remove a view that \\save has kept"),
        MetaCommand("quit", "", "exit, like Ctrl-D on an empty line"),
    )
}
"""The commands by name. A unique prefix of a name is enough."""

WORD_COMMANDS = {
    "quit": "quit", "exit": "quit", "quit;": "quit", "exit;": "quit", "\\?": "commands", "?": "commands",
}  # fmt: skip
"""Lines without a backslash that are commands, and the name \\?, which is not a word."""
SHORT_NAMES = {"dt": "describe", "e": "edit"}
"""Short names of psql, of which some begin several commands."""
_AT_END = r"(?s)(?P<statement>.*\S)\s*\\(?P<name>gx|go|g|watch)(?=\s|\Z)(?P<argument>[^\\\"'\n]*)"

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
    name = SHORT_NAMES.get(name, name)
    matches = [COMMANDS[name]] if name in COMMANDS else [one for one in COMMANDS.values() if one.name.startswith(name)]
    if not name or not matches:
        hints = (closest_hint(name, COMMANDS), "\\? lists the commands")
        raise StatementError(f'unknown command "\\{word}"', code="command", hints=hints)
    if len(matches) > 1:
        candidates = ", ".join(f"\\{one.name}" for one in matches)
        raise StatementError(f'ambiguous command "\\{word}": {candidates}', code="command")
    return matches[0], argument.strip()


def split_command(text: str) -> tuple[str, str, str] | None:
    r"""Return the statement, the name and the argument of a line as `images \watch 5`; None for other lines."""
    import re

    if "\\" not in text[1:]:
        return None
    match = re.fullmatch(_AT_END, text.rstrip())
    return (match["statement"], match["name"], match["argument"].strip()) if match is not None else None


def split_lines(text: str) -> list[str]:
    """Return the statements and the commands of a pasted text, in order; lines of one statement stay together."""
    parts: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.startswith("\\"):
            parts += [[line], []]
        else:
            parts[-1].append(line)
    joined = ("\n".join(part) for part in parts)
    return [part for part in joined if part.strip()] or [text]


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
