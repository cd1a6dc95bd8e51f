"""What a statement that is wrong was probably meant to say, as the very sentence to write.

The ways in which people say it are declared in `ways`. Whoever asks checks the sentence, so that nothing is offered
that would be refused again.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from imq.grammar._tables import WORDS
from imq.grammar.printer import quote
from imq.grammar.record import TYPE_CHECKING

from .ways import LAST, WAYS, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import tzinfo

    from imq.grammar.errors import StatementError
    from imq.grammar.lexer import Vocabulary

    from .ways import Put

    Check = Callable[[str], StatementError | None]
    """Returns what is still wrong with a sentence."""

_LONGEST = 400
"""Characters of a statement that is worth guessing at."""
_ROUNDS = 6
_STEPS = ("syntax", "unknown-field", "unknown-name")
"""Codes of errors that may be one of several, each of which is to be mended."""
_NEVER_MEANT = ("let", "set", "use", "view")
"""Words that begin quite other statements: something that is spelled nearly so is none of them."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_HELD = re.compile("\ue000(\\d+)\ue001")
"""What stands for a quoted text while the words around it are looked at."""
_BEFORE = re.compile(r"\A(?:(?:dry run|explain) )+", re.IGNORECASE)
"""What may stand before any sentence."""

_A_FIELD = "to mean the field"
"""How the hint begins that a field was meant where a value stands."""
_CLOSE = re.compile(r'did you mean "([^"]+)"\?')


def meant(
    text: str,
    wholes: Mapping[int, int],
    error: StatementError,
    vocabulary: Vocabulary,
    check: Check,
    now: int,
    zone: tzinfo | None,
) -> str:
    """Return the nearest sentence that is right, for the one in a text that is wrong; empty when none is known.

    `wholes` are stretches of the text that are one value each; `check` says what is wrong with a sentence; `now` is in
    nanoseconds, for words like `today`.
    """
    said = _line(text, wholes, error)
    if not said or len(said) > _LONGEST or "\ue000" in said:
        return ""
    held: list[str] = []

    def hold(quoted: re.Match[str]) -> str:
        held.append(quoted[0])
        return f"\ue000{len(held) - 1}\ue001"

    words = Words(vocabulary)
    masked = " ".join(_QUOTED.sub(hold, said).split())
    asked = _BEFORE.sub("", masked)
    translated = masked.removesuffix(asked) + _translated(asked, words, _dates(now, zone), held)
    for start in dict.fromkeys((translated, masked)):
        if found := _mended(start, words, held, check):
            return found if found != said and found.isprintable() else ""
    return ""


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


def _translated(said: str, words: Words, dates: Mapping[str, str], held: list[str]) -> str:
    """Return the sentence in the language's words, as far as they are known to be meant."""
    for _ in range(_ROUNDS):
        before = said
        for pattern, put in WAYS:
            said = _changed(words.pattern(pattern), put, said, dates, held).strip()
        if said == before:
            break
    return said


def _changed(
    pattern: re.Pattern[str],
    put: Put,
    said: str,
    dates: Mapping[str, str],
    held: list[str],
) -> str:
    """Return a sentence with what is found in it said in another way."""
    return pattern.sub(lambda found: _put(found, put, dates, held), said)


def _put(found: re.Match[str], put: Put, dates: Mapping[str, str], held: list[str]) -> str:
    """Return what stands instead of what was found."""
    text = found.expand(put) if isinstance(put, str) else put(found)
    text = re.sub(r"<(TODAY|YESTERDAY)>", lambda day: dates[day[1]], text)

    def globbed(part: re.Match[str]) -> str:
        return quote(_plain(part[1], held).replace("%", "*"))

    return re.sub("«(.*?)»", globbed, text)


def _plain(text: str, held: list[str]) -> str:
    """Return a text with what is held as it is between its quotes."""
    return _HELD.sub(lambda at: held[int(at[1])][1:-1], text)


def _whole(text: str, held: list[str]) -> str:
    return _HELD.sub(lambda at: held[int(at[1])], text)


def _dates(now: int, zone: tzinfo | None) -> dict[str, str]:
    moment = datetime.fromtimestamp(now // 1_000_000_000, UTC)
    today = (moment.astimezone(zone) if zone is not None else moment.astimezone()).date()
    return {"TODAY": today.isoformat(), "YESTERDAY": (today - timedelta(days=1)).isoformat()}


def _mended(said: str, words: Words, held: list[str], check: Check) -> str:
    """Return the sentence with what is missing put where an error is; an empty text when that does not help."""
    for _ in range(_ROUNDS):
        whole = _whole(said, held)
        error = check(whole)
        if error is None:
            return whole
        if error.span is None:
            return ""
        said = _better(said, error, words, held, check)
        if not said:
            return ""
    return ""


def _better(said: str, error: StatementError, words: Words, held: list[str], check: Check) -> str:
    """Return a sentence that is right, or wrong only further on; an empty text when none is known."""
    whole = _whole(said, held)
    assert error.span is not None
    start, end = error.span.start, error.span.end
    before, found = whole[:start], whole[start:end]
    tries = []
    if error.code == "syntax":
        tries = [f"{before}{word} {whole[start:]}" for word in _missing(before, words)] if found else []
        if not found and whole.count("(") > whole.count(")"):
            tries = [f"{whole})"]
    if error.hints and error.hints[0].startswith(_A_FIELD):
        tries.append(f"{before}.{found}{whole[end:]}")
    close = _CLOSE.match(error.hints[0]) if error.hints else None
    if close and found and " " not in found and close[1] not in _NEVER_MEANT:
        tries.insert(0, f"{before}{close[1]}{whole[end:]}")
    for code, pattern, put in LAST:
        if error.code != code or not found or found.lower() in WORDS:
            continue
        changed = _changed(words.pattern(pattern), put, said, {}, held)
        if changed != said:
            tries.append(_whole(changed, held))
    further: list[tuple[int, str]] = []
    for tried in tries:
        wrong = check(tried)
        if wrong is None:
            return tried
        if wrong.code in _STEPS and wrong.span is not None and len(tried) - wrong.span.start < len(whole) - start:
            further.append((len(tried) - wrong.span.start, tried))
    return min(further, default=(0, ""))[1]


def _missing(before: str, words: Words) -> tuple[str, ...]:
    """Return the words that may have been left out behind the beginning of a sentence."""
    if words.pattern(r"\b<TABLE> $").search(before):
        return ("where", "of", "in")
    if words.pattern(r"\b<TABLE> (?:of|in) <VALUE> $").search(before):
        return ("where",)
    return ("=",) if words.pattern(r"\bwhere\b.*\b<FIELD> $").search(before) else ()
