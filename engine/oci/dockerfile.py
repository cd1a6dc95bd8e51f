"""Parses a Dockerfile like BuildKit: joins lines, removes comments, and splits flags and arguments.

Errors are `ValueError`s with docker's messages.
"""

from __future__ import annotations

import re

from imq.engine.units.go_strconv import quote
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTIVE = r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z"
_DIRECTIVES = frozenset({"escape", "syntax"})
_ESCAPES = ("`", "\\")
_WHITESPACE = r"[\t\v\f\r ]+"
_NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only"


class Instruction(Record):
    """One instruction: its name as written and in upper case, flags, arguments, and the whole line.

    `is_json`: the arguments were written as a JSON array.
    """

    name_as_written: str
    name: str
    flags: tuple[str, ...]
    arguments: tuple[str, ...]
    line: str
    is_json: bool = False


class Dockerfile(Record):
    """The instructions of a Dockerfile, and its escape character."""

    instructions: tuple[Instruction, ...]
    escape: str


def parse_dockerfile(text: str) -> Dockerfile:
    """Parse the text of a Dockerfile."""
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    escape = _find_escape(lines)
    instructions: list[Instruction] = []
    position = 0
    while position < len(lines):
        line, continues = _strip_continuation(_strip_comment(lines[position].lstrip()), escape)
        position += 1
        if not continues and not line:
            continue
        while continues and position < len(lines):
            continuation = lines[position]
            position += 1
            if continuation.strip() and not continuation.lstrip().startswith("#"):
                continuation, continues = _strip_continuation(continuation, escape)
                line += continuation
        instructions.append(parse_instruction(line, escape))
    if not instructions:
        raise ValueError("file with no instructions")
    return Dockerfile(tuple(instructions), escape)


def parse_instruction(line: str, escape: str) -> Instruction:
    """Parse one instruction, with its continuation lines joined."""
    name_as_written, *rest = re.split(_WHITESPACE, line.strip(), maxsplit=1)
    flags, text = split_flags(rest[0]) if rest else ([], "")
    name = name_as_written.upper()
    arguments, is_json = _ARGUMENT_PARSERS.get(name, _parse_raw)(text.strip(), name, escape)
    return Instruction(name_as_written, name, tuple(flags), tuple(arguments), line, is_json)


def _find_escape(lines: list[str]) -> str:
    """Return the escape character, which a parser directive at the beginning of the file can set."""
    escape = "\\"
    seen: set[str] = set()
    for line in lines:
        match = re.match(_DIRECTIVE, line.lstrip())
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            break
        if name in seen:
            raise ValueError(f"only one {name} parser directive can be used")
        seen.add(name)
        if name == "escape":
            escape = match[2]
            if escape not in _ESCAPES:
                raise ValueError(f"invalid escape token '{escape}' does not match ` or \\")
    return escape


def _strip_comment(line: str) -> str:
    return "" if line.startswith("#") else line


def _strip_continuation(line: str, escape: str) -> tuple[str, bool]:
    """Return a line without a trailing escape character, and whether it had one: the next line continues it."""
    stripped = line.rstrip(" \t")
    if stripped.endswith(escape) and not stripped.endswith(escape * 2):
        return stripped[:-1], True
    return line, False


def split_flags(text: str) -> tuple[list[str], str]:
    """Split the leading words that begin with `--` from the rest; they may have quotes and backslashes."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith("--", position):
            return flags, text[position:]
        word, quote = "", ""
        while position < len(text) and (quote or not text[position].isspace()):
            character = text[position]
            position += 1
            if character == quote:
                quote = ""
            elif not quote and character in "'\"":
                quote = character
            elif character != "\\":
                word += character
            elif position < len(text):
                word += text[position]
                position += 1
        if word == "--":
            return flags, text[position:]
        flags.append(word)


# ---- arguments: each parser gets the text, the name of the instruction and the escape character


def _parse_raw(text: str, _name: str, _escape: str) -> tuple[list[str], bool]:
    return [text] if text else [], False


def _parse_json_or_raw(text: str, _name: str, _escape: str) -> tuple[list[str], bool]:
    """Read a JSON array of strings; anything else is one string for a shell."""
    words = _parse_json_array(text)
    return ([text] if text else [], False) if words is None else (words, True)


def _parse_json_or_words(text: str, name: str, escape: str) -> tuple[list[str], bool]:
    """Read a JSON array of strings, or words separated by spaces."""
    words = _parse_json_array(text)
    return _parse_words(text, name, escape) if words is None else (words, True)


def _parse_json_array(text: str) -> list[str] | None:
    """Return the JSON array at the beginning of a text; None when there is none. The rest is ignored."""
    if not text.startswith("["):
        return None
    import json

    try:
        words, _ = json.JSONDecoder(parse_constant=_reject_constant).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in words):
        raise ValueError(_NOT_STRINGS)
    return [re.sub(r"[\ud800-\udfff]", "\ufffd", word) for word in words]  # as Go reads lone surrogates


def _reject_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are not JSON


def _parse_words(text: str, _name: str, _escape: str) -> tuple[list[str], bool]:
    return re.split(_WHITESPACE, text) if text else [], False


def _parse_pairs(text: str, name: str, escape: str) -> tuple[list[str], bool]:
    """Read `key=value key2="value 2"`, or the old form `key value`; return alternating keys and values."""
    words = split_words(text, escape)
    if not words:
        return [], False
    if "=" not in words[0]:
        parts = re.split(_WHITESPACE, text, maxsplit=1)
        if len(parts) == 1:
            raise ValueError(f"{name} must have two arguments")
        return parts, False
    pairs: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value")
        pairs += (key, value)
    return pairs, False


def _parse_healthcheck(text: str, name: str, escape: str) -> tuple[list[str], bool]:
    """Read the type of a health check and its command."""
    if not text:
        return [], False
    kind, *rest = text.split(None, 1)
    command, is_json = _parse_json_or_raw(rest[0] if rest else "", name, escape)
    return [kind, *command], is_json


def _parse_trigger(text: str, _name: str, escape: str) -> tuple[list[str], bool]:
    """Read the instruction of a trigger, which must be valid; its name is the argument."""
    return [parse_instruction(text, escape).name_as_written] if text else [], False


def split_words(text: str, escape: str) -> list[str]:
    """Split a text at spaces outside of quotes; quotes and escape characters stay in the words."""
    words: list[str] = []
    word, quote, in_word = "", "", False
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if not quote and character.isspace():
            if in_word:
                words.append(word)
            word, in_word = "", False
            continue
        if character == escape and quote != "'":
            if position == len(text):
                break  # docker drops an escape character at the end
            word += character + text[position]
            in_word = True
            position += 1
            continue
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        word += character
        in_word = True
    return [*words, word] if in_word else words


_ARGUMENT_PARSERS: dict[str, Callable[[str, str, str], tuple[list[str], bool]]] = {
    "ADD": _parse_json_or_words,
    "CMD": _parse_json_or_raw,
    "COPY": _parse_json_or_words,
    "ENTRYPOINT": _parse_json_or_raw,
    "ENV": _parse_pairs,
    "EXPOSE": _parse_words,
    "HEALTHCHECK": _parse_healthcheck,
    "LABEL": _parse_pairs,
    "ONBUILD": _parse_trigger,
    "RUN": _parse_json_or_raw,
    "SHELL": _parse_json_or_raw,
    "VOLUME": _parse_json_or_words,
}
"""The parser of the arguments, by instruction; all others take them as one string."""
