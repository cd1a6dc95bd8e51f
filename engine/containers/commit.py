"""Makes an image of a container: what it changed is a layer on top of those of its image, which are shared."""

from __future__ import annotations

import json

from imq.engine.oci.digest import Digest
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.oci.reference import Reference
    from imq.engine.store.ingest import ImportedLayer, Ingest
    from imq.engine.store.store import Store

    from .containers import Containers
    from .reader import Container

_CONFIG_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck",
    "OnBuild", "Shell",
)  # fmt: skip
"""The keys of the configuration of a container that its image gets."""


class CommitOptions(Record):
    """How an image is made of a container. Without a `name` it has none. `changes` are Dockerfile instructions.

    The container is paused for that time unless `pause` is False.
    """

    name: Reference | None = None
    changes: tuple[str, ...] = ()
    message: str = ""
    author: str = ""
    pause: bool = True


def commit_container(
    containers: Containers, container: Container, options: CommitOptions, now: int
) -> tuple[Digest, int]:
    """Store the image of a container; return its ID and the bytes of the files that the container changed.

    Only those files are read. `now` is nanoseconds since the epoch. Raises `ImqError`; then nothing has changed.
    """
    from imq.engine.store.derived_image import Step, read_base, reserve_layers, set_derived_name, store_derived

    store = containers.store
    with store.start_ingest() as ingest:
        base = read_base(store, _find_manifest(container, store))
        reserve_layers(ingest, base)
        runtime = _make_runtime(container)
        if options.changes:
            from imq.engine.oci.dockerfile_changes import apply_instructions

            apply_instructions(runtime, options.changes)
        with containers.open_changes(container, pause=options.pause) as pieces:
            layer = _store_changes(ingest, pieces)
        step = Step(
            " ".join([container.document["Path"], *container.document["Args"]]),
            options.message,
            options.author,
            now,
            empty=layer is None,
        )
        layers = () if layer is None else (layer,)
        descriptor, id_ = store_derived(ingest, base, runtime, (step,), layers, created=now, author=options.author)
        set_derived_name(store, ingest, options.name, descriptor, now)
    return id_, sum(measure.size for measure in ingest.measures)


def _find_manifest(container: Container, store: Store) -> Digest:
    """Return the manifest of the image of a container. Raises `NotFound` when the image was removed."""
    manifest, id_ = container.document["ImageManifest"], container.document["Image"]
    row = store.index.connection.execute(
        "SELECT manifest FROM image WHERE manifest = ?1 OR id = ?2 ORDER BY manifest = ?1 DESC LIMIT 1", (manifest, id_)
    ).fetchone()
    if row is None:
        raise NotFound(
            f"the image {Digest(id_).short} of the container {container.name} was removed, so its changes have no base",
            code="no-such-image",
            hints=("pull or load the image again",),
        )
    return Digest(row[0])


def _make_runtime(container: Container) -> dict[str, Any]:
    config = container.document["Config"]
    chosen = {key: config[key] for key in _CONFIG_KEYS if config.get(key)}
    runtime: dict[str, Any] = json.loads(json.dumps(chosen))  # instructions change it
    if "Env" in runtime:  # without those that the container does not have although its image does
        runtime["Env"] = [pair for pair in runtime["Env"] if "=" in pair]
    return runtime


def _store_changes(ingest: Ingest, pieces: Iterator[bytes | memoryview]) -> ImportedLayer | None:
    """Store the changes of a container as a layer; None when there are none."""
    from itertools import chain

    first = next(pieces, None)
    return None if first is None else ingest.import_plain_layer(chain((first,), pieces), in_thread=True)
