"""The images to pull, built once from real files and kept in a cached registry.

two    a Debian base of debootstrap (about 95 MB compressed) and a layer of packages (about 35 MB)
eight  eight layers of about 125 MB compressed each (1 GB), of files installed on this machine
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
from measure import BenchmarkError, output_of

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
    """An image in the loopback registry: its reference, and the digest and size of its config and layers."""

    reference: str
    digest: str
    blobs: tuple[tuple[str, int], ...]
    layers: int

    @property
    def size(self) -> int:
        """The size of all blobs in bytes."""
        return sum(size for _, size in self.blobs)

    def urls(self) -> list[str]:
        """Return the URL of each blob."""
        host, _, rest = self.reference.partition("/")
        return [f"http://{host}/v2/{rest.rpartition(':')[0]}/blobs/{digest}" for digest, _ in self.blobs]


def provide(name: str, host: str, cache: str) -> Image:
    """Return the image with this name from the registry at `host`; build it when it is missing."""
    reference = f"{host}/bench/{name}:1"
    image = _look_up(reference)
    if image is None:
        print(f"building the image {name}, once", flush=True)
        BUILDERS[name](reference, cache)
        image = _look_up(reference)
    if image is None:
        raise BenchmarkError(f"the registry does not have {reference} after its push")
    return image


def provide_first_layer(name: str, host: str, cache: str) -> Image:
    """Return an image with only the first layer of the image with this name; build it when it is missing."""
    whole = provide(name, host, cache)
    reference = f"{host}/bench/{name}-first:1"
    image = _look_up(reference)
    if image is None:
        with _scratch(cache, "single") as folder:
            blobs = os.path.join(folder, "blobs", "sha256")
            os.makedirs(blobs)
            (digest, size), urls = whole.blobs[1], whole.urls()
            output_of(["curl", "--silent", "--fail", "-o", os.path.join(blobs, digest.partition(":")[2]), urls[1]])
            config = json.loads(output_of(["curl", "--silent", "--fail", urls[0]]))
            layer = {"digest": digest, "size": size, "diff_id": config["rootfs"]["diff_ids"][0]}
            descriptor = write_image(folder, [layer], created="2024-01-01T00:00:00Z")
            descriptor["annotations"] = {REF_NAME: "1"}
            write_index(folder, [descriptor])
            output_of(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{folder}:1", f"docker://{reference}"])
        image = _look_up(reference)
    if image is None:
        raise BenchmarkError(f"the registry does not have {reference} after its push")
    return image


def _look_up(reference: str) -> Image | None:
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    connection = http.client.HTTPConnection(host, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": ACCEPTED})
        response = connection.getresponse()
        body = response.read()
    if response.status != http.client.OK:
        return None
    manifest: dict[str, Any] = json.loads(body)
    blobs = [manifest["config"], *manifest["layers"]]
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    return Image(reference, digest, tuple((b["digest"], b["size"]) for b in blobs), len(manifest["layers"]))


def _build_two(reference: str, cache: str) -> None:
    """Bootstrap Debian, install packages, and push both layers with buildah."""
    if os.geteuid() != 0:
        raise BenchmarkError("the image two is built by debootstrap, which needs root")
    with _scratch(cache, "two") as folder:
        rootfs = os.path.join(folder, "rootfs")
        output_of(["debootstrap", "--variant=minbase", SUITE, rootfs])
        buildah = ("buildah", "--root", f"{folder}/store", "--runroot", f"{folder}/run", "--storage-driver", "vfs")
        base = output_of([*buildah, "from", "scratch"])
        output_of([*buildah, "add", "--quiet", base, rootfs, "/"])
        output_of([*buildah, "commit", "--quiet", base, "base"])
        second = output_of([*buildah, "from", "--pull-never", "base"])
        # Downloads and lists of apt are not part of published layers.
        install = (
            "mkdir -p /tmp/debs/partial && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq"
            f" -o Dir::Cache::archives=/tmp/debs --no-install-recommends {' '.join(PACKAGES)}"
            " && rm -rf /tmp/debs /var/lib/apt/lists/* /var/cache/apt/*.bin"
        )
        output_of([*buildah, "run", "--isolation", "chroot", second, "--", "sh", "-c", install])
        output_of([*buildah, "commit", "--quiet", second, "two"])
        output_of([*buildah, "push", "--quiet", "--tls-verify=false", "two", f"docker://{reference}"])


def _build_eight(reference: str, cache: str) -> None:
    """Divide the installed files, ordered by path, into eight layers, and push the image."""
    with _scratch(cache, "eight") as folder:
        files = _list_installed()
        total = sum(size for _, size in files)
        if total < LAYER_BYTES:
            raise BenchmarkError(f"{', '.join(TREES)} have only {total} bytes: too few for the image eight")
        blobs = os.path.join(folder, "layout", "blobs", "sha256")
        os.makedirs(blobs)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            layers = list(pool.map(_write_layer, [files] * LAYERS, range(LAYERS), [blobs] * LAYERS))
        layout = os.path.join(folder, "layout")
        image = write_image(layout, layers, created="2024-01-01T00:00:00Z")
        image["annotations"] = {REF_NAME: "1"}
        write_index(layout, [image])
        output_of(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{reference}"])


BUILDERS = {"two": _build_two, "eight": _build_eight}


@contextlib.contextmanager
def _scratch(cache: str, name: str) -> Iterator[str]:
    folder = os.path.join(cache, f"build-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _list_installed() -> list[tuple[str, int]]:
    """Return path and size of the installed files, sorted, without bytecode caches."""
    files = []
    for tree in TREES:
        for folder, subfolders, names in os.walk(tree):
            subfolders[:] = sorted(set(subfolders) - {"__pycache__"})
            for name in names:
                path = os.path.join(folder, name)
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_FILE):
                    files.append((path, status.st_size))
    return sorted(files)


def _first_file(files: list[tuple[str, int]], layer: int) -> int:
    """Return the index of a layer's first file. The files are divided at equal sums of bytes, so that layers differ."""
    start = sum(size for _, size in files) * layer // LAYERS
    passed = 0
    for index, (_, size) in enumerate(files):
        if passed >= start:
            return index
        passed += size
    return 0


def _write_layer(files: list[tuple[str, int]], layer: int, blobs: str) -> dict[str, Any]:
    """Pack files from the layer's first one until the packed size is reached, starting over at the end."""
    unpacked = os.path.join(blobs, f"layer-{layer}")
    index, turn = _first_file(files, layer), 0
    with open(unpacked, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        hashing = _Hashing(packed)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
            while raw.tell() < LAYER_BYTES:
                _add(archive, files[index][0], f"layer{layer}.{turn}")
                index += 1
                if index == len(files):
                    index, turn = 0, turn + 1
    with open(unpacked, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    os.rename(unpacked, os.path.join(blobs, digest))
    size = os.path.getsize(os.path.join(blobs, digest))
    return {"digest": f"sha256:{digest}", "size": size, "diff_id": f"sha256:{hashing.hash.hexdigest()}"}


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
    """Writes to another file and hashes the content, for the diff ID of a layer."""

    def __init__(self, target: gzip.GzipFile) -> None:
        self._target = target
        self.hash = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.hash.update(content)
        return self._target.write(content)
