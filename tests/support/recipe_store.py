"""A store for the recipes of the documents: images and containers that each of them selects, and others."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.containers.document import CreateOptions, ImageFacts, make_document
from imq.engine.containers.folder import DOCUMENT, FOLDER, STATE, read_boot_id, read_ticks
from imq.engine.containers.removal import LAST_USES
from imq.engine.store.index_json import REGISTRY_DIGEST, SET_AT

from .images import REF_NAME, Image, Layout, layer, write_library

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOWS = {"os": "windows", "architecture": "amd64"}
HEALTHCHECK = {"Test": ["CMD", "true"]}
PULLED = "2024-05-01T00:00:00Z"
"""When the names of the store were pulled, except those of `FRESH`."""
LIBRARY_NAMES = ("team/app:1", "registry.local:5000/team/app:1")
FROM_REGISTRY = {"redis:7", "redis:latest", "registry.gitlab.com/group/app:1"}
FRESH = {"demo_web:1": "2024-07-31T00:00:00Z", "fresh:1": "2024-08-01T11:30:00Z"}


def _make(name: str, created: str = "2024-06-01T00:00:00Z", **changes: Any) -> Image:
    return Image([layer({f"srv/{name}": name.encode() * 50})], created, **changes)


def _make_windows(version: str, base: str, *layers: bytes) -> Image:
    parts = [layer({"Windows/nano": base.encode()}), *(layer({"app": content}) for content in layers)]
    return Image(parts, platform={**WINDOWS, "os.version": version})


def make_recipe_images() -> dict[str, Image]:
    """Return images by name, besides those of `write_library`."""
    apk = [{"created": "2024-06-01T00:00:00Z", "created_by": "RUN /bin/sh -c apk add --no-cache curl"}]
    return {
        "scratch:deleteme-1": _make("deleteme"),
        **{
            f"lib/jar:{number}.0-SNAPSHOT": _make(f"snapshot{number}", f"2024-06-0{number}T00:00:00Z")
            for number in (1, 2)
        },
        **{
            f"lib/jar:1.{number}.0": _make(f"release{number}", f"2024-06-1{number}T00:00:00Z") for number in range(1, 6)
        },
        "registry.gitlab.com/group/app:1": _make("group"),
        "registry.gitlab.com/other/app:1": _make("other"),
        "old/svc:1": _make("svc"),
        "jenkins:2": _make("jenkins", settings={"Healthcheck": HEALTHCHECK}),
        "busybox:1-libc": _make("busybox"),
        "demo_web:1": _make("web", labels={"com.docker.compose.project": "demo"}),
        "fresh:1": _make("fresh", "2024-08-01T11:00:00Z"),
        "lib/base:1": _make("base", labels={"org.label-schema.vendor": "acme"}),
        "java:17": _make("java", env=["JAVA_VERSION=17"]),
        "alpine-tools:1": _make("tools", changes={"history": apk}),
        "deep:1": Image([layer({f"f{number}": b"deep"}) for number in range(21)]),
        "mcr.microsoft.com/windows/nanoserver:ltsc": _make_windows("10.0.17763.1", "ltsc"),
        "win/good:1": _make_windows("10.0.17763.1", "ltsc", b"good"),
        "mcr.microsoft.com/windows/nanoserver:old": _make_windows("10.0.14393.1", "old"),
        "win/bad:1": _make_windows("10.0.14393.2", "old", b"bad"),
        "registry.k8s.io/pause:3.9": _make("pause"),
    }


CONTAINERS: dict[str, dict[str, Any]] = {
    "cache": {"image": "redis:7", "status": "running", "started": "2024-06-01T00:00:00Z"},
    "front": {"image": "team/app:3", "status": "running", "started": "2024-07-20T00:00:00Z"},
    "front-2": {"image": "team/app:3", "status": "running", "started": "2024-07-21T00:00:00Z"},
    "job": {"image": "plain:1", "status": "exited", "finished": "2024-06-02T00:00:00Z"},
    "job-2": {"image": "java:17", "status": "exited", "finished": "2024-06-02T00:00:00Z"},
    "job-3": {"image": "java:17", "status": "exited", "finished": "2024-08-01T10:00:00Z"},
    "moved": {"image": "redis:7", "of": "redis:latest", "status": "created"},
}
"""Containers by name: the name of the image that each was created with, the image that it has, and its last run."""
USES = {"jenkins:2": "2024-06-15T00:00:00Z", "deep:1": "2024-07-31T00:00:00Z"}
"""When removed containers last used an image."""


def nanoseconds(text: str) -> int:
    """Return a time as nanoseconds since the epoch."""
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1_000_000_000


def write_recipe_store(root: str | os.PathLike[str], pid: int) -> dict[str, Image]:
    """Write the store to a folder; return its images by name. `pid` is the process of its running containers."""
    added = make_recipe_images()
    images = write_library(root) | added
    layout = Layout(root)  # which replaces index.json
    for name, image in images.items():
        names = {"dangling": (), "tool": (f"quay.io/team/tool@{image.digest}",), "team/app:1": LIBRARY_NAMES}
        layout.add(image, *names.get(name, (name,)))
    for entry in layout.entries:
        annotations = entry.setdefault("annotations", {})
        name = annotations.get(REF_NAME, "")
        annotations[SET_AT] = FRESH.get(name, PULLED)
        if name in FROM_REGISTRY:
            annotations[REGISTRY_DIGEST] = entry["digest"]
    layout.close()
    folder = pathlib.Path(root, FOLDER)
    (folder / LAST_USES).mkdir(parents=True)
    for name, used in USES.items():
        mark = folder / LAST_USES / images[name].id.replace(":", "-")
        mark.touch()
        os.utime(mark, ns=(nanoseconds(used), nanoseconds(used)))
    for number, (name, container) in enumerate(CONTAINERS.items(), 1):
        _write_container(folder / f"{number:064x}", name, container, images, pid)
    return images


def _write_container(
    folder: pathlib.Path, name: str, container: dict[str, Any], images: dict[str, Image], pid: int
) -> None:
    """Write the folder of a container without files. `pid` is the first process of a running one."""
    image = images[container.get("of", container["image"])]
    facts = ImageFacts(container["image"], image.id, image.digest, None, (), dict(image.settings), "linux/amd64")
    created = nanoseconds("2024-05-30T00:00:00Z")
    document = make_document(folder.name, CreateOptions(name=name, arguments=("run",)), facts, created, str(folder))
    folder.mkdir()
    (folder / DOCUMENT).write_text(json.dumps(document))
    (folder / "upper").mkdir()
    started, finished = (container.get(key) for key in ("started", "finished"))
    if started or finished:
        pid = pid if started else 0
        state = {
            "status": container["status"],
            "pid": pid,
            "ticks": read_ticks(pid),
            "boot": read_boot_id(),
            "started": nanoseconds(started or finished),
            "finished": nanoseconds(finished) if finished else None,
            "exit_code": 1 if finished else None,
        }
        (folder / STATE).write_text(json.dumps(state))


@pytest.fixture(scope="session")
def recipe_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of the store, for tests that do not change it. Its running containers are a process that sleeps."""
    folder = os.fspath(tmp_path_factory.mktemp("recipes") / "store")
    with subprocess.Popen(["sleep", "infinity"]) as process:
        write_recipe_store(folder, process.pid)
        yield folder
        process.kill()
