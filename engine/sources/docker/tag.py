"""Gives images of engines another name: `tag`."""

from __future__ import annotations

from imq.engine.docker_engine.errors import protocol_error
from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference, parse_name
from imq.engine.sources.action import Outcome, changed_error
from imq.engine.sources.new_names import (
    list_new_names,
    require_one_image,
    require_one_old_name,
    split_container_name,
)
from imq.grammar import ast
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import EngineClients
from .container_verbs import plan_container_rename
from .image_documents import read_digests, read_tags, to_full_name
from .json_documents import read_image_id
from .remove import plan_old_names
from .targets import find_targets, render_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.docker_engine.client import EngineClient
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

    from .targets import EngineTarget


class TagEngineImage(Record):
    """Give an image of an engine a name. `moves_from` is the ID of the image that loses the name, if there is one."""

    source: str
    name: Reference
    id: Digest
    moves_from: Digest | None = None
    verb: str = "tag"

    def describe(self) -> Outcome:
        """Return the name, the image, and the image that loses the name."""
        moves = f", moves from {self.moves_from.short}" if self.moves_from not in (None, self.id) else ""
        return Outcome(self.verb, str(self.name), self.id, note=f"in {self.source}{moves}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Set the name. Raises `NotFound` (`changed`) when it belongs to yet another image by now."""
        client = context.get_shared(EngineClients).get(self.source)
        if find_id(client, str(self.name)) != self.moves_from:
            raise changed_error(str(self.name))
        set_name(client, self.id, self.name)
        yield self.describe() if self.moves_from != self.id else self.describe().replace(note="it had the name already")


def find_id(client: EngineClient, name: str) -> Digest | None:
    """Return the ID of the image with exactly this name, or this ID, in an engine; None when no image has it.

    Podman finds `localhost/app:1` by `app:1` as well.
    """
    try:
        image = client.get_object(f"images/{to_full_name(name)}/json")
    except NotFound:
        return None
    names = {str(parse_name(text)) for text in (*read_tags(image), *read_digests(image))}
    id_ = read_id(client, image, name)
    return id_ if name in names or name == id_ else None


def read_id(client: EngineClient, image: Mapping[str, Any], subject: str) -> Digest:
    """Return the ID in a document of an image. Raises `EngineError` when it has none."""
    id_ = read_image_id(image.get("Id"))
    if id_ is None:
        raise protocol_error(client.endpoint, f"{subject} has no image ID")
    return Digest(id_)


def set_name(client: EngineClient, id_: Digest, name: Reference) -> None:
    """Give an image a name. Raises `NotFound` when the engine does not have the image."""
    client.post_json(f"images/{id_}/tag", {"repo": name.canonical_name, "tag": name.tag or ""})


def plan_tag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the new names of `tag`: one name for a reference, or one for each row by a template."""
    named, failures = list_new_names(act, context, find_targets, render_targets)
    return [*_plan_names(named, act, context), *failures]


def plan_rename(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the new names of `rename`, then the removal of each old name that no image gets; or a container's name."""
    if split_container_name(act, context) is not None:
        return plan_container_rename(act, context)
    named, failures = list_new_names(act, context, find_targets, render_targets)
    renamed = require_one_old_name(named, act)
    tags = _plan_names([(name, target) for (_, name), target in renamed.items()], act, context)
    return [*tags, *plan_old_names(renamed, context), *failures]


def _plan_names(
    named: Sequence[tuple[Reference, EngineTarget]], act: ast.ActionStatement, context: PlanContext
) -> list[TagEngineImage]:
    by_name = require_one_image(named, act)
    holders = find_holders(by_name, context)
    return [
        TagEngineImage(source, name, target.id, holders.get((source, str(name))))
        for (source, name), target in by_name.items()
    ]


def find_holders(names: Iterable[tuple[str, Reference]], context: PlanContext) -> dict[tuple[str, str], Digest]:
    """Return the images that have these names now, by engine and name."""
    by_source: dict[str, list[str]] = {}
    for source, name in names:
        by_source.setdefault(source, []).append(str(name))
    holders: dict[tuple[str, str], Digest] = {}
    for source, texts in by_source.items():
        query = ast.Query(
            "images",
            sources=(ast.Literal(source, quoted=True),),
            where=ast.In(ast.Field(("name",)), tuple(ast.Literal(text, quoted=True) for text in texts)),
            select=tuple(ast.Column(ast.Field((field,))) for field in ("id", "name")),
        )
        holders |= {(source, str(name)): Digest(str(id_)) for id_, name in context.lookup(query, ())[1]}
    return holders
