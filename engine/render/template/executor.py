"""A template's tree, run over a value."""

from __future__ import annotations

from imq.grammar.errors import Span, StatementError, UnknownName, listed, nearest
from imq.grammar.record import TYPE_CHECKING

from .fmt import show
from .functions import FUNCTIONS, call_in_heading
from .literals import to_bytes
from .nodes import (
    Action,
    Branch,
    Chain,
    Command,
    Dot,
    Field,
    Function,
    Invoke,
    Jump,
    Literal,
    Nil,
    Pipeline,
    Range,
    Text,
    Variable,
)
from .values import LENIENT, Failure, Heading, Rules, elements, field, kind_of, names_of, own_text, truth, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar, NoReturn

    from .functions import Definition
    from .nodes import Body, Node, Operand, Tree

DEEPEST = 100  # bodies, pipelines and templates within each other; each costs some frames of Python's stack
_ABSENT: Any = object()  # no value comes in through the pipe
_BREAK, _CONTINUE = "break", "continue"
_ASKED = {"string": "string", "int": "integer", "list": "list"}


def run(tree: Tree, value: object, rules: Rules = LENIENT) -> str:
    """Return what a template writes for a value; a Heading makes the heading row of a table."""
    return _Run(tree, rules, heading=isinstance(value, Heading)).text(value)


def run_in_pieces(tree: Tree, value: object) -> list[tuple[str, Action | None]]:
    """Return what a template writes for a value in pieces, each with the action that made it; None: it is text."""
    execution = _TracedRun(tree, LENIENT, heading=False)
    execution.text(value)
    return [(part, execution.made.get(place)) for place, part in enumerate(execution.parts)]


class _Run:
    """One execution: what has been written, and the variables."""

    statements: ClassVar[dict[type, Callable[..., str | None]]]
    """What runs each kind of statement."""

    def __init__(self, tree: Tree, rules: Rules, *, heading: bool) -> None:
        self.tree = tree
        self.rules = rules
        self.heading = heading
        self.parts: list[str] = []
        self.depth = 0
        self.name = ""
        self.decides = False  # the value at hand decides a condition
        self.order: list[str] = []
        self.variables: dict[str, list[object]] = {}

    def text(self, value: object) -> str:
        """Return what the template writes for a value."""
        self.push("$", value)
        try:
            self.body(self.tree.body, value)
        except RecursionError:
            raise StatementError("template parsing error: the value is nested too deeply", code="template") from None
        return "".join(self.parts)

    def fail(self, node: Node, message: str, at: str = "") -> NoReturn:
        raise StatementError(self.complaint(node, message, at), code="template", span=node.span, text=self.tree.text)

    def complaint(self, node: Node, message: str, at: str = "") -> str:
        """Return a message in Go's form; `at` is what it names, when that is more than the node."""
        before = self.tree.text[: self._position(node)]
        line, column = before.count("\n") + 1, len(to_bytes(before[before.rfind("\n") + 1 :]))
        place = f'template: :{line}:{column}: executing "{self.name}" at <{at or self.source(node)}>'
        return f"template parsing error: {place}: {message}"

    def _position(self, node: Node) -> int:
        """Return where Go says that a node is: a chain of names is at the first name behind what it begins with."""
        start = node.span.start
        match node:
            case Field() if len(node.names) > 1:
                return start + 1 + len(node.names[0])
            case Variable() if node.names:
                return start + len(node.name)
            case Chain():
                return node.base.span.end
            case _:
                return start

    def source(self, node: Node) -> str:
        return self.tree.text[node.span.start : node.span.end]

    # ---- variables

    def push(self, name: str, value: object) -> None:
        self.order.append(name)
        self.variables.setdefault(name, []).append(value)

    def drop(self, mark: int) -> None:
        while len(self.order) > mark:
            self.variables[self.order.pop()].pop()

    # ---- statements

    def body(self, statements: Body, dot: object) -> str | None:
        """Run statements; return `break` or `continue` when one of them says so."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise StatementError(
                f"template parsing error: exceeded maximum template depth ({DEEPEST})",
                code="template",
                span=statements[0].span if statements else Span(0, 0),
                text=self.tree.text,
            )
        for statement in statements:
            if type(statement) is Text:
                self.parts.append(statement.text)
                continue
            jump: str | None = self.statements[type(statement)](self, statement, dot)
            if jump:
                self.depth -= 1
                return jump
        self.depth -= 1
        return None

    def action(self, node: Action, dot: object) -> None:
        value = self.pipeline(node.pipe, dot)
        if not node.pipe.names:
            self.parts.append("<no value>" if value is None else show(value))

    def branch(self, node: Branch, dot: object) -> str | None:
        mark = len(self.order)
        for pipe, body in node.arms:
            self.decides = True
            value = self.pipeline(pipe, dot)
            self.decides = False
            if truth(value):
                jump = self.body(body, value if node.moves_dot else dot)
                break
        else:
            jump = self.body(node.otherwise, dot)
        self.drop(mark)
        return jump

    def range(self, node: Range, dot: object) -> str | None:
        mark = len(self.order)
        pipe = node.pipe
        value = self.pipeline(pipe, dot)
        pairs = elements(value)
        if pairs is None:
            self.fail(pipe, f"range can't iterate over {show(value)}")
        if len(pipe.names) > 1 and kind_of(value) == "int":
            self.fail(pipe, f"can't use {show(value)} to iterate over more than one variable")
        empty = True
        inside = len(self.order)
        for key, element in pairs:
            empty = False
            if pipe.names:
                if len(pipe.names) > 1:
                    self.variables[pipe.names[0]][-1] = key
                self.variables[pipe.names[-1]][-1] = element
            stops = self.body(node.body, element) == _BREAK
            self.drop(inside)
            if stops:
                break
        jump = self.body(node.otherwise, dot) if empty else None  # `break` in it means the range around this one
        self.drop(mark)
        return jump

    def jump(self, node: Jump, _dot: object) -> str:
        return _BREAK if node.breaks else _CONTINUE

    def invoke(self, node: Invoke, dot: object) -> None:
        body = self.tree.defined.get(node.name)
        if body is None:
            self.fail(node, f'template "{node.name}" not defined')
        value = self.pipeline(node.pipe, dot) if node.pipe else None
        name, order, variables = self.name, self.order, self.variables
        self.name, self.order, self.variables = node.name, [], {}
        self.push("$", value)
        self.body(body, value)
        self.name, self.order, self.variables = name, order, variables

    # ---- pipelines

    def pipeline(self, node: Pipeline, dot: object) -> object:
        self.depth += 1
        value: object = _ABSENT
        for command in node.commands:
            value = self.command(command, dot, value)
        for name in node.names:
            if node.assigns:
                self.variables[name][-1] = value
            else:
                self.push(name, value)
        self.depth -= 1
        return value

    def command(self, node: Command, dot: object, final: object) -> object:
        first = node.operands[0]
        arguments = node.operands[1:]
        if isinstance(first, Function):
            return self.call(first, arguments, dot, final)
        if not arguments and final is _ABSENT:
            if isinstance(first, Nil):
                self.fail(first, "nil is not a command")
            return self.operand(first, dot)
        if isinstance(first, (Field, Chain, Variable)) and first.names:
            return self.method(first, arguments, dot, final)
        return self.fail(first, f"can't give argument to non-function {self.source(first)}")

    def operand(self, node: Operand, dot: object) -> object:
        """Return the value of an operand which has no arguments."""
        value = dot  # what a field is looked up in
        match node:
            case Field():
                pass
            case Literal():
                return node.value
            case Dot():
                return dot
            case Nil():
                return None
            case Variable():
                value = self.variables[node.name][-1]
            case Pipeline():
                return self.nested(node, dot)
            case Function():
                return self.call(node, (), dot, _ABSENT)
            case Chain():
                value = self.operand(node.base, dot)
        if value is None and self.rules.nil_fails and node.names:
            return self.read_nothing(node.names, node)
        for name in node.names:
            value = self.member(value, name, node)
        return value

    def nested(self, node: Pipeline, dot: object) -> object:
        if len(node.commands) == 1 and isinstance(node.commands[0].operands[0], Nil):
            self.fail(node, "nil is not a command")
        return self.pipeline(node, dot)

    def read_nothing(self, names: tuple[str, ...], node: Node) -> object:
        """Read names from a value that is not there at all, which Go keeps apart from a field that is nil."""
        if self.rules.missing_key_fails:
            self.fail(node, f'nil data; no entry for key "{names[0]}"')
        return None

    def member(self, value: object, name: str, node: Node, arguments: Sequence[object] = ()) -> object:
        """Return what a value has under a name; what a record gives as a function is called, as Go's methods are."""
        try:
            found = field(value, name, self.rules)
        except Failure as failure:
            self.fail(node, str(failure))
        except KeyError:
            known = names_of(value)
            hints = (nearest(name, known), f"known: {listed(known)}" if known else "")
            message = f"can't evaluate field {name}" + ("" if known else f" in type {type_name(value)}")
            if kind_of(value) == "map":
                message = f'map has no entry for key "{name}"'
            raise UnknownName(
                self.complaint(node, message), code="template-field", span=node.span, text=self.tree.text, hints=hints
            ) from None
        if callable(found) and kind_of(found) == "other":
            try:
                return found(*arguments)
            except TypeError as error:
                self.fail(node, f"error calling {name}: {error}")
        if arguments:
            self.fail(node, f"{name} is not a method but has arguments")
        return found

    def method(self, node: Field | Chain | Variable, operands: Sequence[Operand], dot: object, final: object) -> object:
        """Return the value of a chain whose last name is given arguments."""
        arguments = [self.operand(operand, dot) for operand in operands]
        if final is not _ABSENT:
            arguments.append(final)
        if isinstance(node, Field):
            value = dot
        elif isinstance(node, Variable):
            value = self.variables[node.name][-1]
        else:
            value = self.operand(node.base, dot)
        for name in node.names[:-1]:
            value = self.member(value, name, node)
        return self.member(value, node.names[-1], node, arguments)

    # ---- functions

    def call(self, node: Function, operands: Sequence[Operand], dot: object, final: object) -> object:
        name = node.name
        definition = FUNCTIONS[name]
        self.check_count(node, definition, len(operands) + (final is not _ABSENT))
        if name in {"and", "or"}:
            return self.choose(operands, dot, final, name == "or")
        kinds = definition.parameters
        arguments: list[object] = []
        for number, operand in enumerate(operands):
            kind = kinds[number] if number < len(kinds) else definition.rest
            if isinstance(operand, Nil) and not number and definition.refuses_nil:
                self.fail_calling(node, operands, definition.refuses_nil)
            arguments.append(self.argument(operand, kind, dot))
        if final is not _ABSENT:
            kind = kinds[len(operands)] if len(operands) < len(kinds) else definition.rest
            arguments.append(self.fitting(final, kind, node))
        if self.heading:
            title = call_in_heading(name, arguments, decides=self.decides)
            if title is not None:
                return title
        if (
            self.rules.nil_fails
            and definition.refuses_nil
            and arguments
            and kind_of(arguments[0]) in {"nil", "pointer"}
        ):
            self.fail_calling(node, operands, "len of nil pointer" if name == "len" else definition.refuses_nil)
        try:
            return definition.call(*arguments)
        except Failure as failure:
            self.fail_calling(node, operands, str(failure))

    def fail_calling(self, node: Function, operands: Sequence[Operand], message: str) -> NoReturn:
        """Refuse a call, naming it with its arguments."""
        end = (operands[-1] if operands else node).span.end
        self.fail(node, f"error calling {node.name}: {message}", self.tree.text[node.span.start : end])

    def check_count(self, node: Function, definition: Definition, count: int) -> None:
        wanted = len(definition.parameters)
        if count < wanted or (count > wanted and not definition.rest):
            least = "at least " if definition.rest else ""
            self.fail(node, f"wrong number of args for {node.name}: want {least}{wanted} got {count}")

    def choose(self, operands: Sequence[Operand], dot: object, final: object, stop: bool) -> object:
        """Evaluate `and` and `or`: operands up to the one that decides."""
        value: object = None
        for operand in operands:
            value = self.operand(operand, dot)
            if truth(value) is stop:
                return value
        return value if final is _ABSENT else final

    def argument(self, node: Operand, kind: str, dot: object) -> object:
        if isinstance(node, Nil) and kind != "any":
            self.fail(node, f"cannot assign nil to {_ASKED[kind]}")
        value = self.operand(node, dot)
        return value if kind == "any" else self.fitting(value, kind, node)

    def fitting(self, value: object, kind: str, node: Node) -> object:
        """Return a value as a parameter takes it; what is unknown counts as empty, as the zero values of Go do."""
        if kind == "any" or (self.heading and kind != "int" and kind_of(value) == "string"):
            return value
        given = kind_of(value)
        if kind == "string":
            text = "" if value is None else own_text(value)
            if text is not None:
                return text
        elif kind == "list" and given in {"list", "nil"}:
            return value or ()
        elif kind == "int" and given in {"int", "float"} and value == int(value):  # type: ignore[call-overload]
            return int(value)  # type: ignore[call-overload]
        if isinstance(node, Literal):
            self.fail(node, f"expected {_ASKED[kind]}; found {self.source(node)}")
        return self.fail(node, f"wrong type for value; expected {_ASKED[kind]}; got {type_name(value)}")


class _TracedRun(_Run):
    """An execution that remembers which parts actions made, by their places."""

    def __init__(self, tree: Tree, rules: Rules, *, heading: bool) -> None:
        super().__init__(tree, rules, heading=heading)
        self.made: dict[int, Action] = {}

    def action(self, node: Action, dot: object) -> None:
        place = len(self.parts)
        super().action(node, dot)
        if len(self.parts) > place:
            self.made[place] = node


_Run.statements = {
    Action: _Run.action,
    Branch: _Run.branch,
    Range: _Run.range,
    Jump: _Run.jump,
    Invoke: _Run.invoke,
}
_TracedRun.statements = {**_Run.statements, Action: _TracedRun.action}
