"""The registered sources of rows: one package and one line each."""

from __future__ import annotations

from imq.engine.query.source import Sources
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.query.source import Source

    from .context import SourceContext

SOURCES = {
    "store": "imq.engine.sources.store.source",
    "local": "imq.engine.sources.local.source",
    "layouts": "imq.engine.sources.layouts.source",
    "containers-storage": "imq.engine.sources.layouts.storage_source",
    "docker": "imq.engine.sources.docker.source",
    "containerd": "imq.engine.sources.containerd.source",
    "registry": "imq.engine.sources.registry.source",
}
"""The module of each source; its `open_source` takes a `SourceContext`. Names are resolved in this order."""


def open_sources(context: SourceContext) -> Sources:
    """Return the sources of a session. The module of a source is imported when a statement first needs it."""
    factories = {name: _Factory(module, context) for name, module in SOURCES.items()}
    return Sources(factories, lambda: context.configuration.groups)


class _Factory:
    def __init__(self, module: str, context: SourceContext) -> None:
        self._module = module
        self._context = context

    def __call__(self) -> Source:
        source: Source = __import__(self._module, fromlist=["open_source"]).open_source(self._context)
        return source
