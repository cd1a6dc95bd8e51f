"""Starts, stops, signals, pauses and awaits containers of engines, by the requests of docker's own client."""

from __future__ import annotations

from imq.engine.query.binder import require_where
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, get_named_values, list_source_refs
from imq.engine.sources.new_names import split_container_name
from imq.grammar import ast
from imq.grammar.errors import Conflict, EngineError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import EngineClients
from .json_documents import read_integer, read_object
from .named_containers import find_containers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

WAITING = 20 * 86400.0
"""The maximum seconds that a container is waited for."""
_STOPPING = 60.0
"""The seconds that an engine has to stop a container, besides the time that the container has."""
_DEFAULT_TIMEOUT = 10
_SHORT = 12
_PARAMETERS = {"stop": ("timeout", "signal"), "restart": ("timeout", "signal"), "kill": ("signal",)}
"""The values of `with` for each verb."""


class ContainerRequest(Record):
    """One request to an engine about a container. `parameters` are the names and values of the query."""

    verb: str
    source: str
    id: str
    name: str
    parameters: tuple[tuple[str, str], ...] = ()

    def describe(self) -> Outcome:
        """Return the container and the engine, and its new name."""
        new_name = f"to {dict(self.parameters)['name']} " if self.verb == "rename" else ""
        return Outcome(self.verb, self.name, note=f"{new_name}in {self.source}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Send the request. A container that is in the state already is no error, as for docker."""
        client = context.get_shared(EngineClients).get(self.source)
        timeout: float | None = None
        if self.verb == "wait":
            timeout = WAITING
        elif self.verb in ("stop", "restart"):
            timeout = _STOPPING + int(dict(self.parameters).get("t", _DEFAULT_TIMEOUT))
        answer = client.post_json(f"containers/{self.id}/{self.verb}", dict(self.parameters), timeout=timeout)
        outcome = self.describe()
        if self.verb == "wait":
            outcome = outcome.replace(note=f"exit code {read_integer(read_object(answer).get('StatusCode'))}")
        yield outcome


def plan_request(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the request for each container that is named or that a query selects."""
    parameters = _read_parameters(act, context)
    return plan_each(act, context, lambda source, id_, name: ContainerRequest(act.verb, source, id_, name, parameters))


def plan_container_rename(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the request that gives a container another name: `rename container web as web2`."""
    names = split_container_name(act, context)
    assert names is not None
    act = act.replace(references=act.references[1:2])
    parameters = (("name", names[1]),)
    return plan_each(act, context, lambda source, id_, name: ContainerRequest("rename", source, id_, name, parameters))


def plan_each(act: ast.ActionStatement, context: PlanContext, make: Callable[[str, str, str], Action]) -> list[Action]:
    """Return an action for each container, by `make` of its engine, ID and name; and a failure for each unknown one.

    The error of the only name is raised.
    """
    if act.query is not None:
        return _plan_query(act, context, make)
    sources = tuple(ref.text for ref in list_source_refs(act, context))
    actions: list[Action] = []
    for text, node in zip(context.literals(act.references), act.references, strict=True):
        try:
            found = find_containers(node, text, sources, context)
        except (NotFound, Conflict) as problem:
            if len(act.references) == 1:
                raise
            actions.append(Failed(act.verb, text, problem))
        else:
            actions += [make(*one) for one in found]
    return actions


def _plan_query(
    act: ast.ActionStatement, context: PlanContext, make: Callable[[str, str, str], Action]
) -> list[Action]:
    assert act.query is not None
    select = bind_whole_rows(act, context)
    if select.table.name != "containers":
        raise StatementError(
            f"{act.verb} takes containers, not {select.table.name}", code="operand", span=act.query.span
        )
    require_where(act.query, act.verb)
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("source", "id", "name", "problem"))
    query = ast.Query("", base=act.query, select=columns, span=act.query.span)
    actions: list[Action] = []
    for source, id_, name, problem in context.rows(query, ())[1]:
        text = str(name or str(id_)[:_SHORT])
        if problem is not None:
            actions.append(Failed(act.verb, text, EngineError(str(problem))))
        else:
            actions.append(make(str(source), str(id_), text))
    return actions


def _read_parameters(act: ast.ActionStatement, context: PlanContext) -> tuple[tuple[str, str], ...]:
    """Return the parameters of the request, as the values of `with` say. Raises `StatementError` for others."""
    from imq.engine.units.time import parse_duration

    known = _PARAMETERS.get(act.verb, ())
    parameters: list[tuple[str, str]] = []
    for name, text in get_named_values(act, context):
        if name not in known:
            raise StatementError(f'{act.verb} has no "{name}"', code="unknown-name", span=act.span)
        if name == "signal":
            parameters.append(("signal", text))
            continue
        duration = int(text) * 10**9 if text.removeprefix("-").isdecimal() else parse_duration(text)
        if duration is None:
            raise StatementError(f'invalid value "{text}" for timeout', code="option", span=act.span)
        parameters.append(("t", str(-(-duration // 10**9))))
    return tuple(parameters)


PLANNERS = dict.fromkeys(("start", "stop", "restart", "kill", "wait", "pause", "unpause"), plan_request)
