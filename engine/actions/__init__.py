"""Every verb of the language. A verb is one module of this package: its constant `VERB`, its plan and its actions.

A module is imported when its verb is first used: a query uses none, and importing all of them is slow.
"""

from __future__ import annotations

from collections.abc import Mapping

from imq.grammar.errors import StatementError, UnknownName, closest_hint
from imq.grammar.record import TYPE_CHECKING

from ._verb_modules import MODULES, REMOVING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.grammar import ast

    from .verb import Verb


class _Verbs(Mapping[str, "Verb"]):
    """The verbs by name; a module is imported when its verb is read."""

    def __init__(self) -> None:
        self._loaded: dict[str, Verb] = {}

    def __getitem__(self, name: str) -> Verb:
        verb = self._loaded.get(name)
        if verb is None:
            module = __import__(f"{__name__}.{MODULES[name]}", fromlist=["VERB"])
            verb = self._loaded[name] = module.VERB
        return verb

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)

    def __contains__(self, name: object) -> bool:
        return name in MODULES


VERBS: Mapping[str, Verb] = _Verbs()

_DOCKER_NETWORKS = "imq reads images and containers; docker network has these commands"
_SWARM = "services in docker lists the services of a swarm"
_ADVISORIES = (
    'packages of REF lists what an image contains; packages of REF join (rows of "osv.json") as a on a.package = name'
    " compares it with a list of advisories"
)
_VOLUMES = (
    "volumes lists those of the store or an engine; a container with mount = NAME:TARGET creates one, rm volume NAME"
    " removes it"
)

ABSENT: tuple[tuple[str, str], ...] = (
    ("bud", "build with buildah bud, then read the image in containers-storage: or load it"),
    (
        "build",
        "build with docker build; change REF edits an image without a build, load takes the result of another tool",
    ),
    ("builder", "the cache of builds is a table: build_cache in docker; prune build_cache in docker removes from it"),
    ("buildx", "platforms of REF and copy are for imagetools; build_cache in docker is the cache of builds"),
    ("compose", "run docker compose; the containers are in: containers in docker"),
    ("config", _SWARM),
    ("context", "sources lists the places, contexts of docker included; use NAME chooses one"),
    ("cp", 'extract files of container web where path = /etc/hosts to "out/"'),
    ("df", "usage shows the bytes by kind, reclaim and waste show what can be freed"),
    ("events", "imq has no events; docker events writes those of an engine"),
    ("info", "sources lists the places and whether they respond; usage shows the bytes"),
    ("manifest", "platforms of REF, or manifests of REPOSITORY"),
    ("network", _DOCKER_NETWORKS),
    ("node", _SWARM),
    ("plugin", "docker plugin has these commands"),
    ("port", "containers where name = web select name, ports"),
    ("sbom", "packages of REF as spdx, or as cyclonedx"),
    ("scan", _ADVISORIES),
    ("scout", _ADVISORIES),
    ("secret", _SWARM),
    ("service", _SWARM),
    ("stack", _SWARM),
    ("stats", "docker stats measures running containers; containers select name, size_rw has their bytes on disk"),
    ("swarm", _SWARM),
    ("top", "exec container web run ps"),
    ("trust", "referrers of REF lists the signatures of an image"),
    ("update", "docker update changes the limits of a running container"),
    ("volume", _VOLUMES),
)
"""Commands of docker and other programs that imq does not have, each with what to use in its place."""

__all__ = ["ABSENT", "REMOVING", "VERBS", "get_verb"]


def get_verb(statement: ast.ActionStatement) -> Verb:
    """Return the verb of an action; raises `StatementError` for an operand or option that the verb does not take."""
    from .verb import OperandKind

    verb = VERBS.get(statement.verb)
    if verb is None:
        raise UnknownName(
            f'unknown verb "{statement.verb}"', span=statement.span, hints=(closest_hint(statement.verb, VERBS),)
        )
    has_operand = bool(statement.references) or statement.query is not None
    problem = ""
    if statement.explicit_all and not verb.all:
        problem = f"{verb.name} all needs a table" + ("" if verb.needs_confirmation else f": {verb.name} all images")
    elif not has_operand and not statement.explicit_all and not verb.operand_optional:
        problem = f"{verb.name} needs {verb.operand.value}"
    elif has_operand and verb.operand is OperandKind.NOTHING:
        problem = f"{verb.name} takes no operand"
    if problem:
        raise StatementError(problem, code="operand", span=statement.span, hints=(f"example: {verb.example}",))
    for option in statement.options:
        if option.name not in verb.options:
            names = ", ".join(verb.options) or "none"
            words = '"in" or "from"' if option.name == "from" else f'"{option.name}"'
            hints = [f"options: {names}"]
            if option.name == "from" and "to" in verb.options:
                hints.append(f"to choose where the images go: {verb.name} … to SOURCE")
            raise StatementError(f"{verb.name} does not take {words}", code="option", span=option.span, hints=hints)
        if option.name == "from" and statement.query is not None:
            raise StatementError(
                "a query names its source itself",
                code="option",
                span=option.span,
                hints=(f"write it after the table: {statement.verb} images in SOURCE where …",),
            )
    return verb
