"""Containers of an ordinary user: in a user namespace, with the IDs of /etc/subuid or with a single one."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.ordinary_user import FIRST_ID, USER_ID, OrdinaryUser
from support.servers import require_programs

from .conftest import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGES = (
    "echo new > /etc/group; rm /bin/yes; rm -r /tmp; mkdir -m 1777 /tmp; echo 1 > /tmp/one; chmod 700 /root;"
    " mkdir -m 700 /private; echo 2 > /private/two"
)
SHARED = "ls -d /proc/1 | wc -l; ls /dev/shm > /dev/null && echo shm; ls -d /sys/class > /dev/null && echo sys"
MOUNT_CALLS, UNSHARE_CALLS = {"x86_64": 165, "aarch64": 40}, {"x86_64": 272, "aarch64": 97}
"""The numbers of system calls."""
NEW_USER_NAMESPACE = 0x10000000
FILTER = """
import ctypes, os, struct, sys
number, argument, value, error = map(int, sys.argv[1:5])
instructions = [
    (0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16 + 8 * argument), (0x15, 0, 1, value),
    (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000),
]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
header = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(program))
library = ctypes.CDLL(None, use_errno=True)
assert library.prctl(22, 2, ctypes.c_char_p(header), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execvp(sys.argv[5], sys.argv[5:])
"""
"""A program that runs another one, for which a system call with a value of an argument fails."""


def failing_call(numbers: dict[str, int], argument: int, value: int, error: int) -> list[str]:
    """Return the first words of `FILTER`."""
    if platform.machine() not in numbers:
        pytest.skip("the number of the system call is not known here")
    return [sys.executable, "-c", FILTER, *map(str, (numbers[platform.machine()], argument, value, error))]


@pytest.fixture(scope="module")
def user(archive: pathlib.Path) -> Iterator[OrdinaryUser]:
    """A user with further IDs, and the image `box:1` in its store."""
    with open_user(archive) as user:
        yield user


@pytest.fixture(scope="module")
def single_user(archive: pathlib.Path) -> Iterator[OrdinaryUser]:
    """A user without further IDs, and the image `box:1` in its store."""
    with open_user(archive, has_ranges=False) as user:
        yield user


@contextlib.contextmanager
def open_user(archive: pathlib.Path, **options: Any) -> Iterator[OrdinaryUser]:
    require_programs("setpriv", "unshare", "nsenter", "newuidmap")
    with OrdinaryUser(**options) as user:
        load(user, archive)
        yield user


def load(user: OrdinaryUser, archive: pathlib.Path) -> None:
    """Load the image `box:1` into the store of a user."""
    with archive.open("rb") as file:
        done = user.imq("load", stdin=file)
    assert done.returncode == 0, done.stderr


def ask(user: OrdinaryUser, statement: str) -> list[str]:
    """Return the lines of a query in CSV, without its heading."""
    done = user.imq(f"{statement} as csv")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[1:]


def do(user: OrdinaryUser, *words: str) -> str:
    done = user.imq(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["user", "single_user"])
def test_a_container_runs_as_root_of_a_user_namespace(name: str, request: pytest.FixtureRequest) -> None:
    user: OrdinaryUser = request.getfixturevalue(name)
    script = "id -u; cat /proc/self/uid_map; cat /data/seed; cat /proc/self/cgroup | grep -c imq; touch /mine/made"
    done = user.imq("run", "--rm", "-v", f"{user.home}:/mine", "box:1", "sh", "-c", script)
    lines = [line.split() for line in done.stdout.splitlines()]
    ranges = [["1", str(FIRST_ID), "65536"]] if name == "user" else []
    assert lines == [["0"], ["0", str(USER_ID), "1"], *ranges, ["seed"], ["0"]], done.stderr
    status = os.stat(user.home / "made")
    assert (status.st_uid, status.st_gid) == (USER_ID, USER_ID)
    done = user.imq("run", "--rm", "-i", "--network", "host", "--read-only", "box:1", "cat", input="typed\n")
    assert (done.returncode, done.stdout) == (0, "typed\n"), done.stderr
    done = user.imq("run", "--rm", "-u", "app", "box:1", "id")
    if name == "user":
        assert done.stdout == "uid=1000(app) gid=1001(app) groups=1001(app),2000(extra)\n", done.stderr
    else:
        assert (done.returncode, "is not in the user namespace" in done.stderr) == (125, True), done.stderr
    assert ask(user, "containers select name") == []


def test_the_life_of_a_container(user: OrdinaryUser) -> None:
    script = f"{CHANGES}; echo ready; while true; do sleep 0.05; done"
    do(user, "run", "-d", "--name", "web", "box:1", "sh", "-c", script)
    assert ask(user, "containers select name, status, driver") == ["web,running,overlay2"]
    while ask(user, "logs of web select text") != ["ready"]:
        pass
    assert do(user, "exec", "web", "sh", "-c", "id -u; cat /private/two") == "0\n2\n"
    done = user.imq("exec", "-i", "web", "sh", "-c", "cat; exit 7", input="typed\n")
    assert (done.returncode, done.stdout) == (7, "typed\n"), done.stderr
    expected = [
        "/bin,changed", "/bin/yes,deleted", "/etc,changed", "/etc/group,changed", "/private,added",
        "/private/two,added", "/root,changed", "/tmp,changed", "/tmp/one,added",
    ]  # fmt: skip
    assert ask(user, "changes of web select path, status") == expected
    assert ask(user, "containers where name = web select size_rw") == ["8"]
    do(user, "commit", "web", "web:made")
    query = "all files of web:made where layer_index = 1 and type != opaque select path, uid, mode"
    layer = ask(user, query)
    assert "/etc/group,0,0644" in layer
    assert "/private/two,0,0644" in layer
    assert "/bin/.wh.yes,0,0600" in layer
    assert "containers of ordinary users have no cgroups" in user.imq("pause", "web").stderr
    assert do(user, "stop", "-t", "0", "web") == "web\n"
    assert ask(user, "containers select status, exit_code") == ["exited,137"]
    do(user, "start", "web")
    do(user, "rm", "-f", "web")
    assert do(
        user, "run", "--rm", "web:made", "sh", "-c", "cat /etc/group /private/two; ls /tmp; ls /bin/yes || :"
    ) == ("new\n2\none\n")
    do(user, "image", "rm", "web:made")


def test_owners_that_a_single_id_cannot_have_stay_in_images(
    single_user: OrdinaryUser, archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with Machine(tmp_path / "store") as machine:
        machine.do_all(
            f'load "{archive}"',
            'run box:1 sh -c "mkdir -p /home/app; echo 1 > /home/app/kept; chown -R 1000:1001 /home/app" as web',
            "commit web as owned:1",
            f'save owned:1 to "{tmp_path}/owned.tar"',
        )
        machine.clear()
    load(single_user, tmp_path / "owned.tar")
    script = "chmod 750 /home/app; echo 2 >> /home/app/kept; touch /home/app/made; exec sleep 100"
    do(single_user, "run", "-d", "--name", "web", "owned:1", "sh", "-c", script)
    assert do(single_user, "exec", "web", "stat", "-c", "%u:%g", "/home/app/kept") == "0:0\n"
    do(single_user, "stop", "-t", "0", "web")
    do(single_user, "commit", "web", "web:owned")
    query = "all files of web:owned where layer_index = 2 and path like /home/app* select path, uid, gid, mode"
    assert ask(single_user, query) == [
        "/home/app,1000,1001,0750", "/home/app/kept,1000,1001,0644", "/home/app/made,0,0,0644",
    ]  # fmt: skip
    assert ask(single_user, "files of container web where path = /home/app/kept select uid, xattrs") == ["1000,{}"]
    do(single_user, "rm", "-f", "web")


def test_ids_that_a_user_gets_later_do_not_change_the_owners_of_files(single_user: OrdinaryUser) -> None:
    """With a single ID, unpacked files have the owner 0: with several they would keep it."""
    do(single_user, "run", "--rm", "box:1", "true")
    path = pathlib.Path(single_user.root, "unpacked", "ids")
    assert path.read_text() == "a single ID"
    path.write_text("the IDs of /etc/subuid")  # as if the lines of the user had been removed
    done = single_user.imq("run", "--rm", "box:1", "true")
    assert done.returncode == 125
    assert "were unpacked with the IDs of /etc/subuid, and this user has a single ID now" in " ".join(
        done.stderr.split()
    )
    assert "restore the lines of this user in /etc/subuid" in done.stderr
    assert ask(single_user, "containers select name") == []
    path.unlink()
    do(single_user, "run", "--rm", "box:1", "true")
    assert path.read_text() == "a single ID"


def test_namespaces_of_the_host_are_shared(user: OrdinaryUser) -> None:
    done = user.imq("run", "--rm", "--pid", "host", "--ipc", "host", "--network", "host", "box:1", "sh", "-c", SHARED)
    assert done.stdout.split() == ["1", "shm", "sys"], done.stderr
    done = user.imq("run", "--rm", "--privileged", "box:1", "ls", "/dev/null")
    assert (done.returncode, done.stdout) == (0, "/dev/null\n"), done.stderr


def test_volumes_and_health_checks(user: OrdinaryUser) -> None:
    flags = ("-v", "kept:/data", "-u", "app", "--health-cmd", "test -e /data/own/file", "--health-interval", "50ms")
    script = "mkdir -m 700 /data/own; echo 1 > /data/own/new; mv /data/own/new /data/own/file; exec sleep 100"
    do(user, "run", "-d", "--name", "web", *flags, "box:1", "sh", "-c", script)
    while ask(user, "containers select health") != ["healthy"]:
        pass
    do(user, "rm", "-f", "web")
    assert ask(user, "volumes select name, size") == ["kept,7"], "files of other IDs are measured too"
    do(user, "volume", "rm", "kept")
    assert os.listdir(f"{user.root}/volumes") == []


def test_what_needs_cgroups_is_refused(user: OrdinaryUser) -> None:
    for flags in (["-m", "64m"], ["--cpus", "1"], ["--pids-limit", "10"], ["--cpuset-cpus", "0"]):
        done = user.imq("run", *flags, "box:1", "true")
        assert (done.returncode, "needs root: containers of ordinary users have no cgroups" in done.stderr) == (
            125, True,
        ), done.stderr  # fmt: skip
    assert user.imq("run", "--rm", "box:1", "nothing-here").returncode == 127
    assert ask(user, "containers select name") == []
    left = os.listdir(f"{user.root}/containers")
    assert set(left) <= {"runtime", "last-used"}, left


def test_a_run_whose_monitor_was_killed_is_cleaned_up(user: OrdinaryUser) -> None:
    id_ = do(user, "run", "-d", "--name", "web", "box:1", "sleep", "100").strip()
    with open(f"{user.root}/containers/{id_}/pid") as file:
        pid = int(file.read())
    with open(f"/proc/{pid}/status") as file:
        monitor = next(line.split()[1] for line in file if line.startswith("PPid"))
    done = user.run("sh", "-c", f"kill -KILL {monitor}; kill -KILL {pid}")
    assert done.returncode == 0, done.stderr
    while os.path.exists(f"/proc/{pid}/ns/user"):
        pass
    assert ask(user, "containers select status, exit_code") == ["exited,"]
    do(user, "start", "web")
    assert ask(user, "containers select status") == ["running"]
    do(user, "rm", "-f", "web")
    assert os.listdir(f"{user.root}/containers/runtime") == []


def test_layers_and_volumes_go_with_their_images(archive: pathlib.Path) -> None:
    with open_user(archive) as user:
        do(user, "run", "--name", "web", "box:1", "sh", "-c", "mkdir -m 700 /data/own; chown 1000 /data/own")
        refused = user.imq("image", "rm", "box:1")
        assert (refused.returncode, "web (exited)" in refused.stderr) == (1, True), refused.stderr
        do(user, "container", "rm", "web")
        assert [name for name in os.listdir(f"{user.root}/unpacked") if name.endswith(".json")] != []
        do(user, "image", "rm", "box:1")
        assert [name for name in os.listdir(f"{user.root}/unpacked") if name.endswith(".json")] == []


def test_root_does_not_run_what_has_the_owners_of_a_user(user: OrdinaryUser) -> None:
    do(user, "create", "--name", "web", "box:1", "true")
    for words in (("run", "--rm", "box:1", "true"), ("start", "web")):
        command = [sys.executable, "-m", "imq", "--root", user.root, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode != 0, "those of another user" in done.stderr) == (True, True), done.stderr
    do(user, "container", "rm", "web")


def test_an_owner_that_no_id_is_there_for_is_named(user: OrdinaryUser, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    os.chown(tmp_path / "tree" / "file", 200_000, 0)
    with Machine(tmp_path / "store") as machine:
        machine.do(f'import "{tmp_path}/tree" as high:1 change "CMD [\\"x\\"]"')
        machine.do(f'save high:1 to "{tmp_path}/high.tar"')
    load(user, tmp_path / "high.tar")
    done = user.imq("create", "high:1")
    assert (done.returncode, "'file' belongs to 200000:0" in done.stderr) == (3, True), done.stderr
    assert "/etc/subuid" in done.stderr
    assert ask(user, "containers select name") == []
    assert not [name for name in os.listdir(f"{user.root}/unpacked") if "partial" in name]
    do(user, "image", "rm", "high:1")


def test_a_container_has_a_terminal(user: OrdinaryUser) -> None:
    command = user.imq_command(
        "run", "--rm", "-it", "box:1", "sh", "-c", "test -t 0 && test -t 1 && echo is-a-terminal"
    )
    main, side = os.openpty()
    done = subprocess.run(command, stdin=side, stdout=side, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(side)
    output = os.read(main, 4096)
    os.close(main)
    assert (done.returncode, b"is-a-terminal" in output) == (0, True), done.stderr


def test_a_worker_that_was_killed_leaves_nothing(user: OrdinaryUser) -> None:
    folder = f"{user.root}/containers/{'0' * 64}.creating"
    user.run("sh", "-c", f"mkdir -p {folder}/upper; touch -d 2020-01-01 {folder}")
    assert ask(user, "containers select name") == []
    assert do(user, "create", "--name", "web", "box:1", "true") != ""
    assert not os.path.exists(folder)
    do(user, "container", "rm", "web")


def test_crun(archive: pathlib.Path) -> None:
    require_programs("crun")
    with open_user(archive) as user:
        done = user.imq('set runtime = crun; run box:1 sh -c "id -u; echo $B" with auto_remove = true')
        assert (done.returncode, done.stdout.splitlines()[:2]) == (0, ["0", "image"]), done.stderr
        done = user.imq(
            "set runtime = crun; run box:1 sleep 100 as web with detach = true; exec container web run id -un"
        )
        assert "root" in done.stdout.splitlines(), done.stderr
        do(user, "rm", "-f", "web")


def test_without_user_namespaces_nothing_is_left(archive: pathlib.Path) -> None:
    with open_user(archive, prefix=failing_call(UNSHARE_CALLS, 0, NEW_USER_NAMESPACE, errno.ENOSPC)) as user:
        for words in (("run", "--rm", "box:1", "true"), ("create", "box:1"), ("run", "-d", "box:1", "true")):
            done = user.imq(*words)
            assert done.returncode != 0
            assert "a user namespace, which containers of ordinary users need, cannot be made" in done.stderr
            assert "user.max_user_namespaces" in done.stderr
        assert ask(user, "containers select name") == []


def without_overlayfs() -> list[str]:
    """Return words of a program for which mounts of overlayfs fail, as before Linux 5.11 in a user namespace.

    They have no flags; those of fuse-overlayfs and of runtimes have.
    """
    return failing_call(MOUNT_CALLS, 3, 0, errno.ENODEV)


def test_without_overlayfs_fuse_overlayfs_mounts_the_layers(archive: pathlib.Path) -> None:
    require_programs("fuse-overlayfs")
    with open_user(archive, fuse=True, prefix=without_overlayfs()) as user:
        do(user, "run", "--name", "web", "box:1", "sh", "-c", CHANGES)
        assert ask(user, "containers select driver") == ["fuse-overlayfs"]
        paths = ask(user, "changes of web where type = file or status = deleted select path")
        assert paths == ["/bin/yes", "/etc/group", "/private/two", "/tmp/one"]
        do(user, "commit", "web", "web:made")
        assert do(user, "run", "--rm", "web:made", "sh", "-c", "cat /private/two; ls /tmp; ls /bin/yes || :") == (
            "2\none\n"
        )
        do(user, "container", "rm", "web")


def test_without_any_overlay_files_are_copied(archive: pathlib.Path) -> None:
    with open_user(archive, prefix=without_overlayfs()) as user:
        do(user, "run", "--name", "web", "box:1", "sh", "-c", CHANGES)
        assert ask(user, "containers select driver, size_rw") == ["vfs,8"]
        paths = ask(user, "changes of web where type = file or status = deleted select path")
        assert paths == ["/bin/yes", "/etc/group", "/private/two", "/tmp/one"]
        do(user, "container", "rm", "web")
