"""The requests of each fetch stage, for `explain`: which document of which engine."""

from __future__ import annotations

from imq.engine.docker_engine.endpoint import find_endpoint
from imq.engine.sources.contents import CONTENT_TABLES
from imq.grammar.record import TYPE_CHECKING

from .tables import (
    CHANGE_DETAILS,
    CHANGED_PATHS,
    CONTAINER_DETAILS,
    CONTAINER_DIGESTS,
    CONTAINER_MOUNTS,
    CONTAINER_NAMES,
    CONTAINER_SIZES,
    IMAGE_BASES,
    IMAGE_DETAILS,
    IMAGE_MANIFESTS,
    IMAGE_SIZES,
    LAST_USE,
    LAYER_USERS,
    LOG_LINES,
    USERS,
    VOLUME_SIZES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.docker_engine.endpoint import Endpoint
    from imq.engine.query.source import FetchRequest, ScanRequest

_LISTINGS = {
    "images": "images/json",
    "containers": "containers/json?all=1",
    "logs": "containers/json?all=1",
    "changes": "containers/json?all=1",
    "mounts": "containers/json?all=1",
    "layers": "images/ID/json, images/ID/history",
    "history": "images/ID/json, images/ID/history",
    "volumes": "volumes, containers/json?all=1",
    "usage": "system/df",
    "build_cache": "system/df",
    "services": "services?status=true",
    **dict.fromkeys(CONTENT_TABLES, "images/ID/json, images/get"),
    "platforms": "images/ID/json, images/json?manifests=1",
    "reclaim": "images/json, containers/json?all=1, images/ID/json, images/ID/history",
}
_LEVELS = {
    **{(name, "content"): "images/get" for name in CONTENT_TABLES},
    ("images", USERS.name): "containers/json?all=1",
    ("images", IMAGE_DETAILS.name): "images/ID/json",
    ("images", IMAGE_MANIFESTS.name): "images/json?manifests=1, images/ID/json",
    ("images", IMAGE_BASES.name): "images/json, images/ID/json",
    ("images", LAST_USE.name): "containers/ID/json",
    ("images", IMAGE_SIZES.name): "system/df?type=image",
    ("volumes", VOLUME_SIZES.name): "system/df?type=volume",
    ("layers", LAYER_USERS.name): "images/json, images/ID/json",
    ("containers", CONTAINER_NAMES.name): "containers/ID/json",
    ("containers", CONTAINER_DIGESTS.name): "images/json",
    ("containers", CONTAINER_DETAILS.name): "containers/ID/json",
    ("containers", CONTAINER_SIZES.name): "containers/json?all=1&size=1",
    ("changes", CHANGED_PATHS.name): "containers/ID/changes",
    ("changes", CHANGE_DETAILS.name): "containers/ID/archive?path=PATH (HEAD)",
    ("mounts", CONTAINER_MOUNTS.name): "containers/ID/json",
    ("logs", LOG_LINES.name): "containers/ID/logs, containers/ID/json",
}

_EXTERNAL = "libpod/containers/json?all=true&external=true"
_LAYER_SIZES = "images/json, libpod/images/ID/json, images/ID/history"
_PODMAN_PATHS = {
    "containers/json?all=1": f"containers/json?all=1, {_EXTERNAL}",
    "containers/json?all=1&size=1": f"containers/json?all=1&size=1, {_EXTERNAL}",
    "containers/ID/json": "libpod/containers/ID/json",
    "containers/ID/logs, containers/ID/json": "containers/ID/logs, libpod/containers/ID/json",
    "images/ID/json": "libpod/images/ID/json",
    "images/ID/json, images/ID/history": "libpod/images/ID/json, images/ID/history",
    "images/json?manifests=1, images/ID/json": "",
    "images/ID/json, images/json?manifests=1": "libpod/images/ID/json",
    "images/json, images/ID/json": "images/json, libpod/images/ID/json",
    "system/df": f"system/df, containers/json?all=1, {_EXTERNAL}, {_LAYER_SIZES}",
    "system/df?type=image": _LAYER_SIZES,
}
"""The paths of podman where it is asked by its own API. One that is not here is that of docker's."""


class EngineRequests:
    """Describes the requests of one statement. No request is made."""

    def __init__(self, environment: Mapping[str, str], home: str) -> None:
        self._environment = environment
        self._home = home

    def describe_cached(self) -> str:
        """Return nothing: the requests of a stage say what is kept for the session."""
        return ""

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return the document that a stage reads, and the engines that it reads it from; "" when it is unknown."""
        table = request.table.name
        path = _LISTINGS.get(table) if fetch is None else _LEVELS.get((table, fetch.level.name))
        if path is None:
            return ""
        parameters = self._describe_range(request, fetch) if fetch is not None and fetch.level is LOG_LINES else ""
        engines: dict[str, dict[str, None]] = {}
        for ref in request.refs:
            endpoint = find_endpoint(ref.text, self._environment, self._home)
            is_podman = endpoint is not None and endpoint.kind == "podman"
            own = _PODMAN_PATHS.get(path, path) if is_podman else path
            if not own:  # podman has nothing of the kind
                continue
            engines.setdefault(own + parameters, {})[_locate(ref.text, endpoint)] = None
        if not request.refs:
            return f": GET {path}{parameters}"
        if not engines:
            return ": no request"
        return ": " + "; ".join(f"GET {own} of {', '.join(places)}" for own, places in engines.items())

    def _describe_range(self, request: ScanRequest, fetch: FetchRequest) -> str:
        """Return the part of a log that is requested, as the parameters of the request."""
        from .log_range import make_range_query

        endpoints = (find_endpoint(ref.text, self._environment, self._home) for ref in request.refs)
        has_podman = any(endpoint is not None and endpoint.kind == "podman" for endpoint in endpoints)
        query = make_range_query(fetch, counts_lines=not has_podman)
        return "".join(f", {name}={value}" for name, value in query.items())


def _locate(name: str, endpoint: Endpoint | None) -> str:
    """Return the name of an engine with its address."""
    if endpoint is None or endpoint.address in ("", name):
        return name
    return f"{name} ({endpoint.address})"
