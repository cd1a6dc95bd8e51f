"""The targets of `save` and `export`: files are replaced only on request, and labels create no folders."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
from imq.cli.output import describe_freed
from imq.engine.actions.output_paths import is_within
from imq.grammar.errors import ImqError
from store.support.stores import StoreSession, imq
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

CHANNELS = {"a": "stable", "b": "edge"}
"""Tags and their label `channel`."""


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    layout = Layout(tmp_path / "store")
    for number, (tag, channel) in enumerate(CHANNELS.items()):
        content = layer({"file": bytes(number + 1), "etc/os-release": b"ID=x\n"})
        layout.add(Image([content], labels={"channel": channel, "number": str(number)}), f"team/app:{tag}")
    (tmp_path / "out").mkdir()
    return tmp_path / "store"


@pytest.fixture
def held(root: pathlib.Path) -> Iterator[StoreSession]:
    with StoreSession(root) as opened:
        yield opened


def out(root: pathlib.Path) -> pathlib.Path:
    return root.parent / "out"


def listed(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def saved(path: pathlib.Path) -> list[str]:
    """Return the names in an archive."""
    with tarfile.open(path) as archive:
        source = archive.extractfile("manifest.json")
        assert source is not None
        return [name for image in json.load(source) for name in image["RepoTags"]]


@pytest.mark.parametrize("verb", ["save", "export"])
@pytest.mark.parametrize("words", [(), ("--yes",)], ids=["", "yes"])
def test_an_existing_file_is_reported_and_kept(root: pathlib.Path, verb: str, words: tuple[str, ...]) -> None:
    path = out(root) / "kept.tar"
    path.write_bytes(b"mine")
    command = [sys.executable, "-m", "imq", "--root", str(root), *words, verb, "team/app:a", "to", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 3
    assert f"error[exists]: {path} already exists" in done.stderr
    assert "force" in done.stderr
    assert "skip existing" in done.stderr
    assert path.read_bytes() == b"mine"
    assert listed(out(root)) == ["kept.tar"]


def test_force_replaces_and_the_plan_says_so(root: pathlib.Path, held: StoreSession) -> None:
    path = out(root) / "kept.tar"
    path.write_bytes(b"mine")
    (planned,) = held.outcomes(f'save team/app:a to "{path}" force', dry_run=True)
    assert planned["note"] == "1 image, replaces a file"
    (unsaid,) = held.outcomes(f'save team/app:a to "{path}"', dry_run=True)
    assert unsaid["note"] == planned["note"]
    assert path.read_bytes() == b"mine"
    (done,) = held.do(f'save team/app:a to "{path}" force')
    assert done["note"] == planned["note"]
    assert done["size"] == path.stat().st_size
    assert saved(path) == ["team/app:a"]


@pytest.mark.parametrize("agrees", [True, False])
def test_a_user_is_asked(root: pathlib.Path, agrees: bool) -> None:
    path = out(root) / "kept.tar"
    path.write_bytes(b"mine")
    asked: list[list[object]] = []

    def confirm(planned: object) -> bool:
        asked.append(list(planned.rows))  # type: ignore[attr-defined]
        assert describe_freed(planned) == "", "it frees nothing"  # type: ignore[arg-type]
        return agrees

    with StoreSession(root, confirm=confirm) as held:
        list(held.session.run(f'save team/app:a to "{path}"'))
        list(held.session.run(f'save team/app:a to "{out(root)}/new.tar"'))
    assert len(asked) == 1, "only what is replaced is asked for"
    assert (path.read_bytes() == b"mine") is not agrees
    assert (out(root) / "new.tar").exists()


def test_skip_existing_writes_the_others(root: pathlib.Path, held: StoreSession) -> None:
    (out(root) / "a.tar").write_bytes(b"mine")
    text = f'save images where repository = team/app order by tag skip existing to "{out(root)}/{{{{.Tag}}}}.tar"'
    outcomes = held.do(text)
    assert [(outcome["action"], os.path.basename(outcome["target"])) for outcome in outcomes] == [
        ("stay", "a.tar"),
        ("save", "b.tar"),
    ]
    assert outcomes[0]["note"] == "it exists already"
    assert (out(root) / "a.tar").read_bytes() == b"mine"
    assert saved(out(root) / "b.tar") == ["team/app:b"]


@pytest.mark.parametrize("target", ["a.tar", "a"])
def test_export_skips_what_exists(root: pathlib.Path, held: StoreSession, target: str) -> None:
    path = out(root) / target
    if target == "a":
        path.mkdir()
        (path / "mine").write_bytes(b"mine")
    else:
        path.write_bytes(b"mine")
    (outcome,) = held.do(f'export team/app:a to "{path}" skip existing')
    assert outcome["action"] == "stay"
    assert listed(out(root)) == ["a/mine" if target == "a" else "a.tar"]


def test_force_and_skip_existing_contradict_each_other(held: StoreSession) -> None:
    assert held.failure_code('save team/app:a to "x.tar" force skip existing') == "option"


def test_the_error_counts_the_existing_files(root: pathlib.Path) -> None:
    for tag in CHANNELS:
        (out(root) / f"{tag}.tar").write_bytes(b"mine")
    done = imq(root, f'save images where repository = team/app to "{out(root)}/{{{{.Tag}}}}.tar"', code=3)
    assert "and 1 more already exist" in done.stderr
    assert all((out(root) / f"{tag}.tar").read_bytes() == b"mine" for tag in CHANNELS)


def test_docker_save_replaces_files_as_docker_does(root: pathlib.Path) -> None:
    path = out(root) / "kept.tar"
    path.write_bytes(b"mine")
    path.chmod(0o600)
    imq(root, "save", "-o", str(path), "team/app:a")
    assert saved(path) == ["team/app:a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("verb", ["save", "export"])
def test_fifos_and_links_are_not_replaced(root: pathlib.Path, held: StoreSession, verb: str) -> None:
    fifo, link = out(root) / "fifo.tar", out(root) / "link.tar"
    os.mkfifo(fifo)
    os.symlink("real.tar", link)
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append(fifo.read_bytes()))
    reader.start()
    (streamed,) = held.do(f'{verb} team/app:a to "{fifo}"')
    reader.join()
    (linked,) = held.do(f'{verb} team/app:a to "{link}"')
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert os.readlink(link) == "real.tar"
    assert came == [(out(root) / "real.tar").read_bytes()]
    assert streamed["size"] == linked["size"] == len(came[0])


@pytest.mark.parametrize("statement", ["save team/app:a to", "export team/app:a to"])
@pytest.mark.parametrize("force", ["", " force"], ids=["", "force"])
def test_devices_are_not_replaced(root: pathlib.Path, held: StoreSession, statement: str, force: str) -> None:
    node = out(root) / "null"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with open(node, "wb"):
            pass
    except PermissionError:
        pytest.skip("devices are root's to make, where they can be opened")
    before = node.stat()
    (outcome,) = held.do(f'{statement} "{node}"{force}')
    after = node.stat()
    assert (after.st_ino, after.st_rdev, after.st_mode) == (before.st_ino, before.st_rdev, before.st_mode)
    assert outcome["note"].startswith("1 image, to a stream" if "save" in statement else "")
    assert listed(out(root)) == ["null"]


def test_standard_output_by_its_path_is_written_to(root: pathlib.Path) -> None:
    path = out(root) / "redirected.tar"
    command = [sys.executable, "-m", "imq", "--root", str(root), "save", "-o", "/dev/stdout", "team/app:a"]
    with open(path, "wb") as target:
        inode = os.fstat(target.fileno()).st_ino
        subprocess.run(command, stdout=target, check=True)
    assert path.stat().st_ino == inode
    assert saved(path) == ["team/app:a"]


def test_folders_from_template_values_are_created(root: pathlib.Path, held: StoreSession) -> None:
    held.do(f'save images where repository = team/app to "{out(root)}/{{{{.Repository}}}}/{{{{.Tag}}}}.tar"')
    assert listed(out(root)) == ["team/app/a.tar", "team/app/b.tar"]
    held.do(f'export images where tag = a to "{out(root)}/{{{{.Tag}}}}/rootfs"')
    assert listed(out(root) / "a") == ["rootfs/etc/os-release", "rootfs/file"]


@pytest.mark.parametrize("target", ["image.tar", "{{.Tag}}.tar", "{{.Tag}}/image.tar", "rootfs"])
def test_a_missing_folder_is_reported(root: pathlib.Path, target: str) -> None:
    verb = "export" if target == "rootfs" else "save"
    done = imq(root, f'{verb} images where tag = a to "{out(root)}/mistyped/{target}"', code=3)
    assert f"{out(root)}/mistyped is missing" in done.stderr
    assert "mkdir -p" in done.stderr
    assert listed(root.parent / "out") == []


@pytest.mark.parametrize("to", ["", "/"])
def test_a_folder_is_not_replaced_by_an_archive(root: pathlib.Path, held: StoreSession, to: str) -> None:
    assert held.failure_code(f'save team/app:a to "{out(root)}{to}"') == "path"
    assert held.failure_code(f'save team/app:a to "{out(root)}/missing/"') == "path"
    assert listed(out(root)) == []


def test_two_paths_of_one_file_are_refused(root: pathlib.Path, held: StoreSession) -> None:
    os.symlink("a.tar", out(root) / "b.tar")
    assert held.failure_code(f'save images where repository = team/app to "{out(root)}/{{{{.Tag}}}}.tar"') == "operand"
    assert not (out(root) / "a.tar").exists()


@pytest.mark.parametrize("force", ["", "force"])
def test_a_folder_that_holds_the_store_is_never_replaced(root: pathlib.Path, held: StoreSession, force: str) -> None:
    for path in (root, root.parent, root / ".." / "store"):
        assert held.failure_code(f'export team/app:a to "{path}" {force}') in ("operand", "exists")
    assert held.names() == ["team/app:a", "team/app:b"]


LABELS = {
    "..": "is not a file name",
    ".": "is not a file name",
    "../../etc/cron.d/x": 'contains "/"',
    "/etc/cron.d/x": 'contains "/"',
    "a/b": 'contains "/"',
    "~": "is not a file name",
    "": "is an absolute path",
}
"""Labels that are no names of files, and what is said of them where the template is `{{label}}/image.tar`."""
LABEL = '{{index .Label "channel"}}'


def labelled(folder: pathlib.Path, value: str) -> StoreSession:
    Layout(folder / "other").add(Image([layer({"a": b"1"})], labels={"channel": value}), "one:1")
    return StoreSession(folder / "other", environment={"HOME": str(folder / "home")})


@pytest.mark.parametrize("verb", ["save", "export"])
@pytest.mark.parametrize("label", LABELS)
def test_slashes_in_labels_create_no_folders(tmp_path: pathlib.Path, verb: str, label: str) -> None:
    (tmp_path / "out").mkdir()
    template = f"{LABEL}/image.tar".replace('"', '\\"')
    with labelled(tmp_path, label) as held:
        done = imq(held.root, f'{verb} images where name = "one:1" to "{template}"', code=2, cwd=tmp_path / "out")
    assert "error[path]" in done.stderr
    assert LABELS[label] in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]
    assert listed(tmp_path / "out") == []


@pytest.mark.parametrize(
    "template",
    [
        '{{index .Label "channel"}}.tar',
        '{{$x := index .Label "channel"}}{{$x}}.tar',
        '{{with .Label}}{{index . "channel"}}{{end}}.tar',
        "{{range .Label}}{{.}}{{end}}.tar",
        '{{printf "%s" (index .Label "channel")}}.tar',
        '{{define "x"}}{{.}}{{end}}{{template "x" index .Label "channel"}}.tar',
        '{{slice (index .Label "channel") 0}}.tar',
        '{{join (split (index .Label "channel") "-") "/"}}.tar',
        '{{.Tag}}{{index .Label "channel"}}.tar',
    ],
)
def test_no_template_function_lets_a_slash_through(tmp_path: pathlib.Path, template: str) -> None:
    with labelled(tmp_path, "../a-b/c") as held:
        said = (tmp_path / "out" / template).as_posix().replace('"', '\\"')
        assert held.failure_code(f'save images where name = "one:1" to "{said}"') == "path"
    assert not (tmp_path / "out").exists()


def test_labels_without_slashes_name_files(tmp_path: pathlib.Path) -> None:
    with labelled(tmp_path, "a/..b/c") as held:
        template = f'{tmp_path}/{{{{join (split (index .Label "channel") "/") "-"}}}}.tar'.replace('"', '\\"')
        held.do(f'save images where name = "one:1" to "{template}"')
    assert (tmp_path / "a-..b-c.tar").exists()


def test_two_values_cannot_form_a_dot_segment(tmp_path: pathlib.Path) -> None:
    with labelled(tmp_path, ".") as held:
        for template in (f"{tmp_path}/out/{LABEL}{LABEL}/x.tar", f"{tmp_path}/out/.{LABEL}/x.tar"):
            said = template.replace('"', '\\"')
            assert held.failure_code(f'save images where name = "one:1" to "{said}"') == "path"


def test_dots_in_the_template_itself_are_allowed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out").mkdir()
    with labelled(tmp_path, "stable") as held:
        said = f"{tmp_path}/out/../{LABEL}.tar".replace('"', '\\"')
        held.do(f'save images where name = "one:1" to "{said}"')
    assert (tmp_path / "stable.tar").exists()


@pytest.mark.parametrize("statement", ['save team/app:a to "{}" force', 'export team/app:a to "{}" force'])
@pytest.mark.parametrize("target", ["", "index.json", "blobs", "blobs/sha256", "index.db", "new", "ingest/new.tar"])
@pytest.mark.parametrize("is_linked", [False, True])
def test_nothing_is_written_into_the_store(
    held: StoreSession, root: pathlib.Path, statement: str, target: str, *, is_linked: bool
) -> None:
    held.rows("images")
    before = {path: path.read_bytes() for path in (root / "index.json", *(root / "blobs" / "sha256").iterdir())}
    path = root / target
    if is_linked:
        path = out(root) / "link"
        path.symlink_to(root / target)
    assert held.failure_code(statement.format(path)) in {"operand", "path"}
    assert {path: path.read_bytes() for path in before} == before
    held.do("verify all")


def test_paths_inside_of_a_folder_are_detected(root: pathlib.Path) -> None:
    assert is_within(str(root / "blobs" / "x" / "y"), str(root))
    assert not is_within(str(root.parent / "storey" / "x"), str(root))
    assert not is_within(str(root.parent), str(root))
    assert not is_within(str(root), str(root / "missing"))


@pytest.mark.parametrize("verb", ["save", "export"])
def test_an_empty_path_is_refused(held: StoreSession, verb: str) -> None:
    with pytest.raises(ImqError, match=f"the path of {verb} is empty"):
        held.rows(f'{verb} team/app:a to ""')


def test_outputs_of_one_statement_do_not_lie_below_each_other(held: StoreSession, root: pathlib.Path) -> None:
    template = "{{if eq .Tag `a`}}tree{{else}}tree/etc{{end}}"
    with pytest.raises(ImqError, match=r"tree/etc is below .*tree, and one would overwrite the other"):
        held.rows(f'export images where repository like "team/*" to "{out(root)}/{template}"')
    assert listed(out(root)) == []
    held.do(f'export images where repository like "team/*" to "{out(root)}/tree-{{{{.Tag}}}}"')
    assert listed(out(root)) == ["tree-a/etc/os-release", "tree-a/file", "tree-b/etc/os-release", "tree-b/file"]
