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

    `value_type` is the type of its value in the usage text: string, list, filter, int, or "" for a switch. A switch is
    off unless it is `default_on`. `imq_only` marks an option of imq that docker does not have. `refusal` is why a flag
    of docker is not supported; with `in_engine` it is supported when the containers are those of an engine.
    """

    name: str
    letter: str = ""
    value_type: str = ""
    doc: str = ""
    default_on: bool = False
    imq_only: bool = False
    refusal: str = ""
    in_engine: bool = False

    @property
    def display_name(self) -> str:
        """The name of the flag in errors: `-f, --filter`."""
        return f"-{self.letter}, --{self.name}" if self.letter else f"--{self.name}"


class ParsedFlags(Record):
    """A parsed command line: the values of each flag by its name, in order, and the arguments.

    `error` is the error of the first invalid flag. The flags and arguments before it are present. `engine_error` is
    that of the first flag that only engines support.
    """

    values: Mapping[str, tuple[str, ...]]
    arguments: tuple[str, ...]
    error: StatementError | None = None
    engine_error: StatementError | None = None

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


def parse_flags(flags: Sequence[Flag], words: Sequence[str], *, leading: int | None = None) -> ParsedFlags:
    """Parse words with these flags. All words after `--` are arguments. `--help` and `-h` are always known.

    After `leading` arguments all further words are arguments too: those of a program in a container.
    """
    parser = _FlagParser(flags)
    remaining = list(words)
    error: StatementError | None = None
    try:
        while remaining:
            if leading is not None and len(parser.arguments) >= leading:
                parser.arguments += remaining
                break
            word = remaining.pop(0)
            if word == "--":
                parser.arguments += remaining
                break
            if word.startswith("--"):
                parser.parse_long(word, remaining)
            elif word.startswith("-") and word != "-":
                parser.parse_letters(word, remaining)
            else:
                parser.arguments.append(word)
    except _FlagError as problem:
        error = problem.error
    values = {name: tuple(texts) for name, texts in parser.values.items()}
    return ParsedFlags(values, tuple(parser.arguments), error, parser.engine_error)


class _FlagParser:
    """Collects the values and arguments of words."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        help_ = Flag("help", "h")
        self._names = {flag.name: flag for flag in (help_, *flags)}
        self._letters = {flag.letter: flag for flag in (help_, *flags) if flag.letter}
        self.values: dict[str, list[str]] = {}
        self.arguments: list[str] = []
        self.engine_error: StatementError | None = None

    def parse_long(self, word: str, remaining: list[str]) -> None:
        """Parse `--name`, `--name=value`, or `--name` and the next word."""
        name, equals, value = word[2:].partition("=")
        flag = self._names.get(name)
        if flag is None:
            raise _FlagError(f"unknown flag: --{name}", closest_hint(f"--{name}", self._docker_flags()))
        if equals:
            self._add_value(flag, value)
        elif not flag.value_type:
            self._add_value(flag, "true")
        elif remaining:
            self._add_value(flag, remaining.pop(0))
        else:
            raise _FlagError(f"flag needs an argument: --{name}")

    def parse_letters(self, word: str, remaining: list[str]) -> None:
        """Parse `-abc`, `-fvalue`, `-f=value`, or `-f` and the next word."""
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            flag = self._letters.get(letter)
            if flag is None:
                flags = " ".join(f"-{name}" for name in sorted(self._letters))
                raise _FlagError(f"unknown shorthand flag: '{letter}' in {word}", f"expected one of: {flags}")
            if rest.startswith("="):
                self._add_value(flag, rest[1:])
                return
            if not flag.value_type:
                self._add_value(flag, "true")
            elif rest or remaining:
                self._add_value(flag, rest or remaining.pop(0))
                return
            else:
                raise _FlagError(f"flag needs an argument: '{letter}' in {word}")

    def _docker_flags(self) -> list[str]:
        return [f"--{flag.name}" for flag in self._names.values() if not flag.imq_only]

    def _add_value(self, flag: Flag, value: str) -> None:
        if flag.refusal:
            refusal = _FlagError(f"imq does not support {flag.display_name}", flag.refusal)
            if not flag.in_engine:
                raise refusal
            self.engine_error = self.engine_error or refusal.error
        reason = ""
        if not flag.value_type and value not in (*_TRUE, *_FALSE):
            reason = f'strconv.ParseBool: parsing "{value}": invalid syntax'
        elif flag.value_type == "filter" and value and "=" not in value:
            reason = "bad format of filter (expected name=value)"
        elif flag.value_type == "int" and not value.removeprefix("-").isdecimal():
            reason = f'strconv.ParseInt: parsing "{value}": invalid syntax'
        if reason:
            raise _FlagError(f'invalid argument "{value}" for "{flag.display_name}" flag: {reason}')
        self.values.setdefault(flag.name, []).append(value)
