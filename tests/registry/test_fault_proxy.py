"""A real registry behind a proxy with faults, and a real store: neither ever stores wrong content."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.actions.executor import ActionExecutor
from imq.engine.actions.pull import Pull
from imq.engine.oci.digest import Digest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.engine.sources.action import ExecutionContext
from imq.engine.store.store import Store
from imq.grammar.errors import ImqError, RegistryError
from registry.support import fault_proxy, sample_images
from registry.support.fault_proxy import Fault, FaultProxy, Reply
from store.support.stores import list_ingest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imq.engine.registry.client import Client
    from imq.engine.sources.action import Outcome
    from support.servers import Registry

AMD64 = Platform("linux", "amd64")
RETRIES = 2
BLOB, MANIFEST = "GET .*/blobs/", "GET .*/manifests/"
UPLOAD = "(POST|PUT) .*/blobs/uploads/"
BASIC = 'Basic realm="tests"'
BROKEN = "digest-mismatch|compression|archive"
"""A layer is unpacked while it is hashed, so an error of its compression or its archive may come before the digest."""
TOO_MANY = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}'

# Each fault, the result of a pull if it happens once, and if it always happens: "" for success, else the error code.
PULL = {
    "latency": (Fault(latency=0.1), "", ""),
    "manifest late": (Fault(MANIFEST, latency=0.1), "", ""),
    "reset at once": (Fault(change=fault_proxy.reset(0)), "", "unreachable"),
    "reset in the middle": (Fault(change=fault_proxy.reset(50_000)), "", "unreachable"),
    "reset before the answer": (Fault(refuse_at=0), "", "unreachable"),
    "manifest reset": (Fault(MANIFEST, change=fault_proxy.reset(10)), "", "unreachable|truncated"),
    "short": (Fault(change=fault_proxy.truncate(1000, valid_length=True)), "", "truncated"),
    "shorter than told": (Fault(change=fault_proxy.truncate(1000, valid_length=False)), "", "truncated"),
    "manifest shorter than told": (
        Fault(MANIFEST, change=fault_proxy.truncate(10, valid_length=False)),
        "",
        "truncated",
    ),
    "manifest short": (
        Fault(MANIFEST, change=fault_proxy.truncate(10, valid_length=True)),
        "digest-mismatch",
        "digest-mismatch",
    ),
    "long": (Fault(change=fault_proxy.lengthen(1000)), "digest-mismatch", "digest-mismatch"),
    "manifest long": (Fault(MANIFEST, change=fault_proxy.lengthen(1)), "digest-mismatch", "digest-mismatch"),
    "wrong": (Fault(change=fault_proxy.flip_bit), "digest-mismatch", "digest-mismatch"),
    "layer wrong": (Fault(after=1, change=fault_proxy.flip_bit), BROKEN, BROKEN),
    "layer packed": (Fault(after=1, change=fault_proxy.compress), BROKEN, BROKEN),
    "layer long": (Fault(after=1, change=fault_proxy.lengthen(1000)), "digest-mismatch", "digest-mismatch"),
    "layer a page": (
        Fault(after=1, answer=fault_proxy.reply_with(200, b"<html>")),
        f"{BROKEN}|truncated",
        f"{BROKEN}|truncated",
    ),
    "manifest wrong": (Fault(MANIFEST, change=fault_proxy.flip_bit), "digest-mismatch", "digest-mismatch"),
    "packed": (Fault(change=fault_proxy.compress), "digest-mismatch", "digest-mismatch"),
    "manifest packed": (Fault(MANIFEST, change=fault_proxy.compress), "digest-mismatch", "digest-mismatch"),
    "401": (Fault(answer=fault_proxy.reply_with(401, WWW_Authenticate=BASIC)), "unauthorized", "unauthorized"),
    "401 without a word": (Fault(answer=fault_proxy.reply_with(401)), "unauthorized", "unauthorized"),
    "429": (Fault(answer=fault_proxy.reply_with(429, TOO_MANY, Retry_After="0")), "", "too-many-requests"),
    "429 for long": (
        Fault(answer=fault_proxy.reply_with(429, Retry_After="999")),
        "too-many-requests",
        "too-many-requests",
    ),
    "503": (Fault(answer=fault_proxy.reply_with(503)), "", "registry"),
    "manifest 503": (Fault(MANIFEST, answer=fault_proxy.reply_with(503)), "", "registry"),
    "404": (Fault(answer=fault_proxy.reply_with(404)), "not-found", "not-found"),
    "a page": (Fault(answer=fault_proxy.reply_with(200, b"<html>log in</html>")), "digest-mismatch", "truncated"),
    "manifest a page": (
        Fault(MANIFEST, answer=fault_proxy.reply_with(200, b"<html>", Content_Type="text/html")),
        *("not-a-registry", "not-a-registry"),
    ),
    "drip": (Fault(change=fault_proxy.send_slowly(20_000, 0.005)), "", ""),
    "nothing any more": (Fault(after=1, change=fault_proxy.send_slowly(20_000, 3.0)), "timeout", "timeout"),
}

# The same for a push
PUSH = {
    "latency": (Fault(UPLOAD, latency=0.1), "", ""),
    "reset at once": (Fault("PUT .*/blobs/", refuse_at=0), "", "unreachable"),
    "reset in the middle": (Fault("PUT .*/blobs/", refuse_at=50_000), "", "unreachable"),
    "answer lost": (Fault("PUT .*/blobs/", change=fault_proxy.reset(0)), "", "unreachable|blob.*"),
    "manifest's answer lost": (Fault("PUT .*/manifests/", change=fault_proxy.reset(0)), "", ".*"),
    "manifest reset": (Fault("PUT .*/manifests/", refuse_at=10), "", "unreachable"),
    "opening reset": (Fault("POST ", refuse_at=0), "", "unreachable"),
    "head reset": (Fault("HEAD ", refuse_at=0), "", "unreachable"),
    "head lies": (Fault("HEAD ", answer=fault_proxy.reply_with(200)), "registry|.*unknown|not-found", ".*"),
    "401": (Fault(UPLOAD, answer=fault_proxy.reply_with(401, WWW_Authenticate=BASIC)), "unauthorized", "unauthorized"),
    "403": (Fault(UPLOAD, answer=fault_proxy.reply_with(403)), "denied", "denied"),
    "429": (Fault(UPLOAD, answer=fault_proxy.reply_with(429, TOO_MANY)), "", "too-many-requests"),
    "503": (Fault(UPLOAD, answer=fault_proxy.reply_with(503, Retry_After="0")), "", "registry"),
    "manifest 503": (Fault("PUT .*/manifests/", answer=fault_proxy.reply_with(503)), "", "registry"),
    "no address": (Fault("POST ", answer=fault_proxy.reply_with(202)), "not-a-registry", "not-a-registry"),
    "nothing any more": (Fault("PUT .*/blobs/", latency=2.0), "timeout", "timeout"),
}


@pytest.fixture(scope="module")
def pushed_image(registry: Registry) -> tuple[Reference, sample_images.MemoryStore, Digest]:
    """An image of three layers in the registry, and its content."""
    from imq.engine.registry.client import Client
    from imq.engine.registry.settings import Settings

    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    name = Reference.parse(f"{registry.host}/proxied/image:1")
    with Client(Settings()) as direct:
        push(direct, name, manifest, source_store, NullProgress())
    return name, source_store, manifest.digest


def connect_impatiently(connect: Callable[..., Client], **more: object) -> Client:
    return connect(retries=RETRIES, first_wait=0.005, longest_wait=1.0, read_timeout=1.0, **more)


def pull_image(root: object, name: Reference, client: Client) -> Outcome:
    """Pull into a real store as the verb does, and return the outcome."""
    store = Store(str(root))
    context = ExecutionContext(
        store,
        environment={},
        progress=NullProgress(),
        clock=lambda: 1,
        jobs=3,
        lazy=False,
        registry_settings=client.settings.replace,
    )
    context._client = client
    (outcome,) = ActionExecutor(context).execute([Pull(name, (AMD64,))])
    store.close()
    return outcome


def check_error(error: ImqError, host: str, code: str) -> None:
    """Check that an error names the host and has a hint."""
    assert re.fullmatch(code, error.code), (error.code, error.message)
    assert host in error.message, error.message
    assert error.hints, error.message
    assert "Traceback" not in str(error)


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize("fault", PULL)
def test_pull(
    connect: Callable[..., Client],
    pushed_image: tuple[Reference, sample_images.MemoryStore, Digest],
    tmp_path: Path,
    fault: str,
    times: int | None,
) -> None:
    name, source_store, manifest = pushed_image
    kind, once, always = PULL[fault]
    expected = once if times else always
    root = tmp_path / "store"
    with FaultProxy(name.registry, Fault(**{**kind.__dict__, "times": times})) as proxy:
        reference = name.replace(registry=proxy.host)
        outcome = pull_image(root, reference, connect_impatiently(connect))
        most = (RETRIES + 1) * (1 if kind.on == MANIFEST else 4)
        assert proxy.count_requests(kind.on) <= most + (times or 0), "the retry budget is respected"
    stored = {f"sha256:{path.name}": path.read_bytes() for path in (root / "blobs" / "sha256").iterdir()}
    assert all(Digest.of(content) == digest for digest, content in stored.items()), "no wrong content is stored"
    left = list_ingest(root)
    if expected:
        assert outcome.error is not None
        check_error(outcome.error, proxy.host, expected)
        assert manifest not in stored, "an incomplete image is not stored"
        assert not (root / "index.json").exists() or not json.loads((root / "index.json").read_text())["manifests"]
        assert left <= {"sweep"}
        direct = connect_impatiently(connect)
        assert pull_image(root, reference.replace(registry=name.registry), direct).error is None, (
            "a second pull completes the image"
        )
    else:
        assert outcome.error is None, outcome.error
        assert stored == source_store.blobs
        assert not left


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize("fault", PUSH)
def test_push(
    connect: Callable[..., Client], client: Client, registry: Registry, fault: str, times: int | None
) -> None:
    kind, once, always = PUSH[fault]
    expected = once if times else always
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    name = Reference.parse(f"{registry.host}/proxied/{uuid.uuid4().hex[:8]}:1")
    problem: ImqError | None = None
    with FaultProxy(registry.host, Fault(**{**kind.__dict__, "times": times})) as proxy:
        reference = name.replace(registry=proxy.host)
        try:
            push(connect_impatiently(connect), reference, manifest, source_store, NullProgress())
        except ImqError as failed:
            problem = failed
        assert proxy.count_requests(kind.on) <= (RETRIES + 1) * (1 if "manifests" in kind.on else 4) + 8 * (times or 0)
    if expected and problem is not None:
        check_error(problem, proxy.host, expected)
    if not expected:
        assert problem is None, problem
    try:
        pull(client, name, AMD64, target_store, NullProgress())
    except RegistryError:
        assert problem is not None, "successful pushes are complete"
    else:
        assert target_store.blobs == source_store.blobs, "a named image is complete"
    push(client, name, manifest, source_store, NullProgress())
    pull(client, name, AMD64, target_store, NullProgress())
    assert target_store.blobs == source_store.blobs, "a second push completes the image"


@pytest.mark.parametrize("on", [BLOB, MANIFEST])
def test_a_redirect_to_another_host_carries_no_credentials(
    connect: Callable[..., Client], guarded: Registry, registry: Registry, tmp_path: Path, on: str
) -> None:
    """The other host serves the content for which the first one requires a password."""
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    name = Reference.parse(f"{guarded.host}/redirected/image:1")
    with (
        FaultProxy(registry.host) as other,
        FaultProxy(guarded.host, Fault(on, answer=fault_proxy.redirect(other.host))) as first,
    ):
        logins = {
            host: {"username": sample_images.USER, "password": sample_images.PASSWORD}
            for host in (guarded.host, first.host)
        }
        (tmp_path / "config.json").write_text(json.dumps({"auths": logins}))
        owner = connect_impatiently(connect, environment={"DOCKER_CONFIG": str(tmp_path)})
        push(owner, name, manifest, source_store, NullProgress())
        push(owner, name.replace(registry=registry.host), manifest, source_store, NullProgress())
        pull(owner, name.replace(registry=first.host), AMD64, target_store, NullProgress())
        assert target_store.blobs == source_store.blobs
        assert any("Authorization" in request.headers for request in first.requests)
        assert other.count_requests(on) > 0
        assert not [request for request in other.requests if "Authorization" in request.headers]


def test_an_upload_that_is_redirected_carries_no_credentials(
    connect: Callable[..., Client], guarded: Registry, registry: Registry, tmp_path: Path
) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=1)
    with FaultProxy(registry.host) as other, FaultProxy(guarded.host) as first:
        first.faults.append(Fault("POST ", answer=fault_proxy.redirect(other.host)))
        logins = {first.host: {"username": sample_images.USER, "password": sample_images.PASSWORD}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": logins}))
        client = connect_impatiently(connect, environment={"DOCKER_CONFIG": str(tmp_path)})
        with pytest.raises(ImqError):  # the blobs are not in the host of the manifest
            push(client, Reference.parse(f"{first.host}/redirected/upload:1"), manifest, source_store, NullProgress())
        assert other.count_requests("PUT ") > 0
        assert not [request for request in other.requests if "Authorization" in request.headers]


def test_a_password_that_is_always_refused_is_tried_a_few_times(
    connect: Callable[..., Client], guarded: Registry, tmp_path: Path
) -> None:
    refused = fault_proxy.reply_with(401, WWW_Authenticate=BASIC)
    with FaultProxy(guarded.host, Fault("GET ", answer=refused)) as proxy:
        logins = {proxy.host: {"username": sample_images.USER, "password": sample_images.PASSWORD}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": logins}))
        client = connect_impatiently(connect, environment={"DOCKER_CONFIG": str(tmp_path)})
        with pytest.raises(RegistryError) as caught:
            client.fetch_manifest(Reference.parse(f"{proxy.host}/a:1"))
        check_error(caught.value, proxy.host, "unauthorized")
        assert sample_images.PASSWORD not in str(caught.value)
        assert len(proxy.requests) <= 3


def test_tokens_that_are_always_refused_are_fetched_a_few_times(connect: Callable[..., Client]) -> None:
    token = b'{"token":"abc"}'
    with FaultProxy("127.0.0.1:1") as proxy:
        challenge = f'Bearer realm="http://{proxy.host}/token",service="x",scope="repository:a:pull"'
        proxy.faults += [
            Fault("GET /token", answer=fault_proxy.reply_with(200, token)),
            Fault("GET /v2/", answer=fault_proxy.reply_with(401, WWW_Authenticate=challenge)),
        ]
        with pytest.raises(RegistryError) as caught:
            connect_impatiently(connect).fetch_manifest(Reference.parse(f"{proxy.host}/a:1"))
        check_error(caught.value, proxy.host, "unauthorized")
        assert "abc" not in str(caught.value)
        assert proxy.count_requests("GET /v2/") <= 3
        assert proxy.count_requests("GET /token") <= 3


def test_a_broken_transfer_is_resumed(
    connect: Callable[..., Client], pushed_image: tuple[Reference, sample_images.MemoryStore, Digest]
) -> None:
    name, source_store, _ = pushed_image
    target_store = sample_images.MemoryStore()
    sent: list[int] = []

    def counted(reply: Reply) -> None:
        sent.append(min(len(reply.body), 100_000))
        reply.reset_at = 100_000

    with FaultProxy(name.registry, Fault(BLOB, change=counted)) as proxy:
        pull(connect(retries=6, jobs=1), name.replace(registry=proxy.host), AMD64, target_store, NullProgress())
        ranges = [request.headers.get("Range") for request in proxy.requests if "/blobs/" in request.path]
        assert any(ranges)
    assert target_store.blobs == source_store.blobs
    assert sum(sent) < 1.5 * sum(map(len, source_store.blobs.values())), "the upload does not restart"
