"""The images that are pulled: made once from real files, kept in a cached registry.

two    a Debian base made by debootstrap (about 95 MB compressed) and a layer of installed packages (about 35 MB)
eight  eight layers of about 125 MB compressed each (1 GB), cut from the installed files of this machine
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import shutil
import stat
import tarfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layouts import MANIFEST_TYPE, REF_NAME, write_image, write_index
from measure import CannotRunError, said_by

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE = "bookworm"
PACKAGES = ("perl", "python3", "curl", "openssh-client", "rsync", "vim-tiny")
LAYERS = 8
LAYER_BYTES = 125_000_000
TREES = ("/usr/lib", "/usr/local/lib", "/usr/share")
LARGEST_FILE = 8 << 20
ACCEPTED = f"{MANIFEST_TYPE}, application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Image:
    """An image in the loopback registry: `reference` without a scheme, the layers and config as (digest, bytes)."""

    reference: str
    digest: str
    blobs: tuple[tuple[str, int], ...]
    layers: int

    @property
    def size(self) -> int:
        """Bytes that travel, the manifest apart."""
        return sum(size for _, size in self.blobs)

    def urls(self) -> list[str]:
        """Where each blob can be fetched."""
        host, _, rest = self.reference.partition("/")
        return [f"http://{host}/v2/{rest.rpartition(':')[0]}/blobs/{digest}" for digest, _ in self.blobs]


def provide(name: str, host: str, cache: str) -> Image:
    """Return the image of this name from the registry at `host`; make it first when the cache has none."""
    reference = f"{host}/bench/{name}:1"
    image = _look_up(reference)
    if image is None:
        print(f"making the image {name}: this is done once", flush=True)
        MAKERS[name](reference, cache)
        image = _look_up(reference)
    if image is None:
        raise CannotRunError(f"the registry has no {reference} although it was pushed")
    return image


def single(name: str, host: str, cache: str) -> Image:
    """Return an image that has only the first layer of the image of this name; made when the registry has none."""
    whole = provide(name, host, cache)
    reference = f"{host}/bench/{name}-first:1"
    image = _look_up(reference)
    if image is None:
        with _scratch(cache, "single") as folder:
            blobs = os.path.join(folder, "blobs", "sha256")
            os.makedirs(blobs)
            (digest, size), places = whole.blobs[1], whole.urls()
            said_by(["curl", "--silent", "--fail", "-o", os.path.join(blobs, digest.partition(":")[2]), places[1]])
            config = json.loads(said_by(["curl", "--silent", "--fail", places[0]]))
            layer = {"digest": digest, "size": size, "diff_id": config["rootfs"]["diff_ids"][0]}
            made = write_image(folder, [layer], created="2024-01-01T00:00:00Z")
            made["annotations"] = {REF_NAME: "1"}
            write_index(folder, [made])
            said_by(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{folder}:1", f"docker://{reference}"])
        image = _look_up(reference)
    if image is None:
        raise CannotRunError(f"the registry has no {reference} although it was pushed")
    return image


def _look_up(reference: str) -> Image | None:
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    connection = http.client.HTTPConnection(host, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ACCEPTED})
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != http.client.OK:
        return None
    manifest: dict[str, Any] = json.loads(body)
    blobs = [manifest["config"], *manifest["layers"]]
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    return Image(reference, digest, tuple((b["digest"], b["size"]) for b in blobs), len(manifest["layers"]))


def _make_two(reference: str, cache: str) -> None:
    """Bootstrap Debian, install packages into it, push both layers as buildah packs them."""
    if os.geteuid() != 0:
        raise CannotRunError("the image two is made by debootstrap, which must run as root")
    with _scratch(cache, "two") as folder:
        rootfs = os.path.join(folder, "rootfs")
        said_by(["debootstrap", "--variant=minbase", SUITE, rootfs])
        buildah = ("buildah", "--root", f"{folder}/store", "--runroot", f"{folder}/run", "--storage-driver", "vfs")
        base = said_by([*buildah, "from", "scratch"])
        said_by([*buildah, "add", "--quiet", base, rootfs, "/"])
        said_by([*buildah, "commit", "--quiet", base, "base"])
        second = said_by([*buildah, "from", "--pull-never", "base"])
        # What apt downloads and lists is no part of a layer that anyone ships.
        install = (
            "mkdir -p /tmp/debs/partial && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq"
            f" -o Dir::Cache::archives=/tmp/debs --no-install-recommends {' '.join(PACKAGES)}"
            " && rm -rf /tmp/debs /var/lib/apt/lists/* /var/cache/apt/*.bin"
        )
        said_by([*buildah, "run", "--isolation", "chroot", second, "--", "sh", "-c", install])
        said_by([*buildah, "commit", "--quiet", second, "two"])
        said_by([*buildah, "push", "--quiet", "--tls-verify=false", "two", f"docker://{reference}"])


def _make_eight(reference: str, cache: str) -> None:
    """Cut the installed files, in the order of their paths, into eight layers; push them as they are."""
    with _scratch(cache, "eight") as folder:
        files = _installed()
        total = sum(size for _, size in files)
        if total < LAYER_BYTES:
            raise CannotRunError(f"{', '.join(TREES)} hold only {total} bytes: too little for the image eight")
        blobs = os.path.join(folder, "layout", "blobs", "sha256")
        os.makedirs(blobs)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            layers = list(pool.map(_layer, [files] * LAYERS, range(LAYERS), [blobs] * LAYERS))
        layout = os.path.join(folder, "layout")
        image = write_image(layout, layers, created="2024-01-01T00:00:00Z")
        image["annotations"] = {REF_NAME: "1"}
        write_index(layout, [image])
        said_by(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{reference}"])


MAKERS = {"two": _make_two, "eight": _make_eight}


@contextlib.contextmanager
def _scratch(cache: str, name: str) -> Iterator[str]:
    folder = os.path.join(cache, f"making-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installed() -> list[tuple[str, int]]:
    """Return path and size of the installed files, sorted; caches that Python rewrites at will are left out."""
    found = []
    for tree in TREES:
        for folder, below, names in os.walk(tree):
            below[:] = sorted(set(below) - {"__pycache__"})
            for name in names:
                path = os.path.join(folder, name)
                about = os.lstat(path)
                if stat.S_ISLNK(about.st_mode) or (stat.S_ISREG(about.st_mode) and about.st_size <= LARGEST_FILE):
                    found.append((path, about.st_size))
    return sorted(found)


def _start(files: list[tuple[str, int]], layer: int) -> int:
    """Return where a layer begins: the files are cut at equal sums of bytes, so that layers differ in kind."""
    wanted = sum(size for _, size in files) * layer // LAYERS
    passed = 0
    for place, (_, size) in enumerate(files):
        if passed >= wanted:
            return place
        passed += size
    return 0


def _layer(files: list[tuple[str, int]], layer: int, blobs: str) -> dict[str, Any]:
    """Pack files from the layer's beginning on until the packed size is reached, going round when they end."""
    unpacked = os.path.join(blobs, f"layer-{layer}")
    place, turn = _start(files, layer), 0
    with open(unpacked, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        told = _Hashing(packed)
        with tarfile.open(fileobj=told, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
            while raw.tell() < LAYER_BYTES:
                _add(archive, files[place][0], f"layer{layer}.{turn}")
                place += 1
                if place == len(files):
                    place, turn = 0, turn + 1
    with open(unpacked, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    os.rename(unpacked, os.path.join(blobs, digest))
    size = os.path.getsize(os.path.join(blobs, digest))
    return {"digest": f"sha256:{digest}", "size": size, "diff_id": f"sha256:{told.hash.hexdigest()}"}


def _add(archive: tarfile.TarFile, path: str, top: str) -> None:
    entry = archive.gettarinfo(path, arcname=top + path)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = int(entry.mtime)
    if not entry.isreg():
        archive.addfile(entry)
        return
    with open(path, "rb") as source:
        content = source.read()
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


class _Hashing:
    """Hands on what is written, and hashes it: the diff ID of a layer."""

    def __init__(self, target: gzip.GzipFile) -> None:
        self._target = target
        self.hash = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.hash.update(content)
        return self._target.write(content)
