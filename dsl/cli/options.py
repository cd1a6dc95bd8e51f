"""The options of imq's own command line: which there are, and how they are parted from the words of a statement."""

from __future__ import annotations

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Option(Record):
    """One option: all ways to write it, what it takes (nothing: a switch), and what it is for."""

    names: tuple[str, ...]
    metavar: str
    doc: str

    @property
    def key(self) -> str:
        """What it is called in `Options`."""
        return self.names[-1].removeprefix("--").replace("-", "_")


OPTIONS = (
    Option(("--root",), "DIR", "the store; else $IMQ_ROOT, else the one of the user's data folder"),
    Option(("--source",), "SOURCE", "where to ask, as `use SOURCE` does"),
    Option(("--output",), "FORM", "the form of answers that ask for none: table, json, csv and so on"),
    Option(("-q", "--quiet"), "", "answer with ids alone"),
    Option(("--no-trunc",), "", "show ids and texts whole"),
    Option(("--spreadsheet",), "", "in csv and tsv, put ' before texts that a spreadsheet takes for formulas"),
    Option(("--dry-run",), "", "list what would be done, and do nothing"),
    Option(("--explain",), "", "say how it would run, and do nothing"),
    Option(("--yes",), "", "do not ask before anything is removed"),
    Option(("--platform",), "PLATFORM", "os/architecture[/variant] of what is pulled and imported"),
    Option(("--jobs",), "N", "how many layers travel at once"),
    Option(("--set",), "NAME=VALUE", "set a setting or a variable first; may be given again"),
    Option(("--insecure",), "HOST", "speak plain http to this host; may be given again"),
    Option(("--config",), "FILE", "read this configuration, and not the user's"),
    Option(("--no-config",), "", "read no configuration"),
    Option(("--color",), "WHEN", "auto, always or never"),
    Option(("--no-progress",), "", "write one line a step even on a terminal"),
    Option(("--version",), "", "say the version"),
    Option(("--json",), "", "behind --version: what imq is made of, as a bill of materials"),
    Option(("-h", "--help"), "", "say how imq is called"),
)
"""Every option but `-f FILE`, which stands before the words of a statement."""
VALUED = {name: option.key for option in OPTIONS if option.metavar for name in option.names}
FLAGS = {name: option.key for option in OPTIONS if not option.metavar for name in option.names}
_DOCKER_OPTIONS = {
    "--format": "in a sentence it is: format '{{.Name}}', as json, or --output json",
    "--filter": "in a sentence it is: where …, as in imq images where dangling",
    "--all": "every image is shown",
    "-a": "every image is shown",
    "-o": "--output FORM, or in a sentence: to FILE",
}
"""Options of docker's that a sentence says otherwise."""
_REPEATABLE = ("set", "insecure")


class Options(Record):
    """What the command line said. `words` is the statement, as the shell cut it."""

    values: Mapping[str, tuple[str, ...]]
    flags: frozenset[str]
    words: tuple[str, ...]

    def __hash__(self) -> int:
        """Hash by identity: options hold a mapping."""
        return id(self)

    def value(self, name: str) -> str | None:
        """Return the value of an option that is given at most once."""
        given = self.values.get(name)
        return given[-1] if given else None


def read_options(arguments: Sequence[str]) -> Options:
    """Part the arguments into options and the words of a statement. Options may stand anywhere before a `--`."""
    values: dict[str, list[str]] = {}
    flags: set[str] = set()
    words: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        name, equals, attached = word.partition("=")
        if word == "--":
            words += left
            break
        if name in VALUED or (word == "-f" and not words):
            key = VALUED.get(name, "file")
            if not equals and not left:
                raise StatementError(f"{name} needs a value", code="option")
            value = attached if equals else left.pop(0)
            if key in values and key not in _REPEATABLE:
                raise StatementError(f"{name} is given twice", code="option")
            values.setdefault(key, []).append(value)
        elif word in FLAGS:
            flags.add(FLAGS[word])
        elif word.startswith("-") and len(word) > 1 and not word[1].isdigit() and " " not in word:
            first = _DOCKER_OPTIONS.get(name) or closest_hint(word, [*VALUED, *FLAGS, "-f"])
            raise StatementError(f'there is no option "{word}"', code="option", hints=(first, "imq --help lists them"))
        else:
            words.append(word)
    if "json" in flags and "version" not in flags:
        raise StatementError("--json goes with --version", code="option", hints=("for answers, --output json",))
    return Options({key: tuple(given) for key, given in values.items()}, frozenset(flags), tuple(words))


def first_word(arguments: Sequence[str]) -> int:
    """Return the place of the first argument that is neither an option nor an option's value.

    The number of arguments when there is none, as before a script (`-f FILE`) and behind a `--`.
    """
    place = 0
    while place < len(arguments):
        name, equals, _ = arguments[place].partition("=")
        if name in VALUED:
            place += 1 if equals else 2
        elif name in FLAGS:
            place += 1
        else:
            break
    return place if place < len(arguments) and not arguments[place].startswith("-") else len(arguments)
