"""The language as editors and highlighters see it: kinds of words, each with the expression that finds it.

Made from the grammar's keywords and the declarations, for the Pygments lexer and the TextMate grammar. They take no
statement apart, so a word is what it mostly is: the interactive session, which asks the parser, knows better.
"""

from __future__ import annotations

import re

from imq.engine.actions import VERBS
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import TABLES
from imq.grammar._lalr_tables import WORDS

_WORD_START, _WORD_END = r"(?<![\w.:/@-])", r"(?![\w.:/@-])"


def _match_any(words: set[str], behind: str = _WORD_END) -> str:
    return f"{_WORD_START}(?:{'|'.join(sorted(map(re.escape, words), key=lambda word: (-len(word), word)))}){behind}"


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
"""What each kind is found by, the earlier ones first; all without regard to case."""
