"""A store of very many images, made in seconds: what a build server gathers in three years, and no network.

Repositories of fifty teams in four registries, fifty tags each, built on a few dozen bases that are in the store too;
some images have lost their names, some have only a digest, of some nobody knows when they were built.

The images go through the code that takes images in (rows, sharing, entries), but come as values instead of files, in
one transaction: reading and checking 200,000 documents is what `imq reindex` takes a minute for. index.json is written
as ever, so the index is current and opening the store reads nothing again. Documents are written only when asked for
(`documents`), because making 200,000 files takes longer than all the rest; their digests are true in any case. Layers
have no blobs at all: their digests and measures are made up. So a store without documents answers every question, and
only what reads blobs (`inspect`, `verify`, `save`, `reindex`) finds them missing.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import random
from typing import TYPE_CHECKING, Any

from imq.engine.oci import media_types
from imq.engine.oci.config import Config, HistoryEntry
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Manifest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import format_time
from imq.engine.store import mentions
from imq.engine.store.index import StoreIndex
from imq.engine.store.index_entries import sync_entries
from imq.engine.store.index_json import IndexEntry
from imq.engine.store.index_rows import insert_images, insert_reach
from imq.engine.store.layer_measure import LayerMeasure
from imq.engine.store.layout import Layout
from imq.engine.store.mentions import find_mentions
from imq.engine.store.shared_sizes import add_layer_counts, set_measures, update_sizes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

NOW = 1_735_689_600_000_000_000
"""2025-01-01: no image is younger."""
DAY = 86_400_000_000_000
DAYS = 3 * 365
TAGS = 50
"""Images of one repository."""
TEAMS = 50
REGISTRIES = ("docker.io", "ghcr.io", "quay.io", "registry.example.com:5000")
SYSTEMS = ("debian", "alpine", "ubuntu", "fedora", "busybox")
RUNTIMES = ("python", "node", "golang", "openjdk", "ruby", "nginx", "redis", "postgres")
VERSIONS = 6
"""Versions of each system and of each runtime; the latter stand on the systems."""
PARTS = ("api", "web", "worker", "proxy", "batch", "admin", "search", "mail")
DANGLING_EVERY = 20
UNNAMED_TAG_EVERY = 33
"""One image in so many is known by its digest alone."""
UNKNOWN_TIME_EVERY = 50
_PLATFORMS = (*[Platform("linux", "amd64")] * 17, *[Platform("linux", "arm64", "v8")] * 2,
              Platform("windows", "amd64", "", "10.0.20348.2700"))  # fmt: skip
_LAST = 'CMD ["/srv/run"]'
_BATCH = 5000


class Part:
    """A layer that somebody made: its descriptor, its measures, the step that made it; and each as JSON."""

    def __init__(self, text: str, size: int, created: int, command: str) -> None:
        self.descriptor = Descriptor(media_types.OCI_LAYER_GZIP, Digest.of(text.encode()), size // 3 + 200)
        diff_id = Digest.of(f"{text}, unpacked".encode())
        self.content = LayerMeasure(self.descriptor.digest, diff_id, size, size + 10240, 9)
        self.created = created
        self.step = HistoryEntry(created, command, "buildkit.dockerfile.v0", False)
        self.described = _json(self.descriptor.to_json())
        self.recalled = _json({"created": format_time(created), "created_by": command, "comment": self.step.comment})


class Made:
    """An image that was made up: its manifest and config, read and written. Documents are put together from pieces."""

    def __init__(self, number: int, parts: Sequence[Part], created: int | None, runtime: dict[str, Any]) -> None:
        self.parts = parts
        self.created = created
        platform = _PLATFORMS[number % len(_PLATFORMS)]
        diff_ids = tuple(part.content.diff_id for part in parts)
        steps = (*(part.step for part in parts), HistoryEntry(created, _LAST, "", True))
        self.config = Config(platform, created, diff_ids, steps, runtime, {})
        time = "" if created is None else f'"created":"{format_time(created)}",'
        variant = f'"variant":"{platform.variant}",' if platform.variant else ""
        version = f'"os.version":"{platform.os_version}",' if platform.os_version else ""
        history = "".join(f"{part.recalled}," for part in parts)
        self.config_document = (
            f'{{{time}"architecture":"{platform.architecture}","os":"{platform.os}",{variant}{version}'
            f'"config":{_json(runtime)},"rootfs":{{"type":"layers","diff_ids":{_json(diff_ids)}}},'
            f'"history":[{history}{{{time}"created_by":{_json(_LAST)},"empty_layer":true}}]}}'
        ).encode()
        config = Descriptor(media_types.OCI_CONFIG, Digest.of(self.config_document), len(self.config_document))
        self.manifest = Manifest(media_types.OCI_MANIFEST, config, tuple(part.descriptor for part in parts), {})
        self.document = (
            f'{{"schemaVersion":2,"mediaType":"{media_types.OCI_MANIFEST}","config":{_json(config.to_json())},'
            f'"layers":[{",".join(part.described for part in parts)}]}}'
        ).encode()
        self.descriptor = Descriptor(media_types.OCI_MANIFEST, Digest.of(self.document), len(self.document))


def make_large_store(root: str, count: int = 100_000, *, documents: bool = False) -> None:
    """Make a store of `count` images at `root`, besides those that are there; the same one every time.

    `documents`: write manifests and configs too, so that the index can be derived again.
    """
    layout = Layout(root)
    layout.create()
    index = StoreIndex(layout)
    index.sync_with_layout()
    for pragma in ("cache_size = -1000000", "journal_mode = OFF"):  # nobody else is there, and nothing to lose
        index.connection.execute(f"PRAGMA {pragma}")
    gc.disable()  # millions of values, and no cycle among them
    try:
        with index.sql_transaction() as connection:
            _fill(connection, layout, count, documents=documents)
    finally:
        gc.enable()
    index.connection.execute("PRAGMA journal_mode = WAL")
    index.close()


def _fill(connection: sqlite3.Connection, layout: Layout, count: int, *, documents: bool) -> None:
    entries = layout.read_entries()
    reached: dict[Digest, list[int]] = {}
    contents: dict[Digest, LayerMeasure] = {}
    images = _images(count)
    while batch := list(itertools.islice(images, _BATCH)):
        made = [one for _, one in batch]
        keys = insert_images(connection, [(one.descriptor.digest, one.manifest, one.config) for one in made])
        insert_reach(
            connection,
            [(one.descriptor, (one.descriptor, one.manifest.config, *one.manifest.layers)) for one in made],
        )
        mentions.insert(connection, {one.descriptor.digest: find_mentions(one.document) or b"" for one in made})
        entries += [entry for entry, _ in batch]
        reached.update((one.descriptor.digest, [key]) for one, key in zip(made, keys, strict=True))
        contents.update((part.descriptor.digest, part.content) for one in made for part in one.parts)
        if documents:
            for one in made:
                _write(layout, one.descriptor.digest, one.document)
                _write(layout, one.manifest.config.digest, one.config_document)
    add_layer_counts(connection, [key for keys in reached.values() for key in keys])
    set_measures(connection, contents.values())
    update_sizes(connection)
    layout.write_entries(entries)
    sync_entries(connection, entries, reached)
    signature = layout.read_signature()
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("signature", signature), ("own", signature)])


def _images(count: int) -> Iterator[tuple[IndexEntry, Made]]:
    """Yield the images, the bases first."""
    chance = random.Random(4)
    bases: list[tuple[Part, ...]] = []
    for number, (reference, parts) in enumerate(itertools.islice(_bases(), count)):
        bases.append(parts)
        made = Made(number, parts, parts[-1].created, {"Env": ["PATH=/usr/local/bin:/usr/bin"], "Cmd": ["/bin/sh"]})
        yield _entry(made, reference, number), made
    repositories = max((count - len(bases)) // TAGS, 1)
    shared: dict[int, Part] = {}
    for number in range(len(bases), count):
        repository, tag = number % repositories, number // repositories
        team = f"team-{repository % TEAMS:02}"
        path = f"{team}/{PARTS[repository // TEAMS % len(PARTS)]}-{repository // TEAMS}"
        # later images are mostly newer, as they are where they are gathered
        age = DAYS * DAY * (count - number) // count + chance.randrange(30 * DAY)
        created = (NOW - DAY - age) // 1_000_000_000 * 1_000_000_000
        if tag % 10 == 0 or repository not in shared:  # the dependencies change with every tenth build
            text = f"dependencies of {path} in {tag}"
            shared[repository] = Part(text, 1 << chance.randrange(20, 27), created, "RUN pip install -r needed.txt")
        own = Part(f"{path} {tag}", 1000 + int(chance.expovariate(1 / 4_000_000)), created, f"COPY {path} /srv")
        parts = (*bases[(repository * 7 + tag // 25) % len(bases)], shared[repository], own)
        unknown = number % UNKNOWN_TIME_EVERY == 7
        made = Made(number, parts, None if unknown else created, _runtime(number, team, path, tag))
        reference = Reference(REGISTRIES[repository % len(REGISTRIES)], path, f"1.{tag}.{number % 7}")
        yield _entry(made, reference, number), made


def _bases() -> Iterator[tuple[Reference, tuple[Part, ...]]]:
    """Yield the bases: systems of one layer, and runtimes of two or three on them."""
    systems: list[Part] = []
    for place, system in enumerate(SYSTEMS):
        for version in range(VERSIONS):
            created = NOW - (DAYS + 30 + place * 7 - version) * DAY
            part = Part(f"{system} {version}", (5 + place * 17) << 20, created, f"ADD {system}-{version}.tar /")
            systems.append(part)
            yield Reference("docker.io", f"library/{system}", f"{version + 8}"), (part,)
    for place, runtime in enumerate(RUNTIMES):
        for version in range(VERSIONS):
            created = NOW - (DAYS + 20 - place - version) * DAY
            parts = [systems[(place * VERSIONS + version) % len(systems)]]
            for step in range(1 + version % 2):
                text = f"{runtime} {version} {step}"
                parts.append(Part(text, (9 + place + step * 21) << 20, created, f"RUN install {text}"))
            yield Reference("docker.io", f"library/{runtime}", f"3.{version}"), tuple(parts)


def _runtime(number: int, team: str, path: str, tag: int) -> dict[str, Any]:
    labels = {
        "team": team,
        "env": ("prod", "test", "dev")[number % 3],
        "org.opencontainers.image.revision": f"{number:040x}",
        "org.opencontainers.image.source": f"https://git.example.com/{path}",
    }
    if number % 100 == 3:
        labels["maintainer"] = f"someone-{number % 1000}@example.com"
    runtime = {
        "Env": ["PATH=/usr/local/bin:/usr/bin", f"VERSION=1.{tag}", f"STAGE={number % 4}"],
        "Cmd": ["/srv/run", "--port", str(8000 + number % 10)],
        "WorkingDir": "/srv",
        "Labels": labels,
        "ExposedPorts": {f"{8000 + number % 10}/tcp": {}},
    }
    if number % 5:
        runtime["User"] = ("app", "1000", "nobody", "root")[number % 4]
    return runtime


def _entry(made: Made, reference: Reference, number: int) -> IndexEntry:
    descriptor, set_at = made.descriptor, (made.created or NOW - DAY) + DAY
    if number >= len(SYSTEMS) * VERSIONS:
        if number % DANGLING_EVERY == 3:
            return IndexEntry(descriptor, None, None, set_at)
        if number % UNNAMED_TAG_EVERY == 5:
            digest = descriptor.digest
            return IndexEntry(descriptor, reference.replace(tag=None, digest=digest), digest, set_at)
    return IndexEntry(descriptor, reference, descriptor.digest if number % 2 else None, set_at)


def _json(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))


def _write(layout: Layout, digest: Digest, content: bytes) -> None:
    with open(os.path.join(layout.root, "blobs", "sha256", digest.encoded), "wb") as target:
        target.write(content)
