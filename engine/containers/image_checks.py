"""What a container needs of its image and its machine: platform, user, layers, folders of mounts."""

from __future__ import annotations

import os

from imq.engine.oci.platform import host_platform
from imq.grammar.errors import Conflict, NotFound
from imq.grammar.record import TYPE_CHECKING

from . import unpacked
from .overlay_view import OverlayView
from .users import find_user, has_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .bundle import Mount
    from .document import ImageFacts
    from .users import User

_LONGEST_LAYERS = 3700
"""The most bytes of names of layers: options of a mount have 4095, also for the writable layer."""


def fits_mount(document: Mapping[str, Any]) -> bool:
    """Whether the names of the layers of a container fit into the options of one mount."""
    return sum(len(name) + 1 for name in unpacked.stack_layers(document)) < _LONGEST_LAYERS


def check_user(layers: Sequence[str], text: str) -> None:
    """Raise `StatementError` for a user or group that the files of an image do not have."""
    if has_names(text):
        find_user_in(layers, text)


def find_user_in(layers: Sequence[str], text: str, groups: Sequence[str] = ()) -> User:
    """Return a user by the files of an image, with further groups."""
    with OverlayView(layers) as view:
        user = find_user(text, view.read_file)
        added = [find_user(f"0:{group}", view.read_file).gid for group in groups]
    return user.replace(groups=tuple(dict.fromkeys((*user.groups, *added))))


def check_source(mount: Mount) -> None:
    """Raise `NotFound` for a mount whose folder does not exist."""
    if not os.path.exists(mount.source):
        raise NotFound(
            f"the folder {mount.source} of the mount at {mount.target} does not exist",
            code="no-such-folder",
            hints=(f"create it first: mkdir -p {mount.source}",),
        )


def check_platform(image: ImageFacts) -> None:
    """Raise `Conflict` for an image of another platform, unless this machine emulates it."""
    from imq.engine.oci.platform import Platform

    if not image.platform:
        return
    own, other = host_platform(), Platform.parse(image.platform)
    if own.rank(other) is not None:
        return
    emulated = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}.get(other.architecture, other.architecture)
    if other.os == own.os and os.path.exists(f"/proc/sys/fs/binfmt_misc/qemu-{emulated}"):
        return
    raise Conflict(
        f"the image {image.name} is for {image.platform}, and this machine is {own}",
        code="platform",
        hints=(f"pull it for this machine: pull {image.name} platform {own}",),
    )
