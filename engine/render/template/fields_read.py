"""Which fields of its value a template can read, told from its text alone.

A path stands for everything below it. Dot, variables and the values of pipelines are followed as sets of paths; a path
counts as read where its value is used. What cannot be followed is taken as read.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .nodes import Action, Branch, Chain, Command, Dot, Field, Function, Invoke, Literal, Nil, Pipeline, Range, Variable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .nodes import Body, Operand, Statement, Tree

    Path = tuple[str, ...]
    Paths = frozenset[Path]

_NONE: Paths = frozenset()
_ROOT: Paths = frozenset(((),))
_MOST_CALLS = 500  # of named templates; what further ones are given counts as read whole


def fields_read(tree: Tree) -> Paths | None:
    """Return the paths which a template can read from its value; None when it may read everything."""
    reader = _Reader(tree)
    reader.variables.append(("$", _ROOT))
    reader.body(tree.body, _ROOT)
    return None if () in reader.read else frozenset(reader.read)


def direct_fields(action: Action) -> frozenset[str] | None:
    """Return the fields, in lower case, that an action's value is made of with constants; None when with more."""
    found: set[str] = set()
    pending: list[Operand] = [action.pipe]
    while pending:
        match pending.pop():
            case Pipeline(commands=commands):
                pending += [operand for command in commands for operand in command.operands]
            case Field(names=(name,)):
                found.add(name.lower())
            case Literal() | Function():
                pass
            case _:
                return None
    return frozenset(found)


def extended(paths: Paths, names: Iterable[str]) -> Paths:
    """Return the paths of what has these names below other paths."""
    tail = tuple(names)
    return frozenset((*path, *tail) if path else (tail[0].lower(), *tail[1:]) for path in paths)


class _Reader:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.read: set[Path] = set()
        self.variables: list[tuple[str, Paths]] = []
        self.running: list[str] = []
        self.done: set[tuple[str, Paths]] = set()

    def use(self, paths: Paths) -> Paths:
        self.read |= paths
        return paths

    def body(self, statements: Body, dot: Paths) -> None:
        mark = len(self.variables)
        for statement in statements:
            self.statement(statement, dot)
        del self.variables[mark:]

    def statement(self, node: Statement, dot: Paths) -> None:
        mark = len(self.variables)
        match node:
            case Action():
                value = self.pipeline(node.pipe, dot)
                if not node.pipe.names:
                    self.use(value)
                return  # what it declares stays visible
            case Branch():
                for pipe, body in node.arms:
                    value = self.use(self.pipeline(pipe, dot))
                    self.body(body, value if node.moves_dot else dot)
                self.body(node.otherwise, dot)
            case Range():
                value = self.use(self.pipeline(node.pipe, dot))
                self.body(node.body, value)
                self.body(node.otherwise, dot)
            case Invoke():
                self.invoke(node.name, self.pipeline(node.pipe, dot) if node.pipe else _NONE)
            case _:
                pass
        del self.variables[mark:]

    def invoke(self, name: str, dot: Paths) -> None:
        """Read what a named template reads; one which calls itself is taken to read all it is given."""
        if name in self.running or len(self.done) > _MOST_CALLS:
            self.use(dot)
            return
        if (name, dot) in self.done:
            return
        self.done.add((name, dot))
        outer, self.variables = self.variables, [("$", dot)]
        self.running.append(name)
        self.body(self.tree.defined.get(name, ()), dot)
        self.running.pop()
        self.variables = outer

    def pipeline(self, node: Pipeline, dot: Paths) -> Paths:
        value: Paths | None = None
        for command in node.commands:
            value = self.command(command, dot, value)
        result = value or _NONE
        if node.assigns:
            self.use(result)  # whoever reads the variable later, reads below this
        else:
            self.variables.extend((name, result) for name in node.names)
        return result

    def command(self, node: Command, dot: Paths, final: Paths | None) -> Paths:
        first, arguments = node.operands[0], node.operands[1:]
        if isinstance(first, Function):
            return self.call(first.name, arguments, dot, final)
        for argument in arguments:
            self.use(self.operand(argument, dot))
        if final is not None:
            self.use(final)
        return self.operand(first, dot)

    def operand(self, node: Operand, dot: Paths) -> Paths:
        match node:
            case Dot():
                return dot
            case Field():
                return extended(dot, node.names)
            case Variable():
                value = self.variable(node.name)
                return extended(value, node.names) if node.names else value
            case Chain():
                return extended(self.operand(node.base, dot), node.names)
            case Pipeline():
                return self.pipeline(node, dot)
            case Function():
                return self.call(node.name, (), dot, None)
            case Literal() | Nil():
                return _NONE

    def variable(self, name: str) -> Paths:
        return next((paths for known, paths in reversed(self.variables) if known == name), _NONE)

    def call(self, name: str, operands: tuple[Operand, ...], dot: Paths, final: Paths | None) -> Paths:
        """Follow `index` with constant keys, and what passes a value on; every other argument is read."""
        values = [self.operand(operand, dot) for operand in operands]
        if name == "index" and final is None and operands:
            paths = values[0]
            for operand, value in zip(operands[1:], values[1:], strict=True):
                self.use(value)
                if isinstance(operand, Literal) and isinstance(operand.value, str):
                    paths = extended(paths, (operand.value,))
            return paths
        if final is not None:
            values.append(final)
        for value in values:
            self.use(value)
        return frozenset().union(*values) if name in {"and", "or", "index", "slice"} else _NONE
