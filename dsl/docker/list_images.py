"""`docker images`, `docker history` and `docker system df`: questions, and docker's tables of the answers."""

from __future__ import annotations

from imq.engine.render import docker as text
from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING

from .context import Work
from .filters import image_conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.render.docker import DockerRow, Placeholder
    from imq.engine.result import RowSet

    from .context import Around, Desk
    from .flags import Given

    Statements = tuple[ast.Statement, ...]

_TABLE = "table"
WHOLE_ROW = ("{{json .}}", "{{ json . }}")


def _columns(*names: str) -> tuple[ast.Column, ...]:
    return tuple(ast.Column(ast.Field((name,))) for name in names)


# images


def _image_format(given: Given) -> str:
    """Return docker's format: empty for the usual table, `ids`, `json`, or a template."""
    source, quiet, digests = given.last("format"), given.on("quiet"), given.on("digests")
    if source in ("", _TABLE):
        return "ids" if quiet else ""
    if source == "raw":
        return text.RAW_QUIET_TEMPLATE if quiet else text.RAW_DIGEST_TEMPLATE if digests else text.RAW_TEMPLATE
    if source in WHOLE_ROW:
        return "json"
    if source.startswith(_TABLE) and digests and ".Digest" not in source:
        return source + "\\t{{.Digest}}"
    return source


def compile_images(given: Given, around: Around) -> Statements:
    """Return the question that `docker images` asks; the argument is one more pattern of `reference`."""
    filters = [*given.all("filter"), *(f"reference={name}" for name in given.arguments)]
    where = image_conditions(filters, around.now, around.zone)
    shown, output = _image_format(given), ast.Output()
    select: tuple[ast.Column, ...] = ()
    if shown == "ids":
        select, output = _columns("id"), ast.Output(format="ids")
    elif shown == "json":
        select = _columns("repository", "tag", "digest", "id", "created", "size")
        output = ast.Output(format="jsonl")
    elif shown:
        output = ast.Output(template=shown)
    elif given.on("digests"):
        select = _columns("repository", "tag", "digest", "id", "created", "size")
    return (ast.QueryStatement(ast.Query("images", where=where, select=select), output),)


def answer_images(desk: Desk, given: Given, statements: Statements) -> int:
    """Write the images as docker lists them."""
    answer = desk.answer(statements[0])
    keys = ["Repository", "Tag", *(["Digest"] if given.on("digests") else []), "ID", "CreatedSince", "Size"]
    return write_rows(desk, answer, text.IMAGES, _image_format(given), keys)


def write_rows(desk: Desk, answer: RowSet, places: Sequence[Placeholder], shown: str, keys: Sequence[str]) -> int:
    """Write rows in the form that was asked for; `shown` is empty for the table of these keys. Return the exit code."""
    rows = text.make_docker_rows(answer, places, desk.manner)
    desk.say(_texts(rows, places, shown, keys))
    return desk.finish(answer)


def _texts(rows: Iterable[DockerRow], places: Sequence[Placeholder], shown: str, keys: Sequence[str]) -> Iterator[str]:
    if not shown:
        return text.write_docker_table(rows, places, keys)
    if shown == "ids":
        return text.write_docker_template(rows, places, "{{.ID}}")
    return text.write_docker_json(rows) if shown == "json" else text.write_docker_template(rows, places, shown)


# history


def compile_history(given: Given, _around: Around) -> Statements:
    """Return the question that `docker history` asks: the steps of one image, the last first."""
    quiet = given.on("quiet") and given.last("format") in ("", _TABLE)
    query = ast.Query(
        "history",
        (ast.Literal(given.arguments[0]),),
        order=(ast.Ordering(ast.Field(("index",)), descending=True),),
        select=_columns("image") if quiet else _columns("image", "created", "created_by", "size", "comment"),
    )
    return (ast.QueryStatement(query),)


def answer_history(desk: Desk, given: Given, statements: Statements) -> int:
    """Write the steps as docker lists them: the image's id beside the last, `<missing>` beside the others."""
    answer = desk.answer(statements[0])
    rows = (row if not place else (None, *row[1:]) for place, row in enumerate(answer.rows))
    exact = not given.on("human", default=True)
    shown = given.last("format")
    if shown in ("", _TABLE):
        shown = "ids" if given.on("quiet") else ""
    elif shown in WHOLE_ROW:
        shown = "json"
    places = text.HISTORY_EXACT if exact else text.HISTORY
    return write_rows(
        desk, answer.replace(rows=rows), places, shown, ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"]
    )


# system df


def compile_df(given: Given, _around: Around) -> Statements:
    """Return the question that `docker system df` asks; with -v the images, one name of each."""
    if not given.on("verbose"):
        return (ast.QueryStatement(ast.Query("usage")),)
    names = ("repository", "tag", "id", "created", "size", "shared_size", "unique_size", "containers")
    one = ast.Limit(ast.Literal("1"), (ast.Field(("id",)),))
    return (ast.QueryStatement(ast.Query("images", limit=one, select=_columns(*names))),)


def answer_df(desk: Desk, given: Given, statements: Statements) -> int:
    """Write what the disk is used for."""
    answer = desk.answer(statements[0])
    shown = given.last("format")
    shown = "" if shown == _TABLE else "json" if shown in WHOLE_ROW else shown
    if not given.on("verbose"):
        return write_rows(desk, answer, text.DISK_USAGE, shown, ["Type", "TotalCount", "Active", "Size", "Reclaimable"])
    keys = ["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"]
    if shown:
        return write_rows(desk, answer, text.DISK_USAGE_IMAGES, shown, keys)
    desk.say(("Images space usage:\n\n",))
    code = write_rows(desk, answer, text.DISK_USAGE_IMAGES, shown, keys)
    desk.say(_ELSEWHERE)
    return code


_ELSEWHERE = (
    """
Containers space usage:

CONTAINER ID   IMAGE     COMMAND   LOCAL VOLUMES   SIZE      CREATED   STATUS    NAMES

Local Volumes space usage:

VOLUME NAME   LINKS     SIZE

Build cache usage: 0B

CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED
""",
)
"""The rest of `docker system df -v`, for a store that has images only."""


WORK = {
    "image ls": Work(compile_images, answer_images),
    "image history": Work(compile_history, answer_history),
    "system df": Work(compile_df, answer_df),
}
