"""The verb `save`: writes images into an archive."""

from __future__ import annotations

import os

from imq.engine.oci.digest import Digest
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import Outcome, Skip
from imq.engine.sources.action_options import get_option, get_option_values
from imq.engine.store.unreadable_images import unreadable_image
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .output_file import FileAction
from .output_paths import Output, label_transfer, resolve_outputs, skips_existing
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

    from .operands import Target


class Save(FileAction):
    """Write images to one archive that docker load and OCI tools read. `images` has the root and names of each."""

    images: tuple[tuple[Digest, tuple[str, ...]], ...]
    size: int

    def describe(self) -> Outcome:
        """Return the path and the number of images."""
        images = f"{len(self.images)} image{'s' if len(self.images) != 1 else ''}"
        return Outcome("save", self.path, size=self.size, note=f"{images}{self.describe_existing()}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Write the archive, which appears when it is complete."""
        from imq.engine.store.save import save

        from .output_file import open_output_file

        moved = make_byte_counter(context.progress, label_transfer("save", self.path), self.size)
        with open_output_file(self, self.size) as target:
            save(context.store, self.images, target, moved)
        yield self.describe().replace(size=target.size)


def _plan_save(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    to = get_option_values(act, "to", context)
    if not to:
        raise StatementError(
            "save needs a file to write", code="operand", span=act.span, hints=('example: save redis:7 to "redis.tar"',)
        )
    skip_existing = skips_existing(act)
    archives = resolve_outputs(act, to[0], context)
    if not any(archive.targets for archive in archives):
        raise StatementError("no image matches, so no archive is written", code="nothing", span=act.span)
    return [_plan_archive(archive, act, context, skip_existing=skip_existing) for archive in archives]


def _plan_archive(
    output: Output, act: ast.ActionStatement, context: PlanContext, *, skip_existing: bool
) -> Save | Skip:
    if output.kind == "folder" or output.path.endswith("/"):
        option = get_option(act, "to")
        raise StatementError(
            f"{output.path} is a folder, and save writes a file",
            code="path",
            span=option.span if option else None,
            hints=(f'name a file in it: to "{os.path.join(output.path, "images.tar")}"',),
        )
    if output.kind == "file" and skip_existing:
        return Skip(output.path, output.targets[0].id, "it exists already")
    images: dict[Digest, list[str]] = {}
    for target in output.targets:
        images.setdefault(target.root, []).extend([target.name] if target.name else [])
    for root in images.keys() & context.store.index.find_unreadable_roots():
        raise unreadable_image(", ".join(images[Digest(root)]) or Digest(root).short)
    contents = tuple((root, tuple(dict.fromkeys(names))) for root, names in images.items())
    force = get_option(act, "force") is not None
    return Save(output.path, output.kind, force, contents, _sum_blob_sizes(output.targets, context))


def _sum_blob_sizes(targets: Sequence[Target], context: PlanContext) -> int:
    """Return the total size of the blobs of these images in bytes, each counted once."""
    roots = list({target.root for target in targets})
    sizes: dict[str, int] = {}
    for root in roots:
        sizes.update(context.store.index.connection.execute("SELECT digest, size FROM reach WHERE root = ?", (root,)))
    return sum(sizes.values())


VERB = Verb(
    "save",
    "Write images to one archive that docker load, podman, skopeo and imq read; with a template as the path, each row"
    " gets its own. An existing file is replaced with force or after confirmation; skip existing leaves it unchanged.",
    'save images where label.env = prod to "prod.tar"',
    OperandKind.IMAGES,
    options=("to", "force", "skip existing", "dry run"),
    path_options=("to",),
    docker_differences=(
        "docker save replaces a file without confirmation. The archive appears when it is complete. Folders that values"
        " of a template name are created. Links are followed; a device, FIFO or /dev/stdout receives the archive. In a"
        ' template, labels and other values from inside an image cannot contain "/" or be "..".'
    ),
    plan=_plan_save,
)
