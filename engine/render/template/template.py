"""Go's text/template over data, as `docker --format` has it, with docker's functions; actions in `{{ }}` or `<< >>`."""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .executor import execute, execute_in_pieces
from .fields_read import find_direct_fields, find_read_fields
from .functions import FUNCTIONS
from .lexer import find_text_spans
from .parser import parse
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
        except RecursionError:  # called with little of Python's stack left
            raise StatementError(
                "template parsing error: max expression depth exceeded", code="template", text=text
            ) from None

    @property
    def text(self) -> str:
        """The source text."""
        return self.tree.text

    def render(self, value: object, rules: LookupRules = LENIENT) -> str:
        r"""Return the text for a value, which is dot and `$`; `template_values` says which values there are.

        Raises StatementError (code `template`) where Go's execution fails, UnknownName (code `template-field`) for a
        field that a record does not have. Bytes that are not UTF-8 (a character cut by `truncate`, `"\xff"`) stand in
        the answer as surrogate escapes: written with `errors="surrogateescape"` they are the bytes docker writes.
        """
        return execute(self.tree, value, rules)

    def render_pieces(self, value: object) -> list[Piece]:
        """Return the output of `render` in pieces, by the part of the template that wrote them."""
        return [
            Piece(text) if action is None else Piece(text, from_action=True, fields=find_direct_fields(action))
            for text, action in execute_in_pieces(self.tree, value)
        ]

    def render_heading(self, titles: Callable[[tuple[str, ...]], str]) -> str:
        """Return the heading row of a table: the template with the titles of fields in place of their values."""
        return execute(self.tree, Heading((), titles))

    def find_fields(self) -> frozenset[tuple[str, ...]] | None:
        """Return the field paths which the template can read, each standing for all below it; None for everything.

        The first name of a path is in lower case, the others are as written.
        """
        return find_read_fields(self.tree)


def split_table_directive(text: str) -> tuple[bool, str]:
    """Part `table TEMPLATE` into whether it asks for a table and the template, without the blanks around it."""
    rest = text[len(_TABLE_DIRECTIVE) :]
    if text.startswith(_TABLE_DIRECTIVE) and not rest[:1].isalnum():
        return True, rest.strip(" ")
    return False, text.strip(" ")


def expand_escapes(text: str) -> str:
    r"""Return a template in which the two characters `\t` and `\n`, outside of actions, are a tab and a line's end.

    A text that is not a template comes back as it is: parsing it will say why.
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
