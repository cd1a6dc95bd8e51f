"""What users can write and execute: compared with the kernel on the same tree."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from imq.engine.sources.contents.access import Accounts, User
from layer_index.test_image_contents import make_layer
from layers.stacks import folder, link, member, symlink
from store.support.stores import StoreSession
from support.images import Image, Layout

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

PASSWD = b"root:x:0:0::/:\napp:x:1000:1000::/:\nweb:x:33:33::/:\n7:x:1007:1000::/:\n"
GROUP = b"root:x:0:\nstaff:x:50:app,web\nshared:x:1000:web\n"
ACCOUNTS = Accounts(
    {"root": (0, "0"), "app": (1000, "1000"), "web": (33, "33"), "7": (1007, "1000")},
    {"root": (0, ""), "staff": (50, "app,web"), "shared": (1000, "web")},
)
USERS = {
    "root": User(0, (0,)), "app": User(1000, (1000, 50)), "1000": User(1000, (1000, 50)),
    "web": User(33, (33, 50, 1000)), "7": User(1007, (1000,)), "4242": User(4242, (0,)),
    "web:staff": User(33, (50,)), "4242:1000": User(4242, (1000,)), "0:7": User(0, (7,)),
}  # fmt: skip
OWNERS = (0, 33, 1000)
GROUPS = (0, 50, 1000)
CHOICE = random.Random(14)
FOLDER_MODES = (0o755, 0o750, 0o711, 0o700, 0o770, 0o1777, 0o055)
FOLDERS = {
    path: (CHOICE.choice(FOLDER_MODES), CHOICE.choice(OWNERS), CHOICE.choice(GROUPS))
    for path in ("a", "a/b", "a/b/c", "d", "d/e", "f", "g", "g/h", "g/h/i")
}
FILES = {
    f"{parent}/file{number}": (CHOICE.randrange(0o1000), CHOICE.choice(OWNERS), CHOICE.choice(GROUPS))
    for parent in FOLDERS
    for number in range(9)
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSession]:
    path = tmp_path_factory.mktemp("access") / "store"
    entries = [member("etc/passwd", PASSWD), member("etc/group", GROUP)]
    for name, (mode, uid, gid) in FOLDERS.items():
        entries.append(folder(name, mode=mode, uid=uid, gid=gid))
    for name, (mode, uid, gid) in FILES.items():
        entries.append(member(name, b"x", mode=mode, uid=uid, gid=gid))
    layout = Layout(path)
    layout.add(Image([make_layer(*entries, symlink("link", "a"), link("hard", "d/file1"))]), "app:1")
    layout.add(Image([make_layer(member("open", mode=0o666), member("closed", mode=0o600))]), "app:2")
    closing = make_layer(folder("closed.d", mode=0o700), folder("open.d"), member("closed.d/open", mode=0o666))
    layout.add(Image([closing, make_layer(folder("closed.d", mode=0o755))]), "app:3")
    with StoreSession(path) as opened:
        yield opened


@pytest.mark.parametrize("text", USERS)
def test_users_have_the_groups_of_the_image(text: str) -> None:
    assert ACCOUNTS.find_user(text) == USERS[text]


@pytest.mark.parametrize("text", ["nobody", "app:nogroup", "", "-1", "99999999999"])
def test_names_that_an_image_does_not_have(text: str) -> None:
    assert ACCOUNTS.find_user(text) is None


def ask_kernel(root: pathlib.Path, user: User, mode: int) -> set[str]:
    """Return the paths for which the kernel gives a user access."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.chroot(root)
            os.setgroups(list(user.groups))
            os.setgid(user.groups[0])
            os.setuid(user.uid)
            found = [path for path in (*FOLDERS, *FILES) if os.access(f"/{path}", mode)]
            os.write(write_end, "\n".join(found).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return {f"/{path}" for path in text.split("\n") if path}


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the owners of files needs root")
def test_users_have_the_access_that_the_kernel_gives_them(session: StoreSession, tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o755)
    for name, (mode, uid, gid) in {**FOLDERS, **FILES}.items():
        path = root / name
        if name in FOLDERS:
            path.mkdir()
        else:
            path.write_bytes(b"x")
        os.chown(path, uid, gid)
        path.chmod(mode)
    made = {f"/{name}" for name in (*FOLDERS, *FILES)}
    for text, user in USERS.items():
        for word, mode in (("writable", os.W_OK), ("executable", os.X_OK)):
            rows = session.rows(f'files of app:1 where {word} by "{text}" select path')
            assert {row["path"] for row in rows} & made == ask_kernel(root, user, mode), (text, word)


def test_the_users_of_the_image_are_listed(session: StoreSession) -> None:
    rows = session.rows("files of app:1 where name like file* select path, writable_by, executable_by")
    for name in ("root", "app", "web"):
        for column, word in (("writable_by", "writable"), ("executable_by", "executable")):
            found = {
                row["path"]
                for row in session.rows(f"files of app:1 where {word} by {name} and name like file* select path")
            }
            assert {row["path"] for row in rows if f'"{name}"' in row[column]} == found


def test_a_user_that_the_image_does_not_have_is_unknown(session: StoreSession) -> None:
    assert session.rows("files of app:2 where writable by app") == []
    assert [row["path"] for row in session.rows("files of app:2 where writable by 1000 select path")] == ["/open"]
    rows = session.rows("images where any files where writable by app and name = open select name")
    assert rows == []


def test_folders_count_as_the_image_shows_them(session: StoreSession) -> None:
    rows = session.rows("files of app:3 where writable by 1000 select path")
    assert [row["path"] for row in rows] == ["/closed.d/open"]
    rows = session.rows("files of app:1 where type = symlink and writable by root")
    assert rows == []
