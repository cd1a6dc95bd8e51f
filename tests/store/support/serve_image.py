"""Uploads images to a registry without imq."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from support.images import INDEX_TYPE, MANIFEST_TYPE, digest_of, index_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.images import Image
    from support.servers import Registry

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def serve(registry: Registry, name: str, image: Image) -> str:
    """Upload an image as `repository:tag`; return the name to pull."""
    repository, _, tag = name.partition(":")
    _blobs(registry, repository, image)
    _send(f"http://{registry.host}/v2/{repository}/manifests/{tag}", image.manifest, MANIFEST_TYPE)
    return f"{registry.host}/{name}"


def serve_index(registry: Registry, name: str, images: Sequence[Image]) -> str:
    """Upload an index of images; return the name to pull."""
    repository, _, tag = name.partition(":")
    for image in images:
        _blobs(registry, repository, image)
        _send(f"http://{registry.host}/v2/{repository}/manifests/{image.digest}", image.manifest, MANIFEST_TYPE)
    _send(f"http://{registry.host}/v2/{repository}/manifests/{tag}", index_of(images), INDEX_TYPE)
    return f"{registry.host}/{name}"


def _blobs(registry: Registry, repository: str, image: Image) -> None:
    for content in {*(layer.blob for layer in image.layers), image.config}:
        begin = urllib.request.Request(f"http://{registry.host}/v2/{repository}/blobs/uploads/", method="POST")
        with _DIRECT.open(begin) as answer:
            there = answer.headers["Location"]
        _send(f"{there}&digest={digest_of(content)}", content, "application/octet-stream")


def _send(url: str, content: bytes, kind: str) -> None:
    request = urllib.request.Request(url, content, {"Content-Type": kind}, method="PUT")
    with _DIRECT.open(request):
        pass
