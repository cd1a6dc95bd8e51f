"""The inside of actions: tokens to pipelines, commands and operands."""

from __future__ import annotations

from imq.grammar.errors import Span, nearest
from imq.grammar.record import TYPE_CHECKING

from .lexer import fail, scan
from .literals import read_character, read_number, read_string
from .nodes import Chain, Command, Dot, Field, Function, Literal, Nil, Pipeline, Variable

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn

    from .lexer import Token
    from .nodes import Operand

DEEPEST = 80  # blocks and parentheses within each other; each level costs some frames of Python's stack
_OPERANDS = frozenset({"word", "dot", "field", "variable", "number", "string", "raw string", "character", "("})
_SHOWN = 10  # characters of an unexpected token that a message quotes


class Pipelines:
    """Recursive descent over the tokens of actions; every method leaves `position` behind what it read."""

    def __init__(self, text: str, functions: Collection[str]) -> None:
        self.text = text
        self.functions = functions
        self.tokens = scan(text)
        self.tokens.append(("end", "EOF", len(text), len(text)))
        self.position = 0
        self.depth = 0
        self.visible = {"$": 1}
        self.declared = ["$"]

    # ---- tokens

    def peek(self) -> Token:
        """Look at the next token."""
        return self.tokens[self.position]

    def next(self) -> Token:
        """Take the next token; the end of the text can be taken again and again."""
        token = self.tokens[self.position]
        if token[0] != "end":
            self.position += 1
        return token

    def peek_solid(self) -> Token:
        """Look at the next token that is no white space."""
        if self.tokens[self.position][0] == "space":
            self.position += 1
        return self.tokens[self.position]

    def next_solid(self) -> Token:
        """Take the next token that is no white space."""
        self.peek_solid()
        return self.next()

    def fail(self, message: str, token: Token) -> NoReturn:
        """Raise an error at a token."""
        fail(message, self.text, token[2], token[3])

    def unexpected(self, token: Token, context: str) -> NoReturn:
        """Raise the error of a token which cannot stand here."""
        kind, written = token[0], token[1]
        if kind == "end":
            shown = "EOF"
        elif kind == "right":
            self.fail(f"unexpected end of action in {context}", token)
        elif kind in {"keyword", "dot"}:
            shown = f"<{written}>"
        else:
            printable = "".join(c if c.isprintable() else " " for c in written[:_SHOWN])
            shown = f'"{printable}"' + ("..." if len(written) > _SHOWN else "")
        self.fail(f"unexpected {shown}" + (f" in {context}" if kind != "end" else ""), token)

    def expect_right(self, context: str) -> None:
        """Take the right delimiter, which must be next."""
        token = self.next_solid()
        if token[0] != "right":
            self.unexpected(token, context)

    def enter(self, token: Token) -> None:
        """Go one level deeper; the caller comes back up by `depth -= 1`."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"max expression depth exceeded: at most {DEEPEST} levels of blocks and parentheses", token)

    # ---- scopes

    def declare(self, name: str) -> None:
        """Make a variable visible up to the end of its block."""
        self.declared.append(name)
        self.visible[name] = self.visible.get(name, 0) + 1

    def leave(self, mark: int) -> None:
        """Forget the variables declared since `declared` had this length."""
        for name in self.declared[mark:]:
            self.visible[name] -= 1
        del self.declared[mark:]

    # ---- pipelines

    def pipeline(self, context: str, opener: Token, closer: str = "right") -> Pipeline:
        """Read a pipeline and the delimiter or parenthesis that ends it."""
        start = self.peek_solid()[2]
        names, assigns = self.targets(context)
        commands: list[Command] = []
        while True:
            token = self.peek_solid()
            if token[0] == closer:
                self.next()
                break
            if token[0] not in _OPERANDS and token[1] != "nil":
                self.unexpected(token, context)
            command = self.command()
            if commands and isinstance(command.operands[0], (Literal, Dot, Nil)):
                place = command.operands[0].span
                fail(f"non executable command in pipeline stage {len(commands) + 1}", self.text, place.start, place.end)
            commands.append(command)
        if not commands:
            self.fail(f"missing value for {context}", opener)
        for name in names:
            if not assigns:
                self.declare(name)
        return Pipeline(Span(start, commands[-1].span.end), tuple(commands), names, assigns)

    def targets(self, context: str) -> tuple[tuple[str, ...], bool]:
        """Read `$x :=`, `$x =` or, in a range, `$i, $x :=` when one stands here."""
        names: list[str] = []
        while self.peek_solid()[0] == "variable":
            mark, token = self.position, self.next()
            after = self.peek_solid()
            if after[0] in {":=", "="}:
                self.next()
                names.append(token[1])
                if after[0] == "=":
                    for name in names:
                        self.check_variable(name, token)
                return tuple(names), after[0] == "="
            if after[1] != ",":
                self.position = mark
                break
            self.next()
            names.append(token[1])
            if context != "range" or len(names) > 1:
                self.fail(f"too many declarations in {context}", token)
            if self.peek_solid()[0] not in {"variable", "right", ")"}:
                self.fail("range can only initialize variables", self.peek())
        if names:
            self.unexpected(self.peek(), context)
        return (), False

    def command(self) -> Command:
        """Read an operand and its arguments, up to `|` (which is read) or the pipeline's end (which is not)."""
        operands: list[Operand] = []
        while True:
            token = self.peek_solid()
            if token[0] in _OPERANDS or token[:2] == ("keyword", "nil"):
                operands.append(self.operand())
                token = self.peek()
            if token[0] == "space":
                self.next()
                continue
            if token[0] == "|":
                self.next()
            elif token[0] not in {"right", ")"}:
                self.unexpected(token, "operand")
            return Command(Span(operands[0].span.start, operands[-1].span.end), tuple(operands))

    def operand(self) -> Operand:
        """Read a term and the chain of fields behind it."""
        term = self.term()
        names: list[str] = []
        end = term.span.end
        while self.peek()[0] == "field":
            token = self.next()
            names.append(token[1][1:])
            end = token[3]
        if names and isinstance(term, (Literal, Nil, Dot)):
            written = self.text[term.span.start : term.span.end]
            self.fail(f'unexpected . after term "{written}"', self.tokens[self.position - 1])
        if not names:
            return term
        span = Span(term.span.start, end)
        if isinstance(term, Field):
            return Field(span, (*term.names, *names))
        if isinstance(term, Variable):
            return Variable(span, term.name, tuple(names))
        return Chain(span, term, tuple(names))

    def term(self) -> Operand:
        """Read an operand without fields behind it."""
        token = self.next()
        kind, written, start, end = token
        span = Span(start, end)
        match kind:
            case "dot":
                return Dot(span)
            case "field":
                return Field(span, (written[1:],))
            case "variable":
                self.check_variable(written, token)
                return Variable(span, written)
            case "keyword":
                return Nil(span)
            case "word":
                return self.word(token, span)
            case "(":
                self.enter(token)
                inner = self.pipeline("parenthesized pipeline", token, ")")
                self.depth -= 1
                return inner.replace(span=Span(start, self.tokens[self.position - 1][3]))
            case _:
                return Literal(span, self.constant(token))

    def word(self, token: Token, span: Span) -> Operand:
        """Return the operand that a word names: `true`, `false` or a function."""
        written = token[1]
        if written in {"true", "false"}:
            return Literal(span, written == "true")
        if written not in self.functions:
            fail(f'function "{written}" not defined', self.text, token[2], token[3], nearest(written, self.functions))
        return Function(span, written)

    def check_variable(self, name: str, token: Token) -> None:
        """Refuse a variable which is not visible here."""
        if not self.visible.get(name):
            self.fail(f'undefined variable "{name}"', token)

    def constant(self, token: Token) -> str | int | float:
        """Return the value of a numeric, character or string constant."""
        try:
            if token[0] == "number":
                return read_number(token[1])
            if token[0] == "character":
                return read_character(token[1])
            return read_string(token[1])
        except ValueError as error:
            self.fail(str(error), token)

    def string(self, token: Token) -> str:
        """Return the text of a string constant."""
        return str(self.constant(token))
