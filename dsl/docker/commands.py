"""Every docker command that imq knows, declared once: its names, its flags, how it is compiled and how it answers."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from . import listing, looking, moving, removal
from .flags import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.grammar import ast

    from .desk import Around, Desk
    from .flags import Given

    Statements = tuple[ast.Statement, ...]


class Command(Record):
    """One command.

    `names` are all ways to call it. `takes` describes its arguments, of which there must be `least` to `most` (None:
    any number); the first `files` of them are paths. `compile` makes its statements and does nothing; `answer` runs
    them, writes docker's text and returns the exit code. One that `asks` does so before it removes anything.
    """

    names: tuple[str, ...]
    takes: str
    doc: str
    compile: Callable[[Given, Around], Statements]
    answer: Callable[[Desk, Given, Statements], int]
    flags: tuple[Flag, ...] = ()
    least: int = 0
    most: int | None = None
    files: int = 0
    asks: bool = False


_FORMAT = Flag("format", "", "string", 'Format the output: table, "table TEMPLATE", json, or a TEMPLATE of Go')
_WHOLE = Flag("no-trunc", "", "", "Don't truncate output")
_PLATFORM = Flag("platform", "", "string", "Set platform: os[/arch[/variant]]")
_TRUST = Flag("disable-content-trust", "", "", "Skip image verification", on=True)
_CHANGE = Flag("change", "c", "list", "Apply Dockerfile instruction to the created image")
_IDS_ONLY = Flag("quiet", "q", "", "Only show image IDs")

COMMANDS = (
    Command(
        ("image ls", "image list", "images"),
        "[REPOSITORY[:TAG]]",
        "List images",
        listing.compile_images,
        listing.answer_images,
        (
            Flag("all", "a", "", "Show all images (imq keeps no intermediate ones)"),
            Flag("digests", "", "", "Show digests"),
            Flag("filter", "f", "filter", "Filter output: before, dangling, label, label!, reference, since, until"),
            Flag("format", "", "string", 'Format the output: table, "table TEMPLATE", json, raw, or a TEMPLATE of Go'),
            _WHOLE,
            _IDS_ONLY,
        ),
        most=1,
    ),
    Command(
        ("image history", "history"),
        "IMAGE",
        "Show the history of an image",
        listing.compile_history,
        listing.answer_history,
        (_FORMAT, Flag("human", "H", "", "Print sizes and dates in human readable format", on=True), _WHOLE, _IDS_ONLY),
        least=1,
        most=1,
    ),
    Command(
        ("image inspect", "inspect"),
        "IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
        looking.compile_inspect,
        looking.answer_inspect,
        (
            Flag("format", "f", "string", "Format the output: json, or a TEMPLATE of Go"),
            Flag("size", "s", "", "Display total file sizes if the type is container"),
            Flag("type", "", "string", "Only inspect objects of the given type: image"),
        ),
        least=1,
    ),
    Command(
        ("image rm", "image remove", "rmi"),
        "IMAGE [IMAGE...]",
        "Remove one or more images",
        removal.compile_rmi,
        removal.answer_rmi,
        (
            Flag("force", "f", "", "Force removal of the image"),
            Flag("no-prune", "", "", "Do not delete untagged parents (imq keeps none)"),
        ),
        least=1,
    ),
    Command(
        ("image prune",),
        "",
        "Remove unused images",
        removal.compile_prune,
        removal.answer_prune,
        (
            Flag("all", "a", "", "Remove all unused images, not just dangling ones"),
            Flag("filter", "", "filter", "Choose what to remove: dangling, label, label!, until (such as until=24h)"),
            Flag("force", "f", "", "Do not prompt for confirmation"),
        ),
        most=0,
        asks=True,
    ),
    Command(
        ("image tag", "tag"),
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        moving.compile_tag,
        moving.answer_tag,
        least=2,
        most=2,
    ),
    Command(
        ("image pull", "pull"),
        "NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        moving.compile_pull,
        moving.answer_pull,
        (
            Flag("all-tags", "a", "", "Download all tagged images in the repository"),
            _TRUST,
            _PLATFORM,
            Flag("quiet", "q", "", "Suppress verbose output"),
        ),
        least=1,
        most=1,
    ),
    Command(
        ("image push", "push"),
        "NAME[:TAG]",
        "Upload an image to a registry",
        moving.compile_push,
        moving.answer_push,
        (
            Flag("all-tags", "a", "", "Push all tags of an image to the repository"),
            _TRUST,
            Flag("quiet", "q", "", "Suppress verbose output"),
        ),
        least=1,
        most=1,
    ),
    Command(
        ("image save", "save"),
        "IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        moving.compile_save,
        moving.answer_save,
        (Flag("output", "o", "string", "Write to a file, instead of STDOUT"),),
        least=1,
    ),
    Command(
        ("image load", "load"),
        "",
        "Load an image from a tar archive or STDIN",
        moving.compile_load,
        moving.answer_load,
        (
            Flag("input", "i", "string", "Read from tar archive file, instead of STDIN"),
            Flag("quiet", "q", "", "Suppress the load output"),
        ),
        most=0,
    ),
    Command(
        ("image import", "import"),
        "file|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
        moving.compile_import,
        moving.answer_import,
        (_CHANGE, Flag("message", "m", "string", "Set commit message for imported image"), _PLATFORM),
        least=1,
        most=2,
        files=1,
    ),
    Command(
        ("search",),
        "TERM",
        "Search Docker Hub for images",
        looking.refuse_search,
        looking.answer_nothing,
        (
            Flag("filter", "f", "filter", "Filter output based on conditions provided"),
            Flag("format", "", "string", "Format the output by a TEMPLATE of Go"),
            Flag("limit", "", "int", "Max number of search results"),
            _WHOLE,
        ),
        least=1,
        most=1,
    ),
    Command(
        ("commit", "container commit"),
        "CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
        looking.refuse_commit,
        looking.answer_nothing,
        (
            Flag("author", "a", "string", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
            _CHANGE,
            Flag("message", "m", "string", "Commit message"),
            Flag("pause", "p", "", "Pause container during commit", on=True),
        ),
        least=1,
        most=2,
    ),
    Command(
        ("system df",),
        "",
        "Show disk usage",
        listing.compile_df,
        listing.answer_df,
        (_FORMAT, Flag("verbose", "v", "", "Show detailed information on space usage")),
        most=0,
    ),
)

GROUPS = {"image": "Manage images", "system": "Look after the store"}
"""The first words of commands of two, and what they are about."""


def named(name: str) -> Command | None:
    """Return the command that is called by this name, one word or two."""
    return next((command for command in COMMANDS if name in command.names), None)
