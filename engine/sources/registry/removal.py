"""Removing in registries: exactly what was planned, and nothing that has changed since."""

from __future__ import annotations

from imq.engine import actions as a
from imq.engine.oci.reference import Reference
from imq.grammar.errors import Conflict, NotFound, listed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.registry.client import Client
    from imq.engine.registry.manifests import Fetched


class Removal:
    """Does the removals of one statement, one after the other."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._gone: set[tuple[str, str, Digest]] = set()

    def do(self, action: a.RemoveTag | a.RemoveManifest) -> a.Outcome:
        """Do one removal, and say what came of it."""
        if isinstance(action, a.RemoveManifest):
            return self._manifest(action)
        return self._tag(action)

    def _tag(self, action: a.RemoveTag) -> a.Outcome:
        """Take a tag away; where the registry can only remove manifests, the manifest, when nothing else needs it."""
        name, client = action.name, self._client
        there = (name.registry, name.repository, action.digest)
        with_manifest = a.describe(action).replace(note="with its manifest: the registry cannot take a tag alone")
        if there in self._gone:  # it went with a manifest that was removed before
            return with_manifest
        self._check(name, action.digest)
        manifest = name.replace(tag=None, digest=action.digest)
        held = client.manifest(manifest) if action.others else None
        if client.remove(name):
            if held is not None:
                self._keep(action, held)
            return a.describe(action)
        if action.others:
            raise Conflict(
                f"{name} was left alone: {name.registry} cannot take a tag alone, and its manifest is needed by"
                f" {listed(action.others)}",
                code="shared",
                hints=("with its tags removes the manifest with all its tags", "or remove the others too"),
            )
        if action.only_tag:
            raise Conflict(
                f"{name} was left alone: {name.registry} cannot take a tag alone",
                code="no-untag",
                hints=("rm removes the tag with its manifest, which no other tag has",),
            )
        client.remove(manifest)
        self._gone.add(there)
        return with_manifest

    def _manifest(self, action: a.RemoveManifest) -> a.Outcome:
        """Remove a manifest with its tags, unless one of them has moved since."""
        digest = action.name.digest
        assert digest is not None
        for tag in action.tags:
            self._check(action.name.replace(tag=tag, digest=None), digest)
        if not action.tags:
            self._check(action.name, digest)
        self._client.remove(action.name)
        return a.describe(action)

    def _check(self, name: Reference, digest: Digest) -> None:
        """Refuse to go on when a name is gone, or stands for something else than when this was planned."""
        there = self._client.head(name)
        if there is None or there.digest != digest:
            raise NotFound(
                f"{name} has changed since this was planned, so it was left alone",
                code="changed",
                hints=("run the statement again",),
            )

    def _keep(self, action: a.RemoveTag, held: Fetched) -> None:
        """See that a registry which took a tag away left those that share its manifest; put back what it did not."""
        lost = []
        tagged = f"{action.name.familiar_name}:"
        for other in action.others:  # a registry may list what is no tag: such a name cannot be parsed
            by_tag = other.startswith(tagged) and "@" not in other
            name = action.name.replace(tag=other.removeprefix(tagged)) if by_tag else Reference.parse(other)
            if name.tag is not None and self._client.head(name) is None:
                self._client.put_manifest(name, held.content, held.media_type)
                lost.append(other)
        if lost:
            raise Conflict(
                f"{action.name.registry} removed {listed(lost)} with {action.name}; what was lost was put back",
                code="shared",
                hints=("this registry cannot take a tag alone: with its tags removes all of them",),
            )
