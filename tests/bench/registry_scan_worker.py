"""Asks a registry about the tags of a repository through imq's client alone, and prints how many answers came.

Run by the Python that has the imq to be measured.

usage: python scanning.py cold|warm|list HOST/REPOSITORY
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from imq.engine.oci.manifest import Descriptor, Manifest, parse_manifest
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.engine.registry.client import Client
from imq.engine.registry.http import fast_import
from imq.engine.registry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


def main(kind: str, name: str) -> int:
    """Return how many tags have a creation time (cold), a digest (warm), or are there at all (list)."""
    fast_import.import_requests()
    repository = Reference.parse(name)
    with Client(Settings()) as client, BatchClient(client) as many:
        if kind == "list":
            return sum(len(page.tags) for _, page in many.fetch_tags([(0, repository)]))  # type: ignore[union-attr]
        names = [repository.replace(tag=tag) for tag in client.list_tags(repository)]
        if kind == "warm":
            return sum(isinstance(found, Descriptor) for _, found in many.fetch_heads(enumerate(names)))

        def configs() -> Iterator[tuple[int, Reference, Descriptor]]:
            for number, fetched in many.fetch_manifests(enumerate(names)):
                manifest = parse_manifest(fetched.content, fetched.media_type)  # type: ignore[union-attr]
                assert isinstance(manifest, Manifest)
                yield number, names[number], manifest.config

        return sum("created" in json.loads(content) for _, content in many.fetch_configs(configs()))  # type: ignore[arg-type]


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
