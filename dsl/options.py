"""The options of imq's own command line: which there are, and how they are parted from the words of a statement."""

from __future__ import annotations

from imq.grammar.errors import StatementError, nearest
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VALUED = {
    "--root": "root", "--output": "output", "--platform": "platform", "--jobs": "jobs", "--set": "set",
    "--insecure": "insecure", "--color": "color", "--source": "source", "--config": "config",
}  # fmt: skip
FLAGS = {
    "-q": "quiet", "--quiet": "quiet", "--dry-run": "dry_run", "--explain": "explain", "--yes": "yes",
    "--no-trunc": "no_trunc", "--no-progress": "no_progress", "--no-config": "no_config", "--version": "version",
    "--json": "json", "--help": "help", "-h": "help",
}  # fmt: skip
_REPEATED = ("set", "insecure")


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
            if key in values and key not in _REPEATED:
                raise StatementError(f"{name} is given twice", code="option")
            values.setdefault(key, []).append(value)
        elif word in FLAGS:
            flags.add(FLAGS[word])
        elif word.startswith("-") and len(word) > 1 and not word[1].isdigit() and " " not in word:
            known = [*VALUED, *FLAGS, "-f"]
            raise StatementError(
                f'there is no option "{word}"', code="option", hints=(nearest(word, known), "imq --help lists them")
            )
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
