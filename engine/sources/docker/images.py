"""The tables `images`, `layers` and `history` of engines."""

from __future__ import annotations

from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.timestamp import parse_time
from imq.engine.sources.scan_rows import ScanRows
from imq.engine.store.index_rows import replace_surrogates, to_json
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .image_documents import (
    DETAIL_COLUMNS,
    list_names,
    list_steps,
    read_config,
    read_tags,
    seconds_to_time,
)
from .json_documents import read_image_id, read_integer, read_map, read_object, read_objects, read_text
from .layer_sizes import LayerSizes, count_users
from .manifests import choose_manifest, list_manifests
from .podman_documents import BUILD_STATE
from .table_scan import EngineScan
from .tables import IMAGE_BASES, IMAGE_DETAILS, IMAGE_MANIFESTS, LAST_USE, USERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.platform import Platform
    from imq.engine.query.source import FetchRequest


class Images(EngineScan):
    """The rows of `images`."""

    columns = (
        "_lookup", "source", "id", "created", "size", "label", "dangling",
        "name", "registry", "repository", "tag", "digest",
    )  # fmt: skip
    fetched_columns = (
        "in_use", "containers", *DETAIL_COLUMNS, "manifest_digest", "download_size", "base_chain_id", "last_used",
        "shared_size", "unique_size",
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the names of all images, or of those whose IDs are looked up."""
        self.create({})
        requested: dict[str, set[str]] = {}
        for source, id_ in self.group_lookups(names):
            requested.setdefault(source, set()).add(id_)
        sources = tuple(requested) if self.scan.lookup_fields else self.sources
        for source, rows in self.list_from_engines(sources, self._list_image_rows):
            ids = requested.get(source) if self.scan.lookup_fields else None
            ScanRows.insert(self, rows if ids is None else (row for row in rows if row[0] in ids))

    def _list_image_rows(self, source: str) -> Sequence[tuple[Raw, ...]]:
        """Return the rows of all images of an engine, which several scans of a statement can have."""

        def make_rows() -> list[tuple[Raw, ...]]:
            images = self.reader.list_images(source)
            return [replace_surrogates(row) for image in images for row in _image_rows(image, source)]

        return self.reader.keep(source, "rows of images", make_rows)

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the fields of a level for the chosen rows."""
        if request.level is USERS:
            self._fetch_users()
        elif request.level is IMAGE_DETAILS:
            self._fetch_details()
        elif request.level is IMAGE_MANIFESTS:
            self._fetch_manifests()
        elif request.level is LAST_USE:
            self._fetch_last_use()
        elif request.level is IMAGE_BASES:
            self._fetch_bases()
        else:
            self._fetch_sizes()

    def _fetch_users(self) -> None:
        for source, containers in self.fetch_from_engines(self.reader.list_containers):
            counts: dict[str, int] = {}
            for container in containers:
                counts[container["ImageID"]] = counts.get(container["ImageID"], 0) + 1
            ids = {str(id_) for (id_,) in self.chosen_by_source()[source]}
            self.update(("in_use", "containers"), ((id_ in counts, counts.get(id_, 0), source, id_) for id_ in ids))

    def _fetch_details(self) -> None:
        images = [(source, str(id_)) for source, ids in self.chosen_by_source().items() for (id_,) in ids]
        details, errors = self._read_details(images)
        self.update(DETAIL_COLUMNS, ((*values, *one) for one, values in details.items()))
        failed = [(self.add_row_problem(error, *one), *one) for one, error in errors.items()]
        self.update(("problem",), failed)

    def _read_details(
        self, images: Sequence[tuple[str, str]]
    ) -> tuple[dict[tuple[str, str], tuple[Raw, ...]], dict[tuple[str, str], ImqError]]:
        """Return the details of images, given by engine and ID, and the errors of those that cannot be read."""
        images = list(dict.fromkeys(images))
        details = {one: known for one in images if (known := self.reader.find_details(*one)) is not None}
        errors = {}
        new = [one for one in images if one not in details]
        for one, result in self.reader.each_item(new, lambda one: self.reader.read_details(*one)):
            if isinstance(result, ImqError):
                errors[one] = result
            else:
                details[one] = result
        return details, errors

    def _fetch_manifests(self) -> None:
        """Fetch the manifests for the platforms that the engine shows; they are unknown when it lists none."""
        for source, manifests in self.fetch_from_engines(lambda source: list_manifests(self.reader, source)):
            ids = [str(id_) for (id_,) in dict.fromkeys(self.chosen_by_source()[source])]
            chosen = {id_: choose_manifest((manifests or {}).get(id_, ()), None) for id_ in ids}
            several = [(source, id_) for id_ in ids if chosen[id_] is None and (manifests or {}).get(id_)]
            for (_, id_), platform in self.reader.each_item(several, lambda one: self._read_platform(*one)):
                if isinstance(platform, ImqError):
                    self.update(("problem",), [(self.add_row_problem(platform, source, id_), source, id_)])
                else:
                    chosen[id_] = choose_manifest((manifests or {})[id_], platform)
            self.update(
                ("manifest_digest", "download_size"),
                ((one.digest, one.download_size, source, id_) for id_, one in chosen.items() if one is not None),
            )

    def _read_platform(self, source: str, id_: str) -> Platform:
        return read_config(self.reader.inspect_image(source, id_)).platform

    def _fetch_bases(self) -> None:
        """Fetch the layers of all images of the engines of the chosen rows. An image that has gone is no base.

        One that cannot be read may be the base of any row: each row has the problem then.
        """
        for source, listed in self.fetch_from_engines(self.reader.list_images):
            details, errors = self._read_details([(source, image["Id"]) for image in listed])
            failed = [(one, error) for one, error in errors.items() if not isinstance(error, NotFound)]
            for (_, id_), error in failed:
                problem = self.reader.add_problem(error, id_, self.scan.view)
                rows = self.chosen_by_source()[source]
                self.update(("problem",), ((problem, source, chosen) for (chosen,) in rows))
            chain, chains = DETAIL_COLUMNS.index("chain_id"), DETAIL_COLUMNS.index("chain_ids")
            self.set_bases((*one, values[chain], values[chains]) for one, values in details.items())

    def _fetch_last_use(self) -> None:
        """Fetch when the containers of the chosen images last ran: now, for a running one."""
        for source, containers in self.fetch_from_engines(self.reader.list_containers):
            ids = {str(id_) for (id_,) in self.chosen_by_source()[source]}
            users = [(source, one) for one in containers if one["ImageID"] in ids]
            last: dict[str, int] = {}
            failed: dict[str, str] = {}
            for (_, container), result in self.reader.each_item(users, lambda one: self._last_use_of(*one)):
                id_ = container["ImageID"]
                if isinstance(result, ImqError):
                    failed[id_] = self.add_row_problem(result, source, id_)
                else:
                    last[id_] = max(last.get(id_, 0), result or 0)
            self.update(("last_used",), ((used or None, source, id_) for id_, used in last.items()))
            self.update(("problem",), ((problem, source, id_) for id_, problem in failed.items()))

    def _last_use_of(self, source: str, container: Mapping[str, Any]) -> int | None:
        """Return when a listed container last used its image: the time of its creation when it has gone since."""
        if container.get("State") != BUILD_STATE:
            try:
                return last_use_of(self.reader.inspect_container(source, container["Id"]), self.reader.now())
            except NotFound:
                pass
        return seconds_to_time(container.get("Created"))

    def _fetch_sizes(self) -> None:
        for source, sizes in self.fetch_from_engines(self._measure):
            self.update(("shared_size", "unique_size"), ((*pair, source, id_) for id_, pair in sizes.items()))

    def _measure(self, source: str) -> dict[str, tuple[int | None, int | None]]:
        """Return the shared and the unique size of each image of an engine."""
        if self.reader.is_podman(source):  # its own figures do not count shared layers
            return LayerSizes(self.reader, source).split_sizes()
        usage = self.reader.get_disk_usage(source, type="image")
        sizes = {}
        for image in read_objects(usage.get("Images")):
            id_, shared, size = read_image_id(image.get("Id")), image.get("SharedSize"), image.get("Size")
            shared, size = read_integer(shared), read_integer(size)
            if id_ is not None:
                sizes[id_] = (shared, None if shared is None or size is None else max(size - shared, 0))
        return sizes


def last_use_of(container: Mapping[str, Any], now: int) -> int | None:
    """Return when an inspected container last used its image: now while it runs, else when it stopped or was made."""
    state = read_object(container.get("State"))
    if state.get("Running") is True:
        return now
    times = (
        parse_time(state.get("FinishedAt")),
        parse_time(state.get("StartedAt")),
        parse_time(container.get("Created")),
    )
    return max((time for time in times if time is not None), default=None)


def _image_rows(item: Mapping[str, Any], source: str) -> Iterator[tuple[Raw, ...]]:
    common = (
        item["Id"], source, item["Id"], seconds_to_time(item.get("Created")), read_integer(item.get("Size")),
        to_json(read_map(item.get("Labels"))), not read_tags(item) and not item.get("Intermediate"),
    )  # fmt: skip
    for names in list_names(item):
        yield (*common, *names, None)


class Layers(EngineScan):
    """The rows of `layers`, of inspected images. The sizes and commands come from the history."""

    columns = ("_lookup", "source", "image", "index", "diff_id", "chain_id", "size", "created", "created_by")
    fetched_columns = ("images",)

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the layers of all images, of those whose IDs are looked up, or of those behind `of`."""
        self.create({})
        for image in list_inspected(self, names):
            self.insert(self._rows_of(*image))

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the number of images with each of the chosen layers."""
        for source, counts in self.fetch_from_engines(lambda source: count_users(self.reader, source)):
            rows = dict.fromkeys(self.chosen_by_source("diff_id")[source])
            self.update(("images",), ((counts.get(str(layer)), source, layer) for (layer,) in rows), key="diff_id")

    def _rows_of(self, source: str, name: str, image: Mapping[str, Any]) -> Iterator[tuple[Raw, ...]]:
        diff_ids = read_config(image).diff_ids
        steps = list_steps(read_history(self, source, image), len(diff_ids))
        made = {position: step for step, position in steps if position is not None}
        for position, (diff_id, chain_id) in enumerate(zip(diff_ids, compute_chain_ids(diff_ids), strict=True)):
            step = made.get(position, {})
            created, command = seconds_to_time(step.get("Created")), read_text(step.get("CreatedBy"))
            size = read_integer(step.get("Size"))
            yield name, source, image["Id"], position, diff_id, chain_id, size, created, command, None


class History(EngineScan):
    """The rows of `history`, the steps of the build."""

    columns = (
        "_lookup", "source", "image", "index", "created", "created_by", "size", "empty", "comment", "step",
    )  # fmt: skip

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the steps of all images, of those whose IDs are looked up, or of those behind `of`."""
        self.create({})
        for image in list_inspected(self, names):
            self.insert(self._rows_of(*image))

    def _rows_of(self, source: str, name: str, image: Mapping[str, Any]) -> Iterator[tuple[Raw, ...]]:
        steps = list_steps(read_history(self, source, image), len(read_config(image).diff_ids))
        knows = any(layer is not None for _, layer in steps)
        for position, (step, layer) in enumerate(steps):
            created, comment = seconds_to_time(step.get("Created")), read_text(step.get("Comment"))
            size, command = read_integer(step.get("Size")), read_text(step.get("CreatedBy"))
            empty = layer is None if knows or not size else None
            own = read_image_id(step.get("Id"))  # `<missing>` for a step of an image that was pulled or loaded
            yield name, source, image["Id"], position, created, command, size, empty, comment, own, None


def list_inspected(scan: EngineScan, names: Sequence[tuple[Raw, ...]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield engine, name and inspected image of the images of a scan: all of its engines when it names none.

    An image whose config is malformed is a problem.
    """
    for source, name, document in _list_documents(scan, names):
        try:
            read_config(document)
        except ImqError as error:
            scan.reader.add_problem(error, document["Id"], scan.scan.view)
        else:
            yield source, name, document


def _list_documents(scan: EngineScan, names: Sequence[tuple[Raw, ...]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if names or scan.scan.targets or scan.scan.lookup_fields or scan.scan.has_target_queries:
        yield from scan.inspect_targets(names)
        return
    reader = scan.reader
    listings = reader.each_source(scan.sources, reader.list_images, scan.scan.view)
    ids = [(source, item["Id"]) for source, items in listings for item in items]
    for (source, id_), document in reader.each_item(ids, lambda one: reader.inspect_image(*one)):
        if isinstance(document, ImqError):
            reader.add_problem(document, id_, scan.scan.view)
        else:
            yield source, id_, document


def read_history(scan: EngineScan, source: str, image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of an image's build, last step first; none, with a problem, when the image has gone."""
    try:
        return scan.reader.list_history(source, image["Id"])
    except ImqError as error:
        scan.reader.add_problem(error, image["Id"], scan.scan.view)
        return []
