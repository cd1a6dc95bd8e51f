"""The documents of images of places on disk, with docker's keys: `inspect`."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import format_time
from imq.engine.query.binder import require_where
from imq.engine.render.docker_inspect import build_image_document
from imq.engine.result import Documents, get_exit_code
from imq.engine.sources.action_options import bind_whole_rows, list_source_refs
from imq.grammar import ast
from imq.grammar.errors import ImqError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from imq.engine.oci.reference import Name
    from imq.engine.sources.action import PlanContext

    from .content import ImageContent, ListedImage
    from .place_reader import PlaceReader


def inspect(reader: PlaceReader, act: ast.ActionStatement, context: PlanContext) -> Documents:
    """Return the documents of the images that references name, or of the images of a query.

    One that cannot be read does not stop the others. Raises `NotFound` for a name that no place has.
    """
    documents: list[dict[str, Any]] = []
    errors: list[ImqError] = []
    for text, listed in dict.fromkeys(_list_images(reader, act, context)):
        rows = reader.read(text)
        errors += [one.problem for one in listed.unreadable]
        for image in listed.images:
            if image.problem is not None:
                errors.append(image.problem)
            ((size, _),) = rows.get_image_sizes([(image.id, image.manifest)])
            documents.append(build_document(listed, image, listed.names, size))
    return Documents(tuple(documents), act.output, errors=tuple(errors), exit_code=get_exit_code(errors))


def build_document(listed: ListedImage, image: ImageContent, names: Sequence[Name], size: int | None) -> dict[str, Any]:
    """Return the document of one image, with docker's keys and those of imq."""
    repositories = {name.familiar_name for name in names if isinstance(name, Reference)}
    digests = sorted(f"{one}@{listed.digest}" for one in repositories) if listed.digest is not None else []
    document = build_image_document(
        image.config.document,
        {
            "Id": image.id,
            "RepoTags": sorted(str(name) for name in names if name.tag is not None),
            "RepoDigests": digests,
            "Size": size or 0,
            "VirtualSize": size or 0,
            "Metadata": {"LastTagTime": format_time(listed.set_at) if listed.set_at is not None else None},
        },
    )
    document["DownloadSize"] = image.download_size
    if image.manifest is None:  # a place of docker's own format has no manifests
        return document
    return document | {"Descriptor": listed.descriptor.to_json(), "Annotations": dict(image.annotations)}


def _list_images(
    reader: PlaceReader, act: ast.ActionStatement, context: PlanContext
) -> Iterator[tuple[str, ListedImage]]:
    """Yield the images of an action, each with the string that names its place."""
    if act.query is None:
        texts = [ref.text for ref in list_source_refs(act, context)]
        for operand, node in zip(context.literals(act.references), act.references, strict=True):
            found = [(text, listed) for text in texts for listed in reader.read(text).find(operand)]
            if not found:
                raise NotFound(f"no image {operand} in {' and '.join(texts)}", code="no-such-image", span=node.span)
            yield from found
        return
    select = bind_whole_rows(act, context)
    if select.table.name != "images":
        raise StatementError(f"inspect takes images, not {select.table.name}", code="operand", span=act.query.span)
    require_where(act.query, act.verb)
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("source", "id"))
    query = ast.Query("", base=act.query, select=columns, span=act.query.span)
    for text, id_ in dict.fromkeys(context.rows(query, ())[1]):
        for listed in reader.read(str(text)).with_id(str(id_)):
            yield str(text), listed
