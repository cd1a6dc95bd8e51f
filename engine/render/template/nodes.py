"""The nodes of a parsed template: statements, which write output, and operands, which have a value."""

from __future__ import annotations

from imq.grammar.errors import Span
from imq.grammar.record import Record

Value = object  # None, bool, int, float, str, sequences, mappings, and records of data


class Node(Record):
    """A node and its position in the source."""

    span: Span


class Dot(Node):
    """`.`: the value under the cursor."""


class Nil(Node):
    """The constant `nil`."""


class Literal(Node):
    """A constant: a string, a character (as its code point), an integer, a float, `true` or `false`."""

    value: str | int | float | bool


class Field(Node):
    """`.A.B`: a chain of names read from dot."""

    names: tuple[str, ...]


class Variable(Node):
    """`$x` or `$x.A.B`; `$` is the value that the template is rendered for."""

    name: str
    names: tuple[str, ...] = ()


class Chain(Node):
    """`(pipeline).A.B`, or fields of the result of a function."""

    base: Operand
    names: tuple[str, ...]


class Function(Node):
    """The name of a function, called with the operands that follow it."""

    name: str


class Command(Node):
    """An operand and its arguments."""

    operands: tuple[Operand, ...]


class Pipeline(Node):
    """Commands; the value of each is the last argument of the next. `names` are the variables set to the last value."""

    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    is_assignment: bool = False


class Text(Node):
    """Literal text."""

    text: str


class Action(Node):
    """A pipeline. Its value is written, unless it sets a variable."""

    pipe: Pipeline


class Branch(Node):
    """`if` and `with`: executes the first arm whose pipeline is true; `with` sets dot to its value."""

    sets_dot: bool
    arms: tuple[tuple[Pipeline, Body], ...]
    else_body: Body


class Range(Node):
    """`range`: executes the body once for each element, which is dot; `else_body` without elements."""

    pipe: Pipeline
    body: Body
    else_body: Body


class LoopControl(Node):
    """`break` and `continue`."""

    is_break: bool


class TemplateCall(Node):
    """`template "name" pipeline`: executes the named template with the value of the pipeline as dot."""

    name: str
    pipe: Pipeline | None


Operand = Dot | Nil | Literal | Field | Variable | Chain | Function | Pipeline
Statement = Text | Action | Branch | Range | LoopControl | TemplateCall
Body = tuple[Statement, ...]


class Tree(Record):
    """A parsed template: its source, its body, and the templates that it defines."""

    text: str
    body: Body
    templates: dict[str, Body]
