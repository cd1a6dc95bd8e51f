"""The files of a release: made by build/release.sh of the executable in $IMQ_EXECUTABLE, then installed and run."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from typing import TYPE_CHECKING

import pytest
from report.conftest import fill_store
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not os.environ.get("IMQ_EXECUTABLE"), reason="needs the executable in IMQ_EXECUTABLE")
MACHINE = os.uname().machine
ADDRESS = "https://git.example.org/team/imq"


def run(*words: str | pathlib.Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment with only these variables and the path of programs."""
    return subprocess.run(
        [str(word) for word in words],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("release") / "files"
    done = run(
        "bash",
        CHECKOUT / "build" / "release.sh",
        "--snapshot",
        "--executable",
        os.environ["IMQ_EXECUTABLE"],
        "--url",
        ADDRESS,
        folder,
        HOME=str(folder.parent),
    )
    assert done.returncode == 0, done.stderr
    assert "release: the metadata has no address of a maintainer: add --maintainer" in done.stderr
    return folder


@pytest.fixture(scope="module")
def version(release: pathlib.Path) -> str:
    (wheel,) = release.glob("*.whl")
    return wheel.name.split("-")[1]


def test_every_file_has_its_checksum(release: pathlib.Path) -> None:
    lines = (release / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums.keys() == {path.name for path in release.iterdir()} - {"SHA256SUMS"}
    assert sums == {name: hashlib.sha256((release / name).read_bytes()).hexdigest() for name in sums}


@pytest.mark.parametrize("pattern", ["*.whl", "imq-*.tar.gz"])
def test_the_wheel_and_the_source_archive_install(
    release: pathlib.Path, version: str, tmp_path: pathlib.Path, pattern: str
) -> None:
    (archive,) = (path for path in release.glob(pattern) if "completion" not in path.name)
    pip = ["-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "--no-compile", "--quiet"]
    done = run(sys.executable, *pip, "--target", tmp_path / "site", archive, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    said = run(sys.executable, "-m", "imq", "--version", PYTHONPATH=str(tmp_path / "site"), HOME=str(tmp_path))
    assert said.stdout == f"imq {version}\n"
    where = "import imq.cli.main; print(imq.__path__[0])"
    assert run(sys.executable, "-c", where, PYTHONPATH=str(tmp_path / "site")).stdout.startswith(str(tmp_path))
    write_report([sys.executable, "-m", "imq"], tmp_path, PYTHONPATH=str(tmp_path / "site"))


def test_every_kind_of_metadata_has_the_address(release: pathlib.Path, version: str, tmp_path: pathlib.Path) -> None:
    with zipfile.ZipFile(release / f"imq-{version}-py3-none-any.whl") as wheel:
        assert f"Project-URL: Source, {ADDRESS}\n" in wheel.read(f"imq-{version}.dist-info/METADATA").decode()
    with tarfile.open(release / f"imq-{version}.tar.gz") as sdist:
        member = sdist.extractfile(f"imq-{version}/PKG-INFO")
        assert member is not None
        assert f"Project-URL: Source, {ADDRESS}\n" in member.read().decode()
    (package,) = release.glob("*.deb")
    fields = run("dpkg-deb", "--field", package, "Homepage", "Maintainer").stdout
    assert set(fields.splitlines()) == {"Maintainer: The maintainers of imq", f"Homepage: {ADDRESS}"}
    document = json.loads((release / f"imq-{version}.cdx.json").read_text())
    references = document["metadata"]["component"]["externalReferences"]
    assert {"type": "issue-tracker", "url": f"{ADDRESS}/issues"} in references
    (archive,) = release.glob("*-oci-*.tar")
    (program,) = release.glob(f"imq-*-linux-{MACHINE}")
    said = run(
        program, f'images in "oci-archive:{archive}" select label as json',
        IMQ_ROOT=str(tmp_path / "store"), IMQ_CACHE=str(tmp_path / "cache"), HOME=str(tmp_path),
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): value for name, value in json.loads(said.stdout)[0]["label"].items()}
    assert labels.pop("revision", None) in (None, run("git", "-C", CHECKOUT, "rev-parse", "HEAD").stdout.strip())
    assert labels == {
        "title": "imq",
        "version": version,
        "licenses": "MIT",
        "url": ADDRESS,
        "documentation": f"{ADDRESS}#readme",
        "source": ADDRESS,
    }


def write_report(command: list[str], folder: pathlib.Path, **environment: str) -> None:
    """Write a report, for which imq reads files of its package."""
    fill_store(folder / "store")
    done = run(*command, f'report to "{folder}/report.html"', IMQ_ROOT=str(folder / "store"), HOME="/x", **environment)
    assert done.returncode == 0, done.stderr
    assert "echarts" in (folder / "report.html").read_text()


def test_the_executable_writes_reports(release: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (program,) = release.glob(f"imq-*-linux-{MACHINE}")
    write_report([str(program)], tmp_path, IMQ_CACHE=str(tmp_path / "cache"))


def test_the_debian_package_installs_and_goes(release: pathlib.Path, version: str, tmp_path: pathlib.Path) -> None:
    (package,) = release.glob("*.deb")
    root = tmp_path / "root"
    (root / "var/lib/dpkg/updates").mkdir(parents=True)
    (root / "var/lib/dpkg/info").mkdir()
    (root / "var/lib/dpkg/status").touch()
    dpkg = ["dpkg", f"--root={root}", "--force-not-root", "--force-script-chrootless", "--log=/dev/null"]
    done = run(*dpkg, "--install", package)
    assert done.returncode == 0, done.stderr
    said = run(root / "usr/bin/imq", "--version", IMQ_CACHE=str(tmp_path / "cache"))
    assert said.stdout == f"imq {version}\n"
    for path in ("share/man/man1/imq.1.gz", "share/bash-completion/completions/imq", "share/doc/imq/copyright"):
        assert (root / "usr" / path).stat().st_size > 0
    assert run("md5sum", "--check", root / "var/lib/dpkg/info/imq.md5sums").returncode != 0  # paths below the root
    checked = subprocess.run(
        ["md5sum", "--check", "--quiet", "var/lib/dpkg/info/imq.md5sums"], cwd=root, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert run(*dpkg, "--remove", "imq").returncode == 0
    assert not (root / "usr/bin/imq").exists()


def test_the_image_has_only_the_executable_and_runs(
    release: pathlib.Path, version: str, tmp_path: pathlib.Path
) -> None:
    (archive,) = release.glob("*-oci-*.tar")
    store = {"IMQ_ROOT": str(tmp_path / "store"), "IMQ_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    (program,) = release.glob(f"imq-*-linux-{MACHINE}")
    assert run(program, "load", "-i", archive, **store).returncode == 0
    said = json.loads(run(program, f"inspect imq:{version}", **store).stdout)[0]
    assert said["Config"]["Entrypoint"] == ["/usr/bin/imq"]
    root = tmp_path / "root"
    done = run(program, f'export imq:{version} to "{root}"', **store)
    assert done.returncode == 0, done.stderr
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert files - {"etc/ssl/certs/ca-certificates.crt"} == {"usr/bin/imq"}
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    if os.getuid() != 0:
        pytest.skip("chroot needs root")
    environment = dict(entry.split("=", 1) for entry in said["Config"]["Env"])
    (root / "proc").mkdir()
    script = (
        'mount -t proc proc "$1/proc" && cd "$1" && exec /usr/bin/env -i "${@:3}" /usr/sbin/chroot . "$2" --version'
    )
    names = [f"{name}={value}" for name, value in environment.items()]
    started = run(
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "bash",
        "-c",
        script,
        "sh",
        root,
        said["Config"]["Entrypoint"][0],
        *names,
    )
    assert started.stdout == f"imq {version}\n", started.stderr


def test_the_bill_of_materials_is_that_of_the_executable(release: pathlib.Path, version: str) -> None:
    document = json.loads((release / f"imq-{version}.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert {"name": "imq:form", "value": "executable"} in document["metadata"]["component"]["properties"]


def test_completion_is_accepted_by_the_shells(release: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (archive,) = release.glob("*-completion.tar.gz")
    run("tar", "-xf", archive, "-C", tmp_path)
    for shell, file in (("bash", "imq.bash"), ("zsh", "_imq"), ("fish", "imq.fish")):
        if shutil.which(shell):
            assert run(shell, "-n", tmp_path / file, HOME=str(tmp_path)).stderr == ""


@pytest.fixture(scope="module")
def address(release: pathlib.Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(release))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_script_installs(release: pathlib.Path, version: str, tmp_path: pathlib.Path, address: str) -> None:
    for source in ([], ["--from", address]):
        target = tmp_path / f"bin {len(source)}"
        environment = {"HOME": str(tmp_path), "IMQ_CACHE": str(tmp_path / "cache")}
        done = run("sh", release / "install.sh", *source, "--to", target, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{target}/imq: imq {version}\n")
        assert os.listdir(target) == ["imq"]


@pytest.mark.parametrize("damage", ["file", "sums", "missing", "absent"])
def test_the_script_installs_nothing_without_the_right_checksum(
    release: pathlib.Path, tmp_path: pathlib.Path, damage: str
) -> None:
    copy, target = tmp_path / "copy", tmp_path / "bin"
    copy.mkdir()
    (program,) = release.glob(f"imq-*-linux-{MACHINE}")
    for name in ("install.sh", "SHA256SUMS", program.name):
        shutil.copy(release / name, copy)
    sums = (copy / "SHA256SUMS").read_text()
    if damage == "file":
        with open(copy / program.name, "ab") as file:
            file.write(b"#")
    elif damage == "sums":
        (copy / "SHA256SUMS").write_text(sums.replace(f"-linux-{MACHINE}", "-linux-other"))
    elif damage == "missing":
        (copy / program.name).unlink()
    else:
        (copy / "SHA256SUMS").unlink()
    done = run("sh", copy / "install.sh", "--to", target, HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(("install: ", "cat: "))
    assert not target.exists() or os.listdir(target) == []


def test_addresses_without_encryption_are_refused(release: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = run("sh", release / "install.sh", "--from", "http://example.com", "--to", tmp_path / "bin", HOME="/x")
    assert (done.returncode, "expected a folder or an https address" in done.stderr) == (1, True)
