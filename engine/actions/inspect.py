"""Verbs that look closely: inspect, verify, reindex."""

from __future__ import annotations

import json

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, Manifest, read_manifest
from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import write_time
from imq.engine.render.docker_inspect import image_document
from imq.engine.result import Documents, exit_code_of
from imq.engine.store.layout import places_of
from imq.engine.store.unindexed import unshown
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .base import Action, Reindex, Verify
from .operands import each_target, said, targets
from .registry_targets import is_remote, verified_there
from .verb import Takes, Verb

if TYPE_CHECKING:
    from typing import Any

    from .verb import Planning


def _inspect(act: ast.Act, planning: Planning) -> Documents:
    wanted = list(dict.fromkeys((target.root, target.id) for target in targets(act, planning)))
    problems = tuple(
        problem
        for root in dict.fromkeys(root for root, _ in wanted)
        for problem in planning.store.measure(jobs=2, root=root)
    )
    documents = tuple(_document(root, id_, planning) for root, id_ in wanted)
    return Documents(documents, act.output, errors=problems, exit_code=exit_code_of(problems))


def _artifact(root: Digest, planning: Planning) -> dict[str, Any]:
    """Return what is known of an artifact, in the words of its manifest and docker's."""
    entries = [entry for entry in unshown(planning.store) if entry.descriptor.digest == root]
    content = planning.store.read(root)
    manifest = read_manifest(content)
    names = [entry.name for entry in entries if entry.name is not None]
    known = [
        (entry.name, digest)
        for entry in entries
        for digest in (entry.digest, *entry.other_digests)
        if isinstance(entry.name, Reference) and digest
    ]
    digests = {f"{name.familiar_name}@{digest}" for name, digest in known}
    document: dict[str, Any] = {
        "RepoTags": sorted(str(name) for name in names if name.tag),
        "RepoDigests": sorted(digests),
        "Descriptor": Descriptor(manifest.media_type, root, len(content)).document(),
        "Annotations": dict(manifest.annotations),
    }
    if isinstance(manifest, Manifest):
        document |= {
            "ArtifactType": manifest.kind,
            "DownloadSize": manifest.download_size,
            "Config": manifest.config.document(),
            "Layers": [layer.document() for layer in manifest.layers],
        }
        if manifest.subject is not None:
            document["Subject"] = manifest.subject.document()
    return document


def _platforms(root: Digest, planning: Planning) -> dict[str, Any] | None:
    """Return what an index names: the platforms that are here, and those that are not; None for an image alone."""
    content = planning.store.read(root)
    index = read_manifest(content)
    if not isinstance(index, Index):
        return None
    connection = planning.store.index.connection
    here = {digest for (digest,) in connection.execute("SELECT digest FROM reach WHERE root = ?", (root,))}
    said = [(entry.digest, entry.platform) for entry in index.manifests]
    known = [(digest, platform.canonical) for digest, platform in said if platform is not None and platform.known]
    return {
        "Descriptor": Descriptor(index.media_type, root, len(content)).document(),
        "Platforms": [platform for digest, platform in known if digest in here],
        "Absent": [platform for digest, platform in known if digest not in here],
    }


def _document(root: Digest, id_: str, planning: Planning) -> dict[str, Any]:
    """Return what `docker image inspect` says of an image, from its config and the index."""
    store = planning.store
    connection = store.index.connection
    row = connection.execute(
        "SELECT _image, manifest_digest, size, download_size, media_type, annotations"
        " FROM images WHERE _root = ? AND id = ? LIMIT 1",
        (root, id_),
    ).fetchone()
    if row is None:
        return _artifact(root, planning)
    key, manifest, size, download_size, media_type, annotations = row
    config = Config.read(store.read(Digest(id_)), f"the config {id_}").document
    names = connection.execute(
        "SELECT DISTINCT name, repository, tag, coalesce(digest || ' ', '') || coalesce(other_digests, ''), set_at"
        " FROM entry WHERE image = ? ORDER BY name",
        (key,),
    ).fetchall()
    moments = [moment for *_, moment in names if moment is not None]
    document = image_document(
        config,
        {
            "Id": id_,
            "RepoTags": [name for name, _, tag, *_ in names if tag is not None],
            "RepoDigests": sorted(
                {f"{repository}@{one}" for _, repository, _, known, _ in names if repository for one in known.split()}
            ),
            "Size": size,
            "VirtualSize": size,
            "Metadata": {"LastTagTime": write_time(max(moments)) if moments else None},
        },
    )
    document |= {
        "Descriptor": Descriptor(media_type, Digest(manifest), len(store.read(Digest(manifest)))).document(),
        "DownloadSize": download_size,
        "Annotations": json.loads(annotations),
    }
    index = _platforms(root, planning)
    return document if index is None else document | {"Index": index}


def _plan_verify(act: ast.Act, planning: Planning) -> list[Action]:
    repair = said(act, "repair")
    if is_remote(act, planning):
        if repair is not None:
            raise StatementError("what a registry has is not repaired from here", code="operand", span=repair.span)
        return verified_there(act, planning)
    everything = act.query is None and not act.references
    if everything:
        act = act.replace(query=ast.Query("images", every=True))
    found, failures = each_target(act, planning, takes_unreadable=True)
    wanted = {target.root: (target.name, target.id) for target in found[::-1]}
    images = [(root, *wanted[root]) for root in reversed(wanted)]
    entries = planning.store.layout.read() if everything or repair is not None else []
    if everything:  # what no question shows, because it is no image
        roots = {entry.descriptor.digest: entry.name for entry in entries}
        images += [(root, str(name) if name else None, root) for root, name in roots.items() if root not in wanted]
    actions: list[Action] = []
    for root, name, id_ in images:
        places = places_of(entry for entry in entries if entry.descriptor.digest == root) if repair is not None else ()
        actions.append(Verify(name or id_.short, root, id_, repair is not None, tuple(places)))
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
        "Hash every blob of the images again and unpack their layers; verify all takes every image. With repair what is"
        " damaged or missing is fetched again, from the registries in the images' names.",
        "verify all repair",
        Takes.IMAGES,
        options=("repair", "dry run"),
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
