"""Go's text/template with docker's functions, as in `docker --format`. Actions are in `{{ }}` or `<< >>`."""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .executor import execute, execute_in_pieces
from .functions import FUNCTIONS
from .lexer import find_text_spans
from .parser import parse
from .referenced_fields import find_direct_fields, find_read_fields
from .values import LENIENT, Heading, LookupRules

if TYPE_CHECKING:
    from collections.abc import Callable

    from .nodes import Tree

_TABLE_DIRECTIVE = "table"


class Piece(Record):
    """A piece of the output of a template: literal text, or the output of an action.

    `fields` are the only fields that the action reads; None: it may read anything.
    """

    text: str
    from_action: bool = False
    fields: frozenset[str] | None = frozenset()


class Template:
    """A parsed template, which can be rendered for any number of values."""

    __slots__ = ("tree",)

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    @classmethod
    def parse(cls, text: str) -> Template:
        """Return a parsed template. Raises `StatementError` (code `template`) with the position in the text."""
        try:
            return cls(parse(text, FUNCTIONS))
        except RecursionError:  # the caller has used most of Python's stack
            raise StatementError(
                "template parsing error: max expression depth exceeded", code="template", text=text
            ) from None

    @property
    def text(self) -> str:
        """The source text."""
        return self.tree.text

    def render(self, value: object, rules: LookupRules = LENIENT) -> str:
        r"""Return the output for a value, which is dot and `$`; see `values.py` for the kinds of values.

        Raises `StatementError` (code `template`) where Go's execution fails, and `UnknownName` (code `template-field`)
        for an unknown field of a record. Bytes that are not UTF-8 are surrogate escapes in the result: a character cut
        by `truncate`, or `"\xff"`. Encoded with `errors="surrogateescape"` they are the bytes that docker writes.
        """
        return execute(self.tree, value, rules)

    def render_pieces(self, value: object) -> list[Piece]:
        """Return the output of `render` as one piece for each literal text and each action."""
        return [
            Piece(text) if action is None else Piece(text, from_action=True, fields=find_direct_fields(action))
            for text, action in execute_in_pieces(self.tree, value)
        ]

    def render_heading(self, titles: Callable[[tuple[str, ...]], str]) -> str:
        """Return the heading row of a table: the template rendered with column titles instead of values."""
        return execute(self.tree, Heading((), titles))

    def find_fields(self) -> frozenset[tuple[str, ...]] | None:
        """Return the field paths that the template can read, each with everything below it; None for all fields.

        The first name of a path is in lower case, the others are as written.
        """
        return find_read_fields(self.tree)


def split_table_directive(text: str) -> tuple[bool, str]:
    """Split `table TEMPLATE`: return whether the directive is present, and the template without surrounding blanks."""
    rest = text[len(_TABLE_DIRECTIVE) :]
    if text.startswith(_TABLE_DIRECTIVE) and not rest[:1].isalnum():
        return True, rest.strip(" ")
    return False, text.strip(" ")


def expand_escapes(text: str) -> str:
    r"""Return a template with the escapes `\t` and `\n` outside of actions replaced by a tab and a line feed.

    An invalid template is returned unchanged; parsing it raises the error.
    """
    if "\\" not in text:
        return text
    try:
        spans = find_text_spans(text)
    except StatementError:
        return text
    parts: list[str] = []
    position = 0
    for start, end in spans:
        parts.append(text[position:start])
        parts.append(text[start:end].replace("\\t", "\t").replace("\\n", "\n"))
        position = end
    return "".join(parts)
