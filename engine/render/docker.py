"""Docker's output: its tables, its placeholders and its JSON.

Docker formats every value as a string and truncates IDs to 12 digits by default. It aligns with Go's tabwriter: a
column is as wide as its widest cell plus three blanks, and at least ten. The last cell of a line is not padded.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, casefold_name
from imq.engine.oci.timestamp import format_time
from imq.engine.units.size import human_size_exact
from imq.grammar.display_width import display_width
from imq.grammar.record import TYPE_CHECKING, Record

from .text_table import COLUMN_GAP, MIN_COLUMN_WIDTH, measure_columns, replace_controls
from .values import FORMATTERS, format_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import RowSet

    from .values import DisplayOptions

MISSING_ID = "<missing>"
"""The id of a build step without an image of its own."""
_MAX_COMMAND_WIDTH = 45
_NOT_APPLICABLE = "N/A"


class Placeholder(Record):
    """A placeholder of docker: its key, its column title, and the formatter of a row's values."""

    key: str
    title: str
    format: Callable[[Mapping[str, Raw], DisplayOptions], str]


def _make_formatter(
    field: str, formatter: Callable[[Raw, DisplayOptions], str]
) -> Callable[[Mapping[str, Raw], DisplayOptions], str]:
    return lambda values, options: formatter(values.get(field), options)


def _make_style_formatter(field: str, style: str) -> Callable[[Mapping[str, Raw], DisplayOptions], str]:
    return lambda values, options: str(FORMATTERS[style](values.get(field), options))


def _format_not_applicable(_values: Mapping[str, Raw], _options: DisplayOptions) -> str:
    return _NOT_APPLICABLE


def _format_id(raw: Raw, options: DisplayOptions) -> str:
    return format_value(DataType.DIGEST, raw, options)


def _format_exact_size(raw: Raw, _options: DisplayOptions) -> str:
    return _NOT_APPLICABLE if raw is None else human_size_exact(int(raw))


def _format_reclaimable(values: Mapping[str, Raw], options: DisplayOptions) -> str:
    """Return the reclaimable bytes and their percentage, which docker omits for the build cache."""
    reclaimable, size = values.get("reclaimable"), values.get("size")
    size_text = _format_exact_size(reclaimable, options)
    if not size or reclaimable is None or values.get("type") == "Build Cache":
        return size_text
    return f"{size_text} ({int(reclaimable) * 100 // int(size)}%)"


def _format_plain(raw: Raw, _options: DisplayOptions) -> str:
    return "" if raw is None else str(raw)


def _format_step_id(raw: Raw, options: DisplayOptions) -> str:
    return MISSING_ID if raw is None else format_value(DataType.DIGEST, raw, options)


def _format_command(raw: Raw, options: DisplayOptions) -> str:
    """Return the command of a step on one line, truncated as docker does."""
    string = _format_plain(raw, options).replace("\t", " ")
    if options.no_trunc or display_width(string) <= _MAX_COMMAND_WIDTH:
        return string
    return string[: _MAX_COMMAND_WIDTH - 1] + "…"


def _format_created_at(raw: Raw, _options: DisplayOptions) -> str:
    return _NOT_APPLICABLE if raw is None else format_time(int(raw) // 1_000_000_000 * 1_000_000_000)


def _replace_placeholders(placeholders: tuple[Placeholder, ...], *others: Placeholder) -> tuple[Placeholder, ...]:
    """Return the placeholders, those with the key of another one replaced by it."""
    by_key = {other.key: other for other in others}
    return tuple(by_key.get(placeholder.key, placeholder) for placeholder in placeholders)


IMAGES = (
    Placeholder("Containers", "CONTAINERS", _format_not_applicable),
    Placeholder("CreatedAt", "CREATED AT", _make_style_formatter("created", "go-time")),
    Placeholder("CreatedSince", "CREATED", _make_style_formatter("created", "ago")),
    Placeholder("Digest", "DIGEST", _make_style_formatter("digest", "or-none")),
    Placeholder("ID", "IMAGE ID", _make_formatter("id", _format_id)),
    Placeholder("Repository", "REPOSITORY", _make_style_formatter("repository", "or-none")),
    Placeholder("SharedSize", "SHARED SIZE", _format_not_applicable),
    Placeholder("Size", "SIZE", _make_style_formatter("size", "size")),
    Placeholder("Tag", "TAG", _make_style_formatter("tag", "or-none")),
    Placeholder("UniqueSize", "UNIQUE SIZE", _format_not_applicable),
    Placeholder("VirtualSize", "SIZE", _make_formatter("size", _format_exact_size)),
)
"""The placeholders of `docker images`. Those of `docker system df -v` alone are N/A, as in docker."""

DISK_USAGE_IMAGES = _replace_placeholders(
    IMAGES,
    Placeholder("Containers", "CONTAINERS", _make_formatter("containers", _format_plain)),
    Placeholder("SharedSize", "SHARED SIZE", _make_formatter("shared_size", _format_exact_size)),
    Placeholder("UniqueSize", "UNIQUE SIZE", _make_formatter("unique_size", _format_exact_size)),
)
"""The placeholders of the images in `docker system df -v`."""

HISTORY = (
    Placeholder("Comment", "COMMENT", _make_formatter("comment", _format_plain)),
    Placeholder("CreatedAt", "CREATED AT", _make_formatter("created", _format_created_at)),
    Placeholder("CreatedBy", "CREATED BY", _make_formatter("created_by", _format_command)),
    Placeholder("CreatedSince", "CREATED", _make_style_formatter("created", "ago")),
    Placeholder("ID", "IMAGE", _make_formatter("image", _format_step_id)),
    Placeholder("Size", "SIZE", _make_style_formatter("size", "size")),
)
"""The placeholders of `docker history`."""

_LABEL = "label"
_MAX_COMMAND_CHARACTERS = 20
_MAX_MOUNT_CHARACTERS = 15
_NANOSECONDS = 1_000_000_000


def _read_list(raw: Raw) -> list[str]:
    """Return the strings of a list, which SQL holds as JSON."""
    import json

    return [str(item) for item in json.loads(str(raw))] if raw else []


def _shorten(string: str, length: int, options: DisplayOptions) -> str:
    return string if options.no_trunc or len(string) <= length else string[: length - 1] + "…"


def _format_container_id(raw: Raw, options: DisplayOptions) -> str:
    string = _format_plain(raw, options)
    return string if options.no_trunc else string[:12]


def _format_container_image(raw: Raw, options: DisplayOptions) -> str:
    string = _format_plain(raw, options)
    return string if options.no_trunc or not string.startswith("sha256:") else string[7:19]


def _format_words(raw: Raw, options: DisplayOptions) -> str:
    """Return a command as docker shows it: words with spaces in quotes, truncated, and quoted as a whole."""
    import json

    words = [f"'{word}'" if " " in word else word for word in _read_list(raw)]
    return json.dumps(_shorten(" ".join(words), _MAX_COMMAND_CHARACTERS, options), ensure_ascii=False)


def _format_status(values: Mapping[str, Raw], options: DisplayOptions) -> str:
    """Return the status of a container in docker's words."""
    from imq.engine.units.time import human_duration

    def since(name: str) -> str:
        moment = values.get(name)
        return human_duration((options.now - int(moment)) // _NANOSECONDS) if moment is not None else "a while"

    status, code, health = values.get("status"), values.get("exit_code"), values.get("health")
    if status in ("running", "paused"):
        note = " (Paused)" if status == "paused" else "" if health is None else f" ({health})"
        return f"Up {since('started')}{note.replace('(starting)', '(health: starting)')}"
    if status == "exited":
        return f"Exited ({code or 0}) {since('finished')} ago"
    if status == "restarting":
        return f"Restarting ({code or 0}) {since('finished')} ago"
    return "Removal In Progress" if status == "removing" else str(status or "").capitalize()


def _format_container_size(values: Mapping[str, Raw], options: DisplayOptions) -> str:
    """Return the bytes that a container wrote, and those of all its files where an engine counted them."""
    if "size_rw" not in values:
        return "0B"  # nobody asked for sizes, and docker's rows have this then
    own, every = (str(FORMATTERS["size"](values.get(name), options)) for name in ("size_rw", "size_rootfs"))
    return f"{own} (virtual {every})" if values.get("size_rootfs") else own


def _count_users(values: Mapping[str, Raw], _options: DisplayOptions) -> str:
    """Return how many containers mount a volume, which `docker volume ls` does not count."""
    return str(len(_read_list(values["containers"]))) if "containers" in values else _NOT_APPLICABLE


def _format_volume_size(values: Mapping[str, Raw], options: DisplayOptions) -> str:
    """Return the bytes of a volume, which `docker volume ls` does not count."""
    return _format_exact_size(values["size"], options) if values.get("size") is not None else _NOT_APPLICABLE


def _format_cache_id(values: Mapping[str, Raw], options: DisplayOptions) -> str:
    """Return the ID of a record of the build cache, with a star while a build uses it."""
    return f"{_format_container_id(values.get('id'), options)}{'*' if values.get('in_use') else ''}"


def _count_volumes(values: Mapping[str, Raw], _options: DisplayOptions) -> str:
    """Return how many of the mounts are volumes: the origin of the others is a path."""
    origins = [item.partition(":")[0] for item in _read_list(values.get("mounts"))]
    return str(sum(bool(origin) and not origin.startswith("/") for origin in origins))


CONTAINERS = (
    Placeholder("Command", "COMMAND", _make_formatter("command", _format_words)),
    Placeholder("CreatedAt", "CREATED AT", _make_style_formatter("created", "go-time")),
    Placeholder("ID", "CONTAINER ID", _make_formatter("id", _format_container_id)),
    Placeholder("Image", "IMAGE", _make_formatter("image", _format_container_image)),
    Placeholder("Labels", "LABELS", _make_style_formatter("label", "pairs")),
    Placeholder("LocalVolumes", "LOCAL VOLUMES", _count_volumes),
    Placeholder(
        "Mounts",
        "MOUNTS",
        _make_formatter(
            "mounts",
            lambda raw, options: ",".join(
                _shorten(item.partition(":")[0], _MAX_MOUNT_CHARACTERS, options) for item in _read_list(raw)
            ),
        ),
    ),
    Placeholder("Names", "NAMES", _make_formatter("name", _format_plain)),
    Placeholder("Networks", "NETWORKS", _make_formatter("networks", lambda raw, _: ",".join(_read_list(raw)))),
    Placeholder("Ports", "PORTS", _make_formatter("ports", lambda raw, _: ", ".join(_read_list(raw)))),
    Placeholder("RunningFor", "CREATED", _make_style_formatter("created", "ago")),
    Placeholder("Size", "SIZE", _format_container_size),
    Placeholder("State", "STATE", _make_formatter("status", _format_plain)),
    Placeholder("Status", "STATUS", _format_status),
)
"""The placeholders of `docker ps`."""

VOLUMES = (
    Placeholder("Availability", "AVAILABILITY", _format_not_applicable),
    Placeholder("Driver", "DRIVER", lambda _values, _options: "local"),
    Placeholder("Group", "GROUP", _format_not_applicable),
    Placeholder("Labels", "LABELS", lambda _values, _options: ""),
    Placeholder("Links", "LINKS", _count_users),
    Placeholder("Mountpoint", "MOUNTPOINT", _make_formatter("path", _format_plain)),
    Placeholder("Name", "VOLUME NAME", _make_formatter("name", _format_plain)),
    Placeholder("Scope", "SCOPE", lambda _values, _options: "local"),
    Placeholder("Size", "SIZE", _format_volume_size),
    Placeholder("Status", "STATUS", _format_not_applicable),
)
"""The placeholders of `docker volume ls`. Links and sizes are those of `docker system df -v` alone."""

BUILD_CACHE = (
    Placeholder("CacheType", "CACHE TYPE", _make_formatter("type", _format_plain)),
    Placeholder("CreatedSince", "CREATED", _make_style_formatter("created", "ago")),
    Placeholder("ID", "CACHE ID", _format_cache_id),
    Placeholder("LastUsedSince", "LAST USED", _make_style_formatter("last_used", "ago")),
    Placeholder("Shared", "SHARED", _make_formatter("shared", lambda raw, _: "true" if raw else "false")),
    Placeholder("Size", "SIZE", _make_style_formatter("size", "size")),
    Placeholder("UsageCount", "USAGE", _make_formatter("usage_count", _format_plain)),
)
"""The placeholders of the build cache in `docker system df -v`."""

HISTORY_EXACT = _replace_placeholders(
    HISTORY,
    Placeholder("CreatedSince", "CREATED AT", _make_formatter("created", _format_created_at)),
    Placeholder("Size", "SIZE", _make_formatter("size", _format_plain)),
)
"""The placeholders of `docker history --human=false`, with exact times and bytes."""

DISK_USAGE = (
    Placeholder("Active", "ACTIVE", _make_formatter("active", _format_plain)),
    Placeholder("Reclaimable", "RECLAIMABLE", _format_reclaimable),
    Placeholder("Size", "SIZE", _make_formatter("size", _format_exact_size)),
    Placeholder("TotalCount", "TOTAL", _make_formatter("total", _format_plain)),
    Placeholder("Type", "TYPE", _make_formatter("type", _format_plain)),
)
"""The placeholders of `docker system df`."""

_MAX_DESCRIPTION_WIDTH = 45


def _format_description(raw: Raw, options: DisplayOptions) -> str:
    """Return a description on one line, truncated as docker does."""
    string = _format_plain(raw, options).replace("\n", " ").replace("\r", " ")
    if options.no_trunc or display_width(string) <= _MAX_DESCRIPTION_WIDTH:
        return string
    return string[: _MAX_DESCRIPTION_WIDTH - 1] + "…"


def _format_boolean(raw: Raw, _options: DisplayOptions) -> str:
    return "true" if raw else "false"


def _format_stars(raw: Raw, _options: DisplayOptions) -> str:
    return str(raw or 0)


SEARCH = (
    Placeholder("Description", "DESCRIPTION", _make_formatter("description", _format_description)),
    Placeholder("IsAutomated", "AUTOMATED", _make_formatter("automated", lambda raw, _: "[OK]" if raw else "")),
    Placeholder("IsOfficial", "OFFICIAL", _make_formatter("official", lambda raw, _: "[OK]" if raw else "")),
    Placeholder("Name", "NAME", _make_formatter("name", _format_plain)),
    Placeholder("StarCount", "STARS", _make_formatter("stars", _format_stars)),
)
"""The placeholders of `docker search`."""

SEARCH_JSON = tuple(
    placeholder.replace(
        format=_make_formatter({"IsAutomated": "automated", "IsOfficial": "official"}[placeholder.key], _format_boolean)
    )
    if placeholder.key.startswith("Is")
    else placeholder
    for placeholder in SEARCH
)
"""The placeholders of its JSON, with true and false."""

RAW_TEMPLATE = (
    "repository: {{.Repository}}\ntag: {{.Tag}}\n"
    "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
)
RAW_DIGEST_TEMPLATE = RAW_TEMPLATE.replace("image_id:", "digest: {{.Digest}}\nimage_id:")
RAW_QUIET_TEMPLATE = "image_id: {{.ID}}"
"""The templates of `docker images --format raw`."""
RAW_CONTAINER_TEMPLATE = (
    "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n"
    "state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\n"
    "ports: {{- pad .Ports 1 0}}\n"
)
RAW_CONTAINER_SIZE_TEMPLATE = RAW_CONTAINER_TEMPLATE + "size: {{.Size}}\n"
RAW_CONTAINER_QUIET_TEMPLATE = "container_id: {{.ID}}"
"""The templates of `docker ps --format raw`."""


class DockerRow:
    """A row for docker's templates: strings by docker's placeholders. Other names are the fields of imq."""

    __slots__ = ("_options", "_placeholders", "_raw", "_row_set", "_values")

    def __init__(
        self, row_set: RowSet, raw: tuple[Raw, ...], placeholders: Sequence[Placeholder], options: DisplayOptions
    ) -> None:
        self._values = {column.name: value for column, value in zip(row_set.columns, raw, strict=True)}
        self._row_set = row_set
        self._raw = raw
        self._placeholders = placeholders
        self._options = options

    def format(self, placeholder: Placeholder) -> str:
        """Return the string of a placeholder."""
        return placeholder.format(self._values, self._options)

    def lookup(self, name: str) -> object:
        """Return the value of `.name` in a template. Raises `KeyError` for an unknown name."""
        key = casefold_name(name)
        if key == _LABEL and self._placeholders is CONTAINERS:
            return self._get_label
        for placeholder in self._placeholders:
            if casefold_name(placeholder.key) == key:
                return self.format(placeholder)
        from .template_row import Row

        return Row(self._row_set.columns, self._raw, self._row_set.table, self._options).lookup(name)

    def _get_label(self, name: str) -> str:
        """Return a label of a container, as `{{.Label "NAME"}}`; "" without it."""
        import json

        labels = self._values.get("label")
        return str(json.loads(str(labels)).get(name, "")) if labels else ""

    def data(self) -> dict[str, object]:
        """Return all of docker's placeholders, for `json .`."""
        return {placeholder.key: self.format(placeholder) for placeholder in self._placeholders}


def make_docker_rows(
    row_set: RowSet, placeholders: Sequence[Placeholder], options: DisplayOptions
) -> Iterator[DockerRow]:
    """Yield the rows of a result for docker's templates."""
    return (DockerRow(row_set, raw, placeholders, options) for raw in row_set.rows)


def write_docker_table(
    rows: Iterable[DockerRow], placeholders: Sequence[Placeholder], keys: Sequence[str]
) -> Iterator[str]:
    """Yield the lines of a table with these placeholders as columns."""
    by_key = {placeholder.key: placeholder for placeholder in placeholders}
    selected = [by_key[key] for key in keys]
    lines = [[placeholder.title for placeholder in selected]]
    lines += [[replace_controls(row.format(placeholder)) for placeholder in selected] for row in rows]
    return align_cells(lines)


def write_docker_template(rows: Iterable[DockerRow], placeholders: Sequence[Placeholder], source: str) -> Iterator[str]:
    """Yield each row, formatted with a template; `table …` aligns the columns under docker's titles."""
    from imq.engine.render.template.template import Template, expand_escapes, split_table_directive

    is_table, body = split_table_directive(source)
    template = Template.parse(expand_escapes(body))
    if not is_table:
        for row in rows:
            yield template.render(row) + "\n"
        return
    titles = {casefold_name(placeholder.key): placeholder.title for placeholder in placeholders}

    def title(path: tuple[str, ...]) -> str:
        return titles.get(casefold_name(path[0]), path[-1].upper().replace("_", " "))

    rendered = [template.render_heading(title), *(template.render(row) for row in rows)]
    yield from align_cells(
        [[replace_controls(cell) for cell in line.split("\t")] for text in rendered for line in text.split("\n")]
    )


def write_docker_json(rows: Iterable[DockerRow]) -> Iterator[str]:
    """Yield one JSON object a line, as `--format json`: all values are strings; `<` `>` `&` are escaped as in Go."""
    import json

    for row in rows:
        line = json.dumps(row.data(), ensure_ascii=False, separators=(",", ":"))
        yield line.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") + "\n"


def align_cells(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield aligned lines, as Go's tabwriter does.

    A column is a run of lines that have a cell in it and a further cell after it.
    """
    if len(set(map(len, lines))) == 1:
        yield from _align_table(lines)
        return
    widths: list[list[int]] = [[0] * len(line) for line in lines]
    for column in range(max(map(len, lines), default=0)):
        run: list[int] = []
        for number in range(len(lines) + 1):
            if number < len(lines) and len(lines[number]) > column + 1:
                run.append(number)
                continue
            column_width = max(
                [MIN_COLUMN_WIDTH, *(display_width(lines[member][column]) + len(COLUMN_GAP) for member in run)]
            )
            for member in run:
                widths[member][column] = column_width
            run = []
    for line, row_widths in zip(lines, widths, strict=True):
        yield (
            "".join(
                cell + " " * (column_width - display_width(cell))
                for cell, column_width in zip(line, row_widths, strict=True)
            )
            + "\n"
        )


def _align_table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the aligned lines of a table: each line has as many cells, so each column is one run."""
    widths = [width + len(COLUMN_GAP) for width in measure_columns(lines, MIN_COLUMN_WIDTH)[:-1]]
    template = "".join(f"%-{width}s" for width in widths) + "%s\n"
    for line in lines:
        if "".join(line).isascii():
            yield template % tuple(line)
            continue
        cells = (cell + " " * (width - display_width(cell)) for cell, width in zip(line, widths, strict=False))
        yield "".join((*cells, line[-1], "\n"))


def format_reclaimed_space(size: int) -> str:
    """Return docker's message about the space that a prune reclaimed."""
    return f"Total reclaimed space: {human_size_exact(size)}\n"
