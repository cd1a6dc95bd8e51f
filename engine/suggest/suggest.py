"""What a statement that is wrong was probably meant to say, as the very sentence to write.

What docker and SQL say otherwise is translated (`ways`), a word that is nearly one of the language is taken for that,
and a word that the grammar wants is put where it is missing. Each sentence is checked, so that nothing is offered that
would be refused again.

What is proposed for an action finds no row that was not meant: there a word is put only where one alone can be meant.
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
    """Returns what is still wrong with a sentence."""

_LONGEST = 400
"""Characters of a statement that is worth guessing at."""
_ROUNDS = 6
_STEPS = ("syntax", "unknown-field", "unknown-name", "glob", "type")
"""Codes of errors that may be one of several, each of which is to be mended."""
_NEVER_MEANT = ("let", "set", "use", "view")
"""Words that begin quite other statements: something that is spelled nearly so is none of them."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_HELD = re.compile(f"{STRING_MARKS[0]}(\\d+){STRING_MARKS[1]}")
_BEFORE = re.compile(r"\A(?:(?:dry run|explain) )+", re.IGNORECASE)
"""What may stand before any sentence."""
_FOLLOWED = {"order": "by", "group": "by", "older": "than", "newer": "than"}
"""Words of the language that another one always follows."""
_CLOSE = re.compile(r'did you mean "([^"]+)"\?')


def suggest(text: str, atoms: Mapping[int, int], error: StatementError, vocabulary: Vocabulary, check: Check) -> str:
    """Return the nearest sentence that is right, for the one in a text that is wrong; empty when none is known.

    `wholes` are stretches of the text that are one value each; `check` says what is wrong with a sentence.
    """
    said = _line(text, atoms, error)
    if not said or len(said) > _LONGEST or STRING_MARKS[0] in said:
        return ""
    held: list[str] = []

    def hold(quoted: re.Match[str]) -> str:
        held.append(quoted[0])
        return f"{STRING_MARKS[0]}{len(held) - 1}{STRING_MARKS[1]}"

    if error.replacement and error.code == "operand" and error.span is not None and text.strip() == said:
        replaced = text[: error.span.start] + error.replacement + text[error.span.end :]
        if check(replaced) is None:
            return replaced.strip()
    masked = " ".join(_QUOTED.sub(hold, said).split())
    asked = _BEFORE.sub("", masked)
    before = masked.removesuffix(asked)
    translated = asked
    for acts in (True, False):  # first what means the same in an action too; a question may be read more freely
        translated = translate(asked, vocabulary, is_action=acts)
        if acts and _acts(translated, vocabulary):
            break
    for start in dict.fromkeys((before + translated, masked)):
        whole = _HELD.sub(lambda at: held[int(at[1])], start)
        if found := _mended(whole, vocabulary, check):
            return found if found != said and found.isprintable() else ""
    return ""


def _acts(said: str, vocabulary: Vocabulary) -> bool:
    """Whether a sentence acts, or does not begin as a question does: it might be an action then."""
    first = _BEFORE.sub("", said).partition(" ")[0].lower()
    asks = first in vocabulary.tables or first in ("assert", "nonempty", "select") or first.startswith("(")
    return not asks


def _line(text: str, wholes: Mapping[int, int], error: StatementError) -> str:
    """Return the line that an error is in, with quotes around what is one value; a text is cut between statements."""
    place = error.span.start if error.span is not None else 0
    start = max(text.rfind(sign, 0, place) for sign in ";\n") + 1
    end = min((at for sign in ";\n" if (at := text.find(sign, place)) >= 0), default=len(text))
    parts, at = [], start
    for begin in sorted(one for one in wholes if start <= one < end):
        parts += [text[at:begin], quote(text[begin : wholes[begin]])]
        at = wholes[begin]
    return "".join([*parts, text[at:end]]).strip()


def _mended(said: str, vocabulary: Vocabulary, check: Check) -> str:
    """Return the sentence with what is wrong or missing mended where an error is; empty when that does not help."""
    for _ in range(_ROUNDS):
        error = check(said)
        if error is None:
            return said
        if error.span is None:
            return ""
        said = _better(said, error, vocabulary, check)
        if not said:
            return ""
    return ""


def _better(said: str, error: StatementError, vocabulary: Vocabulary, check: Check) -> str:
    """Return a sentence that is right, or wrong only further on; an empty text when none is known."""
    assert error.span is not None
    start, end = error.span.start, error.span.end
    before, found, after = said[:start], said[start:end], said[end:]
    acts = _acts(said, vocabulary)
    tries = []
    close = _CLOSE.match(error.hints[0]) if error.hints else None
    if close and found and " " not in found and close[1] not in _NEVER_MEANT:
        mended = f"{before}{close[1]}{after}"
        tries += [mended] if before else [translate(mended, vocabulary, is_action=True), mended]
    if error.replacement and not (acts and error.replacement.startswith("not ")):
        tries.append(f"{before}{error.replacement}{after}")
    if error.code == "syntax":
        missing = _missing(before, found, vocabulary, acts=acts) if found else ()
        tries += [f"{before}{word} {said[start:]}" for word in missing]
        if not acts:
            tries += _rearranged(said, start, end)
    further: list[tuple[int, str]] = []
    for tried in tries:
        wrong = check(tried)
        if wrong is None:
            return tried
        if wrong.code in _STEPS and wrong.span is not None and len(tried) - wrong.span.start < len(said) - start:
            further.append((len(tried) - wrong.span.start, tried))
    return min(further, default=(0, ""))[1]


def _missing(before: str, found: str, vocabulary: Vocabulary, *, acts: bool) -> tuple[str, ...]:
    """Return the words that may have been left out between the beginning of a sentence and what was found there."""
    words = _BEFORE.sub("", before).lower().split()
    last = words[-1] if words else ""
    if table := TABLES.get(last):
        of, place = table.target is not TargetKind.NOTHING, table.target is not TargetKind.FILE
        return ("where", *(("of",) if of else ()), *(("in",) if place and not acts else ()), *(() if acts else ("as",)))
    if len(words) > 2 and words[-2] in ("of", "in") and words[-3] in vocabulary.tables:
        return ("where",)
    if last in _FOLLOWED:
        return (_FOLLOWED[last],)
    return ("=",) if "where" in words and not acts and not found.isalpha() else ()


def _rearranged(said: str, start: int, end: int) -> list[str]:
    """Return a question with what stands in another place, or is missing there: a parenthesis, a comma, the form."""
    tries = []
    if start == end and said.count("(") > said.count(")"):
        tries.append(f"{said})")
    if re.search(r"\bselect\b[^()]*\Z", said[:start], re.IGNORECASE):
        tries.append(f"{said[:start].rstrip()}, {said[start:]}")
    if form := re.search(r" as \w+\s*\Z", said[:start], re.IGNORECASE):
        tries.append(f"{said[: form.start()]} {said[start:]} {form[0].strip()}")
    return tries
