"""The verb `inspect`: shows all details of images as JSON, with docker's keys."""

from __future__ import annotations

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, Manifest, parse_manifest
from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import format_time
from imq.engine.render.docker_inspect import build_image_document
from imq.engine.result import Documents, get_exit_code
from imq.engine.sources.action_options import get_option
from imq.engine.store.index_check import find_image, make_holds
from imq.engine.store.non_image_entries import list_non_image_entries
from imq.engine.store.unreadable_images import find_problem
from imq.grammar import ast
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

from .container_operands import choose_containers, find_container, is_of_containers
from .operands import find_answer, resolve_targets
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from imq.engine.result import Result
    from imq.engine.sources.action import PlanContext

    from .container_operands import Chosen


def _inspect(act: ast.ActionStatement, context: PlanContext) -> Result:
    if (answer := find_answer(act, context)) is not None:
        return answer(act, context)
    if is_of_containers(act, context):
        chosen, failures = choose_containers(act, context)
        errors = tuple(failure.describe().error for failure in failures)
        found = tuple(problem for problem in errors if problem is not None)
        return Documents(_inspect_containers(chosen, context), act.output, errors=found, exit_code=get_exit_code(found))
    try:
        images = list(dict.fromkeys((target.root, target.id) for target in resolve_targets(act, context)))
    except NotFound:
        if len(act.references) != 1 or not context.store.has_containers():
            raise
        try:
            chosen = [find_container(context.literals(act.references)[0], context)]
        except NotFound:
            pass
        else:
            return Documents(_inspect_containers(chosen, context), act.output)
        raise
    problems = tuple(
        problem
        for root in dict.fromkeys(root for root, _ in images)
        for problem in context.store.measure_layers(jobs=2, root=root)
    )
    connection = context.store.index.connection
    unreadable = {root: problem for root, _ in images if (problem := find_problem(connection, root)) is not None}
    problems += tuple(unreadable.values())
    documents = tuple(
        _inspect_image(root, id_, context) | _describe_waste(id_, act, context)
        for root, id_ in images
        if id_ != root or root not in unreadable
    )
    return Documents(documents, act.output, errors=problems, exit_code=get_exit_code(problems))


def _describe_waste(id_: Digest, act: ast.ActionStatement, context: PlanContext) -> dict[str, Any]:
    """Return what the layers of an image waste and the largest of them, as dive shows it.

    Nothing without `with waste`, unless the index of files has all layers: then no layer is read.
    """
    connection = context.store.index.connection
    layers = connection.execute(
        "SELECT digest, diff_id, size, created_by FROM layers WHERE _image = (SELECT min(key) FROM image WHERE id = ?)",
        (id_,),
    ).fetchall()
    if not layers:
        return {}
    if get_option(act, "with waste") is None:
        from imq.engine.store.file_index import find_file_index

        index = find_file_index(context.store)
        if index is None or index.list_missing(Digest(diff_id) for _, diff_id, *_ in layers):
            return {}
    image = ast.Literal(id_, quoted=True)
    select = tuple(ast.Column(ast.Field((name,))) for name in ("efficiency", "wasted_size"))
    query = ast.Query("waste", targets=(image,), sources=(ast.Literal("store"),), select=select, span=act.span)
    _, rows = context.rows(query, ())
    largest = sorted(layers, key=lambda row: -(row[2] or 0))[:_LARGEST]
    return {
        "Waste": {
            "Efficiency": rows[0][0],
            "WastedSize": rows[0][1],
            "LargestLayers": [
                {"Digest": digest, "Size": size, "CreatedBy": created_by or ""}
                for digest, _, size, created_by in largest
            ],
        }
    }


_LARGEST = 5
"""The number of layers that are shown as the largest ones."""


def _inspect_containers(chosen: Sequence[Chosen], context: PlanContext) -> tuple[dict[str, Any], ...]:
    """Return the documents of containers as `docker container inspect` has them."""
    from imq.engine.containers.factory import make_containers

    containers = make_containers(context.store, "", context.environment)
    return tuple(containers.inspect(one.id) for one in chosen)


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
    holds = make_holds(context.store.index, root)
    stored = {entry.digest for entry in index.manifests if holds(entry)}
    platforms = [(entry.digest, entry.platform) for entry in index.manifests]
    known_platforms = [
        (digest, platform.canonical) for digest, platform in platforms if platform is not None and platform.is_known
    ]
    return {
        "Descriptor": Descriptor(index.media_type, root, len(content)).to_json(),
        "Platforms": [platform for digest, platform in known_platforms if digest in stored],
        "Absent": [platform for digest, platform in known_platforms if digest not in stored],
    }


def _inspect_image(root: Digest, id_: Digest, context: PlanContext) -> dict[str, Any]:
    """Return the document of `docker image inspect`, from the image's documents; the index has the measured size."""
    store = context.store
    found = find_image(store.index, root, id_)
    if found is None:
        return _build_artifact_document(root, context)
    descriptor, manifest = found
    connection = store.index.connection
    row = connection.execute("SELECT size FROM image WHERE manifest = ?", (descriptor.digest,)).fetchone()
    size = row[0] if row is not None else None
    config = Config.parse(store.read_document(id_), f"the config {id_}").document
    roots = connection.execute("SELECT DISTINCT root FROM entry WHERE manifest = ?", (descriptor.digest,)).fetchall()
    entries = [entry for (digest,) in roots for entry in store.layout.find_entries(Digest(digest))]
    moments = [entry.set_at for entry in entries if entry.set_at is not None]
    document = build_image_document(
        config,
        {
            "Id": id_,
            "RepoTags": sorted({str(entry.name) for entry in entries if entry.name is not None and entry.name.tag}),
            "RepoDigests": sorted(
                {
                    f"{entry.name.familiar_name}@{digest}"
                    for entry in entries
                    if entry.name is not None and entry.name.familiar_name
                    for digest in (entry.digest, *entry.other_digests)
                    if digest is not None
                }
            ),
            "Size": size,
            "VirtualSize": size,
            "Metadata": {"LastTagTime": format_time(max(moments)) if moments else None},
        },
    )
    document |= {
        "Descriptor": Descriptor(manifest.media_type, descriptor.digest, descriptor.size).to_json(),
        "DownloadSize": manifest.download_size,
        "Annotations": dict(manifest.annotations),
    }
    index = _build_index_document(root, context)
    return document if index is None else document | {"Index": index}


VERB = Verb(
    "inspect",
    "Show all details of images as JSON, with docker's keys; after the word container, those of containers. An engine"
    " describes its images and containers itself. Of images of the store whose files are indexed, or with waste, the"
    " efficiency and the largest layers are shown too, as in dive.",
    'inspect redis:7 format "{{.Config.Cmd}}"',
    OperandKind.IMAGES,
    options=("from", "with waste"),
    answer=_inspect,
)
