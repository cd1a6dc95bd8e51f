"""The table `mounts` of engines: containers are listed, and each is replaced by its mounts."""

from __future__ import annotations

from imq.engine.sources.mount_rows import MOUNT_COLUMNS, list_mounts
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .container_rows import ContainerRowsScan

if TYPE_CHECKING:
    from imq.engine.query.source import FetchRequest


class Mounts(ContainerRowsScan):
    """The rows of `mounts`. A listing of containers has no tmpfs of the flag `--tmpfs`: each is inspected."""

    row_columns = MOUNT_COLUMNS

    def fetch(self, _request: FetchRequest, /) -> None:
        """Replace the chosen containers by their mounts."""
        containers = self.choose_containers()
        for container, document in self.reader.each_item(
            containers, lambda one: self.reader.inspect_container(str(one[2]), str(one[4]))
        ):
            if isinstance(document, ImqError):
                self.report_failure(container, document, "the mounts of", len(containers))
            else:
                self.insert((*container[1:], 0, *mount, None) for mount in list_mounts(document))
            self.drop_container(container)
