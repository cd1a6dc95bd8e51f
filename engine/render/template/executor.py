"""Executes the tree of a template for a value."""

from __future__ import annotations

from imq.grammar.errors import Span, StatementError, UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING

from .fmt import format_value
from .functions import FUNCTIONS, call_for_heading
from .literals import to_bytes
from .nodes import (
    Action,
    Branch,
    Chain,
    Command,
    Dot,
    Field,
    Function,
    Literal,
    LoopControl,
    Nil,
    Pipeline,
    Range,
    TemplateCall,
    Text,
    Variable,
)
from .values import (
    LENIENT,
    Heading,
    LookupRules,
    TemplateFunctionError,
    get_field,
    get_kind,
    get_own_string,
    get_type_name,
    is_true,
    iter_elements,
    list_field_names,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, ClassVar, NoReturn

    from .functions import FunctionDefinition
    from .nodes import Body, Node, Operand, Tree

MAX_DEPTH = 100  # nesting of bodies, pipelines and templates; each level takes some frames of Python's stack
_NO_VALUE: Any = object()  # the piped value of the first command
_BREAK, _CONTINUE = "break", "continue"
_EXPECTED_TYPES = {"string": "string", "int": "integer", "list": "list"}


def execute(tree: Tree, value: object, rules: LookupRules = LENIENT) -> str:
    """Return the output of a template for a value; for a `Heading`, the heading row of a table."""
    return _Execution(tree, rules, heading=isinstance(value, Heading)).render(value)


def execute_in_pieces(tree: Tree, value: object) -> list[tuple[str, Action | None]]:
    """Return the output of a template in pieces, each with the action that wrote it, None for literal text."""
    execution = _TracedExecution(tree, LENIENT, heading=False)
    execution.render(value)
    return [(part, execution.actions_by_part.get(position)) for position, part in enumerate(execution.parts)]


class _Execution:
    """One execution: its output and its variables."""

    statements: ClassVar[dict[type, Callable[..., str | None]]]
    """The method for each type of statement."""

    def __init__(self, tree: Tree, rules: LookupRules, *, heading: bool) -> None:
        self.tree = tree
        self.rules = rules
        self.renders_heading = heading
        self.parts: list[str] = []
        self.depth = 0
        self.template_name = ""
        self.in_condition = False  # whether the pipeline of an `if` or `with` is being evaluated
        self.variable_order: list[str] = []
        self.variables: dict[str, list[object]] = {}

    def render(self, value: object) -> str:
        """Return the output of the template for a value."""
        self.push_variable("$", value)
        try:
            self.run_body(self.tree.body, value)
        except RecursionError:
            raise StatementError("template parsing error: the value is nested too deeply", code="template") from None
        return "".join(self.parts)

    def fail(self, node: Node, message: str, shown_at: str = "") -> NoReturn:
        raise StatementError(
            self.format_error(node, message, shown_at), code="template", span=node.span, text=self.tree.text
        )

    def format_error(self, node: Node, message: str, shown_at: str = "") -> str:
        """Return a message in Go's format; `shown_at` replaces the source of the node in it."""
        before = self.tree.text[: self._find_position(node)]
        line, column = before.count("\n") + 1, len(to_bytes(before[before.rfind("\n") + 1 :]))
        position = (
            f'template: :{line}:{column}: executing "{self.template_name}" at <{shown_at or self.get_source(node)}>'
        )
        return f"template parsing error: {position}: {message}"

    def _find_position(self, node: Node) -> int:
        """Return the position of a node in Go's messages: for a chain, that of the first name after its base."""
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

    def get_source(self, node: Node) -> str:
        return self.tree.text[node.span.start : node.span.end]

    # ---- variables

    def push_variable(self, name: str, value: object) -> None:
        self.variable_order.append(name)
        self.variables.setdefault(name, []).append(value)

    def pop_variables(self, mark: int) -> None:
        while len(self.variable_order) > mark:
            self.variables[self.variable_order.pop()].pop()

    # ---- statements

    def run_body(self, statements: Body, dot: object) -> str | None:
        """Execute statements; return `break` or `continue` when one of them is reached."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise StatementError(
                f"template parsing error: exceeded maximum template depth ({MAX_DEPTH})",
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

    def run_action(self, node: Action, dot: object) -> None:
        value = self.evaluate_pipeline(node.pipe, dot)
        if not node.pipe.names:
            self.parts.append("<no value>" if value is None else format_value(value))

    def run_branch(self, node: Branch, dot: object) -> str | None:
        mark = len(self.variable_order)
        for pipe, body in node.arms:
            self.in_condition = True
            value = self.evaluate_pipeline(pipe, dot)
            self.in_condition = False
            if is_true(value):
                jump = self.run_body(body, value if node.sets_dot else dot)
                break
        else:
            jump = self.run_body(node.else_body, dot)
        self.pop_variables(mark)
        return jump

    def run_range(self, node: Range, dot: object) -> str | None:
        mark = len(self.variable_order)
        pipe = node.pipe
        value = self.evaluate_pipeline(pipe, dot)
        pairs = iter_elements(value)
        if pairs is None:
            self.fail(pipe, f"range can't iterate over {format_value(value)}")
        if len(pipe.names) > 1 and get_kind(value) == "int":
            self.fail(pipe, f"can't use {format_value(value)} to iterate over more than one variable")
        empty = True
        scope_start = len(self.variable_order)
        for key, element in pairs:
            empty = False
            if pipe.names:
                if len(pipe.names) > 1:
                    self.variables[pipe.names[0]][-1] = key
                self.variables[pipe.names[-1]][-1] = element
            stops = self.run_body(node.body, element) == _BREAK
            self.pop_variables(scope_start)
            if stops:
                break
        jump = self.run_body(node.else_body, dot) if empty else None  # `break` in it refers to the enclosing range
        self.pop_variables(mark)
        return jump

    def run_loop_control(self, node: LoopControl, _dot: object) -> str:
        return _BREAK if node.is_break else _CONTINUE

    def call_template(self, node: TemplateCall, dot: object) -> None:
        body = self.tree.templates.get(node.name)
        if body is None:
            self.fail(node, f'template "{node.name}" not defined')
        value = self.evaluate_pipeline(node.pipe, dot) if node.pipe else None
        name, order, variables = self.template_name, self.variable_order, self.variables
        self.template_name, self.variable_order, self.variables = node.name, [], {}
        self.push_variable("$", value)
        self.run_body(body, value)
        self.template_name, self.variable_order, self.variables = name, order, variables

    # ---- pipelines

    def evaluate_pipeline(self, node: Pipeline, dot: object) -> object:
        self.depth += 1
        value: object = _NO_VALUE
        for command in node.commands:
            value = self.evaluate_command(command, dot, value)
        for name in node.names:
            if node.is_assignment:
                self.variables[name][-1] = value
            else:
                self.push_variable(name, value)
        self.depth -= 1
        return value

    def evaluate_command(self, node: Command, dot: object, piped_value: object) -> object:
        first = node.operands[0]
        arguments = node.operands[1:]
        if isinstance(first, Function):
            return self.call_function(first, arguments, dot, piped_value)
        if not arguments and piped_value is _NO_VALUE:
            if isinstance(first, Nil):
                self.fail(first, "nil is not a command")
            return self.evaluate_operand(first, dot)
        if isinstance(first, (Field, Chain, Variable)) and first.names:
            return self.evaluate_method(first, arguments, dot, piped_value)
        return self.fail(first, f"can't give argument to non-function {self.get_source(first)}")

    def evaluate_operand(self, node: Operand, dot: object) -> object:
        """Return the value of an operand without arguments."""
        value = dot  # the value in which `names` are looked up
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
                return self.evaluate_nested(node, dot)
            case Function():
                return self.call_function(node, (), dot, _NO_VALUE)
            case Chain():
                value = self.evaluate_operand(node.base, dot)
        if value is None and self.rules.error_on_nil and node.names:
            return self.read_nil_field(node.names, node)
        for name in node.names:
            value = self.get_member(value, name, node)
        return value

    def evaluate_nested(self, node: Pipeline, dot: object) -> object:
        if len(node.commands) == 1 and isinstance(node.commands[0].operands[0], Nil):
            self.fail(node, "nil is not a command")
        return self.evaluate_pipeline(node, dot)

    def read_nil_field(self, names: tuple[str, ...], node: Node) -> object:
        """Look up names in missing data, which Go distinguishes from a field that is nil."""
        if self.rules.error_on_missing_key:
            self.fail(node, f'nil data; no entry for key "{names[0]}"')
        return None

    def get_member(self, value: object, name: str, node: Node, arguments: Sequence[object] = ()) -> object:
        """Return the field of a value. A function is called with the arguments, like a method in Go."""
        try:
            member = get_field(value, name, self.rules)
        except TemplateFunctionError as failure:
            self.fail(node, str(failure))
        except KeyError:
            names = list_field_names(value)
            hints = (closest_hint(name, names), f"fields: {join_names(names)}" if names else "")
            message = f"can't evaluate field {name}" + ("" if names else f" in type {get_type_name(value)}")
            if get_kind(value) == "map":
                message = f'map has no entry for key "{name}"'
            raise UnknownName(
                self.format_error(node, message),
                code="template-field",
                span=node.span,
                text=self.tree.text,
                hints=hints,
            ) from None
        if callable(member) and get_kind(member) == "other":
            try:
                return member(*arguments)
            except TypeError as error:
                self.fail(node, f"error calling {name}: {error}")
        if arguments and isinstance(member, Heading):  # as docker titles `{{.Label "com.example.part"}}`
            return str(arguments[-1]).rpartition(".")[2].replace("-", " ").replace("_", " ")
        if arguments:
            self.fail(node, f"{name} is not a method but has arguments")
        return member

    def evaluate_method(
        self, node: Field | Chain | Variable, operands: Sequence[Operand], dot: object, piped_value: object
    ) -> object:
        """Return the value of a chain whose last name has arguments."""
        arguments = [self.evaluate_operand(operand, dot) for operand in operands]
        if piped_value is not _NO_VALUE:
            arguments.append(piped_value)
        if isinstance(node, Field):
            value = dot
        elif isinstance(node, Variable):
            value = self.variables[node.name][-1]
        else:
            value = self.evaluate_operand(node.base, dot)
        for name in node.names[:-1]:
            value = self.get_member(value, name, node)
        return self.get_member(value, node.names[-1], node, arguments)

    # ---- functions

    def call_function(self, node: Function, operands: Sequence[Operand], dot: object, piped_value: object) -> object:
        name = node.name
        definition = FUNCTIONS[name]
        self.check_argument_count(node, definition, len(operands) + (piped_value is not _NO_VALUE))
        if name in {"and", "or"}:
            return self.evaluate_and_or(operands, dot, piped_value, name == "or")
        parameter_types = definition.parameter_types
        arguments: list[object] = []
        for number, operand in enumerate(operands):
            parameter_type = parameter_types[number] if number < len(parameter_types) else definition.variadic_type
            if isinstance(operand, Nil) and not number and definition.nil_error:
                self.fail_call(node, operands, definition.nil_error)
            arguments.append(self.evaluate_argument(operand, parameter_type, dot))
        if piped_value is not _NO_VALUE:
            parameter_type = (
                parameter_types[len(operands)] if len(operands) < len(parameter_types) else definition.variadic_type
            )
            arguments.append(self.convert_argument(piped_value, parameter_type, node))
        if self.renders_heading:
            title = call_for_heading(name, arguments, in_condition=self.in_condition)
            if title is not None:
                return title
        if (
            self.rules.error_on_nil
            and definition.nil_error
            and arguments
            and get_kind(arguments[0]) in {"nil", "pointer"}
        ):
            self.fail_call(node, operands, "len of nil pointer" if name == "len" else definition.nil_error)
        try:
            return definition.call(*arguments)
        except TemplateFunctionError as failure:
            self.fail_call(node, operands, str(failure))

    def fail_call(self, node: Function, operands: Sequence[Operand], message: str) -> NoReturn:
        """Raise the error of a call, with the source of the call and its arguments."""
        end = (operands[-1] if operands else node).span.end
        self.fail(node, f"error calling {node.name}: {message}", self.tree.text[node.span.start : end])

    def check_argument_count(self, node: Function, definition: FunctionDefinition, count: int) -> None:
        expected = len(definition.parameter_types)
        if count < expected or (count > expected and not definition.variadic_type):
            least = "at least " if definition.variadic_type else ""
            self.fail(node, f"wrong number of args for {node.name}: want {least}{expected} got {count}")

    def evaluate_and_or(self, operands: Sequence[Operand], dot: object, piped_value: object, stop_at: bool) -> object:
        """Evaluate `and` or `or`: operands up to the first whose truth is `stop_at`."""
        value: object = None
        for operand in operands:
            value = self.evaluate_operand(operand, dot)
            if is_true(value) is stop_at:
                return value
        return value if piped_value is _NO_VALUE else piped_value

    def evaluate_argument(self, node: Operand, parameter_type: str, dot: object) -> object:
        if isinstance(node, Nil) and parameter_type != "any":
            self.fail(node, f"cannot assign nil to {_EXPECTED_TYPES[parameter_type]}")
        value = self.evaluate_operand(node, dot)
        return value if parameter_type == "any" else self.convert_argument(value, parameter_type, node)

    def convert_argument(self, value: object, parameter_type: str, node: Node) -> object:
        """Return a value converted to the type of a parameter. Nil is converted to the zero value."""
        if parameter_type == "any" or (
            self.renders_heading and parameter_type != "int" and get_kind(value) == "string"
        ):
            return value
        actual_kind = get_kind(value)
        if parameter_type == "string":
            text = "" if value is None else get_own_string(value)
            if text is not None:
                return text
        elif parameter_type == "list" and actual_kind in {"list", "nil"}:
            return value or ()
        elif parameter_type == "int" and actual_kind in {"int", "float"} and value == int(value):  # type: ignore[call-overload]
            return int(value)  # type: ignore[call-overload]
        if isinstance(node, Literal):
            self.fail(node, f"expected {_EXPECTED_TYPES[parameter_type]}; found {self.get_source(node)}")
        return self.fail(
            node, f"wrong type for value; expected {_EXPECTED_TYPES[parameter_type]}; got {get_type_name(value)}"
        )


class _TracedExecution(_Execution):
    """An execution that records which action wrote each part of the output."""

    def __init__(self, tree: Tree, rules: LookupRules, *, heading: bool) -> None:
        super().__init__(tree, rules, heading=heading)
        self.actions_by_part: dict[int, Action] = {}

    def run_action(self, node: Action, dot: object) -> None:
        position = len(self.parts)
        super().run_action(node, dot)
        if len(self.parts) > position:
            self.actions_by_part[position] = node


_Execution.statements = {
    Action: _Execution.run_action,
    Branch: _Execution.run_branch,
    Range: _Execution.run_range,
    LoopControl: _Execution.run_loop_control,
    TemplateCall: _Execution.call_template,
}
_TracedExecution.statements = {**_Execution.statements, Action: _TracedExecution.run_action}
