"""Login and logout with real registries, compared with docker's command line, and with credential helpers."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import imq
import pytest
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.auth.credentials import Credentials
from imq.engine.registry.auth.login import erase_credentials, store_credentials
from imq.engine.registry.client import Client
from imq.engine.registry.settings import Settings
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import RegistryError
from registry.support import sample_images
from registry.support.sample_images import PASSWORD, USER
from registry.support.token_server import TokenServer
from support import servers
from support.peers import needs_docker

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Registry

REFRESH = "a-refresh-token"
HELPER = """#!/usr/bin/env python3
import json, os, sys
home = os.path.dirname(os.path.abspath(__file__))
kept = os.path.join(home, "kept.json")
known = json.load(open(kept)) if os.path.exists(kept) else {}
with open(os.path.join(home, "called"), "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
said = sys.stdin.read().strip()
if sys.argv[1] == "store":
    entry = json.loads(said)
    known[entry["ServerURL"]] = entry
elif said not in known:
    print("credentials not found in native keychain")
    sys.exit(1)
elif sys.argv[1] == "get":
    print(json.dumps(known[said]))
else:
    del known[said]
json.dump(known, open(kept, "w"))
"""


def test_other_content_of_config_json_is_unchanged(tmp_path: Path) -> None:
    """Numbers keep their digits, and an unpaired surrogate remains an escape."""
    stored_auths = [
        '"large": 1e400',
        '"small": -0',
        '"exact": [1.10, 0.12345678901234567890, 12345678901234567890123]',
        '"half": "\\ud800 \\udcff"',
        '"pair": "\U0001f600"',
        '"\\udfff": {"a": null, "b": true}',
    ]
    path = tmp_path / "config.json"
    path.write_text("{" + ", ".join(stored_auths) + ', "auths": {"other.example": {"auth": "b3RoZXI6cHc="}}}')
    settings = Settings(environment={"DOCKER_CONFIG": str(tmp_path), "PATH": ""})
    store_credentials(settings, "one.example", Credentials("user", "password"))
    erase_credentials(settings, "other.example")
    written = "".join(path.read_text().split())
    for text in stored_auths:
        assert "".join(text.split()) in written
    assert list(json.loads(path.read_text())["auths"]) == ["one.example"]


def test_a_config_json_with_invalid_constants_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"number": NaN, "auths": {"other.example": {"auth": "b3RoZXI6cHc="}}}')
    settings = Settings(environment={"DOCKER_CONFIG": str(tmp_path), "PATH": ""})
    with pytest.raises(RegistryError, match="is not JSON"):
        store_credentials(settings, "one.example", Credentials("user", "password"))


class Home:
    """A home folder with docker's configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / ".docker" / "config.json"
        self.environment = {"HOME": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}

    @property
    def document(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.file.read_text())
        return document

    def write(self, **document: object) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps(document))

    def imq(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "imq", *words]
        return subprocess.run(command, input=given, env=self.environment, capture_output=True, text=True, check=False)

    def docker(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run docker's command line, which contacts registries itself if no daemon is running."""
        environment = {**self.environment, "DOCKER_HOST": f"unix://{self.folder}/nobody.sock"}
        return subprocess.run(
            ["docker", *words], input=given, env=environment, capture_output=True, text=True, check=False
        )

    def helper(self) -> Path:
        """Install a credential helper called `tests`, and return its folder."""
        programs = self.folder / "bin"
        programs.mkdir()
        program = programs / "docker-credential-tests"
        program.write_text(HELPER)
        program.chmod(0o755)
        return programs


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def image(guarded: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image in the guarded registry."""
    folder = tmp_path_factory.mktemp("pusher")
    (folder / "config.json").write_text(json.dumps({"auths": {guarded.host: {"auth": encode_auth()}}}))
    name = f"{guarded.host}/team/app:1"
    store = sample_images.MemoryStore()
    with Client(Settings(environment={"DOCKER_CONFIG": str(folder)})) as client:
        push(client, Reference.parse(name), sample_images.add_image(store, layers=1), store, NullProgress())
    return name


def encode_auth(user: str = USER, password: str = PASSWORD) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def can_pull(home: Home, name: str, **more: str) -> bool:
    with imq.connect(root=home.folder / "store", environment={**home.environment, **more}) as session:
        return session(f"pull {name}").ok


@needs_docker
def test_docker_reads_credentials_that_login_wrote(home: Home, guarded: Registry, image: str) -> None:
    home.write(auths={"other.example": {"auth": "eDp5"}}, HttpHeaders={"X": "y"}, detachKeys="ctrl-e")
    done = home.imq("login", "-u", USER, "--password-stdin", guarded.host, given=f"{PASSWORD}\n")
    assert (done.returncode, done.stdout) == (0, "Login Succeeded\n")
    assert f"WARNING! Your credentials are stored unencrypted in '{home.file}'." in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert home.document == {
        "auths": {"other.example": {"auth": "eDp5"}, guarded.host: {"auth": encode_auth()}},
        "HttpHeaders": {"X": "y"},
        "detachKeys": "ctrl-e",
    }
    assert home.file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(home.file.parent) == ["config.json"]
    seen = home.docker("manifest", "inspect", "--insecure", image)
    assert (seen.returncode, json.loads(seen.stdout)["schemaVersion"]) == (0, 2), seen.stderr
    gone = home.docker("logout", guarded.host)
    assert gone.returncode == 0
    assert not can_pull(home, image)


@needs_docker
def test_login_reads_what_docker_writes(home: Home, guarded: Registry, image: str) -> None:
    assert home.docker("login", "-u", USER, "--password-stdin", guarded.host, given=PASSWORD).returncode == 0
    before = home.file.read_bytes()
    assert can_pull(home, image)
    again = home.imq("login", guarded.host)
    assert (again.returncode, again.stdout) == (0, "Authenticating with existing credentials...\nLogin Succeeded\n")
    same = home.imq("login", "-u", USER, "--password-stdin", guarded.host, given=PASSWORD)
    assert (same.returncode, same.stderr) == (0, "")
    assert home.file.read_bytes() == before, "docker writes it so, and so does imq"
    theirs = home.docker("logout", guarded.host)
    emptied = home.file.read_bytes()
    home.imq("login", "-u", USER, "--password-stdin", guarded.host, given=PASSWORD)
    assert home.file.read_bytes() == before
    mine = home.imq("logout", guarded.host)
    assert (mine.stdout, home.file.read_bytes()) == (theirs.stdout, emptied)


def test_wrong_passwords_are_neither_kept_nor_shown(home: Home, guarded: Registry) -> None:
    home.write(auths={})
    before = home.file.read_bytes()
    done = home.imq("login", "-u", USER, "--password-stdin", guarded.host, given="not-this-one\n")
    assert done.returncode == 3
    assert f"{guarded.host} rejected this user and password" in done.stderr
    assert "not-this-one" not in done.stdout + done.stderr
    assert home.file.read_bytes() == before


def test_statements_read_passwords_from_files(home: Home, guarded: Registry, image: str) -> None:
    secret = home.folder / "secret.txt"
    secret.write_text(f"{PASSWORD}\r\n")
    statement = imq.login(guarded.host, as_=USER, from_=secret)
    with imq.connect(root=home.folder / "store", environment=home.environment) as session:
        assert [row.action for row in session(statement, dry_run=True)] == ["login"]
        assert not home.file.exists()
        (row,) = session(statement)
        assert (row.action, row.target, row.note) == ("login", guarded.host, f"stored unencrypted in {home.file}")
        assert can_pull(home, image)
        assert PASSWORD not in session.explain(statement) + str(statement)
        (row,) = session(imq.logout(guarded.host))
        assert row.note == "removed"
        (row,) = session(imq.logout(guarded.host))
        assert row.note == "none were stored"
    assert not can_pull(home, image)


@needs_docker
@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_credentials_in_a_helper_are_read_by_docker(home: Home, guarded: Registry, image: str, key: str) -> None:
    programs = home.helper()
    home.write(**{key: "tests" if key == "credsStore" else {guarded.host: "tests"}})
    done = home.imq("login", "-u", USER, "--password-stdin", guarded.host, given=PASSWORD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Login Succeeded\n", "")
    assert home.document["auths"] == {guarded.host: {}}
    stored_auths = json.loads((programs / "kept.json").read_text())
    assert stored_auths == {guarded.host: {"ServerURL": guarded.host, "Username": USER, "Secret": PASSWORD}}
    assert can_pull(home, image)
    assert home.docker("manifest", "inspect", "--insecure", image).returncode == 0
    assert home.imq("logout", guarded.host).returncode == 0
    assert json.loads((programs / "kept.json").read_text()) == {}
    assert home.document["auths"] == {}
    assert set((programs / "called").read_text().split("\n")) == {"store", "get", "erase", ""}, (
        "secrets are passed by stdin"
    )


def test_an_identity_token_replaces_the_password(home: Home, tmp_path_factory: pytest.TempPathFactory) -> None:
    servers.require_programs("openssl")
    with (
        TokenServer(tmp_path_factory.mktemp("tokens"), {USER: PASSWORD}, REFRESH) as tokens,
        servers.Registry(tmp_path_factory.mktemp("checked"), token=tokens.configuration) as checked,
    ):
        done = home.imq("login", "-u", USER, "--password-stdin", checked.host, given=PASSWORD)
        assert (done.returncode, done.stdout, done.stderr) == (0, "Login Succeeded\n", "")
        assert home.document["auths"] == {
            checked.host: {"auth": encode_auth(password=""), "identitytoken": REFRESH},
        }
        store, name = sample_images.MemoryStore(), Reference.parse(f"{checked.host}/secret/app:1")
        with Client(Settings(environment=home.environment)) as client:
            push(client, name, sample_images.add_image(store, layers=1), store, NullProgress())
        assert can_pull(home, str(name))
        assert [row.get("refresh_token") for row in tokens.requests[-1:]] == [[REFRESH]]
        refused = home.imq("login", "-u", USER, "--password-stdin", checked.host, given="wrong")
        assert refused.returncode == 3
        assert home.document["auths"] == {checked.host: {"auth": encode_auth(password=""), "identitytoken": REFRESH}}


def test_a_symbolic_link_is_kept(home: Home, guarded: Registry) -> None:
    other_registry = home.folder / "elsewhere.json"
    other_registry.write_text("{}")
    home.file.parent.mkdir()
    home.file.symlink_to(other_registry)
    assert home.imq("login", "-u", USER, "--password-stdin", guarded.host, given=PASSWORD).returncode == 0
    assert home.file.is_symlink()
    assert json.loads(other_registry.read_text())["auths"] == {guarded.host: {"auth": encode_auth()}}


def test_login_flags_match_docker(home: Home, guarded: Registry) -> None:
    both = home.imq("login", "-u", USER, "-p", "x", "--password-stdin", guarded.host)
    assert (both.returncode, both.stdout) == (125, "")
    assert "conflicting options: cannot specify both --password and --password-stdin" in both.stderr
    alone = home.imq("login", "--password-stdin", guarded.host, given=PASSWORD)
    assert "the --password-stdin option requires --username to be set" in alone.stderr
    said = home.imq("login", "-u", USER, "-p", PASSWORD, guarded.host)
    assert said.returncode == 0
    assert said.stderr.startswith("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    nobody = home.imq("login", "-u", USER, "127.0.0.1:1")
    assert nobody.returncode == 1
    assert "Error: Cannot perform an interactive login from a non TTY device" in nobody.stderr
    explained = home.imq("--explain", "login", "-u", USER, "-p", PASSWORD, guarded.host)
    assert f'statement: login {guarded.host} as "{USER}"\n' in explained.stdout
    assert PASSWORD not in explained.stdout + explained.stderr
    hub = home.imq("logout")
    assert hub.stdout == "Removing login credentials for https://index.docker.io/v1/\n"


def test_a_terminal_prompt_hides_the_password(home: Home, guarded: Registry) -> None:
    process, terminal = pty.fork()
    if not process:
        os.execve(sys.executable, [sys.executable, "-m", "imq", "login", guarded.host], home.environment)
    output = b""

    def until(text: bytes) -> None:
        nonlocal output
        while text not in output:
            output += os.read(terminal, 1024)

    until(b"Username: ")
    os.write(terminal, f"{USER}\n".encode())
    until(b"Password: ")
    os.write(terminal, f"{PASSWORD}\n".encode())
    until(b"Login Succeeded")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(terminal)
    assert PASSWORD.encode() not in output
    assert home.document["auths"] == {guarded.host: {"auth": encode_auth()}}


# Credentials from the configuration


def write_configuration(home: Home, guarded: Registry, *lines: str) -> None:
    folder = home.folder / ".config" / "imq"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("\n".join(["[registry.work]", f'host = "{guarded.host}"', *lines]) + "\n")


@pytest.mark.parametrize("way", ["password-variable", "password-file", "credentials-helper", "credentials-file"])
def test_the_configuration_specifies_the_source_of_credentials(
    home: Home, guarded: Registry, image: str, way: str
) -> None:
    home.write(auths={guarded.host: {"auth": encode_auth(password="not-this-one")}})
    programs, folder, more = home.helper(), home.folder, {}
    match way:
        case "password-variable":
            write_configuration(home, guarded, f'user = "{USER}"', 'password-variable = "WORK_PASSWORD"')
            more = {"WORK_PASSWORD": PASSWORD}
        case "password-file":
            write_configuration(home, guarded, f'user = "{USER}"', 'password-file = "secret.txt"')
            (folder / ".config" / "imq" / "secret.txt").write_text(f"{PASSWORD}\n")
        case "credentials-helper":
            write_configuration(home, guarded, 'credentials-helper = "tests"')
            stored_auths = {guarded.host: {"ServerURL": guarded.host, "Username": USER, "Secret": PASSWORD}}
            (programs / "kept.json").write_text(json.dumps(stored_auths))
        case _:
            write_configuration(home, guarded, 'credentials-file = "~/work.json"')
            (folder / "work.json").write_text(json.dumps({"auths": {guarded.host: {"auth": encode_auth()}}}))
    assert can_pull(home, image, **more)


def test_login_writes_to_the_configured_file_with_the_configured_user(home: Home, guarded: Registry) -> None:
    write_configuration(home, guarded, 'credentials-file = "~/work.json"')
    done = home.imq("login", "-u", USER, "--password-stdin", "work", given=PASSWORD)
    assert done.returncode == 0
    assert json.loads((home.folder / "work.json").read_text()) == {"auths": {guarded.host: {"auth": encode_auth()}}}
    assert not home.file.exists()


def test_login_rejects_a_registry_with_a_configured_password(home: Home, guarded: Registry) -> None:
    write_configuration(home, guarded, f'user = "{USER}"', 'password-variable = "WORK_PASSWORD"')
    with imq.connect(root=home.folder / "store", environment=home.environment) as session:
        (error,) = session(f'login work as {USER} from "nowhere"').errors
    assert error.message == (f"the configuration reads the password for {guarded.host} from the variable WORK_PASSWORD")
    assert not can_pull(home, f"{guarded.host}/team/app:1"), "the variable is not set"
