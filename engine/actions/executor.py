"""Executes the actions of one statement and yields their outcomes; some kinds of actions run in batches."""

from __future__ import annotations

from itertools import groupby

from imq.engine.sources.action import BatchedAction, PreparedAction, RegistryWrite
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.sources.action import Action, ExecutionContext, Outcome


class ActionExecutor:
    """Executes actions in one context."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context

    def execute(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        """Execute the actions in order and yield their outcomes. A failure does not stop the actions that follow.

        Consecutive actions of one kind are executed as a batch. After writes to registries, cached tags expire.
        """
        try:
            done = 0
            for batch, group in groupby(actions, _get_batch_function):
                batch_actions = list(group)
                if batch is not None:
                    yield from batch(batch_actions, self._context)
                else:
                    yield from self._execute_each(batch_actions, done, len(actions))
                done += len(batch_actions)
        finally:
            self._context.close()
            if any(isinstance(action, RegistryWrite) for action in actions):
                self._context.expire_cached_tags()

    def _execute_each(self, actions: Sequence[Action], done: int, total: int) -> Iterator[Outcome]:
        prepared = [action for action in actions if isinstance(action, PreparedAction)]
        for prepare, group in groupby(prepared, lambda action: type(action).prepare):
            prepare(list(group), self._context)
        for number, action in enumerate(actions, done):
            described = action.describe()
            if total > 1:
                self._context.progress.report_items(described.action, number, total)
            try:
                yield from action.execute(self._context)
            except ImqError as error:
                if error.exit_code == Interrupted.exit_code:
                    raise
                yield described.with_error(error)


def _get_batch_function(action: Action) -> Callable[[Sequence[Action], ExecutionContext], Iterator[Outcome]] | None:
    """Return the function that executes an action in a batch; None for an action that is executed alone."""
    return type(action).execute_batch if isinstance(action, BatchedAction) else None
