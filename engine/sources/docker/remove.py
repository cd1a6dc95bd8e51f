"""Removes images of engines, and names of them: `rm`, `untag` and `prune`.

The engine does it, and its conflicts are reported in its words. The plan is checked again before each removal: an
image whose names changed, or that got a container since the plan, is left alone.
"""

from __future__ import annotations

from contextlib import suppress

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference, parse_name
from imq.engine.sources.action import BatchedAction, Failed, Outcome
from imq.engine.sources.action_options import get_option, list_source_refs, names_containers, names_volumes
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NotFound, SeveralNames, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import EngineClients, is_podman
from .container_listing import ACTIVE, find_users, name_container
from .image_documents import is_stored_by_containerd, list_names, to_full_name
from .json_documents import read_integer, read_objects
from .named_containers import select_containers
from .remove_cache import TABLE as CACHE_TABLE
from .remove_cache import plan_cache_removal
from .remove_containers import plan_container_prune, plan_container_removal
from .targets import EngineImage, EngineTarget, find_targets, read_images
from .volumes import TABLE as VOLUMES_TABLE
from .volumes import plan_volume_removal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.docker_engine.client import EngineClient
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext


class _EngineRemoval(BatchedAction):
    """A change of one image of an engine. `containers` is how many used it when the action was planned."""

    source: str
    names: tuple[str, ...]
    id: Digest
    all_names: tuple[str, ...]
    containers: int = 0
    force: bool = False

    @staticmethod
    def execute_batch(actions: Sequence[_EngineRemoval], context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the actions one after the other. An action that fails does not stop the others."""
        clients = context.get_shared(EngineClients)
        for number, action in enumerate(actions):
            described = action.describe()
            context.progress.report_items(described.action, number, len(actions))
            try:
                client = clients.get(action.source)
                image = action.check_unchanged(client)
                outcome = action.remove(client, image, context.answers)
            except ImqError as error:
                yield described.with_error(error)
            else:
                yield outcome

    def check_unchanged(self, client: EngineClient) -> Mapping[str, Any]:
        """Return the inspected image. Raises `NotFound` or `Conflict` when it is no longer as it was planned."""
        image = client.get_object(f"images/{self.id}/json")
        names = {name for name, *_ in list_names(image) if name is not None}
        if names != set(self.all_names):
            raise NotFound(
                f"the names of {self.id.short} have changed since this was planned, so it was left alone",
                code="changed",
                hints=("run the statement again",),
            )
        users = find_users(client, self.id)
        active = [name_container(container) for container in users if container.get("State") in ACTIVE]
        if len(users) > self.containers or (active and self.force):
            newest = max(users, key=lambda container: read_integer(container.get("Created")) or 0)
            name = active[0] if active else name_container(newest)
            event = "runs from" if active else "was made from"
            raise Conflict(
                f"the container {name} {event} {self.id.short} since this was planned, so it was left alone",
                code="changed",
                hints=("run the statement again",),
            )
        return image

    def remove(self, client: EngineClient, image: Mapping[str, Any], answers: list[str]) -> Outcome:
        """Remove what the action is about, append the lines that the engine returns, and return the outcome."""
        raise NotImplementedError


def _delete(client: EngineClient, name: str, options: Mapping[str, str], answers: list[str]) -> object:
    """Delete an image or a name, append the lines that the engine returns, and return its response."""
    answer: object = client.delete_json(f"images/{name}", options)
    for one in answer if isinstance(answer, list) else ():
        if isinstance(one, dict):
            answers += [f"{word}: {text}" for word, text in one.items()]
    return answer


class RemoveEngineImage(_EngineRemoval):
    """Remove an image with all its names. `frees` is the size in bytes of the layers that no other image needs.

    It is known in a dry run: measuring the layers takes requests.
    """

    frees: int | None = None

    def describe(self) -> Outcome:
        """Return the names with the image, and the size."""
        return Outcome("remove", ", ".join(self.names) or "<none>", self.id, self.frees, note=f"in {self.source}")

    def remove(self, client: EngineClient, image: Mapping[str, Any], answers: list[str]) -> Outcome:
        """Remove each name; the image goes with the last one, unless a running container or a child image needs it.

        The image store of containerd reports that it deleted an image which it keeps for its child images.
        """
        options = {"force": "1"} if self.force and self.containers else {}
        if not self.names:
            _delete(client, self.id, options, answers)
            return self.describe()
        answer: object = None
        for number, name in enumerate(self.names):
            try:
                answer = _delete(client, to_full_name(name), options, answers)
            except NotFound:
                if number == 0:  # digests go with the last tag of their repository
                    raise
            except ImqError as error:
                if number:
                    error.hints = (*error.hints, f"removed before this: {', '.join(self.names[:number])}")
                raise
        is_deleted = any(item.get("Deleted") == self.id for item in read_objects(answer))
        if is_deleted and not is_stored_by_containerd(image):
            return self.describe()
        left = self._inspect(client)
        if left is not None and options and not any(name for name, *_ in list_names(left)):
            # the image store of containerd keeps an image that a container uses when its last name goes, even by force
            with suppress(Conflict):
                _delete(client, self.id, options, answers)
            left = self._inspect(client)
        if left is None:
            return self.describe()
        note = f"in {self.source}; the image stays, because a running container or another image needs it"
        return self.describe().replace(action="untag", note=note)

    def _inspect(self, client: EngineClient) -> Mapping[str, Any] | None:
        try:
            return client.get_object(f"images/{self.id}/json")
        except NotFound:
            return None


class UntagEngineImage(_EngineRemoval):
    """Remove one name of an image that keeps another one."""

    def describe(self) -> Outcome:
        """Return the name with the image."""
        return Outcome("untag", self.names[0], self.id, note=f"in {self.source}")

    def remove(self, client: EngineClient, image: Mapping[str, Any], answers: list[str]) -> Outcome:  # noqa: ARG002
        """Remove the name."""
        _delete(client, to_full_name(self.names[0]), {}, answers)
        return self.describe()


class DelegatedRemoval(Record):
    """Remove the image or the name that a name or an ID is for the engine, by its rules."""

    source: str
    text: str
    force: bool
    keeps_parents: bool

    def describe(self) -> Outcome:
        """Return the text, which the engine resolves."""
        return Outcome("remove", self.text, note=f"in {self.source}, by its rules")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Remove it. Raises `NotFound` and `Conflict` in the words of the engine."""
        client = context.get_shared(EngineClients).get(self.source)
        options = {"force": "1"} if self.force else {}
        if self.keeps_parents:
            options["noprune"] = "1"
        _delete(client, self.text, options, context.answers)
        yield self.describe()


def plan_removal(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removals of `rm`: of each image whose last name goes, and of each name of the others."""
    for name in ("platform", "with its tags"):
        if (option := get_option(act, name)) is not None:
            raise StatementError(f"{act.verb} in an engine does not take {name}", code="option", span=option.span)
    if names_containers(act):
        act = act.replace(references=(), query=select_containers(act, context))
    table = context.bind(act.query).table.name if act.query is not None else ""
    if table == "containers":
        return plan_container_removal(act, context)
    if table == CACHE_TABLE:
        return plan_cache_removal(act, context)
    if table == VOLUMES_TABLE or names_volumes(act):
        return plan_volume_removal(act, context)
    force = get_option(act, "force") is not None
    if context.delegation is not None and act.query is None:
        keeps_parents, refs = context.delegation.keeps_parents, list_source_refs(act, context)
        texts = context.literals(act.references)
        return [DelegatedRemoval(ref.text, text, force, keeps_parents) for text in texts for ref in refs]
    targets, failures = find_targets(act, context)
    return _plan(targets, failures, context, verb=act.verb, force=force)


def plan_prune(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removals of `prune`: images without a tag that no container uses, or unused rows of its query.

    Of containers those without processes are removed, and of records of a build cache those that no image shares.
    """
    table = context.bind(act.query).table.name if act.query is not None else ""
    if table == CACHE_TABLE:
        return plan_cache_removal(act, context, prunes=True)
    if table == "containers":
        return plan_container_prune(act, context)
    if table == VOLUMES_TABLE:
        return plan_volume_removal(act, context, prunes=True)
    unused = ast.And((ast.Field(("dangling",)), ast.Not(ast.Field(("in_use",)))))
    targets, failures = find_targets(act, context, unused)
    return _plan(targets, failures, context, verb=act.verb, force=False)


def plan_untag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the names that `untag` takes away. Engines remove an image with its last name, so that one stays."""
    targets, failures = find_targets(act, context)
    images = read_images(targets, context)
    left = {key: set(image.names) for key, image in images.items()}
    actions: list[Action] = []
    for target in targets:
        key = target.source, target.id
        image = images.get(key)
        if image is None:
            failures.append(Failed(act.verb, target.text, _gone(target)))
            continue
        if target.name is None:
            raise StatementError(
                f"untag takes a name away, and {target.id.short} is an ID", code="operand", span=act.span
            )
        if left[key] <= {target.name, *_digest_names(target.name, image.names)}:
            error = Conflict(
                f"{target.name} is the last name of the image, which {target.source} would remove with it",
                hints=(f"to remove the image: rm {target.name} from {target.source}", "or give it another name first"),
            )
            failures.append(Failed(act.verb, target.name, error))
            continue
        left[key] -= {target.name}
        actions.append(UntagEngineImage(target.source, (target.name,), target.id, image.names, image.containers))
    return [*_number_names(actions), *failures]


def plan_old_names(renamed: Mapping[tuple[str, Reference], EngineTarget], context: PlanContext) -> list[Action]:
    """Return the removals of the old names of images, by their engines and new names. The new names are set before."""
    images = read_images(tuple(renamed.values()), context)
    actions: list[Action] = []
    for target in dict.fromkeys(renamed.values()):
        image = images.get((target.source, target.id))
        if image is None or target.name is None or (target.source, parse_name(target.name)) in renamed:
            continue
        new = [str(name) for (source, name), one in renamed.items() if (source, one.id) == (target.source, target.id)]
        taken = {
            str(name) for (source, name), one in renamed.items() if source == target.source and one.id != target.id
        }
        names = tuple(name for name in dict.fromkeys((*image.names, *new)) if name not in taken)
        actions.append(UntagEngineImage(target.source, (target.name,), target.id, names, image.containers))
    return _number_names(actions)


def _plan(
    targets: Sequence[EngineTarget], failures: Sequence[Action], context: PlanContext, *, verb: str, force: bool
) -> list[Action]:
    images = read_images(targets, context)
    names: dict[tuple[str, Digest], list[str]] = {}
    failed = list(failures)
    for target in targets:
        key = target.source, target.id
        image = images.get(key)
        if image is None:
            failed.append(Failed(verb, target.text, _gone(target)))
            continue
        if target.name is None and len(image.names) > 1 and not force:
            failed.append(Failed(verb, target.text, _several_names(target, image)))
            continue
        going = names.setdefault(key, [])
        going += image.names if target.name is None else (target.name, *_digest_names(target.name, image.names, going))
    actions: list[Action] = []
    for (source, id_), going in names.items():
        image = images[source, id_]
        ordered = tuple(name for name in image.names if name in going)
        if set(ordered) < set(image.names):
            actions += [UntagEngineImage(source, (name,), id_, image.names, image.containers) for name in ordered]
        elif image.active or (image.containers and (not force or is_podman(source, context))):
            failed.append(Failed(verb, ", ".join(ordered) or id_.short, _in_use(image, id_, source, force=force)))
        else:
            tags_first = tuple(sorted(ordered, key=lambda name: (parse_name(name).tag is None, name)))
            actions.append(RemoveEngineImage(source, tags_first, id_, image.names, image.containers, force=force))
    numbered = _number_names(actions)
    return [*(_measure(numbered, context) if context.is_dry_run else numbered), *failed]


def _measure(actions: Sequence[Action], context: PlanContext) -> list[Action]:
    """Return the actions, those that remove images with the bytes that they free."""
    from imq.engine.sources.reclaim import measure_removals

    removals = [action for action in actions if isinstance(action, RemoveEngineImage)]
    sizes: dict[tuple[str, str], int | None] = {}
    for source in dict.fromkeys(action.source for action in removals):
        ids = [action.id for action in removals if action.source == source]
        sizes |= {(source, id_): size for id_, size in measure_removals(source, ids, context).items()}
    return [
        action.replace(frees=sizes.get((action.source, action.id))) if isinstance(action, RemoveEngineImage) else action
        for action in actions
    ]


def _number_names(actions: Sequence[Action]) -> list[Action]:
    """Return the actions, each with the names that its image has when its turn comes."""
    gone: dict[tuple[str, Digest], set[str]] = {}
    numbered: list[Action] = []
    for action in actions:
        if not isinstance(action, UntagEngineImage):
            numbered.append(action)
            continue
        before = gone.setdefault((action.source, action.id), set())
        names = tuple(name for name in action.all_names if name not in before)
        numbered.append(action.replace(all_names=names))
        before |= {*action.names, *_digest_names(action.names[0], names)}
    return numbered


def _digest_names(name: str, names: Sequence[str], going: Sequence[str] = ()) -> list[str]:
    """Return the names with a digest that go with this name: it is the last tag of their repository."""
    repository = parse_name(name).canonical_name
    same = {other: parse_name(other) for other in names if parse_name(other).canonical_name == repository}
    if any(parsed.tag for other, parsed in same.items() if other != name and other not in going):
        return []
    return [other for other, parsed in same.items() if not parsed.tag and other != name]


def _several_names(target: EngineTarget, image: EngineImage) -> Conflict:
    return SeveralNames(
        f"unable to remove {target.id.short}: the image has several names ({', '.join(image.names)})",
        hints=("name the one to take away, or add force to remove the image with all its names",),
    )


def _gone(target: EngineTarget) -> NotFound:
    return NotFound(
        f"{target.text} went away while this was planned, or {target.source} did not list its containers",
        code="changed",
        hints=("run the statement again",),
    )


def _in_use(image: EngineImage, id_: Digest, source: str, *, force: bool) -> Conflict:
    hint = f"to see them: containers in {source} where image_id = {id_.short}"
    if image.active:
        return Conflict(
            f"unable to remove {id_.short}: the container {image.active[0]} runs from the image",
            hints=(hint, "stop the containers first: force does not stop them"),
        )
    count = "a container uses" if image.containers == 1 else f"{image.containers} containers use"
    also = ", and podman would remove it too" if image.containers == 1 else ", and podman would remove them too"
    return Conflict(f"unable to remove {id_.short}: {count} the image{also if force else ''}", hints=(hint,))
