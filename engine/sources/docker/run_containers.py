"""Makes and runs containers of engines, and programs in them: `create`, `run` and `exec`."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager, suppress

from imq.engine.docker_engine.errors import protocol_error
from imq.engine.oci.digest import Digest
from imq.engine.sources.action import Outcome, changed_error
from imq.engine.sources.action_options import get_option_values, list_source_refs, name_image
from imq.engine.store.atomic_files import store_errors
from imq.grammar import ast
from imq.grammar.errors import Conflict, EngineError, ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .attached_streams import pass_on, resized_terminal
from .clients import EngineClients
from .container_spec import CREATION, RUNNING, read_exec_spec, read_spec
from .container_verbs import WAITING, plan_each
from .image_documents import to_full_name
from .json_documents import read_integer, read_object, read_text, read_texts
from .tag import find_id
from .targets import find_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from imq.engine.docker_engine.client import EngineClient, EngineStream
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

    from .container_spec import ContainerSpec

_CREATING = 600.0
"""The seconds that an engine has to make a container: it may have to unpack the image."""
_NO_PROGRAM, _NOT_EXECUTABLE, _NOT_STARTED = 127, 126, 125
"""Docker's exit codes for a program that could not be started."""


class ProgramEnded(ImqError):
    """The program of a container ended with an exit code other than 0, or was not started: `exit_status`."""

    exit_status = 1


class CreateContainer(Record):
    """Make a container of an engine. `image` is the name or the ID that it gets, `id` the ID of this image."""

    source: str
    image: str
    id: Digest
    spec: ContainerSpec

    def describe(self) -> Outcome:
        """Return the name, the image and the engine."""
        return Outcome("create", self.spec.name or "<new>", self.id, note=f"from {self.image} in {self.source}")

    def create(self, context: ExecutionContext) -> tuple[str, str]:
        """Make the container, and return its ID and its name. Raises `NotFound` when the name has another image now."""
        client = context.get_shared(EngineClients).get(self.source)
        id_file = self.spec.id_file
        if id_file and os.path.lexists(id_file):
            raise Conflict(
                f"container ID file found, make sure the other container isn't running or delete {id_file}",
                code="exists",
            )
        if find_id(client, self.image) != self.id:
            raise changed_error(self.image)
        query = {"name": self.spec.name} if self.spec.name else {}
        image = self.image if self.image == self.id else to_full_name(self.image)
        document = {"Image": image, **_without_unset_variables(client, self.spec.document)}
        answer = read_object(client.post_json("containers/create", query, document, timeout=_CREATING))
        id_ = read_text(answer.get("Id"))
        if id_ is None:
            raise protocol_error(client.endpoint, "its response for create has no ID of a container")
        if id_file:
            with store_errors(f"write {id_file}"), open(id_file, "x", encoding="ascii") as file:
                file.write(id_)
        for warning in read_texts(answer.get("Warnings")):
            context.progress.warn(warning)
        if self.spec.name:
            return id_, self.spec.name
        name = read_text(client.get_object(f"containers/{id_}/json").get("Name"))
        return id_, (name or id_).removeprefix("/")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Make the container; the note of the outcome is its ID."""
        id_, name = self.create(context)
        yield Outcome("create", name, self.id, note=id_)


class RunContainer(Record):
    """Make a container of an engine, start it, and pass on its streams until it ends, unless it is detached."""

    creation: CreateContainer

    def describe(self) -> Outcome:
        """Return the name, the image and the engine."""
        return self.creation.describe().replace(action="run")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Run the container. One that cannot be started is removed again.

        Raises `ProgramEnded` for an exit code other than 0.
        """
        client = context.get_shared(EngineClients).get(self.creation.source)
        id_, name = self.creation.create(context)
        outcome = Outcome("run", name, self.creation.id, note=id_)
        spec = self.creation.spec
        if spec.detach:
            self._start(client, id_)
            yield outcome
            return
        code = self._run_attached(client, id_)
        if code is None:
            yield outcome.replace(note="detached, and it goes on")
            return
        if code:
            raise _make_ended(f"the container {name} exited with code {code}", "container-failed", code)
        yield outcome

    def _run_attached(self, client: EngineClient, id_: str) -> int | None:
        """Start a container, pass on its streams, and return its exit code; None when the user detached from it."""
        spec = self.creation.spec
        parameters = {"stream": "1", "stdout": "1", "stderr": "1", "stdin": "1" if spec.keeps_stdin else "0"}
        if spec.detach_keys:
            parameters["detachKeys"] = spec.detach_keys
        with ExitStack() as streams:
            # both are requested before the start: an engine removes a container with auto_remove when it ends
            with _removed_on_failure(client, id_):
                attach, wait = f"containers/{id_}/attach", f"containers/{id_}/wait"
                attached = streams.enter_context(client.open_stream("POST", attach, parameters, timeout=WAITING))
                end = streams.enter_context(
                    client.open_stream("POST", wait, {"condition": "next-exit"}, timeout=WAITING)
                )
                if spec.has_terminal and spec.keeps_stdin:
                    streams.enter_context(resized_terminal(client, f"containers/{id_}/resize"))
                client.post_json(f"containers/{id_}/start", timeout=_CREATING)
            streams.enter_context(_Deadline(client, id_, spec.timeout))
            pass_on(
                attached,
                is_multiplexed=not spec.has_terminal,
                reads_stdin=spec.keeps_stdin,
                interrupt=lambda: _pass_on_interrupt(client, id_),
            )
            if spec.has_terminal and spec.keeps_stdin and _is_running(client, id_):
                return None  # the keys for it end the streams
            return _read_exit_code(client, end)

    @staticmethod
    def _start(client: EngineClient, id_: str) -> None:
        with _removed_on_failure(client, id_):
            client.post_json(f"containers/{id_}/start", timeout=_CREATING)


class ExecInEngine(Record):
    """Run a program in a container of an engine."""

    source: str
    id: str
    container: str
    spec: ContainerSpec

    def describe(self) -> Outcome:
        """Return the container and the command line."""
        return Outcome("exec", self.container, note=" ".join(self.spec.document["Cmd"]))

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Run the program until it ends, unless it is detached. Raises `ProgramEnded` for another exit code than 0."""
        client = context.get_shared(EngineClients).get(self.source)
        document = _without_unset_variables(client, self.spec.document)
        made = read_object(client.post_json(f"containers/{self.id}/exec", None, document, timeout=_CREATING))
        id_ = read_text(made.get("Id"))
        if id_ is None:
            raise protocol_error(client.endpoint, "its response for exec has no ID")
        start = {"Detach": self.spec.detach, "Tty": self.spec.has_terminal}
        if self.spec.detach:
            client.post_json(f"exec/{id_}/start", None, start, timeout=_CREATING)
            yield self.describe()
            return
        reads_stdin = bool(document.get("AttachStdin"))
        with ExitStack() as stack:
            if self.spec.has_terminal and reads_stdin:
                stack.enter_context(resized_terminal(client, f"exec/{id_}/resize"))
            body, headers = json.dumps(start).encode(), {"Content-Type": "application/json"}
            streams = stack.enter_context(
                client.open_stream("POST", f"exec/{id_}/start", body=body, headers=headers, timeout=WAITING)
            )
            pass_on(
                streams,
                is_multiplexed=not self.spec.has_terminal,
                reads_stdin=reads_stdin,
                interrupt=_raise_interrupt,
            )
        code = read_integer(client.get_object(f"exec/{id_}/json").get("ExitCode"))
        if code:
            program = document["Cmd"][0]
            raise _make_ended(f"{program} exited with code {code} in the container {self.container}", "exec", code)
        yield self.describe()


def _without_unset_variables(client: EngineClient, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document for podman without variables that have no value: it takes those of its own process.

    Docker leaves them out of the container, even if its image has them.
    """
    variables = document.get("Env") or ()
    if all("=" in one for one in variables) or client.ping().kind != "podman":
        return dict(document)
    return {**document, "Env": [one for one in variables if "=" in one]}


@contextmanager
def _removed_on_failure(client: EngineClient, id_: str) -> Iterator[None]:
    """Remove a container that cannot be started. Raises `ProgramEnded` with docker's exit code for it."""
    try:
        yield
    except ImqError as error:
        with suppress(NotFound):  # it had auto_remove
            client.delete_json(f"containers/{id_}", {"force": "1", "v": "1"})
        raise _make_ended(error.message, "container-start", _find_start_code(error.message)) from None


def _is_running(client: EngineClient, id_: str) -> bool:
    try:
        document = client.get_object(f"containers/{id_}/json")
    except NotFound:
        return False
    return read_object(document.get("State")).get("Running") is True


class _Deadline:
    """Stops a container after some seconds, None without a limit. A context manager around the run."""

    def __init__(self, client: EngineClient, id_: str, seconds: int | None) -> None:
        from threading import Timer

        self._timer = Timer(seconds, self._stop, (client, id_)) if seconds is not None else None
        if self._timer is not None:
            self._timer.daemon = True

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @staticmethod
    def _stop(client: EngineClient, id_: str) -> None:
        with suppress(ImqError):  # it has ended meanwhile
            client.post_json(f"containers/{id_}/stop", timeout=WAITING)


def _read_exit_code(client: EngineClient, end: EngineStream) -> int:
    try:
        document = read_object(json.loads(end.read_document()))
    except ValueError:
        document = {}
    code = document.get("StatusCode")
    if not isinstance(code, int):
        raise protocol_error(client.endpoint, "it does not report the exit code of the container")
    problem = read_text(read_object(document.get("Error")).get("Message"))
    if problem is not None:
        raise EngineError(problem, endpoint=client.endpoint.name)
    return code


def _make_ended(message: str, code: str, status: int) -> ProgramEnded:
    error = ProgramEnded(message, code=code)
    error.exit_status = status
    return error


def _find_start_code(message: str) -> int:
    """Return the exit code of docker's client for an error of a start."""
    text = message.lower()
    if "executable file not found" in text or "no such file or directory" in text:
        return _NO_PROGRAM
    if "permission denied" in text or "is a directory" in text:
        return _NOT_EXECUTABLE
    return _NOT_STARTED


def _pass_on_interrupt(client: EngineClient, id_: str) -> None:
    with suppress(Conflict, NotFound):  # it ends already
        client.post_json(f"containers/{id_}/kill", {"signal": "SIGINT"})


def _raise_interrupt() -> None:
    raise KeyboardInterrupt


def plan_create(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the container that `create NAME from IMAGE` makes, in the engine that has the image."""
    named, names = name_image(act), context.literals(act.references)
    spec = read_spec(act, get_option_values(act, "run", context), CREATION, context)
    return list(_plan_creations(named, spec.replace(name=names[0]) if names else spec, context))


def plan_run(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the container that `run` makes and starts. The words after the image replace its command."""
    image, *words = act.references
    arguments = [*context.literals(words), *get_option_values(act, "run", context)]
    spec = read_spec(act, arguments, RUNNING, context)
    if names := get_option_values(act, "as", context):
        spec = spec.replace(name=names[0])
    if spec.detach and spec.timeout is not None:
        raise StatementError("a detached container has no timeout", code="option", span=act.span)
    if not spec.detach:
        document = {**spec.document, "AttachStdout": True, "AttachStderr": True}
        spec = spec.replace(document=document)
    return [RunContainer(one) for one in _plan_creations(act.replace(references=(image,)), spec, context)]


def _plan_creations(act: ast.ActionStatement, spec: ContainerSpec, context: PlanContext) -> Iterator[CreateContainer]:
    """Yield the container of the image that a reference names, in each engine that has it. Raises `NotFound`."""
    try:
        targets, _ = find_targets(act, context)
    except NotFound as error:
        (text,) = context.literals(act.references)
        places = [ref.text for ref in list_source_refs(act, context)]
        error.hints = (*error.hints, f"to fetch it: pull {text} to {places[0]}")
        raise
    for target in targets:
        yield CreateContainer(target.source, target.name or str(target.id), target.id, spec)


def plan_exec(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the runs of a program in the containers that are named after the word `container`."""
    spec = read_exec_spec(act, get_option_values(act, "run", context), context)
    named = act.replace(references=act.references[1:])
    return plan_each(named, context, lambda source, id_, name: ExecInEngine(source, id_, name, spec))


PLANNERS = {"create": plan_create, "run": plan_run, "exec": plan_exec}
