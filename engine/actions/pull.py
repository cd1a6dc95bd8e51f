"""The verb `pull`: fetches images and artifacts from registries into the store."""

from __future__ import annotations

from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.sources.action import Outcome
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import get_platforms, plan_receiving, resolve_references
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.oci.digest import Digest
    from imq.engine.registry.mirrors import ImageReader
    from imq.engine.registry.transfer.pull import PullResult
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.ingest import Ingest
    from imq.engine.store.store import Store
    from imq.grammar import ast


class Pull(Record):
    """Fetch an image for these platforms, or for all with `every`; the default is the platform of this machine."""

    reference: Reference
    platforms: tuple[Platform, ...] = ()
    every: bool = False
    verb: str = "pull"

    def describe(self) -> Outcome:
        """Return the reference and the platforms."""
        platforms = "all platforms" if self.every else ", ".join(map(str, self.platforms))
        return Outcome(self.verb, str(self.reference), note=f"for {platforms}" if platforms else None)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Fetch the image, then give it its name in one transaction of the store."""
        pulled = pull_image(context.store, self.reference, self.platforms, context, every=self.every)
        result = pulled.result
        for warning in (*result.warnings, *context.take_mirror_warnings()):
            context.progress.warn(warning)
        kind = result.artifact_type or ("platforms" if pulled.has_grown else "image")
        is_newer = pulled.is_new or pulled.has_grown
        notes = [f"downloaded newer {kind}" if is_newer else f"{kind} is up to date", *result.warnings]
        id_ = result.config.digest if result.config is not None else None
        yield Outcome(self.verb, str(self.reference), id_, result.transferred_bytes, note="; ".join(notes))


class PulledImage(Record):
    """A pulled image. `root` is the digest that its name has in the store.

    `has_grown`: images were added to an index that the store had already.
    """

    result: PullResult
    root: Digest
    is_new: bool
    has_grown: bool


def pull_image(
    store: Store, reference: Reference, platforms: tuple[Platform, ...], context: ExecutionContext, *, every: bool
) -> PulledImage:
    """Fetch an image into a store, and give it its name there in one transaction."""
    if context.indexes_files and not context.lazy:
        from imq.engine.store.file_index import add_scans
        from imq.engine.store.layer_scans import open_scan_folder

        with open_scan_folder(context.environment) as folder:
            pulled, scans = _pull_into(store, reference, platforms, context, folder, every=every)
            if (problem := add_scans(store, scans, context.clock())) is not None:
                context.progress.warn(f"the files of {reference} are not indexed: {problem}")
        return pulled
    return _pull_into(store, reference, platforms, context, None, every=every)[0]


def _pull_into(
    store: Store,
    reference: Reference,
    platforms: tuple[Platform, ...],
    context: ExecutionContext,
    scan_folder: str | None,
    *,
    every: bool,
) -> tuple[PulledImage, Sequence[str]]:
    """Fetch an image; return it and the scans of its layers, which are made with a `scan_folder`."""
    client = context.get_image_reader()
    with store.start_ingest(measure_later=context.lazy, scan_folder=scan_folder) as ingest:
        pulled = _fetch(store, client, reference, platforms, ingest, context, every=every)
        ingest.sync()
        with store.start_transaction(ingest.measures) as transaction:
            manifest, grown = pulled.manifest, False
            if pulled.keeps_index:
                manifest, grown = transaction.hold(manifest, pulled.stored_manifests)
            set_name = transaction.set_name if reference.tag is not None else transaction.set_digest_name
            is_new = set_name(reference, manifest, pulled.digest, context.clock())
    return PulledImage(pulled, manifest.digest, is_new, grown), ingest.scans


def _fetch(
    store: Store,
    client: ImageReader,
    reference: Reference,
    platforms: tuple[Platform, ...],
    ingest: Ingest,
    context: ExecutionContext,
    *,
    every: bool,
) -> PullResult:
    """Fetch the blobs. When the name is that of an index in the store, the images are added to that index."""
    from imq.engine.registry.transfer.pull import pull, pull_index

    if every or len(platforms) > 1:
        return pull_index(client, reference, platforms, ingest, context.progress, jobs=context.jobs)
    platform = platforms[0] if platforms else None
    kept = store.find_root(reference)
    return pull(client, reference, platform, ingest, context.progress, jobs=context.jobs, stored_index=kept)


def plan_pulls(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the actions that store images of registries."""
    platforms, every = get_platforms(act, context)
    references, failures = resolve_references(act, context)
    names = dict.fromkeys(reference.without_redundant_tag() for reference in references)
    if (planned := plan_receiving(act, [str(name) for name in names], context)) is not None:
        return [*planned, *failures]
    return [*(Pull(name, platforms, every, act.verb) for name in names), *failures]


VERB = Verb(
    "pull",
    "Fetch images and artifacts from their registries; layers that are stored already are not downloaded again. The"
    " default is one platform. Several platforms, or all, are stored together with their index. After to, the"
    " engine that pulls: pull redis:7 to docker.",
    "pull redis:7 platform linux/amd64, linux/arm64",
    OperandKind.NAMES,
    options=("platform", "to", "dry run"),
    plan=plan_pulls,
)
