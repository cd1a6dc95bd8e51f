"""Statements: actions, scripts and settings. Nothing happens before a session runs one."""

from __future__ import annotations

import re

from imq.grammar import ast
from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.lexer import is_bare_word
from imq.grammar.record import TYPE_CHECKING

from .expressions import Expression, to_condition, to_right_operand, to_subquery
from .literals import Misuse, Node, describe, to_operand

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from .expressions import Value

    Operand = str | os.PathLike[str] | Node
    """An operand of an action: a name, a path, a query, or `imq.var(…)`."""

FLAGS = (
    "force",
    "skip existing",
    "repair",
    "dry run",
    "ignoring times",
    "with its tags",
    "with referrers",
    "with waste",
    "with no waste",
)
"""Options without a value."""
LISTS = ("platform", "change", "run")
"""Options that take several values."""
MAPS = ("with",)
"""Options that take values by name; a list gives a name several values: `with_={"env": ["A=1", "B=2"]}`."""
_NAME = re.compile(r"[^\W\d]\w*")


class Statement(Node):
    """A statement, such as an action: `str()` is its text, `session(statement)` runs it.

    >>> import imq
    >>> str(imq.rm("app:1", force=True))
    'rm app:1 force'
    """

    __slots__ = ()

    node: ast.Statement

    def as_(self, form: str) -> Statement:
        """Set the output format: `imq.rm(…).as_("json")`."""
        return self._with_output(to_output(form=form))

    def format(self, template: str) -> Statement:
        """Format each row with a Go template."""
        return self._with_output(to_output(template=template))

    def _with_output(self, output: ast.Output) -> Statement:
        if not isinstance(self.node, ast.QueryStatement | ast.ActionStatement | ast.Assert):
            raise Misuse(f"this statement returns no rows: {self}")
        if self.node.output != ast.Output():
            raise StatementError("the output format is given twice", code="repeated")
        return Statement(self.node.replace(output=output))


def to_output(form: str | None = None, template: str | None = None) -> ast.Output:
    """Return the node of an output format or template. Raises `StatementError` for an unknown format."""
    if form is None:
        return ast.Output(template=template)
    from imq.engine.render.formats import get_format

    return ast.Output(get_format(form).name)


def to_statement(value: object) -> ast.Statement:
    """Return the tree of a statement or query. Raises `Misuse` for other values, such as an expression."""
    node = value.node if isinstance(value, Node) else None
    if isinstance(node, ast.Query | ast.Combination):
        return ast.QueryStatement(node)
    if isinstance(value, Statement):
        return value.node
    raise Misuse(
        f"expected a query or statement, not {describe(value)}",
        hints=("a condition belongs in a query, session(images.where(…)), or in imq.assert_(…)",),
    )


# Actions


def build_action(verb: str, operands: tuple[Operand, ...], options: dict[str, object]) -> Statement:
    """Return an action: a verb, its operands (names and paths, or one query), and its options by their names."""
    explicit_all = bool(options.pop("all", False))
    queries = [one for one in operands if isinstance(one, Node) and isinstance(one.node, ast.Query | ast.Combination)]
    if queries and len(operands) > 1:
        raise StatementError(
            f"{verb} takes names or one query", code="operand", hints=("join queries with |: first | second",)
        )
    if explicit_all and operands:
        raise StatementError(
            f"{verb}: all=True cannot be combined with operands",
            code="operand",
            hints=("for all rows of a query: query.all()",),
        )
    act = ast.ActionStatement(verb, explicit_all=explicit_all, options=tuple(_to_options(options)))
    if queries:
        rows = queries[0].node
        assert isinstance(rows, ast.Query | ast.Combination)
        return Statement(act.replace(query=rows))
    return Statement(act.replace(references=tuple(to_operand(one) for one in operands)))


def _to_options(options: dict[str, object]) -> Iterable[ast.Option]:
    if "in" in options:  # the place of what is after `from` follows it in text
        options = {name: options[name] for name in dict.fromkeys(("from", "in", *options)) if name in options}
    for name, value in options.items():
        if name in FLAGS:
            if value:
                yield ast.Option(name)
        elif value is not None and name in MAPS:
            if not isinstance(value, dict):
                raise StatementError(
                    f"{name} takes a dict", code="option", hints=(f'{python_name(name)}={{"env": "A=1"}}',)
                )
            if pairs := [(key, one) for key, some in value.items() for one in _list_values(some)]:
                yield ast.Option(name, tuple(to_operand(part) for pair in pairs for part in pair))
        elif value is not None:
            values = tuple(value) if name in LISTS and isinstance(value, list | tuple) else (value,)
            if values:
                yield ast.Option(name, tuple(to_operand(one) for one in values))


def _list_values(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def verb(name: str, options: tuple[str, ...], doc: str) -> Callable[..., Statement]:
    """Return the function that builds actions of a verb.

    It takes names, paths or one query. Options are keyword arguments: a space becomes an underscore, and a keyword of
    Python gets one at its end: `imq.tag("a", as_="b")`, `dry_run=True`.
    """
    known = {python_name(option): option for option in options}

    def action(*operands: Operand, all: bool = False, **values: object) -> Statement:  # noqa: A002 - a word of imq
        named: dict[str, object] = {"all": all} if all else {}
        for option, value in values.items():
            if option not in known:
                raise StatementError(
                    f'{name} has no option "{option}"',
                    code="option",
                    hints=(closest_hint(option, known), f"options: {', '.join(known) or 'none'}"),
                )
            named[known[option]] = value
        return build_action(name, operands, named)

    action.__name__ = action.__qualname__ = python_name(name)
    action.__doc__ = doc
    return action


def python_name(name: str) -> str:
    """Return a word of the language as a Python identifier: `as_`, `dry_run`, `import_`."""
    from keyword import iskeyword

    identifier = name.replace(" ", "_")
    return f"{identifier}_" if iskeyword(identifier) else identifier


# Statements that contain a statement


def explain(statement: Node) -> Statement:
    """Show the plan of a query or statement without running it."""
    return Statement(ast.Explain(to_statement(statement)))


def dry_run(statement: Node) -> Statement:
    """List the actions of a statement without executing them."""
    return Statement(ast.DryRun(to_statement(statement)))


# Scripts


def let(name: str | None = None, value: Value | Iterable[Value] | None = None) -> Statement:
    """Set a variable to a value, a list, or the rows of a query; `imq.var(name)` reads it. Without arguments, list all.

    >>> import imq
    >>> str(imq.let("keep", ["latest", "stable"]))
    'let keep = (latest, stable)'
    """
    if name is None:
        return Statement(ast.Let())
    if not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} is not a valid name of a variable")
    if isinstance(value, Node) and isinstance(value.node, ast.Query | ast.Combination):
        return Statement(ast.Let(name, to_subquery(value.node)))
    if isinstance(value, list | tuple | set | frozenset):
        items = tuple(to_right_operand(item) for item in value)
        if not items:
            raise Misuse("a variable cannot hold an empty list", hints=("omit the condition that uses it",))
        return Statement(ast.Let(name, ast.ListLiteral(items) if len(items) > 1 else items[0]))
    return Statement(ast.Let(name, to_right_operand(value)))


def view(name: str | None = None, query: Node | None = None) -> Statement:
    """Define a view; `imq.table(name)` queries it. Without arguments, list all views."""
    if name is None:
        return Statement(ast.View())
    if not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} is not a valid name of a view")
    node = query.node if isinstance(query, Node) else None
    if not isinstance(node, ast.Query | ast.Combination):
        raise Misuse(
            "a view requires a query", hints=('example: imq.view("stale", images.where(imq.older_than("90d")))',)
        )
    return Statement(ast.View(name.lower(), node))


def use(source: str | None = None) -> Statement:
    """Set the default source of later statements. Without an argument, show it."""
    if source is None:
        return Statement(ast.Use())
    node = to_operand(source)
    if not isinstance(node, ast.Literal):
        raise Misuse("use takes a name")
    return Statement(ast.Use(node))


def include(path: str | os.PathLike[str]) -> Statement:
    """Run the statements of a file."""
    node = to_operand(path)
    if not isinstance(node, ast.Literal):
        raise Misuse("include takes a path")
    return Statement(ast.Include(node.text))


def on_error(then: str) -> Statement:
    """Set what a script does when a statement fails: `stop` or `continue`."""
    if then not in ("stop", "continue"):
        raise StatementError(f'unknown action "{then}" on an error', hints=("expected stop or continue",))
    return Statement(ast.OnError(then == "stop"))


def assert_(condition_: Expression) -> Statement:
    """Check that a condition holds. The session raises `AssertionFailed` when it does not.

    >>> import imq
    >>> from imq import images, field as f
    >>> str(imq.assert_(imq.no(images.where(f.user == "root"))))
    'assert no images where user = root'
    """
    return Statement(ast.Assert(to_condition(condition_)))


# Settings and help


def set_(name: str | None = None, value: Value | None = None) -> Statement:
    """Change a setting, show one (`imq.set("jobs")`), or show all. Its public name is `imq.set`."""
    if name is not None and not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} is not a valid name of a setting")
    if name is None and value is not None:
        raise Misuse("set requires the name of a setting")
    return Statement(ast.Set(name, to_right_operand(value) if value is not None else None))


def help_(*topics: str) -> Statement:
    """Describe a table, field, verb, function, format or setting, else the language. Its public name is `imq.help`."""
    words = tuple(part for topic in topics for part in topic.split())
    for one in words:
        if not is_bare_word(one):
            raise Misuse(f"{one!r} is not a word")
    return Statement(ast.Help(words))


__all__ = [
    "FLAGS",
    "LISTS",
    "MAPS",
    "Operand",
    "Statement",
    "assert_",
    "build_action",
    "dry_run",
    "explain",
    "help_",
    "include",
    "let",
    "on_error",
    "python_name",
    "set_",
    "to_output",
    "to_statement",
    "use",
    "verb",
    "view",
]  # fmt: skip
