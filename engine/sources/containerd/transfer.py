"""Brings images into namespaces by ctr: `pull` from registries, and `load` of archives."""

from __future__ import annotations

import os

from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import CountingReader, make_byte_counter
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option, get_option_values, list_destination_refs
from imq.grammar.errors import EngineError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .archives import import_archive
from .clients import ContainerdClients
from .content import make_record_name
from .targets import get_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

_NONE = "<none>"
_ALL = "all"


class NamespacePull(Record):
    """Make ctr pull an image into a namespace: for these platforms, for `all`, or for its own without any."""

    source: str
    reference: Reference
    platforms: tuple[str, ...] = ()

    def describe(self) -> Outcome:
        """Return the reference, the namespace and the platforms."""
        platforms = f" for {', '.join(self.platforms)}" if self.platforms else ""
        return Outcome("pull", str(self.reference), note=f"to {self.source}{platforms}")

    def execute(self, context: ExecutionContext, /) -> Iterator[Outcome]:
        """Pull, and look up the image that has the name now."""
        context.notify_network()
        clients = context.get_shared(ContainerdClients)
        client, namespace = clients.get(), clients.get_namespace(self.source)
        record = make_record_name(self.reference)
        before = client.list_images(namespace, f"name=={record}")
        options, secret = make_registry_options(context, self.reference)
        if self.platforms == (_ALL,):
            options.append("--all-platforms")
        else:
            options += [word for platform in self.platforms for word in ("--platform", platform)]
        clients.get_ctr(self.source).run("images", "pull", *options, record, secret=secret)
        listed = clients.read_rows(self.source).find_record(record)
        if listed is None:
            raise EngineError(f"ctr did not pull {self.reference}", endpoint=self.source)
        is_same = any(one.target.digest == listed.descriptor.digest for one in before)
        note = "image is up to date" if is_same else "downloaded newer image"
        id_ = next((image.id for image in listed.images), None)
        yield Outcome("pull", str(self.reference), id_, note=f"{note} in {self.source}")


class NamespaceLoad(Record):
    """Make ctr import an archive into a namespace. The `path` "-" is standard input."""

    source: str
    path: str

    def describe(self) -> Outcome:
        """Return the path and the namespace."""
        return Outcome("load", self.path, note=f"to {self.source}")

    def execute(self, context: ExecutionContext, /) -> Iterator[Outcome]:
        """Import the archive, and report the images whose names are new or have moved."""
        from imq.engine.store.atomic_files import store_errors

        with store_errors(f"read {self.path}"):
            try:
                size = 0 if self.path == "-" else os.path.getsize(self.path)
                file = os.fdopen(os.dup(0), "rb") if self.path == "-" else open(self.path, "rb")  # noqa: SIM115
            except FileNotFoundError:
                raise NotFound(f"no such file: {self.path}", code="no-such-file") from None
        moved = make_byte_counter(context.progress, f"load {os.path.basename(self.path)}", size)
        with CountingReader(file, moved) as archive:
            targets = import_archive(self.source, archive, context)
        for listed in targets:
            id_ = next((image.id for image in listed.images), None)
            for name in listed.names or (_NONE,):
                yield Outcome("load", str(name), id_, note=f"to {self.source}")
        if not targets:
            yield self.describe().replace(note=f"{self.source} had all of its images already")


def make_registry_options(context: ExecutionContext, reference: Reference) -> tuple[list[str], str]:
    """Return the options of ctr for the registry of a reference, and the password of its user.

    Raises `EngineError` for a token, and `RegistryError` for an unusable file of credentials.
    """
    from imq.engine.registry.auth.credentials import find_credentials

    settings = context.registry_settings()
    options = ["--plain-http"] if settings.is_insecure(reference.registry) else []
    found = find_credentials(settings, reference.registry, reference.repository)
    if found is None:
        return options, ""
    if not found.user or not found.password:
        raise EngineError(
            f"the credentials of {reference.registry} are a token, which ctr only takes as a word of its command line",
            code="credentials",
            hints=(
                "all users of this machine could see it there: log in with a user and password",
                f"or pull with imq, and copy: pull {reference} to store; copy {reference} from store to containerd",
            ),
        )
    return [*options, "--user", found.user], found.password


def plan_pull(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the pulls of `pull`, into each of the namespaces. The operands are names of images."""
    texts = get_option_values(act, "platform", context)
    if [text.lower() for text in texts] == [_ALL]:
        platforms: tuple[str, ...] = (_ALL,)
    elif len(texts) > 1:
        option = get_option(act, "platform")
        raise StatementError(
            "ctr pulls one platform of an image, or all", code="option", span=option.span if option else None
        )
    else:
        chosen = Platform.parse(texts[0]) if texts else context.platform
        platforms = (str(chosen),) if chosen is not None else ()
    names = [Reference.parse(text).with_default_tag() for text in context.literals(act.references)]
    return [NamespacePull(source, name, platforms) for source in _list_destinations(act, context) for name in names]


def plan_load(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the loads of `load`, into each of the namespaces. The operands are paths."""
    paths = context.literals(act.references)
    for path, node in zip(paths, act.references, strict=True):
        if os.path.isdir(path):
            raise StatementError(
                f"{path} is a folder, and ctr reads archives",
                code="path",
                span=node.span,
                hints=(f"to copy the images of a layout: copy all images in oci:{path} to containerd",),
            )
    return [NamespaceLoad(source, path) for source in _list_destinations(act, context) for path in paths]


def _list_destinations(act: ast.ActionStatement, context: PlanContext) -> list[str]:
    reader = get_reader(context)
    return [name for ref in list_destination_refs(act, context) for name in reader.expand(ref.text)]
