"""Connections to engines of other hosts: `ssh HOST docker system dial-stdio`.

That command connects its standard streams to the engine's socket, with the settings of the user on that host. ssh runs
without a terminal, so it asks no questions: neither for a password nor whether to trust a new host.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile

from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING

from .address import split_address
from .channel import Channel
from .errors import clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from .endpoint import Endpoint

MAX_CONNECTIONS = 4
"""Maximum number of ssh processes for one engine. sshd refuses more than ten connections that log in at a time."""
_SSH_FAILED = 255
_COMMAND_NOT_FOUND = 127
_END_TIMEOUT = 5.0
_MAX_MESSAGE_BYTES = 16 << 10


class RemoteCommandMissing(EngineError):
    """The host does not have the client of the engine."""

    code = "engine-ssh"


class SshChannel(Channel):
    """A connection through an ssh process, whose standard input and output are one end of a pair of sockets."""

    def __init__(
        self, connection: socket.socket, endpoint: Endpoint, process: subprocess.Popen[bytes], messages: BinaryIO
    ) -> None:
        super().__init__(connection)
        self._endpoint = endpoint
        self._process = process
        self._messages = messages

    def explain_end(self) -> EngineError | None:
        """Return the error that ssh or the command of the host reported; None while ssh runs."""
        try:
            status = self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            return None
        self._messages.seek(0)
        lines = self._messages.read(_MAX_MESSAGE_BYTES).decode("utf-8", "replace").splitlines()
        return _ssh_error(self._endpoint, status, [clean_text(line) for line in lines if line.strip()])

    def close(self) -> None:
        """Close the connection, and end the process."""
        super().close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._messages.close()


def open_ssh_channel(endpoint: Endpoint, timeout: float, environment: Mapping[str, str] | None) -> SshChannel:
    """Start ssh. Its failures are found later, when the connection ends: `explain_end` returns them."""
    ours, theirs = socket.socketpair()
    messages = tempfile.TemporaryFile()  # noqa: SIM115 - the channel closes it
    try:
        process = subprocess.Popen(  # noqa: S603 - the host is checked, and cannot be an option
            build_command(endpoint, timeout),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=messages.fileno(),
            env=None if environment is None else dict(environment),
            start_new_session=True,  # without a terminal ssh cannot ask for a password, and Ctrl-C is for imq
        )
    except OSError as error:
        ours.close()
        messages.close()
        raise EngineError(
            f"{endpoint.name} is not reachable: ssh does not start: {(error.strerror or 'unknown reason').lower()}",
            code="engine-ssh",
            hints=("install the OpenSSH client, and make sure that PATH has `ssh`",),
            endpoint=endpoint.name,
        ) from None
    finally:
        theirs.close()
    ours.settimeout(timeout)
    return SshChannel(ours, endpoint, process, messages)


def build_command(endpoint: Endpoint, timeout: float) -> list[str]:
    """Return the command that connects its standard streams to the engine."""
    address = split_address(endpoint.address)
    command = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(timeout))}"]
    if address.port:
        command += ["-p", str(address.port)]
    if address.user:
        command += ["-l", address.user]
    if endpoint.identity:
        command += ["-i", endpoint.identity]
    remote = "podman" if endpoint.kind == "podman" else "docker"
    if address.path:
        option = "--url" if remote == "podman" else "--host"
        remote += f" {option} {_quote(f'unix://{address.path}')}"
    return [*command, "--", address.host, f"{remote} system dial-stdio"]


def _quote(text: str) -> str:
    """Quote a string for the shell of the host."""
    plain = text.replace("/", "").replace(":", "").replace(".", "").replace("-", "").replace("_", "")
    return text if plain.isascii() and plain.isalnum() else "'" + text.replace("'", "'\"'\"'") + "'"


def _ssh_error(endpoint: Endpoint, status: int, lines: list[str]) -> EngineError:
    """Return the error for the exit status of ssh and what it wrote to standard error."""
    reason = lines[-1] if lines else f"ssh ended with status {status}"
    text = " ".join(lines).lower()
    address = split_address(endpoint.address)
    host = address.host
    login = f"ssh {f'-p {address.port} ' if address.port else ''}{f'{address.user}@' if address.user else ''}{host}"
    code, hints = "engine-ssh", [f"check that `{login}` works without a question"]
    if status == _SSH_FAILED:
        if "host key verification failed" in text or "no matching host key" in text:
            hints = [f"the host key is unknown or has changed: run `{login}` once, and check the key"]
            reason = "host key verification failed"
        elif "timed out" in text:
            code, hints = "engine-timeout", ["check the name of the host, and the network"]
        elif "permission denied" in text:
            hints = ["imq does not ask for passwords: use a key, with ssh-agent if it has a passphrase"]
    elif status == _COMMAND_NOT_FOUND:
        return RemoteCommandMissing(
            f"{endpoint.name} is not reachable over ssh: {host} does not have the command {endpoint.kind}",
            hints=(f"install the client of {endpoint.kind} there, or put it on the PATH of non-interactive logins",),
            endpoint=endpoint.name,
        )
    elif "permission denied" in text:
        code = "engine-permission"
        hints = [f"log in as a user who may use {endpoint.kind}; on {host}, `sudo usermod -aG docker USER` allows it"]
    elif "connect" in text or "dial" in text:
        code, hints = "engine-unreachable", [f"check that {endpoint.kind} runs on {host}"]
    return EngineError(
        f"{endpoint.name} is not reachable over ssh: {reason}", code=code, hints=hints, endpoint=endpoint.name
    )
