"""Actions, as frozen data, and the contexts in which they are planned and executed.

A verb plans a list of actions. Dry run, confirmation and execution use the same list. Sources may define their own
actions, so this module is in a layer below `engine/actions/`.
"""

from __future__ import annotations

from itertools import chain, groupby

from imq.engine.catalog.schema import DataType, Field, Table
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import tzinfo
    from typing import Any, ClassVar, Protocol, TextIO, TypeVar

    from imq.engine.configuration.configuration import Registry
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.platform import Platform
    from imq.engine.progress import Progress
    from imq.engine.query import ir
    from imq.engine.query.binder import Scope
    from imq.engine.query.source import SourceRef, Sources
    from imq.engine.registry.client import Client
    from imq.engine.registry.mirrors import ImageReader, MirroredClient
    from imq.engine.registry.settings import Settings
    from imq.engine.sources.contents.protocol import LayerWorkers
    from imq.engine.store.registry_cache import RegistryCache
    from imq.engine.store.store import Store
    from imq.engine.store.transaction import Transaction
    from imq.grammar import ast

    RunQuery = Callable[[ast.RowSource, Sequence[str]], tuple[ir.Select, list[tuple[str | int | float | None, ...]]]]
    Planner = Callable[[ast.ActionStatement, "PlanContext"], list["Action"]]
    T = TypeVar("T")
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time


class Outcome(Record):
    """The result of an action, or its description in a plan. It is one row of `OUTCOMES`.

    `size` is the number of bytes freed, fetched or written. An action with an `error` changed nothing.
    """

    action: str
    target: str
    image: Digest | None = None
    size: int | None = None
    note: str | None = None
    error: ImqError | None = None

    def to_row(self) -> tuple[str | int | None, ...]:
        """Return the outcome as a row of `OUTCOMES`."""
        code, message = (self.error.code, self.error.message) if self.error is not None else (None, None)
        return self.action, self.target, self.image, self.size, self.note, code, message

    def with_error(self, error: ImqError) -> Outcome:
        """Return the outcome of this action after a failure with `error`."""
        return Outcome(self.action, self.target, self.image, error=error)


OUTCOMES = Table(
    "outcomes",
    "The results of actions, or their plan in a dry run: one row for each object.",
    (
        Field("action", DataType.TEXT, "the action"),
        Field("target", DataType.TEXT, "the object of the action"),
        Field("image", DataType.DIGEST, "the id of the image", title="IMAGE ID"),
        Field("size", DataType.SIZE, "bytes freed, fetched or written"),
        Field("note", DataType.TEXT, "a remark"),
        Field("error", DataType.TEXT, "the error code"),
        Field("message", DataType.TEXT, "the error message"),
    ),
    default_columns=("action", "target", "image", "size"),
    order=(),
)


class Action(Protocol):
    """One thing that a statement will do."""

    def describe(self) -> Outcome:
        """Return the outcome that a dry run and the confirmation prompt show."""

    def execute(self, context: ExecutionContext, /) -> Iterator[Outcome]:
        """Execute the action and yield its outcomes. Raises `ImqError` on failure."""


class OutcomeColumns(Record):
    """Outcomes by columns: the values of each field of `OUTCOMES`, and the errors of those that failed."""

    values: tuple[Sequence[str | int | None], ...]
    errors: tuple[ImqError, ...] = ()

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> OutcomeColumns:
        """Return the columns of outcomes."""
        values = tuple(zip(*[outcome.to_row() for outcome in outcomes], strict=True))
        errors = tuple(outcome.error for outcome in outcomes if outcome.error is not None)
        return cls(values or ((),) * len(OUTCOMES.fields), errors)


def describe_all(actions: Iterable[Action]) -> OutcomeColumns:
    """Return the descriptions of actions."""
    parts: list[OutcomeColumns] = []
    for kind, same in groupby(actions, type):
        if issubclass(kind, BatchedAction):
            parts.append(kind.describe_batch(list(same)))
        else:
            parts.append(OutcomeColumns.of([action.describe() for action in same]))
    if len(parts) == 1:
        return parts[0]
    values = tuple(tuple(chain.from_iterable(part.values[at] for part in parts)) for at in range(len(OUTCOMES.fields)))
    return OutcomeColumns(values, tuple(error for part in parts for error in part.errors))


class BatchedAction(Record):
    """An action that is described and executed together with its neighbours of the same kind.

    Two actions are executed as one kind if their classes share `execute_batch`.
    """

    def describe(self) -> Outcome:
        """Return the outcome that a dry run and the confirmation prompt show."""
        raise NotImplementedError

    @staticmethod
    def describe_batch(actions: Sequence[Any]) -> OutcomeColumns:
        """Return the descriptions of actions of this class."""
        return OutcomeColumns.of([action.describe() for action in actions])

    @staticmethod
    def execute_batch(actions: Sequence[Any], context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the actions together and yield the outcome of each, including failures."""
        raise NotImplementedError

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the action as a batch of one."""
        return self.execute_batch((self,), context)


class PreparedAction(Record):
    """An action that is executed alone, after a step for all of its class that a statement executes in a row."""

    def describe(self) -> Outcome:
        """Return the outcome that a dry run and the confirmation prompt show."""
        raise NotImplementedError

    @staticmethod
    def prepare(actions: Sequence[Any], context: ExecutionContext) -> None:
        """Do the work for the actions that is better done together. Raises `ImqError` when none can be executed."""
        raise NotImplementedError

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the action and yield its outcomes. Raises `ImqError` on failure."""
        raise NotImplementedError


class StoreAction(BatchedAction):
    """A change to names or images of the store. Consecutive store actions are one transaction: all or nothing.

    `frees_layers`: it removes images, so that unpacked layers may not be needed any more.
    """

    frees_layers: ClassVar[bool] = False

    def apply(self, transaction: Transaction, now: int) -> Outcome:
        """Apply the action. Raises `NotFound` (code `changed`) if the store has changed since planning."""
        raise NotImplementedError

    @staticmethod
    def execute_batch(actions: Sequence[StoreAction], context: ExecutionContext) -> Iterator[Outcome]:
        """Apply the actions in one transaction. An action that fails does not stop the others."""
        outcomes: list[Outcome] = []
        now = context.clock()
        frees_layers = any(action.frees_layers for action in actions)
        with _watch_layers(context.store, frees=frees_layers), context.store.start_transaction() as transaction:
            context.store.refresh_containers()  # no container is created until the transaction ends
            for number, action in enumerate(actions):
                described = action.describe()
                if len(actions) > 1:
                    context.progress.report_items(described.action, number, len(actions))
                try:
                    outcomes.append(action.apply(transaction, now))
                except ImqError as error:
                    outcomes.append(described.with_error(error))
        if transaction.collection_error is not None:
            context.progress.warn(transaction.collection_error.message)
        if frees_layers and context.store.layout.has_unpacked():
            from imq.engine.containers.factory import make_containers

            make_containers(context.store, context.runtime, context.environment).remove_unneeded_layers()
        yield from outcomes


def _watch_layers(store: Store, *, frees: bool) -> AbstractContextManager[None]:
    """Drop the layers that a transaction frees from the index of files, if it frees some."""
    from contextlib import nullcontext

    if not frees:
        return nullcontext()
    from imq.engine.store.file_index import dropping_released_layers

    return dropping_released_layers(store)


class RegistryWrite(Record):
    """An action that may move a tag of a registry to another manifest. Cached tags expire after it."""


class Skip(Record):
    """Leaves an image or a file unchanged because of `reason`. This is not a failure."""

    name: str
    id: Digest | None
    reason: str

    def describe(self) -> Outcome:
        """Return the image or file, with the reason as its note."""
        return Outcome("stay", self.name, self.id, note=self.reason)

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        """Do nothing."""
        yield self.describe()


class Failed(Record):
    """A part of a statement that cannot be executed. It is listed with the other parts, which are executed."""

    verb: str
    target: str
    error: ImqError

    def describe(self) -> Outcome:
        """Return the error as an outcome."""
        return Outcome(self.verb, self.target, error=self.error)

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        """Report the error; nothing is executed."""
        yield self.describe()


class Delegation(Record):
    """An engine decides by its own rules what the removal of a name does, as for docker's command lines.

    With `keeps_parents` the unnamed images below stay.
    """

    keeps_parents: bool = False


def changed_error(name: str) -> NotFound:
    """Return the error for a name that has changed since the action was planned."""
    return NotFound(
        f"{name} has changed since the plan was made, so it was not touched",
        code="changed",
        hints=("run the statement again",),
    )


class PlanContext(Record):
    """The services and settings with which verbs plan their actions.

    - `literals` evaluates operands to strings.
    - `bind` resolves the names of a query.
    - `rows` runs a query for the rows that the verb acts on; hidden columns follow the selected ones. If a request
      for one of these rows fails, the statement fails.
    - `lookup` runs a query for other rows, and ignores requests that fail.
    - `folder` is the base of relative paths.
    - `registry` returns the configuration of a registry by its name.
    - `chosen_refs` returns the sources that the user chose for statements that name none; empty without a choice.
    - `problems` are the errors of rows so far, each with its subject: a name, an ID or a source.
    - `delegation`: engines decide what a removal does; None: the planners do.
    - `is_dry_run`: the plan is only shown, so that what is not free to measure belongs in it.
    """

    store: Store
    sources: Sources
    scope: Scope
    platform: Platform | None
    literals: Callable[[Sequence[ast.Literal | ast.Variable]], list[str]]
    bind: Callable[[ast.RowSource], ir.Select]
    rows: RunQuery
    lookup: RunQuery
    environment: Mapping[str, str]
    folder: str = "."
    registry: Callable[[str], Registry | None] = lambda _: None
    chosen_refs: Callable[[], tuple[SourceRef, ...]] = tuple
    problems: Sequence[tuple[str, ImqError]] = ()
    delegation: Delegation | None = None
    is_dry_run: bool = False


class ExecutionContext:
    """The services and settings with which the actions of one statement are executed.

    A registry client is opened when an action first needs it.

    - `jobs` is the number of layers to transfer or unpack in parallel.
    - `lazy` makes a pull store layers without unpacking them.
    - `indexes_files` makes a pull index the files of the layers that it unpacks.
    - `registry_settings` returns the settings of the registry client.
    - `on_network` is called before the first request.
    - `prompt` reads a string from the user. Its arguments are the prompt, and whether the input is hidden.
    - `runtime` is the setting for the runtime of containers.
    - `zone` is the time zone, None the local one; `version` is that of imq.
    - `workers` are the processes that read layers; None: this one does.
    - `answers` are the lines by which engines said what they did: `Untagged: redis:7`, `Deleted: sha256:…`.
    """

    def __init__(  # noqa: PLR0913 - actions use each of them
        self,
        store: Store,
        *,
        environment: Mapping[str, str],
        progress: Progress,
        clock: Callable[[], int],
        jobs: int,
        lazy: bool,
        indexes_files: bool = False,
        registry_settings: Callable[[], Settings],
        on_network: Callable[[], None] | None = None,
        prompt: Callable[[str, bool], str] | None = None,
        stdin: TextIO | None = None,
        runtime: str = "auto",
        zone: tzinfo | None = None,
        version: str = "",
        workers: LayerWorkers | None = None,
    ) -> None:
        self.store = store
        self.zone = zone
        self.version = version
        self.workers = workers
        self.runtime = runtime
        self.environment = environment
        self.progress = progress
        self.clock = clock
        self.jobs = jobs
        self.lazy = lazy
        self.indexes_files = indexes_files
        self.registry_settings = registry_settings
        self.prompt = prompt
        self.stdin = stdin
        self.answers: list[str] = []
        self._on_network = on_network
        self._client: Client | None = None
        self._mirrors: MirroredClient | None = None
        self._shared: dict[object, object] = {}

    def get_shared(self, factory: Callable[[ExecutionContext], T]) -> T:
        """Return `factory(self)`. It is called once, and its result shared by the actions of the statement."""
        if factory not in self._shared:
            self._shared[factory] = factory(self)
        value: T = self._shared[factory]  # type: ignore[assignment] # stored under its factory
        return value

    def notify_network(self) -> None:
        """Report that requests are about to be sent."""
        if self._on_network is not None:
            self._on_network()

    def get_client(self) -> Client:
        """Return the registry client."""
        if self._client is None:
            self.notify_network()
            from imq.engine.registry.client import Client  # requests is heavy

            self._client = Client(self.registry_settings())
            self._client.mount_sources.find_cached = self._find_repositories
        return self._client

    def get_image_reader(self) -> ImageReader:
        """Return the client that reads images. It uses the mirrors of their registries, if any are configured."""
        client = self.get_client()
        if not client.settings.mirrors:
            return client
        if self._mirrors is None:
            from imq.engine.registry.mirrors import MirroredClient

            self._mirrors = MirroredClient(client)
        return self._mirrors

    def take_mirror_warnings(self) -> list[str]:
        """Return the warnings about mirrors skipped since the last call."""
        if self._mirrors is None:
            return []
        warnings, self._mirrors.warnings = self._mirrors.warnings, []
        return warnings

    def expire_cached_tags(self) -> None:
        """Expire the cached tags of registries. No cache file is created for this."""
        from imq.engine.store.registry_cache import DATABASE

        layout = self.store.layout
        self._open_registry_cache(persistent=layout.exists and layout.root_directory.has_file(DATABASE)).expire_tags()

    def close(self) -> None:
        """Close the clients, and cache which blobs each repository has, as learned from uploads."""
        for value in self._shared.values():
            if callable(close := getattr(value, "close", None)):
                close()
        self._shared.clear()
        if self._mirrors is not None:
            self._mirrors.close()
            self._mirrors = None
        if self._client is not None:
            if self._client.mount_sources.uploaded_manifests:
                self._open_registry_cache(persistent=self.store.layout.exists).add_manifests(
                    self._client.mount_sources.uploaded_manifests
                )
            self._client.close()
            self._client = None

    def _find_repositories(self, registry: str, blobs: Iterable[Digest]) -> dict[Digest, str]:
        """Return repositories of a registry that may have these blobs, from the cache and from the store's images."""
        digests = list(blobs)
        cache = self._open_registry_cache(persistent=self.store.layout.exists)
        return cache.find_repositories(registry, digests) | self.store.find_repositories(registry, digests)

    def _open_registry_cache(self, *, persistent: bool) -> RegistryCache:
        """Open the cache of registry documents. If not `persistent`, it lasts as long as the connection."""
        from imq.engine.store.registry_cache import RegistryCache

        return RegistryCache(self.store.index.connection, self.store.get_cache_layout() if persistent else None)
