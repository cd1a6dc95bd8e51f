"""A registry with a thousand tags, created in about a second by writing the files of a docker-registry.

`thousand` has the tags v0 … v999 of as many images. `mixed` has what repositories in the wild have besides: versions,
tags that share a digest, an image for several platforms with attestations, an artifact, a cosign signature, a
referrer under its fallback tag, an image without a creation time. `team/one` … `team/three` have one image each.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

THOUSAND, MIXED = "thousand", "mixed"
TEAM = ("team/one", "team/two", "team/three")
COUNT = 1000
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
STEP = timedelta(hours=6)
"""Between the creation times of v0, v1, …"""
VERSIONS = ("1.0.0", "1.0.1", "1.1.0-rc.1", "1.1.0", "1.10.0", "v2.0.0", "2.0.0-alpine", "3.0.0-beta")
"""The tags of `mixed` that are versions, oldest first: a day after one another."""
HELM = "application/vnd.cncf.helm.config.v1+json"
BILL = "application/spdx+json"
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


@dataclass
class SampleManifest:
    """A manifest or index as it was written. `created` and `config` are None when it has none."""

    digest: Digest
    media_type: str
    content: bytes
    created: datetime | None = None
    config: Digest | None = None

    def entry(self, **more: object) -> dict[str, Any]:
        """Return its descriptor for an index."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content), **more}


@dataclass
class Contents:
    """The contents of a registry: the tags of each repository, and every document by its digest."""

    tags: dict[str, dict[str, SampleManifest]] = field(default_factory=dict)
    documents: dict[Digest, bytes] = field(default_factory=dict)

    def find(self, repository: str, tag: str) -> SampleManifest:
        """Return the manifest of a tag."""
        return self.tags[repository][tag]

    def list_creation_times(self, repository: str = THOUSAND) -> dict[str, datetime | None]:
        """Return the creation time of the image of each tag."""
        return {tag: written_manifest.created for tag, written_manifest in self.tags[repository].items()}


class RegistryWriter:
    """Writes repositories below `folder`, which is a docker-registry's root directory."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.contents = Contents()
        self._root = os.path.join(os.fspath(folder), "docker", "registry", "v2")
        self._written: set[str] = set()

    def add_image(
        self,
        repository: str,
        name: str,
        created: datetime | None = None,
        *,
        platform: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        docker: bool = False,
        below: Sequence[str] = (),
    ) -> SampleManifest:
        """Write an image of small layers: one that all images share, then those of `below`, then its own."""
        config_type = media_types.DOCKER_CONFIG if docker else media_types.OCI_CONFIG
        layer_type = media_types.DOCKER_LAYER_GZIP if docker else media_types.OCI_LAYER_GZIP
        layers = [self._layer(repository, "base", b"base" * 300)]
        layers += [self._layer(repository, each, each.encode()) for each in (*below, name)]
        config: dict[str, Any] = {**(platform or {"os": "linux", "architecture": "amd64"})}
        if created is not None:
            config["created"] = format_time(created)
        config["config"] = {"Labels": {"name": name, **(labels or {})}, "Cmd": ["/bin/true"]}
        config["rootfs"] = {"type": "layers", "diff_ids": [diff_id for diff_id, _ in layers]}
        config["history"] = [{"created_by": f"COPY {name}"}] * len(layers)
        content = encode_json(config)
        described = {"mediaType": config_type, "digest": self._blob(repository, content), "size": len(content)}
        entries = [{"mediaType": layer_type, "digest": Digest.of(d), "size": len(d)} for _, d in layers]
        kind = media_types.DOCKER_MANIFEST if docker else media_types.OCI_MANIFEST
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": entries}
        return self.add_document(repository, kind, manifest, created, Digest(described["digest"]))

    def add_artifact(self, repository: str, config_type: str, content: bytes, **more: object) -> SampleManifest:
        """Write an artifact: a config of this type, and one blob."""
        described = {"mediaType": config_type, "digest": self._blob(repository, b"{}"), "size": 2}
        blob = {"mediaType": "text/plain", "digest": self._blob(repository, content), "size": len(content)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": described,
            "layers": [blob],
            **more,
        }
        return self.add_document(repository, media_types.OCI_MANIFEST, manifest, None, Digest(described["digest"]))

    def add_index(self, repository: str, entries: Sequence[dict[str, Any]]) -> SampleManifest:
        """Write an index of these entries."""
        document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": list(entries)}
        return self.add_document(repository, media_types.OCI_INDEX, document)

    def add_document(
        self,
        repository: str,
        media_type: str,
        document: Mapping[str, Any],
        created: datetime | None = None,
        config: Digest | None = None,
    ) -> SampleManifest:
        """Write any kind of manifest as a revision of the repository."""
        content = encode_json(document)
        digest = self._data(content)
        self._link(repository, "_manifests", "revisions", "sha256", digest.encoded, to=digest)
        self.contents.documents[digest] = content
        return SampleManifest(digest, media_type, content, created, config)

    def tag(self, repository: str, name: str, written_manifest: SampleManifest) -> None:
        """Set a tag to a manifest."""
        self._link(repository, "_manifests", "tags", name, "current", to=written_manifest.digest)
        self._link(
            repository,
            "_manifests",
            "tags",
            name,
            "index",
            "sha256",
            written_manifest.digest.encoded,
            to=written_manifest.digest,
        )
        self.contents.tags.setdefault(repository, {})[name] = written_manifest

    def _layer(self, repository: str, name: str, content: bytes) -> tuple[Digest, bytes]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo(f"files/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        plain = buffer.getvalue()
        packed = gzip.compress(plain, 1, mtime=0)
        self._blob(repository, packed)
        return Digest.of(plain), packed

    def _blob(self, repository: str, content: bytes) -> Digest:
        digest = self._data(content)
        self._link(repository, "_layers", "sha256", digest.encoded, to=digest)
        return digest

    def _data(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self._write(os.path.join(self._root, "blobs", "sha256", digest.encoded[:2], digest.encoded, "data"), content)
        return digest

    def _link(self, repository: str, *parts: str, to: Digest) -> None:
        self._write(os.path.join(self._root, "repositories", repository, *parts, "link"), to.encode())

    def _write(self, path: str, content: bytes) -> None:
        if path in self._written and not path.endswith("link"):
            return
        self._written.add(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)


def write_registry(folder: str | os.PathLike[str], count: int = COUNT) -> Contents:
    """Write the registry below `folder` and return its contents."""
    writer = RegistryWriter(folder)
    for number in range(count):
        written_manifest = writer.add_image(
            THOUSAND, f"v{number}", FIRST + number * STEP, labels={"number": str(number)}
        )
        writer.tag(THOUSAND, f"v{number}", written_manifest)
    _write_mixed(writer)
    for repository in TEAM:
        writer.tag(repository, "latest", writer.add_image(repository, repository.replace("/", "-"), FIRST, docker=True))
    return writer.contents


def _write_mixed(writer: RegistryWriter) -> None:
    for number, tag in enumerate(VERSIONS):
        written_manifest = writer.add_image(MIXED, tag, FIRST + timedelta(days=number), docker=number % 2 == 0)
        writer.tag(MIXED, tag, written_manifest)
    newest = writer.contents.find(MIXED, "v2.0.0")
    for tag in ("latest", "stable", "2.0"):
        writer.tag(MIXED, tag, newest)
    parts = []
    for number, (architecture, variant) in enumerate([("amd64", ""), ("arm64", "v8"), ("arm", "v7")]):
        platform = {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}
        created = FIRST + timedelta(days=30, minutes=number)
        written_manifest = writer.add_image(MIXED, f"multi-{architecture}", created, platform=platform)
        value = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": written_manifest.digest,
        }
        about = writer.add_image(MIXED, f"attestation-{architecture}", platform=UNKNOWN)
        parts += [written_manifest.entry(platform=platform), about.entry(platform=UNKNOWN, annotations=value)]
    writer.tag(MIXED, "multi", writer.add_index(MIXED, parts))
    writer.tag(MIXED, "chart", writer.add_artifact(MIXED, HELM, b"a chart", artifactType=HELM))
    signature = writer.add_artifact(MIXED, media_types.OCI_CONFIG, b"a signature")
    writer.tag(MIXED, f"sha256-{newest.digest.encoded}.sig", signature)
    bill = writer.add_artifact(MIXED, BILL, b"a bill of materials", subject=newest.entry(), artifactType=BILL)
    writer.tag(MIXED, f"sha256-{newest.digest.encoded}", writer.add_index(MIXED, [bill.entry(artifactType=BILL)]))
    writer.tag(MIXED, "undated", writer.add_image(MIXED, "undated"))


def format_time(time: datetime) -> str:
    """Return a time in the format of configs."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def read_creation_time(config: bytes) -> datetime | None:
    """Return the creation time in a config."""
    value = json.loads(config).get("created")
    return datetime.fromisoformat(value) if value else None
