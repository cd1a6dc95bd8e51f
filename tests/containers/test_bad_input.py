"""Statements about containers that are refused: a clear error, no half container, nothing mounted."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import TYPE_CHECKING

import pytest
from imq.engine.containers import containers as module
from imq.grammar.errors import ImqError

if TYPE_CHECKING:
    from .conftest import Machine

REFUSED = {
    "run box:1 nothing-here": "runtime",
    "run box:1 /etc/passwd": "runtime",
    "run box:1 true with user = nobody": "no-such-user",
    'run box:1 true with user = "app:nobody"': "no-such-user",
    'run box:1 true with mount = "/nothing/here:/x"': "no-such-folder",
    'run box:1 true with mount = "data:/x"': "mount",
    'run box:1 true with mount = "/tmp"': "mount",
    "run box:1 true with network_mode = bridge": "network",
    "run box:1 true with memory_limit = 1MB": "option",
    "run box:1 true with memory_limit = much": "option",
    "run box:1 true with cpu_limit = 10000": "option",
    "run box:1 true with nothing = 1": "unknown-name",
    "run box:1 true with stop_signal = FOO": "signal",
    "run box:1 true with read_only = perhaps": "option",
    "run box:1 true as x": "name",
    'run box:1 with entrypoint = ""': "no-command",
    "run nothing:1 true": "no-such-image",
    "create a1, b1 from box:1": "operand",
    "create a1": "operand",
    "start nothing": "no-such-container",
    "stop nothing": "no-such-container",
    "exec container nothing run true": "no-such-container",
    "rm container nothing": "no-such-container",
    "commit nothing as a:1": "no-such-container",
    "set runtime = /nothing/here; run box:1 true": "no-runtime",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_refused_statement_leaves_no_half_container(shared_machine: Machine, text: str) -> None:
    machine = shared_machine
    *before, last = text.split("; ")
    for statement in before:
        list(machine.session.run(statement))
    try:
        assert machine.failure_code(last) == REFUSED[text]
    finally:
        list(machine.session.run("set runtime = auto"))
    assert machine.rows("containers") == []
    containers, unpacked = (pathlib.Path(machine.root, name) for name in ("containers", "unpacked"))
    assert not containers.exists() or set(os.listdir(containers)) <= {"runtime", "last-used"}
    assert not unpacked.exists() or not [name for name in os.listdir(unpacked) if "partial" in name]


def test_an_image_of_another_platform_is_refused(machine: Machine, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tree").mkdir()
    machine.do(f'import "{tmp_path}/tree" as other:1 platform linux/s390x change "CMD [\\"x\\"]"')
    if os.path.exists("/proc/sys/fs/binfmt_misc/qemu-s390x"):
        pytest.skip("this machine emulates s390x")
    assert machine.failure_code("run other:1") == "platform"


def test_a_runtime_that_hangs_is_killed(
    machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    list(machine.session.run(f'set runtime = "{program}"'))
    assert machine.failure_code("run box:1 true") == "runtime-timeout"
    list(machine.session.run("set runtime = auto"))
    assert machine.rows("containers") == []


def test_other_users_are_told_that_containers_need_root(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.do("create one1 from box:1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        for text in ("create two2 from box:1", "start one1", "rm container one1", "commit one1 as a:1"):
            with contextlib.suppress(ImqError):
                assert machine.failure_code(text) == "permission"
    assert [row["name"] for row in machine.rows("containers")] == ["one1"]
