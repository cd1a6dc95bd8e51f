"""The verb `run`: makes a container of an image, starts it, and waits for its end."""

from __future__ import annotations

import os
import select
import sys

from imq.engine.containers.runtime import RuntimeFailed
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values
from imq.engine.sources.container_values import read_flag
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import open_containers
from .container_options import RUNNING, read_create_options, read_values
from .create import Create, plan_creation
from .operands import find_planner
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.containers.containers import Attachment, Container, Containers
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

_READ_SIZE = 64 << 10


class ContainerFailed(ImqError):
    """The program of a container ended with an exit code other than 0, `exit_status`."""

    code = "container-failed"
    exit_status = 1


class Run(Record):
    """Create and start a container; without `detach`, pass on its output and wait for its end."""

    creation: Create
    detach: bool = False

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return self.creation.describe().replace(action="run")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Run the container. Raises `ContainerFailed` with its exit code; nothing is left of one that cannot start."""
        containers = context.get_shared(open_containers)
        containers.find_runtime()
        container = self.creation.create(context)
        options = self.creation.options
        try:
            attachment = containers.start(
                container, attach=not self.detach, stdin=0 if options.keeps_stdin and not self.detach else -1
            )
        except BaseException:
            containers.remove(container, force=True)
            raise
        outcome = Outcome("run", container.name, self.creation.id, note=container.id)
        if attachment is None:
            yield outcome
            return
        code = follow(containers, container, attachment)
        if code:
            error = ContainerFailed(f"the container {container.name} exited with code {code}")
            error.exit_status = code
            raise error
        yield outcome


def follow(containers: Containers, container: Container, attachment: Attachment) -> int:
    """Pass on the output of a container to the streams of this process until it ends; return its exit code.

    An interrupt is passed on to the container, as docker does.
    """
    from imq.engine.containers.containers import read_report

    sys.stdout.flush()
    streams = {attachment.stdout: 1, attachment.stderr: 2}
    poller = select.poll()
    for descriptor in streams:
        poller.register(descriptor, select.POLLIN)
    try:
        while streams:
            _interruptible(lambda: _pass_on(poller, streams), containers, container)
        report: dict[str, object] = {}
        _interruptible(lambda: report.update(read_report(attachment.reports, None) or {}), containers, container)
        code = report.get("exit_code")
        if code is None:
            state = containers.read_state(container.id)
            code = state.exit_code
        if code is None:
            raise RuntimeFailed(f"the exit code of the container {container.name} is unknown: its monitor was killed")
        return int(str(code))
    finally:
        for descriptor in (*streams, attachment.reports):
            os.close(descriptor)


def _pass_on(poller: select.poll, streams: dict[int, int]) -> None:
    for descriptor, _ in poller.poll():
        content = os.read(descriptor, _READ_SIZE)
        if not content:
            poller.unregister(descriptor)
            os.close(descriptor)
            del streams[descriptor]
            continue
        view = memoryview(content)
        while view:
            view = view[os.write(streams[descriptor], view) :]


def _interruptible(step: Callable[[], None], containers: Containers, container: Container) -> None:
    try:
        step()
    except KeyboardInterrupt:
        try:
            containers.send_signal(container, "SIGINT")
        except ImqError:
            pass  # it ends already


def _plan_run(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if (planner := find_planner(act.replace(references=act.references[:1]), context)) is not None:
        return planner(act, context)
    image, *words = act.references
    arguments = [*context.literals(words), *get_option_values(act, "run", context)]
    values = read_values(act, RUNNING, context)
    options = read_create_options(values, arguments, context.folder)
    names = get_option_values(act, "as", context)
    if names:
        options = options.replace(name=names[0])
    detach = any(read_flag(value) for value in values if value.name == "detach")
    if detach and options.keeps_stdin:
        raise StatementError("a detached container has no standard input", code="option", span=act.span)
    return [Run(plan_creation(image, options, context), detach)]


VERB = Verb(
    "run",
    "Create a container from an image of the store or of an engine, start it, and wait for its end; its output is passed on. The words"
    " after the image replace its command. After as: the name. After with: the options of create, and detach = true,"
    " by which it goes on in the background.",
    "run redis:7 redis-server --port 7000 as cache with detach = true, network_mode = host",
    OperandKind.IMAGE_AND_COMMAND,
    options=("from", "as", "run", "with", "dry run"),
    runs_programs=True,
    docker_differences=(
        "The image must be in the store, or in the engine that runs it: pull it first. A container that cannot be started is removed again. See create"
        " for the options."
    ),
    plan=_plan_run,
)
