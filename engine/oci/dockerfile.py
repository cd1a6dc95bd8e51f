"""The text of a Dockerfile as nodes: lines joined, comments left out, flags and arguments parted, as BuildKit does.

Everything that does not fit raises `ValueError` in docker's words.
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
_BLANKS = r"[\t\v\f\r ]+"
_NOT_TEXTS = "when using JSON array syntax, arrays must be comprised of strings only"


class Node(Record):
    """One instruction: its name as written and in upper case, flags, arguments, and the whole line.

    `listed` says that the arguments were written as a JSON array.
    """

    written: str
    name: str
    flags: tuple[str, ...]
    arguments: tuple[str, ...]
    line: str
    listed: bool = False


class Dockerfile(Record):
    """The instructions of a Dockerfile, and the character that escapes in it."""

    nodes: tuple[Node, ...]
    escape: str


def parse(text: str) -> Dockerfile:
    """Return the instructions that a text holds."""
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    escape = _escape_of(lines)
    nodes: list[Node] = []
    position = 0
    while position < len(lines):
        line, continues = _without_continuation(_without_comment(lines[position].lstrip()), escape)
        position += 1
        if not continues and not line:
            continue
        while continues and position < len(lines):
            more = lines[position]
            position += 1
            if more.strip() and not more.lstrip().startswith("#"):
                more, continues = _without_continuation(more, escape)
                line += more
        nodes.append(parse_line(line, escape))
    if not nodes:
        raise ValueError("file with no instructions")
    return Dockerfile(tuple(nodes), escape)


def parse_line(line: str, escape: str) -> Node:
    """Return one instruction, its continuation lines joined."""
    written, *rest = re.split(_BLANKS, line.strip(), maxsplit=1)
    flags, text = part_flags(rest[0]) if rest else ([], "")
    name = written.upper()
    arguments, listed = _ARGUMENTS.get(name, _nothing)(text.strip(), name, escape)
    return Node(written, name, tuple(flags), tuple(arguments), line, listed)


def _escape_of(lines: list[str]) -> str:
    """Return the escape character that the directives at the head of the file set."""
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


def _without_comment(line: str) -> str:
    return "" if line.startswith("#") else line


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """Return a line without the escape character at its end, and whether it had one, so that the next line follows."""
    bare = line.rstrip(" \t")
    if bare.endswith(escape) and not bare.endswith(escape * 2):
        return bare[:-1], True
    return line, False


def part_flags(text: str) -> tuple[list[str], str]:
    """Part the words that begin with `--` from what follows them; quotes and backslashes may stand in them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith("--", position):
            return flags, text[position:]
        word, quote = "", ""
        while position < len(text) and (quote or not text[position].isspace()):
            sign = text[position]
            position += 1
            if sign == quote:
                quote = ""
            elif not quote and sign in "'\"":
                quote = sign
            elif sign != "\\":
                word += sign
            elif position < len(text):
                word += text[position]
                position += 1
        if word == "--":
            return flags, text[position:]
        flags.append(word)


# ---- arguments: each form gets the text, the instruction's name and the escape character


def _nothing(text: str, _name: str, _escape: str) -> tuple[list[str], bool]:
    return [text] if text else [], False


def _maybe_listed(text: str, _name: str, _escape: str) -> tuple[list[str], bool]:
    """Read a JSON array of texts; what is none is one text, for a shell."""
    words = _json_words(text)
    return ([text] if text else [], False) if words is None else (words, True)


def _maybe_list(text: str, name: str, escape: str) -> tuple[list[str], bool]:
    """Read a JSON array of texts, or words between blanks."""
    words = _json_words(text)
    return _words(text, name, escape) if words is None else (words, True)


def _json_words(text: str) -> list[str] | None:
    """Return the JSON array that a text begins with, None when it begins with none. What follows it is passed over."""
    if not text.startswith("["):
        return None
    import json

    try:
        words, _ = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in words):
        raise ValueError(_NOT_TEXTS)
    return [re.sub(r"[\ud800-\udfff]", "\ufffd", word) for word in words]  # as Go reads half a pair


def _refuse_constant(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are no JSON


def _words(text: str, _name: str, _escape: str) -> tuple[list[str], bool]:
    return re.split(_BLANKS, text) if text else [], False


def _pairs(text: str, name: str, escape: str) -> tuple[list[str], bool]:
    """Read `key=value key2="value 2"`, or the old form `key value`, as keys and values in turn."""
    words = split_words(text, escape)
    if not words:
        return [], False
    if "=" not in words[0]:
        parts = re.split(_BLANKS, text, maxsplit=1)
        if len(parts) == 1:
            raise ValueError(f"{name} must have two arguments")
        return parts, False
    pairs: list[str] = []
    for word in words:
        key, sign, value = word.partition("=")
        if not sign:
            raise ValueError(f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value")
        pairs += (key, value)
    return pairs, False


def _healthcheck(text: str, name: str, escape: str) -> tuple[list[str], bool]:
    """Read the type of a check and its command."""
    if not text:
        return [], False
    kind, *rest = text.split(None, 1)
    command, listed = _maybe_listed(rest[0] if rest else "", name, escape)
    return [kind, *command], listed


def _trigger(text: str, _name: str, escape: str) -> tuple[list[str], bool]:
    """Read the instruction of a trigger, which must be written rightly; its name is the argument."""
    return [parse_line(text, escape).written] if text else [], False


def split_words(text: str, escape: str) -> list[str]:
    """Part words at blanks outside of quotes; quotes and escape characters stay as they are."""
    words: list[str] = []
    word, quote, begun = "", "", False
    position = 0
    while position < len(text):
        sign = text[position]
        position += 1
        if not quote and sign.isspace():
            if begun:
                words.append(word)
            word, begun = "", False
            continue
        if sign == escape and quote != "'":
            if position == len(text):
                break  # an escape character at the end escapes nothing
            word += sign + text[position]
            begun = True
            position += 1
            continue
        if sign == quote:
            quote = ""
        elif not quote and sign in "'\"":
            quote = sign
        word += sign
        begun = True
    return [*words, word] if begun else words


_ARGUMENTS: dict[str, Callable[[str, str, str], tuple[list[str], bool]]] = {
    "ADD": _maybe_list,
    "CMD": _maybe_listed,
    "COPY": _maybe_list,
    "ENTRYPOINT": _maybe_listed,
    "ENV": _pairs,
    "EXPOSE": _words,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _pairs,
    "ONBUILD": _trigger,
    "RUN": _maybe_listed,
    "SHELL": _maybe_listed,
    "VOLUME": _maybe_list,
}
"""How each instruction reads its arguments; every other takes them as one text."""
