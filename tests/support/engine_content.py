"""The images and containers of tests of engines, made without a network: the same ones in dockerd and in podman."""

from __future__ import annotations

import io
import tarfile
import tempfile
import urllib.request
from typing import TYPE_CHECKING

from imq.engine.docker_engine.client import EngineClient
from imq.engine.docker_engine.endpoint import find_endpoint

from .images import ARM64, LAYER_TYPES, MANIFEST_TYPE, Image, Layer, digest_of, docker_archive, layer
from .programs import wait_program
from .waiting import wait_until

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from .engines import Dockerd, Engine

_NANOSECONDS = 1_000_000_000


def make_images() -> dict[str, tuple[Image, Sequence[str]]]:
    """Return the images with the names that they get, by what tests call them."""
    base = layer({"bin/.keep": b"", "usr/lib/base": b"base" * 5000})
    program = program_layer("wait", wait_program())
    extra = layer({"srv/data": b"data" * 2500})
    common = {"Cmd": ["/wait"]}
    full = {
        "User": "1000:1000",
        "Entrypoint": ["/wait"],
        "Cmd": ["5", "two words", ""],
        "WorkingDir": "/srv",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}, "/var/log": {}},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD", "/wait", "0"], "Interval": 5 * _NANOSECONDS, "Retries": 2},
    }
    variables = ["PATH=/usr/bin", "EMPTY=", "WITH=a=b", "SPACE=a b"]
    labels = {"team": "web", "empty": "", "org.example/key": "x=y", "quote": "a\"b'c"}
    return {
        "wait": (Image([base, program], "2024-02-01T10:00:00Z", settings=common), ["wait:1", "wait:latest"]),
        "full": (
            Image(
                [base, program, extra],
                "2024-03-01T10:00:00.5Z",
                labels=labels,
                env=variables,
                settings=full,
                changes={"author": "A. Author <a@example.org>"},
            ),
            ["team/full:1.2", "example.org:5000/a/b/full:x"],
        ),
        "epoch": (Image([base], "1970-01-01T00:00:00Z", labels={}), ["epoch:1"]),
        "timeless": (Image([program, extra], None), ["timeless:1"]),
        "zero": (Image([extra, base], "0001-01-01T00:00:00Z"), ["zero:1"]),
        "arm": (
            Image([extra], "2024-05-01T00:00:00Z", ARM64),
            ["arm:1"],
        ),
        "same-layers": (Image([base, program], "2024-06-01T00:00:00Z", labels={"a": "b"}), ["same:1"]),
        "nameless": (Image([base, extra], "2024-07-01T00:00:00Z"), []),
    }


def program_layer(name: str, content: bytes) -> Layer:
    """Return a layer of one executable file."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(content), 0o755, 1_704_067_200
        tar.addfile(member, io.BytesIO(content))
    blob = archive.getvalue()
    return Layer(blob, digest_of(blob), LAYER_TYPES[""], len(content))


def load_images(engine: Engine, images: dict[str, tuple[Image, Sequence[str]]]) -> None:
    """Load images into an engine by its own client."""
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        docker_archive(archive.name, list(images.values()))
        engine.run("load", "-i", archive.name)


def load_waiting(engine: Engine, folder: pathlib.Path) -> None:
    """Load `localhost/wait:1`, whose containers wait for ever."""
    image, _ = make_images()["wait"]
    docker_archive(folder / "wait.tar", [(image, ["localhost/wait:1"])])
    engine.run("load", "-i", str(folder / "wait.tar"))


def push_and_move(engine: Engine, host: str) -> None:
    """Give images digests by a registry: one with tags, one with a digest alone, one with both in two repositories."""
    podman = ("--tls-verify=false",) if engine.kind == "podman" else ()
    for source, name in (("wait:1", "team/web:1"), ("same:1", "team/web:2"), ("timeless:1", "team/only:1")):
        engine.run("tag", source, f"{host}/{name}")
        engine.run("push", *podman, f"{host}/{name}")
    engine.run("tag", "wait:1", f"{host}/team/web:also")
    engine.run("rmi", f"{host}/team/only:1")
    engine.run("rmi", "timeless:1")
    engine.run("pull", *podman, f"{host}/team/only@{_find_digest(host, 'team/only', '1')}")
    engine.run("tag", "epoch:1", f"{host}/team/moved:1")
    engine.run("push", *podman, f"{host}/team/moved:1")
    engine.run("tag", "arm:1", f"{host}/team/moved:1")


def _find_digest(host: str, repository: str, tag: str) -> str:
    types = f"{MANIFEST_TYPE}, application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{tag}", headers={"Accept": types})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def wait_arguments(engine: Engine) -> list[str]:
    """Return the options with which a container runs on a machine of tests."""
    own = ["--network", "none"]
    if engine.kind == "podman":  # its defaults are above the limits of this process
        own += ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    return own


def make_containers(engine: Engine) -> None:
    """Make containers in many states, of `wait:1` and `team/full:1.2`; each ends with the engine."""
    own = wait_arguments(engine)
    engine.run("create", "--name", "made", *own, "wait:1")
    engine.run(
        *("create", "--name", "limits", *own, "--memory", "64m", "--cpus", "1.5", "--read-only", "--privileged"),
        *("--restart", "on-failure:3", "--user", "12:13", "--label", "a=b", "--label", "c", "--env", "X=y z"),
        *(
            "--pid",
            "host",
            "-v",
            "named:/named",
            "-v",
            "/tmp:/host:ro",
            "--tmpfs",
            "/scratch",
            "team/full:1.2",
            "1",
            "two words",
        ),
    )
    engine.run("create", "--name", "borrows", *own, "--volumes-from", "limits:ro", "same:1", "/wait")
    engine.run("run", "-d", "--name", "runs", *own, "--expose", "8080", "wait:latest", "/wait")
    engine.run("create", "--name", "ended", *own, "wait:1", "/wait", "7")
    engine.run("start", "ended")
    engine.run("run", "-d", "--name", "sick", *own, "team/full:1.2", "x")
    wait_until(lambda: engine.run("inspect", "-f", "{{.State.Status}}", "ended") == "exited")


def build_images(engine: Dockerd) -> None:
    """Build `classic:1` with intermediate images, and `cached:1` with a build cache; only dockerd has these.

    With the image store of containerd there is no `cached:1`: BuildKit takes its context from buildx alone there.
    """
    builds = [("1", "classic:1")] if engine.uses_containerd_images else [("1", "classic:1"), ("2", "cached:1")]
    for version, name in builds:
        build_image(
            engine, name, b'FROM scratch\nCOPY wait /wait\nLABEL x=y\nENV A=b\nCMD ["/wait"]\n', version=version
        )


def build_image(engine: Dockerd, name: str, dockerfile: bytes, *, version: str = "2") -> None:
    """Build an image; the program `wait` is in the context. `version` 1 is the classic builder, 2 is BuildKit."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in (("wait", wait_program()), ("Dockerfile", dockerfile)):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    endpoint = find_endpoint(engine.address, {}, "/nonexistent")
    assert endpoint is not None
    options, headers = {"version": version, "t": name}, {"Content-Type": "application/x-tar"}
    with (
        EngineClient(endpoint) as client,
        client.open_stream("POST", "build", options, body=archive.getvalue(), headers=headers) as progress,
    ):
        assert b'"error"' not in progress.read()
