"""A context-dependent lexer: the terminals that the parser accepts decide how the next token is read.

A word is a keyword only where the grammar accepts it; elsewhere it is a name (left of an operator) or a value (right of
one). So `tag = latest`, `repository like team/*` and `created before 2 weeks ago` need no quotes.
"""

from __future__ import annotations

import re

from ._lalr_tables import WORDS
from .errors import Span, StatementError
from .record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping


class _LazyPattern:
    """A pattern that is compiled on first use: few statements need it, and compiling takes 0.2 ms."""

    __slots__ = ("_compiled", "_flags", "_source")

    def __init__(self, text: str, flags: int = 0) -> None:
        self._source = text
        self._flags = flags
        self._compiled: re.Pattern[str] | None = None

    @property
    def compiled(self) -> re.Pattern[str]:
        """The pattern, compiled."""
        if self._compiled is None:
            self._compiled = re.compile(self._source, self._flags)
        return self._compiled

    def match(self, text: str, at: int = 0) -> re.Match[str] | None:
        """Match at an offset of a text."""
        return self.compiled.match(text, at)


_SPACE = _LazyPattern(r"(?:[ \t\r\f\v\xa0\ufeff]|\\\r?\n|#[^\n]*)+")
_SPACE_STARTS = tuple("\t\r\f\v\xa0\ufeff\\#")
"""The characters, besides a plain space, that `_SPACE` may begin with."""
_BLANK_LINES = _LazyPattern(r"(?:[ \t\r\f\v\xa0\ufeff\n]|\\\r?\n|#[^\n]*)+")
_QUOTED = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'"""
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_NAME = rf"{_IDENTIFIER.pattern}(?:\.(?:[\w/-]+|{_QUOTED}))*"
_PATH = _LazyPattern(rf"\.{_NAME}")
_KEYS = _LazyPattern(rf"{_IDENTIFIER.pattern}(?:\.(?:\*|[\w/-]+|{_QUOTED}))*")
_DOTTED_NAME = _LazyPattern(_NAME)
_BRACES = r"\{\{[^{}\n]*\}\}|<<[^<>\n]*>>"  # no braces inside: unclosed ones would take quadratic time
_WORD = _LazyPattern(rf"(?:{_BRACES}|\[[^\]\s]*\]|[\w.:/@?*~^+&|{{}}\\-])+")
_QUANTITY = _LazyPattern(
    r"(\d+(?:\.\d+)?)[ \t]+((?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|bytes?|[kKMGTP]?i?B)(?!\w))",
    re.IGNORECASE,
)
_NAMED_TIME = _LazyPattern(
    r"(last|this)[ \t]+(week|month|year|(?:mon|tues|wednes|thurs|fri|satur|sun)day)(?![\w.:/@-])", re.IGNORECASE
)
"""A time of two words. Where it is `this monday`, the engine reports that no such time exists."""
_BEFORE_TIMES = frozenset({"TIME_OPERATOR", "COMPARISON", "EQUAL", "BETWEEN", "AND"})
"""Tokens that a time of two words may follow: elsewhere `last` and `week` are two words, as in `pull last, week`."""
_VARIABLE = _LazyPattern(r"\$[^\W\d]\w*(?:\.\w+)*")
_TEMPLATE = _LazyPattern(rf"(?:{_BRACES}|[^\n;])+")
_PERCENTAGE = _LazyPattern(r"\d+(?:\.\d+)?%")
_COMPARISON = _LazyPattern(r"!=|<>|<=|>=|==|[=<>]")
_ALL_TABLE = _LazyPattern(rf"all[ \t]+({_IDENTIFIER.pattern})(?=\s|[;)]|$)", re.IGNORECASE)
_AS_FORMAT = _LazyPattern(r"as\s+(\w+)(?![\w.:/@-]|[ \t]+on\b)", re.IGNORECASE)  # `as json on`: the name of a join
_EXCEPT_NEWEST = _LazyPattern(r"except\s+newest\b", re.IGNORECASE)
_WITH_ARCHIVES = _LazyPattern(r"with\s+archives\b", re.IGNORECASE)
_SKIP_EXISTING = _LazyPattern(r"skip\s+existing\b", re.IGNORECASE)
_CALL = _LazyPattern(r"[ \t]*\(")
_QUERY_CLAUSE = _LazyPattern(
    r"\s+(?:(?:where|of|all|group\s+by|having|order\s+by|limit|skip|except|until|when|select|count|union|intersect|"
    r"(?:(?:left|inner|full)\s+)?join)"
    r"(?![\w.:/@-])|in\s+(?!use\b)[^\s(])",
    re.IGNORECASE,
)
"""What can follow only the name of a table: it distinguishes `(images where …)` from a value or field `images`."""
_SEARCH_TERM = _LazyPattern(r"[ \t]+[\"'\w$]")
"""The search term after the name of a search table."""
_WHERE = _LazyPattern(r"\s+where(?![\w.:/@-])", re.IGNORECASE)
_CLOSING = _LazyPattern(r"\s*\)")
_IN_LIST = _LazyPattern(r"\bin\s*\(\s*\Z", re.IGNORECASE)
_SEGMENT = _LazyPattern(rf"{_QUOTED}|[^.]+")
_ESCAPED = _LazyPattern(r"\\(.)", re.DOTALL)
_SIGN_TERMINALS = {
    "+": "PLUS",
    "-": "MINUS",
    "*": "STAR",
    "/": "SLASH",
    "%": "PERCENT",
    "(": "LPAR",
    ")": "RPAR",
    ",": "COMMA",
}
_WORD_OPERATORS = frozenset({"like", "matches", "has"})
_TIME_OPERATORS = frozenset({"before", "after", "since", "within"})
_ENDS_OF_WORDS = frozenset({"TABLE", "SEARCH_TABLE", "LPAR"})
_NOT_ONLY_VALUES = frozenset({"NAME", "VERB", "TEMPLATE"})
_STATEMENT_KEYWORDS = frozenset({"explain", "dry", "set", "help", "let", "view", "use", "include", "on", "assert"})
_SET_OPERATORS = frozenset({"union", "except", "intersect"})
_RESERVED = frozenset({*WORDS, *_SET_OPERATORS, *_WORD_OPERATORS, *_TIME_OPERATORS, "as"})
"""Every word that is a keyword somewhere."""
_STRINGS = {quote: _LazyPattern(rf"{quote}[^{quote}\\]*(?:\\.[^{quote}\\]*)*{quote}", re.DOTALL) for quote in "\"'"}
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


def _match_name(text: str, at: int = 0) -> re.Match[str] | None:
    """Match a name at an offset: an identifier, and the dotted segments after it."""
    name = _IDENTIFIER.match(text, at)
    return _DOTTED_NAME.match(text, at) if name is not None and text.startswith(".", name.end()) else name


class Vocabulary(Record):
    """The words that the engine declares, in lower case: verbs, tables (and views), output formats.

    `search_tables` take a search term directly after their name, without `of`. `unsupported_verbs` fail, each with a
    reason. `destructive_verbs` are suggested for a misspelled word only when it is very close.
    """

    verbs: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    formats: frozenset[str] = frozenset()
    unsupported_verbs: tuple[tuple[str, str], ...] = ()
    search_tables: frozenset[str] = frozenset()
    destructive_verbs: frozenset[str] = frozenset()


class Token(Record):
    """One token: its terminal, its value (quotes and escapes resolved), and its span."""

    kind: str
    value: str
    span: Span


class Lexer:
    """Reads the tokens of one text.

    `atoms` maps starts to ends of ranges (command-line arguments with spaces) that are one value where only a value is
    valid. A quoted one is read as a string. `vocabulary` grows with the views that the text declares.
    """

    def __init__(self, text: str, vocabulary: Vocabulary, atoms: Mapping[int, int]) -> None:
        self._text = text
        self.vocabulary = vocabulary
        self._atoms = atoms
        self._offset = 0
        self._last_end = 0  # the position of errors about a missing end
        self._depth = 0
        self._lists_words = False  # after run: signs begin words there, as in `run alpine ls -l`
        self._last_kind = ""

    def next(self, accepts: Mapping[str, int]) -> Token:
        """Return the next token, given the terminals that the parser's state accepts; at the end, `$END`."""
        text = self._text
        while True:
            while text.startswith(" ", self._offset):
                self._offset += 1
            if text.startswith(_SPACE_STARTS, self._offset) and (space := _SPACE.match(text, self._offset)):
                self._offset = space.end()
            if self._offset >= len(text):
                return Token("$END", "", Span(self._last_end, self._last_end))
            start, char = self._offset, text[self._offset]
            if char == ";":
                self._offset = self._last_end = start + 1
                self._lists_words = False
                return Token("SEPARATOR", char, Span(start, self._offset))
            if char != "\n":
                token = self._read_token(char, accepts)
                self._last_end = token.span.end
                self._last_kind = token.kind
                if token.kind == "RUN" or (token.kind == "VERB" and token.value == "run"):
                    self._lists_words = True
                elif token.kind in _ENDS_OF_WORDS:
                    self._lists_words = False
                return token
            if lines := _BLANK_LINES.match(text, start):  # with the blank lines after it
                self._offset = lines.end()
            if "SEPARATOR" in accepts and not self._depth and not self._continues_statement(accepts):
                self._lists_words = False
                return Token("SEPARATOR", char, Span(start, start + 1))

    def _continues_statement(self, accepts: Mapping[str, int]) -> bool:
        """Whether the next line continues the statement: it begins with a keyword that is valid only here."""
        name = _match_name(self._text, self._offset)
        word = name[0].lower() if name else ""
        if not word or word in _STATEMENT_KEYWORDS:
            return False
        if word in self.vocabulary.verbs and WORDS.get(word) not in accepts:
            return False
        return (
            WORDS.get(word) in accepts
            or (word == "as" and "OUTPUT_FORMAT" in accepts)
            or (word == "skip" and "SKIP_EXISTING" in accepts)
            or (word == "with" and "WITH_ARCHIVES" in accepts)
            or (word in _WORD_OPERATORS and "WORD_OPERATOR" in accepts)
            or (word in _TIME_OPERATORS and "TIME_OPERATOR" in accepts)
            or (word in _SET_OPERATORS and ("SET_OPERATOR" in accepts or "EXCEPT_NEWEST" in accepts))
        )

    def _read_token(self, char: str, accepts: Mapping[str, int]) -> Token:
        text, start = self._text, self._offset
        if start in self._atoms and self._is_value_only(start, accepts):
            quoted = _STRINGS[char].match(text, start) if char in _STRINGS else None
            if quoted is None or quoted.end() != self._atoms[start]:
                self._offset = self._atoms[start]
                return Token("STRING", text[start : self._offset], Span(start, self._offset))
        if "TEMPLATE" in accepts and char not in "\"'":
            return self._take_match("TEMPLATE", _TEMPLATE.match(text, start), strip=True)
        if char in "\"'":
            return self._take_string(char)
        if char == "$" and (variable := _VARIABLE.match(text, start)):
            token = self._take_match("VARIABLE", variable)
            return token.replace(value=token.value[1:])
        if char == "." and "FIELD" in accepts and (path := _PATH.match(text, start)):
            return self._take_match("FIELD", path)
        sign = _SIGN_TERMINALS.get(char)
        is_sign = sign in accepts and not ("WORD" in accepts and (self._lists_words or char == "/"))  # `cat app:1 /etc`
        if sign is not None and (is_sign or "WORD" not in accepts or char in "(),"):
            self._depth += (char == "(") - (char == ")")
            self._offset += 1
            return Token(sign, char, Span(start, start + 1))
        if char in "=!<>" and not ("WORD" in accepts and text.startswith("<<", start)):
            comparison = _COMPARISON.match(text, start)
            if comparison:
                kind = "EQUAL" if "EQUAL" in accepts else "COMPARISON"
                token = self._take_match(kind, comparison)
                return token.replace(value={"==": "=", "<>": "!="}.get(token.value, token.value))
        if "PERCENTAGE" in accepts and (percentage := _PERCENTAGE.match(text, start)):
            return self._take_match("PERCENTAGE", percentage)
        name = _match_name(text, start)
        if name and (keyword := self._read_keyword(name, accepts)):
            return keyword
        if name and "NAME" in accepts:
            return self._take_match("NAME", name)
        if "KEYS" in accepts and (keys := _KEYS.match(text, start)):
            return self._take_match("KEYS", keys)
        if word := _WORD.match(text, start):
            quantity = _QUANTITY.match(text, start)
            if quantity and quantity.end() > word.end():
                token = self._take_match("WORD", quantity)
                return token.replace(value=f"{quantity[1]} {quantity[2]}")
            if self._last_kind in _BEFORE_TIMES and (named := _NAMED_TIME.match(text, start)):
                return self._take_match("WORD", named).replace(value=f"{named[1]} {named[2]}")
            return self._take_match("WORD", word)
        span = Span(start, start + 1)
        if "\ud800" <= char <= "\udfff":  # an invalid UTF-8 byte
            raise StatementError("invalid UTF-8", code="encoding", span=span)
        shown = repr(char) if char.isprintable() else f"character U+{ord(char):04X}"
        advice = 'quote strings with this character: "…"'
        raise StatementError(f"unexpected {shown}", span=span, hints=(advice,))

    def _is_value_only(self, at: int, accepts: Mapping[str, int]) -> bool:
        """Whether only a value is valid here: not after a verb, where `images where …` is a query."""
        if "STRING" not in accepts or accepts.keys() & _NOT_ONLY_VALUES:
            return False
        name = _match_name(self._text, at) if "TABLE" in accepts else None
        return name is None or name[0].lower() not in {*self.vocabulary.tables, "all"}

    def _read_keyword(self, name: re.Match[str], accepts: Mapping[str, int]) -> Token | None:
        """Return the keyword, function, verb or table at this position, if the parser accepts one."""
        text, lowered = self._text, name[0].lower()
        if "WORD" in accepts and "NAME" not in accepts:
            word = _WORD.match(text, name.start())
            if word and word.end() > name.end():
                return None  # a value that begins with a keyword: `as-built`, `in:1`
        if lowered == "as" and "OUTPUT_FORMAT" in accepts:
            output_format = _AS_FORMAT.match(text, name.start())
            if output_format and output_format[1].lower() in self.vocabulary.formats:
                token = self._take_match("OUTPUT_FORMAT", output_format)
                return token.replace(value=output_format[1].lower())
        if lowered == "all" and "TABLE" in accepts and "ALL" not in accepts and (both := self._match_all_table(name)):
            return both
        if lowered in _SET_OPERATORS:
            if "EXCEPT_NEWEST" in accepts and (except_newest := _EXCEPT_NEWEST.match(text, name.start())):
                return self._take_match("EXCEPT_NEWEST", except_newest).replace(value="except newest")
            if "SET_OPERATOR" in accepts:
                return self._take_word("SET_OPERATOR", name, lowered)
        if lowered == "skip" and "SKIP_EXISTING" in accepts and (existing := _SKIP_EXISTING.match(text, name.start())):
            return self._take_match("SKIP_EXISTING", existing)
        if lowered == "with" and "WITH_ARCHIVES" in accepts and (archives := _WITH_ARCHIVES.match(text, name.start())):
            return self._take_match("WITH_ARCHIVES", archives)
        kind = WORDS.get(lowered)
        if kind in accepts:
            return self._take_match(kind, name)
        for words, terminal in ((_WORD_OPERATORS, "WORD_OPERATOR"), (_TIME_OPERATORS, "TIME_OPERATOR")):
            if lowered in words and terminal in accepts:
                return self._take_word(terminal, name, lowered)
        if "FUNCTION" in accepts and _CALL.match(text, name.end()):
            return self._take_word("FUNCTION", name, lowered)
        if "VERB" in accepts and lowered in self.vocabulary.verbs:
            return self._take_word("VERB", name, lowered)
        if "SEARCH_TABLE" in accepts and lowered in self.vocabulary.search_tables and self._has_search_term(name.end()):
            return self._take_word("SEARCH_TABLE", name, lowered)
        if lowered == "container" and "CONTAINER" in accepts and self._has_search_term(name.end()):
            return self._take_match("CONTAINER", name)
        if "TABLE" in accepts and (
            self._is_table(name, accepts) if lowered in self.vocabulary.tables else self._is_relation(name, accepts)
        ):
            return self._take_word("TABLE", name, lowered)
        if "RELATION" in accepts:
            return self._take_match("RELATION", name)
        return None

    def _match_all_table(self, name: re.Match[str]) -> Token | None:
        """Return the table `all_files` for the words `all files`; None when no table has this name."""
        both = _ALL_TABLE.match(self._text, name.start())
        table = f"all_{both[1].lower()}" if both else ""
        return self._take_match("TABLE", both).replace(value=table) if table in self.vocabulary.tables else None

    def _is_table(self, name: re.Match[str], accepts: Mapping[str, int]) -> bool:
        """Whether the name of a table is a table here, where a field or a value is valid too."""
        if accepts.keys() & {"VERB", "ALL"} or not accepts.keys() & {"NAME", "WORD"}:
            return True
        if _QUERY_CLAUSE.match(self._text, name.end()):
            return True
        before = self._text[max(0, name.start() - 40) : name.start()]
        return _CLOSING.match(self._text, name.end()) is not None and _IN_LIST.compiled.search(before) is not None

    def _has_search_term(self, at: int) -> bool:
        """Whether a search term, or the name of a container, follows; a keyword must be quoted."""
        term = _SEARCH_TERM.match(self._text, at)
        word = _match_name(self._text, term.end() - 1) if term else None
        return term is not None and (word is None or word[0].lower() not in _RESERVED)

    def _is_relation(self, name: re.Match[str], accepts: Mapping[str, int]) -> bool:
        """Whether a name that is no table is a relation: `count(children where …)`."""
        inside = not accepts.keys() & {"VERB", "ALL"} and bool(accepts.keys() & {"NAME", "WORD"})
        return inside and _WHERE.match(self._text, name.end()) is not None

    def _take_match(self, kind: str | None, match: re.Match[str] | None, *, strip: bool = False) -> Token:
        assert kind is not None
        assert match is not None
        self._offset = match.end()
        value = match[0].rstrip() if strip else match[0]
        return Token(kind, value, Span(match.start(), match.start() + len(value)))

    def _take_word(self, kind: str, match: re.Match[str], value: str) -> Token:
        """Take a word with a normalized value."""
        self._offset = match.end()
        return Token(kind, value, Span(match.start(), match.end()))

    def _take_string(self, quote: str) -> Token:
        start = self._offset
        text = _STRINGS[quote].match(self._text, start)
        if text is None:
            raise StatementError(
                "the string has no closing quote",
                span=Span(start, start + 1),
                hints=(f"add {quote}",),
            )
        self._offset = text.end()
        return Token("STRING", _resolve_escapes(text[0][1:-1]), Span(start, self._offset))


def _resolve_escapes(text: str) -> str:
    """Resolve escapes. Unknown ones are kept, so that regular expressions and Windows paths need no doubling."""
    return _ESCAPED.compiled.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), text) if "\\" in text else text


def split_path(text: str) -> tuple[str, ...]:
    """Split the text of a NAME or FIELD token into segments, with quotes and escapes resolved."""
    segments = (match[0] for match in _SEGMENT.compiled.finditer(text))
    return tuple(_resolve_escapes(segment[1:-1]) if segment[0] in "\"'" else segment for segment in segments)


def is_bare_word(text: str) -> bool:
    """Whether `text` is one bare value where only a value is valid."""
    unit = _QUANTITY.compiled.fullmatch(text)
    if unit:
        return text == f"{unit[1]} {unit[2]}"
    word = _WORD.match(text)
    return word is not None and word.end() == len(text)


def is_named_time(text: str) -> bool:
    """Whether `text` is a time of two words, as the lexer reads it: `last week`."""
    match = _NAMED_TIME.match(text)
    return match is not None and match.end() == len(text) and text == f"{match[1]} {match[2]}"


def is_percentage(text: str) -> bool:
    """Whether `text` is a percentage: `80%`."""
    match = _PERCENTAGE.match(text)
    return match is not None and match.end() == len(text)


def begins_with_field(text: str) -> bool:
    """Whether `text` begins like a field, with or without a leading dot."""
    return _match_name(text) is not None or _PATH.match(text) is not None


def is_field_path(text: str) -> bool:
    """Whether `text` is a field name or path: `size`, `base.name`, `label.env`."""
    name = _match_name(text)
    return name is not None and name.end() == len(text)


def begins_query(text: str) -> bool:
    """Whether `text` begins like a query, if its first word is a table: `images of redis:7`, `images in $sources`."""
    name = _match_name(text)
    return name is not None and name[0].lower() not in WORDS and _QUERY_CLAUSE.match(text, name.end()) is not None
