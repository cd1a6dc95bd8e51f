"""Tables of a dockerd with a thousand images and two hundred containers, compared with docker's own commands."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from daemons import start_dockerd
from harness import find_program
from measure import RUN_TIMEOUT, BenchmarkError, Contender, Figure, interleave, milliseconds, output_of, ratio

if TYPE_CHECKING:
    from typing import Self

    from harness import Bench

IMAGES = int(os.environ.get("IMQ_BENCH_ENGINE_IMAGES", "1000"))
CONTAINERS = IMAGES // 5
_LOOP_PART = 20
"""`docker inspect` in a loop runs for one image of so many: for all of them it takes minutes."""
_LISTING_TARGET = 1.5
_LOOP_TARGET = 0.2 * _LOOP_PART
_ENGINES_TARGET = 1.5
_ENGINES = 10
_DELAY = 0.5
_WORKERS = 4
_ROUND_FACTOR = 4
_LISTING = "images in docker"
_FILTERED = f"images in docker where dangling and created before app:{IMAGES // 2}"
_INSPECTED = "images in docker where env.NUMBER = 7 or entrypoint has nothing"


def measure_tables(bench: Bench) -> tuple[str, list[Figure]]:
    """Measure whole processes against docker's, one question against two in a session, and one engine against ten."""
    find_program("docker")
    if os.geteuid() != 0:
        raise BenchmarkError("dockerd needs root")
    imq = bench.imq()
    with start_dockerd(os.path.join(bench.scratch, "tables")) as docker:
        ids = _fill(docker)
        environment = {**bench.environment(), "DOCKER_HOST": docker[2]}

        def ask(name: str, *statements: str) -> Contender:
            command = [imq, "--root", os.path.join(bench.scratch, "no-store"), "; ".join(statements)]
            return Contender(name, command, environment=environment, is_required=True)

        listing, filtered = ask("imq images", _LISTING), ask("imq, dangling and created before", _FILTERED)
        peer = Contender("docker images", [*docker, "images"], is_required=True)
        short = [listing, filtered, peer]
        interleave(short, bench.rounds * _ROUND_FACTOR)
        once, twice = ask("imq, env and entrypoint", _INSPECTED), ask("imq, the same twice", _INSPECTED, _INSPECTED)
        every = Contender("docker inspect of all", [*docker, "inspect", *ids], is_required=True)
        loop = Contender(
            f"docker inspect of each {_LOOP_PART}th", _loop([*docker, "inspect"], ids[::_LOOP_PART]), is_required=True
        )
        long = [once, twice, every, loop]
        interleave(long, bench.rounds)
    sides = _measure_side_by_side(bench, imq)
    contenders = [*short, *long, *sides]
    bench.note("tables", contenders)
    figures = [milliseconds(one.name, one) for one in contenders if one.runs]
    if all(one.runs for one in contenders):
        figures += [
            ratio(listing.name, listing, peer, _LISTING_TARGET),
            ratio(filtered.name, filtered, peer, _LISTING_TARGET),
            ratio(once.name, once, every, _LISTING_TARGET),
            ratio(once.name, once, loop, _LOOP_TARGET),
            ratio(twice.name, twice, once, _LISTING_TARGET),
            ratio(sides[1].name, sides[1], sides[0], _ENGINES_TARGET),
        ]
    return f"{len(ids)} images and {CONTAINERS} containers in one dockerd", figures


def _fill(docker: list[str]) -> list[str]:
    """Import the images, which share one layer, create the containers, and return the IDs of the images."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 1000
        tar.addfile(member, io.BytesIO(bytes(1000)))

    def add_image(number: int) -> None:
        changes = (f"ENV NUMBER={number}", 'ENTRYPOINT ["/file"]', f"LABEL part={number % 10}")
        options = [word for change in changes for word in ("--change", change)]
        name = () if number % 10 == 9 else (f"app:{number}",)
        command = [*docker, "import", *options, "-", *name]
        subprocess.run(command, input=archive.getvalue(), capture_output=True, check=True)

    def add_container(number: int) -> None:
        output_of([*docker, "create", "--network", "none", f"app:{number * 5}", "x"])

    print(f"importing {IMAGES} images into dockerd", flush=True)
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(add_image, range(IMAGES)))
        list(pool.map(add_container, [number for number in range(CONTAINERS) if number * 5 % 10 != 9]))
    ids = list(dict.fromkeys(output_of([*docker, "images", "-q", "--no-trunc"], limit=RUN_TIMEOUT).split()))
    if len(ids) != IMAGES:
        raise BenchmarkError(f"dockerd has {len(ids)} images of {IMAGES}")
    return ids


def _loop(command: list[str], ids: list[str]) -> list[str]:
    return ["sh", "-c", 'for id; do "$@" >/dev/null; done'.replace('"$@"', " ".join(command) + ' "$id"'), "sh", *ids]


def _measure_side_by_side(bench: Bench, imq: str) -> list[Contender]:
    """Run the same question for one slow engine and for ten."""
    folder = os.path.join(bench.scratch, "slow")
    os.makedirs(folder)
    engines = [_SlowEngine(os.path.join(folder, f"{number}.sock")) for number in range(_ENGINES)]
    contenders = []
    for count in (1, _ENGINES):
        places = ", ".join(f'"unix://{engine.path}"' for engine in engines[:count])
        command = [imq, "--root", os.path.join(bench.scratch, "no-store"), f"images in {places}"]
        name = f"imq images in {count} slow engine{'s' * (count > 1)}"
        contenders.append(Contender(name, command, environment=bench.environment(), is_required=True))
    try:
        for engine in engines:
            engine.start()
        interleave(contenders, bench.rounds)
    finally:
        for engine in engines:
            engine.stop()
    return contenders


class _SlowEngine:
    """An engine without images that answers each request after a delay."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> Self:
        """Listen."""
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the socket."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @staticmethod
    def _answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while (line := stream.readline()).strip():
                while stream.readline().strip():
                    pass
                time.sleep(_DELAY)
                body = b"OK" if b"_ping" in line else b"[]"
                head = f"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
