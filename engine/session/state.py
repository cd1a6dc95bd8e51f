"""The state that a session keeps between statements: settings, variables, views and the default source."""

from __future__ import annotations

from imq.engine.actions import VERBS
from imq.engine.catalog.settings import SETTINGS, check_setting
from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES, DataType
from imq.engine.result import Column, Message, Result, RowSet
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .expand import Definitions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from imq.engine.configuration.configuration import Configuration
    from imq.grammar.errors import Span

    from .expand import Value


DEFAULT_SOURCE = "store"
"""The source of queries without `in`."""


class SessionState:
    """Settings, variables and views by name, and the default source. Names of views are in lower case."""

    def __init__(self, configuration: Configuration) -> None:
        self.settings = {setting.name: setting.default for setting in SETTINGS.values()} | dict(configuration.settings)
        self.variables: dict[str, Value] = {}
        self.views: dict[str, ast.RowSource | str] = {}
        self.source: str | None = configuration.source or None
        """The source that the user chose for statements that name none; None until then."""
        self.found_source: str | None = None
        """The source of statements that name none, found without a choice of the user; None until one is needed."""
        self.source_reason = f"from {' and '.join(configuration.files)}" if configuration.files else "configured"
        """Why the current source was chosen."""
        for name, query in configuration.views.items():
            self.views[_check_view_name(name)] = query

    def get_definitions(self, environment: Mapping[str, str], read: Callable[[str], ast.RowSource]) -> Definitions:
        """Return the current definitions of variables and views; `$env.NAME` is an environment variable."""
        return Definitions(self.variables, self.views, environment, read)

    def define(self, name: str, value: str) -> None:
        """Set the setting of this name; without such a setting, the variable."""
        if name.lower() in SETTINGS:
            name, value = check_setting(name, value)
            self.settings[name] = value
        elif name.isidentifier():
            self.variables[name] = ast.Literal(value)
        else:
            raise StatementError(f'"{name}" is neither a setting nor a valid name of a variable', code="variable")

    def define_variable(self, statement: ast.Let) -> Result:
        """Define a variable, whose value is already expanded. Without a name, list the variables."""
        if statement.name is None or statement.value is None:
            from imq.grammar.unparser import unparse

            return _make_rows(
                ("name", "value"), [(name, unparse(value)) for name, value in sorted(self.variables.items())]
            )
        if "." in statement.name:
            raise StatementError(
                "the name of a variable cannot contain a dot",
                code="variable",
                span=statement.span,
                hints=("$env.NAME cannot be set",),
            )
        self.variables[statement.name] = statement.value
        return Message("")

    def define_view(self, statement: ast.View) -> Result:
        """Define a view, whose query is already checked. Without a name, list the views."""
        if statement.name is None or statement.rows is None:
            from imq.grammar.unparser import unparse

            definitions = (
                (name, rows if isinstance(rows, str) else unparse(rows)) for name, rows in self.views.items()
            )
            return _make_rows(("name", "query"), sorted(definitions))
        self.views[_check_view_name(statement.name, statement.span)] = statement.rows
        return Message("")

    def set_source(self, source: str, reason: str) -> None:
        """Set the source of statements that name none, and why."""
        self.source, self.source_reason = source, reason

    @property
    def current_source(self) -> str:
        """The source of statements that name none."""
        return self.source or self.found_source or DEFAULT_SOURCE

    def change_setting(self, statement: ast.Set) -> Result:
        """Show all settings or one, or change one."""
        if statement.name is None:
            lines = [(name, SETTINGS[name].show(value), SETTINGS[name].doc) for name, value in self.settings.items()]
            return _make_rows(("name", "value", "meaning"), lines)
        if statement.value is None:
            name, value = check_setting(statement.name, self.settings.get(statement.name.lower(), ""), statement.span)
            return Message(f"{name} = {SETTINGS[name].show(value)}\n")
        if not isinstance(statement.value, ast.Literal):
            raise StatementError("expected one word as the value of a setting", code="setting", span=statement.span)
        name, value = check_setting(statement.name, statement.value.text, statement.span)
        self.settings[name] = value
        return Message("")


def _check_view_name(text: str, span: Span | None = None) -> str:
    """Return the name of a view in lower case; raises `StatementError` for an invalid name."""
    name = text.lower()
    if name in TABLES or name in UNAVAILABLE_TABLES or name in VERBS or "." in name:
        reason = (
            "a table" if name in TABLES or name in UNAVAILABLE_TABLES else "a verb" if name in VERBS else "not a name"
        )
        raise StatementError(f'invalid name for a view: "{name}" is {reason}', code="view", span=span)
    return name


def _make_rows(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> RowSet:
    return RowSet(tuple(Column(name, name.upper(), DataType.TEXT) for name in names), rows)
