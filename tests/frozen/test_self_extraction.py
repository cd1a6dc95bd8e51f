"""Where the frozen executable unpacks itself to, what it trusts there, and what it leaves."""

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
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Frozen

LIBRARY = "lib/libz.so.1"
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="another user is needed")
OTHER = 65534


def folders(base: pathlib.Path) -> list[str]:
    return sorted(path.name for path in base.iterdir() if path.name != "lock")


def only_folder(base: pathlib.Path) -> pathlib.Path:
    (name,) = folders(base)
    return base / name


def in_cache(new: Frozen) -> pathlib.Path:
    return new.home / ".cache" / "imq"


def in_temporary(new: Frozen) -> pathlib.Path:
    return new.temporary / f"imq-{os.geteuid()}"


def test_it_is_unpacked_once_to_the_cache_of_its_user(new: Frozen) -> None:
    new.answer("--version")
    folder = only_folder(in_cache(new))
    first = (folder / LIBRARY).stat()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(path.stat().st_mode & 0o077 for path in folder.rglob("*"))
    new.answer("--version")
    assert (folder / LIBRARY).stat().st_ino == first.st_ino
    assert list(new.temporary.iterdir()) == []


def test_the_variables_that_say_where(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cache").mkdir()
    new.answer("--version", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert folders(tmp_path / "cache") == ["imq"]
    new.answer("--version", XDG_CACHE_HOME=str(tmp_path / "cache"), IMQ_CACHE=str(tmp_path / "mine"))
    assert folders(tmp_path / "mine") == ["imq"]
    new.answer("--version", XDG_CACHE_HOME="relative", HOME="")
    assert [path.name for path in new.temporary.iterdir()] == [in_temporary(new).name]


def keep_times(path: pathlib.Path, content: bytes) -> None:
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def tampering() -> dict[str, Callable[[pathlib.Path], None]]:
    return {
        "changed": lambda path: keep_times(path, bytes(path.stat().st_size)),
        "cut": lambda path: os.truncate(path, 100),
        "removed": lambda path: path.unlink(),
        "replaced": lambda path: shutil.move(shutil.copy2(path, path.with_suffix(".copy")), path),
        "link": lambda path: (path.rename(path.with_suffix(".real")), path.symlink_to(path.with_suffix(".real")))[1],
        "writable": lambda path: path.chmod(0o666),
        "folder writable": lambda path: path.parent.parent.chmod(0o777),
        "stamp": lambda path: (path.parent.parent / "stamp").write_bytes(b"x"),
        "no stamp": lambda path: (path.parent.parent / "stamp").unlink(),
    }


@pytest.mark.parametrize("how", list(tampering()))
def test_what_has_changed_is_unpacked_again(new: Frozen, how: str) -> None:
    new.answer("--version")
    folder = only_folder(in_cache(new))
    content = (folder / LIBRARY).read_bytes()
    tampering()[how](folder / LIBRARY)
    new.answer("images")
    assert only_folder(in_cache(new)) == folder
    assert (folder / LIBRARY).read_bytes() == content
    assert not (folder / LIBRARY).is_symlink()
    assert not folder.stat().st_mode & 0o077


def test_what_is_unpacked_later_is_checked_too(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "names.txt").write_text("a\n")

    def match() -> None:
        assert new.answer(f'lines of "{tmp_path}/names.txt" where line matches "^a$" count as ids') == "1\n"

    match()
    (later,) = only_folder(in_cache(new)).rglob("_re2.*")
    content = later.read_bytes()
    keep_times(later, bytes(len(content)))
    match()
    assert later.read_bytes() == content


def test_a_link_in_place_of_the_folder_is_not_followed(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    in_cache(new).parent.mkdir()
    for place in (in_cache(new), in_temporary(new)):
        place.symlink_to(tmp_path / "elsewhere")
    new.answer("--version")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    until(lambda: [*new.temporary.iterdir()] == [in_temporary(new)])


def test_a_folder_that_others_may_write_to_is_not_used(new: Frozen) -> None:
    in_cache(new).mkdir(parents=True)
    in_temporary(new).mkdir()
    for place in (in_cache(new), in_temporary(new)):
        place.chmod(0o777)
    new.answer("--version")
    assert list(in_cache(new).iterdir()) == list(in_temporary(new).iterdir()) == []
    until(lambda: [*new.temporary.iterdir()] == [in_temporary(new)])


@needs_root
def test_what_belongs_to_another_user_is_not_used(new: Frozen) -> None:
    new.temporary.chmod(0o1777)
    in_temporary(new).mkdir(mode=0o700)
    os.chown(in_temporary(new), OTHER, OTHER)
    os.chown(new.home, OTHER, OTHER)  # as sudo leaves it
    new.answer("--version")
    assert list(new.home.iterdir()) == list(in_temporary(new).iterdir()) == []
    until(lambda: [*new.temporary.iterdir()] == [in_temporary(new)])


@pytest.mark.parametrize("way", ["writable", "link", "others"])
@pytest.mark.parametrize("variable", ["IMQ_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR"])
def test_a_folder_on_the_way_that_another_user_can_replace_is_refused(
    new: Frozen, tmp_path: pathlib.Path, variable: str, way: str
) -> None:
    """The cache itself and its parent are the user's; who can rename what they lie in can put others in its place."""
    if way == "others" and not IS_ROOT:
        pytest.skip("another user is needed")
    place = tmp_path / "way" / "mine" / "deep" / "cache"
    place.mkdir(parents=True, mode=0o700)
    if way == "link":  # the link lies where others can write, and leads to a safe place
        (tmp_path / "open").mkdir()
        (tmp_path / "open" / "link").symlink_to(tmp_path / "way")
        (tmp_path / "open").chmod(0o777)
        place = tmp_path / "open" / "link" / "mine" / "deep" / "cache"
    elif way == "writable":
        (tmp_path / "way").chmod(0o777)
    else:
        os.chown(tmp_path / "way", OTHER, OTHER)
    done = new.run("--version", **{variable: str(place)})
    if variable == "TMPDIR":  # a last resort, which is not needed while the home folder will do
        assert done.returncode == 0
        done = new.run("--version", IMQ_CACHE="off", TMPDIR=str(place))
        assert done.returncode == 3
        why = {"writable": "others can move what lies in", "link": "others can move what lies in", "others": ""}[way]
        assert f"{place}: {why}".rstrip() in done.stderr
        assert str(tmp_path / ("open" if way == "link" else "way")) in done.stderr
    else:
        assert (done.returncode, done.stdout[:4]) == (0, "imq ")
    assert list(place.iterdir()) == []


def test_folders_on_the_way_may_be_links_of_the_user(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "real" / "cache").mkdir(parents=True)
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(tmp_path / "real" / ".." / "real")
    new.answer("--version", IMQ_CACHE=f"{tmp_path}/one/./cache/")
    only_folder(tmp_path / "real" / "cache" / "imq")
    (tmp_path / "loop").symlink_to("loop")
    assert new.run("--version", IMQ_CACHE=f"{tmp_path}/loop/cache").returncode == 0


def test_a_folder_that_others_share_with_a_sticky_bit_will_do(new: Frozen, tmp_path: pathlib.Path) -> None:
    (tmp_path / "shared" / "mine").mkdir(parents=True, mode=0o700)
    (tmp_path / "shared").chmod(0o1777)
    new.answer("--version", IMQ_CACHE=str(tmp_path / "shared" / "mine"))
    only_folder(tmp_path / "shared" / "mine" / "imq")


@needs_root
def test_it_takes_no_rights_from_its_file(new: Frozen) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        own = shutil.copy(new.executable, folder)
        os.chmod(own, 0o4755)
        done = subprocess.run(
            ["setpriv", f"--reuid={OTHER}", "--clear-groups", own, "--version"],
            env=new.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (3, "")
    assert "does not run with rights that its file gives" in done.stderr


def test_many_first_starts_at_once(new: Frozen) -> None:
    processes = [new.start("--version") for _ in range(8)]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output[:4], errors) == (0, "imq ", "")
    only_folder(in_cache(new))
    assert list(new.temporary.iterdir()) == []


def test_a_kill_at_any_point_of_unpacking_does_no_harm(new: Frozen) -> None:
    for milliseconds in range(1, 60, 3):
        process = new.start("--version")
        time.sleep(milliseconds / 1000)
        process.kill()
        process.communicate()
        shutil.rmtree(in_cache(new) / "nothing", ignore_errors=True)
        for folder in folders(in_cache(new)) if milliseconds % 2 and in_cache(new).exists() else ():
            shutil.rmtree(in_cache(new) / folder)  # so that the next one unpacks as well
    new.answer("images")
    only_folder(in_cache(new))


def test_folders_of_other_versions_go_when_they_are_long_unused(new: Frozen) -> None:
    base, eight_days_ago = in_cache(new), time.time() - 8 * 24 * 3600
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
        new.answer("--version")
        assert {old, used, recent, part, "mine"} & {*folders(base)} == {used, recent, "mine"}


def test_a_folder_where_everybody_can_move_everything_is_refused(new: Frozen) -> None:
    new.environment["IMQ_CACHE"] = "off"
    new.temporary.chmod(0o777)
    done = new.run("--version")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{new.temporary}: others can move what lies in {new.temporary}" in done.stderr
    new.temporary.chmod(0o1777)
    assert new.run("--version").returncode == 0


def test_a_start_says_that_its_folder_is_in_use(new: Frozen) -> None:
    new.answer("--version")
    stamp = only_folder(in_cache(new)) / "stamp"
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(stamp, (two_days_ago, two_days_ago))
    new.answer("--version")
    assert stamp.stat().st_mtime > time.time() - 3600


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_where_nothing_is_kept_nothing_is_left(new: Frozen, silent: str) -> None:
    new.environment["IMQ_CACHE"] = "off"
    assert new.answer("--version").startswith("imq ")
    until(lambda: not [*new.temporary.iterdir()])
    process = new.start("pull", f"{silent}/hangs:1")
    until(lambda: any((path / "stamp").exists() for path in new.temporary.iterdir()))
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    until(lambda: not [*new.temporary.iterdir()])
    assert list(new.home.iterdir()) == []


def mounted(new: Frozen, options: str, *places: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run it with file systems of its own at some places."""
    namespace = ["unshare", *([] if IS_ROOT else ["--map-root-user"]), "--mount"]
    enter = f'for place; do mount -t tmpfs -o {options} none "$place"; done; exec "$0" --version'
    return subprocess.run(
        [*namespace, "sh", "-c", enter, new.executable, *map(str, places)],
        env=new.environment,
        capture_output=True,
        text=True,
        check=False,
    )


UNSUITABLE = {"noexec": "no program may run from there", "size=4m": "No space left", "ro": "Read-only file system"}


@pytest.mark.parametrize("options", UNSUITABLE)
def test_an_unsuitable_cache_is_passed_over(new: Frozen, options: str) -> None:
    done = mounted(new, options, new.home)
    assert (done.returncode, done.stdout[:4], done.stderr) == (0, "imq ", "")


@pytest.mark.parametrize("options", UNSUITABLE)
def test_without_any_place_it_says_what_to_set(new: Frozen, options: str) -> None:
    done = mounted(new, options, new.home, new.temporary)
    assert (done.returncode, done.stdout) == (3, "")
    assert UNSUITABLE[options] in done.stderr
    assert f"{new.home}/.cache" in done.stderr
    assert str(new.temporary) in done.stderr
    assert "hint: set IMQ_CACHE or TMPDIR" in done.stderr


@pytest.mark.parametrize("damage", ["cut", "longer", 2_000_000, 3_000_000, 4_000_000])
def test_a_damaged_executable_says_so(new: Frozen, tmp_path: pathlib.Path, damage: str | int) -> None:
    new.executable = str(shutil.copy(new.executable, tmp_path / "imq"))
    if damage == "cut":
        os.truncate(new.executable, os.path.getsize(new.executable) // 2)
    with open(new.executable, "r+b") as file:
        file.seek(damage if isinstance(damage, int) else os.path.getsize(new.executable))
        byte = file.read(1) or b"\0"
        file.seek(-len(byte) if isinstance(damage, int) else 0, os.SEEK_CUR)
        if damage != "cut":
            file.write(bytes([byte[0] ^ 1]))  # one bit, or one byte more
    done = new.run("--version")
    assert (done.returncode, done.stdout) == (3, "")
    assert "this executable is damaged" in done.stderr


def test_damage_in_what_is_unpacked_later_says_so(new: Frozen, tmp_path: pathlib.Path) -> None:
    new.executable = str(shutil.copy(new.executable, tmp_path / "imq"))
    with zipfile.ZipFile(new.executable) as archive:
        (member,) = (member for member in archive.infolist() if member.filename.startswith("re2/_re2."))
    with open(new.executable, "r+b") as file:
        file.seek(member.header_offset + member.compress_size // 2)
        file.write(bytes(100))
    (tmp_path / "names.txt").write_text("a\n")
    done = new.run(f'lines of "{tmp_path}/names.txt" where line matches "^a$" count as ids')
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error[start]: this executable is damaged: get it again\n"


def test_closed_streams_stay_closed(new: Frozen) -> None:
    for closed, code in (("<&-", 0), ("2>&-", 0), ("<&- 2>&-", 0)):
        done = subprocess.run(
            ["sh", "-c", f'"$0" --version {closed}', new.executable],
            env=new.environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout[:4]) == (code, b"imq ")


def test_programs_that_it_starts_have_the_environment_of_its_user(new: Frozen, tree: pathlib.Path) -> None:
    new.answer("import", str(tree), "as", "a:1")
    mine = {
        **new.environment,
        "LC_ALL": "de_DE.UTF-8",
        "LD_LIBRARY_PATH": "/mine",
        "LD_BIND_NOW": "1",
        "LOCPATH": "/mine",
        "PYTHONPATH": "/mine",
        "_PYI_ARCHIVE_FILE": "/mine",
    }
    shown = new.run("exec all images run env", environment=mine)
    assert shown.returncode == 0, shown.stderr
    seen = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    assert {name: seen.get(name) for name in mine} == mine
    assert [name for name in seen if name.startswith("_IMQ_")] == []
