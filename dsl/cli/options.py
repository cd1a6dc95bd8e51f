"""The options of the command line, and how they are separated from the words of a statement."""

from __future__ import annotations

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Option(Record):
    """One option: its names, the name of its value (empty for a flag), and its help."""

    names: tuple[str, ...]
    metavar: str
    doc: str

    @property
    def key(self) -> str:
        """The key of the option in `Options`."""
        return self.names[-1].removeprefix("--").replace("-", "_")


OPTIONS = (
    Option(("--root",), "DIR", "the store (default: $IMQ_ROOT, else a folder in the user's data directory)"),
    Option(("--source",), "SOURCE", "the default source, as in `use SOURCE`"),
    Option(("--catalogue",), "URL", "the database that answers queries, as in `set catalogue = URL`"),
    Option(("--output",), "FORMAT", "the default output format: table, json, csv and others"),
    Option(("-q", "--quiet"), "", "print IDs only"),
    Option(("--no-trunc",), "", "do not truncate IDs and strings"),
    Option(("--spreadsheet",), "", "in csv and tsv, put ' before strings that a spreadsheet would compute"),
    Option(("--dry-run",), "", "list the actions without running them"),
    Option(("--explain",), "", "show the plan without running the statement"),
    Option(("--yes",), "", "do not ask for confirmation"),
    Option(("--platform",), "PLATFORM", "os/architecture[/variant] of pulls and imports"),
    Option(("--jobs",), "N", "number of layers transferred in parallel"),
    Option(("--workers",), "N|URL", "read layers in N processes, or on a Dask cluster: dask://HOST:PORT"),
    Option(("--set",), "NAME=VALUE", "set a setting or a variable first; repeatable"),
    Option(("--insecure",), "HOST", "use plain HTTP for this host; repeatable"),
    Option(("--config",), "FILE", "read this configuration file instead of the user's"),
    Option(("--no-config",), "", "read no configuration"),
    Option(("--junit",), "FILE", "write the outcomes of assert statements as JUnit XML"),
    Option(("--sarif",), "FILE", "write failed assert statements as SARIF, for code scanning"),
    Option(("--color",), "WHEN", "auto, always or never"),
    Option(("--no-progress",), "", "write lines instead of progress bars"),
    Option(("--version",), "", "print the version, as -v alone does"),
    Option(("--json",), "", "with --version: print a software bill of materials"),
    Option(("-h", "--help"), "", "print help"),
)
"""Every option except `-f FILE` and `-v`, which are valid only before the words of a statement."""
VALUED = {name: option.key for option in OPTIONS if option.metavar for name in option.names}
FLAGS = {name: option.key for option in OPTIONS if not option.metavar for name in option.names}
_DOCKER_OPTIONS = {
    "--format": "in a statement: format '{{.Name}}', as json, or --output json",
    "--filter": "in a statement: where …, as in imq images where dangling",
    "--all": "not needed: every image is listed",
    "-a": "not needed: every image is listed",
    "-o": "--output FORMAT, or in a statement: to FILE",
    "-f": "-f FILE runs a script and comes first; in a statement: where CONDITION, force, or --yes",
    "-y": 'did you mean "--yes"?',
    "-n": 'did you mean "--dry-run"?',
    "-v": "-v alone prints the version; details of the disk: imq system df -v",
}
"""Options of docker and of other programs, with their equivalents."""
_REPEATABLE = ("set", "insecure")


class Options(Record):
    """Parsed options. `words` are the words of the statement."""

    values: Mapping[str, tuple[str, ...]]
    flags: frozenset[str]
    words: tuple[str, ...]

    def __hash__(self) -> int:
        """Hash by identity: options hold a mapping."""
        return id(self)

    def value(self, name: str) -> str | None:
        """Return the value of an option that is given at most once."""
        values = self.values.get(name)
        return values[-1] if values else None


def read_options(arguments: Sequence[str]) -> Options:
    """Separate options from the words of a statement. Options are valid anywhere before `--`."""
    values: dict[str, list[str]] = {}
    flags: set[str] = set()
    words: list[str] = []
    remaining = list(arguments)
    while remaining:
        word = remaining.pop(0)
        name, equals, attached = word.partition("=")
        if word == "--":
            words += remaining
            break
        if name in VALUED or (word == "-f" and not words):
            key = VALUED.get(name, "file")
            if not equals and not remaining:
                raise StatementError(f"{name} needs a value", code="option")
            value = attached if equals else remaining.pop(0)
            if key in values and key not in _REPEATABLE:
                raise StatementError(f"{name} is repeated", code="option")
            values.setdefault(key, []).append(value)
        elif word in FLAGS:
            flags.add(FLAGS[word])
        elif word in ("-v", "-V") and not words:
            flags.add("version")
        elif word.startswith("-") and len(word) > 1 and not word[1].isdigit() and " " not in word:
            _refuse_absent(words)
            hint = _DOCKER_OPTIONS.get(name, "")
            if not hint and len(name) > len("-x"):  # every letter is close to every other one
                hint = closest_hint(name, [*VALUED, *FLAGS])
            raise StatementError(f'unknown option "{word}"', code="option", hints=(hint, "imq --help lists them"))
        else:
            words.append(word)
    if "json" in flags and "version" not in flags:
        raise StatementError("--json needs --version", code="option", hints=("for results: --output json",))
    return Options({key: tuple(items) for key, items in values.items()}, frozenset(flags), tuple(words))


def _refuse_absent(words: Sequence[str]) -> None:
    """Raise `StatementError` for a command of docker that imq does not have, instead of the error of its first flag."""
    from imq.engine.actions import ABSENT

    if words and (way := dict(ABSENT).get(words[0])) is not None:
        raise StatementError(f'imq has no command "{words[0]}"', code="unavailable", hints=(way,))


def first_word(arguments: Sequence[str]) -> int:
    """Return the index of the first argument that is neither an option nor an option's value.

    It is the number of arguments when there is none, or when `-f` or `--` comes first.
    """
    index = 0
    while index < len(arguments):
        name, equals, _ = arguments[index].partition("=")
        if name in VALUED:
            index += 1 if equals else 2
        elif name in FLAGS:
            index += 1
        else:
            break
    return index if index < len(arguments) and not arguments[index].startswith("-") else len(arguments)
