"""Reads the licences of Debian packages from `usr/share/doc/NAME/copyright`; dpkg's database does not have them.

Files in the machine-readable format ("DEP 5") name them in fields. In others the texts in
`/usr/share/common-licenses` to which they refer are the only names.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .licences import to_expression
from .package import PackageLicence
from .reader import decode

if TYPE_CHECKING:
    from .package import Rows

_FORMAT = re.compile(r"\A\s*format(?:-specification)?:", re.IGNORECASE)
_FIELD = re.compile(r"\n[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]:[ \t]*([^\n]*)")
"""A field after the end of a line: this pattern is searched five times as fast as one that ignores case."""
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9](?:[A-Za-z0-9.+-]*[A-Za-z0-9+])?)")
_COMMON_NAMES = {
    "GPL-1": "GPL-1", "GPL-2": "GPL-2", "GPL-3": "GPL-3", "LGPL-2": "LGPL-2", "LGPL-2.1": "LGPL-2.1",
    "LGPL-3": "LGPL-3", "Apache-2.0": "Apache-2.0", "Artistic": "Artistic", "BSD": "BSD-3-Clause", "CC0-1.0": "CC0-1.0",
    "MPL-1.1": "MPL-1.1", "MPL-2.0": "MPL-2.0", "GFDL-1.2": "GFDL-1.2", "GFDL-1.3": "GFDL-1.3",
}  # fmt: skip
_MAX_NAME = 200


def read_copyright(content: bytes, path: str) -> Rows:
    """Yield the licence of the package that the folder is named for: all that the file names, joined by AND."""
    text = decode(content.replace(b"\r\n", b"\n") if b"\r" in content else content)
    if _FORMAT.match(text):
        found = [name.strip() for name in _FIELD.findall(f"\n{text}")]
    else:
        found = [_COMMON_NAMES.get(name, name) for name in _COMMON.findall(text)]
    names = [name for name in dict.fromkeys(found) if name and len(name) <= _MAX_NAME]
    if names:
        yield PackageLicence("deb", path.split("/")[-2], path, _join(names))


def _join(names: list[str]) -> str:
    """Return an expression that requires all licences; if one has no identifier, the names as the file has them."""
    expressions = [to_expression(name) for name in names]
    known = [*dict.fromkeys(name for name in expressions if name is not None)]
    if None in expressions:
        return ", ".join(names)
    return " AND ".join(f"({name})" if " OR " in name and len(known) > 1 else name for name in known)
