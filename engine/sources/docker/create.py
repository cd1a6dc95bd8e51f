"""Makes images in engines: `load` and `import` of archives, and `commit` of containers."""

from __future__ import annotations

import os

from imq.engine.docker_engine.errors import protocol_error
from imq.engine.oci.digest import Digest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.progress import CountingReader, make_byte_counter
from imq.engine.query.binder import require_where
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import (
    bind_whole_rows,
    get_option,
    get_option_values,
    list_destination_refs,
    list_source_refs,
)
from imq.engine.sources.row_templates import is_template, render_rows
from imq.grammar import ast
from imq.grammar.errors import EngineError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .archives import import_archive
from .clients import EngineClients
from .json_documents import read_image_id, read_object
from .named_containers import find_containers
from .tag import find_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

SILENCE = 3600.0
"""The maximum seconds that an engine needs for an image without a message: it is silent while it reads an archive."""
_SHORT = 12
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NONE = "<none>"


class EngineLoad(Record):
    """Make an engine load an archive. The `path` "-" is standard input."""

    source: str
    path: str

    def describe(self) -> Outcome:
        """Return the path and the engine."""
        return Outcome("load", self.path, note=f"to {self.source}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Send the archive, and report the images that the engine has loaded."""
        client = context.get_shared(EngineClients).get(self.source)
        with _open_archive(self.path, "load", context) as archive:
            for name, id_ in import_archive(client, archive):
                yield Outcome("load", name or _NONE, id_, note=f"to {self.source}")


class EngineImport(Record):
    """Make an engine create an image of one layer from an archive. The `path` "-" is standard input."""

    source: str
    path: str
    name: Reference | None
    changes: tuple[str, ...]
    message: str
    platform: Platform | None

    def describe(self) -> Outcome:
        """Return the name, the path and the engine."""
        target = str(self.name) if self.name is not None else _NONE
        return Outcome("import", target, note=f"from {self.path} to {self.source}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Send the archive."""
        client = context.get_shared(EngineClients).get(self.source)
        query: dict[str, str | Sequence[str]] = {"fromSrc": "-", "message": self.message, "changes": self.changes}
        if self.name is not None and client.ping().kind == "podman":  # which ignores the tag
            query["repo"] = f"{self.name.canonical_name}:{self.name.tag}"
        elif self.name is not None:
            query |= {"repo": self.name.canonical_name, "tag": self.name.tag or ""}
        if self.platform is not None:
            query["platform"] = str(self.platform)
        status = ""
        with (
            _open_archive(self.path, "import", context) as archive,
            client.open_stream("POST", "images/create", query, body=archive, timeout=SILENCE) as stream,
        ):
            for message in stream.read_messages():
                status = str(message.get("status") or status)
        id_ = Digest(status) if status.startswith("sha256:") else None
        if id_ is None and self.name is not None:
            id_ = find_id(client, str(self.name))
        if id_ is None:
            raise EngineError(f"{self.source} did not import {self.path}", endpoint=self.source)
        yield self.describe().replace(image=id_)


class CommitContainer(Record):
    """Make an engine create an image from a container, which is paused meanwhile unless `pauses` is false."""

    source: str
    id: str
    container: str
    name: Reference | None
    changes: tuple[str, ...] = ()
    message: str = ""
    author: str = ""
    pauses: bool = True

    def describe(self) -> Outcome:
        """Return the name and the container."""
        target = str(self.name) if self.name is not None else _NONE
        return Outcome("commit", target, note=f"of the container {self.container} in {self.source}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Create the image."""
        client = context.get_shared(EngineClients).get(self.source)
        query: dict[str, str | Sequence[str]] = {"container": self.id, "changes": self.changes}
        query["pause"] = "1" if self.pauses else "0"
        if self.name is not None:
            query |= {"repo": self.name.canonical_name, "tag": self.name.tag or ""}
        if self.message:
            query["comment"] = self.message
        if self.author:
            query["author"] = self.author
        made = read_image_id(read_object(client.post_json("commit", query, {}, timeout=SILENCE)).get("Id"))
        if made is None:
            raise protocol_error(client.endpoint, "its response for commit has no image ID")
        yield self.describe().replace(image=Digest(made))


def _open_archive(path: str, verb: str, context: ExecutionContext) -> CountingReader:
    """Open an archive whose reads are the progress of the action."""
    from imq.engine.store.atomic_files import store_errors

    with store_errors(f"read {path}"):
        try:
            size = 0 if path == "-" else os.path.getsize(path)
            file = os.fdopen(os.dup(0), "rb") if path == "-" else open(path, "rb")  # noqa: SIM115 - the reader closes it
        except FileNotFoundError:
            raise NotFound(f"no such file: {path}", hints=("an engine loads archives of docker save",)) from None
        return CountingReader(file, make_byte_counter(context.progress, f"{verb} {os.path.basename(path)}", size))


def plan_load(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the loads of `load`, by each of the engines. The operands are paths."""
    paths = context.literals(act.references)
    for path in paths:
        _refuse_folder(path, act)
    return [EngineLoad(ref.text, path) for ref in list_destination_refs(act, context) for path in paths]


def plan_import(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the images that `import` creates. The operand is a path."""
    (path,) = context.literals(act.references)
    _refuse_folder(path, act)
    names = get_option_values(act, "as", context)
    platforms = get_option_values(act, "platform", context)
    messages = get_option_values(act, "message", context)
    return [
        EngineImport(
            ref.text,
            path,
            parse_tag_name(names[0]) if names else None,
            tuple(get_option_values(act, "change", context)),
            messages[0] if messages else f"Imported from {path}",
            Platform.parse(platforms[0]) if platforms else context.platform,
        )
        for ref in list_destination_refs(act, context)
    ]


def _refuse_folder(path: str, act: ast.ActionStatement) -> None:
    if os.path.isdir(path):
        raise StatementError(
            f"{path} is a folder, and an engine reads archives",
            code="path",
            span=act.references[0].span,
            hints=(f"the store takes folders: {act.verb} {path} to store",)
            if act.verb == "import"
            else (f"to copy the images of a layout: copy all images in oci:{path} to docker",),
        )


def plan_commit(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the images that `commit` creates, one for each container that is named or that a query selects."""
    names = get_option_values(act, "as", context)
    changes = tuple(get_option_values(act, "change", context))
    message = "".join(get_option_values(act, "message", context)[:1])
    author, pauses = _read_settings(act, context)
    if act.query is not None:
        chosen, failures = _query_containers(act, names[0] if names else "", context)
    else:
        chosen, failures = _named_containers(act, names, context)
    used: dict[tuple[str, Reference], str] = {}
    for source, id_, container, name in chosen:
        if name is not None and used.setdefault((source, name), id_) != id_:
            raise StatementError(
                f"several containers would be committed as {name}, {container} among them",
                code="operand",
                span=act.span,
                hints=("add a field to the template, such as {{.Name}}",),
            )
    commits = (
        CommitContainer(source, id_, container, name, changes, message, author, pauses)
        for source, id_, container, name in chosen
    )
    return [*commits, *failures]


def _read_settings(act: ast.ActionStatement, context: PlanContext) -> tuple[str, bool]:
    """Return the author of a commit, and whether the engine pauses the container, from the option `with`."""
    author, pauses = "", True
    option = get_option(act, "with")
    names = context.literals(option.values[::2]) if option is not None else []
    texts = context.literals(option.values[1::2]) if option is not None else []
    for name, text in zip(names, texts, strict=True):
        if name.lower() == "author":
            author = text
        elif name.lower() == "pause" and text.lower() in _FLAGS:
            pauses = _FLAGS[text.lower()]
        else:
            expected = "true or false" if name.lower() == "pause" else "author and pause"
            raise StatementError(
                f'commit has no "{name} = {text}"',
                code="option",
                span=option.span if option is not None else None,
                hints=(f"expected {expected}",),
            )
    return author, pauses


Chosen = tuple[str, str, str, Reference | None]
"""A container to commit: its engine, its ID, its name, and the name of the image."""


def _query_containers(
    act: ast.ActionStatement, template: str, context: PlanContext
) -> tuple[list[Chosen], list[Action]]:
    assert act.query is not None
    select = bind_whole_rows(act, context)
    if select.table.name != "containers":
        raise StatementError(f"commit takes containers, not {select.table.name}", code="operand", span=act.query.span)
    require_where(act.query, act.verb)
    chosen: list[Chosen] = []
    failures: list[Action] = []
    for (text,), (source, id_, name, problem) in render_rows(
        act.query, (template,), context, ("source", "id", "name", "problem")
    ):
        container = str(name or str(id_)[:_SHORT])
        if problem is not None:
            failures.append(Failed(act.verb, container, EngineError(str(problem))))
        else:
            chosen.append((str(source), str(id_), container, parse_tag_name(text) if text else None))
    return chosen, failures


def _named_containers(
    act: ast.ActionStatement, names: Sequence[str], context: PlanContext
) -> tuple[list[Chosen], list[Action]]:
    """Return the containers that references name or whose ID they begin, in each engine that has them."""
    if names and is_template(names[0]):
        raise StatementError("a template is for the rows of a query", code="operand", span=act.span)
    name = parse_tag_name(names[0]) if names else None
    sources = tuple(ref.text for ref in list_source_refs(act, context))
    chosen: list[Chosen] = []
    for text, node in zip(context.literals(act.references), act.references, strict=True):
        found = find_containers(node, text, sources, context)
        chosen += [(source, id_, container, name) for source, id_, container in found]
    return chosen, []
