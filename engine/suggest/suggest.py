"""Suggests a correct statement for one that failed.

Docker commands and SQL are translated (`rules.py`), typos are replaced by the closest word, and missing keywords are
inserted. Every suggestion is checked, so that no suggestion fails again.

A suggestion for an action never selects more rows: a word is inserted only where one word alone is possible.
"""

from __future__ import annotations

import re

from imq.engine.catalog.tables import TABLES, TargetKind
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import quote

from .rules import STRING_MARKS, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imq.grammar.errors import StatementError
    from imq.grammar.lexer import Vocabulary

    Check = Callable[[str], StatementError | None]
    """Returns the error of a statement, None for a correct one."""

_MAX_LENGTH = 400
"""Maximum length of a statement that gets a suggestion, in characters."""
_MAX_ROUNDS = 6
_REPAIRABLE_CODES = ("syntax", "unknown-field", "unknown-name", "glob", "type")
"""Codes of errors after which the repair continues."""
_NEVER_SUGGESTED = ("let", "set", "use", "view")
"""Keywords of other kinds of statements, which a typo never means."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_QUOTED_PART = re.compile(r"(\s(?:contains|(?:start|begin|end)s?\s+with)\s+)(['\"])([\w./:@-]+)\2", re.IGNORECASE)
"""A part of a string that needs no quotes; a rule makes a glob of it."""
_MASKED_STRING = re.compile(f"{STRING_MARKS[0]}(\\d+){STRING_MARKS[1]}")
_STATEMENT_PREFIX = re.compile(r"\A(?:(?:dry run|explain) )+", re.IGNORECASE)
"""Prefixes that any statement may have."""
_REQUIRED_NEXT_WORDS = {"order": "by", "group": "by", "older": "than", "newer": "than"}
"""Keywords that another keyword must follow."""
_CLOSE_HINT = re.compile(r'did you mean "([^"]+)"\?')


def suggest(text: str, atoms: Mapping[int, int], error: StatementError, vocabulary: Vocabulary, check: Check) -> str:
    """Return the closest correct statement for the one that failed; "" without a suggestion.

    `atoms` maps the start of each value that is one atom to its end. `check` returns the error of a statement.
    """
    sentence = _extract_line(text, atoms, error)
    if not sentence or len(sentence) > _MAX_LENGTH or STRING_MARKS[0] in sentence:
        return ""
    strings: list[str] = []

    def mask_string(quoted: re.Match[str]) -> str:
        strings.append(quoted[0])
        return f"{STRING_MARKS[0]}{len(strings) - 1}{STRING_MARKS[1]}"

    if error.replacement and error.code == "operand" and error.span is not None and text.strip() == sentence:
        replaced = text[: error.span.start] + error.replacement + text[error.span.end :]
        if check(replaced) is None:
            return replaced.strip()
    masked = " ".join(_QUOTED.sub(mask_string, _QUOTED_PART.sub(r"\1\3", sentence)).split())
    statement = _STATEMENT_PREFIX.sub("", masked)
    prefix = masked.removesuffix(statement)
    translated = statement
    for is_action in (True, False):  # first the translations that are exact, as an action needs; a query allows more
        translated = translate(statement, vocabulary, is_action=is_action)
        if is_action and _may_be_action(translated, vocabulary):
            break
    for start in dict.fromkeys((prefix + translated, masked)):
        candidate = _MASKED_STRING.sub(lambda at: strings[int(at[1])], start)
        if repaired := _repair(candidate, vocabulary, check):
            is_same = repaired.split() == sentence.split()
            return repaired if not is_same and repaired.isprintable() else ""
    return ""


def _may_be_action(sentence: str, vocabulary: Vocabulary) -> bool:
    """Return whether a statement is an action, or may be one because it does not begin like a query."""
    first = _STATEMENT_PREFIX.sub("", sentence).partition(" ")[0].lower()
    is_query = first in vocabulary.tables or first in ("assert", "nonempty", "select") or first.startswith("(")
    return not is_query


def _extract_line(text: str, atoms: Mapping[int, int], error: StatementError) -> str:
    """Return the statement with the error, up to the separators around it, with quotes around each atom."""
    position = error.span.start if error.span is not None else 0
    start = max(text.rfind(sign, 0, position) for sign in ";\n") + 1
    end = min((at for sign in ";\n" if (at := text.find(sign, position)) >= 0), default=len(text))
    parts, at = [], start
    for begin in sorted(atom for atom in atoms if start <= atom < end):
        parts += [text[at:begin], quote(text[begin : atoms[begin]])]
        at = atoms[begin]
    return "".join([*parts, text[at:end]]).strip()


def _repair(sentence: str, vocabulary: Vocabulary, check: Check) -> str:
    """Return the statement with every error repaired; "" when that is not possible."""
    for _ in range(_MAX_ROUNDS):
        error = check(sentence)
        if error is None:
            return sentence
        if error.span is None:
            return ""
        sentence = _find_better(sentence, error, vocabulary, check)
        if not sentence:
            return ""
    return ""


def _find_better(sentence: str, error: StatementError, vocabulary: Vocabulary, check: Check) -> str:
    """Return a statement that is correct, or whose error is further on; "" for none."""
    assert error.span is not None
    start, end = error.span.start, error.span.end
    prefix, wrong_text, after = sentence[:start], sentence[start:end], sentence[end:]
    is_action = _may_be_action(sentence, vocabulary)
    candidates = []
    close_match = _CLOSE_HINT.match(error.hints[0]) if error.hints else None
    if close_match and wrong_text and " " not in wrong_text and close_match[1] not in _NEVER_SUGGESTED:
        corrected = f"{prefix}{close_match[1]}{after}"
        candidates += [corrected] if prefix else [translate(corrected, vocabulary, is_action=True), corrected]
    if error.replacement and not (is_action and error.replacement.startswith("not ")):
        candidates.append(f"{prefix}{error.replacement}{after}")
    if error.code == "syntax":
        missing = _find_missing_words(prefix, wrong_text, vocabulary, is_action=is_action) if wrong_text else ()
        candidates += [f"{prefix}{word} {sentence[start:]}" for word in missing]
        if not is_action:
            candidates += _rearrange(sentence, start, end)
    partial: list[tuple[int, str]] = []
    for candidate in candidates:
        remaining_error = check(candidate)
        if remaining_error is None:
            return candidate
        if (
            remaining_error.code in _REPAIRABLE_CODES
            and remaining_error.span is not None
            and len(candidate) - remaining_error.span.start < len(sentence) - start
        ):
            partial.append((len(candidate) - remaining_error.span.start, candidate))
    return min(partial, default=(0, ""))[1]


def _find_missing_words(prefix: str, wrong_text: str, vocabulary: Vocabulary, *, is_action: bool) -> tuple[str, ...]:
    """Return the keywords that may be missing between the start of a statement and the unexpected word."""
    words = _STATEMENT_PREFIX.sub("", prefix).lower().split()
    last = words[-1] if words else ""
    if table := TABLES.get(last):
        takes_target, takes_source = table.target is not TargetKind.NOTHING, table.target is not TargetKind.FILE
        return (
            "where",
            *(("of",) if takes_target else ()),
            *(("in",) if takes_source and not is_action else ()),
            *(() if is_action else ("as",)),
        )
    if len(words) > 2 and words[-2] in ("of", "in") and words[-3] in vocabulary.tables:
        return ("where",)
    if last in _REQUIRED_NEXT_WORDS:
        return (_REQUIRED_NEXT_WORDS[last],)
    return ("=",) if "where" in words and not is_action and not wrong_text.isalpha() else ()


def _rearrange(sentence: str, start: int, end: int) -> list[str]:
    """Return variants of a query: with a missing parenthesis or comma, or with the output format at the end."""
    candidates = []
    if start == end and sentence.count("(") > sentence.count(")"):
        candidates.append(f"{sentence})")
    if re.search(r"\bselect\b[^()]*\Z", sentence[:start], re.IGNORECASE):
        candidates.append(f"{sentence[:start].rstrip()}, {sentence[start:]}")
    if format_clause := re.search(r" as \w+\s*\Z", sentence[:start], re.IGNORECASE):
        candidates.append(f"{sentence[: format_clause.start()]} {sentence[start:]} {format_clause[0].strip()}")
    return candidates
