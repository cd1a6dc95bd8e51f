"""Every docker command that imq has, declared once: its names, its flags and its handler."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .flags import Flag

if TYPE_CHECKING:
    from .context import Handler


class Command(Record):
    """One command.

    `names` are all names of the command. `arguments` describes its arguments in the usage line: `min_arguments` to
    `max_arguments` (None: any number), of which the first `path_arguments` are paths. `handler` is "MODULE.NAME" of its
    `Handler`, which is imported when the command runs. One that `confirms` prompts before it removes anything.
    `examples` are command lines, shown with their statements in dsl/docs/FROM-DOCKER.md. `differences` are from docker.
    """

    names: tuple[str, ...]
    arguments: str
    doc: str
    handler: str
    flags: tuple[Flag, ...] = ()
    min_arguments: int = 0
    max_arguments: int | None = None
    path_arguments: int = 0
    confirms: bool = False
    examples: tuple[str, ...] = ()
    differences: str = ""

    def load_handler(self) -> Handler:
        """Import the module of the handler and return the handler."""
        from importlib import import_module

        module, _, name = self.handler.partition(".")
        handler: Handler = getattr(import_module(f"{__package__}.{module}"), name)
        return handler


_FORMAT = Flag("format", "", "string", 'Format the output: table, "table TEMPLATE", json, or a TEMPLATE of Go')
_NO_TRUNC = Flag("no-trunc", "", "", "Don't truncate output")
_PLATFORM = Flag("platform", "", "string", "Set platform: os[/arch[/variant]]")
_TRUST = Flag("disable-content-trust", "", "", "Skip image verification", default_on=True)
_CHANGE = Flag("change", "c", "list", "Apply Dockerfile instruction to the created image")
_IDS_ONLY = Flag("quiet", "q", "", "Only show image IDs")

COMMANDS = (
    Command(
        ("image ls", "image list", "images"),
        "[REPOSITORY[:TAG]]",
        "List images",
        "list_images.IMAGES",
        (
            Flag("all", "a", "", "Show all images (imq keeps no intermediate ones)"),
            Flag("digests", "", "", "Show digests"),
            Flag("filter", "f", "filter", "Filter output: before, dangling, label, label!, reference, since, until"),
            Flag("format", "", "string", 'Format the output: table, "table TEMPLATE", json, raw, or a TEMPLATE of Go'),
            _NO_TRUNC,
            _IDS_ONLY,
        ),
        max_arguments=1,
        examples=(
            "images -f dangling=true",
            "images --filter before=redis:7 -q",
            "images team/* --digests",
            "images -f label=env=prod --format {{.Size}}",
        ),
        differences=(
            "`--format` knows imq's own fields beside docker's placeholders ({{.Platform}}, {{.LayerCount}}). A "
            "`*` in a reference stops at a slash, as docker's does; in the language it crosses them."
        ),
    ),
    Command(
        ("image history", "history"),
        "IMAGE",
        "Show the history of an image",
        "list_images.HISTORY",
        (
            _FORMAT,
            Flag("human", "H", "", "Print sizes and dates in human readable format", default_on=True),
            _NO_TRUNC,
            _IDS_ONLY,
        ),
        min_arguments=1,
        max_arguments=1,
        examples=("history redis:7",),
        differences="`history of redis:7 where size > 1MB` asks further.",
    ),
    Command(
        ("image inspect", "inspect"),
        "IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
        "inspect.INSPECT",
        (
            Flag("format", "f", "string", "Format the output: json, or a TEMPLATE of Go"),
            Flag("size", "s", "", "Display total file sizes if the type is container"),
            Flag("type", "", "string", "Only inspect objects of the given type: image"),
        ),
        min_arguments=1,
        examples=(
            "inspect redis:7",
            "inspect -f {{.Id}} redis:7",
        ),
        differences=(
            "the document goes on with `Descriptor`, `DownloadSize`, `Annotations` and `Index`, and names of another "
            "case are found too ({{.config.cmd}}). Only images are inspected, and artifacts by their names."
        ),
    ),
    Command(
        ("image rm", "image remove", "rmi"),
        "IMAGE [IMAGE...]",
        "Remove one or more images",
        "remove.REMOVE",
        (
            Flag("force", "f", "", "Force removal of the image"),
            Flag("no-prune", "", "", "Do not delete untagged parents (imq keeps none)"),
            Flag("platform", "", "list", "Remove only the given platform: os[/arch[/variant]]"),
        ),
        min_arguments=1,
        examples=(
            "rmi redis:7",
            "rmi -f redis:7",
            "rmi --platform linux/arm64 redis:7",
        ),
        differences=(
            "As docker's it does not ask. `rm images where …` does, and shows the list first; `imq --dry-run rmi "
            "…` shows it here."
        ),
    ),
    Command(
        ("image prune",),
        "",
        "Remove unused images",
        "remove.PRUNE",
        (
            Flag("all", "a", "", "Remove all unused images, not just dangling ones"),
            Flag("filter", "", "filter", "Choose what to remove: dangling, label, label!, until (such as until=24h)"),
            Flag("force", "f", "", "Do not prompt for confirmation"),
        ),
        max_arguments=0,
        confirms=True,
        examples=(
            "image prune -f",
            "image prune -a --filter until=24h -f",
        ),
        differences="Without a terminal it needs -f. `rm images where …` takes any condition.",
    ),
    Command(
        ("image tag", "tag"),
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        "transfer.TAG",
        min_arguments=2,
        max_arguments=2,
        examples=("tag redis:7 team/cache:1",),
        differences="`rename` and `untag` are verbs beside it.",
    ),
    Command(
        ("image pull", "pull"),
        "NAME[:TAG|@DIGEST]",
        "Download an image from a registry",
        "transfer.PULL",
        (
            Flag("all-tags", "a", "", "Download all tagged images in the repository"),
            _TRUST,
            _PLATFORM,
            Flag("quiet", "q", "", "Suppress verbose output"),
        ),
        min_arguments=1,
        max_arguments=1,
        examples=(
            "pull redis:7 --platform linux/arm64",
            "pull -a registry.local:5000/team/app",
        ),
        differences=(
            "Several images, several platforms and the tags of a condition are sentences: `pull redis:7, "
            "alpine:3`, `pull redis:7 platform all`, `pull tags of redis where version >= 7`. A pull that was "
            "broken off goes on where it was."
        ),
    ),
    Command(
        ("image push", "push"),
        "NAME[:TAG]",
        "Upload an image to a registry",
        "transfer.PUSH",
        (
            Flag("all-tags", "a", "", "Push all tags of an image to the repository"),
            _TRUST,
            Flag("quiet", "q", "", "Suppress verbose output"),
        ),
        min_arguments=1,
        max_arguments=1,
        examples=(
            "push registry.local:5000/team/app:1",
            "push -a registry.local:5000/team/app",
        ),
        differences=(
            "`push images where label.env = prod to 'new.example/{{.Repository}}:{{.Tag}}'` pushes many under "
            "other names; `copy` goes from registry to registry without storing."
        ),
    ),
    Command(
        ("image save", "save"),
        "IMAGE [IMAGE...]",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        "transfer.SAVE",
        (Flag("output", "o", "string", "Write to a file, instead of STDOUT"),),
        min_arguments=1,
        examples=("save -o f.tar redis:7",),
        differences="The archive is docker's and an OCI layout at once.",
    ),
    Command(
        ("image load", "load"),
        "",
        "Load an image from a tar archive or STDIN",
        "transfer.LOAD",
        (
            Flag("input", "i", "string", "Read from tar archive file, instead of STDIN"),
            Flag("quiet", "q", "", "Suppress the load output"),
        ),
        max_arguments=0,
        examples=("load -i f.tar",),
        differences="It takes OCI layouts too.",
    ),
    Command(
        ("image import", "import"),
        "file|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
        "transfer.IMPORT",
        (_CHANGE, Flag("message", "m", "string", "Set commit message for imported image"), _PLATFORM),
        min_arguments=1,
        max_arguments=2,
        path_arguments=1,
        examples=("import rootfs.tar team/base:1",),
        differences=(
            "Folders are imported too; `STOPSIGNAL` and `HEALTHCHECK --start-interval` are taken, as by newer daemons; "
            "a URL is refused: `curl -L URL | imq import - NAME`."
        ),
    ),
    Command(
        ("search",),
        "TERM",
        "Search Docker Hub, or the registry before TERM/, for images",
        "search.SEARCH",
        (
            Flag("filter", "f", "filter", "Filter output: is-automated, is-official, stars (at least)"),
            Flag("format", "", "string", 'Format the output: table, "table TEMPLATE", json, or a TEMPLATE of Go'),
            Flag("limit", "", "int", "Max number of search results (25 when none is said, 100 at most)"),
            _NO_TRUNC,
        ),
        min_arguments=1,
        max_arguments=1,
        examples=(
            "search redis",
            "search --filter stars=3 --filter is-official=true --limit 10 redis",
            "search registry.local:5000/team",
        ),
        differences=(
            "The filters come before the limit, so that `--limit 10` gives ten that fit, of the first thousand "
            "hits, the most stars first; docker cuts first. The columns are those of docker 25 and later; "
            "{{.IsAutomated}} is still there. A registry before the term is searched by the names in its catalog."
        ),
    ),
    Command(
        ("commit", "container commit"),
        "CONTAINER [REPOSITORY[:TAG]]",
        "Create a new image from a container's changes",
        "inspect.COMMIT",
        (
            Flag("author", "a", "string", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
            _CHANGE,
            Flag("message", "m", "string", "Commit message"),
            Flag("pause", "p", "", "Pause container during commit", default_on=True),
        ),
        min_arguments=1,
        max_arguments=2,
        examples=("commit box team/app:4",),
        differences="There are no containers, so nothing can be committed.",
    ),
    Command(
        ("login",),
        "[SERVER]",
        "Authenticate to a registry",
        "login.LOGIN",
        (
            Flag("password", "p", "string", "Password or Personal Access Token (PAT)"),
            Flag("password-stdin", "", "", "Take the Password or Personal Access Token (PAT) from stdin"),
            Flag("username", "u", "string", "Username"),
        ),
        max_arguments=1,
        examples=("login registry.local:5000 --username me",),
        differences=(
            "It reads and writes docker's config.json and its credential helpers. The password is in no statement."
        ),
    ),
    Command(
        ("logout",),
        "[SERVER]",
        "Log out from a registry",
        "login.LOGOUT",
        max_arguments=1,
        examples=("logout registry.local:5000",),
    ),
    Command(
        ("system df",),
        "",
        "Show disk usage",
        "list_images.USAGE",
        (_FORMAT, Flag("verbose", "v", "", "Show detailed information on space usage")),
        max_arguments=0,
        examples=(
            "system df",
            "system df -v",
        ),
        differences="What several images share is told of each: `images select name, shared_size, unique_size`.",
    ),
)

GROUPS = {"image": "Manage images", "system": "Look after the store"}
"""The first word of commands with two words, and its description."""


def find_command(name: str) -> Command | None:
    """Return the command with this name of one or two words; None when there is none."""
    return next((command for command in COMMANDS if name in command.names), None)
