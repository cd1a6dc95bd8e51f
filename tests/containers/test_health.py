"""Health checks: the monitor runs them, and the status is a field of containers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Machine

LIMIT = 30.0


def wait_for(machine: Machine, name: str, field: str, expected: object) -> dict[str, Any]:
    deadline = time.monotonic() + LIMIT
    while (row := machine.container(name))[field] != expected:
        assert time.monotonic() < deadline, row
        time.sleep(0.02)
    return row


def inspect_health(machine: Machine, name: str) -> dict[str, Any]:
    _, output, errors = machine.line("inspect", "-f", "{{json .State.Health}}", name)
    assert errors == ""
    document: dict[str, Any] = json.loads(output)
    return document


@pytest.mark.usefixtures("each_runtime")
def test_the_check_of_an_image_is_run(machine: Machine) -> None:
    script = "test -e /ok && echo $A is well || (echo not yet; exit 1)"
    check = f"HEALTHCHECK --interval=50ms --timeout=10s --retries=2 CMD {script}"
    machine.do(f"change box:1 {json.dumps(check)} as checked:1")
    machine.do('run checked:1 sh -c "while true; do sleep 0.05; done" as web with detach = true')
    assert machine.container("web")["health"] in ("starting", "unhealthy")
    wait_for(machine, "web", "health", "unhealthy")
    health = inspect_health(machine, "web")
    assert health["Status"] == "unhealthy"
    assert health["FailingStreak"] >= 2
    assert (health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]) == (1, "not yet\n")
    assert len(health["Log"]) <= 5
    machine.do("exec container web run touch /ok")
    wait_for(machine, "web", "health", "healthy")
    health = inspect_health(machine, "web")
    assert (health["FailingStreak"], health["Log"][-1]["Output"]) == (0, "image is well\n")
    assert [row["name"] for row in machine.rows("containers where health = healthy select name")] == ["web"]
    assert "(healthy)" in machine.line("ps")[1]
    assert machine.line("ps", "-q", "-f", "health=unhealthy")[1] == ""
    machine.do("stop web with timeout = 0")
    assert machine.container("web")["health"] is None
    machine.do("start web")
    assert machine.container("web")["health"] is not None


def test_a_check_that_takes_too_long_fails(machine: Machine) -> None:
    flags = ("--health-interval", "20ms", "--health-timeout", "100ms", "--health-retries", "1")
    machine.line("run", "-d", "--name", "web", "--health-cmd", "sleep 50", *flags, "box:1", "sleep", "60")
    wait_for(machine, "web", "health", "unhealthy")
    last = inspect_health(machine, "web")["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (-1, "Health check exceeded timeout (0.1s)")
    done = machine.command("exec", "web", "sh", "-c", "ps | grep -c '[s]leep 50'")
    assert int(done.stdout) <= 1, "only that of the check that runs now"
    machine.do("rm container web force")


def test_failures_in_the_start_period_do_not_count(machine: Machine) -> None:
    flags = ("--health-interval", "20ms", "--health-start-interval", "20ms", "--health-start-period", "1h")
    machine.line("run", "-d", "--name", "web", "--health-cmd", "exit 1", *flags, "box:1", "sleep", "60")
    deadline = time.monotonic() + LIMIT
    while len(inspect_health(machine, "web")["Log"]) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert machine.container("web")["health"] == "starting"
    assert inspect_health(machine, "web")["FailingStreak"] == 0


@pytest.mark.parametrize("flags", [(), ("--no-healthcheck",), ("--health-interval", "1s")])
def test_without_a_check_the_health_is_unknown(machine: Machine, flags: tuple[str, ...]) -> None:
    machine.line("run", "-d", "--name", "web", *flags, "box:1", "sleep", "60")
    assert machine.container("web")["health"] is None
    assert "Health" not in json.loads(machine.line("inspect", "-f", "{{json .State}}", "web")[1])
    _, output, _ = machine.line("run", "--rm", "--health-cmd", "true", "--health-interval", "1ms", "box:1", "true")
    assert output == ""
