"""The verb `pull`: fetches images and artifacts from registries into the store."""

from __future__ import annotations

from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.sources.action import Outcome
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import get_platforms, resolve_references
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.registry.mirrors import ImageReader
    from imq.engine.registry.transfer.pull import PullResult
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.ingest import Ingest
    from imq.grammar import ast


class Pull(Record):
    """Fetch an image for these platforms, or for all with `every`; the default is the platform of this machine."""

    reference: Reference
    platforms: tuple[Platform, ...] = ()
    every: bool = False

    def describe(self) -> Outcome:
        """Return the reference and the platforms."""
        platforms = "all platforms" if self.every else ", ".join(map(str, self.platforms))
        return Outcome("pull", str(self.reference), note=f"for {platforms}" if platforms else None)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Fetch the image, then set its name in one transaction of the store."""
        client = context.get_image_reader()
        with context.store.start_ingest(measure_later=context.lazy) as ingest:
            pulled = self._pull(context, client, ingest)
            ingest.sync()
            with context.store.start_transaction(ingest.measures) as transaction:
                manifest, index_extended = pulled.manifest, False
                if pulled.keeps_index:
                    manifest, index_extended = transaction.hold(manifest, pulled.stored_manifests)
                set_name = transaction.set_name if self.reference.tag is not None else transaction.set_digest_name
                is_new = set_name(self.reference, manifest, pulled.digest, context.clock())
        for warning in (*pulled.warnings, *context.take_mirror_warnings()):
            context.progress.warn(warning)
        kind = pulled.artifact_type or ("platforms" if index_extended else "image")
        notes = [f"downloaded newer {kind}" if is_new or index_extended else f"{kind} is up to date", *pulled.warnings]
        id_ = pulled.config.digest if pulled.config is not None else None
        yield Outcome("pull", str(self.reference), id_, pulled.transferred_bytes, note="; ".join(notes))

    def _pull(self, context: ExecutionContext, client: ImageReader, ingest: Ingest) -> PullResult:
        """Fetch the blobs. When the store has an index of this name, the images are added to that index."""
        from imq.engine.registry.transfer.pull import pull, pull_index

        if self.every or len(self.platforms) > 1:
            return pull_index(client, self.reference, self.platforms, ingest, context.progress, jobs=context.jobs)
        platform = self.platforms[0] if self.platforms else None
        stored_root = context.store.find_root(self.reference)
        return pull(
            client, self.reference, platform, ingest, context.progress, jobs=context.jobs, stored_index=stored_root
        )


def _plan_pull(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    platforms, every = get_platforms(act, context)
    references, failures = resolve_references(act, context)
    names = dict.fromkeys(reference.without_redundant_tag() for reference in references)
    return [*(Pull(name, platforms, every) for name in names), *failures]


VERB = Verb(
    "pull",
    "Fetch images and artifacts from their registries; layers that are stored already are not downloaded again. The"
    " default is one platform. Several platforms, or all, are stored together with their index.",
    "pull redis:7 platform linux/amd64, linux/arm64",
    OperandKind.NAMES,
    options=("platform", "dry run"),
    plan=_plan_pull,
)
