"""Every docker command that imq has, declared once: its names, its flags and its handler."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .flags import Flag

if TYPE_CHECKING:
    from .context import Handler


class Command(Record):
    """One command.

    - `names`: all names of the command.
    - `arguments`: the arguments in the usage line, `min_arguments` to `max_arguments` of them (None: no limit). The
      first `path_arguments` are paths.
    - `handler`: "MODULE.NAME" of its `Handler`, which is imported when the command runs.
    - `confirms`: whether it prompts before it removes anything.
    - `program_at`: the number of arguments before the words of a program, which are passed on as they are.
    - `needs_flag`: without a flag of docker the line is a statement of the language.
    - `examples`: command lines, shown with their statements in dsl/docs/FROM-DOCKER.md.
    - `differences`: differences from docker.
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
    program_at: int | None = None
    needs_flag: bool = False
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

_ENV = Flag("env", "e", "list", "Set environment variables")
_ENV_FILE = Flag("env-file", "", "list", "Read in a file of environment variables")
_DETACH_KEYS = Flag("detach-keys", "", "string", "Override the key sequence for detaching a container")
_NO_PORTS = "containers of the store have no published ports: --network host"
_NO_DETACH_KEYS = "a program in a container is never detached; run and attach can be"
_NO_LIMIT = "--cpus, --cpu-shares, --cpuset-cpus, -m, --memory-swap and --pids-limit are supported"
_NO_NETWORKS = "containers of the store have no network, or that of the host: --network host"
_NO_NAMESPACE = "the namespace is private: only those for processes, IPC and the host name can be shared"
_NO_VOLUMES = "mounts are folders of this machine and volumes of the store: -v SOURCE:TARGET[:ro]"
_CREATION = (
    Flag("name", "", "string", "Assign a name to the container"),
    Flag("rm", "", "", "Automatically remove the container when it exits"),
    _ENV,
    _ENV_FILE,
    Flag("label", "l", "list", "Set meta data on a container"),
    Flag("label-file", "", "list", "Read in a line delimited file of labels"),
    Flag("volume", "v", "list", "Mount a folder of this machine, or a named volume"),
    Flag("mount", "", "list", "Attach a filesystem mount to the container: type=bind, volume or tmpfs"),
    Flag("tmpfs", "", "list", "Mount a tmpfs directory"),
    Flag("workdir", "w", "string", "Working directory inside the container"),
    Flag("user", "u", "string", "Username or UID (format: <name|uid>[:<group|gid>])"),
    Flag("group-add", "", "list", "Add additional groups to join"),
    Flag("hostname", "h", "string", "Container host name"),
    Flag("add-host", "", "list", "Add a custom host-to-IP mapping (host:ip)"),
    Flag("dns", "", "list", "Set custom DNS servers"),
    Flag("dns-search", "", "list", "Set custom DNS search domains"),
    Flag("dns-option", "", "list", "Set DNS options"),
    Flag("dns-opt", "", "list", "Set DNS options"),
    Flag("memory", "m", "bytes", "Memory limit"),
    Flag("memory-swap", "", "bytes", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
    Flag("memory-reservation", "", "bytes", "Memory soft limit"),
    Flag("cpus", "", "decimal", "Number of CPUs"),
    Flag("cpu-shares", "c", "int", "CPU shares (relative weight)"),
    Flag("cpuset-cpus", "", "string", "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", "", "string", "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("pids-limit", "", "int", "Tune container pids limit"),
    Flag("oom-score-adj", "", "int", "Tune host's OOM preferences (-1000 to 1000)"),
    Flag("shm-size", "", "bytes", "Size of /dev/shm"),
    Flag("ulimit", "", "list", "Ulimit options"),
    Flag("sysctl", "", "list", "Sysctl options"),
    Flag("read-only", "", "", "Mount the container's root filesystem as read only"),
    Flag("privileged", "", "", "Give extended privileges to this container"),
    Flag("cap-add", "", "list", "Add Linux capabilities"),
    Flag("cap-drop", "", "list", "Drop Linux capabilities"),
    Flag("security-opt", "", "list", "Security Options"),
    Flag("device", "", "list", "Add a host device to the container"),
    Flag("network", "", "string", "Connect a container to a network: host or none"),
    Flag("net", "", "string", "Connect a container to a network: host or none"),
    Flag("pid", "", "string", "PID namespace to use: host"),
    Flag("ipc", "", "string", "IPC mode to use: host or private"),
    Flag("uts", "", "string", "UTS namespace to use: host"),
    Flag("expose", "", "list", "Expose a port"),
    Flag("entrypoint", "", "string", "Overwrite the default ENTRYPOINT of the image"),
    Flag("init", "", "", "Run an init inside the container that forwards signals and reaps processes"),
    Flag("stop-signal", "", "string", "Signal to stop the container"),
    Flag("stop-timeout", "", "int", "Timeout (in seconds) to stop a container"),
    Flag("timeout", "", "int", "Kill the container after so many seconds", imq_only=True),
    Flag("interactive", "i", "", "Keep STDIN open"),
    Flag("tty", "t", "", "Allocate a pseudo-TTY"),
    Flag("cidfile", "", "string", "Write the container ID to the file"),
    Flag("pull", "", "string", "Pull image before running: always, missing or never (default)"),
    Flag("quiet", "q", "", "Suppress the pull output"),
    _TRUST,
    Flag("restart", "", "string", "Restart policy: no, on-failure[:COUNT], always or unless-stopped, until a reboot"),
    Flag("publish", "p", "list", "Publish a container's port(s) to the host", refusal=_NO_PORTS, in_engine=True),
    Flag("publish-all", "P", "", "Publish all exposed ports to random ports", refusal=_NO_PORTS),
    Flag("attach", "a", "list", "Attach to STDIN, STDOUT or STDERR", refusal="run attaches both outputs; -i the input"),
    Flag("gpus", "", "string", "GPU devices to add to the container", refusal="--device adds devices"),
    Flag(
        "device-cgroup-rule", "", "list", "Add a rule to the cgroup allowed devices list", refusal="--device adds one"
    ),
    Flag("userns", "", "string", "User namespace to use", refusal=_NO_NAMESPACE),
    Flag("cgroupns", "", "string", "Cgroup namespace to use", refusal=_NO_NAMESPACE),
    Flag("cgroup-parent", "", "string", "Optional parent cgroup", refusal="the parent is /imq"),
    Flag("domainname", "", "string", "Container NIS domain name", refusal="--hostname takes a name with a domain"),
    Flag(
        "volumes-from", "", "list", "Mount volumes from the specified container(s)", refusal=_NO_VOLUMES, in_engine=True
    ),
    Flag("volume-driver", "", "string", "Optional volume driver", refusal=_NO_VOLUMES),
    Flag("storage-opt", "", "list", "Storage driver options", refusal="the layer of a container has no quota"),
    Flag("ip", "", "string", "IPv4 address", refusal=_NO_NETWORKS),
    Flag("ip6", "", "string", "IPv6 address", refusal=_NO_NETWORKS),
    Flag("mac-address", "", "string", "Container MAC address", refusal=_NO_NETWORKS),
    Flag("network-alias", "", "list", "Add network-scoped alias for the container", refusal=_NO_NETWORKS),
    Flag("link", "", "list", "Add link to another container", refusal=_NO_NETWORKS),
    Flag("cpu-period", "", "int", "Limit CPU CFS (Completely Fair Scheduler) period", refusal=_NO_LIMIT),
    Flag("cpu-quota", "", "int", "Limit CPU CFS (Completely Fair Scheduler) quota", refusal=_NO_LIMIT),
    Flag("cpu-rt-period", "", "int", "Limit CPU real-time period in microseconds", refusal=_NO_LIMIT),
    Flag("cpu-rt-runtime", "", "int", "Limit CPU real-time runtime in microseconds", refusal=_NO_LIMIT),
    Flag("blkio-weight", "", "int", "Block IO (relative weight)", refusal=_NO_LIMIT),
    Flag("device-read-bps", "", "list", "Limit read rate (bytes per second) from a device", refusal=_NO_LIMIT),
    Flag("device-write-bps", "", "list", "Limit write rate (bytes per second) to a device", refusal=_NO_LIMIT),
    Flag("kernel-memory", "", "bytes", "Kernel memory limit", refusal=_NO_LIMIT),
    Flag("memory-swappiness", "", "int", "Tune container memory swappiness", refusal=_NO_LIMIT),
    Flag("oom-kill-disable", "", "", "Disable OOM Killer", refusal=_NO_LIMIT),
    Flag("health-cmd", "", "string", "Command to run to check health"),
    Flag("health-interval", "", "string", "Time between running the check (default 30s)"),
    Flag("health-retries", "", "int", "Consecutive failures needed to report unhealthy (default 3)"),
    Flag("health-timeout", "", "string", "Maximum time to allow one check to run (default 30s)"),
    Flag("health-start-period", "", "string", "Start period for the container to initialize"),
    Flag("health-start-interval", "", "string", "Time between running the check during the start period (default 5s)"),
    Flag("no-healthcheck", "", "", "Disable any container-specified HEALTHCHECK"),
    Flag("platform", "", "string", "Set platform", refusal="pull it first: imq pull --platform PLATFORM IMAGE"),
    Flag(
        "runtime", "", "string", "Runtime to use for this container", refusal="the setting runtime is for all of them"
    ),
    Flag("annotation", "", "list", "Add an annotation to the container", refusal="--label adds metadata"),
    Flag("log-driver", "", "string", "Logging driver for the container", refusal="imq logs shows the output"),
    Flag("log-opt", "", "list", "Log driver options", refusal="imq logs shows the output"),
)
"""The flags of `run` and `create`."""
_STOPPING = (
    Flag("signal", "s", "string", "Signal to send to the container"),
    Flag("timeout", "t", "int", "Seconds to wait before killing the container"),
    Flag("time", "", "int", "Seconds to wait before killing the container"),
)

COMMANDS = (
    Command(
        ("image ls", "image list", "images"),
        "[REPOSITORY[:TAG]]",
        "List images",
        "list_images.IMAGES",
        (
            Flag("all", "a", "", "Show all images (default hides intermediate images; the store has none)"),
            Flag("digests", "", "", "Show digests"),
            Flag("filter", "f", "filter", "Filter output: before, dangling, label, label!, reference, since, until"),
            Flag("format", "", "string", 'Format the output: table, "table TEMPLATE", json, raw, or a TEMPLATE of Go'),
            _NO_TRUNC,
            _IDS_ONLY,
            Flag("tree", "", "", "List multi-platform images as a tree", refusal="platforms of REF, or images as tree"),
        ),
        max_arguments=1,
        examples=(
            "images -f dangling=true",
            "images --filter before=redis:7 -q",
            "images team/* --digests",
            "images -f label=env=prod --format {{.Size}}",
        ),
        differences=(
            "`--format` also has imq's own fields, such as {{.Platform}} and {{.LayerCount}}. A `*` in a reference "
            "does not match a slash, as in docker; in the language it does."
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
        differences="The statement `history of redis:7 where size > 1MB` also filters.",
    ),
    Command(
        ("image inspect",),
        "IMAGE [IMAGE...]",
        "Display detailed information on one or more images",
        "inspect.IMAGE_INSPECT",
        (Flag("format", "f", "string", "Format the output: json, or a TEMPLATE of Go"),),
        min_arguments=1,
        examples=("image inspect redis:7",),
    ),
    Command(
        ("container inspect",),
        "CONTAINER [CONTAINER...]",
        "Display detailed information on one or more containers",
        "inspect.CONTAINER_INSPECT",
        (
            Flag("format", "f", "string", "Format the output: json, or a TEMPLATE of Go"),
            Flag("size", "s", "", "Display total file sizes"),
        ),
        min_arguments=1,
        examples=("container inspect -f {{.State.Status}} web",),
    ),
    Command(
        ("inspect",),
        "NAME|ID [NAME|ID...]",
        "Display detailed information on images, and on containers of an engine",
        "inspect.INSPECT",
        (
            Flag("format", "f", "string", "Format the output: json, or a TEMPLATE of Go"),
            Flag("size", "s", "", "Display total file sizes if the type is container"),
            Flag("type", "", "string", "Only inspect objects of the given type: image or container"),
        ),
        min_arguments=1,
        examples=(
            "inspect redis:7",
            "inspect -f {{.Id}} redis:7",
        ),
        differences=(
            "The document also has `Descriptor`, `DownloadSize`, `Annotations` and `Index`, and names match in any "
            "case ({{.config.cmd}}). Only images, artifacts and containers can be inspected. An engine describes its "
            "own images and containers, without these additions."
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
            "It does not prompt, as in docker. `rm images where …` lists the images and prompts; `imq --dry-run rmi …` "
            "only lists them."
        ),
    ),
    Command(
        ("image prune",),
        "",
        "Remove unused images",
        "remove.PRUNE",
        (
            Flag("all", "a", "", "Remove all unused images, not just dangling ones"),
            Flag("filter", "", "filter", "Filter what to remove: dangling, label, label!, until (example: until=24h)"),
            Flag("force", "f", "", "Do not prompt for confirmation"),
        ),
        max_arguments=0,
        confirms=True,
        examples=(
            "image prune -f",
            "image prune -a --filter until=24h -f",
        ),
        differences="Without a terminal, -f is required. `rm images where …` takes any condition.",
    ),
    Command(
        ("image tag", "tag"),
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        "transfer.TAG",
        min_arguments=2,
        max_arguments=2,
        examples=("tag redis:7 team/cache:1",),
        differences="The language also has the verbs `rename` and `untag`.",
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
            "Statements pull several images, several platforms or the tags of a condition: `pull redis:7, alpine:3`, "
            "`pull redis:7 platform all`, `pull tags of redis where version >= 7`. An interrupted pull resumes."
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
            "`push images where label.env = prod to 'new.example/{{.Repository}}:{{.Tag}}'` pushes several images "
            "under other names; `copy` copies between registries without storing images."
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
        differences="The archive is both an archive of docker and an OCI layout.",
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
        differences="It also loads OCI layouts.",
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
            "Folders can be imported too. `STOPSIGNAL` and `HEALTHCHECK --start-interval` are supported, as in newer "
            "daemons. URLs are not: use `curl -L URL | imq import - NAME`."
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
            Flag("limit", "", "int", "Max number of search results (default 25, at most 100)"),
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
            "Filters apply before the limit: `--limit 10` returns ten matches of the first thousand results, by stars. "
            "Docker applies the limit first. The columns are those of docker 25 and later, and {{.IsAutomated}} still "
            "works. A registry before the term is searched by the names in its catalog."
        ),
    ),
    Command(
        ("run", "container run"),
        "IMAGE [COMMAND] [ARG...]",
        "Create and run a new container from an image",
        "containers.RUN",
        (
            Flag("detach", "d", "", "Run container in background and print container ID"),
            _DETACH_KEYS,
            Flag("sig-proxy", "", "", "Proxy received signals to the process", default_on=True),
            *_CREATION,
        ),
        min_arguments=1,
        program_at=1,
        examples=(
            "run --rm redis:7 redis-server --version",
            "run -d --name cache --network host -e MODE=fast -v /srv/cache:/data -m 512m redis:7",
        ),
        differences=(
            "The image must be in the store, unless --pull fetches it. A container has no network, or that of the host"
            " (`--network host`); ports are not published. A container that cannot be started is removed again."
        ),
    ),
    Command(
        ("create", "container create"),
        "IMAGE [COMMAND] [ARG...]",
        "Create a new container",
        "containers.CREATE",
        _CREATION,
        min_arguments=1,
        program_at=1,
        examples=("create --name web --read-only redis:7", "create -it --name shell alpine:3 sh"),
    ),
    Command(
        ("exec", "container exec"),
        "CONTAINER COMMAND [ARG...]",
        "Execute a command in a running container",
        "containers.EXEC",
        (
            Flag("detach", "d", "", "Detached mode: run command in the background"),
            _ENV,
            Flag("interactive", "i", "", "Keep STDIN open"),
            Flag("tty", "t", "", "Allocate a pseudo-TTY"),
            Flag("user", "u", "string", "Username or UID (format: <name|uid>[:<group|gid>])"),
            Flag("workdir", "w", "string", "Working directory inside the container"),
            Flag("privileged", "", "", "Give extended privileges to the command"),
            _ENV_FILE,
            Flag("detach-keys", "", "string", "Override the key sequence for detaching", refusal=_NO_DETACH_KEYS),
        ),
        min_arguments=2,
        program_at=1,
        examples=("exec web ls -l /data", "exec -it -u root web sh"),
        differences="After the word container it is a statement of the language: `exec container web run ls`.",
    ),
    Command(
        ("start", "container start"),
        "CONTAINER [CONTAINER...]",
        "Start one or more stopped containers",
        "containers.START",
        (
            Flag("attach", "a", "", "Attach STDOUT/STDERR and forward signals"),
            Flag("interactive", "i", "", "Attach container's STDIN"),
            _DETACH_KEYS,
        ),
        min_arguments=1,
        examples=("start web", "start -ai shell"),
    ),
    Command(
        ("attach", "container attach"),
        "CONTAINER",
        "Attach standard input, output, and error streams to a running container",
        "containers.ATTACH",
        (
            Flag("no-stdin", "", "", "Do not attach STDIN"),
            _DETACH_KEYS,
            Flag("sig-proxy", "", "", "Proxy all received signals to the process", default_on=True),
        ),
        min_arguments=1,
        max_arguments=1,
        examples=("attach shell",),
    ),
    Command(
        ("stop", "container stop"),
        "CONTAINER [CONTAINER...]",
        "Stop one or more running containers",
        "containers.STOP",
        _STOPPING,
        min_arguments=1,
        examples=("stop -t 5 web",),
    ),
    Command(
        ("restart", "container restart"),
        "CONTAINER [CONTAINER...]",
        "Restart one or more containers",
        "containers.RESTART",
        _STOPPING,
        min_arguments=1,
        examples=("restart web",),
    ),
    Command(
        ("container rename",),
        "CONTAINER NEW_NAME",
        "Rename a container",
        "containers.RENAME",
        min_arguments=2,
        max_arguments=2,
        examples=("container rename web web2",),
    ),
    Command(
        ("kill", "container kill"),
        "CONTAINER [CONTAINER...]",
        "Kill one or more running containers",
        "containers.KILL",
        (Flag("signal", "s", "string", "Signal to send to the container"),),
        min_arguments=1,
        examples=("kill -s HUP web",),
    ),
    Command(
        ("wait", "container wait"),
        "CONTAINER [CONTAINER...]",
        "Block until one or more containers stop, then print their exit codes",
        "containers.WAIT",
        min_arguments=1,
        examples=("wait web",),
    ),
    Command(
        ("pause", "container pause"),
        "CONTAINER [CONTAINER...]",
        "Pause all processes within one or more containers",
        "containers.PAUSE",
        min_arguments=1,
        examples=("pause web",),
    ),
    Command(
        ("unpause", "container unpause"),
        "CONTAINER [CONTAINER...]",
        "Unpause all processes within one or more containers",
        "containers.UNPAUSE",
        min_arguments=1,
        examples=("unpause web",),
    ),
    Command(
        ("rm", "container rm", "container remove"),
        "CONTAINER [CONTAINER...]",
        "Remove one or more containers",
        "containers.REMOVE",
        (
            Flag("force", "f", "", "Force the removal of a running container (uses SIGKILL)"),
            Flag("volumes", "v", "", "Remove anonymous volumes associated with the container (imq always does)"),
            Flag("link", "l", "", "Remove the specified link", refusal="containers of the store have no links"),
        ),
        min_arguments=1,
        needs_flag=True,
        examples=("container rm web", "rm -f web"),
        differences=(
            "Without a flag `imq rm NAME` is a statement, which removes images; use `imq container rm NAME`, or the"
            " statement `rm container NAME`."
        ),
    ),
    Command(
        ("container prune",),
        "",
        "Remove all stopped containers",
        "containers.PRUNE",
        (
            Flag("filter", "", "filter", "Filter what to remove: label, label!, until (example: until=24h)"),
            Flag("force", "f", "", "Do not prompt for confirmation"),
        ),
        max_arguments=0,
        confirms=True,
        examples=("container prune -f",),
    ),
    Command(
        ("volume ls", "volume list"),
        "",
        "List volumes",
        "volumes.LIST",
        (
            Flag("filter", "f", "filter", "Filter the output: dangling, name"),
            _FORMAT,
            Flag("quiet", "q", "", "Only display volume names"),
        ),
        max_arguments=0,
        examples=("volume ls -q",),
        differences="The statement `volumes where size > 1GB` also filters. A container creates the volumes of -v.",
    ),
    Command(
        ("volume rm", "volume remove"),
        "VOLUME [VOLUME...]",
        "Remove one or more volumes",
        "volumes.REMOVE",
        (Flag("force", "f", "", "Do not report volumes that do not exist"),),
        min_arguments=1,
        examples=("volume rm data",),
    ),
    Command(
        ("volume prune",),
        "",
        "Remove unused volumes",
        "volumes.PRUNE",
        (
            Flag("all", "a", "", "Remove all unused volumes, not just anonymous ones"),
            Flag("force", "f", "", "Do not prompt for confirmation"),
        ),
        max_arguments=0,
        confirms=True,
        examples=("volume prune -f",),
        differences="Volumes of the store without a name are removed with their containers, so named ones are pruned.",
    ),
    Command(
        ("logs", "container logs"),
        "CONTAINER",
        "Fetch the logs of a container",
        "containers.LOGS",
        (
            Flag("follow", "f", "", "Follow log output"),
            Flag("since", "", "string", "Show logs since timestamp or relative (example: 42m for 42 minutes)"),
            Flag("until", "", "string", "Show logs before a timestamp or relative (example: 42m for 42 minutes)"),
            Flag("tail", "n", "string", "Number of lines to show from the end of the logs (default all)"),
            Flag("timestamps", "t", "", "Show timestamps"),
            Flag("details", "", "", "Show extra details", refusal="logs have no further details"),
        ),
        min_arguments=1,
        max_arguments=1,
        examples=("logs --tail 10 web", "logs -t --since 10m web"),
        differences="`logs of web where text matches error` also filters.",
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
        differences=("The new layer has the changed files of the container; the layers below are shared."),
    ),
    Command(
        ("container ls", "container list", "container ps", "ps"),
        "",
        "List containers",
        "list_containers.CONTAINERS",
        (
            Flag("all", "a", "", "Show all containers (default shows just running)"),
            Flag(
                "filter",
                "f",
                "filter",
                "Filter output: ancestor, before, exited, expose, health, id, is-task, isolation, label, name, network,"
                " publish, since, status, volume",
            ),
            _FORMAT,
            Flag("last", "n", "int", "Show n last created containers (includes all states)"),
            Flag("latest", "l", "", "Show the latest created container (includes all states)"),
            _NO_TRUNC,
            Flag("quiet", "q", "", "Only display container IDs"),
            Flag("size", "s", "", "Display total file sizes"),
        ),
        max_arguments=0,
        examples=(
            "ps",
            "ps -a --filter status=exited -q",
        ),
        differences=(
            "The filter `ancestor` does not match containers of child images, and `network` takes names of networks,"
            " not their IDs."
        ),
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
        differences=("It uses docker's config.json and credential helpers. The password is never part of a statement."),
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
        "disk_usage.USAGE",
        (_FORMAT, Flag("verbose", "v", "", "Show detailed information on space usage")),
        max_arguments=0,
        examples=(
            "system df",
            "system df -v",
        ),
        differences=(
            "`images select name, shared_size, unique_size` shows shared sizes per image. With -v, the volumes of an "
            "engine are not listed."
        ),
    ),
)

GROUPS = {
    "container": "Manage containers", "image": "Manage images", "system": "Manage the store",
    "volume": "Manage volumes",
}  # fmt: skip
"""The first word of commands with two words, and its description."""


def find_command(name: str) -> Command | None:
    """Return the command with this name of one or two words; None when there is none."""
    return next((command for command in COMMANDS if name in command.names), None)
