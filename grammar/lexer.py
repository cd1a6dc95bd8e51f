"""Text to tokens, one at a time, guided by what the parser can take next.

A word is a keyword only where the grammar could take it; else it is a name (left of an operator) or a value (right of
one). So `tag = latest`, `repository like team/*` and `created before 2 weeks ago` need no quotes.
"""

from __future__ import annotations

import re

from ._lalr_tables import WORDS
from .errors import Span, StatementError
from .record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Rare:
    """A pattern that is compiled when it is first looked for: few statements need it, and compiling takes 0.2 ms."""

    __slots__ = ("_flags", "_made", "_text")

    def __init__(self, text: str, flags: int = 0) -> None:
        self._text = text
        self._flags = flags
        self._made: re.Pattern[str] | None = None

    @property
    def made(self) -> re.Pattern[str]:
        """The pattern, compiled."""
        if self._made is None:
            self._made = re.compile(self._text, self._flags)
        return self._made

    def match(self, text: str, at: int = 0) -> re.Match[str] | None:
        """Match at a place of a text."""
        return self.made.match(text, at)


_SPACE = re.compile(r"(?:[ \t\r\f\v\xa0\ufeff]|\\\r?\n|#[^\n]*)+")
_LINES = _Rare(r"(?:[ \t\r\f\v\xa0\ufeff\n]|\\\r?\n|#[^\n]*)+")
_QUOTED = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'"""
_NAME = re.compile(rf"[^\W\d]\w*(?:\.(?:[\w/-]+|{_QUOTED}))*")
_PATH = _Rare(rf"\.{_NAME.pattern}")
_BRACES = r"\{\{[^{}\n]*\}\}|<<[^<>\n]*>>"  # no braces inside: what is never closed must not be searched for again
_WORD = re.compile(rf"(?:{_BRACES}|\[[^\]\s]*\]|[\w.:/@?*~^+&|{{}}\\-])+")
_UNIT = _Rare(
    r"(\d+(?:\.\d+)?)[ \t]+((?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|bytes?|[kKMGTP]?i?B)(?!\w))",
    re.IGNORECASE,
)
_VARIABLE = _Rare(r"\$[^\W\d]\w*(?:\.\w+)*")
_TEMPLATE = _Rare(rf"(?:{_BRACES}|[^\n;])+")
_COMPARISON = _Rare(r"!=|<>|<=|>=|==|[=<>]")
_FORM = _Rare(r"as\s+(\w+)(?![\w.:/@-])", re.IGNORECASE)
_SPARE = _Rare(r"except\s+newest\b", re.IGNORECASE)
_EXISTING = _Rare(r"skip\s+existing\b", re.IGNORECASE)
_CALLED = re.compile(r"[ \t]*\(")
_ASKED = _Rare(
    r"\s+(?:(?:where|of|all|group\s+by|having|order\s+by|limit|skip|except|until|select|count|union|intersect)"
    r"(?![\w.:/@-])|in\s+(?!use\b)[^\s(])",
    re.IGNORECASE,
)
"""What can follow the name of a table and nothing else: it tells `(images where …)` from a value or field so called."""
_SOUGHT = _Rare(r"[ \t]+[\"'\w$]")
"""What is searched for, behind the name of a table that is searched."""
_CHOSEN = _Rare(r"\s+where(?![\w.:/@-])", re.IGNORECASE)
_ALONE = _Rare(r"\s*\)")
_IN_LIST = _Rare(r"\bin\s*\(\s*\Z", re.IGNORECASE)
_SEGMENT = _Rare(rf"{_QUOTED}|[^.]+")
_ESCAPED = _Rare(r"\\(.)", re.DOTALL)
_SIGNS = {"+": "PLUS", "-": "MINUS", "*": "STAR", "/": "SLASH", "%": "PERCENT", "(": "LPAR", ")": "RPAR", ",": "COMMA"}
_WORDED = frozenset({"like", "matches", "has"})
_MOMENT = frozenset({"before", "after", "since", "within"})
_STARTS = frozenset({"NAME", "VERB", "TEMPLATE"})
_STARTERS = frozenset({"explain", "dry", "set", "help", "let", "view", "use", "include", "on", "assert"})
_SETS = frozenset({"union", "except", "intersect"})
_SAYING = frozenset({*WORDS, *_SETS, *_WORDED, *_MOMENT, "as"})
"""Every word that has a meaning of its own somewhere."""
_STRINGS = {quote: _Rare(rf"{quote}[^{quote}\\]*(?:\\.[^{quote}\\]*)*{quote}", re.DOTALL) for quote in "\"'"}
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


class Vocabulary(Record):
    """The words that the engine declares, in lower case: verbs, tables (and views), output forms.

    `searched` are tables that are searched for a word: it stands behind them, without `of`.
    `absent` are verbs of the language that cannot be done here, each with the reason.
    `destroying` are the verbs after which something is gone: a misspelled word is not readily taken for one of them.
    """

    verbs: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    forms: frozenset[str] = frozenset()
    absent: tuple[tuple[str, str], ...] = ()
    searched: frozenset[str] = frozenset()
    destroying: frozenset[str] = frozenset()


class Token(Record):
    """One token: its terminal, its value (quotes and escapes resolved), and its place."""

    kind: str
    value: str
    span: Span


class Lexer:
    """Hands out the tokens of one text.

    `wholes` maps starts to ends of stretches (arguments of a command line that hold blanks) that are one value where
    nothing but a value can stand. One that is a text in quotes means what is in them. `vocabulary` grows while a text
    is read, as views are named.
    """

    def __init__(self, text: str, vocabulary: Vocabulary, wholes: Mapping[int, int]) -> None:
        self._text = text
        self.vocabulary = vocabulary
        self._wholes = wholes
        self._at = 0
        self._ended = 0  # where the last token did: what is missing at the end is missing there
        self._depth = 0

    def next(self, accepts: Mapping[str, int]) -> Token:
        """Return the next token, given the terminals that the parser's state can take; at the end, `$END`."""
        text = self._text
        while True:
            space = _SPACE.match(text, self._at)
            if space:
                self._at = space.end()
            if self._at >= len(text):
                return Token("$END", "", Span(self._ended, self._ended))
            start, char = self._at, text[self._at]
            if char == ";":
                self._at = self._ended = start + 1
                return Token("SEP", char, Span(start, self._at))
            if char != "\n":
                token = self._token(char, accepts)
                self._ended = token.span.end
                return token
            if lines := _LINES.match(text, start):  # with the empty lines after it, each of which means nothing more
                self._at = lines.end()
            if "SEP" in accepts and not self._depth and not self._continues(accepts):
                return Token("SEP", char, Span(start, start + 1))

    def _continues(self, accepts: Mapping[str, int]) -> bool:
        """Whether the next line goes on with the statement: it begins with a keyword that only fits here."""
        name = _NAME.match(self._text, self._at)
        word = name[0].lower() if name else ""
        if not word or word in _STARTERS:
            return False
        if word in self.vocabulary.verbs and WORDS.get(word) not in accepts:
            return False
        return (
            WORDS.get(word) in accepts
            or (word == "as" and "FORM" in accepts)
            or (word == "skip" and "EXISTING" in accepts)
            or (word in _WORDED and "WORDED" in accepts)
            or (word in _MOMENT and "MOMENT" in accepts)
            or (word in _SETS and ("SETS" in accepts or "SPARE" in accepts))
        )

    def _token(self, char: str, accepts: Mapping[str, int]) -> Token:
        text, at = self._text, self._at
        if at in self._wholes and self._is_value(at, accepts):
            quoted = _STRINGS[char].match(text, at) if char in _STRINGS else None
            if quoted is None or quoted.end() != self._wholes[at]:
                self._at = self._wholes[at]
                return Token("STRING", text[at : self._at], Span(at, self._at))
        if "TEMPLATE" in accepts and char not in "\"'":
            return self._take("TEMPLATE", _TEMPLATE.match(text, at), strip=True)
        if char in "\"'":
            return self._string(char)
        if char == "$" and (variable := _VARIABLE.match(text, at)):
            token = self._take("VARIABLE", variable)
            return token.replace(value=token.value[1:])
        if char == "." and "FIELD" in accepts and (path := _PATH.match(text, at)):
            return self._take("FIELD", path)
        sign = _SIGNS.get(char)
        if sign is not None and (sign in accepts or "WORD" not in accepts or char in "(),"):
            self._depth += (char == "(") - (char == ")")
            self._at += 1
            return Token(sign, char, Span(at, at + 1))
        if char in "=!<>" and not ("WORD" in accepts and text.startswith("<<", at)):
            comparison = _COMPARISON.match(text, at)
            if comparison:
                kind = "EQUAL" if "EQUAL" in accepts else "COMPARISON"
                token = self._take(kind, comparison)
                return token.replace(value={"==": "=", "<>": "!="}.get(token.value, token.value))
        word = _WORD.match(text, at)
        name = _NAME.match(text, at)
        if name and (keyword := self._keyword(name, word, accepts)):
            return keyword
        if name and "NAME" in accepts:
            return self._take("NAME", name)
        if word:
            unit = _UNIT.match(text, at)
            if unit and unit.end() > word.end():
                token = self._take("WORD", unit)
                return token.replace(value=f"{unit[1]} {unit[2]}")
            return self._take("WORD", word)
        place = Span(at, at + 1)
        if "\ud800" <= char <= "\udfff":  # how a byte that is no UTF-8 was read
            raise StatementError("the text is not valid UTF-8 here", code="encoding", span=place)
        shown = repr(char) if char.isprintable() else f"the character U+{ord(char):04X}"
        advice = 'a text with such a character needs quotes: "…"'
        raise StatementError(f"{shown} cannot stand here", span=place, hints=(advice,))

    def _is_value(self, at: int, accepts: Mapping[str, int]) -> bool:
        """Whether what stands here can be nothing but a value: not `images where …` after a verb."""
        if "STRING" not in accepts or accepts.keys() & _STARTS:
            return False
        name = _NAME.match(self._text, at) if "TABLE" in accepts else None
        return name is None or name[0].lower() not in {*self.vocabulary.tables, "all"}

    def _keyword(self, name: re.Match[str], word: re.Match[str] | None, accepts: Mapping[str, int]) -> Token | None:
        """Return the keyword, function, verb or table that starts here, if one can be taken."""
        text, low = self._text, name[0].lower()
        called = _CALLED.match(text, name.end()) is not None
        if "WORD" in accepts and "NAME" not in accepts and word and word.end() > name.end():
            return None  # the word is longer than the name in it, and values are what is wanted: `as-built`, `in:1`
        if low == "as" and "FORM" in accepts:
            form = _FORM.match(text, name.start())
            if form and form[1].lower() in self.vocabulary.forms:
                token = self._take("FORM", form)
                return token.replace(value=form[1].lower())
        if low in _SETS:
            if "SPARE" in accepts and (spare := _SPARE.match(text, name.start())):
                return self._take("SPARE", spare).replace(value="except newest")
            if "SETS" in accepts:
                return self._word("SETS", name, low)
        if low == "skip" and "EXISTING" in accepts and (existing := _EXISTING.match(text, name.start())):
            return self._take("EXISTING", existing)
        kind = WORDS.get(low)
        if kind in accepts:
            return self._take(kind, name)
        for words, declared in ((_WORDED, "WORDED"), (_MOMENT, "MOMENT")):
            if low in words and declared in accepts:
                return self._word(declared, name, low)
        if called and "FUNCTION" in accepts:
            return self._word("FUNCTION", name, low)
        if "VERB" in accepts and low in self.vocabulary.verbs:
            return self._word("VERB", name, low)
        if "SEARCHED" in accepts and low in self.vocabulary.searched and self._seeks(name.end()):
            return self._word("SEARCHED", name, low)
        if "TABLE" in accepts and (
            self._asks(name, accepts) if low in self.vocabulary.tables else self._relates(name, accepts)
        ):
            return self._word("TABLE", name, low)
        if "RELATION" in accepts:
            return self._take("RELATION", name)
        return None

    def _asks(self, name: re.Match[str], accepts: Mapping[str, int]) -> bool:
        """Whether the name of a table is meant as one, where a field or a value could stand too."""
        if accepts.keys() & {"VERB", "ALL"} or not accepts.keys() & {"NAME", "WORD"}:
            return True
        if _ASKED.match(self._text, name.end()):
            return True
        before = self._text[max(0, name.start() - 40) : name.start()]
        return _ALONE.match(self._text, name.end()) is not None and _IN_LIST.made.search(before) is not None

    def _seeks(self, at: int) -> bool:
        """Whether a word to search for stands here; one that is a keyword has to be quoted."""
        sought = _SOUGHT.match(self._text, at)
        word = _NAME.match(self._text, sought.end() - 1) if sought else None
        return sought is not None and (word is None or word[0].lower() not in _SAYING)

    def _relates(self, name: re.Match[str], accepts: Mapping[str, int]) -> bool:
        """Whether a name that is no table is meant as a relation: `count(children where …)`."""
        inside = not accepts.keys() & {"VERB", "ALL"} and bool(accepts.keys() & {"NAME", "WORD"})
        return inside and _CHOSEN.match(self._text, name.end()) is not None

    def _take(self, kind: str | None, match: re.Match[str] | None, *, strip: bool = False) -> Token:
        assert kind is not None
        assert match is not None
        self._at = match.end()
        value = match[0].rstrip() if strip else match[0]
        return Token(kind, value, Span(match.start(), match.start() + len(value)))

    def _word(self, kind: str, match: re.Match[str], value: str) -> Token:
        """Take a word whose value is not how it was written."""
        self._at = match.end()
        return Token(kind, value, Span(match.start(), match.end()))

    def _string(self, quote: str) -> Token:
        start = self._at
        text = _STRINGS[quote].match(self._text, start)
        if text is None:
            raise StatementError(
                "the text that begins here has no closing quote",
                span=Span(start, start + 1),
                hints=(f"add {quote}",),
            )
        self._at = text.end()
        return Token("STRING", _unescaped(text[0][1:-1]), Span(start, self._at))


def _unescaped(text: str) -> str:
    """Resolve escapes. An unknown one stays as it is: regular expressions and Windows paths need nothing doubled."""
    return _ESCAPED.made.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), text) if "\\" in text else text


def split_path(text: str) -> tuple[str, ...]:
    """Part the text of a NAME or FIELD token into its segments, quotes and escapes resolved."""
    segments = (match[0] for match in _SEGMENT.made.finditer(text))
    return tuple(_unescaped(segment[1:-1]) if segment[0] in "\"'" else segment for segment in segments)


def is_word(text: str) -> bool:
    """Whether `text` is read as one bare value where nothing but a value is wanted."""
    unit = _UNIT.made.fullmatch(text)
    if unit:
        return text == f"{unit[1]} {unit[2]}"
    word = _WORD.match(text)
    return word is not None and word.end() == len(text)


def is_field(text: str) -> bool:
    """Whether `text` begins as the name of a field does, with or without a dot before it."""
    return _NAME.match(text) is not None or _PATH.match(text) is not None


def is_path(text: str) -> bool:
    """Whether `text` is the name or path of a field and nothing else: `size`, `base.name`, `label.env`."""
    name = _NAME.match(text)
    return name is not None and name.end() == len(text)


def asks(text: str) -> bool:
    """Whether `text` begins as a query does, if its first word is a table: `images of redis:7`, `images in $places`."""
    name = _NAME.match(text)
    return name is not None and name[0].lower() not in WORDS and _ASKED.match(text, name.end()) is not None
