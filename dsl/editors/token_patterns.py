"""Regular expressions for the kinds of tokens, for the Pygments lexer and the TextMate grammar.

They are built from the grammar's keywords and the declarations. Without a parser, each word gets its most frequent
kind. The interactive session uses the parser instead.
"""

from __future__ import annotations

import re

from imq.engine.actions import VERBS
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import TABLES
from imq.grammar._lalr_tables import WORDS

_WORD_START, _WORD_END = r"(?<![\w.:/@-])", r"(?![\w.:/@-])"


def _match_any(words: set[str], end: str = _WORD_END) -> str:
    return f"{_WORD_START}(?:{'|'.join(sorted(map(re.escape, words), key=lambda word: (-len(word), word)))}){end}"


_KEYWORDS = {word for word in WORDS if word.isalpha()} | {"union", "except", "intersect", "newest"}
PATTERNS = {
    "comment": r"#[^\n]*",
    "template": r"\{\{[^{}\n]*\}\}|<<[^<>\n]*>>",
    "string": r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'""",
    "variable": r"\$[^\W\d]\w*(?:\.\w+)*",
    "number": rf"{_WORD_START}\d+(?:\.\d+)?(?:[kKMGTP]?i?B|[a-z]+)?{_WORD_END}",
    "function": _match_any({*FUNCTIONS, *AGGREGATES}, r"(?=[ \t]*\()"),
    "verb": _match_any(set(VERBS)),
    "table": _match_any(set(TABLES)),
    "keyword": _match_any(_KEYWORDS - set(VERBS) - set(TABLES)),
    "operator": r"!=|<>|<=|>=|==|[=<>]",
}
"""The pattern of each kind. Earlier ones take precedence; all ignore case."""
