"""Finds the fields that a template can read, from its text alone.

A path includes everything below it. Dot, variables and the values of pipelines are tracked as sets of paths; a path is
read where its value is used. Values that cannot be tracked count as read.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .nodes import (
    Action,
    Branch,
    Chain,
    Command,
    Dot,
    Field,
    Function,
    Literal,
    Nil,
    Pipeline,
    Range,
    TemplateCall,
    Variable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .nodes import Body, Operand, Statement, Tree

    Path = tuple[str, ...]
    Paths = frozenset[Path]

_NO_PATHS: Paths = frozenset()
_ROOT_PATHS: Paths = frozenset(((),))
_MAX_CALLS = 500  # of named templates; the arguments of further calls count as read completely


def find_read_fields(tree: Tree) -> Paths | None:
    """Return the paths that a template can read; None when it may read everything."""
    reader = _FieldCollector(tree)
    reader.variables.append(("$", _ROOT_PATHS))
    reader.read_body(tree.body, _ROOT_PATHS)
    return None if () in reader.read_paths else frozenset(reader.read_paths)


def find_direct_fields(action: Action) -> frozenset[str] | None:
    """Return the fields, in lower case, of an action that uses only fields, constants and functions; else None."""
    names: set[str] = set()
    pending: list[Operand] = [action.pipe]
    while pending:
        match pending.pop():
            case Pipeline(commands=commands):
                pending += [operand for command in commands for operand in command.operands]
            case Field(names=(name,)):
                names.add(name.lower())
            case Literal() | Function():
                pass
            case _:
                return None
    return frozenset(names)


def extend_paths(paths: Paths, names: Iterable[str]) -> Paths:
    """Return the paths extended by these names."""
    tail = tuple(names)
    return frozenset((*path, *tail) if path else (tail[0].lower(), *tail[1:]) for path in paths)


class _FieldCollector:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.read_paths: set[Path] = set()
        self.variables: list[tuple[str, Paths]] = []
        self.active_templates: list[str] = []
        self.visited: set[tuple[str, Paths]] = set()

    def add_paths(self, paths: Paths) -> Paths:
        self.read_paths |= paths
        return paths

    def read_body(self, statements: Body, dot: Paths) -> None:
        mark = len(self.variables)
        for statement in statements:
            self.read_statement(statement, dot)
        del self.variables[mark:]

    def read_statement(self, node: Statement, dot: Paths) -> None:
        mark = len(self.variables)
        match node:
            case Action():
                value = self.follow_pipeline(node.pipe, dot)
                if not node.pipe.names:
                    self.add_paths(value)
                return  # its variables stay visible
            case Branch():
                for pipe, body in node.arms:
                    value = self.add_paths(self.follow_pipeline(pipe, dot))
                    self.read_body(body, value if node.sets_dot else dot)
                self.read_body(node.else_body, dot)
            case Range():
                value = self.add_paths(self.follow_pipeline(node.pipe, dot))
                self.read_body(node.body, value)
                self.read_body(node.else_body, dot)
            case TemplateCall():
                self.read_template_call(node.name, self.follow_pipeline(node.pipe, dot) if node.pipe else _NO_PATHS)
            case _:
                pass
        del self.variables[mark:]

    def read_template_call(self, name: str, dot: Paths) -> None:
        """Track a call of a named template. A recursive call counts as reading its whole argument."""
        if name in self.active_templates or len(self.visited) > _MAX_CALLS:
            self.add_paths(dot)
            return
        if (name, dot) in self.visited:
            return
        self.visited.add((name, dot))
        outer, self.variables = self.variables, [("$", dot)]
        self.active_templates.append(name)
        self.read_body(self.tree.templates.get(name, ()), dot)
        self.active_templates.pop()
        self.variables = outer

    def follow_pipeline(self, node: Pipeline, dot: Paths) -> Paths:
        value: Paths | None = None
        for command in node.commands:
            value = self.follow_command(command, dot, value)
        result = value or _NO_PATHS
        if node.is_assignment:
            self.add_paths(result)  # a later use of the variable reads below these paths
        else:
            self.variables.extend((name, result) for name in node.names)
        return result

    def follow_command(self, node: Command, dot: Paths, piped_paths: Paths | None) -> Paths:
        first, arguments = node.operands[0], node.operands[1:]
        if isinstance(first, Function):
            return self.follow_call(first.name, arguments, dot, piped_paths)
        for argument in arguments:
            self.add_paths(self.follow_operand(argument, dot))
        if piped_paths is not None:
            self.add_paths(piped_paths)
        return self.follow_operand(first, dot)

    def follow_operand(self, node: Operand, dot: Paths) -> Paths:
        match node:
            case Dot():
                return dot
            case Field():
                return extend_paths(dot, node.names)
            case Variable():
                value = self.find_variable(node.name)
                return extend_paths(value, node.names) if node.names else value
            case Chain():
                return extend_paths(self.follow_operand(node.base, dot), node.names)
            case Pipeline():
                return self.follow_pipeline(node, dot)
            case Function():
                return self.follow_call(node.name, (), dot, None)
            case Literal() | Nil():
                return _NO_PATHS

    def find_variable(self, name: str) -> Paths:
        return next((paths for variable_name, paths in reversed(self.variables) if variable_name == name), _NO_PATHS)

    def follow_call(self, name: str, operands: tuple[Operand, ...], dot: Paths, piped_paths: Paths | None) -> Paths:
        """Track `index` with constant keys, and functions that return an argument; other arguments are read."""
        values = [self.follow_operand(operand, dot) for operand in operands]
        if name == "index" and piped_paths is None and operands:
            paths = values[0]
            for operand, value in zip(operands[1:], values[1:], strict=True):
                self.add_paths(value)
                if isinstance(operand, Literal) and isinstance(operand.value, str):
                    paths = extend_paths(paths, (operand.value,))
            return paths
        if piped_paths is not None:
            values.append(piped_paths)
        for value in values:
            self.add_paths(value)
        return frozenset().union(*values) if name in {"and", "or", "index", "slice"} else _NO_PATHS
