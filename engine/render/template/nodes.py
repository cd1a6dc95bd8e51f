"""The parts of a parsed template: statements, which write, and operands, which have a value."""

from __future__ import annotations

from imq.grammar.errors import Span
from imq.grammar.record import Record

Value = object  # what a template computes with: None, bool, int, float, str, sequences, mappings, and records of data


class Node(Record):
    """A part of a template and its place in the text."""

    span: Span


class Dot(Node):
    """`.`: the value under the cursor."""


class Nil(Node):
    """The constant `nil`."""


class Literal(Node):
    """A constant: a string, a character (its number), an integer, a float, `true` or `false`."""

    value: str | int | float | bool


class Field(Node):
    """`.A.B`: a chain of names read from dot."""

    names: tuple[str, ...]


class Variable(Node):
    """`$x` or `$x.A.B`; `$` itself is the value that the template was given."""

    name: str
    names: tuple[str, ...] = ()


class Chain(Node):
    """`(pipeline).A.B`, or names read from what a function returns."""

    base: Operand
    names: tuple[str, ...]


class Function(Node):
    """The name of a function, called with the operands that follow it."""

    name: str


class Command(Node):
    """An operand and its arguments."""

    operands: tuple[Operand, ...]


class Pipeline(Node):
    """Commands, each given the value of the one before; `names` are the variables that take the last value."""

    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    is_assignment: bool = False


class Text(Node):
    """Text that is written as it stands."""

    text: str


class Action(Node):
    """A pipeline whose value is written, unless it goes to a variable."""

    pipe: Pipeline


class Branch(Node):
    """`if` and `with`: the first arm whose pipeline is true; `with` moves dot to its value."""

    sets_dot: bool
    arms: tuple[tuple[Pipeline, Body], ...]
    else_body: Body


class Range(Node):
    """The body once for each element, with dot moved to it; `otherwise` when there is none."""

    pipe: Pipeline
    body: Body
    else_body: Body


class LoopControl(Node):
    """`break` and `continue`."""

    is_break: bool


class TemplateCall(Node):
    """`template "name" pipeline`: the named template, with the pipeline's value as its dot."""

    name: str
    pipe: Pipeline | None


Operand = Dot | Nil | Literal | Field | Variable | Chain | Function | Pipeline
Statement = Text | Action | Branch | Range | LoopControl | TemplateCall
Body = tuple[Statement, ...]


class Tree(Record):
    """A whole template: what it writes, and the templates that it defines."""

    text: str
    body: Body
    templates: dict[str, Body]
