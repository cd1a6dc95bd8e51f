"""Copies of images that go out of an engine, or into one, as an archive: part of the verb `copy`."""

from __future__ import annotations

from itertools import groupby

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import BatchedAction, Outcome, Skip
from imq.engine.sources.archives import ArchivePipe, ArchivePlace
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError
from imq.grammar.record import TYPE_CHECKING

from .origins import Origin, is_tagged, load_archive, open_engine_archive, open_images
from .tag import plan_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.layouts.places import Place

    from .operands import Target
    from .origins import NamedImages

STORE = "store"


class CopyImage(BatchedAction):
    """Copy an image with these names from one source to another one, of which at least one is an engine.

    `origin` and `destination` are None for the store. `root` is what lists the image in the origin: its ID in an
    engine. `moves` are the names that other images of the destination lose.
    """

    origin: Place | ArchivePlace | None
    root: Digest
    id: Digest
    names: tuple[str, ...]
    destination: ArchivePlace | None
    moves: tuple[str, ...] = ()

    @property
    def _route(self) -> tuple[Place | ArchivePlace | None, ArchivePlace | None]:
        return self.origin, self.destination

    def describe(self) -> Outcome:
        """Return the names, the image, and where it is copied from and to."""
        moves = f"; moves {', '.join(self.moves)}" if self.moves else ""
        origin, destination = (STORE if place is None else place.text for place in self._route)
        return Outcome(
            "copy", ", ".join(self.names) or self.id.short, self.id, note=f"from {origin} to {destination}{moves}"
        )

    @staticmethod
    def execute_batch(actions: Sequence[CopyImage], context: ExecutionContext) -> Iterator[Outcome]:
        """Copy the images of one origin and one destination in one archive, which shares their layers.

        When that fails, each image is copied by itself, so that one that cannot be copied does not stop the others.
        """
        for _, group in groupby(actions, lambda action: action._route):  # noqa: SLF001 - of this class
            together = list(group)
            try:
                if len(together) > 1 and _has_confused_names(together):
                    raise Conflict("some of the names are the same to podman")
                _copy(together, context)
            except ImqError as error:
                if len(together) == 1:
                    yield together[0].describe().with_error(error)
                    continue
                yield from (outcome for action in together for outcome in CopyImage.execute_batch((action,), context))
            else:
                yield from (action.describe() for action in together)


def _has_confused_names(actions: Sequence[CopyImage]) -> bool:
    """Whether podman, which reads `app:1` in an archive as `localhost/app:1`, would mistake one name for another."""
    names = {name for action in actions for name in action.names}
    return any(f"localhost/{name}" in names for name in names)


def _copy(actions: Sequence[CopyImage], context: ExecutionContext) -> None:
    origin, destination = actions[0].origin, actions[0].destination
    images: NamedImages = tuple((action.root, action.names) for action in actions)
    names = [name for action in actions for name in action.names if is_tagged(name)]
    label = f"copy to {STORE if destination is None else destination.text}"
    if destination is None:
        assert isinstance(origin, ArchivePlace)
        report = load_archive(context.store, images, origin, context, label)
        for _, problem in report.skipped:
            raise problem
    elif isinstance(origin, ArchivePlace):
        with open_engine_archive(images, origin, context) as pieces:
            moved = make_byte_counter(context.progress, label, 0)
            destination.archives.load_archive(destination.text, _count(pieces, moved), names, context)
    else:
        from imq.engine.store.save import save

        with open_images((Origin(images, origin),), context, label) as (store, roots):
            moved = make_byte_counter(context.progress, label, 0)
            pipe = ArchivePipe(lambda target: save(store, roots, target, moved))
            pipe.run(lambda reader: destination.archives.load_archive(destination.text, reader, names, context))


def _count(pieces: Iterable[bytes], moved: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        moved(len(piece))
        yield piece


def plan_copies(
    targets: Sequence[Target], destinations: Sequence[ArchivePlace | None], context: PlanContext
) -> list[Action]:
    """Return the copies of images to engines, or to the store (None). What a destination has already is left out."""
    images: dict[tuple[Place | ArchivePlace | None, Digest], list[Target]] = {}
    for target in targets:
        images.setdefault((target.place, target.root), []).append(target)
    actions: list[Action] = []
    for destination in destinations:
        place = STORE if destination is None else destination.text
        names_of, ids = _read_destination(place, context)
        for (origin, root), own in images.items():
            id_ = own[0].id
            names = tuple(dict.fromkeys(target.name for target in own if target.name is not None))
            if id_ not in ids:
                moves = tuple(name for name in names if name in names_of)
                actions.append(CopyImage(origin, root, id_, names, destination, moves))
                continue
            lacking = [name for name in names if names_of.get(name) != id_]
            if not lacking:
                actions.append(Skip(", ".join(names) or id_.short, id_, f"{place} has it already"))
            actions += [_plan_name(name, own[0], destination, context) for name in lacking]
    return actions


def _plan_name(name: str, target: Target, destination: ArchivePlace | None, context: PlanContext) -> Action:
    """Return the action that gives an image of the destination the name that it has in the origin."""
    reference = Reference.parse(name)
    if destination is None:
        stored = context.store.find(str(target.id))
        return plan_tag(reference, target.replace(root=stored.root, id=stored.id), context)
    return destination.archives.add_name(destination.text, reference, target.id, "copy")


def _read_destination(place: str, context: PlanContext) -> tuple[Mapping[str, Digest], frozenset[Digest]]:
    """Return the images of a destination by their names, and all its IDs."""
    query = ast.Query(
        "images",
        sources=(ast.Literal(place, quoted=True),),
        select=tuple(ast.Column(ast.Field((field,))) for field in ("id", "name")),
    )
    rows = [(Digest(str(id_)), name) for id_, name in context.lookup(query, ())[1] if id_ is not None]
    return {str(name): id_ for id_, name in rows if name is not None}, frozenset(id_ for id_, _ in rows)
