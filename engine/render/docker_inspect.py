"""The document of `docker image inspect` with Go's zero values, and the typed value for templates.

Docker executes a template at most twice: on the typed response of its client, and if that fails on the daemon's JSON
with `missingkey=error`. So `{{.Config.Healthcheck.Interval}}` is `30s`, and `{{.Id}}` works though the field is `ID`.
"""

from __future__ import annotations

import re

from imq.engine.render.template.go_types import ZERO_TIME, StructField, StructType, Type, to_plain
from imq.engine.render.template.values import LookupRules
from imq.grammar.errors import StatementError, UnknownName
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imq.engine.render.template.template import Template

_STRING, _BOOL, _INT = Type("string"), Type("bool"), Type("int")
_STRING_LIST, _STRING_MAP, _STRING_SET = Type("[]string"), Type("map[string]string"), Type("map[string]struct {}")
_TIME, _DURATION = Type("time.Time"), Type("time.Duration")

_HEALTH_CONFIG = StructType(
    "container.HealthConfig",
    (
        StructField("Test", _STRING_LIST, omit_empty=True),
        *(
            StructField(name, _DURATION, omit_empty=True)
            for name in ("Interval", "Timeout", "StartPeriod", "StartInterval")
        ),
        StructField("Retries", _INT, omit_empty=True),
    ),
)
CONTAINER_CONFIG = StructType(
    "container.Config",
    (
        StructField("Hostname", _STRING),
        StructField("Domainname", _STRING),
        StructField("User", _STRING),
        StructField("AttachStdin", _BOOL),
        StructField("AttachStdout", _BOOL),
        StructField("AttachStderr", _BOOL),
        StructField("ExposedPorts", _STRING_SET, omit_empty=True),
        StructField("Tty", _BOOL),
        StructField("OpenStdin", _BOOL),
        StructField("StdinOnce", _BOOL),
        StructField("Env", _STRING_LIST),
        StructField("Cmd", _STRING_LIST),
        StructField("Healthcheck", _HEALTH_CONFIG, omit_empty=True, is_pointer=True),
        StructField("ArgsEscaped", _BOOL, omit_empty=True),
        StructField("Image", _STRING),
        StructField("Volumes", _STRING_SET),
        StructField("WorkingDir", _STRING),
        StructField("Entrypoint", _STRING_LIST),
        StructField("NetworkDisabled", _BOOL, omit_empty=True),
        StructField("MacAddress", _STRING, omit_empty=True),
        StructField("OnBuild", _STRING_LIST),
        StructField("Labels", _STRING_MAP),
        StructField("StopSignal", _STRING, omit_empty=True),
        StructField("StopTimeout", Type("*int"), omit_empty=True),
        StructField("Shell", _STRING_LIST, omit_empty=True),
    ),
)
"""The config in the response of docker's daemon."""
_OCI_CONFIG = StructType(
    "v1.DockerOCIImageConfig",
    (
        StructField(
            "ImageConfig",
            StructType(
                "v1.ImageConfig",
                (
                    StructField("User", _STRING, omit_empty=True),
                    StructField("ExposedPorts", _STRING_SET, omit_empty=True),
                    StructField("Env", _STRING_LIST, omit_empty=True),
                    StructField("Entrypoint", _STRING_LIST, omit_empty=True),
                    StructField("Cmd", _STRING_LIST, omit_empty=True),
                    StructField("Volumes", _STRING_SET, omit_empty=True),
                    StructField("WorkingDir", _STRING, omit_empty=True),
                    StructField("Labels", _STRING_MAP, omit_empty=True),
                    StructField("StopSignal", _STRING, omit_empty=True),
                    StructField("ArgsEscaped", _BOOL, omit_empty=True),
                ),
            ),
            is_embedded=True,
        ),
        StructField(
            "DockerOCIImageConfigExt",
            StructType(
                "v1.DockerOCIImageConfigExt",
                (
                    StructField("Healthcheck", _HEALTH_CONFIG, omit_empty=True, is_pointer=True),
                    StructField("OnBuild", _STRING_LIST, omit_empty=True),
                    StructField("Shell", _STRING_LIST, omit_empty=True),
                ),
            ),
            is_embedded=True,
        ),
    ),
)
"""The config as docker's client decodes it."""
_PLATFORM = StructType(
    "v1.Platform",
    (
        StructField("Architecture", _STRING, "architecture"),
        StructField("OS", _STRING, "os"),
        StructField("OSVersion", _STRING, "os.version", omit_empty=True),
        StructField("OSFeatures", _STRING_LIST, "os.features", omit_empty=True),
        StructField("Variant", _STRING, "variant", omit_empty=True),
    ),
)
_DESCRIPTOR = StructType(
    "v1.Descriptor",
    (
        StructField("MediaType", _STRING, "mediaType"),
        StructField("Digest", _STRING, "digest"),
        StructField("Size", _INT, "size"),
        StructField("URLs", _STRING_LIST, "urls", omit_empty=True),
        StructField("Annotations", _STRING_MAP, "annotations", omit_empty=True),
        StructField("Data", _STRING_LIST, "data", omit_empty=True),
        StructField("Platform", _PLATFORM, "platform", omit_empty=True, is_pointer=True),
        StructField("ArtifactType", _STRING, "artifactType", omit_empty=True),
    ),
)
INSPECT_RESPONSE = StructType(
    "image.InspectResponse",
    (
        StructField("ID", _STRING, "Id"),
        StructField("RepoTags", _STRING_LIST),
        StructField("RepoDigests", _STRING_LIST),
        StructField("Parent", _STRING),
        StructField("Comment", _STRING),
        StructField("Created", _STRING, omit_empty=True),
        StructField("Container", _STRING, omit_empty=True),
        StructField("ContainerConfig", CONTAINER_CONFIG, omit_empty=True, is_pointer=True),
        StructField("DockerVersion", _STRING),
        StructField("Author", _STRING),
        StructField("Config", _OCI_CONFIG, is_pointer=True),
        StructField("Architecture", _STRING),
        StructField("Variant", _STRING, omit_empty=True),
        StructField("Os", _STRING),
        StructField("OsVersion", _STRING, omit_empty=True),
        StructField("Size", Type("int64")),
        StructField("VirtualSize", Type("int64"), omit_empty=True),
        StructField(
            "GraphDriver",
            StructType("storage.DriverData", (StructField("Data", _STRING_MAP), StructField("Name", _STRING))),
        ),
        StructField(
            "RootFS",
            StructType(
                "image.RootFS",
                (StructField("Type", _STRING, omit_empty=True), StructField("Layers", _STRING_LIST, omit_empty=True)),
            ),
        ),
        StructField("Metadata", StructType("image.Metadata", (StructField("LastTagTime", _TIME),))),
        StructField("Descriptor", _DESCRIPTOR, omit_empty=True, is_pointer=True),
        StructField("Manifests", _STRING_LIST, omit_empty=True),
    ),
)
"""The document as docker's client decodes it."""


_NEVER_OMITTED = ("Created", "Container", "ContainerConfig", "VirtualSize")
_DAEMON_RESPONSE = StructType(
    "types.ImageInspect",
    tuple(
        member.replace(
            type=CONTAINER_CONFIG if member.name == "Config" else member.type,
            omit_empty=member.omit_empty and member.name not in _NEVER_OMITTED,
        )
        for member in INSPECT_RESPONSE.fields
        if member.name not in {"Descriptor", "Manifests"}
    ),
)
"""The document in the response of docker's daemon."""


def build_image_document(config: Mapping[str, Any], docker_fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of an image as docker's daemon writes it, from the image config and further fields.

    Runtime settings of the config that docker does not know follow unchanged.
    """
    history, runtime = config.get("history"), config.get("config")
    last_step = history[-1] if isinstance(history, list) and history else None
    rootfs = config.get("rootfs")
    layers = rootfs if isinstance(rootfs, dict) else {}
    document: dict[str, Any] = to_plain(
        _DAEMON_RESPONSE.decode(
            {
                "Comment": config.get("comment") or (last_step.get("comment") if isinstance(last_step, dict) else None),
                "Created": format_created(config.get("created")),
                "Container": config.get("container"),
                "ContainerConfig": config.get("container_config") or {},
                "DockerVersion": config.get("docker_version"),
                "Author": config.get("author"),
                "Config": runtime,
                "Architecture": config.get("architecture"),
                "Variant": config.get("variant"),
                "Os": config.get("os"),
                "OsVersion": config.get("os.version"),
                "RootFS": {"Type": layers.get("type", "layers"), "Layers": layers.get("diff_ids")},
            }
            | dict(docker_fields)
        )
    )
    if isinstance(runtime, dict):
        document["Config"] |= {key: value for key, value in runtime.items() if key not in CONTAINER_CONFIG.names()}
    return document


def format_created(value: object) -> str:
    """Return a creation time as Go formats it: without trailing zeros, year 1 for a missing time."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value):
        return ZERO_TIME
    match = re.match(r"([^.]*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)\Z", value)
    if match is None:
        return ZERO_TIME
    decimals = (match[2] or "")[:9].rstrip("0")
    zone = "Z" if match[3] in ("+00:00", "-00:00") else match[3]
    return match[1] + (f".{decimals}" if decimals else "") + zone


class DocumentTemplate:
    """A template that is executed on one document after the other, as docker's client does.

    In one case it follows older clients of docker, which decode the whole config of the daemon. In a template with
    `.Config.Hostname`, a missing label is an empty string and not `<no value>`.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._error_on_missing_key = False

    def render(self, document: Mapping[str, Any]) -> str:
        """Return the output for a document. Raises `StatementError` where docker fails; ignores the case of names."""
        typed = INSPECT_RESPONSE.decode(document) if "Id" in document else document
        try:
            return self._render_typed(typed, document)
        except UnknownName as error:  # docker fails here; imq ignores the case of names
            try:
                return self._render_typed(typed, document, folds_case=True)
            except StatementError:
                raise error from None

    def _render_typed(self, typed: object, document: Mapping[str, Any], *, folds_case: bool = False) -> str:
        rules = LookupRules(ignore_case=folds_case, error_on_missing_key=self._error_on_missing_key, error_on_nil=True)
        try:
            return self._template.render(typed, rules)
        except StatementError:
            self._error_on_missing_key = True  # the option stays set on the template once docker has set it
        rules = rules.replace(error_on_missing_key=True)
        try:
            self._template.render(_DAEMON_RESPONSE.decode(document), rules)
        except StatementError:
            return self._template.render(document, rules)
        labels = _STRING_MAP.decode(document["Config"].get("Labels")) if document.get("Config") else None
        return self._template.render({**document, "Config": {**document["Config"], "Labels": labels}}, rules)
