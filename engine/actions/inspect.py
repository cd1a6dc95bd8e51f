"""The verb `inspect`: shows all details of images as JSON, with docker's keys."""

from __future__ import annotations

import json

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, Manifest, parse_manifest
from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import format_time
from imq.engine.render.docker_inspect import build_image_document
from imq.engine.result import Documents, get_exit_code
from imq.engine.store.non_image_entries import list_non_image_entries
from imq.grammar.record import TYPE_CHECKING

from .operands import find_answer, resolve_targets
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.result import Result
    from imq.engine.sources.action import PlanContext
    from imq.grammar import ast


def _inspect(act: ast.ActionStatement, context: PlanContext) -> Result:
    if (answer := find_answer(act, context)) is not None:
        return answer(act, context)
    images = list(dict.fromkeys((target.root, target.id) for target in resolve_targets(act, context)))
    problems = tuple(
        problem
        for root in dict.fromkeys(root for root, _ in images)
        for problem in context.store.measure_layers(jobs=2, root=root)
    )
    documents = tuple(_inspect_image(root, id_, context) for root, id_ in images)
    return Documents(documents, act.output, errors=problems, exit_code=get_exit_code(problems))


def _build_artifact_document(root: Digest, context: PlanContext) -> dict[str, Any]:
    """Return the document of an artifact, with the keys of its manifest and docker's."""
    entries = [entry for entry in list_non_image_entries(context.store) if entry.descriptor.digest == root]
    content = context.store.read_document(root)
    manifest = parse_manifest(content)
    names = [entry.name for entry in entries if entry.name is not None]
    named_digests = [
        (entry.name, digest)
        for entry in entries
        for digest in (entry.digest, *entry.other_digests)
        if isinstance(entry.name, Reference) and digest
    ]
    digests = {f"{name.familiar_name}@{digest}" for name, digest in named_digests}
    document: dict[str, Any] = {
        "RepoTags": sorted(str(name) for name in names if name.tag),
        "RepoDigests": sorted(digests),
        "Descriptor": Descriptor(manifest.media_type, root, len(content)).to_json(),
        "Annotations": dict(manifest.annotations),
    }
    if isinstance(manifest, Manifest):
        document |= {
            "ArtifactType": manifest.artifact_kind,
            "DownloadSize": manifest.download_size,
            "Config": manifest.config.to_json(),
            "Layers": [layer.to_json() for layer in manifest.layers],
        }
        if manifest.subject is not None:
            document["Subject"] = manifest.subject.to_json()
    return document


def _build_index_document(root: Digest, context: PlanContext) -> dict[str, Any] | None:
    """Return the platforms of an index, stored and absent; None for a manifest that is not an index."""
    content = context.store.read_document(root)
    index = parse_manifest(content)
    if not isinstance(index, Index):
        return None
    connection = context.store.index.connection
    stored = {digest for (digest,) in connection.execute("SELECT digest FROM reach WHERE root = ?", (root,))}
    platforms = [(entry.digest, entry.platform) for entry in index.manifests]
    known_platforms = [
        (digest, platform.canonical) for digest, platform in platforms if platform is not None and platform.is_known
    ]
    return {
        "Descriptor": Descriptor(index.media_type, root, len(content)).to_json(),
        "Platforms": [platform for digest, platform in known_platforms if digest in stored],
        "Absent": [platform for digest, platform in known_platforms if digest not in stored],
    }


def _inspect_image(root: Digest, id_: str, context: PlanContext) -> dict[str, Any]:
    """Return the document of `docker image inspect`, from the image's config and the index."""
    store = context.store
    connection = store.index.connection
    row = connection.execute(
        "SELECT _image, manifest_digest, size, download_size, media_type, annotations"
        " FROM images WHERE _root = ? AND id = ? LIMIT 1",
        (root, id_),
    ).fetchone()
    if row is None:
        return _build_artifact_document(root, context)
    key, manifest, size, download_size, media_type, annotations = row
    config = Config.parse(store.read_document(Digest(id_)), f"the config {id_}").document
    names = connection.execute(
        "SELECT DISTINCT name, repository, tag, coalesce(digest || ' ', '') || coalesce(other_digests, ''), set_at"
        " FROM entry WHERE image = ? ORDER BY name",
        (key,),
    ).fetchall()
    moments = [moment for *_, moment in names if moment is not None]
    document = build_image_document(
        config,
        {
            "Id": id_,
            "RepoTags": [name for name, _, tag, *_ in names if tag is not None],
            "RepoDigests": sorted(
                {
                    f"{repository}@{one}"
                    for _, repository, _, digests, _ in names
                    if repository
                    for one in digests.split()
                }
            ),
            "Size": size,
            "VirtualSize": size,
            "Metadata": {"LastTagTime": format_time(max(moments)) if moments else None},
        },
    )
    document |= {
        "Descriptor": Descriptor(media_type, Digest(manifest), len(store.read_document(Digest(manifest)))).to_json(),
        "DownloadSize": download_size,
        "Annotations": json.loads(annotations),
    }
    index = _build_index_document(root, context)
    return document if index is None else document | {"Index": index}


VERB = Verb(
    "inspect",
    "Show all details of images as JSON, with docker's keys. An engine describes its images and containers itself.",
    'inspect redis:7 format "{{.Config.Cmd}}"',
    OperandKind.IMAGES,
    options=("from",),
    answer=_inspect,
)
