"""Reads the specifications of installed gems, `specifications/NAME-VERSION.gemspec`, without running Ruby.

RubyGems writes them itself when it installs a gem: assignments of literals, one a line. The line `# stub:` has the
name, version and platform again. An expression that is no literal is unknown.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .package import Package, Problem
from .reader import decode

if TYPE_CHECKING:
    from .package import Rows

_STUB = re.compile(r"^# stub: (\S+) (\S+) (\S+) ", re.MULTILINE)
_STRING = r"""(?:"((?:[^"\\]|\\.)*+)"|'((?:[^'\\]|\\.)*+)'|%q[<{\[(]([^>}\])]*)[>}\])])(?:\.freeze)?"""
_ASSIGNMENT = re.compile(
    r"^[ \t]*+\w+\.(name|version|platform|licenses?|authors?|email|homepage)\s*=\s*"
    rf"(?:Gem::Version\.new\(\s*{_STRING}\s*\)|{_STRING}|\[((?:\s*+{_STRING}\s*+,?)*+)\s*\])\s*(?:if\b.*|;.*|\#.*)?$",
    re.MULTILINE,
)
_ITEM = re.compile(_STRING)
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]{1,6}\}|u[0-9a-fA-F]{4}|.)", re.DOTALL)


def is_installed(path: bytes) -> bool:
    """Whether a gemspec is that of an installed gem: in `specifications/`, or in `default/` there for those of Ruby."""
    folders = path.rpartition(b"/")[0]
    return folders.endswith((b"specifications", b"specifications/default"))


def read_gemspec(content: bytes, path: str) -> Rows:
    """Yield the gem that a specification describes."""
    text = decode(content)
    values: dict[str, list[str]] = {}
    for match in _ASSIGNMENT.finditer(text):
        groups = match.groups()
        strings = [groups[1:4], groups[4:7]]
        found = [_unquote(string) for string in strings if any(part is not None for part in string)]
        if groups[7] is not None:
            found = [_unquote(item.groups()) for item in _ITEM.finditer(groups[7])]
        values.setdefault(match[1], found)
    stub = _STUB.search(text)
    name = "".join(values.get("name", ())[:1]) or (stub[1] if stub else "")
    version = "".join(values.get("version", ())[:1]) or (stub[2] if stub else "")
    if not name or not version:
        yield Problem(path, 0, f"no {'version' if name else 'name'}")
        return
    platform = "".join(values.get("platform", ())[:1]) or (stub[3] if stub else "")
    licences = values.get("licenses") or values.get("license") or []
    yield Package(
        "gem",
        name,
        version,
        path,
        architecture="" if platform == "ruby" else platform,
        licence=" OR ".join(licences),
        maintainer=", ".join(values.get("authors") or values.get("author") or ()),
        homepage="".join(values.get("homepage", ())[:1]),
    )


def _unquote(string: tuple[str | None, ...]) -> str:
    """Return the value of a literal in double quotes, single quotes or `%q<>`."""
    double, single, percent = string[:3]
    if double is not None:
        return _ESCAPE.sub(_unescape, double)
    if single is not None:
        return re.sub(r"\\(['\\])", r"\1", single)
    return percent or ""


def _unescape(match: re.Match[str]) -> str:
    escaped = match[1]
    if escaped[0] == "u" and len(escaped) > 1:
        code = int(escaped[1:].strip("{}"), 16)
        return chr(code) if code < 0xD800 or 0xDFFF < code < 0x110000 else "\ufffd"
    return {"n": "\n", "t": "\t", "e": "\x1b", "0": ""}.get(escaped, escaped)
