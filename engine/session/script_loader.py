"""Parses scripts and the files that they include. All files are read and parsed before any statement runs."""

from __future__ import annotations

import os

from imq.grammar import ast
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.parser import parse
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

    from imq.grammar.lexer import Vocabulary

MAX_DEPTH = 16
"""Maximum nesting of includes."""


MAX_SCRIPT_LENGTH = 16 << 20
"""Maximum number of characters of a script. It also bounds an endless input such as a device."""


def read_script(source: TextIO, name: str) -> str:
    """Return the text of a script; raises `ImqError` (code `too-large`) when it is too long."""
    text = source.read(MAX_SCRIPT_LENGTH + 1)
    if len(text) > MAX_SCRIPT_LENGTH:
        raise ImqError(
            f"the script {name} is longer than {MAX_SCRIPT_LENGTH >> 20} Mi characters",
            code="too-large",
            hints=('split it into several scripts; to read a list of names: lines of "FILE"',),
        )
    return text


class Script(Record):
    """An included file: its text, its statements, and the folder that its relative paths start at."""

    text: str
    statements: tuple[ast.Statement, ...]
    folder: str


class ScriptLoader:
    """Reads scripts. An included file is read once, when the text that includes it is parsed."""

    def __init__(self) -> None:
        self._read: dict[str, Script] = {}

    def parse(
        self,
        text: str,
        vocabulary: Vocabulary,
        folder: str,
        atoms: Mapping[int, int] | None = None,
        including_files: tuple[str, ...] = (),
    ) -> tuple[ast.Statement, ...]:
        """Return the statements of a text; `including_files` are the files whose includes led to it.

        Raises `StatementError` for an error in the text or in a file that it includes.
        """

        def list_views(statement: ast.Include) -> Iterable[str]:
            script = self._load(statement, folder, vocabulary, including_files)
            return self._list_views(script)

        return parse(text, vocabulary, atoms, list_views)

    def load_include(self, statement: ast.Include, folder: str, vocabulary: Vocabulary) -> Script:
        """Return the file that a statement includes, as it was when the statement was parsed."""
        from imq.engine.units.paths import expand_path

        script = self._read.get(expand_path(statement.path, folder, None, statement.span))
        return script if script is not None else self._load(statement, folder, vocabulary, ())

    def _load(
        self, statement: ast.Include, folder: str, vocabulary: Vocabulary, including_files: tuple[str, ...]
    ) -> Script:
        from imq.engine.units.paths import expand_path

        path = expand_path(statement.path, folder, None, statement.span)
        if path in including_files or len(including_files) >= MAX_DEPTH:
            problem_text = "includes itself" if path in including_files else f"is included {MAX_DEPTH} files deep"
            raise StatementError(f"{statement.path} {problem_text}", code="include", span=statement.span)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as source:
                text = read_script(source, statement.path)
        except OSError as problem:
            raise StatementError(
                f"cannot read {statement.path}: {problem.strerror}", code="include", span=statement.span
            ) from None
        included_folder = os.path.dirname(path) or os.curdir
        try:
            statements = self.parse(text, vocabulary, included_folder, including_files=(*including_files, path))
        except ImqError as error:
            error.hints = (*error.hints, f"in the file {statement.path}")
            raise
        script = self._read[path] = Script(text, statements, included_folder)
        return script

    def _list_views(self, script: Script) -> frozenset[str]:
        """Return the names of the views that a file and the files that it includes define."""
        from imq.engine.units.paths import expand_path

        names: set[str] = set()
        for statement in script.statements:
            if isinstance(statement, ast.View) and statement.name is not None:
                names.add(statement.name)
            elif isinstance(statement, ast.Include):
                names |= self._list_views(self._read[expand_path(statement.path, script.folder, None)])
        return frozenset(names)
