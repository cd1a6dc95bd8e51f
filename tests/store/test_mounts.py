"""Blobs in another repository of a registry are mounted, as known from stored images and earlier statements."""

from __future__ import annotations

import os
import urllib.request
import uuid
from typing import TYPE_CHECKING

import pytest
from registry.support.fault_proxy import Fault, FaultProxy, Reply, reply_with
from store.support.serve_image import serve
from store.support.stores import imq
from support.images import Image, layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.support.stores import StoreSession
    from support.servers import Registry

IMAGE = Image([layer({"a": os.urandom(70_000)}, "gzip"), layer({"b": b"b"}, "gzip")])
BLOBS = len(IMAGE.layers) + 1


def mounted(between: FaultProxy, repository: str) -> int:
    """Return the number of mount requests for blobs of a repository."""
    return between.count_requests(
        f"POST .*mount=.*from={repository.partition('/')[2].partition(':')[0].replace('/', '%2F')}"
    )


def test_blobs_are_mounted_from_the_repository_they_were_pulled_from(registry: Registry, root: Path) -> None:
    mark = uuid.uuid4().hex[:8]
    serve(registry, f"mounts/{mark}:1", IMAGE)
    with FaultProxy(registry.host) as between:
        name, other = f"{between.host}/mounts/{mark}:1", f"{between.host}/other/{mark}:1"
        imq(root, "pull", name)
        imq(root, "tag", name, "as", other)
        imq(root, "push", other)
        assert mounted(between, name) == BLOBS
        assert between.count_requests("PUT .*/blobs/") == 0


def test_copied_blobs_are_mounted_by_a_later_statement(registry: Registry, root: Path) -> None:
    mark = uuid.uuid4().hex[:8]
    serve(registry, f"mounts/{mark}:1", IMAGE)
    with FaultProxy(registry.host) as between:
        source = f"{registry.host}/mounts/{mark}:1"
        other = serve(registry, f"other/{mark}:1", Image([layer({"other": mark.encode()})]))
        imq(root, "pull", other)  # mount sources are cached in a store that exists
        imq(root, "copy", source, "to", f"{between.host}/one/{mark}:1")
        assert between.count_requests("PUT .*/blobs/") == BLOBS
        imq(root, "copy", source, "to", f"{between.host}/two/{mark}:1")
        assert between.count_requests("PUT .*/blobs/") == BLOBS
        assert mounted(between, f"{between.host}/one/{mark}") == BLOBS
        imq(root, "pull", f"{between.host}/two/{mark}:1")
        imq(root, "verify", "all")


@pytest.mark.parametrize("code", [202, 400, 401, 403, 404, 405])
def test_a_blob_is_uploaded_when_the_mount_is_rejected(
    registry: Registry, root: Path, opened: Callable[..., StoreSession], code: int
) -> None:
    mark = uuid.uuid4().hex[:8]
    serve(registry, f"mounts/{mark}:1", IMAGE)
    with FaultProxy(registry.host) as between:
        name, other = f"{between.host}/mounts/{mark}:1", f"{between.host}/other/{mark}:1"
        store = opened(root)
        store.do(f"pull {name}")
        store.do(f"tag {name} as {other}")
        if code == 202:  # a blob that has gone since
            between.faults.append(Fault("POST .*mount=", answer=_opens(registry, f"other/{mark}")))
        else:
            between.faults.append(Fault("POST .*mount=", answer=reply_with(code)))
        store.read_message("set jobs = 1")
        store.do(f"push {other}")
        assert between.count_requests("POST .*mount=") == 1, "a host that does not mount is not asked again"
        assert between.count_requests("PUT .*/blobs/") == BLOBS - (code == 202)  # one went straight to the registry
        between.faults.clear()
        store.do(f"pull {other}")


def _opens(registry: Registry, repository: str) -> Callable[[str], Reply]:
    """Respond like a registry that cannot mount the blob: with an upload session."""

    def answer(_: str) -> Reply:
        asked = urllib.request.Request(f"http://{registry.host}/v2/{repository}/blobs/uploads/", method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as reply:
            return Reply(202, {"Location": reply.headers["Location"]}, b"")

    return answer
