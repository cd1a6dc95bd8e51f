"""Real registries for tests: docker-registry of Debian on a free loopback port, with its own folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "docker-registry"
_START_LIMIT = 60.0
_LOG_LIMIT = 20.0
_LOG_DELAY = 0.05


def require_programs(*programs: str) -> None:
    """Skip the test if a program is missing; fail it if `IMQ_REQUIRE_SERVERS` is set."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.environ.get("IMQ_REQUIRE_SERVERS"):
        pytest.fail(f"not installed, and required: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def find_free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Registry:
    """A docker-registry; a context manager that starts and stops it.

    `users` (name to password) turns basic auth on, `token` is the `auth.token` section of the configuration,
    `tls` a pair of files: certificate and key. One that `caches` another registry, by its address, is read alone.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        users: Mapping[str, str] | None = None,
        token: Mapping[str, str] | None = None,
        tls: tuple[str, str] | None = None,
        caches: str = "",
    ) -> None:
        self.folder = os.fspath(folder)
        self.port = find_free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.command: list[str] = [PROGRAM]
        self.log = os.path.join(self.folder, "log")
        self._users = dict(users or {})
        self._token = dict(token or {})
        self._tls = tls
        self._caches = caches
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it responds. Content that it stored before is kept."""
        os.makedirs(os.path.join(self.folder, "data"), exist_ok=True)
        path = os.path.join(self.folder, "config.yml")
        with open(path, "w") as file:
            file.write(self._configuration())
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [*self.command, "serve", path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "OTEL_TRACES_EXPORTER": "none"},
            )
        deadline = time.monotonic() + _START_LIMIT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                with open(self.log, errors="replace") as log_text:
                    message = f"{PROGRAM} did not start:\n{log_text.read()[-2000:]}"
                raise RuntimeError(message)
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it and keep its files."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def requests(self, part: str = "", at_least: int = 0) -> list[str]:
        """Return `METHOD path` of each request whose line in the access log has `part`.

        The log is written after the answer has gone out: wait until `at_least` are there, and a little for more.
        """
        deadline = time.monotonic() + _LOG_LIMIT
        while len(self._logged(part)) < at_least and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(_LOG_DELAY)
        return self._logged(part)

    def _logged(self, part: str) -> list[str]:
        found = []
        with open(self.log, errors="replace") as log:
            for line in log:
                _, quote, rest = line.partition('] "')
                if quote and " HTTP/1." in rest and part in line:
                    found.append(rest.partition(" HTTP/1.")[0])
        return found

    def _answers(self) -> bool:
        if self._tls is not None:  # that it listens has to do
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.host}/v2/", timeout=5):
                return True
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code == 401
        except OSError:
            return False

    def _configuration(self) -> str:
        lines = [
            "version: 0.1",
            "log: {level: warn, accesslog: {disabled: false}}",
            "storage:",
            f"  filesystem: {{rootdirectory: {self.folder}/data}}",
            "  delete: {enabled: true}",
            "validation: {manifests: {urls: {allow: ['.*']}}}",
            "http:",
            f"  addr: {self.host}",
            "  secret: only-for-tests",
        ]
        if self._tls is not None:
            lines += ["  tls:", f"    certificate: {self._tls[0]}", f"    key: {self._tls[1]}"]
        if self._users:
            path = os.path.join(self.folder, "htpasswd")
            with open(path, "w") as file:
                file.writelines(_htpasswd(user, password) for user, password in self._users.items())
            lines += ["auth:", "  htpasswd:", "    realm: tests", f"    path: {path}"]
        elif self._token:
            lines += ["auth:", "  token:", *(f"    {key}: {value}" for key, value in self._token.items())]
        if self._caches:
            lines += ["proxy:", f"  remoteurl: {self._caches}"]
        return "\n".join(lines) + "\n"


def _htpasswd(user: str, password: str) -> str:
    done = subprocess.run(
        ["htpasswd", "-niB", "-C", "4", user], input=password.encode(), capture_output=True, check=True
    )
    return done.stdout.decode().strip() + "\n"
