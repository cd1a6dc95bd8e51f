"""The tables `images`, `layers` and `history` of engines."""

from __future__ import annotations

from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.timestamp import parse_time
from imq.engine.store.index_rows import to_json
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .image_documents import (
    DETAIL_COLUMNS,
    list_names,
    list_steps,
    read_config,
    read_details,
    read_tags,
    seconds_to_time,
)
from .table_scan import EngineScan
from .tables import IMAGE_DETAILS, LAST_USE, USERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

    from .reader import EngineReader


def list_images(reader: EngineReader, source: str) -> list[dict[str, Any]]:
    """Return the listing of an engine's images. Intermediate images of the classic builder are not in it."""
    return reader.list_documents(source, "images/json")


def list_containers(reader: EngineReader, source: str) -> list[dict[str, Any]]:
    """Return the listing of an engine's containers, running or not."""
    return reader.list_documents(source, "containers/json", all="1")


class Images(EngineScan):
    """The rows of `images`."""

    columns = (
        "_lookup", "source", "id", "created", "size", "label", "dangling",
        "name", "registry", "repository", "tag", "digest",
    )  # fmt: skip
    fetched_columns = ("in_use", "containers", *DETAIL_COLUMNS, "last_used", "shared_size", "unique_size")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the names of all images, or of those whose IDs are looked up."""
        self.create({})
        wanted: dict[str, set[str]] = {}
        for source, id_ in self.group_lookups(names):
            wanted.setdefault(source, set()).add(id_)
        sources = tuple(wanted) if self.scan.lookup_fields else self.sources
        listings = self.reader.each_source(sources, lambda source: list_images(self.reader, source), self.scan.view)
        for source, items in listings:
            ids = wanted.get(source) if self.scan.lookup_fields else None
            self.insert(
                row for item in items if ids is None or item.get("Id") in ids for row in _image_rows(item, source)
            )

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the fields of a level for the chosen rows."""
        if request.level is USERS:
            self._fetch_users()
        elif request.level is IMAGE_DETAILS:
            self._fetch_details()
        elif request.level is LAST_USE:
            self._fetch_last_use()
        else:
            self._fetch_sizes()

    def _fetch_users(self) -> None:
        for source, containers in self.fetch_from_engines(lambda source: list_containers(self.reader, source)):
            counts: dict[str, int] = {}
            for container in containers:
                id_ = str(container.get("ImageID") or "")
                counts[id_] = counts.get(id_, 0) + 1
            ids = {str(id_) for (id_,) in self.chosen_by_source()[source]}
            self.update(("in_use", "containers"), ((id_ in counts, counts.get(id_, 0), source, id_) for id_ in ids))

    def _fetch_details(self) -> None:
        images = [
            (source, str(id_)) for source, ids in self.chosen_by_source().items() for id_ in dict.fromkeys(sum(ids, ()))
        ]
        rows, failed = [], []
        for (source, id_), document in self.reader.each_item(images, lambda one: self.reader.inspect_image(*one)):
            if isinstance(document, ImqError):
                failed.append((self.reader.add_problem(document, id_, self.scan.view), source, id_))
            else:
                rows.append((*read_details(document), source, id_))
        self.update(DETAIL_COLUMNS, rows)
        self.update(("problem",), failed)

    def _fetch_last_use(self) -> None:
        """Fetch when the containers of the chosen images last ran: now, for a running one."""
        for source, containers in self.fetch_from_engines(lambda source: list_containers(self.reader, source)):
            ids = {str(id_) for (id_,) in self.chosen_by_source()[source]}
            users = [(source, str(one.get("Id"))) for one in containers if one.get("ImageID") in ids]
            last: dict[str, int] = {}
            for _, document in self.reader.each_item(users, lambda one: self.reader.inspect_container(*one)):
                if isinstance(document, ImqError):
                    continue  # it was removed in the meantime
                id_, used = str(document.get("Image")), last_use_of(document, self.reader.now())
                last[id_] = max(last.get(id_, 0), used or 0)
            self.update(("last_used",), ((used or None, source, id_) for id_, used in last.items()))

    def _fetch_sizes(self) -> None:
        def disk_usage(source: str) -> Mapping[str, Any]:
            document: Mapping[str, Any] = self.reader.get_document(source, "system/df", type="image")
            return document

        for source, usage in self.fetch_from_engines(disk_usage):
            rows = []
            for image in usage.get("Images") or ():
                shared, size = image.get("SharedSize", -1), image.get("Size", -1)
                is_known = isinstance(shared, int) and shared >= 0
                rows.append((shared if is_known else None, size - shared if is_known else None, source, image["Id"]))
            self.update(("shared_size", "unique_size"), rows)


def last_use_of(container: Mapping[str, Any], now: int) -> int | None:
    """Return when an inspected container last used its image: now while it runs, else when it stopped or was made."""
    state = container.get("State") or {}
    if state.get("Running"):
        return now
    times = (
        parse_time(state.get("FinishedAt")),
        parse_time(state.get("StartedAt")),
        parse_time(container.get("Created")),
    )
    return max((time for time in times if time is not None), default=None)


def _image_rows(item: Mapping[str, Any], source: str) -> Iterator[tuple[Raw, ...]]:
    size = item.get("Size")
    labels = to_json(item.get("Labels") or {})
    common = (
        item["Id"], source, item["Id"], seconds_to_time(item.get("Created")), size if isinstance(size, int) else None,
        labels, not read_tags(item),
    )  # fmt: skip
    for names in list_names(item):
        yield (*common, *names, None)


class Layers(EngineScan):
    """The rows of `layers`, of inspected images. The sizes and commands come from the history."""

    columns = (
        "_lookup", "source", "image", "index", "diff_id", "chain_id", "size", "created", "created_by", "images",
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the layers of all images, of those whose IDs are looked up, or of those behind `of`."""
        self.create({})
        rows = [row for image in list_inspected(self, names) for row in self._rows_of(*image)]
        users: dict[tuple[Raw, Raw], set[Raw]] = {}
        for row in rows:
            users.setdefault((row[1], row[5]), set()).add(row[2])
        self.insert((*row, len(users[row[1], row[5]]), None) for row in rows)

    def _rows_of(self, source: str, name: str, image: Mapping[str, Any]) -> Iterator[tuple[Raw, ...]]:
        diff_ids = read_config(image).diff_ids
        steps = list_steps(read_history(self, source, image), len(diff_ids))
        made = {position: step for step, position in steps if position is not None}
        for position, (diff_id, chain_id) in enumerate(zip(diff_ids, compute_chain_ids(diff_ids), strict=True)):
            step = made.get(position, {})
            created, command = seconds_to_time(step.get("Created")), step.get("CreatedBy") or None
            yield name, source, image["Id"], position, diff_id, chain_id, step.get("Size"), created, command


class History(EngineScan):
    """The rows of `history`, the steps of the build."""

    columns = (
        "_lookup", "source", "image", "index", "created", "created_by", "size", "empty", "comment",
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the steps of all images, of those whose IDs are looked up, or of those behind `of`."""
        self.create({})
        self.insert(row for image in list_inspected(self, names) for row in self._rows_of(*image))

    def _rows_of(self, source: str, name: str, image: Mapping[str, Any]) -> Iterator[tuple[Raw, ...]]:
        steps = list_steps(read_history(self, source, image), len(read_config(image).diff_ids))
        knows = any(layer is not None for _, layer in steps)
        for position, (step, layer) in enumerate(steps):
            created, comment = seconds_to_time(step.get("Created")), step.get("Comment") or None
            size, command = step.get("Size"), step.get("CreatedBy") or None
            empty = layer is None if knows or not size else None
            yield name, source, image["Id"], position, created, command, size, empty, comment, None


def list_inspected(scan: EngineScan, names: Sequence[tuple[Raw, ...]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield engine, name and inspected image of the images of a scan: all of its engines when it names none."""
    if names or scan.scan.targets or scan.scan.lookup_fields or scan.scan.has_target_queries:
        yield from scan.inspect_targets(names)
        return
    reader = scan.reader
    listings = reader.each_source(scan.sources, lambda source: list_images(reader, source), scan.scan.view)
    ids = [(source, str(item["Id"])) for source, items in listings for item in items]
    for (source, id_), document in reader.each_item(ids, lambda one: reader.inspect_image(*one)):
        if isinstance(document, ImqError):
            reader.add_problem(document, id_, scan.scan.view)
        else:
            yield source, id_, document


def read_history(scan: EngineScan, source: str, image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of an image's build, last step first; none, with a problem, when the image has gone."""
    try:
        return scan.reader.list_documents(source, f"images/{image['Id']}/history")
    except ImqError as error:
        scan.reader.add_problem(error, str(image["Id"]), scan.scan.view)
        return []
