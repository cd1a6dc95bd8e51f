"""Parses tokens to a tree, by the grammar of Go's text/template."""

from __future__ import annotations

from imq.grammar.errors import Span
from imq.grammar.record import TYPE_CHECKING

from .nodes import Action, Branch, LoopControl, Range, TemplateCall, Text, Tree
from .pipeline_parser import PipelineParser

if TYPE_CHECKING:
    from collections.abc import Collection

    from .lexer import Token
    from .nodes import Body, Pipeline, Statement

_STRING_KINDS = frozenset({"string", "raw string"})


def parse(text: str, functions: Collection[str]) -> Tree:
    """Return the tree of a template; raises `StatementError` (code `template`) for an invalid one."""
    return _Parser(text, functions).parse()


class _Parser(PipelineParser):
    """Parses statements. `loop_depth` is the number of enclosing ranges; `templates` are the named templates."""

    def __init__(self, text: str, functions: Collection[str]) -> None:
        super().__init__(text, functions)
        self.loop_depth = 0
        self.templates: dict[str, Body] = {}

    def parse(self) -> Tree:
        body, end = self.parse_body(top=True)
        if end[0] != "end":
            self.fail(f"unexpected {{{{{end[1]}}}}}", end)
        return Tree(self.text, body, self.templates)

    def parse_body(self, *, top: bool = False) -> tuple[Body, Token]:
        """Parse statements up to `{{end}}`, `{{else`, or the end of the text; return them and that token."""
        statements: list[Statement] = []
        while True:
            kind, source, start, end = self.next()
            if kind == "end":
                return tuple(statements), (kind, source, start, end)
            if kind == "text":
                statements.append(Text(Span(start, end), source))
                continue
            token = self.peek_non_space()
            if token[0] == "keyword" and token[1] in {"end", "else"}:
                self.next()
                return tuple(statements), token
            if top and token[:2] == ("keyword", "define"):
                self.next()
                self.parse_definition(token)
                continue
            statements.append(self.parse_statement(start, token))

    def parse_statement(self, start: int, token: Token) -> Statement:
        """Parse one action, whose left delimiter is consumed; `token` is the next token."""
        if token[0] == "keyword" and token[1] not in {"nil", "define"}:
            self.next()
            match token[1]:
                case "if" | "with":
                    return self.parse_branch(start, token)
                case "range":
                    return self.parse_range(start, token)
                case "template":
                    return self.parse_template_call(start)
                case "block":
                    return self.parse_block(start)
                case _:
                    return self.parse_loop_control(start, token)
        pipe = self.parse_pipeline("command", token)
        return Action(Span(start, self.tokens[self.position - 1][3]), pipe)

    def parse_block_body(self, opener: Token, scope: int) -> tuple[Body, Token]:
        """Parse the body of a block. A missing `{{end}}` is an error at the start of the block."""
        body, end = self.parse_body()
        if end[0] == "end":
            self.fail(f"unexpected EOF: {{{{{opener[1]}}}}} has no {{{{end}}}}", opener)
        self.leave_scope(scope)
        return body, end

    def parse_branch(self, start: int, token: Token) -> Branch:
        keyword = token[1]
        self.enter_level(token)
        scope_start = len(self.declared_variables)
        arms: list[tuple[Pipeline, Body]] = []
        else_body: Body = ()
        has_more = True
        while has_more:
            pipe = self.parse_pipeline(keyword, token)
            body, end = self.parse_block_body(token, len(self.declared_variables))
            arms.append((pipe, body))
            has_more = False
            if end[1] == "else":
                if self.peek_non_space()[:2] == ("keyword", keyword):
                    token, has_more = self.next(), True
                else:
                    else_body = self.parse_else(token)
            else:
                self.expect_right_delimiter("end")
        self.leave_scope(scope_start)
        self.depth -= 1
        return Branch(Span(start, self.tokens[self.position - 1][3]), keyword == "with", tuple(arms), else_body)

    def parse_else(self, opener: Token) -> Body:
        """Parse the statements after `{{else}}`, and `{{end}}`."""
        token = self.peek_non_space()
        if token[0] == "keyword" and token[1] in {"if", "with"}:
            self.fail_unexpected(token, "input")
        self.expect_right_delimiter("else")
        body, end = self.parse_block_body(opener, len(self.declared_variables))
        if end[1] != "end":
            self.fail("expected end; found {{else}}", end)
        self.expect_right_delimiter("end")
        return body

    def parse_range(self, start: int, token: Token) -> Range:
        self.enter_level(token)
        scope_start = len(self.declared_variables)
        pipe = self.parse_pipeline("range", token)
        self.loop_depth += 1
        body, end = self.parse_block_body(token, len(self.declared_variables))
        self.loop_depth -= 1
        else_body: Body = ()
        if end[1] == "else":
            else_body = self.parse_else(token)
        else:
            self.expect_right_delimiter("end")
        self.leave_scope(scope_start)
        self.depth -= 1
        return Range(Span(start, self.tokens[self.position - 1][3]), pipe, body, else_body)

    def parse_loop_control(self, start: int, token: Token) -> LoopControl:
        self.expect_right_delimiter(f"{{{{{token[1]}}}}}")
        if not self.loop_depth:
            self.fail(f"{{{{{token[1]}}}}} outside {{{{range}}}}", token)
        return LoopControl(Span(start, self.tokens[self.position - 1][3]), token[1] == "break")

    # ---- named templates

    def parse_template_name(self, context: str) -> str:
        token = self.next_non_space()
        if token[0] not in _STRING_KINDS:
            self.fail_unexpected(token, context)
        return self.parse_string(token)

    def parse_definition(self, token: Token) -> None:
        name = self.parse_template_name("define clause")
        self.expect_right_delimiter("define clause")
        self.parse_named_body(name, token)

    def parse_named_body(self, name: str, token: Token) -> None:
        """Parse and store the body of a named template. Variables and loops around it are not visible in it."""
        outer = self.visible_variables, self.declared_variables, self.loop_depth
        self.visible_variables, self.declared_variables, self.loop_depth = {"$": 1}, ["$"], 0
        self.enter_level(token)
        body, end = self.parse_block_body(token, 1)
        if end[1] != "end":
            self.fail("unexpected {{else}} in define clause", end)
        self.expect_right_delimiter("end")
        self.depth -= 1
        self.visible_variables, self.declared_variables, self.loop_depth = outer
        if _is_empty(self.templates.get(name, ())):
            self.templates[name] = body
        elif not _is_empty(body):
            self.fail(f'multiple definition of template "{name}"', token)

    def parse_template_call(self, start: int) -> TemplateCall:
        name = self.parse_template_name("template clause")
        pipe = None
        token = self.peek_non_space()
        if token[0] == "right":
            self.next()
        else:
            pipe = self.parse_pipeline("template clause", token)
        return TemplateCall(Span(start, self.tokens[self.position - 1][3]), name, pipe)

    def parse_block(self, start: int) -> TemplateCall:
        token = self.tokens[self.position - 1]
        name = self.parse_template_name("block clause")
        pipe = self.parse_pipeline("block clause", token)
        span = Span(start, self.tokens[self.position - 1][3])
        self.parse_named_body(name, token)
        return TemplateCall(span, name, pipe)


def _is_empty(body: Body) -> bool:
    """Return whether a definition writes nothing; another one of the same name is then allowed."""
    return all(isinstance(statement, Text) and not statement.text.strip() for statement in body)
