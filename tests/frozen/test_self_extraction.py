"""Self-extraction of the frozen executable: the folder, the checks of its files, and their removal."""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import zipfile
from typing import TYPE_CHECKING

import pytest
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Frozen

LIBRARY = "lib/libz.so.1"
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs another user")
OTHER = 65534


def list_folders(base: pathlib.Path) -> list[str]:
    return sorted(path.name for path in base.iterdir() if path.name != "lock")


def only_folder(base: pathlib.Path) -> pathlib.Path:
    (name,) = list_folders(base)
    return base / name


def cache_base(new: Frozen) -> pathlib.Path:
    return new.home / ".cache" / "imq"


def temporary_base(new: Frozen) -> pathlib.Path:
    return new.temporary / f"imq-{os.geteuid()}"


def test_it_is_unpacked_once_to_the_users_cache(new: Frozen) -> None:
    new.output_of("--version")
    folder = only_folder(cache_base(new))
    first = (folder / LIBRARY).stat()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(path.stat().st_mode & 0o077 for path in folder.rglob("*"))
    new.output_of("--version")
    assert (folder / LIBRARY).stat().st_ino == first.st_ino
    assert list(new.temporary.iterdir()) == []


def test_environment_variables_select_the_folder(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cache").mkdir()
    new.output_of("--version", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert list_folders(tmp_path / "cache") == ["imq"]
    new.output_of("--version", XDG_CACHE_HOME=str(tmp_path / "cache"), IMQ_CACHE=str(tmp_path / "mine"))
    assert list_folders(tmp_path / "mine") == ["imq"]
    new.output_of("--version", XDG_CACHE_HOME="relative", HOME="")
    assert [path.name for path in new.temporary.iterdir()] == [temporary_base(new).name]


def write_with_old_times(path: pathlib.Path, content: bytes) -> None:
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def tamperings() -> dict[str, Callable[[pathlib.Path], None]]:
    return {
        "changed": lambda path: write_with_old_times(path, bytes(path.stat().st_size)),
        "truncated": lambda path: os.truncate(path, 100),
        "removed": lambda path: path.unlink(),
        "replaced": lambda path: shutil.move(shutil.copy2(path, path.with_suffix(".copy")), path),
        "link": lambda path: (path.rename(path.with_suffix(".real")), path.symlink_to(path.with_suffix(".real")))[1],
        "writable": lambda path: path.chmod(0o666),
        "folder writable": lambda path: path.parent.parent.chmod(0o777),
        "stamp": lambda path: (path.parent.parent / "stamp").write_bytes(b"x"),
        "no stamp": lambda path: (path.parent.parent / "stamp").unlink(),
    }


@pytest.mark.parametrize("how", list(tamperings()))
def test_changed_files_are_unpacked_again(new: Frozen, how: str) -> None:
    new.output_of("--version")
    folder = only_folder(cache_base(new))
    content = (folder / LIBRARY).read_bytes()
    tamperings()[how](folder / LIBRARY)
    new.output_of("images")
    assert only_folder(cache_base(new)) == folder
    assert (folder / LIBRARY).read_bytes() == content
    assert not (folder / LIBRARY).is_symlink()
    assert not folder.stat().st_mode & 0o077


def test_extension_modules_are_checked_too(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "names.txt").write_text("a\n")

    def match() -> None:
        assert new.output_of(f'lines of "{tmp_path}/names.txt" where line matches "^a$" count as ids') == "1\n"

    match()
    (later,) = only_folder(cache_base(new)).rglob("_re2.*")
    content = later.read_bytes()
    write_with_old_times(later, bytes(len(content)))
    match()
    assert later.read_bytes() == content


def test_a_link_in_place_of_the_folder_is_not_followed(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache_base(new).parent.mkdir()
    for base in (cache_base(new), temporary_base(new)):
        base.symlink_to(tmp_path / "elsewhere")
    new.output_of("--version")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    wait_until(lambda: [*new.temporary.iterdir()] == [temporary_base(new)])


def test_a_folder_that_is_writable_for_others_is_not_used(new: Frozen) -> None:
    cache_base(new).mkdir(parents=True)
    temporary_base(new).mkdir()
    for base in (cache_base(new), temporary_base(new)):
        base.chmod(0o777)
    new.output_of("--version")
    assert list(cache_base(new).iterdir()) == list(temporary_base(new).iterdir()) == []
    wait_until(lambda: [*new.temporary.iterdir()] == [temporary_base(new)])


@needs_root
def test_a_folder_of_another_user_is_not_used(new: Frozen) -> None:
    new.temporary.chmod(0o1777)
    temporary_base(new).mkdir(mode=0o700)
    os.chown(temporary_base(new), OTHER, OTHER)
    os.chown(new.home, OTHER, OTHER)  # as with sudo
    new.output_of("--version")
    assert list(new.home.iterdir()) == list(temporary_base(new).iterdir()) == []
    wait_until(lambda: [*new.temporary.iterdir()] == [temporary_base(new)])


@pytest.mark.parametrize("way", ["writable", "link", "others"])
@pytest.mark.parametrize("variable", ["IMQ_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR"])
def test_a_path_that_another_user_can_replace_is_refused(
    new: Frozen, tmp_path: pathlib.Path, variable: str, way: str
) -> None:
    """The cache and its parent belong to the user, but another user can rename a folder above them."""
    if way == "others" and not IS_ROOT:
        pytest.skip("needs another user")
    path = tmp_path / "way" / "mine" / "deep" / "cache"
    path.mkdir(parents=True, mode=0o700)
    if way == "link":  # a link in a folder that others can write to, with a safe target
        (tmp_path / "open").mkdir()
        (tmp_path / "open" / "link").symlink_to(tmp_path / "way")
        (tmp_path / "open").chmod(0o777)
        path = tmp_path / "open" / "link" / "mine" / "deep" / "cache"
    elif way == "writable":
        (tmp_path / "way").chmod(0o777)
    else:
        os.chown(tmp_path / "way", OTHER, OTHER)
    run = new.run("--version", **{variable: str(path)})
    if variable == "TMPDIR":  # it is used only when the home folder is not suitable
        assert run.returncode == 0
        run = new.run("--version", IMQ_CACHE="off", TMPDIR=str(path))
        assert run.returncode == 3
        reason = "" if way == "others" else "other users can rename files in"
        assert f"{path}: {reason}".rstrip() in run.stderr
        assert str(tmp_path / ("open" if way == "link" else "way")) in run.stderr
    else:
        assert (run.returncode, run.stdout[:4]) == (0, "imq ")
    assert list(path.iterdir()) == []


@needs_root
def test_a_user_namespace_does_not_make_others_trusted(new: Frozen) -> None:
    """In it root and all other users have one number, that of the owner of the root folder."""
    user = 12345
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        executable = folder / "imq"
        shutil.copy2(new.executable, executable)
        executable.chmod(0o755)
        (folder / "others" / "mine").mkdir(parents=True)
        os.chown(folder / "others" / "mine", user, user)
        os.chown(folder / "others", OTHER, OTHER)
        own = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))  # in a system folder
        os.chown(own, user, user)
        try:
            for cache, expected in ((folder / "others" / "mine", 3), (own, 0)):
                environment = {"PATH": os.environ["PATH"], "IMQ_CACHE": str(cache), "TMPDIR": str(cache)}
                words = ["unshare", "-Ur", executable, "--version"]
                run = subprocess.run(
                    words, env=environment, user=user, group=user, extra_groups=(), capture_output=True, text=True,
                    check=False, cwd="/",
                )  # fmt: skip
                if "unshare failed" in run.stderr:
                    pytest.skip("needs user namespaces")
                assert run.returncode == expected, run.stderr
                assert bool(list_folders(cache)) is not bool(expected)
            assert list((folder / "others" / "mine").iterdir()) == []
        finally:
            shutil.rmtree(own)


def test_a_path_may_have_links_of_the_user(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "real" / "cache").mkdir(parents=True)
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(tmp_path / "real" / ".." / "real")
    new.output_of("--version", IMQ_CACHE=f"{tmp_path}/one/./cache/")
    only_folder(tmp_path / "real" / "cache" / "imq")
    (tmp_path / "loop").symlink_to("loop")
    assert new.run("--version", IMQ_CACHE=f"{tmp_path}/loop/cache").returncode == 0


def test_a_shared_folder_with_a_sticky_bit_is_suitable(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "shared" / "mine").mkdir(parents=True, mode=0o700)
    (tmp_path / "shared").chmod(0o1777)
    new.output_of("--version", IMQ_CACHE=str(tmp_path / "shared" / "mine"))
    only_folder(tmp_path / "shared" / "mine" / "imq")


@needs_root
def test_it_refuses_to_run_set_user_id(new: Frozen) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        own = shutil.copy(new.executable, folder)
        os.chmod(own, 0o4755)
        run = subprocess.run(
            ["setpriv", f"--reuid={OTHER}", "--clear-groups", own, "--version"],
            env=new.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (run.returncode, run.stdout) == (3, "")
    assert "imq does not run set-user-ID or with file capabilities" in run.stderr


def test_concurrent_first_starts(new: Frozen) -> None:
    processes = [new.start("--version") for _ in range(8)]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output[:4], errors) == (0, "imq ", "")
    only_folder(cache_base(new))
    assert list(new.temporary.iterdir()) == []


def test_a_kill_during_unpacking_leaves_no_broken_folder(new: Frozen) -> None:
    for milliseconds in range(1, 60, 3):
        process = new.start("--version")
        time.sleep(milliseconds / 1000)
        process.kill()
        process.communicate()
        shutil.rmtree(cache_base(new) / "nothing", ignore_errors=True)
        for folder in list_folders(cache_base(new)) if milliseconds % 2 and cache_base(new).exists() else ():
            shutil.rmtree(cache_base(new) / folder)  # so that the next start unpacks too
    new.output_of("images")
    only_folder(cache_base(new))


def test_unused_folders_of_other_versions_are_removed(new: Frozen) -> None:
    base, eight_days_ago = cache_base(new), time.time() - 8 * 24 * 3600
    old, used, recent, part = ("0" * 32, "1" * 32, "2" * 32, "3" * 32 + ".part")
    for name, stamped in ((old, eight_days_ago), (used, eight_days_ago), (recent, time.time()), (part, 0), ("mine", 0)):
        (base / name / "lib").mkdir(parents=True, mode=0o700)
        (base / name).chmod(0o700)
        (base / name / "lib" / "file").touch()
        if stamped:
            (base / name / "stamp").touch()
            os.utime(base / name / "stamp", (stamped, stamped))
    base.chmod(0o700)
    with open(base / used / "stamp", "rb") as stamp:
        fcntl.flock(stamp, fcntl.LOCK_SH)  # as a running imq does
        new.output_of("--version")
        assert {old, used, recent, part, "mine"} & {*list_folders(base)} == {used, recent, "mine"}


def test_a_temporary_folder_without_a_sticky_bit_is_refused(new: Frozen) -> None:
    new.environment["IMQ_CACHE"] = "off"
    new.temporary.chmod(0o777)
    run = new.run("--version")
    assert (run.returncode, run.stdout) == (3, "")
    assert f"{new.temporary}: other users can rename files in {new.temporary}" in run.stderr
    new.temporary.chmod(0o1777)
    assert new.run("--version").returncode == 0


def test_a_start_updates_the_time_of_the_stamp(new: Frozen) -> None:
    new.output_of("--version")
    stamp = only_folder(cache_base(new)) / "stamp"
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(stamp, (two_days_ago, two_days_ago))
    new.output_of("--version")
    assert stamp.stat().st_mtime > time.time() - 3600


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_folder_for_one_run_is_removed(new: Frozen, silent_server: str) -> None:
    new.environment["IMQ_CACHE"] = "off"
    assert new.output_of("--version").startswith("imq ")
    wait_until(lambda: not [*new.temporary.iterdir()])
    process = new.start("pull", f"{silent_server}/hangs:1")
    wait_until(lambda: any((path / "stamp").exists() for path in new.temporary.iterdir()))
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not [*new.temporary.iterdir()])
    assert list(new.home.iterdir()) == []


def run_with_mounts(new: Frozen, options: str, *folders: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run it with separate file systems mounted on some folders."""
    namespace = ["unshare", *([] if IS_ROOT else ["--map-root-user"]), "--mount"]
    enter = f'for folder; do mount -t tmpfs -o {options} none "$folder"; done; exec "$0" --version'
    return subprocess.run(
        [*namespace, "sh", "-c", enter, new.executable, *map(str, folders)],
        env=new.environment,
        capture_output=True,
        text=True,
        check=False,
    )


UNSUITABLE = {"noexec": "programs cannot run there", "size=4m": "No space left", "ro": "Read-only file system"}


@pytest.mark.parametrize("options", UNSUITABLE)
def test_an_unsuitable_cache_is_skipped(new: Frozen, options: str) -> None:
    run = run_with_mounts(new, options, new.home)
    assert (run.returncode, run.stdout[:4], run.stderr) == (0, "imq ", "")


@pytest.mark.parametrize("options", UNSUITABLE)
def test_without_a_suitable_folder_the_hint_names_the_variables(new: Frozen, options: str) -> None:
    run = run_with_mounts(new, options, new.home, new.temporary)
    assert (run.returncode, run.stdout) == (3, "")
    assert UNSUITABLE[options] in run.stderr
    assert f"{new.home}/.cache" in run.stderr
    assert str(new.temporary) in run.stderr
    assert "hint: set IMQ_CACHE or TMPDIR" in run.stderr


@pytest.mark.parametrize("damage", ["cut", "longer", 2_000_000, 3_000_000, 4_000_000])
def test_a_damaged_executable_is_reported(new: Frozen, tmp_path: pathlib.Path, damage: str | int) -> None:
    new.executable = str(shutil.copy(new.executable, tmp_path / "imq"))
    if damage == "cut":
        os.truncate(new.executable, os.path.getsize(new.executable) // 2)
    with open(new.executable, "r+b") as file:
        file.seek(damage if isinstance(damage, int) else os.path.getsize(new.executable))
        byte = file.read(1) or b"\0"
        file.seek(-len(byte) if isinstance(damage, int) else 0, os.SEEK_CUR)
        if damage != "cut":
            file.write(bytes([byte[0] ^ 1]))  # one bit, or one byte more
    run = new.run("--version")
    assert (run.returncode, run.stdout) == (3, "")
    assert "this executable is damaged" in run.stderr


def test_a_damaged_extension_module_is_reported(new: Frozen, tmp_path: pathlib.Path) -> None:
    new.executable = str(shutil.copy(new.executable, tmp_path / "imq"))
    with zipfile.ZipFile(new.executable) as archive:
        (member,) = (member for member in archive.infolist() if member.filename.startswith("re2/_re2."))
    with open(new.executable, "r+b") as file:
        file.seek(member.header_offset + member.compress_size // 2)
        file.write(bytes(100))
    (tmp_path / "names.txt").write_text("a\n")
    run = new.run(f'lines of "{tmp_path}/names.txt" where line matches "^a$" count as ids')
    assert (run.returncode, run.stdout) == (3, "")
    assert run.stderr == "error[start]: this executable is damaged: download it again\n"


def test_closed_streams_stay_closed(new: Frozen) -> None:
    for closed, code in (("<&-", 0), ("2>&-", 0), ("<&- 2>&-", 0)):
        run = subprocess.run(
            ["sh", "-c", f'"$0" --version {closed}', new.executable],
            env=new.environment,
            capture_output=True,
            check=False,
        )
        assert (run.returncode, run.stdout[:4]) == (code, b"imq ")


def test_started_programs_have_the_users_environment(new: Frozen, tree: pathlib.Path) -> None:
    new.output_of("import", str(tree), "as", "a:1")
    mine = {
        **new.environment,
        "LC_ALL": "de_DE.UTF-8",
        "LD_LIBRARY_PATH": "/mine",
        "LD_BIND_NOW": "1",
        "LOCPATH": "/mine",
        "PYTHONPATH": "/mine",
        "_PYI_ARCHIVE_FILE": "/mine",
    }
    run = new.run("exec all images run env", environment=mine)
    assert run.returncode == 0, run.stderr
    seen = dict(line.split("=", 1) for line in run.stdout.splitlines() if "=" in line)
    assert {name: seen.get(name) for name in mine} == mine
    assert [name for name in seen if name.startswith("_IMQ_")] == []
