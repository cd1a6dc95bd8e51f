"""Actions: what a statement will do, as frozen data, and what actions are planned and executed with.

A verb plans a list of actions. Dry run, confirmation and execution look at the same list. Sources may define actions of
their own, which is why this module stands below `engine/actions/`.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol, TextIO, TypeVar

    from imq.engine.configuration.configuration import Registry
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.platform import Platform
    from imq.engine.progress import Progress
    from imq.engine.query import ir
    from imq.engine.query.binder import Scope
    from imq.engine.query.source import Sources
    from imq.engine.registry.client import Client
    from imq.engine.registry.mirrors import ImageReader, MirroredClient
    from imq.engine.registry.settings import Settings
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
    """The result of an action, or its description in a plan: one row of `OUTCOMES`.

    `size` is the number of bytes freed, fetched or written. An action with an `error` changed nothing.
    """

    action: str
    target: str
    image: Digest | None = None
    size: int | None = None
    note: str | None = None
    error: ImqError | None = None

    def row(self) -> tuple[str | int | None, ...]:
        """Return the outcome as a row of `OUTCOMES`."""
        code, message = (self.error.code, self.error.message) if self.error is not None else (None, None)
        return self.action, self.target, self.image, self.size, self.note, code, message

    def with_error(self, error: ImqError) -> Outcome:
        """Return the outcome of the described action when it failed with `error`."""
        return Outcome(self.action, self.target, self.image, error=error)


OUTCOMES = Table(
    "outcomes",
    "What an action did, or (dry run) would do: one row for each thing.",
    (
        Field("action", DataType.TEXT, "what was done"),
        Field("target", DataType.TEXT, "to what"),
        Field("image", DataType.DIGEST, "the id of the image", title="IMAGE ID"),
        Field("size", DataType.SIZE, "bytes freed, fetched or written"),
        Field("note", DataType.TEXT, "a remark"),
        Field("error", DataType.TEXT, "the code of what went wrong"),
        Field("message", DataType.TEXT, "what went wrong"),
    ),
    default_columns=("action", "target", "image", "size"),
    order=(),
)


class Action(Protocol):
    """One thing that a statement will do."""

    def describe(self) -> Outcome:
        """Return how the action is listed before it is executed."""

    def execute(self, context: ExecutionContext, /) -> Iterator[Outcome]:
        """Execute the action and yield its outcomes. Raises `ImqError` when it fails."""


class BatchedAction(Record):
    """An action that is executed together with the consecutive actions of its kind.

    Two actions are of one kind when their classes have the same `execute_batch`.
    """

    def describe(self) -> Outcome:
        """Return how the action is listed before it is executed."""
        raise NotImplementedError

    @staticmethod
    def execute_batch(actions: Sequence[Any], context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the actions together and yield the outcome of each, failures included."""
        raise NotImplementedError

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Execute the action as a batch of one."""
        return self.execute_batch((self,), context)


class StoreAction(BatchedAction):
    """A change of names or images of the store. Consecutive ones are one transaction: all of them, or none."""

    def apply(self, transaction: Transaction, now: int) -> Outcome:
        """Apply the action; raises `NotFound` (code `changed`) when the store has changed since it was planned."""
        raise NotImplementedError

    @staticmethod
    def execute_batch(actions: Sequence[StoreAction], context: ExecutionContext) -> Iterator[Outcome]:
        """Apply the actions in one transaction. An action that fails does not stop the others."""
        outcomes: list[Outcome] = []
        now = context.clock()
        with context.store.start_transaction() as transaction:
            for number, action in enumerate(actions):
                described = action.describe()
                context.progress.count(described.action, number, len(actions))
                try:
                    outcomes.append(action.apply(transaction, now))
                except ImqError as error:
                    outcomes.append(described.with_error(error))
        if transaction.collection_error is not None:
            context.progress.warn(transaction.collection_error.message)
        yield from outcomes


class RegistryWrite(Record):
    """An action after which a tag of a registry may name another manifest, so cached tags expire."""


class Skip(Record):
    """Leave an image or a file as it is, for the reason `reason`. This is no failure."""

    name: str
    id: Digest
    reason: str

    def describe(self) -> Outcome:
        """Return the image or file with the reason."""
        return Outcome("stay", self.name, self.id, note=self.reason)

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        """Do nothing."""
        yield self.describe()


class Failed(Record):
    """A part of a statement that cannot be executed. The other parts are executed; this is listed beside them."""

    verb: str
    target: str
    error: ImqError

    def describe(self) -> Outcome:
        """Return the error as an outcome."""
        return Outcome(self.verb, self.target, error=self.error)

    def execute(self, _context: ExecutionContext) -> Iterator[Outcome]:
        """Do nothing but report the error."""
        yield self.describe()


class PlanContext(Record):
    """What verbs plan with.

    `literals` evaluates operands to strings. `bind` resolves the names of a query. `rows` runs a query about the rows
    that the verb works on; the hidden columns follow the selected ones. A request that fails for one of these rows is a
    failure of the statement. `lookup` runs a query about other rows, where it is none. Relative paths begin at
    `folder`. `registry` finds a registry of the configuration by its name.
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


class ExecutionContext:
    """What the actions of one statement are executed with. Clients are opened when an action first needs one.

    `jobs` is the number of layers that are transferred or unpacked at once. With `lazily` a pull does not unpack
    layers. `registry_settings` makes the settings of the registry client. `on_network` is called before the first
    request. `prompt` asks the user for a string: its arguments are the prompt, and whether the input is hidden.
    """

    def __init__(  # noqa: PLR0913 - each is something that actions work with
        self,
        store: Store,
        *,
        environment: Mapping[str, str],
        progress: Progress,
        clock: Callable[[], int],
        jobs: int,
        lazily: bool,
        registry_settings: Callable[[], Settings],
        on_network: Callable[[], None] | None = None,
        prompt: Callable[[str, bool], str] | None = None,
        stdin: TextIO | None = None,
    ) -> None:
        self.store = store
        self.environment = environment
        self.progress = progress
        self.clock = clock
        self.jobs = jobs
        self.lazily = lazily
        self.registry_settings = registry_settings
        self.prompt = prompt
        self.stdin = stdin
        self._on_network = on_network
        self._client: Client | None = None
        self._mirrors: MirroredClient | None = None
        self._shared: dict[object, object] = {}

    def shared(self, factory: Callable[[ExecutionContext], T]) -> T:
        """Return what `factory` makes of this context. It is made once and shared by the actions of the statement."""
        if factory not in self._shared:
            self._shared[factory] = factory(self)
        value: T = self._shared[factory]  # type: ignore[assignment] # stored under its factory
        return value

    def notify_network(self) -> None:
        """Report that requests are about to be sent."""
        if self._on_network is not None:
            self._on_network()

    def client(self) -> Client:
        """Return the registry client."""
        if self._client is None:
            self.notify_network()
            from imq.engine.registry.client import Client  # requests is heavy

            self._client = Client(self.registry_settings())
            self._client.mount_sources.find_cached = self._repositories_with
        return self._client

    def image_reader(self) -> ImageReader:
        """Return the client that reads images: by way of the mirrors of their registries, if any are configured."""
        client = self.client()
        if not client.settings.mirrors:
            return client
        if self._mirrors is None:
            from imq.engine.registry.mirrors import MirroredClient

            self._mirrors = MirroredClient(client)
        return self._mirrors

    def take_mirror_warnings(self) -> list[str]:
        """Return the warnings about mirrors that were skipped since the last call."""
        if self._mirrors is None:
            return []
        warnings, self._mirrors.warnings = self._mirrors.warnings, []
        return warnings

    def expire_cached_tags(self) -> None:
        """Expire the cached tags of registries. Without a cache file none is made."""
        from imq.engine.store.registry_cache import DATABASE

        layout = self.store.layout
        self._registry_cache(persistent=layout.exists and layout.root_directory.has_file(DATABASE)).expire_tags()

    def close(self) -> None:
        """Close the clients, and store which repositories were seen to have which blobs."""
        self._shared.clear()
        if self._mirrors is not None:
            self._mirrors.close()
            self._mirrors = None
        if self._client is not None:
            if self._client.mount_sources.uploaded_manifests:
                self._registry_cache(persistent=self.store.layout.exists).add_manifests(
                    self._client.mount_sources.uploaded_manifests
                )
            self._client.close()
            self._client = None

    def _repositories_with(self, registry: str, blobs: Iterable[Digest]) -> dict[Digest, str]:
        """Return repositories of a registry that may have these blobs: by the cache, and by the images of the store."""
        digests = list(blobs)
        cache = self._registry_cache(persistent=self.store.layout.exists)
        return cache.find_repositories(registry, digests) | self.store.find_repositories(registry, digests)

    def _registry_cache(self, *, persistent: bool) -> RegistryCache:
        """Return the cache of registry documents; one that is not `persistent` lasts as long as the connection."""
        from imq.engine.store.registry_cache import RegistryCache

        return RegistryCache(self.store.index.connection, self.store.get_cache_layout() if persistent else None)
