"""Errors of statements that a shell changed, and of words that other programs have: what happened, and what to write.

Only an error reaches this module, so that no correct statement is refused, except where a shell expanded `*` to the
names of files.
"""

from __future__ import annotations

import os
import re
import shlex

from imq.grammar.errors import Span, StatementError
from imq.grammar.record import TYPE_CHECKING

from .options import FLAGS, VALUED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

_OPTION = re.compile(r"(?<![^\s;(])--?([A-Za-z][\w-]*)")
_FORMS = {
    "--catalogue": "set catalogue = URL",
    "--dry-run": "dry run STATEMENT",
    "--explain": "explain STATEMENT",
    "--output": "STATEMENT as FORMAT",
    "--platform": "STATEMENT platform PLATFORM",
    "--quiet": "STATEMENT as ids",
    "-q": "STATEMENT as ids",
    "--set": "set NAME = VALUE",
    "--source": "QUERY in SOURCE, or use SOURCE",
}
"""Options of the command line that a statement can say too."""
_CLAUSES = {"--filter": "STATEMENT where CONDITION", "--format": "STATEMENT as json, or STATEMENT format TEMPLATE"}
"""Options of docker's command lines, and the clauses that do the same."""
_OPTION_VALUE = re.compile(r"\s+[^\s;]+")
_VALUE = re.compile(r"=|=?\d[\w.:+-]*")
"""Names of files that `>` in a condition makes: values, and `=` of `>=`."""
_EXPANDED = frozenset({
    "all_files", "blobs", "containers", "copy", "files", "history", "image", "images", "inspect", "layers", "manifests",
    "packages", "platforms", "prune", "pull", "push", "referrers", "repositories", "rm", "rmi", "tag", "tags", "untag",
    "verify",
})  # fmt: skip
"""First words of command lines whose operands are never files."""


def refuse_expanded_pattern(words: Sequence[str]) -> None:
    """Raise `StatementError` when a shell replaced a `*` among the words by the names of all files in the folder."""
    if len(words) < 3 or words[0] not in _EXPANDED:
        return
    names = sorted(name for name in os.listdir(os.curdir) if not name.startswith("."))
    if len(names) < 2 or not set(names) <= set(words):
        return
    more = ", …" if len(names) > 2 else ""
    first = next(position for position, word in enumerate(words) if word in names)
    if {"select", "where"} & set(words[:first]):
        statement = " ".join([*words[:first], "*", *(word for word in words[first:] if word not in names)])
        hint = f"quote the statement: imq {shlex.quote(statement)}"
    else:
        hint = f"to match a pattern, quote it: imq '{words[0]} images where name like \"*\"'"
    raise StatementError(
        f"the shell replaced * by the names of the {len(names)} files here: {', '.join(names[:2])}{more}",
        code="expanded",
        hints=(hint, "for all rows of a table: all, as in verify all images"),
    )


def explain_accident(error: StatementError, text: str, words: Sequence[str], stdout: TextIO) -> StatementError:
    """Return the error with what happened when an accident of the command line caused it.

    `words` are the arguments of the shell; none in a session.
    """
    if (option := _find_option(error, text)) is not None:
        return _make_option_error(error, option, text, in_shell=bool(words))
    if words and (name := _find_redirected(stdout)):
        hint = f"the shell read > as a redirection and wrote the file {name}: quote the statement, or write '>'"
        error.hints = (hint, *error.hints)
        error.suggestion = ""
    elif len(names := [word for word in words[1:] if "/" not in word and os.path.lexists(word)]) > 1:
        hints = [
            f"{names[0]} and {names[1]} are files here: the shell may have expanded a pattern; quote the statement"
        ]
        if words[words.index(names[0]) - 1] == "in":
            hints.append(f"or put commas between them: in {', '.join(names[:2])}{', …' if len(names) > 2 else ''}")
        error.hints = (*hints, *error.hints)
        error.suggestion = ""
    return error


def _find_option(error: StatementError, text: str) -> re.Match[str] | None:
    """Return the option at the place of an error of syntax or names, or whose value is there."""
    if error.span is None or error.code not in ("syntax", "unknown-field", "unknown-name", "type"):
        return None
    start, end = error.span.start, error.span.end
    end += len(text[end:]) - len(text[end:].lstrip())  # `exited --dry-run` is read as a subtraction
    return next((one for one in _OPTION.finditer(text) if one.start() <= end and start <= _find_end(one, text)), None)


def _find_end(option: re.Match[str], text: str) -> int:
    """Return the end of an option and of the value that it takes."""
    value = _OPTION_VALUE.match(text, option.end()) if option[0] in VALUED or option[0] in _CLAUSES else None
    return value.end() if value is not None else option.end()


def _make_option_error(error: StatementError, option: re.Match[str], text: str, *, in_shell: bool) -> StatementError:
    name = option[0]
    end = _find_end(option, text)
    if name in FLAGS or name in VALUED:
        problem = f"{name} is an option of the command line, and not part of the statement"
        form = _FORMS.get(name, "")
        statement = " ".join((text[: option.start()] + text[end:]).split())
        outside = f"imq {' '.join(text[option.start() : end].split())} {shlex.quote(statement)}"
        inside = f"in a statement: {form}" if form else "give it when imq starts"
        hints = (f"write it outside the quotes: {outside}", inside if form else "") if in_shell else (inside,)
    else:
        problem = f'unexpected option "{name}"'
        clause = _CLAUSES.get(name)
        hints = (
            f"in a statement: {clause}" if clause else f'clauses have no dashes: "{option[1]}"',
            "imq --help lists the options",
        )
    changed = StatementError(problem, code="option", hints=hints, span=Span(option.start(), option.end()))
    changed.text = error.text
    return changed


def _find_redirected(stdout: TextIO) -> str:
    """Return the name of the file of standard output when it looks like the value of a condition; else ""."""
    try:
        path = os.readlink(f"/proc/self/fd/{stdout.fileno()}")
    except (OSError, ValueError):
        return ""
    name = os.path.basename(path)
    return name if os.path.isfile(path) and _VALUE.fullmatch(name) else ""
