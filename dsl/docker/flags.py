"""The parser of docker's flags: combined letters, `--name=value`, before and after the arguments."""

from __future__ import annotations

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Flag(Record):
    """One flag: `--name`, and `-letter` when it has one.

    `kind` is what it takes, as the usage text shows it: nothing (a switch), string, list, filter or int. A switch is
    off unless `on`; `own` marks an option of imq that docker does not know.
    """

    name: str
    letter: str = ""
    value_type: str = ""
    doc: str = ""
    default_on: bool = False
    imq_only: bool = False

    @property
    def display_name(self) -> str:
        """The name of the flag in errors: `-f, --filter`."""
        return f"-{self.letter}, --{self.name}" if self.letter else f"--{self.name}"


class ParsedFlags(Record):
    """A parsed command line: the values of each flag by its name, in order, and the arguments.

    `problem` is what was wrong with the first flag that could not be read; what came before it is here all the same.
    """

    values: Mapping[str, tuple[str, ...]]
    arguments: tuple[str, ...]
    error: StatementError | None = None

    def __hash__(self) -> int:
        """Hash by identity: it holds a mapping."""
        return id(self)

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return every value of a flag."""
        return self.values.get(name, ())

    def get_last(self, name: str) -> str:
        """Return the last value of a flag, "" when it is absent."""
        values = self.get_all(name)
        return values[-1] if values else ""

    def is_on(self, name: str, *, default: bool = False) -> bool:
        """Whether a switch is on."""
        values = self.get_all(name)
        return values[-1] in _TRUE if values else default


class _FlagError(Exception):
    """The error of one word of a command line."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.error = StatementError(message, code="option", hints=hints)


def parse_flags(flags: Sequence[Flag], words: Sequence[str]) -> ParsedFlags:
    """Parse words with these flags. All words after `--` are arguments. `--help` and `-h` are always known."""
    reader = _FlagParser(flags)
    remaining = list(words)
    problem: StatementError | None = None
    try:
        while remaining:
            word = remaining.pop(0)
            if word == "--":
                reader.arguments += remaining
                break
            if word.startswith("--"):
                reader.parse_long(word, remaining)
            elif word.startswith("-") and word != "-":
                reader.parse_letters(word, remaining)
            else:
                reader.arguments.append(word)
    except _FlagError as found:
        problem = found.error
    return ParsedFlags(
        {name: tuple(values) for name, values in reader.values.items()}, tuple(reader.arguments), problem
    )


class _FlagParser:
    """Collects the values and arguments of words."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        help_ = Flag("help", "h")
        self._names = {flag.name: flag for flag in (*flags, help_)}
        self._letters = {flag.letter: flag for flag in (*flags, help_) if flag.letter}
        self.values: dict[str, list[str]] = {}
        self.arguments: list[str] = []

    def parse_long(self, word: str, left: list[str]) -> None:
        """Parse `--name`, `--name=value`, or `--name` and the next word."""
        name, equals, value = word[2:].partition("=")
        flag = self._names.get(name)
        if flag is None:
            raise _FlagError(f"unknown flag: --{name}", closest_hint(f"--{name}", self._docker_flags()))
        if equals:
            self._add_value(flag, value)
        elif not flag.value_type:
            self._add_value(flag, "true")
        elif left:
            self._add_value(flag, left.pop(0))
        else:
            raise _FlagError(f"flag needs an argument: --{name}")

    def parse_letters(self, word: str, left: list[str]) -> None:
        """Parse `-abc`, `-fvalue`, `-f=value`, or `-f` and the next word."""
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            flag = self._letters.get(letter)
            if flag is None:
                known = " ".join(f"-{known}" for known in sorted(self._letters))
                raise _FlagError(f"unknown shorthand flag: '{letter}' in {word}", f"there are: {known}")
            if rest.startswith("="):
                self._add_value(flag, rest[1:])
                return
            if not flag.value_type:
                self._add_value(flag, "true")
            elif rest or left:
                self._add_value(flag, rest or left.pop(0))
                return
            else:
                raise _FlagError(f"flag needs an argument: '{letter}' in {word}")

    def _docker_flags(self) -> list[str]:
        return [f"--{flag.name}" for flag in self._names.values() if not flag.imq_only]

    def _add_value(self, flag: Flag, value: str) -> None:
        why = ""
        if not flag.value_type and value not in (*_TRUE, *_FALSE):
            why = f'strconv.ParseBool: parsing "{value}": invalid syntax'
        elif flag.value_type == "filter" and value and "=" not in value:
            why = "bad format of filter (expected name=value)"
        elif flag.value_type == "int" and not value.removeprefix("-").isdecimal():
            why = f'strconv.ParseInt: parsing "{value}": invalid syntax'
        if why:
            raise _FlagError(f'invalid argument "{value}" for "{flag.display_name}" flag: {why}')
        self.values.setdefault(flag.name, []).append(value)
