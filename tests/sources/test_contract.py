"""One contract for every source: the same images have the same fields, but for the documented differences.

A further source is one entry of `SOURCES`: a function that puts the images of a layout into the source, and the fields
that differ. A field that is declared to differ must differ for some row, so that the list stays true.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import ImqError
from store.support.stores import StoreSession
from support.engines import mounts_under
from support.images import Image, Layout, docker_archive, layer, write_library
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

TABLES = ("images", "layers", "history", "files", "all_files", "packages", "os_releases")
KEYS = {
    "images": ("id", "name"),
    "layers": ("image", "index"),
    "history": ("image", "index"),
    "files": ("image", "path"),
    "all_files": ("image", "path", "layer_index"),
    "packages": ("image", "name"),
    "os_releases": ("image",),
}
UNKNOWN = "unknown"
"""The source does not know the field of any row."""
OTHER = "other"
"""The source has another value for some rows, for the reason that the comment next to it gives."""

NO_CONTAINERS = {"images.in_use": UNKNOWN, "images.containers": UNKNOWN}
NO_MANIFESTS = {
    "images.manifest_digest": UNKNOWN,
    "images.media_type": UNKNOWN,
    "images.annotations": OTHER,  # they are those of the manifest
    "layers.media_type": UNKNOWN,
}
NO_NAMES = {
    "images.name": UNKNOWN,
    "images.registry": UNKNOWN,
    "images.repository": UNKNOWN,
    "images.tag": UNKNOWN,
    "images.dangling": OTHER,  # without names all images are
    "files.image_name": UNKNOWN,
    "all_files.image_name": UNKNOWN,
    "os_releases.image_name": UNKNOWN,
}
COMPRESSED = {  # known where a layer lies uncompressed
    "images.size": OTHER,
    "images.shared_size": OTHER,
    "images.unique_size": OTHER,
    "layers.size": OTHER,
    "history.size": OTHER,
}
COMPRESSED_ON_COPY = COMPRESSED | {  # and the manifest names the compressed layers
    "images.manifest_digest": OTHER,
    "images.download_size": OTHER,
    "layers.digest": OTHER,
    "layers.download_size": OTHER,
    "layers.media_type": OTHER,
    "history.layer": OTHER,
}
ENGINE = {
    "images.manifest_digest": UNKNOWN,  # engines keep no manifests
    "images.media_type": UNKNOWN,
    "images.annotations": UNKNOWN,
    "images.download_size": UNKNOWN,
    "images.created": OTHER,  # whole seconds
    "layers.digest": UNKNOWN,
    "layers.download_size": UNKNOWN,
    "layers.media_type": UNKNOWN,
    "layers.created": OTHER,
    "layers.images": OTHER,  # some images of the layout are not in the engine
    "history.created": OTHER,
    "history.layer": UNKNOWN,
}
DOCKER = ENGINE | {
    "images.shared_size": OTHER,  # a layer is shared only on the same lower layers
    "images.unique_size": OTHER,
}
DOCKER_CONTAINERD = {
    "images.id": OTHER,  # the digest of the manifest
    "images.digest": OTHER,  # the same, even for an image that was never in a registry
    "images.size": OTHER,  # compressed content and unpacked snapshots, in blocks
    "images.pulled_at": OTHER,  # when the record of the name was written
    "layers.size": OTHER,
    "history.size": OTHER,
    "layers.image": OTHER,
    "history.image": OTHER,
    "files.image": OTHER,
    "all_files.image": OTHER,
    "packages.image": OTHER,
    "os_releases.image": OTHER,
}
PODMAN = ENGINE | {
    "images.digest": OTHER,  # as in its storage
    "images.variant": UNKNOWN,
    "images.size": OTHER,  # the size of the archives of layers, and of the documents
    "images.shared_size": OTHER,
    "images.unique_size": OTHER,
    "layers.size": OTHER,
    "history.size": OTHER,
}
CONTAINERD = {
    "images.size": OTHER,  # the snapshots on disk, in blocks; layers of packed images are not there twice
    "images.shared_size": OTHER,
    "images.unique_size": OTHER,
    "images.pulled_at": OTHER,
    "layers.size": OTHER,
    "layers.images": OTHER,  # the image without a name is not there
    "history.size": OTHER,
}
STORAGE = {
    "images.digest": OTHER,  # that of the manifest: every image is taken to be from the registry that its name says
    "layers.images": OTHER,  # only some of the images are copied there
    "images.shared_size": OTHER,  # a layer is shared only on the same lower layers
    "images.unique_size": OTHER,
}
ALONE = {"images.shared_size": OTHER, "images.unique_size": OTHER, "layers.images": OTHER}
"""The source holds one image: it shares nothing."""


@dataclass(frozen=True)
class Contract:
    """A source: `fill` puts the images of a layout into a folder and returns what stands behind `in`.

    `differences` are fields as `table.field`. `takes` are the names of the images that it can hold; None: all.
    `fixture` is the engine that `fill` needs, and `empty` removes the images from it.
    """

    name: str
    fill: Callable[[Images, Path], str]
    differences: Mapping[str, str] = field(default_factory=dict)
    takes: tuple[str, ...] | None = None
    fixture: str = ""
    empty: Callable[[Any], None] = lambda _: None


@dataclass(frozen=True)
class Images:
    """The images of the contract: in the layout `folder`, and by their names."""

    folder: Path
    by_name: Mapping[str, Image]
    engine: Any = None


TAGGED = (
    "redis:7", "redis:latest", "dangling", "team/app:1", "team/app:2", "team/app:3", "edge/agent:1", "reproducible:1",
    "plain:1", "debian:13", "team/runtime:1", "team/runtime:2",
)  # fmt: skip
"""Images that an archive of docker can hold under their names: it has no names with digests."""


def copy_layout(images: Images, folder: Path) -> str:
    shutil.copytree(images.folder, folder / "layout", ignore=shutil.ignore_patterns("index.db*", "lock", "ingest"))
    return f"oci:{folder / 'layout'}"


def pack_layout(images: Images, folder: Path, *options: str) -> str:
    copy_layout(images, folder)
    path = folder / "images.tar"
    subprocess.run(["tar", "-C", folder / "layout", *options, "-cf", path, "."], check=True)
    return str(path)


def write_docker_archive(images: Images, folder: Path) -> str:
    path = folder / "docker.tar"
    others = {"dangling": [], "team/app:1": ["team/app:1", "registry.local:5000/team/app:1"]}
    named = [(images.by_name[name], others.get(name, [name])) for name in TAGGED]
    docker_archive(path, [(image, [_write_out(name) for name in names]) for image, names in named])
    return f"docker-archive:{path}"


def _write_out(name: str) -> str:
    """Return a name with its registry: podman would add another one."""
    if name.startswith("registry.local"):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


def skopeo_copies(transport: str) -> Callable[[Images, Path], str]:
    def fill(images: Images, folder: Path) -> str:
        require_programs("skopeo")
        target = f"{transport}:{folder / 'copied'}"
        name = "" if transport == "dir" else ":team/app:2"
        command = ["skopeo", "copy", "-q", f"oci:{images.folder}:team/app:2", f"{target}{name}"]
        subprocess.run(command, check=True, capture_output=True)
        return target

    return fill


def skopeo_storage(driver: str) -> Callable[[Images, Path], str]:
    def fill(images: Images, folder: Path) -> str:
        require_programs("skopeo")
        root = folder / "storage"
        for name in IN_STORAGE:
            target = f"containers-storage:[{driver}@{root}+{folder / 'run'}]{name}"
            command = ["skopeo", "copy", "-q", f"oci:{images.folder}:{name}", target]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if driver == "overlay" and done.returncode and "overlay" in done.stderr:
                pytest.skip("overlay cannot be mounted on this machine")
            assert done.returncode == 0, done.stderr
        for mount in mounts_under(os.fspath(folder)):
            subprocess.run(["umount", mount], check=True)
        return f"containers-storage:{root}"

    return fill


def load_into_engine(images: Images, folder: Path) -> str:
    write_docker_archive(images, folder)
    images.engine.run("load", "-q", "-i", str(folder / "docker.tar"))
    return str(images.engine.address)


def import_into_containerd(images: Images, folder: Path) -> str:
    pack_layout(images, folder)
    images.engine.run("-n", "contract", "images", "import", "--all-platforms", str(folder / "images.tar"))
    return "containerd:contract"


def empty_engine(engine: Any) -> None:
    engine.run("rmi", "-f", *set(engine.run("images", "-q", "--no-trunc").split()))


NAMED = (
    *(name for name in TAGGED if name != "dangling"),
    "packed:gzip", "packed:zstd", "tool",
)  # fmt: skip
"""Images that containerd imports: those with a name."""
DEBIAN = {
    "etc/os-release": b"ID=debian\nVERSION_ID=13\nPRETTY_NAME='Debian GNU/Linux 13 (trixie)'\n",
    "var/lib/dpkg/status": b"""Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.37-2+b5
Installed-Size: 7460

Package: libssl3t64
Status: install ok installed
Source: openssl
Architecture: amd64
Version: 3.5.1-1
""",
}
WHEEL = {
    "usr/lib/python3/dist-packages/six-1.17.0.dist-info/METADATA": (
        b"Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\n"
    ),
}
IN_STORAGE = ("debian:13", "redis:7", "team/app:2", "edge/agent:1", "plain:1", "packed:gzip")

SOURCES = [
    Contract("oci", copy_layout, NO_CONTAINERS | COMPRESSED),
    Contract("oci-archive", lambda *where: f"oci-archive:{pack_layout(*where)}", NO_CONTAINERS | COMPRESSED),
    Contract("path", pack_layout, NO_CONTAINERS | COMPRESSED),
    Contract("path, gzip", lambda *where: pack_layout(*where, "-z"), NO_CONTAINERS | COMPRESSED),
    Contract("docker-archive", write_docker_archive, NO_CONTAINERS | NO_MANIFESTS | {"layers.images": OTHER}, TAGGED),
    Contract("skopeo oci", skopeo_copies("oci"), NO_CONTAINERS | COMPRESSED_ON_COPY | ALONE, ("team/app:2",)),
    Contract("skopeo dir", skopeo_copies("dir"), NO_CONTAINERS | NO_NAMES | ALONE, ("team/app:2",)),
    Contract("dockerd", load_into_engine, DOCKER, TAGGED, "dockerd", empty_engine),
    Contract(
        "dockerd, containerd", load_into_engine, DOCKER | DOCKER_CONTAINERD, TAGGED, "debian_dockerd", empty_engine
    ),
    Contract("podman", load_into_engine, PODMAN, TAGGED, "podman_service", empty_engine),
    Contract("podman 5", load_into_engine, PODMAN, TAGGED, "debian_podman", empty_engine),
    Contract("containerd", import_into_containerd, CONTAINERD, NAMED, "containerd", lambda engine: engine.clear()),
    Contract(
        "containerd 1.7", import_into_containerd, CONTAINERD, NAMED, "debian_containerd", lambda engine: engine.clear()
    ),
    Contract("containers-storage, vfs", skopeo_storage("vfs"), STORAGE, IN_STORAGE),
    Contract("containers-storage, overlay", skopeo_storage("overlay"), STORAGE, IN_STORAGE),
]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """A layout of many kinds of images."""
    folder = tmp_path_factory.mktemp("contract") / "store"
    made = dict(write_library(folder))
    entries = json.loads((folder / "index.json").read_text())["manifests"]
    layout = Layout(folder)
    layout.entries = entries
    made["debian:13"] = layout.add(Image([layer(DEBIAN), layer(WHEEL)]), "debian:13")
    for packed in ("gzip", "zstd"):
        image = Image([layer({"packed": packed.encode() * 1000}, packed)], labels={"packed": packed})
        made[f"packed:{packed}"] = layout.add(image, f"packed:{packed}")
    for tag in ("1", "2"):  # a base on a base, twice with the same layers
        below = made["team/app:1"].layers[:2]
        made[f"team/runtime:{tag}"] = layout.add(Image(below, labels={"tag": tag}), f"team/runtime:{tag}")
    return Images(folder, made)


@pytest.fixture(scope="session")
def reference(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[dict[str, Any]]]:
    """What the store says of the images, by table."""
    root = tmp_path_factory.mktemp("reference") / "store"
    shutil.copytree(images.folder, root)
    with StoreSession(root) as store:
        return {table: store.rows(f"{table} select * as json") for table in TABLES}


@pytest.fixture(scope="session", params=SOURCES, ids=lambda contract: contract.name)
def filled(
    request: pytest.FixtureRequest, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Contract, str, StoreSession]]:
    contract: Contract = request.param
    folder = tmp_path_factory.mktemp("source")
    if contract.fixture:
        images = replace(images, engine=request.getfixturevalue(contract.fixture))
    place = contract.fill(images, folder)
    environment = {"CONTAINERD_ADDRESS": images.engine.socket} if "containerd" in contract.fixture else {}
    with StoreSession(folder / "store", environment=environment) as session:
        yield contract, place, session
    contract.empty(images.engine)


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_the_fields_of_the_store(
    filled: tuple[Contract, str, StoreSession],
    table: str,
    images: Images,
    reference: Mapping[str, list[dict[str, Any]]],
) -> None:
    contract, place, session = filled
    differences = {
        name.partition(".")[2]: kind for name, kind in contract.differences.items() if name.startswith(f"{table}.")
    }
    takes = contract.takes or tuple(images.by_name)
    ids = {images.by_name[name].id for name in takes}
    expected = [row for row in reference[table] if row[KEYS[table][0]] in ids]
    rows = session.rows(f'{table} in "{place}" select * as json')
    assert len(rows) == len(expected)
    differing = set()
    if "images.id" in contract.differences:
        differing = _translate_ids(
            rows, KEYS[table][0], session.rows(f'images in "{place}" select * as json'), images.by_name
        )
        differences = {name: kind for name, kind in differences.items() if name not in differing}
    key_fields = [name for name in KEYS[table] if name not in differences]

    def key(row: dict[str, Any]) -> list[str]:
        return [str(row[name]) for name in key_fields]

    for row, wanted in zip(sorted(rows, key=key), sorted(expected, key=key), strict=True):
        assert row[_get_place_field(table)] == place
        for name, value in wanted.items():
            if name == _get_place_field(table) or (name.startswith("version") and table == "images"):
                continue
            if name in differences:
                differing |= {name} if row[name] != value else set()
                assert differences[name] != UNKNOWN or row[name] is None, (name, row[name])
                continue
            assert row[name] == value, (name, row["source"])
    declared = {name.partition(".")[2] for name in contract.differences if name.startswith(f"{table}.")}
    assert differing == declared, "a declared difference differs"


def _get_place_field(table: str) -> str:
    """Return the field that names the source: packages have a source of their own."""
    return "place" if table in ("packages", "os_releases") else "source"


def _translate_ids(
    rows: list[dict[str, Any]], field: str, named: list[dict[str, Any]], by_name: Mapping[str, Image]
) -> set[str]:
    """Put the IDs that the images of the layout have into rows of a source with other ones; return the changed field.

    `named` are the rows of `images`. One image has no name.
    """
    ids = {row["id"]: by_name[row["name"] or "dangling"].id for row in named if row["name"] in {None, *by_name}}
    assert ids.keys() == {row["id"] for row in named}
    for row in rows:
        assert row[field] != ids[row[field]]
        row[field] = ids[row[field]]
    return {field}


@pytest.fixture(scope="session")
def same_images(
    filled: tuple[Contract, str, StoreSession], images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreSession]:
    """A store with the images of a source, and no others."""
    contract, _, _ = filled
    root = tmp_path_factory.mktemp("same") / "store"
    shutil.copytree(images.folder, root)
    kept = ", ".join(images.by_name[name].id for name in contract.takes or tuple(images.by_name))
    with StoreSession(root) as store:
        store.do(f"rm images where id not in ({kept}) force")
        yield store


CORPUS = sorted((pathlib.Path(__file__).resolve().parents[1] / "language" / "corpus").glob("*.imq"))
_ELSEWHERE = re.compile(
    r"""\b(in|from|to)\ (store|docker|podman|oci|containerd)\b
    | \b(sources|usage|containers|files|packages|tags|blobs|commands|logs)\b
    | [$"] | \b(outdated|local\ only|remote|newest|free|total|format)\b
    | \bas\ (csv|tsv|raw|yaml|xml|markdown|html|table|tree|json|jsonl)\b""",
    re.VERBOSE,
)
"""Statements about other places and tables, the disk, files and variables, and those with an output format."""
_MEANINGS = {"created": ("age", "ago", "before", "after", "since"), "in_use": ("in use",), "id": ("sha256:",)}
"""Words of the language that read a field without its name."""
_FEWEST = 70
"""The statements that are compared for the source with the most differences, at least."""


def read_statements() -> list[str]:
    """Return the queries of the corpus about images, layers and history, one for each line."""
    lines = [line for path in CORPUS for line in path.read_text().splitlines()]
    return [
        line for line in lines
        if re.match(r"\(*(images|layers|history)\b", line) and not _ELSEWHERE.search(line)
    ]  # fmt: skip


def reads(statement: str, fields: frozenset[str]) -> bool:
    """Whether a statement names one of these fields, or shows all of them."""
    if "layers" not in statement:
        fields -= {"images"}  # the field of layers
    words = {word for name in fields for word in (name, *_MEANINGS.get(name, ()))}
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", statement) for word in words)


def answer(session: StoreSession, statement: str) -> list[dict[str, Any]] | str:
    """Return the rows of a statement, or the code of its error."""
    try:
        return session.rows(statement)
    except ImqError as error:
        return error.code


def compare(statement: str, rows: Any, expected: Any, hidden: frozenset[str]) -> bool:
    """Whether rows are equal in the columns that both have, but for the hidden ones; in order when there is one."""
    if not rows or not expected or isinstance(rows, str):
        return bool(rows == expected)
    names = [name for name in expected[0] if name in rows[0] and name not in hidden]
    mine, theirs = ([[str(row[name]) for name in names] for row in each] for each in (rows, expected))
    return mine == theirs if " order by " in statement else sorted(mine) == sorted(theirs)


def test_the_corpus_has_the_same_answers(filled: tuple[Contract, str, StoreSession], same_images: StoreSession) -> None:
    """The queries of the corpus that read no field with a declared difference have the rows of the store."""
    contract, place, session = filled
    fields = {name.partition(".")[2] for name in contract.differences}
    of_places = {"source", "last_used", "pulled_at", "version", "complete", "store_path"}
    unlike = frozenset(fields | of_places)
    list(session.session.run(f'use "{place}"'))
    compared, other = 0, []
    for statement in read_statements():
        expected = "reads" if reads(statement, unlike) else answer(same_images, statement)
        if isinstance(expected, list):
            compared += 1
            if not compare(statement, answer(session, statement), expected, unlike):
                other.append(statement)
    assert not other, "\n".join(other)
    assert compared >= _FEWEST


def test_lineage_is_that_of_the_layers(
    filled: tuple[Contract, str, StoreSession], images: Images, reference: Mapping[str, list[dict[str, Any]]]
) -> None:
    contract, place, session = filled
    stored = {row["image"]: [] for row in reference["layers"]}
    for row in sorted(reference["layers"], key=lambda row: row["index"]):
        stored[row["image"]].append(row["diff_id"])
    here = {images.by_name[name].id for name in contract.takes or images.by_name}
    listed = session.rows(f'images in "{place}" select id, diff_ids')
    stacks = {row["id"]: json.loads(row["diff_ids"]) for row in listed}  # IDs can be digests of manifests
    assert sorted(stacks.values()) == sorted(stored[id_] for id_ in here)

    def find_base(id_: str) -> list[str] | None:
        below = [one for one in stacks.values() if len(one) < len(stacks[id_]) and stacks[id_][: len(one)] == one]
        return max(below, key=len, default=None)

    rows = session.rows(
        f'images in "{place}" select id, name, chain_ids, chain_id, base_chain_id, base.id as base,'
        " list(children.id) as children"
    )
    chains = {row["id"]: row["chain_id"] for row in rows}
    for row in rows:
        base = find_base(row["id"])
        assert json.loads(row["chain_ids"])[-1] == row["chain_id"]
        assert row["base_chain_id"] == next((chains[id_] for id_, one in stacks.items() if one == base), None)
        assert (stacks[row["base"]] if row["base"] else None) == base
        assert set(json.loads(row["children"])) == {id_ for id_ in stacks if find_base(id_) == stacks[row["id"]]}

    for one, layers in stacks.items():
        based = {id_ for id_, theirs in stacks.items() if len(theirs) > len(layers) and theirs[: len(layers)] == layers}
        sharing = {id_ for id_, theirs in stacks.items() if id_ != one and not set(theirs).isdisjoint(layers)}
        holders = {id_ for id_, theirs in stacks.items() if layers[-1] in theirs}
        for condition, expected in {
            f"based on {one}": based,
            f'based on (images in "{place}" where id = {one})': based,
            f"shares layers with {one}": sharing,
            f'shares layers with (images in "{place}" where id = {one})': sharing,
            f"has layer {layers[-1]}": holders,
            f"diff_ids has {layers[-1]}": holders,
        }.items():
            found = session.rows(f'images in "{place}" where {condition} select id')
            assert {row["id"] for row in found} == expected, condition
    nested = session.rows(f'images in "{place}" where any base where any children where layer_count = 3 select id')
    bases_of_three = [find_base(id_) for id_, layers in stacks.items() if len(layers) == 3 and find_base(id_)]
    assert {row["id"] for row in nested} == {id_ for id_ in stacks if find_base(id_) in bases_of_three}


def test_reading_changes_nothing(filled: tuple[Contract, str, StoreSession]) -> None:
    _, place, session = filled
    path = place.partition(":")[2] if not place.startswith("/") else place
    if not os.path.exists(path):
        pytest.skip("an engine writes its own folders")
    before = _describe_tree(path)
    for table in TABLES:
        session.rows(f'{table} in "{place}" select * as json')
    assert _describe_tree(path) == before


def _describe_tree(path: str) -> list[tuple[str, int, int, int]]:
    """Return every name below a path with its size and its times."""
    found = [path]
    for folder, folders, files in os.walk(path):
        found += [os.path.join(folder, name) for name in (*folders, *files)]
    described = ((name, os.lstat(name)) for name in sorted(found))
    return [(name, about.st_size, about.st_mtime_ns, about.st_ino) for name, about in described]
