"""Containers of engines that statements and docker's command lines make and run, and programs in them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import imq
import pytest
from support.engine_content import program_layer
from support.images import Image, docker_archive
from support.programs import copy_program, say_program, wait_program
from support.waiting import deadline, wait_until

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place

NAME = "localhost/tools:1"
WITH = "network_mode = none, ulimit = 'nofile=1024:1024', ulimit = 'nproc=1024:1024'"
"""The values of `with` by which a container runs on a machine of tests."""
FLAGS = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture
def tools(place: Place, tmp_path: pathlib.Path) -> Place:
    """An engine with an image of programs that say, wait and copy."""
    path = tmp_path / "tools.tar"
    programs = {"say": say_program(), "wait": wait_program(), "copy": copy_program()}
    layers = tuple(program_layer(name, content) for name, content in programs.items())
    docker_archive(path, [(Image(layers, settings={"Cmd": ["/say", "hello"], "Env": ["A=image"]}), [NAME])])
    place.engine.run("load", stdin=path.read_bytes())
    return place


def run_line(place: Place, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command line of docker by a process of imq for which the engine is the source."""
    variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[place.name]
    environment = {**os.environ, variable: place.engine.address, "IMQ_ROOT": str(place.folder / "none")}
    environment |= {"HOME": str(place.folder / "home")}
    command = [sys.executable, "-m", "imq", "--source", place.name, *words]
    return subprocess.run(command, capture_output=True, check=False, env=environment, timeout=60, **options)


def inspect(place: Place, name: str) -> dict[str, Any]:
    (document,) = json.loads(place.engine.run("container", "inspect", name))
    assert isinstance(document, dict)
    return document


def test_output_and_exit_codes_are_those_of_the_program(tools: Place) -> None:
    done = run_line(tools, "run", "--rm", *FLAGS, NAME, "/say", "one", "!two", "three")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"one\nthree\n", b"!two\n"), done.stderr
    done = run_line(tools, "run", "--rm", *FLAGS, NAME)
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    done = run_line(tools, "run", "--rm", *FLAGS, NAME, "/wait", "7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")
    done = run_line(tools, "run", "--rm", "-i", *FLAGS, NAME, "/copy", input=b"a line\n" * 50_000)
    assert (done.returncode, done.stdout) == (0, b"a line\n" * 50_000)
    wait_until(lambda: tools.engine.run("ps", "-aq") == "")


def test_a_container_that_cannot_start_is_removed_again(tools: Place) -> None:
    done = run_line(tools, "run", *FLAGS, NAME, "/nope")
    assert done.returncode == 127
    assert b"/nope" in done.stderr
    done = run_line(tools, "run", *FLAGS, "--entrypoint", "/", NAME)
    assert done.returncode in (125, 126, 127)
    done = run_line(tools, "run", *FLAGS, "localhost/nope:1")
    assert done.returncode == 125
    assert b"No such image" in done.stderr
    assert tools.engine.run("ps", "-aq") == ""


def test_programs_in_a_container(tools: Place) -> None:
    done = run_line(tools, "run", "-d", "--name", "web", *FLAGS, NAME, "/wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == inspect(tools, "web")["Id"]
    if tools.engine.root is not None:
        return  # runc finds no program for exec in this root, with docker's own client either
    done = run_line(tools, "exec", "web", "/say", "in", "!it")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"!it\n")
    assert run_line(tools, "exec", "web", "/wait", "5").returncode == 5
    done = run_line(tools, "exec", "-i", "web", "/copy", input=b"typed\n")
    assert (done.returncode, done.stdout) == (0, b"typed\n")
    assert run_line(tools, "exec", "nope", "/say", "x").returncode == 1
    (row,) = tools.connection(f"exec container web from {tools.name} run /wait 0")
    assert (row.action, row.target, row.error) == ("exec", "web", None)


def test_values_and_flags_reach_the_engine(tools: Place, tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").mkdir()
    values = (
        f"env.MODE = fast, label.team = web, user = '12:13', workdir = '/w', hostname = here, memory_limit = 64MiB,"
        f" read_only = true, mount = '{tmp_path}/data:/data:ro', tmpfs = '/scratch', stop_timeout = 3, {WITH}"
    )
    (row,) = tools.connection(f"use {tools.name}; create made from {NAME} run /say x with {values}, entrypoint = ''")
    assert (row.action, row.target) == ("create", "made")
    document = inspect(tools, "made")
    assert row.note == document["Id"]
    config, host = document["Config"], document["HostConfig"]
    assert {"A=image", "MODE=fast"} <= set(config["Env"])
    assert config["Labels"]["team"] == "web"
    assert (config["User"], config["WorkingDir"], config["Hostname"]) == ("12:13", "/w", "here")
    assert (host["Memory"], host["ReadonlyRootfs"]) == (64 << 20, True)
    assert any(str(tmp_path / "data") in bind for bind in host["Binds"])
    assert "/scratch" in host["Tmpfs"]
    (tmp_path / "variables").write_text("# comment\nFROM=file\nMODE=file\n")
    flags = (
        "--env-file",
        str(tmp_path / "variables"),
        "-e",
        "MODE=slow",
        "-l",
        "a=b",
        "-m",
        "32m",
        "--restart",
        "on-failure:2",
        "--cap-drop",
        "ALL",
    )
    flags += ("--mount", f"type=bind,source={tmp_path}/data,target=/long,readonly", "--shm-size", "32m", "--init=false")
    flags += ("--cidfile", str(tmp_path / "id"), "--security-opt", "no-new-privileges")
    flags += ("--cpu-shares", "256", "--add-host", "peer:10.0.0.1", "--expose", "80", "--group-add", "44")
    done = run_line(tools, "create", "--name", "flags", *flags, *FLAGS, NAME)
    assert done.returncode == 0, done.stderr
    document = inspect(tools, "flags")
    assert (tmp_path / "id").read_text() == document["Id"]
    done = run_line(tools, "create", *flags, *FLAGS, NAME)
    assert done.returncode != 0
    assert b"container ID file found" in done.stderr
    assert {"MODE=slow", "FROM=file"} <= set(document["Config"]["Env"])
    assert (document["HostConfig"]["ShmSize"], document["HostConfig"]["CpuShares"]) == (32 << 20, 256)
    assert "peer:10.0.0.1" in document["HostConfig"]["ExtraHosts"]
    assert any(mount["Destination"] == "/long" and not mount["RW"] for mount in document["Mounts"])
    assert document["HostConfig"]["Memory"] == 32 << 20
    assert document["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    (one, two) = tools.connection(f"containers in {tools.name} order by name select name, image, status, memory_limit")
    assert (one.name, one.image, one.status, one.memory_limit) == ("flags", NAME, "created", 32 << 20)
    assert two.name == "made"


def test_variables_without_values_are_those_of_the_session(
    tools: Place, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THIS_PROCESS", "1")
    (tmp_path / "variables").write_text("HOME\nOF_THIS_PROCESS\nGIVEN=file\n")
    home = f"HOME={tools.folder}/home"
    for name, values in (("one", "env = HOME, env = OF_THIS_PROCESS"), ("two", f"env_file = '{tmp_path}/variables'")):
        tools.connection(f"use {tools.name}; create {name} from {NAME} with {values}, {WITH}")
        made = inspect(tools, name)["Config"]["Env"]
        assert home in made
        assert ("GIVEN=file" in made) == (name == "two")
        assert [pair for pair in made if pair.startswith("OF_THIS_PROCESS=")] == []


def test_a_run_that_takes_too_long_is_stopped(tools: Place) -> None:
    with deadline(40):
        result = tools.connection(
            f"run {NAME} /wait in {tools.name} as slow with timeout = 1, stop_timeout = 0, {WITH}"
        )
    (error,) = result.errors
    assert error.code == "container-failed"
    assert inspect(tools, "slow")["State"]["Status"] == "exited"


def test_nothing_is_made_in_a_dry_run_or_of_a_name_that_moved(tools: Place) -> None:
    (row,) = tools.connection(f"run {NAME} in {tools.name} as web with {WITH}", dry_run=True)
    assert (row.action, row.target, row.note) == ("run", "web", f"from {NAME} in {tools.name}")
    for text in (f"use {tools.name}; create web from {NAME}", f"create web from {NAME} in {tools.name}"):
        (row,) = tools.connection(text, dry_run=True)
        assert (row.action, row.target, row.note) == ("create", "web", f"from {NAME} in {tools.name}")
    with pytest.raises(imq.StatementError, match="one name and one image") as caught:
        tools.connection(f"create web from {NAME}, {NAME} in {tools.name}")
    assert "in an engine: create web from redis:7 in docker" in caught.value.hints
    assert tools.engine.run("ps", "-aq") == ""
    for text in ("publish = 'a:b'", "mount = 'x'", "ulimit = nofile", "memory_limit = much", "read_only = maybe"):
        with pytest.raises(imq.StatementError):
            tools.connection(f"run {NAME} in {tools.name} with {text}")
    with pytest.raises(imq.StatementError, match="no timeout"):
        tools.connection(f"run {NAME} in {tools.name} with detach = true, timeout = 5")


def test_interrupts_reach_the_program_until_the_user_gives_up(tools: Place) -> None:
    """The first process of a container has no signal handlers of its own: it goes on, as with docker's client."""
    environment = {**os.environ, "IMQ_ROOT": str(tools.folder / "none"), "HOME": str(tools.folder / "home")}
    environment |= {{"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[tools.name]: tools.engine.address}
    words = ["--source", tools.name, "run", "--name", "stubborn", *FLAGS, NAME, "/wait"]
    with subprocess.Popen([sys.executable, "-m", "imq", *words], env=environment) as process, deadline(40):
        wait_until(lambda: tools.engine.run("ps", "-q") != "")
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
    assert process.returncode == 130
    assert inspect(tools, "stubborn")["State"]["Status"] == "running"


def test_a_terminal(tools: Place) -> None:
    """Keys reach the program, and its output comes back as one stream; the terminal is as it was before."""
    done = run_line(tools, "run", "--rm", "-it", *FLAGS, NAME, "/copy", stdin=subprocess.DEVNULL)
    assert b"the input device is not a TTY" in done.stderr
    assert tools.engine.run("ps", "-aq") == ""
    main, side = pty.openpty()
    try:
        variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[tools.name]
        environment = {**os.environ, variable: tools.engine.address, "IMQ_ROOT": str(tools.folder / "none")}
        environment |= {"HOME": str(tools.folder / "home")}
        words = ["--source", tools.name, "run", "--rm", "-it", *FLAGS, NAME, "/copy"]
        os.write(main, b"early\r")  # keys that are typed before the program starts are for it too
        with subprocess.Popen(
            [sys.executable, "-m", "imq", *words], stdin=side, stdout=side, stderr=side, env=environment,
            start_new_session=True,
        ) as process, deadline(40):  # fmt: skip
            wait_until(lambda: tools.engine.run("ps", "-q") != "")
            os.write(main, b"typed\r")
            seen = b""
            while seen.count(b"typed") < 2 or seen.count(b"early") < 3:  # echoes of terminals, and the copy
                seen += os.read(main, 4096)
            os.write(main, b"\x04")
            assert process.wait(20) == 0
    finally:
        os.close(main)
        os.close(side)
