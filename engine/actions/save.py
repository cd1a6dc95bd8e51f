"""The verb `save`: writes images into an archive."""

from __future__ import annotations

import os

from imq.engine.atomic_writer import make_directories
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import Outcome, Skip
from imq.engine.sources.action_options import get_option, get_option_values
from imq.engine.sources.archives import ArchivePlace
from imq.engine.sources.layouts.places import DIR, DOCKER_ARCHIVE, OCI, OCI_ARCHIVE, STORAGE
from imq.engine.store.atomic_files import FREE_OUTPUT_SPACE, store_errors
from imq.engine.store.unreadable_images import unreadable_image
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .export import find_compression
from .origins import Origin, group_origins, open_engine_archive, open_images
from .output_file import FileAction
from .output_paths import Output, label_transfer, resolve_output, resolve_outputs, skips_existing
from .save_layers import is_of_layers, plan_layers
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.store import Store
    from imq.grammar import ast

    from .operands import Target
    from .origins import NamedImages, RegistryOrigin

_DOCKERS = frozenset({"", DOCKER_ARCHIVE})
"""The forms of an archive that `docker save` writes."""
_FORMS = frozenset({OCI, OCI_ARCHIVE, DOCKER_ARCHIVE, DIR})
"""Prefixes of destinations."""


class Save(FileAction):
    """Write images to a path. `kind` is the form: that of a place on disk, or "" for an archive of docker and OCI."""

    origins: tuple[Origin | RegistryOrigin, ...]
    size: int | None
    kind: str = ""
    verb: str = "save"

    def describe(self) -> Outcome:
        """Return the path with the number of images."""
        count = sum(len(origin.images) if isinstance(origin, Origin) else 1 for origin in self.origins)
        images = f"{count} image{'s' if count != 1 else ''}"
        existing = "" if self.kind == OCI else self.describe_existing()
        return Outcome(self.verb, self._target, size=self.size, note=f"{images}{existing}")

    @property
    def _target(self) -> str:
        return f"{self.kind}:{self.path}" if self.kind else self.path

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Write the images. An archive or folder appears when it is complete."""
        label = label_transfer(self.verb, self.path)
        (first, *others) = self.origins
        if isinstance(first, Origin) and isinstance(first.place, ArchivePlace) and not others and self.kind in _DOCKERS:
            yield self.describe().replace(size=self._copy_archive(first.images, first.place, context, label))
            return
        with open_images(self.origins, context, label) as (store, images):
            moved = make_byte_counter(context.progress, label, self.size or 0)
            size = self._write(store, images, moved)
        yield self.describe().replace(size=self.size if size is None else size)

    def _copy_archive(self, images: NamedImages, place: ArchivePlace, context: ExecutionContext, label: str) -> int:
        """Write the archive that an engine makes of its images; return its size in bytes."""
        from .output_file import open_archive_file

        moved = make_byte_counter(context.progress, label, 0)
        with (
            open_engine_archive(images, place, context) as pieces,
            open_archive_file(self, None, self._compression) as target,
        ):
            for piece in pieces:
                target.write(piece)
                moved(len(piece))
        return target.size

    @property
    def _compression(self) -> str:
        """The compression of the archive, by the end of its path."""
        return find_compression(Output(self.path, self.existing, ())) or ""

    def _write(self, store: Store, images: NamedImages, on_progress: Callable[[int], None]) -> int | None:
        """Write images of a store; return the size of the archive in bytes, None for a folder."""
        from imq.engine.store.save import save
        from imq.engine.store.save_places import save_dir, save_docker_archive, save_layout

        from .output_file import open_archive_file

        if self.kind in (OCI, DIR):
            folder = os.path.dirname(os.path.realpath(self.path))
            with store_errors(f"write {self.path}", folder, self.size, FREE_OUTPUT_SPACE), make_directories(folder):
                if self.kind == OCI:
                    save_layout(store, images, self.path, on_progress)
                else:
                    ((root, _),) = images
                    save_dir(store, root, self.path, on_progress, replace=self.force)
            return None
        with open_archive_file(self, self.size, self._compression) as target:
            if self.kind == DOCKER_ARCHIVE:
                save_docker_archive(store, images, target, on_progress)
            else:
                save(store, images, target, on_progress, lists_for_docker=self.kind != OCI_ARCHIVE)
        return target.size


def _plan_save(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    to = get_option_values(act, "to", context)
    if not to:
        raise StatementError(
            "save needs a file to write", code="operand", span=act.span, hints=('example: save redis:7 to "redis.tar"',)
        )
    if act.query is not None and is_of_layers(act, context):
        return plan_layers(act, to[0], context)
    return plan_writes(act, to[0], context)


def plan_writes(act: ast.ActionStatement, text: str, context: PlanContext) -> list[Action]:
    """Return the actions that write images of the store, or of places on disk, to a path with or without a prefix."""
    keeps = skips_existing(act)
    kind, path = split_form(text, act)
    outputs = resolve_outputs(act, path, context, takes_places=True)
    if not any(output.targets for output in outputs):
        raise StatementError("no image matches, so no archive is written", code="nothing", span=act.span)
    return [_plan_output(output, kind, act, context, keeps=keeps) for output in outputs]


def split_form(text: str, act: ast.ActionStatement) -> tuple[str, str]:
    """Return the form and the path of a destination: `oci:DIR` is a layout, a path alone an archive (`""`)."""
    prefix, colon, path = text.partition(":")
    if colon and prefix == STORAGE:
        option = get_option(act, "to")
        raise StatementError(
            "only Podman, Buildah and CRI-O write to their storage",
            code="place",
            span=option.span if option else None,
            hints=(f'write an archive, and load it there: {act.verb} … to "images.tar"; podman load -i images.tar',),
        )
    return (prefix, path) if colon and prefix in _FORMS else ("", text)


def plan_write(
    act: ast.ActionStatement, text: str, origins: tuple[RegistryOrigin, ...], context: PlanContext
) -> list[Action]:
    """Return the action that writes images of registries to a path with or without a prefix."""
    keeps = skips_existing(act)
    kind, path = split_form(text, act)
    output = resolve_output(act, path, context)
    _check_output(output, kind, act, len(origins))
    if keeps and _exists(output, kind):
        return [Skip(output.path, None, "it exists already")]
    force = get_option(act, "force") is not None
    return [Save(output.path, output.kind, force, origins, None, kind, act.verb)]


def _plan_output(
    output: Output, kind: str, act: ast.ActionStatement, context: PlanContext, *, keeps: bool
) -> Save | Skip:
    origins = group_origins(output.targets)
    _check_output(output, kind, act, sum(len(origin.images) for origin in origins))
    if keeps and _exists(output, kind):
        return Skip(output.path, output.targets[0].id, "it exists already")
    unreadable = context.store.index.find_unreadable_roots()
    for origin in origins:
        for root, names in origin.images:
            if origin.place is None and root in unreadable:
                raise unreadable_image(", ".join(names) or root.short)
    force = get_option(act, "force") is not None
    return Save(output.path, output.kind, force, origins, _total_size(output.targets, context), kind, act.verb)


def _exists(output: Output, kind: str) -> bool:
    return output.kind == "file" or (kind == DIR and output.kind == "folder")


def _check_output(output: Output, kind: str, act: ast.ActionStatement, count: int) -> None:
    """Raise `StatementError` when `count` images cannot be written to a path in this form."""
    option = get_option(act, "to")
    span = option.span if option else None
    if kind not in (OCI, DIR) and (output.kind == "folder" or output.path.endswith("/")):
        raise StatementError(
            f"{output.path} is a folder, and {act.verb} writes a file",
            code="path",
            span=span,
            hints=(f'name a file in it: to "{os.path.join(output.path, "images.tar")}"',),
        )
    if kind in (OCI, DIR) and output.kind in ("file", "stream"):
        raise StatementError(f"{output.path} is a file, and {kind}: needs a folder", code="path", span=span)
    if kind == DIR and count != 1:
        raise StatementError(
            f"dir: holds one image, and these are {count}",
            code="operand",
            span=span,
            hints=("write them to an OCI layout: to oci:DIR",),
        )


def _total_size(found: Sequence[Target], context: PlanContext) -> int | None:
    """Return the total size of the blobs of these images in bytes; in the store each is counted once. None: unknown."""
    if any(isinstance(target.place, ArchivePlace) for target in found):
        return None
    roots = list({target.root for target in found if target.place is None})
    sizes: dict[str, int] = {}
    for root in roots:
        sizes.update(context.store.index.connection.execute("SELECT digest, size FROM reach WHERE root = ?", (root,)))
    elsewhere = {(target.place, target.root): target.size for target in found if target.place is not None}
    return sum(sizes.values()) + sum(elsewhere.values())


VERB = Verb(
    "save",
    "Write images to one archive that docker load, podman, skopeo and imq read; with a template as the path, each row"
    " gets its own. An existing file is replaced with force or after confirmation; skip existing leaves it unchanged."
    " To oci:DIR, oci-archive:FILE, docker-archive:FILE or dir:DIR the images are written in that format; from PLACE"
    " says where they are. Layers of a query are written to one file each: save layers of app:1 to"
    ' "{{.Index}}.tar". The extension .tar, .tar.gz or .tar.zst is the compression; with another one, a layer is'
    " written as it is stored.",
    'save images where label.env = prod to "prod.tar"',
    OperandKind.IMAGES,
    options=("to", "from", "force", "skip existing", "dry run"),
    path_options=("to",),
    docker_differences=(
        "docker save replaces a file without confirmation. A path that ends in .tar.gz or .tar.zst is compressed, and"
        " docker load reads it. The archive appears when it is complete. Folders that values of a template name are"
        " created. Links are followed; a device, FIFO or /dev/stdout receives the archive. In a template, labels and"
        ' other values from inside an image cannot contain "/" or be "..".'
    ),
    plan=_plan_save,
)
