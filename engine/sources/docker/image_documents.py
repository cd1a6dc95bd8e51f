"""What engines say of images, as rows: names, sizes, configs, layers and steps of the build."""

from __future__ import annotations

from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.platform import parse_platform
from imq.engine.oci.reference import Reference, parse_name
from imq.engine.oci.timestamp import parse_time
from imq.engine.store.config_columns import JSON_FIELDS, STRING_FIELDS, read_documents, read_strings
from imq.engine.store.index_rows import to_json
from imq.grammar.record import TYPE_CHECKING

from .tables import INSPECTED_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

_NONE = ("<none>:<none>", "<none>@<none>")
"""The names that engines before API 1.43 give images without a name."""
_NANOSECONDS = 1_000_000_000
_CONFIG_STEPS = (
    "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL",
    "USER", "VOLUME",
)  # fmt: skip
"""Instructions of a Dockerfile that make no layer."""
_NO_OPERATION = "#(nop)"
"""How the classic builder marks the command of an instruction that runs nothing."""

PLATFORM_FIELDS = ("platform", "os", "architecture", "variant", "os_version")
DETAIL_COLUMNS = (*PLATFORM_FIELDS, "layer_count", "chain_id", "pulled_at", *INSPECTED_FIELDS)


def read_tags(item: Mapping[str, Any]) -> list[str]:
    """Return the names with a tag of an image."""
    return [name for name in item.get("RepoTags") or () if name not in _NONE and not name.endswith(":<none>")]


def read_digests(item: Mapping[str, Any]) -> list[str]:
    """Return the names with a digest of an image."""
    return [name for name in item.get("RepoDigests") or () if name not in _NONE and not name.startswith("<none>@")]


def seconds_to_time(seconds: object) -> int | None:
    """Return a time in nanoseconds; zero, and the year 1, mean that it is not known."""
    return seconds * _NANOSECONDS if isinstance(seconds, int) and seconds > 0 else None


def list_names(item: Mapping[str, Any]) -> Iterator[tuple[str | None, str | None, str | None, str | None, str | None]]:
    """Yield a row for each name of an image, as `docker image ls --digests` does.

    A row is the name, the registry, the repository, the tag and the digest. An image without a name is one row.
    """
    digests: dict[str, list[str]] = {}
    for text in read_digests(item):
        repository, _, digest = text.partition("@")
        digests.setdefault(_canonical(repository), []).append(digest)
    names = [parse_name(tag) for tag in read_tags(item)]
    tagged = {name.canonical_name for name in names}
    for name in names:
        own = digests.get(name.canonical_name)
        yield str(name), name.registry, name.familiar_name, name.tag, own[0] if own else None
    untagged = [(place, digest) for place, all_ in digests.items() if place not in tagged for digest in all_]
    for place, digest in untagged:
        name = parse_name(f"{place}@{digest}")
        yield str(name), name.registry, name.familiar_name, None, digest
    if not names and not untagged:
        yield None, None, None, None, None


def _canonical(repository: str) -> str:
    name = parse_name(f"{repository}:latest")
    return name.canonical_name if isinstance(name, Reference) else repository


def read_config(document: Mapping[str, Any]) -> Config:
    """Return the config of an inspected image; it has no history, which engines list by itself."""
    config = document.get("Config")
    runtime = config if isinstance(config, dict) else {}
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
    layers = (document.get("RootFS") or {}).get("Layers") or ()
    return tuple(Digest.parse(layer) for layer in layers)


def read_details(document: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the values of `DETAIL_COLUMNS` of an inspected image."""
    config = read_config(document)
    chain = compute_chain_ids(config.diff_ids)
    strings = dict(zip((field.name for field in STRING_FIELDS), read_strings(config), strict=True))
    lists = read_documents(config)
    is_json = {field.name for field in JSON_FIELDS}
    values = [to_json(lists[name]) if name in is_json else strings[name] for name in INSPECTED_FIELDS]
    pulled = parse_time((document.get("Metadata") or {}).get("LastTagTime"))
    return (*config.platform.field_values, len(config.diff_ids), chain[-1] if chain else None, pulled, *values)


def list_steps(history: Sequence[Mapping[str, Any]], layer_count: int) -> list[tuple[Mapping[str, Any], int | None]]:
    """Return the steps of a build, first step first, each with the position of the layer that it made.

    Engines do not say which steps made a layer. The sizes tell when as many steps have one as there are layers, else
    the instructions do. When neither fits, no position is known.
    """
    steps = list(reversed(history))
    by_size = [bool(step.get("Size")) for step in steps]
    by_command = [_makes_layer(step) for step in steps]
    made = next((one for one in (by_command, by_size) if sum(one) == layer_count), None)
    if made is None:
        return [(step, None) for step in steps]
    positions = iter(range(layer_count))
    return [(step, next(positions) if has_layer else None) for step, has_layer in zip(steps, made, strict=True)]


def _makes_layer(step: Mapping[str, Any]) -> bool:
    if step.get("Size"):
        return True
    command = str(step.get("CreatedBy") or "")
    if _NO_OPERATION in command:
        return command.partition(_NO_OPERATION)[2].split()[:1] in (["ADD"], ["COPY"])
    return command.split(" ", 1)[0] not in _CONFIG_STEPS
