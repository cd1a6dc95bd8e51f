"""The fields of images that their config holds: each is declared here, and nowhere else.

The columns of the store's index and of the cache of registry documents are derived from the declaration. So are the
reader of the value, the SQL view and the fields of `tags`, and all that is derived from a field of any table.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, FromConfig

CONFIG_FIELDS = (
    Field(
        "label",
        DataType.MAP,
        "the labels; label.KEY is one of them",
        aliases=("labels",),
        docker_placeholders=(("Labels", "pairs"),),
        config=FromConfig("Labels", "map"),
    ),
    Field(
        "env",
        DataType.MAP,
        "the environment; env.NAME is one variable",
        aliases=("environment",),
        config=FromConfig("Env", "pairs"),
    ),
    Field(
        "user",
        DataType.TEXT,
        'the user that containers run as; unknown, or = "", means root',
        empty_is_unknown=True,
        config=FromConfig("User", "string"),
    ),
    Field("entrypoint", DataType.LIST, "the words of the entry point", config=FromConfig("Entrypoint", "list")),
    Field(
        "cmd",
        DataType.LIST,
        "the words of the default command",
        aliases=("command",),
        config=FromConfig("Cmd", "list"),
    ),
    Field(
        "workdir",
        DataType.TEXT,
        "the working directory",
        aliases=("working_dir",),
        empty_is_unknown=True,
        config=FromConfig("WorkingDir", "string"),
    ),
    Field(
        "ports",
        DataType.LIST,
        "the exposed ports. Example: 80/tcp",
        aliases=("exposed_ports",),
        optional_suffix="/tcp",
        config=FromConfig("ExposedPorts", "keys"),
    ),
    Field("volumes", DataType.LIST, "the declared volumes", config=FromConfig("Volumes", "keys")),
    Field(
        "healthcheck",
        DataType.LIST,
        "the health check's command; unknown when there is none",
        config=FromConfig("Healthcheck", "healthcheck"),
    ),
    Field(
        "stop_signal",
        DataType.TEXT,
        "the signal that stops a container",
        empty_is_unknown=True,
        config=FromConfig("StopSignal", "string"),
    ),
    Field(
        "author",
        DataType.TEXT,
        "the author in the config",
        empty_is_unknown=True,
        config=FromConfig("author", "property"),
    ),
)
