"""What `docker image inspect` shows: the document with Go's zero values, and the typed value that templates see.

Docker runs a template twice at most: over the typed answer of its client, and where that fails over the daemon's JSON
with `missingkey=error`. So `{{.Config.Healthcheck.Interval}}` is `30s`, and `{{.Id}}` is found though Go calls it `ID`.
"""

from __future__ import annotations

import re

from imq.engine.render.template.go_types import ZERO_TIME, Member, StructType, Type, plain
from imq.engine.render.template.values import Rules
from imq.grammar.errors import StatementError, UnknownName
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imq.engine.render.template.template import Template

_TEXT, _BOOL, _INT = Type("string"), Type("bool"), Type("int")
_WORDS, _TEXTS, _SET = Type("[]string"), Type("map[string]string"), Type("map[string]struct {}")
_TIME, _DURATION = Type("time.Time"), Type("time.Duration")

_HEALTH = StructType(
    "container.HealthConfig",
    (
        Member("Test", _WORDS, omits_empty=True),
        *(
            Member(name, _DURATION, omits_empty=True)
            for name in ("Interval", "Timeout", "StartPeriod", "StartInterval")
        ),
        Member("Retries", _INT, omits_empty=True),
    ),
)
CONTAINER_CONFIG = StructType(
    "container.Config",
    (
        Member("Hostname", _TEXT),
        Member("Domainname", _TEXT),
        Member("User", _TEXT),
        Member("AttachStdin", _BOOL),
        Member("AttachStdout", _BOOL),
        Member("AttachStderr", _BOOL),
        Member("ExposedPorts", _SET, omits_empty=True),
        Member("Tty", _BOOL),
        Member("OpenStdin", _BOOL),
        Member("StdinOnce", _BOOL),
        Member("Env", _WORDS),
        Member("Cmd", _WORDS),
        Member("Healthcheck", _HEALTH, omits_empty=True, pointer=True),
        Member("ArgsEscaped", _BOOL, omits_empty=True),
        Member("Image", _TEXT),
        Member("Volumes", _SET),
        Member("WorkingDir", _TEXT),
        Member("Entrypoint", _WORDS),
        Member("NetworkDisabled", _BOOL, omits_empty=True),
        Member("MacAddress", _TEXT, omits_empty=True),
        Member("OnBuild", _WORDS),
        Member("Labels", _TEXTS),
        Member("StopSignal", _TEXT, omits_empty=True),
        Member("StopTimeout", Type("*int"), omits_empty=True),
        Member("Shell", _WORDS, omits_empty=True),
    ),
)
"""The config as docker's daemon writes it."""
_OCI_CONFIG = StructType(
    "v1.DockerOCIImageConfig",
    (
        Member(
            "ImageConfig",
            StructType(
                "v1.ImageConfig",
                (
                    Member("User", _TEXT, omits_empty=True),
                    Member("ExposedPorts", _SET, omits_empty=True),
                    Member("Env", _WORDS, omits_empty=True),
                    Member("Entrypoint", _WORDS, omits_empty=True),
                    Member("Cmd", _WORDS, omits_empty=True),
                    Member("Volumes", _SET, omits_empty=True),
                    Member("WorkingDir", _TEXT, omits_empty=True),
                    Member("Labels", _TEXTS, omits_empty=True),
                    Member("StopSignal", _TEXT, omits_empty=True),
                    Member("ArgsEscaped", _BOOL, omits_empty=True),
                ),
            ),
            embedded=True,
        ),
        Member(
            "DockerOCIImageConfigExt",
            StructType(
                "v1.DockerOCIImageConfigExt",
                (
                    Member("Healthcheck", _HEALTH, omits_empty=True, pointer=True),
                    Member("OnBuild", _WORDS, omits_empty=True),
                    Member("Shell", _WORDS, omits_empty=True),
                ),
            ),
            embedded=True,
        ),
    ),
)
"""The config as docker's client reads it."""
_PLATFORM = StructType(
    "v1.Platform",
    (
        Member("Architecture", _TEXT, "architecture"),
        Member("OS", _TEXT, "os"),
        Member("OSVersion", _TEXT, "os.version", omits_empty=True),
        Member("OSFeatures", _WORDS, "os.features", omits_empty=True),
        Member("Variant", _TEXT, "variant", omits_empty=True),
    ),
)
_DESCRIPTOR = StructType(
    "v1.Descriptor",
    (
        Member("MediaType", _TEXT, "mediaType"),
        Member("Digest", _TEXT, "digest"),
        Member("Size", _INT, "size"),
        Member("URLs", _WORDS, "urls", omits_empty=True),
        Member("Annotations", _TEXTS, "annotations", omits_empty=True),
        Member("Data", _WORDS, "data", omits_empty=True),
        Member("Platform", _PLATFORM, "platform", omits_empty=True, pointer=True),
        Member("ArtifactType", _TEXT, "artifactType", omits_empty=True),
    ),
)
IMAGE = StructType(
    "image.InspectResponse",
    (
        Member("ID", _TEXT, "Id"),
        Member("RepoTags", _WORDS),
        Member("RepoDigests", _WORDS),
        Member("Parent", _TEXT),
        Member("Comment", _TEXT),
        Member("Created", _TEXT, omits_empty=True),
        Member("Container", _TEXT, omits_empty=True),
        Member("ContainerConfig", CONTAINER_CONFIG, omits_empty=True, pointer=True),
        Member("DockerVersion", _TEXT),
        Member("Author", _TEXT),
        Member("Config", _OCI_CONFIG, pointer=True),
        Member("Architecture", _TEXT),
        Member("Variant", _TEXT, omits_empty=True),
        Member("Os", _TEXT),
        Member("OsVersion", _TEXT, omits_empty=True),
        Member("Size", Type("int64")),
        Member("VirtualSize", Type("int64"), omits_empty=True),
        Member("GraphDriver", StructType("storage.DriverData", (Member("Data", _TEXTS), Member("Name", _TEXT)))),
        Member(
            "RootFS",
            StructType(
                "image.RootFS", (Member("Type", _TEXT, omits_empty=True), Member("Layers", _WORDS, omits_empty=True))
            ),
        ),
        Member("Metadata", StructType("image.Metadata", (Member("LastTagTime", _TIME),))),
        Member("Descriptor", _DESCRIPTOR, omits_empty=True, pointer=True),
        Member("Manifests", _WORDS, omits_empty=True),
    ),
)
"""The document as docker's client reads it."""


_ALWAYS = ("Created", "Container", "ContainerConfig", "VirtualSize")
_DAEMON_IMAGE = StructType(
    "types.ImageInspect",
    tuple(
        member.replace(
            type=CONTAINER_CONFIG if member.name == "Config" else member.type,
            omits_empty=member.omits_empty and member.name not in _ALWAYS,
        )
        for member in IMAGE.members
        if member.name not in {"Descriptor", "Manifests"}
    ),
)
"""The document as docker's daemon writes it."""


def image_document(config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of an image as docker's daemon writes it: from its config, and what else is `known` of it.

    What the config says of running it beside what docker knows follows as it stands.
    """
    history, runtime = config.get("history"), config.get("config")
    last = history[-1] if isinstance(history, list) and history else None
    rootfs = config.get("rootfs")
    layers = rootfs if isinstance(rootfs, dict) else {}
    document: dict[str, Any] = plain(
        _DAEMON_IMAGE.decode(
            {
                "Comment": config.get("comment") or (last.get("comment") if isinstance(last, dict) else None),
                "Created": write_created(config.get("created")),
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
            | dict(known)
        )
    )
    if isinstance(runtime, dict):
        document["Config"] |= {key: value for key, value in runtime.items() if key not in CONTAINER_CONFIG.names()}
    return document


def write_created(value: object) -> str:
    """Return a time of creation as Go writes it again: no zeros at the end, year 1 for one that is missing."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value):
        return ZERO_TIME
    match = re.match(r"([^.]*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)\Z", value)
    if match is None:
        return ZERO_TIME
    decimals = (match[2] or "")[:9].rstrip("0")
    zone = "Z" if match[3] in ("+00:00", "-00:00") else match[3]
    return match[1] + (f".{decimals}" if decimals else "") + zone


class DocumentTemplate:
    """A template over documents, run one after the other as docker's client runs it.

    In one thing older clients of docker are followed, which know the daemon's whole config: beside `.Config.Hostname`,
    too, the text of a missing label is empty and not `<no value>`.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._strict = False

    def render(self, document: Mapping[str, Any]) -> str:
        """Return the text for a document; raise StatementError where docker fails and no other case of a name helps."""
        typed = IMAGE.decode(document) if "Id" in document else document
        try:
            return self._run(typed, document)
        except UnknownName as problem:  # docker fails here; names of another case are this language's own
            try:
                return self._run(typed, document, folds_case=True)
            except StatementError:
                raise problem from None

    def _run(self, typed: object, document: Mapping[str, Any], *, folds_case: bool = False) -> str:
        rules = Rules(folds_case=folds_case, missing_key_fails=self._strict, nil_fails=True)
        try:
            return self._template.render(typed, rules)
        except StatementError:
            self._strict = True  # the option stays set on the template once docker has set it
        rules = rules.replace(missing_key_fails=True)
        try:
            self._template.render(_DAEMON_IMAGE.decode(document), rules)
        except StatementError:
            return self._template.render(document, rules)
        labels = _TEXTS.decode(document["Config"].get("Labels")) if document.get("Config") else None
        return self._template.render({**document, "Config": {**document["Config"], "Labels": labels}}, rules)
