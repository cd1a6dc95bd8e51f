"""Reads `package.json` of installed npm packages."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .package import Package, Problem
from .reader import clean

if TYPE_CHECKING:
    from typing import Any

    from .package import Rows


def is_installed(path: bytes) -> bool:
    """Whether a package.json is that of an installed package: `node_modules/NAME/` or `node_modules/@SCOPE/NAME/`.

    The others describe a project, or configure a folder within a package.
    """
    folders = path.split(b"/")[:-1]
    if folders[-2:-1] == [b"node_modules"]:
        return not folders[-1].startswith((b"@", b"."))
    return folders[-3:-2] == [b"node_modules"] and folders[-2].startswith(b"@")


def read_package_json(content: bytes, path: str) -> Rows:
    """Yield the package that a package.json describes; none if it has no name or version."""
    import json

    try:
        text = content.decode("utf-8-sig")
        document = json.loads(text)
    except UnicodeDecodeError as error:
        yield Problem(path, error.start, "not UTF-8")
        return
    except json.JSONDecodeError as error:
        yield Problem(path, len(error.doc[: error.pos].encode()), f"not JSON: {error.msg}")
        return
    except (RecursionError, ValueError):  # a number with too many digits
        yield Problem(path, None, "JSON that is nested too deep, or has too long numbers")
        return
    if not isinstance(document, dict):
        yield Problem(path, 0, "not a JSON object")
        return
    name, version = _text(document.get("name")), _text(document.get("version"))
    if name and version:
        yield Package(
            "npm",
            name,
            version,
            path,
            licence=_licence(document.get("license")) or _licence(document.get("licenses")),
            maintainer=_person(document.get("author")) or _person(document.get("maintainers")),
            homepage=_text(document.get("homepage")),
        )


def _text(value: Any) -> str:
    return clean(value).strip() if isinstance(value, str) else ""


def _licence(value: Any) -> str:
    """Return the licence: an SPDX expression, or in old packages an object or list of objects with `type`."""
    if isinstance(value, list):
        names = [name for name in map(_licence, value) if name]
        return f"({' OR '.join(names)})" if len(names) > 1 else "".join(names)
    return _text(value.get("type")) if isinstance(value, dict) else _text(value)


def _person(value: Any) -> str:
    """Return `Name <mail>` for a person, or for the first of several."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return _text(value)
    name, mail = _text(value.get("name")), _text(value.get("email"))
    return f"{name} <{mail}>" if name and mail else name or mail
