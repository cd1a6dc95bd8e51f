"""Images with a common base: the index grows with distinct layers, not with images."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
from typing import TYPE_CHECKING

from harness import remove_folder
from measure import BenchmarkError, Contender, Figure, interleave, milliseconds

if TYPE_CHECKING:
    from harness import Bench

SHARING_TARGET = 1.2
BASE_PATHS, OWN_PATHS = 50_000, 200
MANY, FEW = 1_000, 10
STATEMENT = 'images where contains file "*log4j*" count'


def measure_sharing(bench: Bench) -> list[Figure]:
    """Answer a question of the files of images for the first time, which scans their layers.

    Three stores: many images on one base, a few of them, and the own layers of the others alone. The first costs as
    much as the two others, at most.
    """
    folder = os.path.join(bench.cache, f"sharing-{BASE_PATHS}-{OWN_PATHS}-{MANY}-{FEW}")
    if not os.path.exists(os.path.join(folder, "done")):
        _make_stores(folder)
    contenders = []
    for name in ("many", "few", "own layers"):
        store = os.path.join(folder, name)
        contenders.append(
            Contender(
                f"contains file, {name}",
                [bench.imq(), "--root", store, "--no-progress", STATEMENT],
                before=lambda store=store: remove_index(store),
                environment=bench.environment(),
                is_required=True,
            )
        )
    measured = interleave(contenders, bench.rounds)
    bench.note("sharing", contenders)
    if len(measured) < len(contenders):
        raise BenchmarkError("nothing to compare")
    many, few, own = contenders
    pairs = tuple(a / (b + c) for a, b, c in zip(many.cpu_seconds, few.cpu_seconds, own.cpu_seconds, strict=True))
    middle = sorted(pairs)[len(pairs) // 2]
    words = f"{MANY:,} images on a base of {BASE_PATHS:,} paths"
    return [
        *(milliseconds(one.name, one) for one in contenders),
        Figure(words, f"x {FEW} of them and the own layers of the others", pairs, middle, SHARING_TARGET, middle),
    ]


def remove_index(store: str) -> None:
    """Remove the index of files of a store."""
    for suffix in ("", "-wal", "-shm"):
        path = os.path.join(store, f"files.db{suffix}")
        if os.path.exists(path):
            os.unlink(path)


def _make_stores(folder: str) -> None:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from support.images import LAYER_TYPES, Image, Layer, Layout, digest_of

    def make_layer(name: str, paths: int) -> Layer:
        content = make_archive(name, paths)
        return Layer(gzip.compress(content, 1, mtime=0), digest_of(content), LAYER_TYPES["gzip"], 0)

    remove_folder(folder)
    base = make_layer("base", BASE_PATHS)
    own = [make_layer(f"app{number}", OWN_PATHS) for number in range(MANY)]
    stacks = {
        "many": [[base, layer] for layer in own],
        "few": [[base, layer] for layer in own[:FEW]],
        "own layers": [[layer] for layer in own[FEW:]],
    }
    for name, images in stacks.items():
        layout = Layout(os.path.join(folder, name))
        for number, layers in enumerate(images):
            layout.add(Image(layers), f"app{number}:1")
    with open(os.path.join(folder, "done"), "w"):
        pass


def make_archive(name: str, paths: int, special: dict[int, str] | None = None) -> bytes:
    """Return an archive of empty files, 25 in a folder; `special` has other paths, by the number of a file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for index in range(paths):
            path = f"usr/share/{name}/folder{index // 25}/file-{name}-{index}.conf"
            member = tarfile.TarInfo((special or {}).get(index, path))
            member.mtime = 1_700_000_000
            archive.addfile(member)
    return stream.getvalue()
