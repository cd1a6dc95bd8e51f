"""Every docker command that imq knows, declared once: its names, its flags, and where its work is done."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .flags import Flag

if TYPE_CHECKING:
    from .desk import Work


class Command(Record):
    """One command.

    `names` are all ways to call it. `takes` describes its arguments, of which there must be `least` to `most` (None:
    any number); the first `files` of them are paths. Its work is done in the module `room`. One that `asks` does so
    before it removes anything.
    """

    names: tuple[str, ...]
    takes: str
    doc: str
    room: str
    flags: tuple[Flag, ...] = ()
    least: int = 0
    most: int | None = None
    files: int = 0
    asks: bool = False

    @property
    def work(self) -> Work:
        """What the command does; its module is loaded when it is wanted."""
        match self.room:
            case "letting in":
                from .letting_in import WORK
            case "listing":
                from .listing import WORK
            case "looking":
                from .looking import WORK
            case "searching":
                from .searching import WORK
            case "moving":
                from .moving import WORK
            case _:
                from .removal import WORK
        return WORK[self.names[0]]


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
        "listing",
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
        "listing",
        (_FORMAT, Flag("human", "H", "", "Print sizes and dates in human readable format", on=True), _WHOLE, _IDS_ONLY),
        least=1,
        most=1,
    ),
    Command(
        ("image inspect", "inspect"),
        "IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
        "looking",
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
        "removal",
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
        "removal",
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
        "moving",
        least=2,
        most=2,
    ),
    Command(
        ("image pull", "pull"),
        "NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        "moving",
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
        "moving",
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
        "moving",
        (Flag("output", "o", "string", "Write to a file, instead of STDOUT"),),
        least=1,
    ),
    Command(
        ("image load", "load"),
        "",
        "Load an image from a tar archive or STDIN",
        "moving",
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
        "moving",
        (_CHANGE, Flag("message", "m", "string", "Set commit message for imported image"), _PLATFORM),
        least=1,
        most=2,
        files=1,
    ),
    Command(
        ("search",),
        "TERM",
        "Search Docker Hub, or the registry before TERM/, for images",
        "searching",
        (
            Flag("filter", "f", "filter", "Filter output: is-automated, is-official, stars (at least)"),
            Flag("format", "", "string", 'Format the output: table, "table TEMPLATE", json, or a TEMPLATE of Go'),
            Flag("limit", "", "int", "Max number of search results (25 when none is said, 100 at most)"),
            _WHOLE,
        ),
        least=1,
        most=1,
    ),
    Command(
        ("commit", "container commit"),
        "CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
        "looking",
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
        ("login",),
        "[SERVER]",
        "Authenticate to a registry",
        "letting in",
        (
            Flag("password", "p", "string", "Password or Personal Access Token (PAT)"),
            Flag("password-stdin", "", "", "Take the Password or Personal Access Token (PAT) from stdin"),
            Flag("username", "u", "string", "Username"),
        ),
        most=1,
    ),
    Command(
        ("logout",),
        "[SERVER]",
        "Log out from a registry",
        "letting in",
        most=1,
    ),
    Command(
        ("system df",),
        "",
        "Show disk usage",
        "listing",
        (_FORMAT, Flag("verbose", "v", "", "Show detailed information on space usage")),
        most=0,
    ),
)

GROUPS = {"image": "Manage images", "system": "Look after the store"}
"""The first words of commands of two, and what they are about."""


def named(name: str) -> Command | None:
    """Return the command that is called by this name, one word or two."""
    return next((command for command in COMMANDS if name in command.names), None)
