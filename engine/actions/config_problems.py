"""Problems of image configs that imq accepts and other tools reject."""

from __future__ import annotations

from imq.engine.oci.config import Config
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.store.store import Store


def list_config_problems(store: Store, config: Digest) -> tuple[str, ...]:
    """Return the problems of a config; none for a blob that is not a config."""
    try:
        return Config.parse(store.read_document(config), f"the config {config.short}").problems
    except ImqError:
        return ()
