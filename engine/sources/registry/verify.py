"""The action that verifies a tag in its registry. It reads the manifests and requests the size of each blob."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, Manifest, parse_manifest
from imq.engine.oci.manifest_walk import IndexDepthError, read_manifest_tree
from imq.engine.oci.reference import Reference
from imq.engine.registry.auth.authorizer import make_pull_scope
from imq.engine.registry.errors import is_temporary, response_error
from imq.engine.registry.http.client import Request
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, get_option
from imq.grammar.errors import (
    DigestMismatch,
    ImqError,
    InvalidReference,
    Malformed,
    RegistryError,
    StatementError,
    join_names,
)
from imq.grammar.record import TYPE_CHECKING, Record

from .digests import query_digests
from .table_scan import is_not_found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.registry.client import Client
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class VerifyRemote(Record):
    """Verifies that a registry has every manifest and blob of a tag."""

    name: Reference
    digest: Digest

    def describe(self) -> Outcome:
        """Return the tag with its digest."""
        return Outcome("verify", str(self.name), note=self.digest.short)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Verify the tag. Raises `RegistryError` (`incomplete`) if anything is missing or corrupt."""
        size = context.get_shared(_make_verifier).verify(self.name, self.digest)
        yield self.describe().replace(size=size, note="all manifests and blobs found")


def plan_verify(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return a verification for each tag that a query returns."""
    if (repair := get_option(act, "repair")) is not None:
        raise StatementError("repair works only on the store, not on registries", code="operand", span=repair.span)
    assert act.query is not None
    bind_whole_rows(act, context)
    actions: list[Action] = []
    for name, digest, problem in query_digests(act.query, context):
        if problem or digest is None:
            failed = RegistryError(problem or f"{name} has no digest", code="unanswered")
            actions.append(Failed(act.verb, name, failed))
        else:
            try:
                actions.append(VerifyRemote(Reference.parse(name), Digest(digest)))
            except InvalidReference as error:  # a registry may list names that are not valid tags
                actions.append(Failed(act.verb, name, error))
    return actions


def _make_verifier(context: ExecutionContext) -> _Verifier:
    return _Verifier(context.get_client())


class _Verifier:
    """Verifies the tags of one statement. A blob that several tags share is requested once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._configs: dict[Digest, list[str]] = {}
        self._sizes: dict[tuple[str, str, Digest], int | None] = {}

    def verify(self, name: Reference, top: Digest) -> int:
        """Return the total size of a tag's manifests and blobs. Raises `RegistryError` (`incomplete`) for a defect."""
        defects: list[str] = []
        total = 0

        def read(descriptor: Descriptor) -> Manifest | Index:
            nonlocal total
            manifest = name.replace(tag=None, digest=descriptor.digest)
            fetched = self._client.fetch_manifest(manifest)
            document = parse_manifest(fetched.content, fetched.media_type, f"the manifest of {manifest}")
            total += len(fetched.content)
            return document

        def note(descriptor: Descriptor, error: ImqError) -> None:
            if isinstance(error, IndexDepthError) or (isinstance(error, RegistryError) and not is_not_found(error)):
                raise error
            subject = f"the manifest {descriptor.digest.short}"
            defects.append(f"{subject} is missing" if is_not_found(error) else f"{subject} is corrupt: {error.message}")

        for node in read_manifest_tree(Descriptor("", top, 0), read, on_error=note).top_down():
            document = node.document
            if isinstance(document, Index):
                continue
            manifest = name.replace(tag=None, digest=node.descriptor.digest)
            for blob in (document.config, *document.layers):
                size = self._request_size(name, blob)
                total += size or 0
                if size is None:
                    defects.append(f"the blob {blob.digest.short} is missing")
                elif size != blob.size:
                    defects.append(f"the blob {blob.digest.short} has {size} bytes, not {blob.size}")
                elif blob is document.config and document.is_image:
                    defects += self._find_config_problems(manifest, blob)
        if defects:
            raise RegistryError(
                f"{name} is incomplete: {join_names(dict.fromkeys(defects))}",
                code="incomplete",
                host=name.registry,
                hints=("push the image again, or remove the tag",),
            )
        return total

    def _find_config_problems(self, manifest: Reference, config: Descriptor) -> list[str]:
        """Return the defects of the config of an image."""
        if config.digest not in self._configs:
            problems = self._configs[config.digest] = []
            try:
                Config.parse(self._client.fetch_blob(manifest, config), f"the config {config.digest.short}")
            except (DigestMismatch, Malformed) as error:
                problems.append(error.message)
        return self._configs[config.digest]

    def _request_size(self, name: Reference, blob: Descriptor) -> int | None:
        """Return the size of a blob in bytes, or None if the registry does not have it."""
        key = (name.registry, name.repository, blob.digest)
        if key not in self._sizes:
            target = f"/v2/{name.repository}/blobs/{blob.digest}"
            request = Request("HEAD", name.registry, name.repository, target, make_pull_scope(name.repository))
            response = self._client.http.send(request)
            response.close()
            if response.status != HTTPStatus.OK and not is_temporary(response.status):  # HEAD alone may be refused
                response = self._client.http.send(request.replace(method="GET"))
            if response.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
                raise response_error(response, name.registry, f"the blob {blob.digest.short} of {name}")
            response.close()
            length = (
                blob.size if response.length is None else response.length
            )  # without Content-Length the size is not checked
            self._sizes[key] = length if response.status == HTTPStatus.OK else None
        return self._sizes[key]
