"""The planner of each verb that works on images of engines."""

from __future__ import annotations

from .remove import plan_prune, plan_removal, plan_untag

PLANNERS = {"rm": plan_removal, "untag": plan_untag, "prune": plan_prune}
