"""Tokens to a tree, by the grammar of Go's text/template."""

from __future__ import annotations

from imq.grammar.errors import Span
from imq.grammar.record import TYPE_CHECKING

from .nodes import Action, Branch, Invoke, Jump, Range, Text, Tree
from .pipeline_parser import Pipelines

if TYPE_CHECKING:
    from collections.abc import Collection

    from .lexer import Token
    from .nodes import Body, Pipeline, Statement

_STRINGS = frozenset({"string", "raw string"})


def parse(text: str, functions: Collection[str]) -> Tree:
    """Return the tree of a template; raise StatementError, code `template`, when it is not one."""
    return _Parser(text, functions).parse()


class _Parser(Pipelines):
    """Reads statements; `loops` counts the ranges around the place, `defined` keeps named templates."""

    def __init__(self, text: str, functions: Collection[str]) -> None:
        super().__init__(text, functions)
        self.loops = 0
        self.defined: dict[str, Body] = {}

    def parse(self) -> Tree:
        body, end = self.body(top=True)
        if end[0] != "end":
            self.fail(f"unexpected {{{{{end[1]}}}}}", end)
        return Tree(self.text, body, self.defined)

    def body(self, *, top: bool = False) -> tuple[Body, Token]:
        """Read statements up to `{{end}}`, `{{else`, or the end of the text; return what stopped it."""
        statements: list[Statement] = []
        while True:
            kind, written, start, end = self.next()
            if kind == "end":
                return tuple(statements), (kind, written, start, end)
            if kind == "text":
                statements.append(Text(Span(start, end), written))
                continue
            token = self.peek_solid()
            if token[0] == "keyword" and token[1] in {"end", "else"}:
                self.next()
                return tuple(statements), token
            if top and token[:2] == ("keyword", "define"):
                self.next()
                self.definition(token)
                continue
            statements.append(self.statement(start, token))

    def statement(self, start: int, token: Token) -> Statement:
        """Read one action; its left delimiter has been read, `token` is what follows."""
        if token[0] == "keyword" and token[1] not in {"nil", "define"}:
            self.next()
            match token[1]:
                case "if" | "with":
                    return self.branch(start, token)
                case "range":
                    return self.range(start, token)
                case "template":
                    return self.invocation(start)
                case "block":
                    return self.block(start)
                case _:
                    return self.jump(start, token)
        pipe = self.pipeline("command", token)
        return Action(Span(start, self.tokens[self.position - 1][3]), pipe)

    def block_body(self, opener: Token, scope: int) -> tuple[Body, Token]:
        """Read the body of a block; a text that ends inside it is an error at the block's opening."""
        body, end = self.body()
        if end[0] == "end":
            self.fail(f"unexpected EOF: {{{{{opener[1]}}}}} has no {{{{end}}}}", opener)
        self.leave(scope)
        return body, end

    def branch(self, start: int, token: Token) -> Branch:
        keyword = token[1]
        self.enter(token)
        mark = len(self.declared)
        arms: list[tuple[Pipeline, Body]] = []
        otherwise: Body = ()
        chained = True
        while chained:
            pipe = self.pipeline(keyword, token)
            body, end = self.block_body(token, len(self.declared))
            arms.append((pipe, body))
            chained = False
            if end[1] == "else":
                if self.peek_solid()[:2] == ("keyword", keyword):
                    token, chained = self.next(), True
                else:
                    otherwise = self.otherwise(token)
            else:
                self.expect_right("end")
        self.leave(mark)
        self.depth -= 1
        return Branch(Span(start, self.tokens[self.position - 1][3]), keyword == "with", tuple(arms), otherwise)

    def otherwise(self, opener: Token) -> Body:
        """Read what follows `{{else}}` up to and with `{{end}}`."""
        token = self.peek_solid()
        if token[0] == "keyword" and token[1] in {"if", "with"}:
            self.unexpected(token, "input")
        self.expect_right("else")
        body, end = self.block_body(opener, len(self.declared))
        if end[1] != "end":
            self.fail("expected end; found {{else}}", end)
        self.expect_right("end")
        return body

    def range(self, start: int, token: Token) -> Range:
        self.enter(token)
        mark = len(self.declared)
        pipe = self.pipeline("range", token)
        self.loops += 1
        body, end = self.block_body(token, len(self.declared))
        self.loops -= 1
        otherwise: Body = ()
        if end[1] == "else":
            otherwise = self.otherwise(token)
        else:
            self.expect_right("end")
        self.leave(mark)
        self.depth -= 1
        return Range(Span(start, self.tokens[self.position - 1][3]), pipe, body, otherwise)

    def jump(self, start: int, token: Token) -> Jump:
        self.expect_right(f"{{{{{token[1]}}}}}")
        if not self.loops:
            self.fail(f"{{{{{token[1]}}}}} outside {{{{range}}}}", token)
        return Jump(Span(start, self.tokens[self.position - 1][3]), token[1] == "break")

    # ---- named templates

    def name(self, context: str) -> str:
        token = self.next_solid()
        if token[0] not in _STRINGS:
            self.unexpected(token, context)
        return self.string(token)

    def definition(self, token: Token) -> None:
        name = self.name("define clause")
        self.expect_right("define clause")
        self.named_body(name, token)

    def named_body(self, name: str, token: Token) -> None:
        """Read a template's body, which sees no variable and no loop of its surroundings, and keep it by its name."""
        outer = self.visible, self.declared, self.loops
        self.visible, self.declared, self.loops = {"$": 1}, ["$"], 0
        self.enter(token)
        body, end = self.block_body(token, 1)
        if end[1] != "end":
            self.fail("unexpected {{else}} in define clause", end)
        self.expect_right("end")
        self.depth -= 1
        self.visible, self.declared, self.loops = outer
        if _is_empty(self.defined.get(name, ())):
            self.defined[name] = body
        elif not _is_empty(body):
            self.fail(f'multiple definition of template "{name}"', token)

    def invocation(self, start: int) -> Invoke:
        name = self.name("template clause")
        pipe = None
        token = self.peek_solid()
        if token[0] == "right":
            self.next()
        else:
            pipe = self.pipeline("template clause", token)
        return Invoke(Span(start, self.tokens[self.position - 1][3]), name, pipe)

    def block(self, start: int) -> Invoke:
        token = self.tokens[self.position - 1]
        name = self.name("block clause")
        pipe = self.pipeline("block clause", token)
        span = Span(start, self.tokens[self.position - 1][3])
        self.named_body(name, token)
        return Invoke(span, name, pipe)


def _is_empty(body: Body) -> bool:
    """Say whether a definition writes nothing, so that another of the same name may stand beside it."""
    return all(isinstance(statement, Text) and not statement.text.strip() for statement in body)
