"""Loads archives of docker's format 1.0, which has no manifest.json, as docker 20.10 does.

Each image of a chain has a folder named by an ID that is not a digest, with `VERSION`, `json` (its config, which has
the ID of its parent) and `layer.tar`. The file `repositories` has the names. Configs of the current format are built
from these, byte for byte as docker does. So the image IDs are docker's, unless docker before 1.8.3 wrote the archive.
"""

from __future__ import annotations

import json
import re

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import MAX_LAYERS, Descriptor, parse_json_object
from imq.engine.oci.reference import Reference
from imq.grammar.errors import InvalidReference, Malformed
from imq.grammar.record import TYPE_CHECKING

from .bounded_read import read_document
from .image_builder import LoadedImage, import_unknown_layer, store_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .archive_files import ImageFiles
    from .ingest import ImportedLayer, Ingest

_REMOVED_KEYS = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")
"""Keys of a config of format 1.0 that are not in the current format."""
_ZERO_TIME = "0001-01-01T00:00:00Z"
_TRAILING_ZEROS = re.compile(r"(\.\d*?)0+(?=Z|[+-]\d\d:\d\d$)")
_GO_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""The characters that Go escapes in JSON."""


def load_v1(files: ImageFiles, content: bytes, path: str, ingest: Ingest) -> list[LoadedImage]:
    """Load the images that `repositories` names, and those that are not the parent of another."""
    names = _read_repositories(content, path)
    chain = _V1Archive(files, ingest)
    names_by_id = {id_: names.get(id_, ()) for id_ in chain.list_heads()} | names
    return [chain.load(id_, image_names) for id_, image_names in names_by_id.items()]


def _read_repositories(content: bytes, path: str) -> dict[str, tuple[Reference, ...]]:
    """Read `repositories`: a map from repositories to maps from tags to IDs."""
    references: dict[str, list[Reference]] = {}
    for repository, tags in parse_json_object(content, f"the file repositories of {path}").items():
        if not isinstance(tags, dict) or not all(isinstance(id_, str) for id_ in tags.values()):
            raise Malformed(
                f"{repository!r} in the file repositories of {path} is not a map from tags to IDs", code="archive"
            )
        for tag, id_ in tags.items():
            try:
                references.setdefault(id_, []).append(Reference.parse(f"{repository}:{tag}"))
            except InvalidReference as problem:
                raise Malformed(f"the archive has an invalid image name: {problem.message}", code="archive") from None
    return {id_: tuple(names) for id_, names in references.items()}


class _V1Archive:
    """The images of an archive; every layer is stored once."""

    def __init__(self, files: ImageFiles, ingest: Ingest) -> None:
        self._files = files
        self._ingest = ingest
        self._configs: dict[str, dict[str, Any]] = {}
        self._layers: dict[str, ImportedLayer] = {}

    def list_heads(self) -> list[str]:
        """Return the IDs of images that are not the parent of another."""
        ids = [name for name in self._files.list_folders() if self._files.size(f"{name}/json")]
        parents = {self._read_config(id_).get("parent") for id_ in ids}
        return [id_ for id_ in ids if id_ not in parents]

    def load(self, id_: str, names: tuple[Reference, ...]) -> LoadedImage:
        """Load one image: its own layer and those of its parents."""
        ids = self._list_ancestry(id_)
        layers = [self._import_layer(layer_id) for layer_id in ids]
        content = _build_config(
            self._read_config(id_),
            [str(layer.measure.diff_id) for layer in layers],
            [_build_history_entry(self._read_config(layer_id)) for layer_id in ids],
        )
        Config.parse(content, f"the config of {id_}")
        config = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
        descriptor = store_manifest(self._ingest, config, content, [layer.descriptor for layer in layers])
        return LoadedImage(descriptor, config.digest, names)

    def _list_ancestry(self, id_: str) -> list[str]:
        """Return the IDs of an image and all its parents, the oldest first."""
        ids: list[str] = []
        parent: object = id_
        while parent:
            if not isinstance(parent, str) or parent in ids or len(ids) >= MAX_LAYERS:
                raise Malformed(f"the image {id_} has an endless or invalid chain of parents", code="archive")
            ids.append(parent)
            parent = self._read_config(parent).get("parent")
        return ids[::-1]

    def _read_config(self, id_: str) -> dict[str, Any]:
        if id_ not in self._configs:
            source = self._files.open(f"{id_}/json")
            if source is None:
                raise Malformed(f"the image {id_} is missing from the archive", code="archive")
            with source:
                content = read_document(source, self._ingest.largest_document, f"the config of {id_}")
            self._configs[id_] = parse_json_object(content, f"the config of {id_}")
        return self._configs[id_]

    def _import_layer(self, id_: str) -> ImportedLayer:
        if id_ not in self._layers:
            source = self._files.open(f"{id_}/layer.tar")
            if source is None:
                raise Malformed(f"the layer {id_}/layer.tar is missing from the archive", code="archive")
            with source:
                self._layers[id_] = import_unknown_layer(self._files, source, self._ingest)
        return self._layers[id_]


def _build_history_entry(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the history entry for the step that its config describes."""
    container = config.get("container_config")
    words = container.get("Cmd") if isinstance(container, dict) else None
    command = " ".join(word for word in words if isinstance(word, str)) if isinstance(words, list) else ""
    created = config.get("created")
    entry = {
        "created": _TRAILING_ZEROS.sub(_shorten_fraction, created) if isinstance(created, str) else _ZERO_TIME,
        "author": config.get("author"),
        "created_by": command,
        "comment": config.get("comment"),
    }
    return {key: value for key, value in entry.items() if isinstance(value, str) and value}


def _shorten_fraction(decimals: re.Match[str]) -> str:
    return decimals[1] if len(decimals[1]) > 1 else ""


def _build_config(config: Mapping[str, Any], diff_ids: list[str], history: list[dict[str, str]]) -> bytes:
    """Return the config in the current format, byte for byte as docker writes it."""
    document = {key: value for key, value in config.items() if key not in _REMOVED_KEYS}
    document |= {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history}
    text = json.dumps({key: document[key] for key in sorted(document)}, separators=(",", ":"), ensure_ascii=False)
    for character, escape in _GO_ESCAPES.items():
        text = text.replace(character, escape)
    return text.encode("utf-8", "surrogatepass")
