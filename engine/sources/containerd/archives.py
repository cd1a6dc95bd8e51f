"""The images of namespaces as archives, which ctr exports and imports: see `sources/archives.py`."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.sources.action import Outcome, changed_error
from imq.grammar.errors import Conflict, EngineError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import ContainerdClients
from .content import ContainerdImage, make_record_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from imq.engine.oci.digest import Digest
    from imq.engine.sources.action import Action, ExecutionContext
    from imq.engine.sources.archives import Readable

    from .content import ContainerdRecords, NamespaceRows

_UNNAMED = ("--digests", "--skip-digest-for-named")
"""Images without a name get one with their digest: containerd would collect them otherwise."""


class NamespaceArchives(Record):
    """The images of namespaces as archives."""

    def open_archive(
        self, source: str, names: Sequence[str], context: ExecutionContext, /
    ) -> AbstractContextManager[Readable]:
        """Open an archive of the images with these names or IDs.

        An index goes with all of its platforms when they are all here, else with the one that its row shows.
        """
        clients = context.get_shared(ContainerdClients)
        rows = clients.read_rows(source)
        found = [_find_record(rows, name) for name in names]
        platforms = {choose_platform(listed) for _, listed in found}
        options = ["--all-platforms"] if platforms == {None} else []
        if len(platforms) == 1 and not options:
            options = ["--platform", str(platforms.pop())]
        return clients.get_ctr(source).receive("images", "export", *options, "-", *(record for record, _ in found))

    def load_archive(
        self, source: str, archive: Readable | Iterable[bytes], names: Sequence[str], context: ExecutionContext, /
    ) -> None:
        """Import an archive, and unpack its images. Raises `EngineError` when one of these names is missing then."""
        import_archive(source, archive, context)
        rows = context.get_shared(ContainerdClients).read_rows(source)
        for name in names:
            if rows.find_shown(name) is None:
                raise EngineError(f"{source} did not load {name}", endpoint=source)

    def check_image(self, source: str, id_: Digest, names: Sequence[str], context: ExecutionContext, /) -> None:
        """Raise `NotFound` (`changed`) when the names are no longer those of this image."""
        rows = context.get_shared(ContainerdClients).read_rows(source)
        for name in names or (id_,):
            found = rows.find_shown(name)
            listed = rows.with_id(id_) if found is None and name == id_ else [found[1]] if found is not None else []
            if not any(id_ in one.ids for one in listed):
                raise changed_error(name)

    def add_name(self, source: str, name: Reference, id_: Digest, verb: str, /) -> Action:
        """Return the action that gives an image of a namespace a name."""
        return NameImage(source, name, id_, verb)


class NameImage(Record):
    """Give the image of a namespace with this ID a name."""

    source: str
    name: Reference
    id: Digest
    verb: str

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return Outcome(self.verb, str(self.name), self.id, note=f"in {self.source}")

    def execute(self, context: ExecutionContext, /) -> Iterator[Outcome]:
        """Set the name. Raises `NotFound` (`changed`) when the image is gone, or another one has the name."""
        clients = context.get_shared(ContainerdClients)
        listed = next(iter(clients.read_rows(self.source).with_id(self.id)), None)
        if listed is None:
            raise changed_error(self.id.short)
        namespace = clients.get_namespace(self.source)
        try:
            clients.get().set_name(namespace, make_record_name(self.name), listed.descriptor, {})
        except Conflict:
            raise changed_error(str(self.name)) from None
        yield self.describe()


def import_archive(
    source: str, archive: Readable | Iterable[bytes], context: ExecutionContext
) -> list[ContainerdRecords]:
    """Import an archive with ctr; return the targets whose names are new or have moved.

    Names in docker's short form get the long form, which the kubelet and nerdctl look for.
    """
    clients = context.get_shared(ContainerdClients)
    client, namespace = clients.get(), clients.get_namespace(source)
    before = {record.name: record.target.digest for record in client.list_images(namespace)}
    platform = context.store.platform
    options = ("--platform", str(platform)) if platform is not None else ()
    clients.get_ctr(source).send(archive, "images", "import", *_UNNAMED, *options, "-")
    changed = set()
    for record in client.list_images(namespace):
        if before.get(record.name) == record.target.digest:
            continue
        changed.add(record.target.digest)
        long = _expand(record.name)
        if long == record.name or record.name in before:
            continue
        try:
            client.set_name(namespace, long, record.target, record.labels)
        except Conflict:
            client.move_name(namespace, long, record.target, record.labels)
        client.remove_name(namespace, record.name, record.target, collects=False)
    targets = clients.read_rows(source).list_targets()
    return [listed for listed in targets if listed.descriptor.digest in changed]


def _expand(name: str) -> str:
    """Return the long form of a name with a tag; any other name unchanged."""
    from .content import name_of_record

    parsed = name_of_record(name)
    return make_record_name(parsed) if isinstance(parsed, Reference) and parsed.tag else name


def _find_record(rows: NamespaceRows, name: str) -> tuple[str, ContainerdRecords]:
    """Return the record for a name or an ID, and its target. Raises `NotFound` (`changed`)."""
    if (shown := rows.find_shown(name)) is not None:
        return shown
    for listed in rows.list_targets():
        if name in listed.ids:
            return listed.records[0].name, listed
    raise changed_error(name)


def choose_platform(listed: ContainerdRecords) -> str | None:
    """Return the platform with which a target is exported; None when all of it is here.

    Raises `NotFound` for an image without all of its layers: a node can discard them when they are unpacked.
    """
    image = next((one for one in listed.images if isinstance(one, ContainerdImage)), None)
    if image is None or not image.is_complete:
        name = next(map(str, listed.names), listed.descriptor.digest.short)
        raise NotFound(
            f"not all blobs of {name} are here, so it cannot be exported",
            code="incomplete",
            hints=("pull it again; nodes discard unpacked layers when discard_unpacked_layers is set",),
        )
    return None if listed.is_whole else str(image.config.platform)
