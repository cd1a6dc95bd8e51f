"""Statements: actions, scripts and settings. Nothing happens before a session is called with one."""

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
    """What an action works on: a name, a path, a query, or `imq.var(…)`."""

FLAGS = ("force", "skip existing", "repair", "dry run", "with its tags", "with referrers")
"""Options that are said alone."""
LISTS = ("platform", "change", "run")
"""Options that take several values."""
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
        """Ask for an output form: `imq.rm(…).as_("json")`."""
        return self._with_output(to_output(form=form))

    def format(self, template: str) -> Statement:
        """Write each row through a template in Go's language."""
        return self._with_output(to_output(template=template))

    def _with_output(self, shown: ast.Output) -> Statement:
        if not isinstance(self.node, ast.QueryStatement | ast.ActionStatement | ast.Assert):
            raise Misuse(f"this answers no rows: {self}")
        if self.node.output != ast.Output():
            raise StatementError("the output form is said twice", code="repeated")
        return Statement(self.node.replace(output=shown))


def to_output(form: str | None = None, template: str | None = None) -> ast.Output:
    """Return how an answer is to look. Raises `StatementError` for a form that there is not."""
    if form is None:
        return ast.Output(template=template)
    from imq.engine.render.formats import get_format

    return ast.Output(get_format(form).name)


def to_statement(value: object) -> ast.Statement:
    """Return the tree of what a session can run. Raises `Misuse` for a mere expression."""
    node = value.node if isinstance(value, Node) else None
    if isinstance(node, ast.Query | ast.Combination):
        return ast.QueryStatement(node)
    if isinstance(value, Statement):
        return value.node
    raise Misuse(
        f"a query or statement is wanted, not {describe(value)}",
        hints=("a condition belongs into a query: session(images.where(…)), or into imq.assert_(…)",),
    )


# Actions


def build_action(verb: str, what: tuple[Operand, ...], options: dict[str, object]) -> Statement:
    """Return an action: a verb, what it works on (names and paths, or one query), and its options by their names."""
    every = bool(options.pop("all", False))
    queries = [one for one in what if isinstance(one, Node) and isinstance(one.node, ast.Query | ast.Combination)]
    if queries and len(what) > 1:
        raise StatementError(
            f"{verb} takes names or one query", code="operand", hints=("queries are joined with |: first | second",)
        )
    if every and what:
        raise StatementError(f"{verb}: all, or some of them", code="operand", hints=("all of a query: query.all()",))
    act = ast.ActionStatement(verb, explicit_all=every, options=tuple(_to_options(options)))
    if queries:
        rows = queries[0].node
        assert isinstance(rows, ast.Query | ast.Combination)
        return Statement(act.replace(query=rows))
    return Statement(act.replace(references=tuple(to_operand(one) for one in what)))


def _to_options(options: dict[str, object]) -> Iterable[ast.Option]:
    for name, value in options.items():
        if name in FLAGS:
            if value:
                yield ast.Option(name)
        elif value is not None:
            given = tuple(value) if name in LISTS and isinstance(value, list | tuple) else (value,)
            if given:
                yield ast.Option(name, tuple(to_operand(one) for one in given))


def verb(name: str, options: tuple[str, ...], doc: str) -> Callable[..., Statement]:
    """Return the function that makes actions of a verb.

    Its operands are names, paths or one query; its options are said by name, with an underscore for the blank and
    behind a word that Python keeps to itself: `imq.tag("a", as_="b")`, `dry_run=True`.
    """
    known = {python_name(option): option for option in options}

    def action(*what: Operand, all: bool = False, **given: object) -> Statement:  # noqa: A002 - the language's word
        named: dict[str, object] = {"all": all} if all else {}
        for option, value in given.items():
            if option not in known:
                raise StatementError(
                    f'{name} does not take "{option}"',
                    code="option",
                    hints=(closest_hint(option, known), f"its options: {', '.join(known) or 'none'}"),
                )
            named[known[option]] = value
        return build_action(name, what, named)

    action.__name__ = action.__qualname__ = python_name(name)
    action.__doc__ = doc
    return action


def python_name(name: str) -> str:
    """Return a word of the language as Python can write it: `as_`, `dry_run`, `import_`."""
    from keyword import iskeyword

    written = name.replace(" ", "_")
    return f"{written}_" if iskeyword(written) else written


# Statements around statements


def explain(statement: Node) -> Statement:
    """Say how a query or statement would run, and do nothing."""
    return Statement(ast.Explain(to_statement(statement)))


def dry_run(statement: Node) -> Statement:
    """List the actions of a statement, and do none."""
    return Statement(ast.DryRun(to_statement(statement)))


# Scripts


def let(name: str | None = None, value: Value | Iterable[Value] | None = None) -> Statement:
    """Let `imq.var(name)` stand for a value, a list, or what a query answers; without arguments, show what stands.

    >>> import imq
    >>> str(imq.let("keep", ["latest", "stable"]))
    'let keep = (latest, stable)'
    """
    if name is None:
        return Statement(ast.Let())
    if not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} is no name for a variable")
    if isinstance(value, Node) and isinstance(value.node, ast.Query | ast.Combination):
        return Statement(ast.Let(name, to_subquery(value.node)))
    if isinstance(value, list | tuple | set | frozenset):
        items = tuple(to_right_operand(item) for item in value)
        if not items:
            raise Misuse("the list is empty", hints=("leave out what was to use it",))
        return Statement(ast.Let(name, ast.ListLiteral(items) if len(items) > 1 else items[0]))
    return Statement(ast.Let(name, to_right_operand(value)))


def view(name: str | None = None, query: Node | None = None) -> Statement:
    """Name a query, to be asked as `imq.table(name)`; without arguments, show the views there are."""
    if name is None:
        return Statement(ast.View())
    if not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} is no name for a view")
    node = query.node if isinstance(query, Node) else None
    if not isinstance(node, ast.Query | ast.Combination):
        raise Misuse("a view is a query", hints=('such as: imq.view("stale", images.where(imq.older_than("90d")))',))
    return Statement(ast.View(name.lower(), node))


def use(source: str | None = None) -> Statement:
    """Ask this source from here on; without one, say which is asked."""
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
    """Say what a script does when a statement fails: `stop` or `continue`."""
    if then not in ("stop", "continue"):
        raise StatementError(f'a script cannot "{then}" on an error', hints=("it may: stop, continue",))
    return Statement(ast.OnError(then == "stop"))


def assert_(condition_: Expression) -> Statement:
    """Ask whether a condition holds; the session raises `AssertionFailed` when it does not.

    >>> import imq
    >>> from imq import images, field as f
    >>> str(imq.assert_(imq.no(images.where(f.user == "root"))))
    'assert no images where user = root'
    """
    return Statement(ast.Assert(to_condition(condition_)))


# The rest


def set_(name: str | None = None, value: Value | None = None) -> Statement:
    """Change a setting, show one (`imq.set("jobs")`), or show all: `imq.set` is this."""
    if name is not None and not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} is no name of a setting")
    if name is None and value is not None:
        raise Misuse("the value of which setting?")
    return Statement(ast.Set(name, to_right_operand(value) if value is not None else None))


def help_(*topics: str) -> Statement:
    """Tell of a table, field, verb, function, form or setting; without one, of the language: `imq.help` is this."""
    words = tuple(part for topic in topics for part in topic.split())
    for one in words:
        if not is_bare_word(one):
            raise Misuse(f"{one!r} is no word")
    return Statement(ast.Help(words))


__all__ = [
    "FLAGS",
    "LISTS",
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
