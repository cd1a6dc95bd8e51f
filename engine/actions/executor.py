"""The embedded store as a source: it does the actions, each as it was planned, and says what came of them."""

from __future__ import annotations

import os
from functools import partial
from http import HTTPStatus
from itertools import groupby

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, read_manifest
from imq.engine.progress import counted, weighed
from imq.grammar.errors import DigestMismatch, ImqError, NotFound, RegistryError
from imq.grammar.record import TYPE_CHECKING

from . import base as a

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TextIO

    from imq.engine.oci.reference import Name
    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client
    from imq.engine.registry.mirrors import Fetcher, Mirrors
    from imq.engine.registry.settings import Settings
    from imq.engine.registry.transfer.pull import Pulled
    from imq.engine.sources.registry.actions import Deeds
    from imq.engine.store.ingest import Ingest
    from imq.engine.store.layout import Entry
    from imq.engine.store.registry_cache import Remembered
    from imq.engine.store.store import Store
    from imq.engine.store.transaction import Change
    from imq.engine.store.verify import StoreCheck


Named = a.Untag | a.Remove | a.DropPlatform | a.Tag
"""What is done to names and images of the store alone."""
Removals = a.RemoveTag | a.RemoveManifest
"""What is removed in registries."""
_DISLIKED = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""How registries answer to bytes that are not those of the digest."""


class StoreSource:
    """Does actions on one store. `jobs` is how many layers may travel or unpack at once.

    `settings` are those of the registry client, made when one is needed. `ask` and `stdin` are for passwords, as a
    `World` has them.
    """

    def __init__(  # noqa: PLR0913 - what its actions work with, each by its name
        self,
        store: Store,
        *,
        environment: Mapping[str, str],
        progress: Progress,
        clock: Callable[[], int],
        jobs: int,
        lazily: bool,
        settings: Callable[[], Settings],
        before_network: Callable[[], None] | None = None,
        ask: Callable[[str, bool], str] | None = None,
        stdin: TextIO | None = None,
    ) -> None:
        self._store = store
        self._environment = environment
        self._progress = progress
        self._clock = clock
        self._jobs = jobs
        self._lazily = lazily
        self._settings = settings
        self._before_network = before_network
        self._ask = ask
        self._stdin = stdin
        self._checking: StoreCheck | None = None
        self._client: Client | None = None
        self._deeds: Deeds | None = None
        self._mirrors: Mirrors | None = None

    def apply(self, actions: Sequence[a.Action]) -> Iterator[a.Outcome]:
        """Do the actions in order and yield what came of each. One that fails does not stop the rest.

        Names and removals that follow each other are one change of the store: all of them, or none when it breaks.
        Removals in registries that follow each other are checked together.
        """
        try:
            place = 0
            for kind, group in groupby(actions, _kind):
                together = list(group)
                if kind is Named:
                    yield from self._names([action for action in together if isinstance(action, Named)])
                elif kind is Removals:
                    yield from self._there().remove([action for action in together if isinstance(action, Removals)])
                else:
                    for number, action in enumerate(together, place):
                        if len(actions) > 1:
                            self._progress.count(_doing(action), number, len(actions))
                        yield from self._alone(action)
                place += len(together)
        finally:
            self._checking = None
            if self._mirrors is not None:
                self._mirrors.close()
                self._mirrors = None
            if self._client is not None:
                if self._client.placed.learnt:
                    self._memory().manifests(self._client.placed.learnt)
                self._client.close()
                self._client = None

    def _alone(self, action: a.Action) -> Iterator[a.Outcome]:
        try:
            match action:
                case a.Pull():
                    yield from self._pull(action)
                case a.Push():
                    yield self._push(action)
                case a.Copy():
                    yield self._copy(action)
                case a.Import():
                    yield self._import(action)
                case a.Load():
                    yield from self._load(action)
                case a.Save():
                    yield self._save(action)
                case a.Export():
                    from .run_export import export_image

                    yield export_image(
                        self._store, action, partial(weighed, self._progress, _weighed_as("export", action.path))
                    )
                case a.Verify():
                    yield from self._checks().verify(action)
                case a.Collect():
                    yield self._collect()
                case a.VerifyThere() | a.Join():
                    yield self._there().do(action)
                case a.Exec():
                    from .run_program import execute

                    yield execute(action, self._environment)
                case a.Fail() | a.Stay():
                    yield a.describe(action)
                case a.Login():
                    from .run_login import log_in

                    self._about_to_ask()
                    yield log_in(action, self._settings(), self._ask, self._stdin)
                case a.Logout():
                    from .run_login import log_out

                    yield log_out(action, self._settings())
                case _:
                    self._store.reindex()
                    layers = len(self._store.unmeasured())
                    problems = self._store.measure(self._jobs, report=counted(self._progress, "unpack", layers))
                    count = self._store.index.connection.execute("SELECT count(*) FROM image").fetchone()[0]
                    yield a.Outcome("reindex", "the index", note=f"{count} images")
                    for problem in problems:
                        yield a.Outcome("measure", "a layer", error=problem)
        except ImqError as error:
            if error.exit_code == 130:
                raise
            planned = a.describe(action)
            yield a.Outcome(planned.action, planned.target, planned.image, error=error)

    # Names and removals

    def _names(self, batch: Sequence[Named]) -> Iterator[a.Outcome]:
        if not batch:
            return
        outcomes: list[a.Outcome] = []
        now = self._clock()
        with self._store.change() as change:
            for place, action in enumerate(batch):
                self._progress.count(_doing(action), place, len(batch))
                try:
                    outcomes.append(self._name(change, action, now))
                except ImqError as error:
                    planned = a.describe(action)
                    outcomes.append(a.Outcome(planned.action, planned.target, planned.image, error=error))
        if change.withheld is not None:
            self._progress.warn(change.withheld.message)
        yield from outcomes

    def _name(self, change: Change, action: Named, now: int) -> a.Outcome:
        """Do one action, unless the store is no longer as it was when it was planned."""
        match action:
            case a.Tag(name, root, id_, moves_from):
                held = change.named(name)
                if held is not None and held.descriptor.digest != root and not change.means(held, moves_from):
                    raise _changed(str(name))
                source = next(iter(change.of(root)), None)
                if source is None:
                    raise _changed(id_.short)
                digest = source.digest if source.name is not None and _same_place(source.name, name) else None
                new = change.name(name, source.descriptor, digest, now)
                note = f"moved from {moves_from.short}" if moves_from else None
                return a.Outcome("tag", str(name), id_, note=note if new else "it had the name already")
            case a.Untag(name, root, id_):
                change.untag(self._planned(change, name, root))
                return a.Outcome("untag", name, id_)
            case a.DropPlatform(name, root, id_, manifest, _, _, frees):
                if not change.let_go(root, manifest):
                    raise _changed(name)
                return a.Outcome("drop", name, id_, frees, note=a.describe(action).note)
            case a.Remove(names, root, id_, frees):
                entries = list(change.of(root))
                if {str(entry.name) for entry in entries if entry.name} != set(names) or not entries:
                    raise _changed(", ".join(names) or id_.short)
                for entry in entries:
                    change.remove(entry)
                return a.Outcome("remove", ", ".join(names) or "<none>", id_, frees)

    @staticmethod
    def _planned(change: Change, name: str, root: Digest) -> Entry:
        entry = change.named(name)
        if entry is None or entry.descriptor.digest != root:
            raise _changed(name)
        return entry

    def _collect(self) -> a.Outcome:
        with self._store.change() as change:
            change.thorough = True
        if change.withheld is not None:
            raise change.withheld
        freed = change.freed
        count = len(freed.blobs)
        return a.Outcome(
            "collect",
            f"{count} blob{'' if count == 1 else 's'} that no image reaches",
            size=freed.size + freed.begun,
            note="with what was left of downloads that broke off" if freed.begun else None,
        )

    # Registries

    def _registries(self) -> Client:
        if self._client is None:
            self._about_to_ask()
            from imq.engine.registry.client import Client  # requests is heavy

            self._client = Client(self._settings())
            self._client.placed.recall = self._repositories_with
        return self._client

    def _repositories_with(self, registry: str, blobs: Iterable[Digest]) -> dict[Digest, str]:
        """Return where in a registry blobs may be, by what was seen there and by the images that are here."""
        wanted = list(blobs)
        return self._memory().repositories_with(registry, wanted) | self._store.repositories_with(registry, wanted)

    def _memory(self) -> Remembered:
        from imq.engine.store.registry_cache import Remembered

        kept = self._store.layout.exists  # copying needs no store, and makes none
        return Remembered(self._store.index.connection, self._store.memory_layout() if kept else None)

    def _about_to_ask(self) -> None:
        if self._before_network is not None:
            self._before_network()

    def _fetcher(self) -> Fetcher:
        """Return what images are fetched with: the mirrors of their registries first, if any are configured."""
        client = self._registries()
        if not client.settings.mirrors:
            return client
        if self._mirrors is None:
            from imq.engine.registry.mirrors import Mirrors

            self._mirrors = Mirrors(client)
        return self._mirrors

    def _passed_over(self) -> list[str]:
        """Return what is to be said of mirrors that were passed over since this was last asked."""
        if self._mirrors is None:
            return []
        said, self._mirrors.warnings = self._mirrors.warnings, []
        return said

    def _pull(self, action: a.Pull) -> Iterator[a.Outcome]:
        reference = action.reference
        client = self._fetcher()
        with self._store.ingest(lazily=self._lazily) as ingest:
            pulled = self._pulled(action, client, ingest)
            ingest.sync()
            with self._store.change(ingest.contents) as change:
                manifest, grown = pulled.manifest, False
                if pulled.keeps:
                    manifest, grown = change.hold(manifest, pulled.held)
                give = change.name if reference.tag is not None else change.name_by_digest
                new = give(reference, manifest, pulled.digest, self._clock())
        for warning in (*pulled.warnings, *self._passed_over()):
            self._progress.warn(warning)
        kind = pulled.artifact or ("platforms" if grown else "image")
        notes = [f"downloaded newer {kind}" if new or grown else f"{kind} is up to date", *pulled.warnings]
        id_ = pulled.config.digest if pulled.config is not None else None
        yield a.Outcome("pull", str(reference), id_, pulled.fetched, note="; ".join(notes))

    def _pulled(self, action: a.Pull, client: Fetcher, ingest: Ingest) -> Pulled:
        """Fetch what is asked for. A name that means an index goes on to mean it: what is pulled is added to it."""
        from imq.engine.registry.transfer.pull import pull, pull_index

        platforms, jobs = action.platforms, self._jobs
        if action.every or len(platforms) > 1:
            return pull_index(client, action.reference, platforms, ingest, self._progress, jobs=jobs)
        platform = platforms[0] if platforms else None
        kept = self._store.root_of(action.reference)
        return pull(client, action.reference, platform, ingest, self._progress, jobs=jobs, kept=kept)

    def _push(self, action: a.Push) -> a.Outcome:
        from imq.engine.oci.index_subset import Selection
        from imq.engine.registry.transfer.push import push

        content = self._store.read(action.root)
        document = read_manifest(content)
        top = Descriptor(document.media_type, action.root, len(content))
        read = self._store.read
        selected = Selection(action.reference, read, lambda config: read(config.digest)).of(top, action.platforms)
        made = {selected.descriptor.digest: selected.content} if selected.content is not None else {}
        whole = selected.descriptor.digest == action.root
        try:
            pushed = push(
                self._registries(),
                action.reference,
                selected.descriptor,
                _Export(self._store, made),
                self._progress,
                jobs=self._jobs,
                absent=self._store.absent(action.root) if whole and isinstance(document, Index) else {},
            )
        except (RegistryError, DigestMismatch) as problem:  # refused: are the bytes here what they should be?
            if isinstance(problem, RegistryError) and problem.status not in _DISLIKED:
                raise
            raise self._blamed(action, problem) from None
        for warning in selected.warnings:
            self._progress.warn(warning)
        with self._store.change() as change:
            held = change.named(action.reference)
            if held is not None and held.descriptor.digest == action.root:
                change.name(action.reference, held.descriptor, pushed.manifest.digest, held.set_at or self._clock())
        notes = [f"digest: {pushed.manifest.digest}", *_left_out(pushed.skipped), *selected.warnings]
        return a.Outcome("push", str(action.reference), action.id, pushed.sent, note="; ".join(notes))

    def _blamed(self, action: a.Push, problem: ImqError) -> ImqError:
        """Return the error that says which blob of an image is damaged, if one is, else the problem."""
        from imq.engine.store.measure import blame

        rows = self._store.index.connection.execute("SELECT digest FROM reach WHERE root = ?", (action.root,))
        found = blame(self._store, [Digest(digest) for (digest,) in rows], problem)
        if found is not problem:
            again = f"verify {action.id.short} repair fetches it again where the image came from, and so does a pull"
            found.hints = (again, "nothing of it is named in the registry yet: push again then")
        return found

    def _copy(self, action: a.Copy) -> a.Outcome:
        from imq.engine.registry.transfer.copy import copy

        client = self._registries()
        copied = copy(
            client,
            action.source,
            action.target,
            action.platforms,
            self._progress,
            jobs=self._jobs,
            fetcher=self._fetcher(),
            referrers=action.referrers,
        )
        for warning in (*copied.warnings, *self._passed_over()):
            self._progress.warn(warning)
        notes = [f"digest: {copied.manifest.digest}"] if copied.new else ["it is there already"]
        if action.referrers:
            notes.append(f"{copied.attached} attached artifact{'' if copied.attached == 1 else 's'}")
        note = "; ".join([*notes, *_left_out(copied.skipped), *copied.warnings])
        return a.Outcome("copy", str(action.target), copied.id, copied.sent, note=note)

    def _there(self) -> Deeds:
        from imq.engine.sources.registry.actions import Deeds

        if self._deeds is None:
            self._deeds = Deeds(self._registries(), self._progress)
        return self._deeds

    # Files

    def _import(self, action: a.Import) -> a.Outcome:
        from .import_image import import_image

        with self._store.ingest() as ingest:
            whole = os.path.getsize(action.path) if os.path.isfile(action.path) else 0
            moved = weighed(self._progress, _weighed_as("import", action.path), whole)
            descriptor, id_ = import_image(ingest, action, self._clock(), moved)
            ingest.sync()
            with self._store.change(ingest.contents) as change:
                if action.name is not None:
                    change.name(action.name, descriptor, None, self._clock())
                else:
                    change.keep(descriptor, self._clock())
        size = sum(content.size for content in ingest.contents)
        return a.Outcome("import", str(action.name) if action.name else "<none>", id_, size)

    def _load(self, action: a.Load) -> Iterator[a.Outcome]:
        from imq.engine.store.load import load  # tarfile

        with self._store.ingest() as ingest:
            loaded = load(action.path, ingest, partial(weighed, self._progress, _weighed_as("load", action.path)))
            ingest.sync()
            with self._store.change(ingest.contents) as change:
                for image in loaded:
                    descriptor = image.descriptor
                    if image.held:
                        descriptor, _ = change.hold(descriptor, image.held)
                    for name in image.names:
                        change.name(name, descriptor, None, self._clock())
                    if not image.names:
                        change.keep(descriptor, self._clock())
        for image in loaded:
            for warning in self._config_problems(image.id):
                self._progress.warn(warning)
            target = ", ".join(map(str, image.names)) or "<none>"
            yield a.Outcome("load", target, image.id)
            for problem in image.problems:
                yield a.Outcome("load", target, image.id, error=problem)

    def _config_problems(self, config: Digest) -> tuple[str, ...]:
        """Return what some tools refuse in a config and imq reads on with; of what is no config, nothing."""
        try:
            return Config.read(self._store.read(config), f"the config {config.short}").problems
        except ImqError:
            return ()

    def _save(self, action: a.Save) -> a.Outcome:
        from imq.engine.store.save import save

        from .write_output import written

        moved = weighed(self._progress, _weighed_as("save", action.path), action.size)
        with written(action, action.size) as target:
            save(self._store, action.images, target, moved)
        return a.Outcome("save", action.path, size=target.size, note=a.describe(action).note)

    def _checks(self) -> StoreCheck:
        """Return what verifies images; for all images of a statement the same."""
        if self._checking is None:
            from imq.engine.store.verify import StoreCheck

            self._checking = StoreCheck(self._store, self._jobs, self._fetcher, self._progress)
        return self._checking


class _Export:
    """The store's blobs, for a push, and documents that were made for it."""

    def __init__(self, store: Store, made: Mapping[Digest, bytes]) -> None:
        self._store = store
        self._made = made
        self.open = store.open_blob

    def read(self, digest: Digest) -> bytes:
        """Return a document."""
        return self._made[digest] if digest in self._made else self._store.read(digest)


def _weighed_as(verb: str, path: str) -> str:
    """Return what is shown while a file or folder is read or written: its name, without the way to it."""
    return f"{verb} {os.path.basename(os.path.normpath(path))}"


def _kind(action: a.Action) -> object:
    """Return what an action is done together with."""
    return next((kind for kind in (Named, Removals) if isinstance(action, kind)), None)


def _doing(action: a.Action) -> str:
    """Return what is counted while actions like this one are done: their verb."""
    return a.describe(action).action


def _left_out(foreign: int) -> list[str]:
    """Say how many layers were not handed on."""
    return [f"{foreign} foreign layer{'' if foreign == 1 else 's'} left out"] if foreign else []


def _same_place(one: Name, other: Name) -> bool:
    return one.canonical_name == other.canonical_name


def _changed(name: str) -> NotFound:
    return NotFound(
        f"{name} has changed since this was planned, so it was left alone",
        code="changed",
        hints=("run the statement again",),
    )
