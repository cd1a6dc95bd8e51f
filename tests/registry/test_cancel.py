"""A failed layer or an interrupt stops the other layers at once, and leaves nothing incomplete."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.worker_pool import WorkerPool
from imq.grammar.errors import RegistryError
from registry.support import sample_images
from registry.support.scripted_server import ScriptedServer, Step
from support.waiting import DEADLINE, deadline, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.registry.client import Client

AMD64 = Platform("linux", "amd64")


def serve_held_layers(
    store: sample_images.MemoryStore,
    manifest: Descriptor,
    last: Step | None,
    hold: threading.Event,
    tls: tuple[str, str] | None = None,
) -> ScriptedServer:
    """Serve an image whose layers stop half-way until `hold` is set; the last layer is the step `last`."""
    from imq.engine.oci.manifest import Manifest, parse_manifest

    document = parse_manifest(store.blobs[manifest.digest])
    assert isinstance(document, Manifest)
    steps = [
        Step("GET", "/v2/a/manifests/latest", 200, {"Content-Type": manifest.media_type}, store.read(manifest.digest)),
        Step("GET", f"/v2/a/blobs/{document.config.digest}", body=store.read(document.config.digest)),
    ]
    layers = list(document.layers)
    if last is not None:
        last.path = f"/v2/a/blobs/{layers.pop().digest}"
        steps.append(last)
    for layer in layers:
        half = store.read(layer.digest)[: layer.size // 2]
        steps.append(Step("GET", f"/v2/a/blobs/{layer.digest}", body=half, length=layer.size, hold=hold))
    return ScriptedServer(*steps, any_order=True, tls=tls)


@pytest.fixture
def hold() -> threading.Event:
    return threading.Event()


@pytest.mark.parametrize("status", [404, 403])
def test_a_failed_layer_stops_the_others(client: Client, hold: threading.Event, status: int) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=4, size=3 << 20)
    with serve_held_layers(source_store, manifest, Step("GET", "", status), hold) as server:
        with deadline(), pytest.raises(RegistryError) as caught:
            pull(client, Reference.parse(f"{server.host}/a"), AMD64, target_store, NullProgress())
        hold.set()
    assert caught.value.status == status
    assert manifest.digest not in target_store.blobs
    assert len(target_store.blobs) == 1, "only the config"
    assert not [t for t in threading.enumerate() if t.name.startswith("imq-transfer")]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_ctrl_c_stops_all_threads(
    connect: Callable[..., Client], hold: threading.Event, encrypted: bool, certificate: tuple[str, str]
) -> None:
    source_store, target_store, watcher = (
        sample_images.MemoryStore(),
        sample_images.MemoryStore(),
        sample_images.ProgressRecorder(),
    )
    manifest = sample_images.add_image(source_store, layers=3, size=3 << 20)
    main = threading.main_thread().ident
    assert main is not None
    with serve_held_layers(source_store, manifest, None, hold, certificate if encrypted else None) as server:

        def interrupt() -> None:
            wait_until(lambda: target_store.begun == 3)  # all layers are held
            signal.pthread_kill(main, signal.SIGINT)

        timer = threading.Thread(target=interrupt)
        timer.start()
        with deadline(), pytest.raises(KeyboardInterrupt):
            pull(connect(jobs=3), Reference.parse(f"{server.host}/a"), AMD64, target_store, watcher)
        timer.join()
        hold.set()
    assert target_store.interrupted == 3
    assert watcher.ended
    assert manifest.digest not in target_store.blobs
    assert not [t for t in threading.enumerate() if t.name.startswith("imq-transfer")]


def test_cancellation_ends_the_wait_before_a_retry(connect: Callable[..., Client]) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=2)
    hold = threading.Event()
    hold.set()
    with serve_held_layers(source_store, manifest, Step("GET", "", 404), hold) as server:
        waiting = next(s for s in server.steps if s.hold is not None)
        waiting.status, waiting.headers, waiting.body, waiting.length = 503, {"Retry-After": "20"}, b"", None
        with deadline(15), pytest.raises(RegistryError) as caught:  # the server would wait 20 seconds
            pull(connect(), Reference.parse(f"{server.host}/a"), AMD64, sample_images.MemoryStore(), NullProgress())
    assert caught.value.status == 404


def test_work_is_shared_among_at_most_so_many_threads() -> None:
    lock, running, most, done = threading.Lock(), 0, 0, []
    first_three = threading.Barrier(3)

    def job(number: int) -> Callable[[WorkerPool], None]:
        def run(_: WorkerPool) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            if number < 3:
                first_three.wait(DEADLINE)
            time.sleep(0.005)
            with lock:
                running -= 1
                done.append(number)

        return run

    WorkerPool().run([job(number) for number in range(20)], 3)
    assert sorted(done) == list(range(20))
    assert most == 3


def test_the_first_error_is_raised() -> None:
    started = threading.Barrier(2)

    def failing(_: WorkerPool) -> None:
        started.wait(5)
        raise ValueError("first")

    def later(work: WorkerPool) -> None:
        started.wait(5)
        work.stop.wait(5)
        raise ValueError("second")

    with pytest.raises(ValueError, match="first"):
        WorkerPool().run([failing, later], 2)
