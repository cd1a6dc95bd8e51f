r"""Views that a session keeps in the user's configuration file: `\save` and `\unsave`.

The file is edited as text, so that its comments and its order stay. The result is read again before it replaces the
file.
"""

from __future__ import annotations

import os
import re
from typing import NoReturn

from imq.engine.atomic_writer import open_output
from imq.engine.configuration.load import find_user_file
from imq.engine.configuration.reader import parse_configuration
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.cli.options import Options

_SECTION = r"(?m)^[ \t]*\[views\][ \t]*(?:#.*)?$"
_NEXT_SECTION = r"(?m)^[ \t]*\["


def save_view(name: str, query: str, options: Options, environment: Mapping[str, str]) -> str:
    """Write the query of a view to the user's configuration file, in place of one with this name; return the path."""
    path = _find_file(options, environment)
    text = _read(path)
    line = f"{name} = {_quote(query)}"
    if (found := _find_entry(text, name)) is not None:
        changed = text[: found[0]] + line + text[found[1] :]
    elif (section := re.search(_SECTION, text)) is not None:
        changed = f"{text[: section.end()]}\n{line}{text[section.end() :]}"
    else:
        before = text.rstrip("\n") + "\n\n" if text.strip() else ""
        changed = f"{before}[views]\n{line}\n"
    _write(path, changed, environment, name, query)
    return path


def remove_view(name: str, options: Options, environment: Mapping[str, str]) -> str:
    """Remove a view from the user's configuration file; return the path. Raises `StatementError` without it."""
    path = _find_file(options, environment)
    text = _read(path)
    found = _find_entry(text, name)
    if found is None:
        raise StatementError(f'{path} has no view "{name}"', code="view", hints=("\\save lists them",))
    end = found[1] + text.startswith("\n", found[1])
    _write(path, text[: found[0]] + text[end:], environment, name, None)
    return path


def _find_file(options: Options, environment: Mapping[str, str]) -> str:
    if "no_config" in options.flags:
        raise StatementError(
            "this session has no configuration",
            code="view",
            hints=("sessions of imq demo and with --no-config keep no views",),
        )
    path = options.value("config") or find_user_file(environment)[0]
    if not path or not os.path.isabs(os.path.abspath(path)):
        _refuse("the path of the configuration file is unknown")
    return os.path.abspath(path)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _find_entry(text: str, name: str) -> tuple[int, int] | None:
    """Return the range of the line of a view in the section `views`; None when it is not there."""
    section = re.search(_SECTION, text)
    if section is None:
        return None
    after = re.compile(_NEXT_SECTION).search(text, section.end())
    entry = re.compile(rf"(?m)^[ \t]*[\"']?{re.escape(name)}[\"']?[ \t]*=.*$").search(
        text, section.end(), after.start() if after is not None else len(text)
    )
    return entry.span() if entry is not None else None


def _write(path: str, text: str, environment: Mapping[str, str], name: str, query: str | None) -> None:
    """Write the file when its views are as they should be."""
    if parse_configuration([(path, text)], environment).views.get(name) != query:
        _refuse(f"{path} has the view {name} in a form that imq does not edit: change it with an editor")
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open_output(path) as target:
        target.write(text.encode())


def _quote(text: str) -> str:
    """Return a string of TOML on one line."""
    import json

    return json.dumps(" ".join(text.split("\n")), ensure_ascii=False).replace("\x7f", "\\u007f")


def _refuse(message: str) -> NoReturn:
    raise StatementError(message, code="view")
