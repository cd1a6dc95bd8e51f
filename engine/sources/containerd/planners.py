"""The planner of each verb that works on images of containerd."""

from __future__ import annotations

from .push import plan_push
from .remove import plan_prune, plan_removal, plan_untag
from .tag import plan_rename, plan_tag
from .transfer import plan_load, plan_pull

PLANNERS = {
    "rm": plan_removal,
    "untag": plan_untag,
    "prune": plan_prune,
    "tag": plan_tag,
    "rename": plan_rename,
    "pull": plan_pull,
    "push": plan_push,
    "load": plan_load,
}
