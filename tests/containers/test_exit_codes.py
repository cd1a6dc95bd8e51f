"""Exit codes of docker's command lines for containers, against those of docker itself on a real dockerd."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.engines import Dockerd

    from .conftest import Machine

PREPARATION = """
run --network none -d --name web box:1 sleep 1000
create --network none --name made box:1 sh -c 'exit 4'
create --network none --name broken box:1 nosuch
create --network none --name idle box:1 sleep 1000
"""
LINES = """
run --network none --rm box:1 sh -c 'exit 3'
run --network none --rm box:1 sh -c 'kill -9 $$'
run --network none --rm box:1 nosuch
run --network none --rm box:1 /etc/passwd
run --network none --rm -d box:1 nosuch
run --network none --rm -u nosuch box:1 true
run --network none --name web box:1 true
run --network none --rm --nosuch box:1 true
run --network none --rm -m 1x box:1 true
run --network none --rm --pull sometimes box:1 true
run --network none --rm --pull never nosuch:1 true
run --network none --rm --restart sometimes box:1 true
create --network none --name web box:1
create --network none --nosuch box:1
create --network none --memory x box:1
exec web sh -c 'exit 5'
exec web sh -c 'kill -9 $$'
exec web /etc/passwd
exec -u nosuch web true
exec -u 0:nosuch web true
exec -w /nosuch web true
exec -d web nosuch
exec -d web true
exec nosuch true
exec idle true
exec --nosuch web true
exec -e '' web true
start nosuch
start broken
start web
start web nosuch
start -a made
start -a broken
start -a nosuch
start --nosuch made
restart nosuch
attach idle
stop nosuch
stop idle
stop -t x web
stop --nosuch web
wait made
wait made nosuch
wait --nosuch made
kill nosuch
kill idle
kill -s NOSUCH web
kill --nosuch web
container rename --nosuch web x
commit nosuch
commit web UPPER:1
commit -c 'NOSUCH x' web x:1
commit --nosuch web
container rm nosuch
container rm web
rm -f nosuch
rm -f nosuch -v
container prune --nosuch
container nosuch
container rm
logs nosuch
logs --nosuch web
logs --since x web
ps --nosuch
ps nosuch
"""


@pytest.fixture(scope="module")
def both(shared_machine: Machine, dockerd: Dockerd) -> Iterator[tuple[Machine, Dockerd]]:
    """A store and an engine with the same containers."""
    for line in PREPARATION.strip().splitlines():
        assert shared_machine.line(*shlex.split(line))[0] == 0, line
        dockerd.run(*shlex.split(line))
    yield shared_machine, dockerd
    shared_machine.clear()
    dockerd.run("rm", "-f", *dockerd.run("ps", "-aq").split())


def run_docker(dockerd: Dockerd, line: str) -> int:
    return subprocess.run([*dockerd.client, *shlex.split(line)], capture_output=True, check=False).returncode


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_exit_codes_are_those_of_docker(both: tuple[Machine, Dockerd], line: str) -> None:
    machine, dockerd = both
    code, output, errors = machine.line(*shlex.split(line))
    assert code == run_docker(dockerd, line), (output, errors)


def test_a_container_that_is_not_found_is_no_reason_to_keep_another(both: tuple[Machine, Dockerd]) -> None:
    machine, dockerd = both
    for line in ("create --network none --name spare box:1", "rm -f nosuch spare"):
        assert machine.line(*shlex.split(line))[0] == run_docker(dockerd, line) == 0
    assert machine.rows("containers where name = spare") == []


def test_errors_name_what_is_wrong(both: tuple[Machine, Dockerd]) -> None:
    """The words of docker for flags and arguments, with the usage."""
    machine, _ = both
    for line, words in (
        ("run --rm --nosuch box:1", "unknown flag: --nosuch"),
        ("container rm", "'imq container rm' requires at least 1 argument"),
        ("container nosuch", "unknown command: imq container nosuch"),
    ):
        _, output, errors = machine.line(*shlex.split(line))
        assert (output, words in errors) == ("", True), errors
