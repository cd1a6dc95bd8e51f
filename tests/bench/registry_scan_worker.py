"""Requests the tags of a repository with imq's registry client only, and prints the number of results.

It runs in the Python environment of the imq to measure.

usage: python registry_scan_worker.py cold|warm|list HOST/REPOSITORY
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from imq.engine.oci.manifest import Descriptor, Manifest, parse_manifest
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.engine.registry.client import Client
from imq.engine.registry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


def main(kind: str, name: str) -> int:
    """Return the number of tags with a creation time (cold), with a digest (warm), or of all tags (list)."""
    repository = Reference.parse(name)
    with Client(Settings()) as client, BatchClient(client) as batch:
        if kind == "list":
            return sum(len(page.tags) for _, page in batch.fetch_tags([(0, repository)]))  # type: ignore[union-attr]
        names = [repository.replace(tag=tag) for tag in client.list_tags(repository)]
        if kind == "warm":
            return sum(isinstance(head, Descriptor) for _, head in batch.fetch_heads(enumerate(names)))

        def configs() -> Iterator[tuple[int, Reference, Descriptor]]:
            for number, fetched in batch.fetch_manifests(enumerate(names)):
                manifest = parse_manifest(fetched.content, fetched.media_type)  # type: ignore[union-attr]
                assert isinstance(manifest, Manifest)
                yield number, names[number], manifest.config

        return sum("created" in json.loads(content) for _, content in batch.fetch_configs(configs()))  # type: ignore[arg-type]


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
