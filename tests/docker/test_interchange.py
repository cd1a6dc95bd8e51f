"""Images exchanged with docker, through a registry and through archives."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import TYPE_CHECKING

from store.support.stores import imq
from store.test_archives import V1, v1_archive
from support.images import Image, Layout, layer
from support.servers import Registry

if TYPE_CHECKING:
    from pathlib import Path

APP = Image([layer({"base": b"b" * 5000}, "gzip"), layer({"app": b"a" * 700}, "gzip")], labels={"env": "prod"})


def test_docker_and_imq_exchange_images(docker: list[str], tmp_path: Path) -> None:
    def run(*words: object) -> str:
        result = subprocess.run([*docker, *map(str, words)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def ids(store: Path) -> set[str]:
        return {row["id"] for row in json.loads(imq(store, "images select id as json").stdout)}

    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    Layout(mine).add(APP, "app:1")
    with Registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/app/{uuid.uuid4().hex[:8]}"
        imq(mine, "push", "app:1", "to", f"{name}:mine")
        run("pull", "--quiet", f"{name}:mine")
        assert run("inspect", "--format", "{{.Id}}", f"{name}:mine").strip() == APP.id
        run("tag", f"{name}:mine", f"{name}:theirs")
        run("push", "--quiet", f"{name}:theirs")
        imq(theirs, "pull", f"{name}:theirs")
        assert ids(theirs) == {APP.id}
        run("save", "--output", tmp_path / "theirs.tar", f"{name}:theirs")
        run("rmi", f"{name}:mine", f"{name}:theirs")
    imq(tmp_path / "loaded", "load", str(tmp_path / "theirs.tar"))
    assert ids(tmp_path / "loaded") == {APP.id}
    imq(mine, "save", "app:1", "to", str(tmp_path / "mine.tar"))
    run("load", "--quiet", "--input", tmp_path / "mine.tar")
    assert run("inspect", "--format", "{{.Id}}", "app:1").strip() == APP.id
    run("rmi", "app:1")


def test_archives_of_format_1_get_the_ids_of_docker(docker: list[str], tmp_path: Path) -> None:
    path = v1_archive(tmp_path / "old.tar", {"old/app": {"1": "a" * 64}, "old/base": {"1": "b" * 64}}, V1)
    subprocess.run([*docker, "load", "--input", path], check=True, capture_output=True)
    imq(tmp_path / "store", "load", str(path))
    template = "{{.Id}} {{json .Config.Env}} {{json .RootFS.Layers}} {{.Author}} {{.Comment}}"
    for name in ("old/app:1", "old/base:1"):
        command = ["image", "inspect", name, "--format", template]
        theirs = subprocess.run([*docker, *command], check=True, capture_output=True, text=True).stdout
        assert imq(tmp_path / "store", *command).stdout == theirs
    subprocess.run([*docker, "rmi", "old/app:1", "old/base:1"], check=True, capture_output=True)
