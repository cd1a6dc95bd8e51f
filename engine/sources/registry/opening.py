"""Opening registries as a source of rows, for one statement."""

from __future__ import annotations

from imq.engine.oci.platform import host
from imq.engine.registry.batch.client import Many
from imq.engine.registry.client import Client
from imq.engine.registry.settings import Settings
from imq.engine.store.registry_cache import Remembered
from imq.grammar.record import TYPE_CHECKING

from .provider import Registries

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.oci.platform import Platform
    from imq.engine.progress import Progress
    from imq.engine.store.store import Store


def open_registries(
    store: Store,
    platform: Platform | None,
    settings: Settings,
    progress: Progress,
    clock: Callable[[], int],
) -> Registries:
    """Return registries, with a memory in the store's folder, where one may be made."""

    def told(registry: str, answered: int, left: int) -> None:
        progress.count(f"ask {registry}", answered, answered + left)

    client = Client(settings)
    connection = store.index.connection
    memory = Remembered(connection, store.memory_layout())
    if settings.mirrors:
        from imq.engine.registry.batch.mirrored_client import MirroredMany

        many: Many = MirroredMany(client, progress.warn, settings.requests, told)
    else:
        many = Many(client, settings.requests, told)
    return Registries(client, many, memory, connection, platform or host(), clock)
