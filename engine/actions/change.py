"""The verb `change`: makes an image with another configuration. No layer is read or copied."""

from __future__ import annotations

import copy

from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.sources.action_options import get_option_values
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


class Change(DerivedImage):
    """Apply Dockerfile instructions to the config of an image."""

    changes: tuple[str, ...] = ()

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "change"

    def store(self, ingest: Ingest, base: BaseImage, _context: ExecutionContext) -> tuple[Descriptor, Digest]:
        """Store the config and the manifest."""
        from imq.engine.store.derived_image import Step, store_derived

        runtime = copy.deepcopy(dict(base.config.runtime))
        apply_instructions(runtime, self.changes)
        return store_derived(ingest, base, runtime, [Step(change, empty=True) for change in self.changes])


def _plan_change(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    image, *others = act.references or (None,)
    changes = (*context.literals(others), *get_option_values(act, "change", context))
    if image is None or not changes:
        raise StatementError(
            "change needs an image by its name" if image is None else "change needs Dockerfile instructions",
            code="operand",
            span=act.span,
            hints=("example: change app:1 'LABEL env=prod', 'CMD [\"serve\"]' as app:2",),
        )
    apply_instructions({}, changes)  # refuses invalid instructions before anything is stored
    get_new_name(act, context)
    if (planner := find_place_planner(act, image, context)) is not None:
        return planner(act, context)
    name, id_, manifest = find_base(image, context)
    return [Change(name, id_, manifest, get_new_name(act, context), changes)]


VERB = Verb(
    "change",
    "Make an image with another configuration, by Dockerfile instructions. Its layers are shared, and none is read."
    " With from HOST the image is changed in its registry, where only the config and the manifest are uploaded.",
    "change app:1 'LABEL env=prod', 'CMD [\"serve\"]' as app:2",
    OperandKind.IMAGE_AND_INSTRUCTIONS,
    options=("from", "as", "change", "dry run"),
    docker_differences=(
        "Docker needs a Dockerfile, or a container and docker commit --change. The time of the image stays, so that the"
        " same change gives the same image."
    ),
    plan=_plan_change,
)
