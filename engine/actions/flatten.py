"""The verb `flatten`: makes an image whose only layer has the files of all layers of another."""

from __future__ import annotations

from functools import partial

from imq.engine.progress import make_byte_counter
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .derived_images import DerivedImage, find_base, find_place_planner, get_new_name
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.derived_image import BaseImage
    from imq.engine.store.ingest import Ingest
    from imq.grammar import ast


class Flatten(DerivedImage):
    """Merge the layers of an image to one."""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "flatten"

    def store(self, ingest: Ingest, base: BaseImage, context: ExecutionContext) -> tuple[Descriptor, Digest]:
        """Store the layer, the config and the manifest."""
        from imq.engine.layers.flatten import FlatArchive
        from imq.engine.layers.layer_stack import StackedLayer
        from imq.engine.progress import CountingReader
        from imq.engine.store.derived_image import Step, store_derived

        store = context.store
        size = 2 * sum(layer.size for layer in base.manifest.layers)  # they are read twice
        moved = make_byte_counter(context.progress, f"flatten {self.base}", size)

        def open_blob(digest: Digest) -> CountingReader:
            return CountingReader(store.open_blob(digest), moved)

        layers = [
            StackedLayer(layer.digest, diff_id, None, partial(open_blob, layer.digest))
            for layer, diff_id in zip(base.manifest.layers, base.config.diff_ids, strict=True)
        ]
        flat = ingest.import_plain_layer(FlatArchive(layers).iter_pieces(), in_thread=True)
        step = Step(f"flatten {len(layers)} layers")
        return store_derived(ingest, base, base.config.runtime, (step,), (flat,), replaces_layers=True)


def _plan_flatten(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if len(act.references) != 1:
        raise StatementError(
            "flatten takes one image by its name",
            code="operand",
            span=act.span,
            hints=("example: flatten app:1 as app:flat",),
        )
    (image,) = act.references
    new_name = get_new_name(act, context)
    if (planner := find_place_planner(act, image, context)) is not None:
        return planner(act, context)
    return [Flatten(*find_base(image, context), new_name)]


VERB = Verb(
    "flatten",
    "Make an image whose only layer has the files of all layers of another: what later layers replaced or deleted is"
    " gone. The configuration stays.",
    "flatten app:1 as app:flat",
    OperandKind.IMAGES,
    options=("from", "as", "dry run"),
    docker_differences="It is docker export and docker import, without a container and with the configuration.",
    plan=_plan_flatten,
)
