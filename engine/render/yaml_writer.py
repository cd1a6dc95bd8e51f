"""YAML that every parser reads as the same data as the JSON. Imported only for YAML output (24 ms)."""

from __future__ import annotations

import yaml

try:
    from yaml import CSafeDumper as _Base  # seven times as fast; only a PyYAML built without libyaml lacks it
except ImportError:
    from yaml import SafeDumper as _Base  # type: ignore[assignment]

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_AMBIGUOUS_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that some parsers read as true, false or null without quotes, in any case."""
_AMBIGUOUS_PREFIXES = "0123456789+-.~"
"""First characters of numbers, times and null in YAML 1.1 or 1.2, which differ: `1e3`, `0o17`, `1:30`."""
_LINE_WIDTH = 1 << 30
"""Line width of the writer: no string is wrapped."""


class _Dumper(_Base):
    """A dumper that quotes every ambiguous string, and never writes an alias."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write repeated data again."""
        return True


def _represent_string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    quoted = text[:1] in _AMBIGUOUS_PREFIXES or text.lower() in _AMBIGUOUS_WORDS or not text.isprintable()
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_string)
_Dumper.add_multi_representer(str, lambda dumper, text: _represent_string(dumper, str(text)))  # a digest


def write_yaml_sequence(items: Iterable[object]) -> Iterator[str]:
    """Yield one YAML sequence, item by item. The items are JSON values.

    A lone surrogate, which YAML cannot represent, becomes the replacement character.
    """
    empty = True
    for item in items:
        empty = False
        yield yaml.dump(
            [item], Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=False, width=_LINE_WIDTH
        )
    if empty:
        yield "[]\n"
