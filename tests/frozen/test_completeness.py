"""The frozen executable has every feature of the package: the tests use every library in it."""

from __future__ import annotations

import io
import json
import marshal
import os
import pathlib
import pty
import select
import shutil
import subprocess
import sys
import time
import zipfile
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

import pytest
from imq.cli.main import Cli
from imq.engine.registry.http.proxies import SYSTEM_BUNDLES
from imq.sbom import normalize_name
from sbom_components import NATIVE
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conftest import Frozen

PUSHED = "team/app:1"


@pytest.fixture
def layout(imq: Frozen, tree: pathlib.Path) -> pathlib.Path:
    """An OCI layout with one image: the store itself."""
    imq.output_of("import", str(tree), "as", PUSHED)
    return imq.root


def copy_to_registry(layout: pathlib.Path, registry: Registry, *options: str) -> str:
    """Copy the image of the layout to a registry with skopeo; return its name in the registry."""
    name = f"{registry.host}/{PUSHED}"
    skopeo("copy", "--dest-tls-verify=false", *options, f"oci:{layout}:{PUSHED}", f"docker://{name}")
    return name


def skopeo(*arguments: str) -> None:
    run = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> Iterator[Registry]:
    require_programs("docker-registry", "skopeo")
    with Registry(tmp_path / "registry") as running:
        yield running


def test_the_sbom_lists_components_with_licence_texts(imq: Frozen) -> None:
    sbom = json.loads(imq.output_of("--version", "--json"))
    assert {"name": "imq:form", "value": "executable"} in sbom["metadata"]["component"]["properties"]
    parts = {part["name"]: part for part in sbom["components"]}
    expected = {"python", "glibc", "openssl", "sqlite", "zstd", "certifi", "requests", "re2", "isa-l"}
    assert expected <= parts.keys()
    assert {"lark", "pyinstaller", "pygments", "pytest"} & parts.keys() == set()  # not packed
    with zipfile.ZipFile(imq.executable) as archive:
        for part in parts.values():
            assert part["licenses"], part
            texts = [entry["value"] for entry in part["properties"]]
            assert texts, part
            assert all(archive.read(text) for text in texts)


def test_the_sbom_has_exactly_the_packed_components(imq: Frozen, cache: pathlib.Path) -> None:
    """Libraries that are compiled into others, or whose code is in files of imq, cannot be checked."""
    listed = {part["name"] for part in json.loads(imq.output_of("--version", "--json"))["components"]}
    (folder,) = (path for path in (cache / "imq").iterdir() if path.is_dir())
    with zipfile.ZipFile(imq.executable) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
    unpacked = [str(path.relative_to(folder)).removeprefix("lib/") for path in folder.rglob("*") if path.is_file()]
    table = (folder / "lib" / "ready").read_bytes()
    modules = marshal.loads(table[4 : 4 + int.from_bytes(table[:4], "big")])[0]  # as bootstrap.py reads it
    distributions = packages_distributions()
    owned = {
        name: find_owner(name, distributions) for name in [*members, *unpacked, *(f"{module}/" for module in modules)]
    }
    assert [name for name, component in owned.items() if component is None] == []
    owners = {*owned.values()} - {"imq"}
    compiled_in = {"abseil-cpp", "echarts", "isa-l", "libyaml", "re2", "zrender", "zstd"}
    assert owners - listed == set()
    assert listed - owners - compiled_in == set()


def find_owner(file: str, distributions: Mapping[str, list[str]]) -> str | None:
    """Return the component of a packed file; None when it is unknown."""
    name, inside, _ = file.partition("/")
    if name == "licences" or file in {"imq", "stamp", "ready", "imq.1"} or name.partition(".")[0] == "imq":
        return "imq"
    if name.endswith(".dist-info"):
        return normalize_name(name.partition("-")[0])
    if name.startswith("python3.") and inside:
        return "python"
    if ".so" in name and not inside:
        return NATIVE[name.partition(".")[0]].name
    module = name.partition(".")[0]
    if module in sys.stdlib_module_names:
        return "python"
    return next(map(normalize_name, distributions.get(module, ())), None)


def test_it_contains_the_manual_page(imq: Frozen) -> None:
    with zipfile.ZipFile(imq.executable) as archive:
        assert archive.read("imq.1") == (pathlib.Path(__file__).parents[2] / "dsl" / "docs" / "imq.1").read_bytes()


COMMAND_LINES = [
    *(
        ["images select name, id, size as", name]
        for name in ("table", "json", "csv", "markdown", "html", "yaml", "tree")
    ),
    ["help"],
    ["help", "images"],
    ["completion", "bash"],
    ["completion", "fish"],
    ["__complete", "fish", "imq images where na"],
    ["search", "--help"],
]


@pytest.mark.usefixtures("layout")
def test_its_output_is_that_of_the_package(imq: Frozen) -> None:
    for arguments in COMMAND_LINES:
        stdout, stderr = io.StringIO(), io.StringIO()
        code = Cli(io.StringIO(), stdout, stderr, imq.environment).main(arguments)
        run = imq.run(*arguments)
        assert (run.returncode, run.stdout, run.stderr) == (code, stdout.getvalue(), stderr.getvalue())
        assert run.stdout


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_it_pulls_compressed_layers(
    imq: Frozen, layout: pathlib.Path, registry: Registry, compression: str, tmp_path: pathlib.Path
) -> None:
    name = f"{registry.host}/{PUSHED}"
    skopeo("copy", "--dest-decompress", f"oci:{layout}:{PUSHED}", f"dir:{tmp_path / 'plain'}")
    compress = ("--format", "oci", "--dest-tls-verify=false", "--dest-compress-format", compression)
    skopeo("copy", *compress, f"dir:{tmp_path / 'plain'}", f"docker://{name}")
    other = str(tmp_path / "pulled")
    imq.output_of("--root", other, "pull", name)
    (pulled,) = json.loads(imq.output_of("--root", other, "layers", "of", name, "select", "*", "as", "json"))
    (imported,) = json.loads(imq.output_of("layers", "of", PUSHED, "select", "*", "as", "json"))
    assert pulled["diff_id"] == imported["diff_id"]
    assert pulled["media_type"].endswith(compression)


@pytest.fixture
def certificate(tmp_path: pathlib.Path) -> tuple[str, str]:
    """A self-signed certificate for registry.test, and its key."""
    require_programs("openssl")
    certificate, key = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    subject = ["-subj", "/CN=tests", "-addext", "subjectAltName=DNS:registry.test", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject],
        capture_output=True,
        check=True,
    )
    return certificate, key


def test_https_trusts_configured_certificates(
    imq: Frozen, layout: pathlib.Path, certificate: tuple[str, str], tmp_path: pathlib.Path
) -> None:
    require_programs("docker-registry", "skopeo")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost registry.test\n")
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    mount_hosts = 'mount --bind "$0" /etc/hosts'
    bundle = next(path for path in SYSTEM_BUNDLES if os.path.exists(path))  # the host's own

    def pull(more: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("unshare", *mapped, "--mount", "sh", "-c", f'{mount_hosts} {more} && exec "$@"', str(hosts)),
                imq.executable,
                "--root",
                str(tmp_path / "pulled"),
                "pull",
                f"registry.test:{registry.port}/{PUSHED}",
            ],
            env={**imq.environment, **changes},
            capture_output=True,
            text=True,
            check=False,
        )

    with Registry(tmp_path / "registry", tls=certificate) as registry:
        copy_to_registry(layout, registry)
        refused = pull()
        trusted = pull(REQUESTS_CA_BUNDLE=certificate[0])
        shutil.rmtree(tmp_path / "pulled")
        host_trusts = pull(f"&& mount --bind {certificate[0]} {bundle}")
        shutil.rmtree(tmp_path / "pulled")
        bundled = pull("&& for folder in /etc/ssl /etc/pki; do [ ! -e $folder ] || mount -t tmpfs none $folder; done")
    for run in (refused, bundled):
        assert run.returncode == 3
        assert "self-signed certificate" in run.stderr.lower().replace("self signed", "self-signed")
    for run in (trusted, host_trusts):
        assert run.returncode == 0, run.stdout + run.stderr


def test_started_programs_do_not_use_its_libraries(imq: Frozen, layout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    require_programs("docker-registry", "skopeo", "htpasswd")
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    seen = tmp_path / "seen"
    helper.write_text(f'#!/bin/sh\nenv >{seen}\necho \'{{"Username": "me", "Secret": "secret"}}\'\n')
    helper.chmod(0o755)
    (imq.home / ".docker").mkdir()
    with Registry(tmp_path / "registry", users={"me": "secret"}) as registry:
        name = copy_to_registry(layout, registry, "--dest-creds", "me:secret")
        configuration = {"credHelpers": {registry.host: "tests"}}
        (imq.home / ".docker" / "config.json").write_text(json.dumps(configuration))
        path = f"{helper.parent}{os.pathsep}{imq.environment['PATH']}"
        imq.output_of("--root", str(tmp_path / "pulled"), "pull", name, PATH=path, LD_LIBRARY_PATH="/mine")
    inherited = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert inherited["LD_LIBRARY_PATH"] == "/mine"
    assert [name for name in inherited if name.startswith(("_PYI_", "STATICX_", "_MEI"))] == []


def run_on_terminal(imq: Frozen, arguments: list[str], typed: list[tuple[str, str]]) -> tuple[int, str]:
    """Run it on a terminal; return the exit code and the screen. `typed` has texts to wait for, and keys to type."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(imq.executable, [imq.executable, *arguments], {**imq.environment, "TERM": "xterm-256color"})
    screen, seen, deadline = b"", 0, time.monotonic() + 60
    pending = list(typed)
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                read = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            screen += read
            if b"\x1b[6n" in read:  # a request for the cursor position
                os.write(terminal, b"\x1b[1;1R")
        elif pending and pending[0][0].encode() in screen[seen:]:
            seen = len(screen)
            os.write(terminal, pending.pop(0)[1].encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), screen.decode(errors="replace")


@pytest.mark.usefixtures("layout")
def test_the_interactive_session_runs(imq: Frozen) -> None:
    code, screen = run_on_terminal(imq, [], [("imq", "images select name\r"), (PUSHED, "\x04")])
    assert code == 0, screen
    assert "Traceback" not in screen


def test_progress_shows_on_a_terminal(
    imq: Frozen, layout: pathlib.Path, registry: Registry, tmp_path: pathlib.Path
) -> None:
    name = copy_to_registry(layout, registry)
    code, screen = run_on_terminal(imq, ["--root", str(tmp_path / "pulled"), "pull", name], [])
    assert code == 0, screen
    assert "Pull complete" in screen
