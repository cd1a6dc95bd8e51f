"""What is said to the interactive session itself: lines that begin with a backslash, declared once with their help."""

from __future__ import annotations

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import Record


class MetaCommand(Record):
    """A command: its name, what follows it (in brackets when it may be left out), and its help."""

    name: str
    argument: str
    doc: str


COMMANDS = {
    command.name: command
    for command in (
        MetaCommand(
            "help", "[TOPIC]", "what the language has to say; `help images`, without a backslash, does the same"
        ),
        MetaCommand("commands", "", "these commands; \\? is short for it"),
        MetaCommand("examples", "", "sentences to begin with; Enter on an empty line shows them too"),
        MetaCommand("form", "[FORM]", "show answers in this form from now on: table, json, jsonl, yaml, csv, tree, …"),
        MetaCommand("timing", "[on|off]", "say after each statement how long it took"),
        MetaCommand("pager", "[on|off|PROGRAM]", "show what is longer than the screen in a pager: $IMQ_PAGER, $PAGER"),
        MetaCommand(
            "edit", "", "write the last statement anew in $VISUAL or $EDITOR; Ctrl-X Ctrl-E does it for this one"
        ),
        MetaCommand("history", "[TEXT]", "the statements said lately, those with TEXT in them; Ctrl-R searches"),
        MetaCommand(
            "source", "[NAME]", "ask this place from now on, as `use NAME` does; without a name: say which it is"
        ),
        MetaCommand("quit", "", "leave; Ctrl-D on an empty line does it too"),
    )
}
"""By name. The beginning of a name is enough where no other begins so."""

WORD_COMMANDS = {"quit": "quit", "exit": "quit", "\\?": "commands", "?": "commands"}
"""Lines without a backslash that are commands, and one with a name that is no word."""

EXAMPLES = (
    ("images", "every image, as docker shows them"),
    ("images where dangling", "those without a tag"),
    ("images where size > 1GB order by size desc", "the large ones, largest first"),
    ("images group by os select os, count", "how many of each"),
    ("layers of redis:7", "what an image is made of"),
    ("dry run rm images where older than 90d", "what would be removed"),
    ("pull redis:7", "fetch an image"),
    ("help images", "every field of a table"),
)
"""Sentences to begin with, and what each is for."""


def read_command(line: str) -> tuple[MetaCommand, str] | None:
    """Return the command that a line is, with what follows it; None when the line is a statement.

    Raises `StatementError` when a backslash begins it and no command, or more than one, is meant.
    """
    said = line.strip()
    if said.lower() in WORD_COMMANDS:
        return COMMANDS[WORD_COMMANDS[said.lower()]], ""
    if not said.startswith("\\"):
        return None
    word, _, argument = said[1:].partition(" ")
    name = word.lower()
    found = [COMMANDS[name]] if name in COMMANDS else [one for one in COMMANDS.values() if one.name.startswith(name)]
    if not name or len(found) != 1:
        hints = (closest_hint(name, COMMANDS), "\\?: the commands") if not found or not name else (quote_names(found),)
        raise StatementError(f'there is no command "\\{word}"', code="command", hints=hints)
    return found[0], argument.strip()


def quote_names(found: list[MetaCommand]) -> str:
    """Return which commands are meant by a beginning that several have."""
    return "it may be: " + ", ".join(f"\\{one.name}" for one in found)


def format_commands() -> str:
    """Return the help on commands."""
    import textwrap

    blank = " " * 28
    lines = (textwrap.wrap(one.doc, 79 - len(blank)) for one in COMMANDS.values())
    return "".join(
        f"  {_signature(one):<26}" + f"\n{blank}".join(wrapped) + "\n"
        for one, wrapped in zip(COMMANDS.values(), lines, strict=True)
    )


def format_examples() -> str:
    """Return the sentences to begin with."""
    examples = "".join(f"  {text:<43} {doc}\n" for text, doc in EXAMPLES)
    return f"{examples}  \\? tells of commands, help of the language\n"


def _signature(command: MetaCommand) -> str:
    return f"\\{command.name} {command.argument}".rstrip()
