"""Texts to statements, with the files that they include: all of it is read and parsed before any of it is run."""

from __future__ import annotations

import os

from imq.engine.units.paths import expand_path
from imq.grammar import ast
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.parser import parse
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

    from imq.grammar.lexer import Vocabulary

MAX_DEPTH = 16
"""Files that may include each other in a row."""


LARGEST_SCRIPT = 16 << 20
"""Characters of a script: more than anybody writes, and a bound for what never ends."""


def read_script(source: TextIO, name: str) -> str:
    """Return the text of a script; raises `ImqError` (code `too-large`) for one that is too long or does not end."""
    text = source.read(LARGEST_SCRIPT + 1)
    if len(text) > LARGEST_SCRIPT:
        raise ImqError(
            f"the script {name} has more than {LARGEST_SCRIPT >> 20} Mi characters",
            code="too-large",
            hints=('divide it into several scripts; a list of names is read with: lines of "FILE"',),
        )
    return text


class Script(Record):
    """A file that was included: its text, its statements, and the folder where its own paths begin."""

    text: str
    statements: tuple[ast.Statement, ...]
    folder: str


class ScriptLoader:
    """Reads scripts. A file is read when the text that includes it is parsed, and what was parsed is what is run."""

    def __init__(self) -> None:
        self._read: dict[str, Script] = {}

    def parse(
        self,
        text: str,
        vocabulary: Vocabulary,
        folder: str,
        wholes: Mapping[int, int] | None = None,
        above: tuple[str, ...] = (),
    ) -> tuple[ast.Statement, ...]:
        """Return the statements of a text; `above` are the files that include each other down to it.

        Raises `StatementError` for what is wrong in the text, or in a file that it includes.
        """

        def included(statement: ast.Include) -> Iterable[str]:
            script = self._script(statement, folder, vocabulary, above)
            return self._views(script)

        return parse(text, vocabulary, wholes, included)

    def load_include(self, statement: ast.Include, folder: str, vocabulary: Vocabulary) -> Script:
        """Return the file that a statement includes, as it was when the statement was parsed."""
        known = self._read.get(expand_path(statement.path, folder, None, statement.span))
        return known if known is not None else self._script(statement, folder, vocabulary, ())

    def _script(self, statement: ast.Include, folder: str, vocabulary: Vocabulary, above: tuple[str, ...]) -> Script:
        path = expand_path(statement.path, folder, None, statement.span)
        if path in above or len(above) >= MAX_DEPTH:
            why = "includes itself" if path in above else f"is included {MAX_DEPTH} files deep"
            raise StatementError(f"{statement.path} {why}", code="include", span=statement.span)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as source:
                text = read_script(source, statement.path)
        except OSError as problem:
            raise StatementError(
                f"cannot read {statement.path}: {problem.strerror}", code="include", span=statement.span
            ) from None
        inside = os.path.dirname(path) or os.curdir
        try:
            statements = self.parse(text, vocabulary, inside, above=(*above, path))
        except ImqError as error:
            error.hints = (*error.hints, f"in the file {statement.path}")
            raise
        script = self._read[path] = Script(text, statements, inside)
        return script

    def _views(self, script: Script) -> frozenset[str]:
        """Return the names of the views that a file makes, those of files that it includes among them."""
        names: set[str] = set()
        for statement in script.statements:
            if isinstance(statement, ast.View) and statement.name is not None:
                names.add(statement.name)
            elif isinstance(statement, ast.Include):
                names |= self._views(self._read[expand_path(statement.path, script.folder, None)])
        return frozenset(names)
