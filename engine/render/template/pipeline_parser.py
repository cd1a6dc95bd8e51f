"""Parses the tokens of actions to pipelines, commands and operands."""

from __future__ import annotations

from imq.grammar.errors import Span, closest_hint
from imq.grammar.record import TYPE_CHECKING

from .lexer import raise_error, tokenize
from .literals import read_character, read_number, read_string
from .nodes import Chain, Command, Dot, Field, Function, Literal, Nil, Pipeline, Variable

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import NoReturn

    from .lexer import Token
    from .nodes import Operand

MAX_DEPTH = 80  # nesting of blocks and parentheses; each level takes some frames of Python's stack
_OPERAND_KINDS = frozenset({"word", "dot", "field", "variable", "number", "string", "raw string", "character", "("})
_MAX_QUOTED_LENGTH = 10  # characters of an unexpected token in a message


class PipelineParser:
    """A recursive descent parser; every method leaves `position` after the last token that it consumed."""

    def __init__(self, text: str, functions: Collection[str]) -> None:
        self.text = text
        self.functions = functions
        self.tokens = tokenize(text)
        self.tokens.append(("end", "EOF", len(text), len(text)))
        self.position = 0
        self.depth = 0
        self.visible_variables = {"$": 1}
        self.declared_variables = ["$"]

    # ---- tokens

    def peek(self) -> Token:
        """Return the next token without consuming it."""
        return self.tokens[self.position]

    def next(self) -> Token:
        """Consume and return the next token. The end of the text is never consumed."""
        token = self.tokens[self.position]
        if token[0] != "end":
            self.position += 1
        return token

    def peek_non_space(self) -> Token:
        """Skip white space; return the next token without consuming it."""
        if self.tokens[self.position][0] == "space":
            self.position += 1
        return self.tokens[self.position]

    def next_non_space(self) -> Token:
        """Skip white space; consume and return the next token."""
        self.peek_non_space()
        return self.next()

    def fail(self, message: str, token: Token) -> NoReturn:
        """Raise an error at a token."""
        raise_error(message, self.text, token[2], token[3])

    def fail_unexpected(self, token: Token, context: str) -> NoReturn:
        """Raise the error of an unexpected token."""
        kind, source = token[0], token[1]
        if kind == "end":
            quoted = "EOF"
        elif kind == "right":
            self.fail(f"unexpected end of action in {context}", token)
        elif kind in {"keyword", "dot"}:
            quoted = f"<{source}>"
        else:
            printable = "".join(c if c.isprintable() else " " for c in source[:_MAX_QUOTED_LENGTH])
            quoted = f'"{printable}"' + ("..." if len(source) > _MAX_QUOTED_LENGTH else "")
        self.fail(f"unexpected {quoted}" + (f" in {context}" if kind != "end" else ""), token)

    def expect_right_delimiter(self, context: str) -> None:
        """Consume the right delimiter; raises when another token is next."""
        token = self.next_non_space()
        if token[0] != "right":
            self.fail_unexpected(token, context)

    def enter_level(self, token: Token) -> None:
        """Enter a nested level; the caller leaves it with `depth -= 1`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"max expression depth exceeded: at most {MAX_DEPTH} levels of blocks and parentheses", token)

    # ---- scopes

    def declare_variable(self, name: str) -> None:
        """Declare a variable, which is visible up to the end of its block."""
        self.declared_variables.append(name)
        self.visible_variables[name] = self.visible_variables.get(name, 0) + 1

    def leave_scope(self, scope_start: int) -> None:
        """Remove the variables declared since `declared_variables` had this length."""
        for name in self.declared_variables[scope_start:]:
            self.visible_variables[name] -= 1
        del self.declared_variables[scope_start:]

    # ---- pipelines

    def parse_pipeline(self, context: str, opener: Token, closer: str = "right") -> Pipeline:
        """Parse a pipeline, and the delimiter or parenthesis that ends it."""
        start = self.peek_non_space()[2]
        names, is_assignment = self.parse_declarations(context)
        commands: list[Command] = []
        while True:
            token = self.peek_non_space()
            if token[0] == closer:
                self.next()
                break
            if token[0] not in _OPERAND_KINDS and token[1] != "nil":
                self.fail_unexpected(token, context)
            command = self.parse_command()
            if commands and isinstance(command.operands[0], (Literal, Dot, Nil)):
                span = command.operands[0].span
                raise_error(
                    f"non executable command in pipeline stage {len(commands) + 1}", self.text, span.start, span.end
                )
            commands.append(command)
        if not commands:
            self.fail(f"missing value for {context}", opener)
        for name in names:
            if not is_assignment:
                self.declare_variable(name)
        return Pipeline(Span(start, commands[-1].span.end), tuple(commands), names, is_assignment)

    def parse_declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """Parse `$x :=`, `$x =` or, in a range, `$i, $x :=`, if one is next."""
        names: list[str] = []
        while self.peek_non_space()[0] == "variable":
            start_position, token = self.position, self.next()
            after = self.peek_non_space()
            if after[0] in {":=", "="}:
                self.next()
                names.append(token[1])
                if after[0] == "=":
                    for name in names:
                        self.check_variable(name, token)
                return tuple(names), after[0] == "="
            if after[1] != ",":
                self.position = start_position
                break
            self.next()
            names.append(token[1])
            if context != "range" or len(names) > 1:
                self.fail(f"too many declarations in {context}", token)
            if self.peek_non_space()[0] not in {"variable", "right", ")"}:
                self.fail("range can only initialize variables", self.peek())
        if names:
            self.fail_unexpected(self.peek(), context)
        return (), False

    def parse_command(self) -> Command:
        """Parse an operand and its arguments, up to `|` (consumed) or the end of the pipeline (not consumed)."""
        operands: list[Operand] = []
        while True:
            token = self.peek_non_space()
            if token[0] in _OPERAND_KINDS or token[:2] == ("keyword", "nil"):
                operands.append(self.parse_operand())
                token = self.peek()
            if token[0] == "space":
                self.next()
                continue
            if token[0] == "|":
                self.next()
            elif token[0] not in {"right", ")"}:
                self.fail_unexpected(token, "operand")
            return Command(Span(operands[0].span.start, operands[-1].span.end), tuple(operands))

    def parse_operand(self) -> Operand:
        """Parse a term and the fields that follow it."""
        term = self.parse_term()
        names: list[str] = []
        end = term.span.end
        while self.peek()[0] == "field":
            token = self.next()
            names.append(token[1][1:])
            end = token[3]
        if names and isinstance(term, (Literal, Nil, Dot)):
            source = self.text[term.span.start : term.span.end]
            self.fail(f'unexpected . after term "{source}"', self.tokens[self.position - 1])
        if not names:
            return term
        span = Span(term.span.start, end)
        if isinstance(term, Field):
            return Field(span, (*term.names, *names))
        if isinstance(term, Variable):
            return Variable(span, term.name, tuple(names))
        return Chain(span, term, tuple(names))

    def parse_term(self) -> Operand:
        """Parse an operand without the fields that follow it."""
        token = self.next()
        kind, source, start, end = token
        span = Span(start, end)
        match kind:
            case "dot":
                return Dot(span)
            case "field":
                return Field(span, (source[1:],))
            case "variable":
                self.check_variable(source, token)
                return Variable(span, source)
            case "keyword":
                return Nil(span)
            case "word":
                return self.parse_word(token, span)
            case "(":
                self.enter_level(token)
                pipeline = self.parse_pipeline("parenthesized pipeline", token, ")")
                self.depth -= 1
                return pipeline.replace(span=Span(start, self.tokens[self.position - 1][3]))
            case _:
                return Literal(span, self.parse_constant(token))

    def parse_word(self, token: Token, span: Span) -> Operand:
        """Return the operand of a word: `true`, `false` or a function."""
        source = token[1]
        if source in {"true", "false"}:
            return Literal(span, source == "true")
        if source not in self.functions:
            raise_error(
                f'function "{source}" not defined', self.text, token[2], token[3], closest_hint(source, self.functions)
            )
        return Function(span, source)

    def check_variable(self, name: str, token: Token) -> None:
        """Raise for a variable that is not visible."""
        if not self.visible_variables.get(name):
            self.fail(f'undefined variable "{name}"', token)

    def parse_constant(self, token: Token) -> str | int | float:
        """Return the value of a numeric, character or string constant."""
        try:
            if token[0] == "number":
                return read_number(token[1])
            if token[0] == "character":
                return read_character(token[1])
            return read_string(token[1])
        except ValueError as error:
            self.fail(str(error), token)

    def parse_string(self, token: Token) -> str:
        """Return the value of a string constant."""
        return str(self.parse_constant(token))
