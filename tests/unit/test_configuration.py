"""Configuration files: how they merge, what overrides them, and the errors."""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import imq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imq.cli.main import Cli
from imq.engine.configuration import load
from imq.engine.configuration.configuration import Configuration, Registry
from imq.engine.configuration.load import load_configuration
from imq.engine.configuration.reader import parse_configuration
from imq.engine.configuration.schema import SECTIONS, ValueType
from imq.engine.registry.http.certificates import resolve_certificates
from imq.engine.registry.settings import HostSettings, Settings
from imq.grammar.errors import ImqError, StatementError
from support.images import write_library

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).resolve().parents[2] / "dsl" / "docs" / "CONFIGURATION.md"
WHOLE = """\
source = "work"
root = "images"
insecure = ["10.0.0.0/8", "Old.Example:5000"]
ca = "~/all.pem"

[registry.Work]
host = "registry.local:5000/team"
ca = "work.pem"
certificate = "me.cert"
key = "me.key"
user = "me"
password-variable = "WORK"
mirrors = ["mirror.local:5000/work/", "https://second.local"]
insecure = true

[registry."docker.io"]
mirrors = ["mirror.local:5000/hub"]

[limits]
connect-timeout = 2.5
read-timeout = "2m"
retries = 0

[settings]
verify = "lazy"
jobs = 8

[views]
stale = "images where older than 90d"
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Write the system file and the user file; return the environment for reading them."""
    system, user = tmp_path / "etc" / "config.toml", tmp_path / ".config" / "imq" / "config.toml"
    monkeypatch.setattr(load, "SYSTEM_FILE", str(system))

    def write(mine: str = "", theirs: str = "") -> dict[str, str]:
        for path, text in ((system, theirs), (user, mine)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {"HOME": str(tmp_path)}

    return write


def read(text: str, path: str = "/etc/x/config.toml") -> Configuration:
    return parse_configuration([(path, text)], {"HOME": "/home/me"})


class Run:
    """One run of the command line with its own streams and environment."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.code = Cli(io.StringIO(), self.out, self.err, environment).main(words)


# Keys and values


def test_every_key_is_read() -> None:
    configuration = read(WHOLE)
    work = Registry("work", "registry.local:5000", "team")
    assert configuration.registries == {"work": work, "docker.io": Registry("docker.io", "docker.io")}
    assert configuration.find_registry("WORK") == work
    assert work.prefix == "registry.local:5000/team"
    assert (configuration.source, configuration.root, configuration.ca_file) == (
        "work",
        "/etc/x/images",
        "/home/me/all.pem",
    )
    assert configuration.insecure == {"10.0.0.0/8", "old.example:5000", "registry.local:5000"}
    host_settings = HostSettings("/etc/x/work.pem", "/etc/x/me.cert", "/etc/x/me.key", "me", "WORK")
    assert configuration.hosts == {"registry.local:5000": host_settings}
    assert configuration.mirrors == {
        "registry.local:5000/team": ("mirror.local:5000/work", "second.local"),
        "docker.io": ("mirror.local:5000/hub",),
    }
    assert configuration.settings == {"verify": "lazy", "jobs": "8"}
    assert configuration.views == {"stale": "images where older than 90d"}
    settings = configuration.build_client_settings({"A": "b"}, insecure=frozenset({"mine:1"}), jobs=3)
    assert (settings.connect_timeout, settings.read_timeout, settings.retries, settings.jobs) == (2.5, 120.0, 0, 3)
    assert settings.insecure == configuration.insecure | {"mine:1"}
    assert (settings.hosts, settings.mirrors, settings.authority) == (
        configuration.hosts,
        configuration.mirrors,
        configuration.ca_file,
    )


def test_the_default_of_a_limit_is_the_default_of_the_client() -> None:
    for key in SECTIONS["limits"].keys:
        written = f'"{key.default}"' if key.type is ValueType.SIZE else key.default
        limits = read(f"[limits]\n{key.name} = {written}").limits
        assert limits == {key.client_field: getattr(Settings(), key.client_field)}, key.name


def test_the_examples_can_be_read() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for text in (*blocks, *(section.example for section in SECTIONS.values())):
        assert read(text) != Configuration(), text


def test_certificates_of_a_host_override_the_certificate_folders(tmp_path: Path) -> None:
    kept = tmp_path / "docker" / "certs.d" / "a.example"
    kept.mkdir(parents=True)
    for name in ("ca.crt", "client.cert", "client.key"):
        (kept / name).touch()
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}

    def found(own: HostSettings) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        certificates = resolve_certificates(Settings(environment=environment, hosts={"a.example": own}), "a.example")
        assert certificates is not None
        return certificates.authorities, certificates.pairs

    pair = (f"{kept}/client.cert", f"{kept}/client.key")
    assert found(HostSettings(user="me")) == ((f"{kept}/ca.crt",), (pair,))
    assert found(HostSettings(authority="/mine")) == (("/mine",), (pair,))
    assert found(HostSettings(certificate="/c", key="/k")) == ((f"{kept}/ca.crt",), (("/c", "/k"),))


# Precedence


def test_the_user_file_overrides_keys_and_lists_are_not_merged(files: Callable[..., dict[str, str]]) -> None:
    environment = files(
        mine='[registry.work]\nmirrors = ["b.example"]\n[settings]\njobs = 2\n[views]\none = "images"\n',
        theirs='root = "/srv"\n[registry.work]\nhost = "w.example"\nmirrors = ["a.example", "c.example"]\n'
        '[settings]\njobs = 9\nverify = "lazy"\n[views]\ntwo = "layers"\n',
    )
    found = load_configuration(environment)
    assert found.root == "/srv"
    assert found.registries == {"work": Registry("work", "w.example")}
    assert found.mirrors == {"w.example": ("b.example",)}
    assert found.settings == {"jobs": "2", "verify": "lazy"}
    assert found.views == {"one": "images", "two": "layers"}
    assert len(found.files) == 2


def test_the_user_file_is_found(files: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    environment = files(mine="[settings]\njobs = 1\n")
    other = tmp_path / "imq"
    other.mkdir()
    (other / "config.toml").write_text("[settings]\njobs = 2\n")
    third = tmp_path / "third.toml"
    third.write_text("[settings]\njobs = 3\n")

    def jobs(file: str | None = None, **more: str) -> str:
        return load_configuration({**environment, **more}, file).settings["jobs"]

    assert jobs() == "1"
    assert jobs(XDG_CONFIG_HOME="relative/is/ignored") == "1"
    assert jobs(XDG_CONFIG_HOME=str(tmp_path)) == "2"
    assert jobs(XDG_CONFIG_HOME=str(tmp_path), IMQ_CONFIG=str(third)) == "3"
    assert jobs(str(other / "config.toml"), IMQ_CONFIG=str(third)) == "2"
    assert load_configuration({}) == Configuration()
    assert load_configuration({**environment, "IMQ_CONFIG": "/dev/null"}) == Configuration()
    for absent in ({"IMQ_CONFIG": str(tmp_path / "absent")}, {"IMQ_CONFIG": str(tmp_path)}):
        with pytest.raises(ImqError, match=r"cannot be read: (no such file|is a directory)"):
            load_configuration(absent)


def test_the_environment_and_the_command_line_override_the_file(
    files: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    write_library(tmp_path / "one")
    write_library(tmp_path / "two")
    environment = files(mine=f'root = "{tmp_path}/one"\n[settings]\njobs = 7\n')

    def asked(*words: str, **more: str) -> tuple[str, str]:
        jobs = Run({**environment, **more}, *words, "set jobs").out.getvalue().strip()
        address = Run({**environment, **more}, *words, "sources where name = store select address as tsv")
        return jobs, address.out.getvalue().splitlines()[-1]

    assert asked() == ("jobs = 7", f"{tmp_path}/one")
    assert asked("--jobs", "3") == ("jobs = 3", f"{tmp_path}/one")
    assert asked("--set", "jobs=2", IMQ_ROOT=f"{tmp_path}/two") == ("jobs = 2", f"{tmp_path}/two")
    assert asked("--root", f"{tmp_path}/one", IMQ_ROOT=f"{tmp_path}/two") == ("jobs = 7", f"{tmp_path}/one")
    assert asked("--no-config", "--root", f"{tmp_path}/two") == ("jobs = 4", f"{tmp_path}/two")
    with imq.connect(environment=environment) as session:
        assert session("set jobs").render("table") == "jobs = 7\n"
    with imq.connect(environment=environment, root=tmp_path / "two", config=Configuration()) as session:
        assert session("set jobs").render("table") == "jobs = 4\n"


def test_config_and_no_config_are_mutually_exclusive(files: Callable[..., dict[str, str]]) -> None:
    run = Run(files(), "--config", "x", "--no-config", "images")
    assert (run.code, "--config and --no-config" in run.err.getvalue()) == (2, True)


def test_help_works_with_a_broken_file(files: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    environment = files(mine="jobs = \n")
    for words in (["--version"], ["--help"], ["help"], ["help configuration"], ["image", "ls", "--help"]):
        run = Run(environment, *words)
        assert (run.code, run.err.getvalue()) == (0, ""), words
        assert run.out.getvalue()
    run = Run(environment, "images")
    assert run.code == 3
    assert run.err.getvalue().startswith(
        f"error[configuration]: {tmp_path}/.config/imq/config.toml, line 1, column 8: invalid value\n"
    )
    assert Run({**environment, "IMQ_ROOT": str(tmp_path / "s")}, "--no-config", "images").code == 0


# Views


def test_views_may_refer_to_each_other(files: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    write_library(tmp_path / "store")
    environment = files(
        mine='[views]\nTagged = "images where tag is known"\nlarge = "tagged where size > $least"\n'
        'circle = "circle where dangling"\nwrong = "images where siz > 1"\ntwo = "images; layers"\n'
    )
    with imq.connect(environment=environment, root=tmp_path / "store") as session:
        every = session("images where tag is known count").scalar()
        assert session("tagged count").scalar() == every
        session("let least = 0")
        assert session("large count").scalar() == every
        assert "tagged where size > $least" in session("view").render("table")
        for name, expected_message in (("circle", "refers to itself"), ("wrong", 'no field "siz"'), ("two", "")):
            with pytest.raises(StatementError) as caught:
                session(f"{name} count")
            assert expected_message in caught.value.message
            assert any(f"in the view {name} of {tmp_path}" in hint for hint in caught.value.hints)
        session("view large as images where dangling")
        assert session("large count").scalar() == session("images where dangling count").scalar()


def test_a_view_cannot_hide_a_table(files: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    environment = files(mine='[views]\nimages = "layers"\n')
    with pytest.raises(ImqError, match='invalid name for a view: "images" is a table'):
        imq.connect(environment=environment, root=tmp_path / "store")


# Errors

WRONG = {
    "mirors = []": (1, 1, "unknown key 'mirors'", "mirors = …"),
    '[registry.w]\nhost = "a:1"\nmirors = ["b:1"]': (3, 1, "unknown key 'mirors' in [registry.w]", "mirors = …"),
    "jobs = 3": (1, 1, "unknown key 'jobs'", "jobs = …"),
    "[settings]\njobs = 0": (2, 8, 'invalid value "0" for jobs', "jobs = 0"),
    "[settings]\nverify = true": (2, 10, "settings.verify must be a value of `set`", "verify = true"),
    "[limits]\nretries = 'x'": (2, 11, "limits.retries must be an integer", "retries = 'x'"),
    "[limits]\nretries = -1": (2, 11, "limits.retries must be from 0 to", "retries = -1"),
    "[limits]\nread-timeout = '2 apples'": (2, 16, "limits.read-timeout must be seconds", "read-timeout = '2 apples'"),
    "[limits]\nread-timeout = inf": (2, 16, "limits.read-timeout must be from 1 to", "read-timeout = inf"),
    "[registry.w]": (1, 11, "registry.w has no host", "[registry.w]"),
    "registry.w.host = 'w'": (1, 19, "invalid registry: expected HOST", "registry.w.host = 'w'"),
    "registry = { w = { host = 'http://a.b' } }": (1, 27, "a registry host has no scheme", None),
    "[registry.w]\nhost = 'a:1'\nmirrors = [\n  'b:1',\n  2,\n]": (3, 11, "registry.w.mirrors must be a list", None),
    "[registry.store]\nhost = 'a:1'": (1, 11, "invalid registry name 'store'", "[registry.store]"),
    "[registry.'a b']\nhost = 'a:1'": (1, 12, "invalid registry name 'a b'", None),
    "[registry.w]\nhost = 'a:1'\nkey = 'k'": (3, 1, "key requires certificate", "key = …"),
    "[registry.w]\nhost = 'a:1'\nuser = 'me'": (3, 1, "user requires password-file or", "user = …"),
    "[registry.w]\nhost = 'a:1'\ncredentials-helper = 'x/y'": (3, 22, "invalid helper: expected NAME", None),
    "[registry.w]\nhost = 'a:1'\nca = 'c'\n[registry.v]\nhost = 'a:1'\nca = 'd'": (
        4, 11, "another registry sets different certificates or credentials for a:1", "[registry.v]",
    ),
    "[registry.w]\nhost = 'a:1'\n[registry.W]\nhost = 'b:1'": (3, 11, "invalid registry name 'W': another", None),
    "views = 3": (1, 9, "views must be a table: [views]", "views = 3"),
    "registry = []": (1, 12, "registry must be a table of tables", "registry = []"),
    "insecure = ['a b']": (1, 12, "invalid host: expected a host or", "insecure = ['a b']"),
    "root = 1979-05-27": (1, 8, "root must be a path", "root = 1979-05-27"),
    "source = ''": (1, 10, "source must be a string", "source = ''"),
    "a = 1\na = 2": (2, 6, "cannot overwrite a value", "a = 2"),
    "[limits": (1, 8, "expected ']' at the end of a table declaration", "[limits"),
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_errors_have_line_and_column(text: str) -> None:
    line, column, expected_message, excerpt = WRONG[text]
    with pytest.raises(ImqError) as caught:
        read(text)
    error = caught.value
    assert error.code == "configuration"
    assert error.exit_code == 3
    assert error.message.startswith(f"/etc/x/config.toml, line {line}, column {column}: {expected_message}"), (
        error.message
    )
    if excerpt is not None:
        shown, caret = str(error).split("│ ")[1:3]
        assert shown.splitlines()[0] == excerpt
        assert caret.index("^") == column - 1


def test_an_unknown_key_has_a_suggestion() -> None:
    for text, hint in (
        ("rot = 'x'", 'did you mean "root"?'),
        ("[registry.w]\nhots = 'a:1'", 'did you mean "host"?'),
        ("jobs = 1", "this key exists in [settings]"),
        ("[limits]\nmirrors = []", "this key exists in [registry]"),
    ):
        with pytest.raises(ImqError) as caught:
            read(text)
        assert caught.value.hints[0] == hint, text


@pytest.mark.parametrize(
    "text",
    [
        "[registry.w]\nhost = 'a:1'\npassword = 'hunter2'",
        "password = hunter2",
        "token = 'hunter2'",
        "[registry.w]\nhost = 'https://me:hunter2@a.example'",
        "[registry.w]\nhost = 'a:1'\npasword = 'hunter2'",
        "[limits]\nidentity_token = 'hunter2'",
        "registry.w = { host = 'a:1', secret = 'hunter2' }",
    ],
)
def test_secrets_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ImqError) as caught:
        read(text)
    assert "hunter2" not in str(caught.value)
    assert "line" in caught.value.message


def test_a_file_that_is_too_large_or_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b"root = 'a'\nsource = '\xff'\n")
    with pytest.raises(ImqError, match=r"c.toml, line 2: invalid UTF-8"):
        load_configuration({}, str(path))
    path.write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(ImqError, match="is larger than 1048576 bytes"):
        load_configuration({}, str(path))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, 12), st.text(alphabet="[]{}=\"'.\n# ,a0-\\", max_size=6))
def test_any_text_is_parsed_or_is_an_error_with_a_position(start: int, cut: int, put: str) -> None:
    text = WHOLE[:start] + put + WHOLE[start + cut :]
    try:
        found: Configuration | None = read(text)
    except ImqError as error:
        found, message = None, error.message
    if found is None:
        assert re.match(r"/etc/x/config.toml, line \d+, column \d+: ", message), (message, text)
    else:
        assert found.build_client_settings({})
        assert tomllib.loads(text) == {} or found.files
