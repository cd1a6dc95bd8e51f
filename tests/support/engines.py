"""Real container engines for tests, each over folders that go with it; they touch no network and no other engine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Self

import pytest

from .debian_root import DebianRoot, find_debian_root
from .servers import require_programs
from .waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_START_LIMIT = 60.0
_START_ATTEMPTS = 3
_STOP_LIMIT = 20.0


class Engine:
    """An engine that listens on a unix socket; a context manager that starts and stops it.

    With `root`, the engine and its client are those of that root file system. The paths of its folder, and of the
    folders of tests, are the same there.
    """

    kind = ""

    def __init__(self, folder: str | os.PathLike[str], *, root: DebianRoot | None = None) -> None:
        self.folder = os.fspath(folder)
        self.root = root
        self.socket = os.path.join(self.folder, "engine.sock")
        self.address = f"unix://{self.socket}"
        self.client: list[str] = []
        """The beginning of every command of the engine's own client."""
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return the command that starts the engine."""
        raise NotImplementedError

    def client_command(self) -> list[str]:
        """Return the beginning of a command of the engine's client, once the engine is started."""
        raise NotImplementedError

    def inside(self, *words: str) -> list[str]:
        """Return a command as it is run where the engine runs."""
        if self.root is None or self.process is None:
            return list(words)
        return [*self.root.join(self.process.pid), *words]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words: str, stdin: bytes | None = None) -> str:
        """Run a command of the engine's own client, and return its output without the line ending."""
        done = subprocess.run([*self.client, *words], input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def start(self) -> None:
        """Start the engine, and return when it answers.

        A start that fails is tried again: dockerd gives up when its containerd needs more than 15 seconds. The test is
        skipped when the engine cannot start on this machine; it fails if `IMQ_REQUIRE_SERVERS` is set.
        """
        if os.geteuid() != 0 and not os.environ.get("IMQ_REQUIRE_SERVERS"):
            pytest.skip(f"{self.kind} needs root")
        log_path = os.path.join(self.folder, "log")
        if any(self._start_once(log_path) for _ in range(_START_ATTEMPTS)):
            return
        with open(log_path, errors="replace") as log_text:
            reason = f"{self.kind} does not start on this machine: {log_text.read()[-300:]}"
        if os.environ.get("IMQ_REQUIRE_SERVERS"):
            pytest.fail(reason)
        pytest.skip(reason)

    def _start_once(self, log_path: str) -> bool:
        """Start the engine, and return whether it answers in time; otherwise it is stopped again."""
        command = self.command()
        if self.root is not None:
            command = self.root.command(command, os.path.dirname(self.folder))
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.client = self.client_command()
        limit = time.monotonic() + _START_LIMIT
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > limit:
                self.stop()
                return False
            time.sleep(0.02)
        return True

    def answers(self) -> bool:
        """Whether the engine's client reaches it."""
        if not os.path.exists(self.socket):
            return False
        return subprocess.run([*self.client, "version"], capture_output=True, check=False).returncode == 0

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the engine during the block. Its threads stop one after the other, and the block waits for all."""
        process = self.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: _is_suspended(process.pid))
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop the engine, and unmount what it mounted; its files stay."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for mount in mounts_under(self.folder):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)


def _is_suspended(pid: int) -> bool:
    """Whether each thread of a process is stopped by a signal."""
    folder = f"/proc/{pid}/task"
    for thread in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{folder}/{thread}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] != "T":
                return False
    return True


class Dockerd(Engine):
    """A dockerd. With `tls`, a folder with ca.pem, cert.pem and key.pem, it also listens at `tls_address`.

    With `uses_containerd_images`, containerd stores its images: their IDs are digests of manifests and indexes.
    """

    kind = "dockerd"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        tls: str = "",
        port: int = 0,
        root: DebianRoot | None = None,
        uses_containerd_images: bool = False,
    ) -> None:
        super().__init__(folder, root=root)
        self.client = self.client_command()
        self.uses_containerd_images = uses_containerd_images
        self.tls_address = f"tcp://127.0.0.1:{port}" if tls else ""
        self._tls = tls
        self._keeps_content = False

    def command(self) -> list[str]:
        """Return the command of dockerd, without networks."""
        words = [
            *("dockerd", "--host", self.address, "--data-root", f"{self.folder}/data"),
            *("--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/pid"),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
        ]
        if self._tls:
            words += ["--host", self.tls_address, "--tlsverify", f"--tlscacert={self._tls}/ca.pem"]
            words += [f"--tlscert={self._tls}/cert.pem", f"--tlskey={self._tls}/key.pem"]
        if self.uses_containerd_images:
            path = os.path.join(self.folder, "daemon.json")
            with open(path, "w") as file:
                json.dump({"features": {"containerd-snapshotter": True}}, file)
            words += ["--config-file", path]
        return words

    def client_command(self) -> list[str]:
        """Return the docker command of this machine: it speaks to every dockerd."""
        return ["docker", "--host", self.address]

    def keep_content(self, archive: bytes) -> None:
        """Keep the blobs of an archive of `docker save` in the containerd of `uses_containerd_images`, for good.

        When an image is loaded while containerd removes the same blobs of an image that was just deleted, the new image
        can lose them. Blobs that another namespace has are not removed; docker does not see that namespace.
        """
        if not self._keeps_content:
            address = f"{self.folder}/exec/containerd/containerd.sock"
            command = self.inside(
                "ctr", "--address", address, "--namespace", "kept", "images", "import", "--no-unpack", "-"
            )
            subprocess.run(command, input=archive, capture_output=True, check=True)
            self._keeps_content = True

    def stop(self) -> None:
        """Stop dockerd, and the containerd that it started in case it left it behind."""
        super().stop()
        try:
            with open(f"{self.folder}/exec/containerd/containerd.pid") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                ours = self.folder.encode() in file.read()
            if ours:
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass


class PodmanService(Engine):
    """A `podman system service`, which has its own images."""

    kind = "podman"

    def __init__(self, folder: str | os.PathLike[str], *, root: DebianRoot | None = None) -> None:
        super().__init__(folder, root=root)
        own = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--tmpdir", f"{self.folder}/tmp"]
        # crun, its default where it is installed, runs nothing with the first version of cgroups
        self._podman = ["podman", *own, "--cgroup-manager=cgroupfs", "--events-backend=file", "--runtime=runc"]
        if root is not None:
            self._podman = ["env", "PODMAN_IGNORE_CGROUPSV1_WARNING=1", *self._podman]
        self.client = self.client_command()

    def command(self) -> list[str]:
        """Return the command of the service, which never ends by itself."""
        return [*self._podman, "system", "service", "--time=0", self.address]

    def client_command(self) -> list[str]:
        """Return podman over the same storage, in the mounts of the service."""
        return self.inside(*self._podman)

    def answers(self) -> bool:
        """Whether the service accepts connections."""
        return os.path.exists(self.socket)


class Containerd(Engine):
    """A containerd, without the plugin of Kubernetes. Words of `run` are those of ctr."""

    kind = "containerd"

    def __init__(self, folder: str | os.PathLike[str], *, root: DebianRoot | None = None) -> None:
        super().__init__(folder, root=root)
        self.client = self.client_command()

    def command(self) -> list[str]:
        """Return the command of containerd, which keeps everything below its folder."""
        path = os.path.join(self.folder, "config.toml")
        with open(path, "w") as file:
            file.write(
                f'version = 2\nroot = "{self.folder}/root"\nstate = "{self.folder}/state"\n'
                'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
                f'[grpc]\naddress = "{self.socket}"\n[ttrpc]\naddress = "{self.socket}.ttrpc"\n'
            )
        return ["containerd", "--config", path]

    def client_command(self) -> list[str]:
        """Return ctr with the address of this containerd."""
        return self.inside("ctr", "--address", self.socket)

    def stop(self) -> None:
        """Stop the containers that run, then containerd."""
        if self.process is not None:
            for namespace in self.run_quietly("namespaces", "ls", "-q").split():
                for task in self.run_quietly("-n", namespace, "tasks", "ls", "-q").split():
                    self.run_quietly("-n", namespace, "tasks", "rm", "-f", task)
        super().stop()

    def run_quietly(self, *words: str) -> str:
        """Run a command of ctr, and return its output whether or not it succeeds; it has a few seconds."""
        try:
            done = subprocess.run([*self.client, *words], capture_output=True, check=False, timeout=10)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.decode()

    def clear(self) -> None:
        """Remove all containers, images and namespaces."""
        for namespace in self.run("namespaces", "ls", "-q").split():
            own = ("-n", namespace)
            for task in self.run(*own, "tasks", "ls", "-q").split():
                self.run_quietly(*own, "tasks", "rm", "-f", task)
            for container in self.run(*own, "containers", "ls", "-q").split():
                self.run(*own, "containers", "rm", container)
            if images := self.run(*own, "images", "ls", "-q").split():
                self.run(*own, "images", "rm", "--sync", *images)
            for digest in self.run(*own, "content", "ls", "-q").split():
                self.run_quietly(*own, "content", "rm", digest)
            self.run_quietly("namespaces", "rm", namespace)


def mounts_under(folder: str) -> list[str]:
    """Return the mount points below a folder, the innermost first."""
    with open("/proc/self/mounts") as file:
        points = [line.split()[1].replace("\\040", " ") for line in file]
    return sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True)


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A dockerd for all tests of a session: a test removes the images that it makes."""
    require_programs("dockerd", "docker")
    with Dockerd(tmp_path_factory.mktemp("dockerd")) as running:
        yield running


@pytest.fixture(scope="session")
def podman_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanService]:
    """A podman service for all tests of a session: a test removes the images that it makes."""
    require_programs("podman")
    with PodmanService(tmp_path_factory.mktemp("podman")) as running:
        yield running


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A containerd for all tests of a session: a test removes what it makes."""
    require_programs("containerd", "ctr", "runc")
    with Containerd(tmp_path_factory.mktemp("containerd")) as running:
        yield running


@pytest.fixture(scope="session")
def debian_dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """The dockerd of Debian 13 with the image store of containerd: a test removes the images that it makes."""
    require_programs("docker")
    folder = tmp_path_factory.mktemp("debian-dockerd")
    with Dockerd(folder, root=find_debian_root(), uses_containerd_images=True) as running:
        yield running


@pytest.fixture(scope="session")
def debian_podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanService]:
    """A service of Debian 13's podman: a test removes the images that it makes."""
    with PodmanService(tmp_path_factory.mktemp("debian-podman"), root=find_debian_root()) as running:
        yield running


@pytest.fixture(scope="session")
def debian_containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """The containerd of Debian 13: a test removes what it makes."""
    with Containerd(tmp_path_factory.mktemp("debian-containerd"), root=find_debian_root()) as running:
        yield running


HANG: bytes | None = None
"""A scripted answer that never comes."""


class ScriptedEngine:
    """A server on a unix socket that gives scripted answers, for faults that a real engine cannot be made to have.

    `answers` maps a part of a request line to the bytes of the answer, after which the connection is closed; `HANG`
    keeps it open without an answer. Other requests are answered as a ping. `on_request` is called with each request
    line before its answer, and may wait. A context manager that starts and stops it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        answers: Mapping[str, bytes | None],
        on_request: Callable[[str], object] = lambda _line: None,
    ) -> None:
        self.address = f"unix://{os.fspath(path)}"
        self.requests: list[str] = []
        """The request lines that arrived."""
        self.heads: list[str] = []
        """The request lines with their headers."""
        self._answers = dict(answers)
        self._series: dict[str, list[bytes]] = {}
        self._on_request = on_request
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in (self._listener, *self._open):
            connection.close()

    def answer(self, part: str, *answers: bytes) -> None:
        """Set the answers to requests with a part: each once, and the last one from then on. Without any it hangs."""
        self._answers = {part: None, **self._answers}
        self._series[part] = list(answers)

    def _find_answer(self, line: str) -> bytes | None:
        for part, answer in self._answers.items():
            if part in line:
                series = self._series.get(part)
                if series:
                    return series.pop(0) if len(series) > 1 else series[0]
                return answer
        return PING_ANSWER

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            head = b""
            while b"\r\n\r\n" not in head and (received := connection.recv(1 << 16)):
                head += received
            line = head.partition(b"\r\n")[0].decode("latin-1")
            self.requests.append(line)
            self._on_request(line)
            self.heads.append(head.partition(b"\r\n\r\n")[0].decode("latin-1"))
            answer = self._find_answer(line)
            if answer is not None:
                with contextlib.suppress(OSError):
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_RDWR)


def http_answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Return an HTTP response. `length` is a false Content-Length."""
    lines = [
        f"HTTP/1.1 {status}",
        "Connection: close",
        *headers,
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


PING_ANSWER = http_answer(b"OK", "Api-Version: 1.41", "Ostype: linux", "Server: Docker/20.10.24 (linux)")
