"""`imq ps` and `imq history` against docker's own output, on an engine with containers in many states."""

from __future__ import annotations

import io
import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
from imq.cli.main import Cli
from imq.docker.container_filters import write_range

if TYPE_CHECKING:
    import pathlib

    from support.prepared_engines import PreparedEngine


class Output(NamedTuple):
    """The output of a program: its exit code and both streams."""

    code: int
    stdout: str
    stderr: str


class Programs:
    """docker and imq on the same engine."""

    def __init__(self, prepared: PreparedEngine, folder: pathlib.Path) -> None:
        self.engine = prepared.engine
        self.environment = {"TZ": "UTC", "IMQ_ROOT": str(folder / "none"), "HOME": str(folder), **prepared.environment}

    def docker(self, line: str) -> Output:
        """Run a command line of docker."""
        run = subprocess.run(
            [*self.engine.client, *split(line)], env={"TZ": "UTC", "PATH": "/usr/bin:/bin:/usr/local/bin"},
            capture_output=True, check=False,
        )  # fmt: skip
        return normalize(Output(run.returncode, run.stdout.decode(), run.stderr.decode()))

    def imq(self, line: str) -> Output:
        """Run a command line of imq."""
        stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        code = Cli(io.StringIO(), stdout, stderr, self.environment).main(["--source", "docker", *split(line)])
        texts = [stream.buffer.getvalue().decode() for stream in (stdout, stderr)]  # type: ignore[attr-defined]
        return normalize(Output(code, *texts))


def split(line: str) -> list[str]:
    return [word.replace("_", " ") for word in line.split(" ")]


_LISTS = (
    r'(?<=Labels":")(?:[^"\\]|\\.)+',
    r'(?<=Mounts":")[^"]+',
    r"(?<=labels: )\S+",
    r"(?<=\|)[^|\s]+(?:,[^|\s]+)+",
    r'[^\s|{":,]+(?:,[^\s|":,]+)+',
)
"""Labels and mounts, whose order docker varies, in the formats of these tests."""


def normalize(output: Output) -> Output:
    """Return an output without passed seconds, without hints, and with its lists sorted."""
    times = r"(Less than a second|\d+ seconds?|About a minute|\d+ minutes?)"
    text = re.sub(rf"Up {times}", "Up TIME", re.sub(rf"{times} ago", "TIME ago", output.stdout))
    text = re.sub("|".join(_LISTS), lambda found: ",".join(sorted(found[0].split(","))), text)
    lines = [re.sub(r" {2,}", "  ", line) for line in text.splitlines()]
    errors = [text for text in output.stderr.splitlines() if text and not text.startswith("  ")]
    errors = [text.removeprefix("Error response from daemon: ").removeprefix("Error: ") for text in errors]
    return Output(output.code, "\n".join(lines), "\n".join(errors))


@pytest.fixture(scope="module")
def programs(prepared_docker: PreparedEngine, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(prepared_docker, tmp_path_factory.mktemp("lines"))


FILTERS = [
    "name=e",
    "name=^/runs$",
    "name=^runs$",
    "name=made -f name=runs",
    "name=[",
    "label=a",
    "label=a=b",
    "label=a=b -f label=c",
    "label=a=x",
    "label=",
    "exited=7",
    "exited=0",
    "exited=7 -f exited=72",
    "exited=-1",
    "exited=x",
    "status=running",
    "status=exited -f status=created",
    "status=dead",
    "status=up",
    "ancestor=wait:1",
    "ancestor=wait",
    "ancestor=nope",
    "ancestor=team/full:1.2 -f ancestor=same:1",
    "before=runs",
    "before=made",
    "before=nope",
    "since=made",
    "since=runs -f before=sick",
    "since=nope",
    "volume=named",
    "volume=/named",
    "volume=/host",
    "volume=/tmp",
    "volume=/scratch",
    "volume=nope",
    "network=none",
    "network=host",
    "network=nope",
    "publish=80",
    "publish=80/tcp",
    "publish=8000-8080/udp",
    "publish=x",
    "publish=80/xyz",
    "expose=8080",
    "expose=8080/tcp",
    "expose=1-9000",
    "health=none",
    "health=healthy",
    "health=unhealthy -f health=starting",
    "health=nope",
    "isolation=default",
    "isolation=nope",
    "is-task=true",
    "is-task=false",
    "is-task=maybe",
    "foo=1",
]
NAMES = "--format {{.Names}}"
LINES = [
    *(f"ps -a -f {text} {NAMES}" for text in FILTERS),
    *(f"ps -f {text} {NAMES}" for text in FILTERS),
    f"ps -a --filter ID=nope {NAMES}",
    "ps -s",
    "ps -a -s",
    "ps -as --no-trunc",
    "ps -a --format {{.Names}}|{{.Size}}",
    "ps -a --no-trunc --format {{.ID}}|{{.Image}}|{{.Command}}|{{.CreatedAt}}",
    "ps -a --no-trunc --format {{.Names}}|{{.Ports}}|{{.State}}|{{.Status}}|{{.Labels}}",
    "ps -a --no-trunc --format {{.Names}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}",
    "ps -a --format {{.Names}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}",
    'ps -a --format {{.Names}}:{{.Label_"a"}}:{{.Label_"nope"}}',
    "ps -a --format {{json_.}}",
    "ps -a --no-trunc --format {{json_.}}",
    "ps -a -q --format {{.Names}}",
    r"ps -a --format table_{{.Names}}\t{{.LocalVolumes}}\t{{.Mounts}}\t{{.Size}}",
    "ps -a --format raw",
    "ps -a --format raw -s",
    "ps -a --format raw -q",
    r'ps -a --format table_{{.Names}}\t{{.Label_"a"}}',
    "ps -aq --format table",
    "ps --last 2 --format {{.Names}}",
    "ps -n 0 --format {{.Names}}",
    "ps -n -1 --format {{.Names}}",
    "history classic:1",
    "history -q classic:1",
    "history --no-trunc classic:1",
    "history -q --no-trunc classic:1",
    "history --format {{json_.}} classic:1",
    "history wait:1",
    "history -q wait:1",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_has_the_output_of_docker(programs: Programs, line: str) -> None:
    assert programs.imq(line) == programs.docker(line)


def test_ranges_of_ports_are_expressions() -> None:
    for low, high in ((0, 0), (0, 9), (7, 123), (80, 80), (99, 101), (8000, 8080), (1, 65535), (999, 60000)):
        pattern = re.compile("|".join(write_range(low, high)))
        numbers = {0, 1, 9, 10, 99, 100, 101, 999, 1000, 8079, 8080, 8081, 59999, 60000, 65535, low, high, low + 1}
        for number in {*numbers, *range(low, min(high, low + 300)), max(low - 1, 0), high + 1}:
            assert bool(pattern.fullmatch(str(number))) == (low <= number <= high), (low, high, number)
