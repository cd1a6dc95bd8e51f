"""YAML that every reader takes for the same data as the JSON; loaded only when YAML is asked for (24 ms)."""

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
"""What some readers take for true, false or null when it is not quoted, in any case."""
_AMBIGUOUS_PREFIXES = "0123456789+-.~"
"""What numbers, times and null begin with, in YAML 1.1 or in 1.2, which differ: `1e3`, `0o17` and `1:30`."""
_LINE_WIDTH = 1 << 30
"""Columns after which a text goes on in the next line: none does."""


class _Dumper(_Base):
    """A writer that quotes every text which any reader could take for something else, and never writes an alias."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write what stands twice twice."""
        return True


def _represent_string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    quoted = text[:1] in _AMBIGUOUS_PREFIXES or text.lower() in _AMBIGUOUS_WORDS or not text.isprintable()
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_string)


def write_yaml_sequence(items: Iterable[object]) -> Iterator[str]:
    """Yield one YAML sequence, item by item; the items are what JSON can hold.

    Half a surrogate pair, for which YAML has no form, becomes the replacement character.
    """
    empty = True
    for item in items:
        empty = False
        yield yaml.dump(
            [item], Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=False, width=_LINE_WIDTH
        )
    if empty:
        yield "[]\n"
