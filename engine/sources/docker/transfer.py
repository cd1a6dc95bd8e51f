"""Pulls images into engines and pushes images of engines: the engine itself speaks to the registry."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.sources.action import Failed, Outcome, RegistryWrite, changed_error
from imq.engine.sources.action_options import get_option, get_option_values, list_destination_refs
from imq.engine.sources.new_names import list_push_names
from imq.grammar.errors import Conflict, EngineError, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import EngineClients
from .credentials import make_auth_headers
from .image_documents import read_digests, read_tags, to_full_name
from .tag import find_holders, find_id, set_name
from .targets import find_targets, render_targets
from .transfer_progress import follow_transfer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imq.engine.docker_engine.client import EngineClient
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


_PUSHES_PLATFORMS = (1, 46)
"""The version of docker's API that has the parameter `platform` of a push."""
SILENCE = 600.0
"""The maximum seconds without a message of a transfer: an engine is silent while it unpacks a layer."""


class EnginePull(Record):
    """Make an engine pull an image, for this platform or for its own."""

    source: str
    reference: Reference
    platform: Platform | None = None

    def describe(self) -> Outcome:
        """Return the reference, the engine and the platform."""
        platform = f" for {self.platform}" if self.platform is not None else ""
        return Outcome("pull", str(self.reference), note=f"to {self.source}{platform}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Pull, and look up the image that has the name now."""
        client = context.get_shared(EngineClients).get(self.source)
        reference = self.reference
        path, query = "images/create", {"fromImage": reference.canonical_name, "tag": reference.selector}
        if self.platform is not None:
            query["platform"] = str(self.platform)
        if insecure := _allow_insecure(client, context, reference):  # only podman's own path knows the parameter
            path, query = "libpod/images/pull", _to_libpod(query) | insecure | {"compatMode": "true"}
        headers = make_auth_headers(context.registry_settings(), reference.registry, reference.repository)
        before = find_id(client, str(reference))
        with client.open_stream("POST", path, query, headers=headers, timeout=SILENCE) as stream:
            report = follow_transfer(str(reference), stream.read_messages(), context.progress)
        id_ = find_id(client, str(reference))
        if id_ is None:
            raise EngineError(f"{self.source} did not pull {reference}", endpoint=self.source)
        kind = "image is up to date" if id_ == before else "downloaded newer image"
        for status in report.statuses:
            if status.startswith("WARNING"):
                context.progress.warn(status.removeprefix("WARNING:").strip())
        yield Outcome("pull", str(reference), id_, report.moved_bytes, note=f"{kind} in {self.source}")


class EnginePush(RegistryWrite):
    """Make an engine push an image as `reference`. With `lends_name` the image has that name for the push only.

    With `platform` an index is pushed as its image for this platform; another image must be for it.
    """

    source: str
    reference: Reference
    id: Digest
    lends_name: bool = False
    platform: Platform | None = None

    def describe(self) -> Outcome:
        """Return the name, the image and the platform."""
        platform = f" for {self.platform}" if self.platform is not None else ""
        return Outcome("push", str(self.reference), self.id, note=f"from {self.source}{platform}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Push. Raises `NotFound` (`changed`) when the name belongs to another image by now."""
        client = context.get_shared(EngineClients).get(self.source)
        reference, name = self.reference, str(self.reference)
        if find_id(client, name) != (None if self.lends_name else self.id):
            raise changed_error(name)
        chosen = self._choose_platform(client)
        if self.lends_name:
            set_name(client, self.id, reference)
        try:
            headers = make_auth_headers(context.registry_settings(), reference.registry, reference.repository)
            path, query = f"images/{reference.canonical_name}/push", {"tag": reference.tag or ""} | chosen
            query |= _allow_insecure(client, context, reference)
            with client.open_stream("POST", path, query, headers=headers, timeout=SILENCE) as stream:
                report = follow_transfer(name, stream.read_messages(), context.progress)
        finally:
            if self.lends_name and not self._take_back(client):
                context.progress.warn(f"{name} is the only name of {self.id.short} in {self.source}, so it stays")
        size = f" size: {report.manifest_size}" if report.manifest_size is not None else ""
        note = f"digest: {report.digest}{size}" if report.digest else f"from {self.source}"
        yield Outcome("push", name, self.id, report.moved_bytes, note=note)

    def _choose_platform(self, client: EngineClient) -> dict[str, str]:
        """Return the parameter by which the engine pushes one platform.

        An engine without this parameter has images of one platform each, or pushes those of an index together. Raises
        `Conflict` when the image is for another platform, or when the engine cannot push one of several.
        """
        if self.platform is None:
            return {}
        version = client.ping()
        if version.kind == "docker" and client.supports(_PUSHES_PLATFORMS):
            import json

            chosen = self.platform
            parts = {"os": chosen.os, "architecture": chosen.architecture, "variant": chosen.variant}
            return {"platform": json.dumps({key: value for key, value in parts.items() if value})}
        image = client.get_object(f"images/{self.id}/json")
        own = Platform(
            str(image.get("Os") or ""), str(image.get("Architecture") or ""), str(image.get("Variant") or "")
        )
        if not self.platform.matches_exactly(own):
            raise Conflict(
                f"{self.reference} in {self.source} is for {own}, not for {self.platform}", code="no-such-platform"
            )
        if version.kind == "docker" and client.ping(details=True).has_containerd_images:
            raise Conflict(
                f"{self.source} pushes all platforms of an image: one platform requires version 1.46 of its API",
                code="platform",
                hints=(f"to push it by way of this machine: copy {self.reference} from {self.source} to HOST",),
            )
        return {}

    def _take_back(self, client: EngineClient) -> bool:
        """Remove the lent name; return False when the image would go with it."""
        image = client.get_object(f"images/{self.id}/json")
        own = self.reference.canonical_name
        if not any(Reference.parse(text).canonical_name != own for text in (*read_tags(image), *read_digests(image))):
            names = [text for text in read_tags(image) if Reference.parse(text) != self.reference]
            if not names:
                return False
        client.delete_json(f"images/{to_full_name(str(self.reference))}", {"noprune": "1"})
        return True


def _allow_insecure(client: EngineClient, context: ExecutionContext, reference: Reference) -> dict[str, str]:
    """Return the parameter by which podman accepts a registry without TLS; dockerd has a setting of its own."""
    allows = client.ping().kind == "podman" and context.registry_settings().allows_insecure(reference.registry)
    return {"tlsVerify": "false"} if allows else {}


def _to_libpod(query: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a pull by podman's own API."""
    separator = "@" if ":" in query["tag"] else ":"
    parameters = {"reference": f"docker://{query['fromImage']}{separator}{query['tag']}"}
    if "platform" in query:
        system, architecture, variant = (*query["platform"].split("/"), "")[:3]
        parameters |= {"OS": system, "Arch": architecture, "Variant": variant}
    return parameters


def plan_pull(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the pulls of `pull`, by each of the engines. The operands are names of images."""
    texts = get_option_values(act, "platform", context)
    option = get_option(act, "platform")
    platform = _read_platform(texts, "pulls", option) or context.platform
    names = [Reference.parse(text).with_default_tag() for text in context.literals(act.references)]
    refs = list_destination_refs(act, context)
    return [EnginePull(ref.text, name, platform) for ref in refs for name in names]


def _read_platform(texts: Sequence[str], event: str, option: ast.Option | None) -> Platform | None:
    """Return the platform of the option; None without it. Raises `StatementError` for several platforms."""
    if len(texts) > 1 or [text.lower() for text in texts] == ["all"]:
        raise StatementError(
            f"an engine {event} one platform of an image", code="option", span=option.span if option else None
        )
    return Platform.parse(texts[0]) if texts else None


def plan_push(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the pushes of `push`. Names of `to` that an image does not have are lent to it for the push."""
    texts, option = get_option_values(act, "platform", context), get_option(act, "platform")
    platform = _read_platform(texts, "pushes", option)
    targets, failures = list_push_names(act, context, find_targets, render_targets)
    holders = find_holders(targets, context)
    actions: list[Action] = []
    for (source, name), target in targets.items():
        holder = holders.get((source, str(name)))
        if holder in (None, target.id):
            actions.append(EnginePush(source, name, target.id, holder is None, platform))
        else:
            error = Conflict(
                f"{name} is the name of another image in {source}, {holder.short}",
                hints=(f"to push that image: push {name} from {source}", f"or take the name away: untag {name}"),
            )
            actions.append(Failed(act.verb, str(name), error))
    return [*actions, *failures]
