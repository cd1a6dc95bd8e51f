"""Converts globs and regular expressions to the regular expressions of PostgreSQL.

A pattern whose matches could differ raises `Unsupported`.
"""

from __future__ import annotations

import re

_LONGEST_REPETITION = 255
"""The largest bound of a repetition in a regular expression of PostgreSQL."""
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_CONTROLS = frozenset("tnrfv")
_SAMPLES = frozenset({*map(chr, range(1, 128)), "\N{LATIN SMALL LETTER E WITH ACUTE}"})
"""Characters by which sets are compared: all of ASCII, and one that stands for all others."""
_ATOM = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|[^\\\[\](){}|*+?^$]", re.DOTALL)
_QUANTIFIER = re.compile(r"[*+?]|\{\d+(?:,\d*)?\}")


class Unsupported(Exception):
    """A part of a statement has no exact equivalent in PostgreSQL. The message names it."""


def convert_glob_to_regex(glob: str) -> str:
    """Return the regular expression of PostgreSQL for a glob of SQLite, whose classes begin with `[^` or `[`."""
    parts = []
    at = 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character != "[":
            parts.append(_escape(character))
        else:
            is_negated = glob[at : at + 1] == "^"
            start = at + is_negated
            end = glob.find("]", start + 1)
            if end < 0:
                return "(?!)"  # SQLite never matches a class without an end
            members = glob[start:end]
            escaped = "".join(f"\\{one}" if one in "\\[]^" else one for one in members)
            parts.append(f"[{'^' * is_negated}{escaped}]")
            at = end + 1
    return f"^(?:{''.join(parts)})$"


def _escape(character: str) -> str:
    return character if character.isalnum() or character in "_ /:@=,;~#%&\"'<>!" else f"\\{character}"


def convert_regex(pattern: str) -> str:
    """Return the regular expression of PostgreSQL for one of RE2 that matches the same strings.

    Both find a match in time that does not grow exponentially. Raises `Unsupported` for syntax that differs.
    """
    parts: list[str] = []
    at, prefix = 0, ""
    if pattern.startswith("(?i)"):
        if not pattern.isascii():
            raise Unsupported("a regular expression that ignores the case of letters other than A to Z")
        prefix, at = "(?i)", 4
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            parts.append(_convert_escape(pattern[at + 1 : at + 2], in_class=False))
            at += 2
        elif character == "[":
            text, at = _convert_class(pattern, at + 1)
            parts.append(text)
        elif character == ".":
            parts.append(r"[^\n]")
            at += 1
        elif pattern.startswith("(?", at):
            if not pattern.startswith("(?:", at):
                raise Unsupported("flags and names of groups in a regular expression")
            parts.append("(?:")
            at += 3
        elif character == "{":
            bounds = re.compile(r"\{(\d+)(?:,(\d*))?\}").match(pattern, at)
            if bounds is None or any(int(one or 0) > _LONGEST_REPETITION for one in bounds.groups()):
                raise Unsupported(f"a repetition of more than {_LONGEST_REPETITION} in a regular expression")
            parts.append(bounds[0])
            at = bounds.end()
        else:
            parts.append(character)
            at += 1
    return f"{prefix}(?:{''.join(parts)})"


def _convert_escape(character: str, *, in_class: bool) -> str:
    """Return an escape sequence without its backslash as PostgreSQL writes it."""
    members = _CLASSES.get(character.lower())
    if members is not None and (character.islower() or not in_class):
        return members if in_class else f"[{'^' * character.isupper()}{members}]"
    if character in _CONTROLS and character:
        return f"\\{character}"
    if not in_class and character in ("A", "z", "b", "B"):
        return {"A": r"\A", "z": r"\Z", "b": r"\y", "B": r"\Y"}[character]
    if not character or not character.isascii() or character.isalnum() or character == "_":
        raise Unsupported(f"\\{character} in a regular expression")
    return f"\\{character}"


def _convert_class(pattern: str, at: int) -> tuple[str, int]:
    """Return a class as PostgreSQL writes it, and the offset after it. `at` is the offset after its bracket."""
    text, first = "[", True
    if pattern[at : at + 1] == "^":
        text, at = "[^", at + 1
    while at < len(pattern):
        character = pattern[at]
        if character == "]" and not first:
            return f"{text}]", at + 1
        if character == "\\":
            text += _convert_escape(pattern[at + 1 : at + 2], in_class=True)
            at += 2
        elif pattern.startswith("[:", at):
            named = re.compile(r"\[:[a-z]+:\]").match(pattern, at)
            if named is None or named[0] == "[:word:]":
                raise Unsupported("a class in a regular expression")
            text, at = text + named[0], named.end()
        else:
            text += f"\\{character}" if character in "[]" else character
            at += 1
        first = False
    raise Unsupported("a class without an end in a regular expression")


def convert_path_pattern(pattern: str) -> str:
    """Return the regular expression for a pattern of Go's path.Match. Raises `Unsupported` for classes."""
    if not pattern.isascii() or "[" in pattern or pattern.endswith("\\"):
        raise Unsupported("a class in a pattern of path_match")
    parts = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            parts.append(_escape(next(characters)))
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(character) or _escape(character))
    return f"^(?:{''.join(parts)})$"


def require_unambiguous(pattern: str) -> int:
    """Return the number of groups of a regular expression whose groups match the same text by either rule.

    RE2 prefers the first alternative and takes as much as it can from left to right. PostgreSQL takes the longest
    match. They agree without alternatives when each repetition ends at a character that it cannot take itself. Raises
    `Unsupported` for other patterns.
    """
    groups, at = 0, 0
    atoms: list[tuple[frozenset[str], bool]] = []  # the characters that an atom can be, and whether it is repeated
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("(?:", at):
            at += 3
        elif character == "(" and not pattern.startswith("(?", at):
            groups, at = groups + 1, at + 1
        elif character == ")":
            at += 1
            if _QUANTIFIER.match(pattern, at):
                raise Unsupported("capture with a repeated group")
        elif (character == "^" and at == 0) or (character == "$" and at == len(pattern) - 1):
            at += 1
        else:
            atom = _ATOM.match(pattern, at)
            if atom is None or atom[0] in ("\\b", "\\B") or "[:" in atom[0]:
                raise Unsupported("capture with this regular expression")
            test = re.compile(atom[0], re.ASCII)
            repeated = _QUANTIFIER.match(pattern, atom.end())
            at = repeated.end() if repeated is not None else atom.end()
            if repeated is not None and pattern.startswith("?", at):
                raise Unsupported("capture with a repetition that takes as little as it can")
            atoms.append((frozenset(filter(test.fullmatch, _SAMPLES)), repeated is not None))
    for place, (own, is_repeated) in enumerate(atoms):
        if not is_repeated:
            continue
        for following, can_be_absent in atoms[place + 1 :]:
            if own & following:
                raise Unsupported("capture where a repetition can end at several places")
            if not can_be_absent:
                break
    return groups
