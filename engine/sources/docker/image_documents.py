"""Documents of engines about images, as rows: names, sizes, configs, layers and steps of the build."""

from __future__ import annotations

import re

from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.platform import parse_platform
from imq.engine.oci.reference import DEFAULT_NAMESPACE, DEFAULT_REGISTRY, Reference, parse_name
from imq.engine.oci.timestamp import parse_time
from imq.engine.store.config_columns import JSON_FIELDS, STRING_FIELDS, read_documents, read_strings
from imq.engine.store.index_rows import to_json
from imq.grammar.record import TYPE_CHECKING

from .json_documents import read_integer, read_object, read_text, read_texts
from .tables import INSPECTED_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw

_NO_TAG = ":<none>"
_NO_REPOSITORY = "<none>"
"""How engines before API 1.43 write the parts that a name does not have."""
_COMMON_NAME = (
    r"(?:((?=[^/]*[.:])[a-z0-9]+(?:[.-][a-z0-9]+)*(?::[0-9]+)?|localhost)/)?"
    r"([a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*):([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})\Z"
)
"""A subset of the valid names with a tag, in docker's short form; it has most names in use."""
_MAX_COMMON_LENGTH = 200
_ID_LENGTH = 64
_NANOSECONDS = 1_000_000_000
_MAX_SECONDS = ((1 << 63) - 1) // _NANOSECONDS
_CONFIG_STEPS = (
    "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL",
    "USER", "VOLUME",
)  # fmt: skip
"""Instructions of a Dockerfile that make no layer."""
_NO_OPERATION = "#(nop)"
"""How the classic builder marks the command of an instruction that runs nothing."""

PLATFORM_FIELDS = ("platform", "os", "architecture", "variant", "os_version")
DETAIL_COLUMNS = (
    *PLATFORM_FIELDS,
    "layer_count",
    "diff_ids",
    "chain_ids",
    "chain_id",
    "pulled_at",
    "store_path",
    *INSPECTED_FIELDS,
)


def read_tags(item: Mapping[str, Any]) -> list[str]:
    """Return the names with a tag of an image."""
    names = read_texts(item.get("RepoTags"))  # podman lists names with a digest among them
    return [name for name in names if name and "@" not in name and not name.endswith(_NO_TAG)]


def read_digests(item: Mapping[str, Any]) -> list[str]:
    """Return the names with a digest of an image: repository, `@` and digest."""
    names = read_texts(item.get("RepoDigests"))
    return [name for name in names if not name.startswith(f"{_NO_REPOSITORY}@") and is_digest(name.partition("@")[2])]


def is_stored_by_containerd(item: Mapping[str, Any]) -> bool:
    """Whether the ID of an image is the digest in its names, as in docker's image store of containerd.

    In the older store it is the digest of the config. Since API 1.48 each image has its descriptor there; before, one
    without a name does not tell: False.
    """
    id_ = item.get("Id")
    return isinstance(item.get("Descriptor"), dict) or any(
        name.partition("@")[2] == id_ for name in read_texts(item.get("RepoDigests"))
    )


def complete_digests(item: Mapping[str, Any]) -> list[str]:
    """Return the names with a digest of an image in docker's image store of containerd, one for each repository.

    Docker before 28 lists only one of them, and names with a digest among those with a tag.
    """
    names = read_texts(item.get("RepoTags"))
    repositories = (name.partition("@")[0] if "@" in name else name.rpartition(":")[0] for name in names)
    return list(dict.fromkeys((*read_digests(item), *(f"{name}@{item['Id']}" for name in repositories if name))))


def to_full_name(name: str) -> str:
    """Return a name with its registry, as requests have to write it; an ID, and a name that is none, as it is.

    Podman takes `app:1` for `localhost/app:1` when both that and `docker.io/library/app:1` are there.
    """
    if is_digest(name):
        return name
    parsed = parse_name(name)
    if not isinstance(parsed, Reference):
        return name
    return f"{parsed.canonical_name}@{parsed.digest}" if parsed.digest else f"{parsed.canonical_name}:{parsed.tag}"


def seconds_to_time(seconds: object) -> int | None:
    """Return a time in nanoseconds, None for zero and the year 1, which mean unknown."""
    number = read_integer(seconds)
    return number * _NANOSECONDS if number and number <= _MAX_SECONDS else None


def list_names(item: Mapping[str, Any]) -> Iterator[tuple[str | None, str | None, str | None, str | None, str | None]]:
    """Yield a row for each name of an image, as `docker image ls --digests` does.

    A row is the name, the registry, the repository, the tag and the digest. Podman has the digests of the index and of
    its manifest for one platform: the row has that of the index. An image without a name is one row.
    """
    digests: dict[str, list[str]] = {}
    for digest_name in read_digests(item):
        place, _, digest = digest_name.partition("@")
        digests.setdefault(_canonical(place), []).append(digest)
    tags = read_tags(item)
    tagged = set()
    manifest = item.get("Digest")
    for text in dict.fromkeys(tags):
        name, registry, repository, tag, canonical = split_tag(text)
        tagged.add(canonical)
        own = digests.get(canonical, ())
        yield name, registry, repository, tag, next((one for one in own if one != manifest), own[0]) if own else None
    untagged = [(place, one) for place, all_ in digests.items() if place not in tagged for one in dict.fromkeys(all_)]
    for place, one in untagged:
        reference = parse_name(f"{place}@{one}")
        yield str(reference), reference.registry, reference.familiar_name, None, one
    if not tags and not untagged:
        yield None, None, None, None, None


def split_tag(text: str) -> tuple[str, str | None, str | None, str | None, str]:
    """Return the short form, registry, repository, tag and canonical repository of a name with a tag."""
    match = re.match(_COMMON_NAME, text) if len(text) <= _MAX_COMMON_LENGTH else None
    if match is not None:
        registry, path, tag = match.groups()
        if registry is not None:
            if registry not in ("docker.io", "index.docker.io"):
                place = text[: -1 - len(tag)]
                return text, registry, place, tag, place
        elif "/" not in path:
            if len(path) != _ID_LENGTH:
                return text, DEFAULT_REGISTRY, path, tag, f"{DEFAULT_REGISTRY}/{DEFAULT_NAMESPACE}{path}"
        elif not path.startswith(DEFAULT_NAMESPACE) and "." not in path.partition("/")[0]:
            return text, DEFAULT_REGISTRY, path, tag, f"{DEFAULT_REGISTRY}/{path}"
    name = parse_name(text)
    return str(name), name.registry, name.familiar_name, name.tag, name.canonical_name


def _canonical(repository: str) -> str:
    name = parse_name(f"{repository}:latest")
    return name.canonical_name if isinstance(name, Reference) else repository


def read_config(document: Mapping[str, Any]) -> Config:
    """Return the config of an inspected image; it has no history, which engines list by itself. Raises `Malformed`."""
    runtime = read_object(document.get("Config"))
    described = {
        "created": document.get("Created"),
        "author": document.get("Author"),
        "os": document.get("Os"),
        "architecture": document.get("Architecture"),
        "variant": document.get("Variant"),
        "os.version": document.get("OsVersion"),
        "config": runtime,
    }
    return Config(
        parse_platform({key: value for key, value in described.items() if isinstance(value, str)}),
        parse_time(described["created"]),
        _diff_ids(document),
        (),
        runtime,
        described,
    )


def _diff_ids(document: Mapping[str, Any]) -> tuple[Digest, ...]:
    return tuple(map(Digest.parse, read_texts(read_object(document.get("RootFS")).get("Layers"))))


def read_details(document: Mapping[str, Any]) -> tuple[Raw, ...]:
    """Return the values of `DETAIL_COLUMNS` of an inspected image. Raises `Malformed`."""
    config = read_config(document)
    chain = compute_chain_ids(config.diff_ids)
    strings = dict(zip((field.name for field in STRING_FIELDS), read_strings(config), strict=True))
    lists = read_documents(config)
    is_json = {field.name for field in JSON_FIELDS}
    values = [to_json(lists[name]) if name in is_json else strings[name] for name in INSPECTED_FIELDS]
    pulled = parse_time(read_object(document.get("Metadata")).get("LastTagTime"))
    layers = len(chain), to_json(list(config.diff_ids)), to_json(list(chain)), chain[-1] if chain else None
    return (*config.platform.field_values, *layers, pulled, _find_folder(document), *values)


def _find_folder(document: Mapping[str, Any]) -> str | None:
    """Return the folder of the top layer of an image, where the graph driver has one; containerd's store has none."""
    data = read_object(read_object(document.get("GraphDriver")).get("Data"))
    return next((path for key in ("UpperDir", "MergedDir") if (path := read_text(data.get(key)))), None)


def list_steps(history: Sequence[Mapping[str, Any]], layer_count: int) -> list[tuple[Mapping[str, Any], int | None]]:
    """Return the steps of a build, first step first, each with the position of the layer that it made.

    The history of an engine does not tell which steps made a layer. The sizes tell when as many steps have one as there
    are layers, else the instructions do. When neither fits, no position is known.
    """
    steps = list(reversed(history))
    by_size = [bool(read_integer(step.get("Size"))) for step in steps]
    by_command = [_makes_layer(step) for step in steps]
    by_flag = ["EmptyLayer" in step and not step["EmptyLayer"] for step in steps]
    made = next((one for one in (by_flag, by_command, by_size) if sum(one) == layer_count), None)
    if made is None:
        return [(step, None) for step in steps]
    positions = iter(range(layer_count))
    return [(step, next(positions) if has_layer else None) for step, has_layer in zip(steps, made, strict=True)]


def _makes_layer(step: Mapping[str, Any]) -> bool:
    if read_integer(step.get("Size")):
        return True
    command = read_text(step.get("CreatedBy")) or ""
    if _NO_OPERATION in command:
        return command.partition(_NO_OPERATION)[2].split()[:1] in (["ADD"], ["COPY"])
    return command.split(" ", 1)[0] not in _CONFIG_STEPS
