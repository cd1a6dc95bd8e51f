"""The verb `load`: stores the images of an archive or of an OCI layout."""

from __future__ import annotations

import os
from functools import partial

from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import Outcome
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .config_problems import list_config_problems
from .output_paths import label_transfer, resolve_path
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Load(Record):
    """Store the images of an archive (docker's or OCI) or of a folder with an OCI layout."""

    path: str

    def describe(self) -> Outcome:
        """Return the path."""
        return Outcome("load", self.path)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Store the images, then set all names in one transaction."""
        from imq.engine.store.load import load  # tarfile

        with context.store.start_ingest() as ingest:
            watch = partial(make_byte_counter, context.progress, label_transfer("load", self.path))
            skipped: list[Outcome] = []
            images = load(
                self.path, ingest, watch, lambda name, problem: skipped.append(Outcome("load", name, error=problem))
            )
            ingest.sync()
            with context.store.start_transaction(ingest.measures) as transaction:
                for image in images:
                    descriptor = image.descriptor
                    if image.manifests:
                        descriptor, _ = transaction.hold(descriptor, image.manifests)
                    for name in image.names:
                        transaction.set_name(name, descriptor, None, context.clock())
                    if not image.names:
                        transaction.add_unnamed(descriptor, context.clock())
        for image in images:
            for warning in list_config_problems(context.store, image.id):
                context.progress.warn(warning)
            target = ", ".join(map(str, image.names)) or "<none>"
            yield Outcome("load", target, image.id)
            for problem in image.problems:
                yield Outcome("load", target, image.id, error=problem)
        yield from skipped


def _plan_load(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    paths: list[str] = []
    for text, node in zip(context.literals(act.references), act.references, strict=True):
        path = resolve_path(text, context)
        matches = (
            [path] if os.path.lexists(path) or not any(sign in path for sign in "*?[") else sorted(expand_glob(path))
        )
        if not matches:
            raise NotFound(f"no file matches {text}", code="no-such-file", span=node.span)
        paths += matches
    return [Load(path) for path in dict.fromkeys(paths)]


def expand_glob(pattern: str) -> list[str]:
    """Return the paths that match a glob pattern."""
    from glob import glob  # imports fnmatch and re, which other statements do not need

    return glob(pattern, recursive=True)


VERB = Verb(
    "load",
    "Store the images of an archive that docker save, podman save or imq save wrote, or of an OCI layout.",
    'load "images.tar"',
    OperandKind.PATHS,
    options=("dry run",),
    docker_differences=(
        "An archive may be compressed with gzip, zstd, bzip2 or xz. The images in index.json and in manifest.json are "
        "merged. The complete images of an index are stored, and each incomplete one is reported. Archives of format "
        "1.0, which have a file named repositories instead, are read as docker 20.10 reads them."
    ),
    plan=_plan_load,
)
