"""The table `services`: the services of a swarm, as one of its managers reports them."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import parse_time
from imq.engine.store.index_rows import to_json
from imq.grammar.errors import EngineError, InvalidReference
from imq.grammar.record import TYPE_CHECKING

from .json_documents import read_integer, read_map, read_object, read_objects, read_text
from .table_scan import EngineScan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw

_MODES = {
    "Replicated": ("replicated", "Replicas"),
    "Global": ("global", ""),
    "ReplicatedJob": ("replicated-job", "TotalCompletions"),
    "GlobalJob": ("global-job", ""),
}
"""The mode by its key in a service, and the key of the number of tasks."""


class Services(EngineScan):
    """The rows of `services`."""

    columns = (
        "source", "id", "name", "image", "image_digest", "mode", "replicas", "running", "desired", "ports", "label",
        "created", "updated",
    )  # fmt: skip

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the services of each swarm. An engine that is no manager of one says so."""
        self.create({})
        for source, services in self.reader.each_source(self.sources, self._list_services, self.scan.view):
            self.insert(_service_row(source, service) for service in services)

    def _list_services(self, source: str) -> list[dict[str, Any]]:
        if self.reader.is_podman(source):
            raise EngineError(f"{source} is podman, which manages no swarm", endpoint=source, code="engine-no-swarm")
        services = self.reader.list_documents(source, "services", status="true")
        if all("ServiceStatus" in service for service in services):
            return services
        counts: dict[str, dict[str, int]] = {}  # before API 1.41
        for task in self.reader.list_documents(source, "tasks"):
            own = counts.setdefault(str(task.get("ServiceID")), {"RunningTasks": 0, "DesiredTasks": 0})
            if task.get("DesiredState") == "running":
                own["DesiredTasks"] += 1
                own["RunningTasks"] += read_object(task.get("Status")).get("State") == "running"
        return [service | {"ServiceStatus": counts.get(str(service.get("ID")))} for service in services]


def _normalize_name(text: str) -> str:
    """Return the name of an image as images have it: a service lists it as it was written."""
    try:
        return str(Reference.parse(text).with_default_tag())
    except InvalidReference:
        return text


def _service_row(source: str, service: Mapping[str, Any]) -> tuple[object, ...]:
    spec, status = read_object(service.get("Spec")), read_object(service.get("ServiceStatus"))
    container = read_object(read_object(spec.get("TaskTemplate")).get("ContainerSpec"))
    name, _, digest = (read_text(container.get("Image")) or "").partition("@")
    modes = read_object(spec.get("Mode"))
    mode, count = next((_MODES[key] for key in _MODES if key in modes), (None, ""))
    set_count = next((read_object(modes[key]).get(count) for key in _MODES if key in modes and count), None)
    ports = read_objects(read_object(service.get("Endpoint")).get("Ports"))
    return (
        source, read_text(service.get("ID")), read_text(spec.get("Name")), _normalize_name(name) if name else None,
        digest or None, mode, read_integer(set_count), read_integer(status.get("RunningTasks")),
        read_integer(status.get("DesiredTasks")),
        to_json([f"*:{one.get('PublishedPort')}->{one.get('TargetPort')}/{one.get('Protocol')}" for one in ports]),
        to_json(read_map(spec.get("Labels"))), parse_time(service.get("CreatedAt")),
        parse_time(service.get("UpdatedAt")), None,
    )  # fmt: skip
