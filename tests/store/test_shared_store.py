"""A store that several users of one group write to, with any umask."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.store import partial_blobs
from imq.engine.store.corruption import mark_corrupt
from imq.engine.store.registry_cache import RegistryCache
from store.support.stores import StoreSession, blobs_in, check_store, imq
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GROUP, ANN, BOB = 4242, 4001, 4002
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="users are changed by root")


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder of the group, with archives next to it; the modules that users need are imported already."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "store").mkdir()
    os.chown(folder / "store", 0, GROUP)
    (folder / "store").chmod(0o2775)
    for name in ("one", "two"):
        Layout(folder / name).add(Image([layer({name: name.encode() * 1000})]), f"{name}:1")
    work(folder / "warm", folder / "one")
    yield folder
    shutil.rmtree(folder)


def work(root: Path, source: Path) -> None:
    """Change a store in every way."""
    with StoreSession(root) as held:
        (outcome,) = held.do(f'load "{source}"')
        name = outcome["target"]
        held.do(f"tag {name} as other:{os.getpid()}")
        held.do(f"rm other:{os.getpid()}")
        held.do("prune")
        assert name in held.names()
        with held.session.store.start_ingest() as ingest:
            ingest.sync()
        assert held.session.store.index.is_persistent


def as_user(
    user: int, does: Callable[[], None], group: int = GROUP, umask: int = 0o022, others: Sequence[int] = ()
) -> int:
    """Run a function in a process of a user, by default in the group; return the process ID."""
    child = os.fork()
    if not child:
        try:
            os.setgroups(others)
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            os.umask(umask)
            does()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees how it ended
            traceback.print_exc()
        finally:
            os._exit(1)
    return child


def wait(child: int) -> None:
    assert os.waitpid(child, 0)[1] == 0


def test_users_of_a_group_change_one_store(common: Path) -> None:
    root = common / "store"
    wait(as_user(ANN, lambda: work(root, common / "one")))
    wait(as_user(BOB, lambda: work(root, common / "two")))
    wait(as_user(ANN, lambda: work(root, common / "two")))
    together = [as_user(user, lambda: work(root, common / "one")) for user in (ANN, BOB)]
    for child in together:
        wait(child)

    def remove() -> None:
        with StoreSession(root) as held:
            held.do("rm one:1")
            held.do("rm two:1")

    wait(as_user(BOB, remove))
    assert blobs_in(root) == {}
    assert {os.lstat(root / name).st_gid for name in os.listdir(root)} == {GROUP}
    check_store(root)


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o002])
@pytest.mark.parametrize("mode", [0o2775, 0o2770, 0o775])
def test_the_umask_does_not_lock_out_the_group(common: Path, mode: int, umask: int) -> None:
    """Without the setgid bit new files get the group of the root, if the user is a member of it."""
    root = common / "store"
    root.chmod(mode)
    own = GROUP if mode & 0o2000 else ANN
    wait(as_user(ANN, lambda: work(root, common / "one"), own, umask, [GROUP]))
    found = {path: path.lstat() for path in root.rglob("*")}
    assert {"index.json", "index.db", "lock", "oci-layout", "reserve", "ingest", "sha256"} <= {
        path.name for path in found
    }
    assert {about.st_gid for about in found.values()} == {GROUP}
    wanted = {True: 0o070, False: 0o060}
    assert not [path for path, about in found.items() if about.st_mode & wanted[path.is_dir()] != wanted[path.is_dir()]]
    wait(as_user(BOB, lambda: work(root, common / "two"), own, umask, [GROUP]))
    wait(as_user(ANN, lambda: work(root, common / "two"), own, umask, [GROUP]))
    check_store(root)


def test_temporary_files_belong_to_the_group_too(common: Path) -> None:
    """A collection must see the lease of another user, and a pull resumes partial blobs of another user."""
    root = common / "store"
    wait(as_user(ANN, lambda: work(root, common / "one"), umask=0o077))
    digest = Digest(f"sha256:{'1' * 64}")

    def leave() -> None:
        with StoreSession(root) as held:
            layout = held.session.store.layout
            ingest = held.session.store.start_ingest()
            ingest.__enter__()
            partial_blobs.create(layout, digest, "1-0123456789ab.1")
            ingest.reserve([Descriptor(media_types.OCI_CONFIG, digest, 5)])
            RegistryCache(held.session.store.index.connection, layout)
            mark_corrupt(layout, digest)
            os._exit(0)

    wait(as_user(ANN, leave, umask=0o077))
    names = {path.name.rpartition(".")[2]: stat.S_IMODE(path.stat().st_mode) for path in (root / "ingest").iterdir()}
    assert {names[kind] & 0o060 for kind in ("lease", "room", "part", "damaged")} == {0o060}
    for name in ("remote.db", "remote.db-wal", "remote.db-shm"):
        if (root / name).exists():
            assert (root / name).stat().st_mode & 0o060 == 0o060
    assert (root / "remote.db").exists()
    wait(as_user(BOB, lambda: work(root, common / "two"), umask=0o077))
    assert "lease" not in {path.suffix for path in (root / "ingest").iterdir()}


def test_a_private_store_stays_private(common: Path) -> None:
    home = common / "home"
    home.mkdir()
    os.chown(home, ANN, GROUP)
    root = home / "store"
    wait(as_user(ANN, lambda: work(root, common / "one"), umask=0o077))
    assert not [path for path in (root, *root.rglob("*")) if path.lstat().st_mode & 0o077]


def test_the_lease_of_another_user_protects_its_blobs(common: Path) -> None:
    root = common / "store"
    wait(as_user(ANN, lambda: work(root, common / "one")))
    brought, done = os.pipe(), os.pipe()
    content = b"brought" * 1000

    def bring() -> None:
        with StoreSession(root) as held, held.session.store.start_ingest() as ingest:
            described = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
            ingest.reserve((described,))
            ingest.store_document(described, content)
            ingest.sync()
            os.write(brought[1], b".")
            os.read(done[0], 1)

    child = as_user(ANN, bring)
    os.read(brought[0], 1)

    def prune() -> None:
        with StoreSession(root) as held:
            held.do("prune")

    wait(as_user(BOB, prune))
    assert Digest.of(content) in blobs_in(root)
    os.kill(child, 9)
    os.waitpid(child, 0)
    wait(as_user(BOB, prune))
    assert Digest.of(content) not in blobs_in(root)
    for end in (*brought, *done):
        os.close(end)
    check_store(root)


def test_users_outside_the_group_can_only_read(common: Path) -> None:
    root = common / "store"
    wait(as_user(ANN, lambda: work(root, common / "one")))
    before = imq(root, "images", "as", "json").stdout

    def other() -> None:
        with StoreSession(root) as held:
            assert held.names() == ["one:1"]
            assert held.failure_code("rm one:1") == "permission"

    wait(as_user(BOB, other, group=4999))
    assert imq(root, "images", "as", "json").stdout == before
