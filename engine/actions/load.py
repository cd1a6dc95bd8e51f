"""The verb `load`: stores the images of an archive or of an OCI layout."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.engine.sources.layouts.places import ARCHIVE, Place
from imq.engine.units.paths import match_paths
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .config_problems import list_config_problems
from .operands import plan_receiving
from .origins import parse_prefixed_place
from .output_paths import label_transfer, resolve_path
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

    from .origins import NamedImages


class Load(Record):
    """Store the images of a place: an archive, an OCI layout, a folder of skopeo, or the storage of Podman.

    With `images` only these are stored: what lists them in the place, and their names.
    """

    place: Place
    images: NamedImages | None = None
    verb: str = "load"

    def describe(self) -> Outcome:
        """Return the place with the images."""
        target = self.place.text if self.images is not None else self.place.path
        note = describe_images(self.images) if self.images is not None else None
        return Outcome(self.verb, target, note=note)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Store the images, then name all of them in one transaction."""
        from imq.engine.sources.layouts.transfer import load_place

        selection = {root: frozenset(names) for root, names in self.images} if self.images is not None else None
        label = label_transfer(self.verb, self.place.path)
        report = load_place(context.store, self.place, selection, context, label)
        for image, moved_names in zip(report.images, report.moved_names, strict=True):
            for moved_name, old in moved_names:
                yield Outcome("untag", str(moved_name), old, note=f"moved to {image.id.short}")
            for warning in list_config_problems(context.store, image.id):
                context.progress.warn(warning)
            target = ", ".join(map(str, image.names)) or "<none>"
            yield Outcome(self.verb, target, image.id)
            for problem in image.problems:
                yield Outcome(self.verb, target, image.id, error=problem)
        for name, problem in report.skipped:
            yield Outcome(self.verb, name, error=problem)


def describe_images(images: NamedImages) -> str:
    """Return the number of images in words."""
    return f"{len(images)} image{'s' if len(images) != 1 else ''}"


def _plan_load(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    places: list[Place] = []
    for text, node in zip(context.literals(act.references), act.references, strict=True):
        place = parse_prefixed_place(text, context)
        if place is None:
            path = resolve_path(text, context)
            place = Place(path, ARCHIVE, path)
        matches = match_paths(place.path)
        if not matches:
            raise NotFound(f"no file matches {text}", code="no-such-file", span=node.span)
        places += [place if path == place.path else Place(path, place.kind, path) for path in matches]
    places = list(dict.fromkeys(places))
    paths = [place.path for place in places]
    if (planned := plan_receiving(act, paths, context)) is not None:
        return planned
    return [Load(place) for place in places]


VERB = Verb(
    "load",
    "Store the images of an archive that docker save, podman save or imq save wrote, or of an OCI layout. After to, the"
    ' engine that loads them: load "images.tar" to docker.',
    'load "images.tar"',
    OperandKind.PATHS,
    options=("to", "dry run"),
    docker_differences=(
        "An archive may be compressed with gzip, zstd, bzip2 or xz. The images in index.json and in manifest.json are "
        "merged. The complete images of an index are stored, and each incomplete one is reported. Archives of format "
        "1.0, which have a file named repositories instead, are read as docker 20.10 reads them."
    ),
    plan=_plan_load,
)
