"""Nothing that the package can do is missing from the frozen executable: every library it brings is used here."""

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
from support.servers import Registry, needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conftest import Frozen

PUSHED = "team/app:1"


@pytest.fixture
def layout(imq: Frozen, tree: pathlib.Path) -> pathlib.Path:
    """An OCI layout with one image: the store itself."""
    imq.answer("import", str(tree), "as", PUSHED)
    return imq.root


def copy(layout: pathlib.Path, registry: Registry, *options: str) -> str:
    """Copy the image of the layout to a registry with skopeo, and return its name there."""
    there = f"{registry.host}/{PUSHED}"
    skopeo("copy", "--dest-tls-verify=false", *options, f"oci:{layout}:{PUSHED}", f"docker://{there}")
    return there


def skopeo(*arguments: str) -> None:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> Iterator[Registry]:
    needed("docker-registry", "skopeo")
    with Registry(tmp_path / "registry") as running:
        yield running


def test_it_lists_what_it_is_made_of_and_has_the_licences(imq: Frozen) -> None:
    told = json.loads(imq.answer("--version", "--json"))
    assert {"name": "imq:form", "value": "executable"} in told["metadata"]["component"]["properties"]
    parts = {part["name"]: part for part in told["components"]}
    expected = {"python", "glibc", "openssl", "sqlite", "zstd", "certifi", "requests", "re2", "isa-l"}
    assert expected <= parts.keys()
    assert {"lark", "pyinstaller", "pygments", "pytest"} & parts.keys() == set()  # not packed
    with zipfile.ZipFile(imq.executable) as archive:
        for part in parts.values():
            assert part["licenses"], part
            texts = [entry["value"] for entry in part["properties"]]
            assert texts, part
            assert all(archive.read(text) for text in texts)


def test_everything_that_is_packed_has_an_owner_in_the_bill(imq: Frozen, kept: pathlib.Path) -> None:
    """And the other way round: what the bill lists is there. What libraries have compiled in cannot be seen."""
    told = {part["name"] for part in json.loads(imq.answer("--version", "--json"))["components"]}
    (folder,) = (path for path in (kept / "imq").iterdir() if path.is_dir())
    with zipfile.ZipFile(imq.executable) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
    unpacked = [str(path.relative_to(folder)).removeprefix("lib/") for path in folder.rglob("*") if path.is_file()]
    table = (folder / "lib" / "ready").read_bytes()
    modules = marshal.loads(table[4 : 4 + int.from_bytes(table[:4], "big")])[0]  # as start.py reads it
    makers = packages_distributions()
    owned = {name: owner(name, makers) for name in [*members, *unpacked, *(f"{module}/" for module in modules)]}
    assert [name for name, found in owned.items() if found is None] == []
    owners = {*owned.values()} - {"imq"}
    within = {"abseil-cpp", "isa-l", "libyaml", "re2", "zstd"}  # compiled in
    assert owners - told == set()
    assert told - owners - within == set()


def owner(file: str, makers: Mapping[str, list[str]]) -> str | None:
    """Name the component that a packed file is of; None when nothing is known of it."""
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
    return next(map(normalize_name, makers.get(module, ())), None)


def test_it_brings_its_manual_page(imq: Frozen) -> None:
    with zipfile.ZipFile(imq.executable) as archive:
        assert archive.read("imq.1") == (pathlib.Path(__file__).parents[2] / "dsl" / "docs" / "imq.1").read_bytes()


SAME = [
    *(
        ["images select name, id, size as", form]
        for form in ("table", "json", "csv", "markdown", "html", "yaml", "tree")
    ),
    ["help"],
    ["help", "images"],
    ["completion", "bash"],
    ["completion", "fish"],
    ["__complete", "fish", "imq images where na"],
    ["search", "--help"],
]


@pytest.mark.usefixtures("layout")
def test_it_answers_as_the_package_does(imq: Frozen) -> None:
    for arguments in SAME:
        stdout, stderr = io.StringIO(), io.StringIO()
        code = Cli(io.StringIO(), stdout, stderr, imq.environment).main(arguments)
        done = imq.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (code, stdout.getvalue(), stderr.getvalue())
        assert done.stdout


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_pulling_layers(
    imq: Frozen, layout: pathlib.Path, registry: Registry, compression: str, tmp_path: pathlib.Path
) -> None:
    there = f"{registry.host}/{PUSHED}"
    skopeo("copy", "--dest-decompress", f"oci:{layout}:{PUSHED}", f"dir:{tmp_path / 'plain'}")
    compress = ("--format", "oci", "--dest-tls-verify=false", "--dest-compress-format", compression)
    skopeo("copy", *compress, f"dir:{tmp_path / 'plain'}", f"docker://{there}")
    other = str(tmp_path / "pulled")
    imq.answer("--root", other, "pull", there)
    (pulled,) = json.loads(imq.answer("--root", other, "layers", "of", there, "as", "json"))
    (imported,) = json.loads(imq.answer("layers", "of", PUSHED, "as", "json"))
    assert pulled["diff_id"] == imported["diff_id"]
    assert pulled["media_type"].endswith(compression)


@pytest.fixture
def certificate(tmp_path: pathlib.Path) -> tuple[str, str]:
    """A certificate for registry.test that signs itself, and its key."""
    needed("openssl")
    certificate, key = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    subject = ["-subj", "/CN=tests", "-addext", "subjectAltName=DNS:registry.test", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *subject],
        capture_output=True,
        check=True,
    )
    return certificate, key


def test_https_trusts_whom_it_is_told_to(
    imq: Frozen, layout: pathlib.Path, certificate: tuple[str, str], tmp_path: pathlib.Path
) -> None:
    needed("docker-registry", "skopeo")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost registry.test\n")
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    known = 'mount --bind "$0" /etc/hosts'
    bundle = next(path for path in SYSTEM_BUNDLES if os.path.exists(path))  # the host's own

    def pull(more: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("unshare", *mapped, "--mount", "sh", "-c", f'{known} {more} && exec "$@"', str(hosts)),
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
        copy(layout, registry)
        refused = pull()
        trusted = pull(REQUESTS_CA_BUNDLE=certificate[0])
        shutil.rmtree(tmp_path / "pulled")
        host_trusts = pull(f"&& mount --bind {certificate[0]} {bundle}")
        shutil.rmtree(tmp_path / "pulled")
        brought = pull("&& for place in /etc/ssl /etc/pki; do [ ! -e $place ] || mount -t tmpfs none $place; done")
    for done in (refused, brought):
        assert done.returncode == 3
        assert "self-signed certificate" in done.stderr.lower().replace("self signed", "self-signed")
    for done in (trusted, host_trusts):
        assert done.returncode == 0, done.stdout + done.stderr


def test_programs_that_it_starts_do_not_see_its_libraries(
    imq: Frozen, layout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    needed("docker-registry", "skopeo", "htpasswd")
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    seen = tmp_path / "seen"
    helper.write_text(f'#!/bin/sh\nenv >{seen}\necho \'{{"Username": "me", "Secret": "secret"}}\'\n')
    helper.chmod(0o755)
    (imq.home / ".docker").mkdir()
    with Registry(tmp_path / "registry", users={"me": "secret"}) as registry:
        there = copy(layout, registry, "--dest-creds", "me:secret")
        configuration = {"credHelpers": {registry.host: "tests"}}
        (imq.home / ".docker" / "config.json").write_text(json.dumps(configuration))
        path = f"{helper.parent}{os.pathsep}{imq.environment['PATH']}"
        imq.answer("--root", str(tmp_path / "pulled"), "pull", there, PATH=path, LD_LIBRARY_PATH="/mine")
    inherited = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
    assert inherited["LD_LIBRARY_PATH"] == "/mine"
    assert [name for name in inherited if name.startswith(("_PYI_", "STATICX_", "_MEI"))] == []


def on_a_terminal(imq: Frozen, arguments: list[str], typed: list[tuple[str, str]]) -> tuple[int, str]:
    """Run it on a terminal; type each text once what is waited for stands on the screen. Return code and screen."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(imq.executable, [imq.executable, *arguments], {**imq.environment, "TERM": "xterm-256color"})
    screen, seen, deadline = b"", 0, time.monotonic() + 60
    waiting = list(typed)
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                read = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            screen += read
            if b"\x1b[6n" in read:  # where is the cursor?
                os.write(terminal, b"\x1b[1;1R")
        elif waiting and waiting[0][0].encode() in screen[seen:]:
            seen = len(screen)
            os.write(terminal, waiting.pop(0)[1].encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), screen.decode(errors="replace")


@pytest.mark.usefixtures("layout")
def test_the_interactive_session(imq: Frozen) -> None:
    code, screen = on_a_terminal(imq, [], [("imq", "images select name\r"), (PUSHED, "\x04")])
    assert code == 0, screen
    assert "Traceback" not in screen


def test_progress_on_a_terminal(imq: Frozen, layout: pathlib.Path, registry: Registry, tmp_path: pathlib.Path) -> None:
    there = copy(layout, registry)
    code, screen = on_a_terminal(imq, ["--root", str(tmp_path / "pulled"), "pull", there], [])
    assert code == 0, screen
    assert "Pull complete" in screen
