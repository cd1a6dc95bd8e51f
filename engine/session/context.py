"""The context of a session: clock, environment, streams, prompts and progress."""

from __future__ import annotations

from imq.engine.catalog.settings import parse_size_setting
from imq.engine.configuration.configuration import Configuration
from imq.engine.progress import NullProgress
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import tzinfo
    from typing import Any, TextIO

    from imq.engine.oci.platform import Platform
    from imq.engine.progress import Progress
    from imq.engine.registry.settings import Settings
    from imq.engine.result import Result, RowSet
    from imq.grammar import ast
    from imq.grammar.errors import ImqError


class SessionContext(Record):
    """The injected context of a session.

    - `root` is the folder of the store.
    - `clock` returns nanoseconds since the epoch. `zone` None is the local time zone.
    - `platform` is selected from an index; None means the platform of this machine.
    - `insecure` are hosts that may be reached without verified TLS.
    - `confirm` shows the plan of a statement and returns whether to execute it; None: every plan is executed.
    - `on_network` is called before the first request of a statement.
    - `output_format` is the format of results without `as`.
    - `reads_all_fields`: queries without `select` have every field, unless they name a format for people.
    - `explains_plans`: plans of removals have the columns `created` and `because`, for a person who reads them.
    - `stdin` is read by `lines of stdin`; None: it is not available.
    - `version` is that of imq, which documents name.
    - `on_assertion` is called after each `assert` with the statement and its outcome: an empty message, the offending
      rows, or the error that kept it from being checked.
    - `dask_client` is a `distributed.Client` of the program, for the setting `workers = client`; None without one.
    - `finds_source`: without a store and a chosen source, statements use an engine of this machine.
    `prompt` asks the user for a value that no statement may contain, such as a password; None: no prompt is possible.
    - `missing_store` is what a query does without a store: `pass` (no rows), `warn` or `refuse`.
    """

    root: str
    environment: Mapping[str, str]
    clock: Callable[[], int]
    zone: tzinfo | None = None
    platform: Platform | None = None
    insecure: frozenset[str] = frozenset()
    progress: Progress = NullProgress()
    confirm: Callable[[RowSet], bool] | None = None
    on_network: Callable[[], None] | None = None
    output_format: str = "table"
    stdin: TextIO | None = None
    configuration: Configuration = Configuration()
    prompt: Callable[[str, bool], str] | None = None
    missing_store: str = "pass"
    finds_source: bool = False
    version: str = ""
    reads_all_fields: bool = False
    explains_plans: bool = False
    on_assertion: Callable[[ast.Assert, Result | ImqError], None] | None = None
    dask_client: Any = None

    def __hash__(self) -> int:
        """Hash by identity: a context holds mappings and functions."""
        return id(self)

    def registry_settings(self, settings: Mapping[str, str]) -> Settings:
        """Return the settings of a registry client, given the settings of the session."""
        return self.configuration.build_client_settings(
            self.environment,
            insecure=self.insecure,
            jobs=int(settings["jobs"]),
            largest_document=parse_size_setting(settings["largest_document"]),
        )
