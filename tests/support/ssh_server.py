"""OpenSSH's sshd on a free loopback port, and an `ssh` that knows its key and no file of the user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

from .servers import find_free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

_START_LIMIT = 30.0


class SshServer:
    """A context manager that starts and stops an sshd for the user of the tests.

    `variables` is the environment of commands on the server.
    """

    def __init__(self, folder: str | os.PathLike[str], variables: Mapping[str, str]) -> None:
        self.folder = os.fspath(folder)
        self.port = find_free_port()
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.address = f"ssh://{self.user}@127.0.0.1:{self.port}"
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None

    def path(self, name: str) -> str:
        """Return the path of a file of the server."""
        return os.path.join(self.folder, name)

    def make_key(self, name: str) -> str:
        """Make a key pair, and return the path of the private key."""
        path = self.path(name)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return path

    def authorize(self, key: str, options: str = "") -> None:
        """Let the owner of a private key log in. `options` are those of `authorized_keys`."""
        with open(f"{key}.pub") as public, open(self.path("authorized_keys"), "a") as file:
            file.write(f"{options} {public.read()}".lstrip())

    def client_environment(self, key: str, *, knows_host: bool = True) -> dict[str, str]:
        """Return an environment in which `ssh` logs in with a private key.

        Without `knows_host` the key of the server is unknown.
        """
        folder = self.path(f"client-{os.path.basename(key)}-{knows_host}")
        os.makedirs(folder, exist_ok=True)
        known = os.path.join(folder, "known_hosts")
        with open(known, "w") as file, open(f"{self.path('host_key')}.pub") as public:
            if knows_host:
                file.write(f"[127.0.0.1]:{self.port} {public.read()}")
        configuration = os.path.join(folder, "config")
        with open(configuration, "w") as file:
            file.write(
                f"IdentityFile {key}\nIdentitiesOnly yes\nUserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\n"
            )
        program = os.path.join(folder, "ssh")
        with open(program, "w") as file:
            file.write(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {configuration} "$@"\n')
        os.chmod(program, 0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    def __enter__(self) -> Self:
        host_key = self.make_key("host_key")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd refuses to start without it
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {host_key}",
            f"AuthorizedKeysFile {self.path('authorized_keys')}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PermitUserEnvironment yes",
            "SetEnv " + " ".join(f'{name}="{value}"' for name, value in self._variables.items()),
        ]
        with open(self.path("sshd_config"), "w") as file:
            file.write("\n".join(lines) + "\n")
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program is not None
        with open(self.path("log"), "wb") as log:
            command = [program, "-D", "-e", "-f", self.path("sshd_config")]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        limit = time.monotonic() + _START_LIMIT
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > limit:
                self.__exit__()
                with open(self.path("log"), errors="replace") as text:
                    raise RuntimeError(f"sshd did not start: {text.read()[-2000:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
