"""Finds and reads the configuration files.

The parser, with `tomllib`, is imported only when there is a file: a plain query must not pay for it.
"""

from __future__ import annotations

import os

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_FILE = "/etc/imq/config.toml"
"""The file of the machine. The user's file overrides it."""
_MAX_FILE_SIZE = 1 << 20


def find_user_file(environment: Mapping[str, str]) -> tuple[str, bool]:
    """Return the path of the user's file ("" for none), and whether `IMQ_CONFIG` names it, so that it must exist."""
    if explicit := environment.get("IMQ_CONFIG"):
        return explicit, True
    folder = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        home = environment.get("HOME", "")
        folder = os.path.join(home, ".config") if home else ""
    return (os.path.join(folder, "imq", "config.toml"), False) if folder else ("", False)


def load_configuration(environment: Mapping[str, str], file: str | None = None) -> Configuration:
    """Return the system file merged with the user's file, or with `file` instead of it.

    Raises `ImqError` (code `configuration`) for a file that cannot be read, and for an invalid key or value.
    """
    user_file, must_exist = (file, True) if file is not None else find_user_file(environment)
    texts: list[tuple[str, str]] = []
    for path, required in ((SYSTEM_FILE, False), (user_file, must_exist)):
        text = _read_file(path, required=required) if path else None
        if text is not None and text.strip():
            texts.append((path, text))
    if not texts:
        return Configuration()
    from .reader import parse_configuration

    return parse_configuration(texts, environment)


def _read_file(path: str, *, required: bool) -> str | None:
    """Return the text of a file, None for an optional file that does not exist."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not required:
            return None
        raise _unreadable_error(path, error) from None
    except OSError as error:
        raise _unreadable_error(path, error) from None
    if len(content) > _MAX_FILE_SIZE:
        raise ImqError(f"the configuration file {path} is larger than {_MAX_FILE_SIZE} bytes", code="configuration")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ImqError(f"{path}, line {line}: invalid UTF-8", code="configuration") from None


def _unreadable_error(path: str, error: OSError) -> ImqError:
    reason = (error.strerror or "unknown reason").lower()
    return ImqError(
        f"the configuration file {path} cannot be read: {reason}",
        code="configuration",
        hints=("--no-config ignores the configuration files",),
    )
