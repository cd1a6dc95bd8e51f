"""Runs a new container: starts it, and passes its streams on until it ends."""

from __future__ import annotations

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .attachment import follow, require_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from .attachment import Attachment
    from .containers import Containers
    from .document import CreateOptions
    from .reader import Container


class ContainerFailed(ImqError):
    """The program of a container ended with an exit code other than 0, `exit_status`."""

    code = "container-failed"
    exit_status = 1


def run_new(
    containers: Containers, options: CreateOptions, create: Callable[[], Container], *, detach: bool, keys: bytes
) -> tuple[Container, bool]:
    """Create a container with these options by `create`, and start it; without `detach`, wait for its end.

    Returns the container, and whether it goes on: the user may detach by the `keys`. Raises `ContainerFailed` with its
    exit code. Nothing is left of a container that cannot be started.
    """
    containers.find_runtimes()
    if options.terminal and options.keeps_stdin and not detach:
        require_terminal()
    container = create()
    try:
        attachment = containers.start(container, attach=not detach, stdin=options.keeps_stdin)
    except BaseException:
        containers.remove(container, force=True)
        raise
    return container, attachment is None or not pass_streams(containers, container, attachment, keys)


def pass_streams(containers: Containers, container: Container, attachment: Attachment, keys: bytes) -> bool:
    """Pass on the streams of a container until it ends; return False when the user detaches.

    Raises `ContainerFailed` with its exit code.
    """
    code = follow(attachment, keys, lambda name: containers.send_signal(container, name))
    if code:
        error = ContainerFailed(f"the container {container.name} exited with code {code}")
        error.exit_status = code
        raise error
    return code is not None
