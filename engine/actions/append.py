"""The verb `append`: makes an image with a folder or an archive as a further layer."""

from __future__ import annotations

import os

from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action_options import get_option_values
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .derived_images import DerivedImage, find_base, find_place_planner, get_new_name
from .import_image import store_layer
from .output_paths import label_transfer, resolve_path
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.derived_image import BaseImage
    from imq.engine.store.ingest import Ingest
    from imq.grammar import ast


class Append(DerivedImage):
    """Add a layer with the files of a folder or a tar archive."""

    path: str = ""
    changes: tuple[str, ...] = ()

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "append"

    def store(self, ingest: Ingest, base: BaseImage, context: ExecutionContext) -> tuple[Descriptor, Digest]:
        """Store the layer, the config and the manifest."""
        import copy

        from imq.engine.store.derived_image import Step, store_derived

        size = os.path.getsize(self.path) if os.path.isfile(self.path) else 0
        moved = make_byte_counter(context.progress, label_transfer("append", self.path), size)
        layer = store_layer(ingest, self.path, moved)
        runtime = copy.deepcopy(dict(base.config.runtime))
        apply_instructions(runtime, self.changes)
        steps = [Step(f"append {os.path.basename(self.path)}"), *(Step(one, empty=True) for one in self.changes)]
        return store_derived(ingest, base, runtime, steps, (layer,))


def _plan_append(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    targets = [option for option in act.options if option.name == "to"]
    paths = context.literals(act.references)
    if len(paths) != 1 or len(targets) != 1:
        raise StatementError(
            "append takes one folder or archive, and one image after to",
            code="operand",
            span=act.span,
            hints=('example: append "./files" to app:1 as app:2',),
        )
    changes = tuple(get_option_values(act, "change", context))
    apply_instructions({}, changes)
    new_name = get_new_name(act, context)
    path = resolve_path(paths[0], context)
    if not os.path.exists(path):
        raise StatementError(f"no such file or folder: {path}", code="path", span=act.references[0].span)
    if (planner := find_place_planner(act, targets[0].values[0], context)) is not None:
        return planner(act, context)
    name, id_, manifest = find_base(targets[0].values[0], context)
    return [Append(name, id_, manifest, new_name, path, changes)]


VERB = Verb(
    "append",
    "Make an image with the files of a folder or a tar archive as a further layer. The layers below are shared."
    " With from HOST that is done in the registry, where only what is new is uploaded.",
    "append './files' to app:1 as app:2 change 'CMD [\"serve\"]'",
    OperandKind.PATHS,
    options=("to", "from", "as", "change", "dry run"),
    docker_differences="It is COPY of a Dockerfile without a build. The same files give the same image.",
    plan=_plan_append,
)
