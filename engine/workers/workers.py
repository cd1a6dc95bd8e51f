"""The workers of a session, by its setting `workers`."""

from __future__ import annotations

from urllib.parse import quote

from imq.engine.catalog.settings import CLIENT, DASK_SCHEMES
from imq.engine.layer_index.schema import SCAN_VERSION
from imq.engine.sources.contents.protocol import LayerResult
from imq.engine.units.urls import get_file_path
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .dispatcher import Dispatcher
from .locations import get_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from imq.engine.progress import Progress
    from imq.engine.registry.settings import Settings
    from imq.engine.sources.contents.protocol import LayerTask

    from .dask_cluster import DaskCluster
    from .local_processes import LocalProcesses
_DENIED = frozenset({"unauthorized", "denied"})
_OWN_CREDENTIALS = (
    "workers use their own credentials, never those of this machine: log in where they run, or mount a config.json"
)


class Workers:
    """Implements `LayerWorkers`. They are started, or connected to, when a statement first needs them.

    `setting` is a number of processes or the URL of a scheduler; with a `client` of Dask that is used instead.
    `settings` are those of the client of registries. `host_limit` is the number of layers of one registry that are read
    at once. `cache` is the URL of the shared cache of indexes, or "". `shared` maps folders to the URLs at which
    workers read them.
    """

    def __init__(
        self,
        setting: str,
        settings: Settings,
        environment: Mapping[str, str],
        progress: Progress,
        client: Any = None,
        shared: Mapping[str, str] | None = None,
    ) -> None:
        self.setting = setting
        self._settings = settings
        self._environment = environment
        self._progress = progress
        self._client = client
        self._shared = dict(shared or {})
        self._backend: LocalProcesses | DaskCluster | None = None
        self.host_limit = 1
        self.cache = ""

    def _open(self) -> LocalProcesses | DaskCluster:
        if self._backend is None:
            if self.setting.isdecimal():
                from .local_processes import LocalProcesses

                self._backend = LocalProcesses(int(self.setting), self._environment, self._settings)
            else:
                from .dask_cluster import DaskCluster, connect

                client = self._client
                if client is None:
                    scheme, _, address = self.setting.partition("://")
                    client = connect(f"{DASK_SCHEMES[scheme]}://{address}", self.setting)
                self._backend = DaskCluster(client, self.describe(), self._progress.warn, owned=self._client is None)
        return self._backend

    def run(self, tasks: Iterable[LayerTask], folder: str) -> Iterator[tuple[LayerTask, LayerResult | ImqError]]:
        """Yield each task with its result or its error."""
        dispatcher = Dispatcher(self._open(), self.host_limit, self._settings.longest_wait)
        outcomes = dispatcher.run((task, self._encode(task, folder)) for task in tasks)
        try:
            for task, outcome in outcomes:
                if isinstance(outcome, ImqError):
                    if outcome.code in _DENIED and not self.setting.isdecimal():
                        outcome.hints = (_OWN_CREDENTIALS, *outcome.hints)
                    yield task, outcome
                else:
                    yield task, LayerResult(outcome.document, outcome.content)
        finally:
            outcomes.close()  # type: ignore[attr-defined] # it is a generator

    def _encode(self, task: LayerTask, folder: str) -> dict[str, Any]:
        """Return the JSON document that a worker gets. No credential is in it."""
        hosts = {host for location in task.place.locations if (host := get_host(location))}
        descriptor = task.place.descriptor
        return {
            "kind": task.kind,
            "version": SCAN_VERSION,
            "diffId": str(task.diff_id),
            "descriptor": {
                "mediaType": descriptor.media_type,
                "digest": str(descriptor.digest),
                "size": descriptor.size,
            },
            "locations": [place for one in task.place.locations for place in self._list_shared(one)],
            "insecure": sorted(host for host in hosts if self._settings.is_insecure(host)),
            "indexCache": self.cache,
            "folder": folder,
            "sharesFolder": True,
            **task.body,
        }

    def _list_shared(self, location: str) -> list[str]:
        """Return the URLs of a location: that of the shared folder it is in, and its own."""
        path = get_file_path(location)
        if path is None or not self._shared:
            return [location]
        urls = [
            url + quote(path[len(folder) :]) for folder, url in self._shared.items() if path.startswith(f"{folder}/")
        ]
        return [*urls, location]

    @property
    def is_remote(self) -> bool:
        """Whether results come over a network."""
        return not self.setting.isdecimal()

    def describe(self) -> str:
        """Return the setting in words."""
        if self.setting.isdecimal():
            return f"{self.setting} process{'' if self.setting == '1' else 'es'} of this machine"
        return "the Dask client of the program" if self.setting == CLIENT else self.setting

    def close(self) -> None:
        """End the processes, or the connection to the scheduler."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None
