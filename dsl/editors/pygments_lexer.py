"""A lexer for Pygments, which finds it by its entry point: `pygmentize -l imq script.imq`.

imq does not require Pygments: only Pygments imports this module.
"""

from __future__ import annotations

import re

from pygments.lexer import RegexLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text, Whitespace

from .token_patterns import PATTERNS

_TOKENS = {
    "comment": Comment.Single,
    "template": String.Interpol,
    "string": String,
    "variable": Name.Variable,
    "number": Number,
    "function": Name.Function,
    "verb": Keyword.Declaration,
    "table": Name.Class,
    "keyword": Keyword,
    "operator": Operator,
}


class ImqLexer(RegexLexer):  # type: ignore[misc] # Pygments has no types
    """Statements and scripts of imq."""

    name = "imq"
    aliases = ("imq",)
    filenames = ("*.imq",)
    flags = re.IGNORECASE
    tokens = {  # noqa: RUF012 - an attribute of Pygments' interface
        "root": [
            (r"\s+", Whitespace),
            *((pattern, _TOKENS[kind]) for kind, pattern in PATTERNS.items()),
            (r"[(),;]", Punctuation),
            (r"[^\W\d]\w*(?![\w.:/@-])", Name),
            (r"[\w.:/@?*~^+&|\\-]+", Text),
            (r".", Text),
        ]
    }
