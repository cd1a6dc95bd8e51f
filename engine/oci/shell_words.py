"""Expands the words of Dockerfile instructions: removes quotes and escapes, and substitutes variables.

Errors are `ValueError`s with docker's messages.
"""

from __future__ import annotations

from imq.engine.units.go_strconv import quote
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPECIAL = "@*#?-$!0"
_NO_BRACE = "syntax error: missing '}'"


def expand(word: str, variables: Mapping[str, str], escape: str) -> str:
    """Expand the variables in a word: `$x`, `${x}`, `${x:-default}`, `${x:+alternative}`, `${x:?message}`."""
    return _Expansion(word, variables, escape).expand_to_string()[0]


def expand_words(word: str, variables: Mapping[str, str], escape: str) -> list[str]:
    """Expand a word to a list of words: the values of variables are split at whitespace."""
    return _Expansion(word, variables, escape).expand_to_string()[1]


class _Expansion:
    """The expansion of one word."""

    def __init__(self, word: str, variables: Mapping[str, str], escape: str) -> None:
        self.word = word
        self.variables = variables
        self.escape = escape
        self.position = 0

    def expand_to_string(self) -> tuple[str, list[str]]:
        try:
            return self.read_until("")
        except ValueError as problem:
            raise ValueError(f"failed to process {quote(self.word)}: {problem}") from None
        except RecursionError:
            raise ValueError(f"failed to process {quote(self.word)}: it is nested too deeply") from None

    def peek(self) -> str:
        return self.word[self.position : self.position + 1]

    def next(self) -> str:
        sign = self.peek()
        self.position += len(sign)
        return sign

    def read_until(self, stop: str) -> tuple[str, list[str]]:
        """Read up to and including the character `stop`; return the expanded text, and the words in it."""
        parts: list[str] = []
        words = _WordSplitter()
        while sign := self.next():
            if sign == stop:
                return "".join(parts), words.finish()
            if sign == "'":
                parts.append(self.read_single_quoted())
                words.add(parts[-1])
            elif sign == '"':
                parts.append(self.read_double_quoted())
                words.add(parts[-1])
            elif sign == "$":
                parts.append(self.read_variable())
                words.add_splitting(parts[-1])
            elif sign == self.escape:
                parts.append(self.next())
                words.add(parts[-1])
            else:
                parts.append(sign)
                words.add_splitting(sign)
        if stop:
            raise ValueError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(parts), words.finish()

    def read_single_quoted(self) -> str:
        end = self.word.find("'", self.position)
        if end < 0:
            self.position = len(self.word)
            raise ValueError("unexpected end of statement while looking for matching single-quote")
        text = self.word[self.position : end]
        self.position = end + 1
        return text

    def read_double_quoted(self) -> str:
        parts: list[str] = []
        while sign := self.next():
            if sign == '"':
                return "".join(parts)
            if sign == "$":
                parts.append(self.read_variable())
            elif sign == self.escape and (not self.peek() or self.peek() in ('"', "$", self.escape)):
                parts.append(self.next())
            else:
                parts.append(sign)
        raise ValueError("unexpected end of statement while looking for matching double-quote")

    def read_variable(self) -> str:
        """Return the value of the variable after a `$`."""
        if self.peek() != "{":
            name = self.read_name()
            return self.variables.get(name, "") if name else "$"
        self.next()
        if not self.peek():
            raise ValueError(_NO_BRACE)
        if self.peek() in "{}:":
            raise ValueError("syntax error: bad substitution")
        name = self.read_name()
        sign = self.next()
        value = self.variables.get(name)
        if sign == "}":
            return value or ""
        if sign == "?":
            return self.require_value(name, value, self.read_rest())
        if sign == ":":
            return self.apply_modifier(name, value)
        raise ValueError("missing ':' in substitution")

    def apply_modifier(self, name: str, value: str | None) -> str:
        modifier = self.next()
        word = self.read_rest()
        match modifier:
            case "+":
                return word if value else ""
            case "-":
                return value or word
            case "?":
                self.require_value(name, value, word)
                if not value:
                    raise ValueError(f"{name}: {word or 'is not allowed to be empty'}")
                return value
            case _:
                raise ValueError(f"unsupported modifier ({modifier}) in substitution")

    def require_value(self, name: str, value: str | None, message: str) -> str:
        if value is None:
            raise ValueError(f"{name}: {message or 'is not allowed to be unset'}")
        return value

    def read_rest(self) -> str:
        try:
            return self.read_until("}")[0]
        except ValueError:
            if not self.peek():
                raise ValueError(_NO_BRACE) from None
            raise

    def read_name(self) -> str:
        start = self.position
        if self.peek().isdigit():
            while self.peek().isdigit():
                self.position += 1
        elif self.peek() and self.peek() in _SPECIAL:
            self.position += 1
        else:
            while self.peek().isalnum() or self.peek() == "_":
                self.position += 1
        return self.word[start : self.position]


class _WordSplitter:
    """Collects the words of an expansion. Whitespace splits words, except when quoted or escaped."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.word = ""

    def add(self, text: str) -> None:
        self.word += text

    def add_splitting(self, text: str) -> None:
        for sign in text:
            if not sign.isspace():
                self.word += sign
            elif self.word:
                self.words.append(self.word)
                self.word = ""

    def finish(self) -> list[str]:
        return [*self.words, self.word] if self.word else self.words
