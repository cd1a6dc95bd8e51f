"""The planner of each verb that works on images of engines."""

from __future__ import annotations

from .container_verbs import PLANNERS as CONTAINER_PLANNERS
from .create import plan_commit, plan_import, plan_load
from .recreate import plan_recreate
from .remove import plan_prune, plan_removal, plan_untag
from .run_containers import PLANNERS as RUN_PLANNERS
from .tag import plan_rename, plan_tag
from .transfer import plan_pull, plan_push

PLANNERS = {
    **CONTAINER_PLANNERS,
    **RUN_PLANNERS,
    "rm": plan_removal,
    "untag": plan_untag,
    "prune": plan_prune,
    "tag": plan_tag,
    "rename": plan_rename,
    "pull": plan_pull,
    "push": plan_push,
    "load": plan_load,
    "import": plan_import,
    "commit": plan_commit,
    "recreate": plan_recreate,
}
