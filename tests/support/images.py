"""Images for tests, written straight from the specifications and without imq: layouts, docker archives, a library.

Everything is the same whenever and wherever it is written: layers are plain ustar archives unless told otherwise,
times are fixed, JSON has one form. So the ids in expected answers can be written down.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OCI = "application/vnd.oci.image."
INDEX_TYPE = f"{OCI}index.v1+json"
MANIFEST_TYPE = f"{OCI}manifest.v1+json"
CONFIG_TYPE = f"{OCI}config.v1+json"
LAYER_TYPES = {"": f"{OCI}layer.v1.tar", "gzip": f"{OCI}layer.v1.tar+gzip", "zstd": f"{OCI}layer.v1.tar+zstd"}
REF_NAME = "org.opencontainers.image.ref.name"
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64", "variant": "v8"}


def digest_of(content: bytes) -> str:
    """Return the digest of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def to_json(document: object) -> bytes:
    """Return a document as canonical JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Layer:
    """A compressed layer. `size` is the sum of the sizes of its files."""

    blob: bytes
    diff_id: str
    media_type: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.blob)


def layer(files: Mapping[str, bytes], packed: str = "") -> Layer:
    """Return a layer of these files: plain, or packed with gzip or zstd."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime = len(content), 1704067200
            tar.addfile(member, io.BytesIO(content))
    return Layer(
        pack(archive.getvalue(), packed),
        digest_of(archive.getvalue()),
        LAYER_TYPES[packed],
        sum(len(content) for content in files.values()),
    )


def pack(content: bytes, packed: str) -> bytes:
    """Compress some bytes."""
    if packed == "gzip":
        return gzip.compress(content, 6, mtime=0)
    if packed == "zstd":
        from imq.engine.layers.zstd import zstd

        return zstd.compress(content)
    return content


@dataclass(frozen=True)
class Image:
    """An image. `settings` are the runtime part of its config; `changes` replace keys of the config."""

    layers: Sequence[Layer]
    created: str | None = "2024-01-01T00:00:00Z"
    platform: Mapping[str, str] = field(default_factory=lambda: AMD64)
    labels: Mapping[str, str] | None = None
    env: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> bytes:
        runtime: dict[str, Any] = dict(self.settings)
        if self.env:
            runtime["Env"] = list(self.env)
        if self.labels is not None:
            runtime["Labels"] = dict(self.labels)
        history: list[dict[str, Any]] = [
            {"created": self.created, "created_by": f"COPY layer {place} /"} for place in range(len(self.layers))
        ]
        history.append({"created": self.created, "created_by": 'CMD ["sh"]', "empty_layer": True})
        document = {
            "created": self.created,
            **self.platform,
            "config": runtime,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            "history": history,
            **self.changes,
        }
        return to_json({key: value for key, value in document.items() if value is not None})

    @property
    def manifest(self) -> bytes:
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, self.config),
            "layers": [
                {
                    **descriptor(layer.media_type, layer.blob),
                    **({"annotations": dict(layer.annotations)} if layer.annotations else {}),
                }
                for layer in self.layers
            ],
        }
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return to_json(document)

    @property
    def id(self) -> str:
        return digest_of(self.config)

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def size(self) -> int:
        """The sum of the sizes of its files."""
        return sum(layer.size for layer in self.layers)

    @property
    def blobs(self) -> dict[str, bytes]:
        """Its blobs by digest."""
        return {digest_of(content): content for content in self._contents()}

    def _contents(self) -> list[bytes]:
        return [*(layer.blob for layer in self.layers), self.config, self.manifest]


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    """Return the descriptor of some bytes."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


class Layout:
    """An OCI image layout, written entry by entry. The folder may be there already."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self.entries: list[dict[str, Any]] = []
        os.makedirs(os.path.join(self.folder, "blobs", "sha256"), exist_ok=True)
        self._write("oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))
        self.close()

    def add(self, image: Image, *names: str) -> Image:
        """Write an image with these names, or without a name."""
        for content in image.blobs.values():
            self.blob(content)
        self.entry(descriptor(MANIFEST_TYPE, image.manifest), *names)
        return image

    def add_index(self, images: Sequence[Image], *names: str, absent: Sequence[Image] = ()) -> str:
        """Write an index of images and of missing ones (`absent`); return its digest."""
        for image in images:
            for content in image.blobs.values():
                self.blob(content)
        content = index_of([*images, *absent])
        self.blob(content)
        self.entry(descriptor(INDEX_TYPE, content), *names)
        return digest_of(content)

    def entry(self, described: dict[str, Any], *names: str) -> None:
        """Add descriptors to index.json, one for each name."""
        for name in names or ("",):
            self.entries.append({**described, "annotations": {REF_NAME: name}} if name else described)
        self.close()

    def blob(self, content: bytes) -> str:
        """Write a blob and return its digest."""
        digest = digest_of(content)
        self._write(os.path.join("blobs", "sha256", digest.removeprefix("sha256:")), content)
        return digest

    def path(self, digest: str) -> str:
        """Return the path of a blob."""
        return os.path.join(self.folder, "blobs", "sha256", digest.removeprefix("sha256:"))

    def close(self) -> None:
        """Write index.json."""
        self._write("index.json", to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": self.entries}))

    def _write(self, name: str, content: bytes) -> None:
        with open(os.path.join(self.folder, name), "wb") as target:
            target.write(content)


def index_of(images: Sequence[Image]) -> bytes:
    """Return an index of images with their platforms."""
    entries = [{**descriptor(MANIFEST_TYPE, image.manifest), "platform": dict(image.platform)} for image in images]
    return to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})


def docker_archive(path: str | os.PathLike[str], images: Sequence[tuple[Image, Sequence[str]]]) -> None:
    """Write an archive as `docker save` did until version 24: a folder for each layer, repeated ones as links."""
    listing = []
    stored: dict[str, str] = {}
    with tarfile.open(path, mode="w", format=tarfile.USTAR_FORMAT) as archive:

        def add(name: str, content: bytes = b"", link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member, io.BytesIO(content))

        for image, names in images:
            paths = []
            parent = ""
            for made in image.layers:
                parent = hashlib.sha256((parent + made.diff_id).encode()).hexdigest()
                paths.append(f"{parent}/layer.tar")
                if paths[-1] in stored.values():
                    continue
                add(f"{parent}/VERSION", b"1.0")
                add(f"{parent}/json", to_json({"id": parent}))
                if made.digest in stored:
                    add(paths[-1], link=f"../{stored[made.digest]}")
                else:
                    add(paths[-1], made.blob)
                    stored[made.digest] = paths[-1]
            config = image.id.removeprefix("sha256:") + ".json"
            add(config, image.config)
            listing.append({"Config": config, "RepoTags": list(names) or None, "Layers": paths})
        add("manifest.json", to_json(listing))
        add("repositories", b"{}")


def write_library(root: str | os.PathLike[str]) -> dict[str, Image]:
    """Write a store of ten images under eleven names into `root`; return them by what this function calls them.

    All were made in 2024, but for `reproducible:1`, whose time of creation is the epoch: not known.
    """
    base = layer({"etc/os-release": b"ID=debian\nVERSION_ID=12\n", "usr/lib/libc.so.6": b"\x7fELF" * 5000})
    runtime = layer({"usr/bin/python3": b"\x7fPYE" * 25000})

    def app(number: int, created: str, env: str) -> Image:
        own = layer({"srv/app.py": f"print({number})\n".encode() * 100 * number})
        labels = {"env": env, "org.opencontainers.image.version": str(number)}
        variables = ["PATH=/usr/bin", f"STAGE={env}"]
        settings = {"User": "app", "Entrypoint": ["python3"], "Cmd": ["/srv/app.py"], "WorkingDir": "/srv"}
        return Image([base, runtime, own], created, labels=labels, env=variables, settings=settings)

    def redis(version: str, created: str, weight: int) -> Image:
        own = layer({"usr/local/bin/redis-server": b"\x7fRED" * weight})
        settings = {"Cmd": ["redis-server"], "ExposedPorts": {"6379/tcp": {}}, "Volumes": {"/data": {}}}
        labels = {"maintainer": "redis"}
        return Image([base, own], created, labels=labels, env=[f"REDIS_VERSION={version}"], settings=settings)

    made = {
        "redis:7": redis("7.2.4", "2024-03-01T10:00:00Z", 10000),
        "redis:latest": redis("7.4.0", "2024-07-29T09:30:00.5Z", 20000),
        "dangling": redis("7.0.15", "2024-01-09T23:59:59Z", 30000),
        "team/app:1": app(1, "2024-01-15T08:00:00Z", "prod"),
        "team/app:2": app(2, "2024-04-20T08:00:00Z", "prod"),
        "team/app:3": app(3, "2024-07-05T08:00:00Z", "test"),
        "edge/agent:1": Image(
            [layer({"agent": b"\x7fARM" * 2000})],
            "2024-05-05T05:05:05Z",
            ARM64,
            labels={"env": "edge"},
            annotations={"org.opencontainers.image.title": "agent"},
        ),
        "reproducible:1": Image([base], "1970-01-01T00:00:00Z", labels={}),
        "plain:1": Image([runtime], "2024-05-20T12:00:00+02:00", settings={"Cmd": ["true"]}),
        "tool": Image([base, layer({"tool": b"#!/bin/sh\n"})], "2024-06-06T06:06:06Z", labels={"env": "prod"}),
    }
    layout = Layout(root)
    for name, image in made.items():
        if name == "dangling":
            layout.add(image)
        elif name == "tool":
            layout.add(image, f"quay.io/team/tool@{image.digest}")
        elif name == "team/app:1":
            layout.add(image, name, "registry.local:5000/team/app:1")
        else:
            layout.add(image, name)
    return made
