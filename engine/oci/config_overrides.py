"""What a container was given besides the config of its image.

The object `Config` of `docker inspect` has both together. A new container from another image must get only the former.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_SINGLE = ("User", "WorkingDir", "StopSignal", "OnBuild", "Shell")
_MAPS = ("Labels", "Volumes", "ExposedPorts", "Healthcheck")
_MISSING = object()


def read_overrides(config: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in the object `Config` of a container that are not those in the object `config` of its image.

    An entry point keeps its command, even if that is the image's: with another entry point the image has none.
    """
    own = {key: value for key, value in config.items() if key not in ("ArgsEscaped", "Image")}
    for key in _SINGLE:
        if (own.get(key) or None) == (image.get(key) or None):
            own.pop(key, None)
    for key in _MAPS:
        known = image.get(key) or {}
        values = {name: one for name, one in (own.pop(key, None) or {}).items() if known.get(name, _MISSING) != one}
        if values:
            own[key] = values
    variables = set(image.get("Env") or ())
    own["Env"] = [pair for pair in own.get("Env") or () if pair not in variables]
    if (own.get("Entrypoint") or None) == (image.get("Entrypoint") or None):
        own.pop("Entrypoint", None)
        if (own.get("Cmd") or None) == (image.get("Cmd") or None):
            own.pop("Cmd", None)
    return own
