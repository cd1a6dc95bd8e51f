"""The documents of images and containers of namespaces: `inspect`.

containerd has no such document. That of an image has docker's keys, and what containerd adds in `Containerd`; that of
a container has the keys of `ctr containers info`.
"""

from __future__ import annotations

from imq.engine.oci.timestamp import format_time
from imq.engine.query.binder import require_where
from imq.engine.result import Documents
from imq.engine.sources.action_options import bind_whole_rows
from imq.engine.sources.layouts.inspect import build_document
from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

from .content import ContainerdImage, name_of_record
from .targets import find_targets, get_reader

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.sources.action import PlanContext

    from .content import ContainerdRecords
    from .uses import ContainerUse


def inspect(act: ast.ActionStatement, context: PlanContext) -> Documents:
    """Return the documents of the images that references name, or of the images or containers of a query."""
    if act.query is not None and bind_whole_rows(act, context).table.name == "containers":
        return Documents(tuple(_list_containers(act, context)), act.output)
    targets, failures = find_targets(act, context)
    errors = tuple(error for failure in failures if (error := failure.describe().error) is not None)
    documents = [
        _build_image(target.source, target.listed, image, context)
        for target in dict.fromkeys(target.replace(name=None) for target in targets)
        for image in target.listed.images
        if isinstance(image, ContainerdImage)
    ]
    return Documents(tuple(documents), act.output, errors=errors, exit_code=3 if errors else 0)


def _build_image(
    source: str, listed: ContainerdRecords, image: ContainerdImage, context: PlanContext
) -> dict[str, Any]:
    rows = get_reader(context).read(source)
    ((size, _),) = rows.get_image_sizes([(image.id, image.manifest)])
    names = [name for record in listed.records if (name := name_of_record(record.name)) is not None]
    document = build_document(listed, image, names, size)
    return document | {
        "Containerd": {
            "Namespace": get_reader(context).get_namespace(source),
            "Names": {record.name: dict(record.labels) for record in listed.records},
            "Manifest": image.manifest,
            "Complete": image.is_complete,
            "Unpacked": image.is_unpacked,
        },
    }


def _list_containers(act: ast.ActionStatement, context: PlanContext) -> list[dict[str, Any]]:
    assert act.query is not None
    require_where(act.query, act.verb)
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("source", "id"))
    query = ast.Query("", base=act.query, select=columns, span=act.query.span)
    documents = []
    for source, id_ in dict.fromkeys(context.rows(query, ())[1]):
        uses = get_reader(context).read_containers(str(source))
        documents += [_build_container(use) for use in uses if use.record.id == id_]
    return documents


def _build_container(use: ContainerUse) -> dict[str, Any]:
    import json

    record, task = use.record, use.task
    created = record.created_at
    document: dict[str, Any] = {
        "ID": record.id,
        "Labels": dict(record.labels),
        "Image": record.image,
        "Runtime": {"Name": record.runtime},
        "SnapshotKey": record.snapshot_key,
        "Snapshotter": record.snapshotter,
        "CreatedAt": format_time(created) if created is not None else None,
        "Status": use.status,
        "ExitCode": task.exit_code if task is not None else None,
    }
    try:
        document["Spec"] = json.loads(record.spec) if record.spec else None
    except (ValueError, RecursionError):
        document["Spec"] = None
    return document
