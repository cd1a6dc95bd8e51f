"""Media types of the OCI image specification and of docker's schema 2, their classification, and size limits."""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
OCI_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

DEFAULT_MAX_DOCUMENT = 4 << 20
"""Bytes: the limit of the distribution specification for manifests, and the default limit of all documents."""
MAX_DOCUMENT = 256 << 20
"""Bytes: the upper bound of the setting `largest_document`."""

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
GENERIC_CONFIGS = frozenset({"", "application/octet-stream", "application/json", "text/html"})
"""Media types that old registries return for image configs; docker accepts them too."""
REFERENCE_DIGEST = "vnd.docker.reference.digest"
"""The annotation of an attestation in an index, written by BuildKit: the digest of its image's manifest."""
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""The media types in the Accept header of manifest requests, in order of preference."""

LAYER_TYPES = {"": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
"""The media types of new layers, by compression."""
_LAYERS = frozenset({
    OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD,
    DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD,
    OCI_NONDISTRIBUTABLE, OCI_NONDISTRIBUTABLE + "+gzip", OCI_NONDISTRIBUTABLE + "+zstd",
    DOCKER_FOREIGN, DOCKER_FOREIGN + ".gzip",
    "",
})  # fmt: skip
"""Media types of layers; the empty type counts too."""


def is_layer(media_type: str) -> bool:
    """Whether a blob of this type is a layer: a tar archive. Its compression is detected from its bytes."""
    return media_type in _LAYERS


def is_nondistributable(media_type: str) -> bool:
    """Whether a layer of this type must not be redistributed: registries may lack it, and clients do not push it."""
    return media_type.startswith((OCI_NONDISTRIBUTABLE, DOCKER_FOREIGN))
