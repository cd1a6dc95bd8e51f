"""Images of containers whose source makes none itself but takes archives of images: part of the verb `commit`."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from itertools import chain

from imq.engine.oci.digest import Digest
from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.oci.reference import parse_tag_name
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values, list_source_refs
from imq.engine.sources.archives import ArchivePlace
from imq.engine.sources.container_values import read_flag, read_named_values
from imq.engine.sources.row_templates import is_template, render_rows
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .import_image import send_image
from .origins import Origin, open_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from imq.engine.oci.reference import Reference
    from imq.engine.query.source import Source, SourceRef
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.contents.protocol import Chunks, ImageLayers, LayerContents
    from imq.engine.store.ingest import ImportedLayer, Ingest

    Row = tuple[str, str, str, object, object]
    """Source, ID, name, image ID and command of a container."""

_COLUMNS = ("source", "id", "name", "image_id", "command")


class CommitAsArchive(Record):
    """Make an image of a container in a temporary store: that of its image, with its changes as a further layer.

    `contents` reads the layers of the containers of the source, and `pause` pauses one of a place.
    """

    place: ArchivePlace
    id: str
    container: str
    image: Digest
    command: str
    name: Reference
    changes: tuple[str, ...]
    message: str
    author: str
    contents: LayerContents
    pause: Callable[[str, str], AbstractContextManager[object]]

    def describe(self) -> Outcome:
        """Return the name and the container."""
        return Outcome("commit", str(self.name), note=f"of the container {self.container} in {self.place.text}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Make the image, and pass it on as an archive. Raises `NotFound` when the container is gone."""
        from imq.engine.sources.contents.entry_values import find_image
        from imq.engine.store.derived_image import Step, read_base, reserve_layers, store_derived

        now = context.clock()
        origins = (Origin(((self.image, ()),), self.place),)
        with open_images(origins, context, f"commit {self.container}") as (store, _):
            base = read_base(store, store.find(str(self.image)).manifest)
            with store.start_ingest() as ingest:
                reserve_layers(ingest, base)
                runtime = copy.deepcopy(dict(base.config.document.get("config") or {}))
                apply_instructions(runtime, self.changes)
                with self.pause(self.place.text, self.id):
                    container = find_image(self.contents, self.place.text, self.id)
                    if container.problem is not None:
                        raise container.problem
                    layer = self._store_changes(ingest, container)
                step = Step(self.command, self.message, self.author, now, empty=layer is None)
                layers = () if layer is None else (layer,)
                descriptor, id_ = store_derived(ingest, base, runtime, (step,), layers, created=now, author=self.author)
                ingest.sync()
                with store.start_transaction(ingest.measures) as transaction:
                    transaction.set_name(self.name, descriptor, None, now)
            send_image(store, descriptor.digest, str(self.name), self.place, context)
        yield self.describe().replace(image=id_)

    def _store_changes(self, ingest: Ingest, container: ImageLayers) -> ImportedLayer | None:
        """Store the changes of a container as a layer; None when there are none."""
        layer: ImportedLayer | None = None

        def read(_diff_id: Digest | None, chunks: Chunks) -> Digest | None:
            nonlocal layer
            pieces = iter(chunks)
            first = next(pieces, None)
            if first is None:
                return None
            layer = ingest.import_plain_layer(chain((first,), pieces))
            return layer.measure.diff_id

        self.contents.read_layers(container, container.diff_ids[-1:], read)
        return layer


def plan_archived_commits(act: ast.ActionStatement, context: PlanContext) -> list[Action] | None:
    """Return the images that `commit` makes of containers of a source that takes archives; None for other sources."""
    refs = _list_refs(act, context)
    sources = {ref.source: context.sources[ref.source] for ref in refs}
    if not sources or not all(_takes_archives(source, act.verb) for source in sources.values()):
        return None
    changes = tuple(get_option_values(act, "change", context))
    apply_instructions({}, changes)
    author, pauses = "", True
    for value in read_named_values(act, ("author", "pause"), context):
        if value.name == "author":
            author = value.text
        else:
            pauses = read_flag(value)
    message = "".join(get_option_values(act, "message", context)[:1])
    actions: list[Action] = []
    used: dict[tuple[str, Reference], str] = {}
    for text, (source, id_, label, image, command) in _list_containers(act, refs, context):
        if not text:
            raise StatementError(
                f"an image needs a name in {source}", code="operand", span=act.span, hints=("add: as NAME:TAG",)
            )
        name = parse_tag_name(text)
        if used.setdefault((source, name), id_) != id_:
            raise StatementError(
                f"several containers would be committed as {name}, {label} among them",
                code="operand",
                span=act.span,
                hints=("add a field to the template, such as {{.Name}}",),
            )
        if image is None:
            raise NotFound(f"the image of the container {label} was removed", code="no-such-image", span=act.span)
        own = context.sources[context.sources.resolve(source).source]
        contents = own.open_contents()
        assert contents is not None
        place = ArchivePlace(source, own.archives)
        words = _join_words(command)
        pause = own.pause_container if pauses else _leave_running
        actions.append(
            CommitAsArchive(
                place, id_, label, Digest(str(image)), words, name, changes, message, author, contents, pause
            )
        )
    return actions


def _leave_running(_text: str, _id: str) -> AbstractContextManager[None]:
    return nullcontext()


def _takes_archives(source: Source, verb: str) -> bool:
    return source.archives is not None and verb not in source.planners and "containers" in source.tables


def _list_refs(act: ast.ActionStatement, context: PlanContext) -> Sequence[SourceRef]:
    if act.query is None:
        return list_source_refs(act, context)
    select = context.bind(act.query)
    if select.table.name != "containers" or not select.table.is_staged:
        return ()
    return [context.sources.resolve(text) for text in context.scope.fetch.list_refs(select.table)]


def _list_containers(
    act: ast.ActionStatement, refs: Sequence[SourceRef], context: PlanContext
) -> Iterator[tuple[str, Row]]:
    """Yield the name of the image for each container that a statement names or selects."""
    (template,) = get_option_values(act, "as", context)[:1] or [""]
    if act.query is not None:
        for (text,), row in render_rows(act.query, (template,), context, _COLUMNS):
            yield text, _read_row(row)
        return
    if is_template(template):
        raise StatementError("a template is for the rows of a query", code="operand", span=act.span)
    places = tuple(ast.Literal(ref.text, quoted=True) for ref in refs)
    columns = tuple(ast.Column(ast.Field((name,))) for name in _COLUMNS)
    for node, text in zip(act.references, context.literals(act.references), strict=True):
        query = ast.make_container_query(node, places, node.span).replace(nonempty=False, select=columns)
        found = list(context.lookup(query, ())[1])
        if not found:
            raise NotFound(f"No such container: {text}", code="no-such-container", span=node.span)
        for row in found:
            yield template, _read_row(row)


def _read_row(row: Sequence[object]) -> Row:
    source, id_, name, image, command = row
    return str(source), str(id_), str(name or id_), image, command


def _join_words(command: object) -> str:
    import json

    words = json.loads(str(command)) if command else []
    return " ".join(map(str, words))
