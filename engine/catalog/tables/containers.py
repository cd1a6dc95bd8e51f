"""The table `containers`: the containers made from images."""

from __future__ import annotations

from imq.engine.catalog.schema import (
    DataType,
    Field,
    Relation,
    Table,
    TargetKind,
    make_content_relations,
    make_registry_relation,
)

STATUSES = (
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
    "stopping",
    "initialized",
    "storage",
)

CONTAINERS = Table(
    "containers",
    "One row for each container, running or stopped.",
    (
        Field("id", DataType.DIGEST, "the container ID", title="CONTAINER ID", has_algorithm=False),
        Field("name", DataType.TEXT, "the name"),
        Field("image", DataType.REFERENCE, "the name of the image that the container was created with"),
        Field("image_id", DataType.DIGEST, "the ID of the image"),
        Field("image_digest", DataType.DIGEST, "the digest of the image in its registry"),
        Field("command", DataType.LIST, "the words of the command"),
        Field("env", DataType.MAP, "the environment; env.NAME is one variable", aliases=("environment",)),
        Field("label", DataType.MAP, "the labels; label.KEY is one of them", aliases=("labels",)),
        Field("status", DataType.TEXT, "the state. Example: created, running, paused, exited", values=STATUSES),
        Field(
            "health",
            DataType.TEXT,
            "the result of the health check; unknown without a health check",
            values=("starting", "healthy", "unhealthy"),
        ),
        Field("exit_code", DataType.NUMBER, "the exit code of the last run; unknown while the container runs"),
        Field("oom_killed", DataType.BOOLEAN, "the kernel killed the last run for lack of memory"),
        Field("restart_count", DataType.NUMBER, "how often the engine restarted the container"),
        Field("restart_policy", DataType.TEXT, "the restart policy. Example: always, on-failure"),
        Field("created", DataType.TIME, "when the container was created"),
        Field("started", DataType.TIME, "when the container was last started", is_optional=True),
        Field("finished", DataType.TIME, "when the container last stopped; unknown while it runs", is_optional=True),
        Field("size_rw", DataType.SIZE, "bytes that the container wrote to its own layer", title="SIZE"),
        Field("log_size", DataType.SIZE, "bytes of the log file, when the engine writes one on this machine"),
        Field("log_path", DataType.TEXT, "the log file on the host of the engine"),
        Field(
            "ports",
            DataType.LIST,
            "the ports: 80/tcp when exposed, 0.0.0.0:8080->80/tcp when published",
            optional_suffix="/tcp",
        ),
        Field(
            "published_ports",
            DataType.LIST,
            "the ports of the host that lead to the container. Example: 8080/tcp",
            optional_suffix="/tcp",
        ),
        Field("mounts", DataType.LIST, "the mounts: SOURCE:TARGET, with :ro when read-only"),
        Field("volumes_from", DataType.LIST, "the containers whose volumes the container uses"),
        Field("networks", DataType.LIST, "the networks that the container is connected to"),
        Field("memory_limit", DataType.SIZE, "the most bytes of memory; unknown without a limit", is_optional=True),
        Field("cpu_limit", DataType.NUMBER, "the most CPUs; unknown without a limit"),
        Field("privileged", DataType.BOOLEAN, "the container runs with all privileges of the host"),
        Field("network_mode", DataType.TEXT, "the network mode. Example: bridge, host, none"),
        Field("pid_mode", DataType.TEXT, "the PID namespace when it is not the container's own. Example: host"),
        Field(
            "user",
            DataType.TEXT,
            'the user that the container runs as; unknown, or = "", means root',
            empty_is_unknown=True,
        ),
        Field("read_only", DataType.BOOLEAN, "the root file system is read-only"),
        Field("driver", DataType.TEXT, "what made the root file system of layers. Example: overlay2, vfs"),
        Field(
            "kind",
            DataType.TEXT,
            "container, the sandbox of a pod, or the working container of a build tool",
            values=("container", "sandbox", "build"),
        ),
        Field("pod", DataType.TEXT, "the pod of the container"),
        Field("namespace", DataType.TEXT, "the namespace of the engine or cluster"),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("id", "image", "status", "created", "name"),
    order=("-created", "id"),
    key=("id",),
    relations=(
        Relation("names", "images", "its image, one row for each name", join="container"),
        *make_content_relations("id", owner="container"),
        make_registry_relation("image"),
    ),
    target=TargetKind.IMAGES,
)

CONTAINER_ROW_RELATIONS = tuple(
    Relation(name, name, doc, "lookup id source", lookup_fields=("id", "source"))
    for name, doc in (
        ("logs", "the lines of its log"),
        ("changes", "the paths that it changed"),
        ("mounts", "what it mounts"),
    )
)
"""The relations of containers whose source has these tables."""

BUILD_CACHE = Table(
    "build_cache",
    "One row for each record of the build cache of an engine.",
    (
        Field("id", DataType.TEXT, "the ID of the record", title="CACHE ID"),
        Field("type", DataType.TEXT, "the type. Example: regular, source.local"),
        Field("description", DataType.TEXT, "the build step that made it"),
        Field("size", DataType.SIZE, "bytes on disk"),
        Field("created", DataType.TIME, "when it was made"),
        Field("last_used", DataType.TIME, "when a build last used it"),
        Field("usage_count", DataType.NUMBER, "how often builds used it"),
        Field("in_use", DataType.BOOLEAN, "a build uses it now"),
        Field("shared", DataType.BOOLEAN, "images or other records share it"),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("id", "type", "size", "created", "last_used", "in_use", "shared"),
    order=("-last_used", "id"),
    key=("id", "source"),
)

LOGS = Table(
    "logs",
    "One row for each line of the logs of containers, as the engine kept them: logs of web, logs of (containers in"
    " docker where …), logs in docker. A log is read up to the time of the statement and is never followed. Engines"
    " write lines in the order of their times; podman reports whole seconds. A line of more than 1 MiB is several"
    " rows.",
    (
        Field("time", DataType.TIME, "when the engine received the line", aliases=("created",)),
        Field("container", DataType.TEXT, "the name of the container"),
        Field("container_id", DataType.DIGEST, "the ID of the container", title="CONTAINER ID", has_algorithm=False),
        Field("image", DataType.REFERENCE, "the name of the image that the container was created with"),
        Field(
            "stream",
            DataType.TEXT,
            "stdout or stderr; a container with a terminal has stdout alone",
            values=("stdout", "stderr"),
        ),
        Field("text", DataType.TEXT, "the line, without its line ending"),
        Field("source", DataType.TEXT, "the source that holds the container"),
    ),
    default_columns=("time", "container", "stream", "text"),
    order=("time", "source", "container"),
    key=("source", "container_id", "time", "stream", "text"),
    target=TargetKind.CONTAINERS,
)

SERVICES = Table(
    "services",
    "One row for each service of a swarm, by an engine that is one of its managers: services in docker.",
    (
        Field("id", DataType.TEXT, "the ID of the service"),
        Field("name", DataType.TEXT, "the name"),
        Field("image", DataType.REFERENCE, "the name of the image of its tasks"),
        Field("image_digest", DataType.DIGEST, "the digest that the tag had in its registry when the service was set"),
        Field(
            "mode",
            DataType.TEXT,
            "how its number of tasks is set",
            values=("replicated", "global", "replicated-job", "global-job"),
        ),
        Field("replicas", DataType.NUMBER, "the number of tasks that is set; unknown in the mode global"),
        Field("running", DataType.NUMBER, "the number of tasks that run"),
        Field("desired", DataType.NUMBER, "the number of tasks that should run"),
        Field(
            "ports",
            DataType.LIST,
            "the published ports. Example: *:8080->80/tcp",
            optional_suffix="/tcp",
        ),
        Field("label", DataType.MAP, "the labels; label.KEY is one of them", aliases=("labels",)),
        Field("created", DataType.TIME, "when the service was created"),
        Field("updated", DataType.TIME, "when the service was last changed"),
        Field("source", DataType.TEXT, "the source that manages it"),
    ),
    default_columns=("name", "mode", "running", "desired", "image", "ports"),
    order=("name", "id"),
    key=("id", "source"),
    relations=(make_registry_relation("image"),),
)
