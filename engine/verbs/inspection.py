"""Verbs that look closely: inspect, verify, reindex."""

from __future__ import annotations

import json

from imq.engine.actions import Action, Reindex, Verify
from imq.engine.oci.digest import Digest
from imq.engine.oci.timestamp import write_time
from imq.engine.result import Documents, worst
from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

from .declaration import Takes, Verb
from .operands import each_target, targets

if TYPE_CHECKING:
    from typing import Any

    from .declaration import Planning


def _inspect(act: ast.Act, planning: Planning) -> Documents:
    wanted = list(dict.fromkeys((target.root, target.id) for target in targets(act, planning)))
    problems = tuple(
        problem
        for root in dict.fromkeys(root for root, _ in wanted)
        for problem in planning.store.measure(jobs=2, root=root)
    )
    documents = tuple(_document(root, id_, planning) for root, id_ in wanted)
    return Documents(documents, act.output, errors=problems, exit_code=worst(problems))


def _document(root: str, id_: str, planning: Planning) -> dict[str, Any]:
    """Return what `docker image inspect` says of an image, from its config and the index."""
    store = planning.store
    connection = store.index.connection
    row = connection.execute(
        "SELECT _image, manifest_digest, size, download_size, media_type, annotations"
        " FROM images WHERE _root = ? AND id = ? LIMIT 1",
        (root, id_),
    ).fetchone()
    key, manifest, size, download_size, media_type, annotations = row
    config = json.loads(store.read(Digest(id_)))
    names = connection.execute(
        "SELECT DISTINCT name, repository, tag, digest, set_at FROM entry WHERE image = ? ORDER BY name", (key,)
    ).fetchall()
    rootfs = config.get("rootfs") or {}
    runtime = config.get("config") or {}
    moments = [moment for *_, moment in names if moment is not None]
    document: dict[str, Any] = {
        "Id": id_,
        "RepoTags": [name for name, _, tag, *_ in names if tag is not None],
        "RepoDigests": sorted(
            {f"{repository}@{digest}" for _, repository, _, digest, _ in names if repository and digest}
        ),
        "Created": config.get("created"),
        "Author": config.get("author", ""),
        "Comment": next(
            (step.get("comment") for step in reversed(config.get("history") or []) if step.get("comment")), ""
        ),
        "Architecture": config.get("architecture"),
        "Variant": config.get("variant"),
        "Os": config.get("os"),
        "OsVersion": config.get("os.version"),
        "Size": size,
        "DownloadSize": download_size,
        "Config": runtime,
        "RootFS": {"Type": rootfs.get("type", "layers"), "Layers": rootfs.get("diff_ids", [])},
        "Metadata": {"LastTagTime": write_time(max(moments)) if moments else None},
        "Descriptor": {"mediaType": media_type, "digest": manifest},
        "Annotations": json.loads(annotations),
    }
    return {name: value for name, value in document.items() if value is not None}


def _plan_verify(act: ast.Act, planning: Planning) -> list[Action]:
    everything = act.query is None and not act.references
    if everything:
        act = act.replace(query=ast.Query("images", every=True))
    found, failures = each_target(act, planning)
    wanted = {(target.root, target.id): target.name for target in reversed(found)}
    actions: list[Action] = [Verify(name or id_.short, root, id_) for (root, id_), name in reversed(wanted.items())]
    if everything:  # what no question shows, because its documents are missing or damaged, or because it is no image
        roots = {entry.descriptor.digest: entry.name for entry in planning.store.layout.read()}
        shown = {root for root, _ in wanted}
        actions += [Verify(str(n) if n else r.short, r, r) for r, n in roots.items() if r not in shown]
    return actions + failures


def _plan_reindex(_act: ast.Act, _planning: Planning) -> list[Action]:
    return [Reindex()]


VERBS = (
    Verb(
        "inspect",
        "Show all that is known of images, as JSON in docker's words.",
        'inspect redis:7 format "{{.Config.Cmd}}"',
        Takes.IMAGES,
        answer=_inspect,
    ),
    Verb(
        "verify",
        "Hash every blob of the images again and unpack their layers; verify all takes every image.",
        "verify all",
        Takes.IMAGES,
        options=("dry run",),
        all=True,
        plan=_plan_verify,
    ),
    Verb(
        "reindex",
        "Derive the index again from the blobs of the store.",
        "reindex",
        Takes.NOTHING,
        options=("dry run",),
        alone=True,
        plan=_plan_reindex,
    ),
)
