"""Archives of docker's format 1.0, from before there was a manifest.json, loaded as docker 20.10 does.

Each image of a chain has a folder of its own, named by an id that is no digest: `VERSION`, `json` (its config, with the
id of its parent) and `layer.tar`. `repositories` gives names to some. The configs of today are made of these; so the
ids that docker gives to such images come out here too, unless a docker older than 1.8.3 wrote them.
"""

from __future__ import annotations

import json
import re

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import MOST_LAYERS, Descriptor, check_size, read_json
from imq.engine.oci.reference import Reference
from imq.grammar.errors import InvalidReference, Malformed
from imq.grammar.record import TYPE_CHECKING

from .image_builder import Loaded, adopt_unknown_layer, store_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .archive_files import Files
    from .ingest import Adopted, Ingest

_DROPPED = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")
"""Keys of a config of format 1.0 that those of today do not have."""
_NO_TIME = "0001-01-01T00:00:00Z"
_TRAILING_ZEROS = re.compile(r"(\.\d*?)0+(?=Z|[+-]\d\d:\d\d$)")
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""What Go escapes in JSON."""


def load_v1(files: Files, content: bytes, path: str, ingest: Ingest) -> list[Loaded]:
    """Take in the images that `repositories` names, and those that are no parent of another."""
    names = _names(content, path)
    chain = _Chain(files, ingest)
    wanted = {id_: names.get(id_, ()) for id_ in chain.heads()} | names
    return [chain.load(id_, given) for id_, given in wanted.items()]


def _names(content: bytes, path: str) -> dict[str, tuple[Reference, ...]]:
    """Read `repositories`: a map of repositories to maps of tags to ids."""
    named: dict[str, list[Reference]] = {}
    for repository, tags in read_json(content, f"the file repositories of {path}").items():
        if not isinstance(tags, dict) or not all(isinstance(id_, str) for id_ in tags.values()):
            raise Malformed(
                f"{repository!r} in the file repositories of {path} is not a map of tags to ids", code="archive"
            )
        for tag, id_ in tags.items():
            try:
                named.setdefault(id_, []).append(Reference.parse(f"{repository}:{tag}"))
            except InvalidReference as problem:
                raise Malformed(f"the archive names an image wrongly: {problem.message}", code="archive") from None
    return {id_: tuple(names) for id_, names in named.items()}


class _Chain:
    """The folders of an archive; every layer is taken in once."""

    def __init__(self, files: Files, ingest: Ingest) -> None:
        self._files = files
        self._ingest = ingest
        self._configs: dict[str, dict[str, Any]] = {}
        self._layers: dict[str, Adopted] = {}

    def heads(self) -> list[str]:
        """Return the ids of images that no other has as its parent."""
        ids = [name for name in self._files.folders() if self._files.size(f"{name}/json")]
        parents = {self._config(id_).get("parent") for id_ in ids}
        return [id_ for id_ in ids if id_ not in parents]

    def load(self, id_: str, names: tuple[Reference, ...]) -> Loaded:
        """Take in one image, made of its own layer and those of its parents."""
        ids = self._ancestry(id_)
        layers = [self._layer(one) for one in ids]
        content = _config_of(
            self._config(id_),
            [str(layer.content.diff_id) for layer in layers],
            [_history(self._config(one)) for one in ids],
        )
        Config.read(content, f"the config of {id_}")
        config = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
        described = store_manifest(self._ingest, config, content, [layer.descriptor for layer in layers])
        return Loaded(described, config.digest, names)

    def _ancestry(self, id_: str) -> list[str]:
        """Return the ids of an image and all its parents, the oldest first."""
        found: list[str] = []
        parent: object = id_
        while parent:
            if not isinstance(parent, str) or parent in found or len(found) >= MOST_LAYERS:
                raise Malformed(f"the image {id_} has parents without end", code="archive")
            found.append(parent)
            parent = self._config(parent).get("parent")
        return found[::-1]

    def _config(self, id_: str) -> dict[str, Any]:
        if id_ not in self._configs:
            source = self._files.open(f"{id_}/json")
            if source is None:
                raise Malformed(f"the image {id_} is missing from the archive", code="archive")
            largest = self._ingest.largest_document
            with source:
                content = source.read(largest + 1)
            check_size(len(content), largest, f"the config of {id_}")
            self._configs[id_] = read_json(content, f"the config of {id_}")
        return self._configs[id_]

    def _layer(self, id_: str) -> Adopted:
        if id_ not in self._layers:
            source = self._files.open(f"{id_}/layer.tar")
            if source is None:
                raise Malformed(f"the layer {id_}/layer.tar is missing from the archive", code="archive")
            with source:
                self._layers[id_] = adopt_unknown_layer(self._files, source, self._ingest)
        return self._layers[id_]


def _history(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the step of an image's history that its own config tells of."""
    container = config.get("container_config")
    words = container.get("Cmd") if isinstance(container, dict) else None
    command = " ".join(word for word in words if isinstance(word, str)) if isinstance(words, list) else ""
    created = config.get("created")
    said = {
        "created": _TRAILING_ZEROS.sub(_shortened, created) if isinstance(created, str) else _NO_TIME,
        "author": config.get("author"),
        "created_by": command,
        "comment": config.get("comment"),
    }
    return {key: value for key, value in said.items() if isinstance(value, str) and value}


def _shortened(decimals: re.Match[str]) -> str:
    return decimals[1] if len(decimals[1]) > 1 else ""


def _config_of(config: Mapping[str, Any], diff_ids: list[str], history: list[dict[str, str]]) -> bytes:
    """Return the config of today, byte for byte as docker writes it."""
    made = {key: value for key, value in config.items() if key not in _DROPPED}
    made |= {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history}
    text = json.dumps({key: made[key] for key in sorted(made)}, separators=(",", ":"), ensure_ascii=False)
    for character, escape in _ESCAPED.items():
        text = text.replace(character, escape)
    return text.encode("utf-8", "surrogatepass")
