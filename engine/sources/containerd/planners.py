"""The planner of each verb that works on images of containerd."""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .push import plan_push
from .remove import plan_prune, plan_removal, plan_untag
from .tag import plan_rename, plan_tag
from .transfer import plan_load, plan_pull

if TYPE_CHECKING:
    from typing import NoReturn

    from imq.engine.sources.action import PlanContext
    from imq.grammar import ast


def refuse_commit(act: ast.ActionStatement, _context: PlanContext) -> NoReturn:
    """Refuse `commit`: a container of containerd has no configuration of an image to begin with."""
    raise StatementError(
        "containerd makes no images of containers: it does not keep how a container was configured as an image is",
        code="operand",
        span=act.query.span if act.query is not None else act.span,
        hints=("the client that made the container can: nerdctl commit",),
    )


PLANNERS = {
    "rm": plan_removal,
    "untag": plan_untag,
    "prune": plan_prune,
    "tag": plan_tag,
    "rename": plan_rename,
    "pull": plan_pull,
    "push": plan_push,
    "load": plan_load,
    "commit": refuse_commit,
}
