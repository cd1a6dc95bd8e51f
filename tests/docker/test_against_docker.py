"""The same command lines run with docker and with imq on the same images: same output, errors and exit codes.

The comparison ignores the hints that imq adds below an error (they are indented), and additions of newer docker clients
to error messages. Lines are compared sorted where the order of docker is random: names of one image, and removals.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from imq.cli.main import Cli
from support.images import write_library
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    import pathlib

TWO_NAMES = "939d4e2e81fe"
"""The image with two names, which docker lists in any order."""
NAMES = (
    "redis:7",
    "redis:latest",
    "team/app",
    "edge/agent:1",
    "plain:1",
    "registry.local:5000/team/app:1",
    "4aa281d47c51",
)
"""The images of both. Without an image without a creation time, whose age docker counts from 1970, and without a name
with a digest, which archives do not keep."""

QUERIES = [
    "images",
    "image ls -a",
    "images --digests",
    "images --no-trunc",
    "images -q",
    "images -aq --no-trunc",
    "images -q --no-trunc=false",
    "images redis",
    "images redis:7",
    "images team",
    "images team/*",
    "images */*:[12]",
    "images docker.io/library/redis",
    "images 4083bcf14b56",
    "images *",
    "images -f reference=team/*",
    "images -f reference=red?s:7 -f reference=plain",
    "images plain -f reference=redis:l*",
    "images -f reference=registry.local:5000/*/app",
    "images -f reference=[",
    "images -f dangling=true",
    "images -f dangling=false",
    "images -f dangling=maybe",
    "images -f before=redis:latest",
    "images -f before=4083bcf14b56",
    "images -f since=redis",
    "images -f since=redis:7 -f before=redis:latest",
    "images -f before=nope",
    "images -f since=nope:1",
    "images -f label=env",
    "images -f label=env=prod",
    "images -f label=env=",
    "images -f label=ENV",
    "images -f LABEL=env=prod",
    "images -f label=env=prod -f label=env=test",
    "images -f label=env -f reference=team/* --format {{.Tag}}",
    "images -f foo=1",
    "images --format {{.Repository}}:{{.Tag}}",
    "images --format {{.Size}}/{{.VirtualSize}}",
    "images --format {{.ID}},{{.CreatedAt}},{{.CreatedSince}},{{.Digest}}",
    "images --format {{.Containers}}{{.SharedSize}}{{.UniqueSize}}",
    "images --no-trunc --format {{.ID}}",
    "images -q --format {{.Tag}}",
    r"images --format {{.ID}}\t{{.Size}}\n",
    r"images --format table{{.ID}}",
    r"images --format table_{{.Repository}}\t{{.Tag}}",
    r"images --format table_{{.ID}}\t{{.Size}}\t{{.CreatedAt}} --digests",
    "images --format table",
    "images --format raw",
    "images --format raw --digests",
    "images --format raw -q",
    "images --format {{json_.}}",
    "images --format {{json_.Repository}}",
    "images --format {{upper_.Repository}}-{{len_.Tag}}",
    'images --format {{if_eq_.Tag_"7"}}yes{{else}}no{{end}}',
    "history redis:7",
    "history --no-trunc team/app:2",
    "history -q redis:latest",
    "history -q --no-trunc redis:latest",
    "history --human=false plain:1",
    "history -H=false --format {{json_.}} plain:1",
    "history --format {{.ID}}|{{.CreatedAt}}|{{.CreatedSince}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}} redis:7",
    r"history --format table_{{.CreatedBy}}\t{{.Comment}} redis:7",
    "history nope",
    "inspect -f {{.Id}}|{{.Os}}|{{.Size}}|{{json_.RootFS.Layers}} redis:7 edge/agent:1",
    "image inspect -f {{.Config.Cmd}}|{{.RepoTags}} redis:7 nope plain:1",
    "image inspect nope",
]
"""A space within an argument is written `_`."""

CHANGES = [
    "tag redis:7 team/cache",
    "tag redis:7 team/cache:1",
    "tag nope x",
    "tag redis:7 Foo",
    "tag redis:7 a@sha256:" + "0" * 64,
    "rmi nope",
    "rmi nope nope:2",
    "rmi -f nope",
    "rmi team/cache nope team/cache:1",
    "rmi 939d4e2e81fe",
    "rmi plain:1",
    "image rm redis:7 redis:latest",
    "rmi -f nope team/app:3",
    "rmi -f 939d4e2e81fe",
    "images",
    "image prune --filter foo=1 -f",
    "image prune --filter until=soon -f",
    "image prune --filter until=1h --filter until=2h -f",
    "image prune --filter until=9000h --filter until=9000h --filter label=nope -f",
    "image prune --filter label=nope -f",
    "image prune -f",
    "image prune -f",
    "image prune -a -f --filter label=env=prod --filter label!=env=test",
    "image prune -a -f --filter until=2024-01-01",
    "image prune -a -f --filter until=24h",
    "images -q",
    "load -i archive.tar",
    "load -q -i archive.tar",
    "image prune -f --filter label!=maintainer --filter label!=none",
    "load -i nothing.tar",
    "save nope -o never.tar",
]
TRANSFERS = [
    "pull {host}/team/app",
    "pull {host}/team/app",
    "pull -q {host}/team/app",
    "images --digests {host}/team/app",
    "images -f reference={host}/*/app --format {{{{.Digest}}}}",
    "rmi {host}/team/app",
    "pull {host}/team/app@{digest}",
    "images --digests {host}/team/app",
    "rmi {host}/team/app@{digest}",
    "pull -a {host}/team/app",
    "pull -a {host}/team/app",
    "pull -a -q {host}/team/app",
    "images {host}/team/app",
    "pull -a {host}/team/app:1",
    "pull Foo:bar",
    "push {host}/nope:1",
]


class Output(NamedTuple):
    """The output of a program: its exit code and both streams."""

    code: int
    stdout: str
    stderr: str


class Both:
    """Docker and imq with the same images, in one folder."""

    def __init__(self, client: list[str], folder: pathlib.Path) -> None:
        self.client = client
        self.imq = [sys.executable, "-m", "imq"]
        self.folder = folder
        self.environment = {**os.environ, "TZ": "UTC", "IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}
        self.environment.pop("DOCKER_CONFIG", None)

    def run_line(self, program: list[str], line: str) -> Output:
        words = [word.replace("_", " ") for word in line.split(" ")]
        run = subprocess.run(
            [*program, *words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            check=False,
        )  # fmt: skip
        return normalize(line, Output(run.returncode, run.stdout.decode(), run.stderr.decode()))

    def output_of(self, program: list[str], *words: str, stdin: bytes = b"") -> bytes:
        """Run a command line that must succeed; return its standard output."""
        return subprocess.run(
            [*program, *words], cwd=self.folder, env=self.environment, input=stdin, capture_output=True, check=True
        ).stdout

    def assert_same(self, line: str) -> None:
        assert self.run_line(self.imq, line) == self.run_line(self.client, line), line


def normalize(line: str, output: Output) -> Output:
    """Return an output without the parts that may differ."""
    errors = [
        text.replace("Error response from daemon: ", "Error: ") if text.startswith("Error response") else text
        for text in output.stderr.splitlines()
        if not text.startswith("  ")
    ]
    errors = [text for text in errors if not re.match(r"\S+: \S+ in all|total: |[0-9a-f]{12}: ", text)]  # progress
    errors = [text if text.startswith("Error: ") else f"Error: {text}" for text in errors if text]
    errors = [re.sub(r"no such image: \S+: | \(\S+\)(?= must be lowercase)", "", text) for text in errors]
    errors = [text.removesuffix(":latest") for text in errors]
    lines = re.sub(r"(?m)^(Total reclaimed space:).*", r"\1", output.stdout).splitlines(keepends=True)
    lines = [text for text in lines if not re.match(r"[0-9a-f]{12}: ", text)]  # the progress of layers
    if line.startswith("load"):  # docker prints all IDs or none, depending on the last image
        lines = [text for text in lines if "Loaded image ID" not in text]
    if line.startswith(("rmi", "image rm", "image prune", "load")) or output.stdout.count(TWO_NAMES) > 1:
        lines.sort()
    if "registry.local" in output.stdout.lower():
        lines.sort()
    return Output(output.code, "".join(lines), "\n".join(errors))


@pytest.fixture(scope="module")
def both(docker: list[str], tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Docker with images that `imq save` wrote, and imq with the same images."""
    folder = tmp_path_factory.mktemp("docker")
    write_library(folder / "store")
    programs = Both(docker, folder)
    (folder / "archive.tar").write_bytes(programs.output_of(programs.imq, "save", *NAMES))
    programs.output_of(docker, "load", "-i", "archive.tar")
    programs.output_of(programs.imq, "rmi", "-f", "reproducible:1", "d3a42c551b35")
    return programs


@pytest.mark.parametrize("line", QUERIES)
def test_queries_have_the_same_output(both: Both, line: str) -> None:
    both.assert_same(line)


def test_pulls_have_the_same_output(both: Both, tmp_path: pathlib.Path) -> None:
    require_programs("docker-registry")
    with Registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/app"
        both.output_of(both.client, "tag", "redis:7", name)
        digest = re.findall(r"sha256:[0-9a-f]{64}", both.output_of(both.client, "push", name).decode())[-1]
        both.output_of(both.client, "rmi", name)
        for line in TRANSFERS:
            both.assert_same(line.format(host=registry.host, digest=digest))


def test_pushes_have_the_same_output(both: Both, tmp_path: pathlib.Path) -> None:
    require_programs("docker-registry")
    with Registry(tmp_path / "registry") as registry:
        for line in (f"tag redis:7 {registry.host}/a", f"push -q {registry.host}/a"):
            both.assert_same(line)
        ours, theirs = (both.run_line(program, f"push {registry.host}/a") for program in (both.imq, both.client))
        digests = r"sha256:[0-9a-f]{64} size: \d+"
        assert re.sub(digests, "", ours.stdout) == re.sub(digests, "", theirs.stdout)
        for program in (both.client, both.imq):
            both.output_of(program, "rmi", f"{registry.host}/a")


def test_changes_have_the_same_output(both: Both) -> None:
    for line in CHANGES:
        both.assert_same(line)


def test_each_loads_the_archives_of_the_other(both: Both) -> None:
    for writer, reader in ((both.client, both.imq), (both.imq, both.client)):
        both.output_of(writer, "load", "-i", "archive.tar")
        both.output_of(reader, "rmi", "-f", "redis:7")
        saved = both.output_of(writer, "save", "redis:7")
        assert both.output_of(reader, "load", stdin=saved) == b"Loaded image: redis:7\n"


# The same command lines against the engine itself: `imq --source docker …`

IN_ENGINE = [
    *QUERIES,
    "images -a",
    "images -aq",
    "images -a -f dangling=true",
    "images -a -f label=kind --no-trunc",
    "image inspect redis:7 built:1",
    "inspect web redis:7",
    "inspect -f {{.Name}} web job",
    "inspect nope",
    "inspect --type image web",
    "inspect --type container redis:7",
    "ps",
    "ps -a",
    "ps -aq --no-trunc",
    "ps -a --no-trunc",
    "ps -a -f name=we",
    "ps -a -f name=nope",
    "ps -a -f ancestor=redis:7",
    "ps -f status=created",
    "ps -a -f label=x",
    "ps -a -f label=x=z",
    "ps -a -f network=none",
    "ps -a -f before=job --format {{.Names}}",
    "ps -as --format {{.Names}}|{{.Size}}|{{.LocalVolumes}}",
    "history built:1",
    "history -q child:1",
    "history --no-trunc --format {{.ID}}|{{.CreatedBy}} child:1",
    "ps -f foo=1",
    "ps -n 1",
    "ps -lq",
    "container ls -a",
    "ps -a --format {{.Names}}|{{.Image}}|{{.Status}}|{{.ID}}|{{.Command}}|{{.Labels}}|{{.State}}|{{.RunningFor}}",
    r"ps -a --format table_{{.Names}}\t{{.Ports}}",
    "system df",
    "system df --format {{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
]
IN_ENGINE_CHANGES = [
    "rmi redis:7",
    "rmi edge/agent:1",
    "rmi -f edge/agent:1",
    "rmi built:1",
    "rmi --no-prune child:1",
    "commit web made/of:web",
    "commit -a Ann_B -m a_message web made/of:full",
    "commit --author=x --pause=false -c ENV_A=b -c LABEL_k=v web made/of:changed",
    "commit -p=true -c NOPE_x web made/of:bad",
    "inspect -f {{.Author}}|{{.Comment}}|{{.Config.Cmd}} made/of:full",
    "inspect -f {{.Author}}|{{json_.Config.Env}}|{{json_.Config.Labels}} made/of:changed",
    "commit nope x",
    "images made/of --format {{.Repository}}:{{.Tag}}",
    *(line for line in CHANGES if not line.startswith("tag nope")),
    "ps -a --format {{.Names}}",
]


OF_CONTAINERD = {
    "images *": "that image store matches `*` with an image without a name too",
    "images -f reference=[": "that image store takes a pattern that is none for one that matches nothing",
    "image prune --filter until=1h --filter until=2h -f": "that image store takes several times",
}
"""Lines with another output of docker with the image store of containerd."""


class Engine(Both):
    """A dockerd, and imq for which it is the source; the store of imq is empty.

    With `of_containerd`, containerd stores its images.
    """

    def __init__(self, client: list[str], folder: pathlib.Path, *, of_containerd: bool) -> None:
        super().__init__(client, folder)
        self.of_containerd = of_containerd
        self.environment |= {"DOCKER_HOST": client[-1], "IMQ_ROOT": str(folder / "none"), "DOCKER_BUILDKIT": "0"}

    def fill(self, pause: float = 0) -> None:
        """Put the same images and containers into the engine, and nothing else.

        Listings have whole seconds, so only what is made with a `pause` has an order of time.
        """
        if containers := self.output_of(self.client, "ps", "-aq").decode().split():
            self.output_of(self.client, "rm", "-f", *containers)
        while images := set(self.output_of(self.client, "images", "-aq").decode().split()):
            subprocess.run([*self.client, "rmi", "-f", *images], capture_output=True, check=False)
        self.output_of(self.client, "load", "-i", "archive.tar")
        (self.folder / "context").mkdir(exist_ok=True)
        for name, text in (
            ("built:1", "FROM scratch\nCOPY f /f\nLABEL kind=built\n"),
            ("child:1", "FROM built:1\nENV A=b"),
        ):
            (self.folder / "context" / "f").write_text("content\n" * 100)
            (self.folder / "context" / "Dockerfile").write_text(text)
            self.output_of(self.client, "build", "-q", "-t", name, "context")
            time.sleep(pause)
        for name, image, label in (("web", "redis:7", "x=y"), ("job", "edge/agent:1", "z=1")):
            command = ["/run", "a long command line with words"]
            self.output_of(
                self.client, "create", "--name", name, "--label", label, "--network", "none", image, *command
            )
            time.sleep(pause)

    def run_line(self, program: list[str], line: str) -> Output:
        return self._normalize(line, super().run_line(program, line))

    def _normalize(self, line: str, output: Output) -> Output:
        """Return an output of docker as other versions have it, and without what that of Debian 13 leaves to chance.

        It has the digest of one name of an image, and no order of images that were made in one second.
        """
        if not self.of_containerd:
            return output
        stdout, stderr = output.stdout, output.stderr.replace("invalid filter", "Invalid filter")
        stderr = re.sub(r"An image does not exist locally with the tag: (\S+)", r"tag does not exist: \1:1", stderr)
        if line.startswith("image prune"):  # that image store lists the blobs, and takes intermediate images too
            stdout = re.sub(r"(?m)^(deleted|untagged): .*\n", "", stdout)
        if "igest" in line or "json_." in line:
            stdout = re.sub(r"sha256:[0-9a-f]{64}(?!:)", "<none>", stdout.replace("\\u003cnone\\u003e", "<none>"))
        stdout = re.sub(r"(?m)^(Status: .*):latest$", r"\1", stdout)  # `pull -a` has the status of each tag
        if re.search(r" -\w*a", line):
            stdout = "".join(sorted(stdout.splitlines(keepends=True)))
        return Output(output.code, stdout, stderr)

    def run_imq(self, line: str) -> Output:
        """Run a command line of imq in this process."""
        words = [word.replace("_", " ") for word in line.split(" ")]
        stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with contextlib.chdir(self.folder):
            code = Cli(io.StringIO(), stdout, stderr, self.environment).main(["--source", "docker", *words])
        texts = [stream.buffer.getvalue().decode() for stream in (stdout, stderr)]  # type: ignore[attr-defined]
        return self._normalize(line, normalize(line, Output(code, *texts)))


@pytest.fixture(scope="module", params=["docker", "containerd_docker"])
def engine(request: pytest.FixtureRequest, both: Both, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Each engine of these tests with images that imq saved, images that it built, and two containers."""
    client, folder = request.getfixturevalue(request.param), tmp_path_factory.mktemp("engine-lines")
    made = Engine(client, folder, of_containerd=request.param == "containerd_docker")
    (made.folder / "archive.tar").write_bytes((both.folder / "archive.tar").read_bytes())
    made.fill(pause=1.1)
    return made


@pytest.mark.parametrize("line", IN_ENGINE)
def test_queries_of_an_engine_have_its_own_output(engine: Engine, line: str) -> None:
    ours, theirs = _hide_times(engine.run_imq(line)), _hide_times(engine.run_line(engine.client, line))
    if engine.of_containerd and line in OF_CONTAINERD:
        assert ours != theirs, "a declared difference differs"
    else:
        assert ours == theirs, line


def test_verbose_disk_usage_has_containers(engine: Engine) -> None:
    """Volumes are left out, and a note says so: imq has no table of the volumes of an engine."""
    ours, theirs = (
        _hide_times(run) for run in (engine.run_imq("system df -v"), engine.run_line(engine.client, "system df -v"))
    )
    start, end = theirs.stdout.index("Local Volumes space usage:"), theirs.stdout.index("Build cache usage:")
    expected = theirs.stdout[:start] + theirs.stdout[end:]
    assert _sort_lines(ours.stdout) == _sort_lines(expected)
    assert "web" in ours.stdout
    assert ours.code == theirs.code == 0


def _sort_lines(text: str) -> list[str]:
    """Return the lines in order, images without their registry: docker shows any of the names of an image."""
    return sorted(line.removeprefix("registry.local:5000/") for line in text.splitlines())


def test_json_of_containers_has_sizes_with_s_alone(engine: Engine) -> None:
    for line in ("ps -a --format json", "ps -as --format json"):
        ours, theirs = (_hide_times(run) for run in (engine.run_imq(line), engine.run_line(engine.client, line)))
        rows = [json.loads(text) for text in theirs.stdout.splitlines()]
        for row in rows:
            row.pop("Platform", None)  # of docker 28 and later
        assert [json.loads(text) for text in ours.stdout.splitlines()] == rows
        assert len(rows) > 1


def test_rm_of_a_container_says_how_to_remove_it(engine: Engine) -> None:
    done = subprocess.run(
        [*engine.imq, "rm", "web"], env={**engine.environment, "IMQ_SOURCE": "docker"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith(
        "error[no-such-image]: No such image: web\n  a container has this name; to remove it: rm container web\n"
    )


def test_the_statement_of_a_line_is_explained(engine: Engine) -> None:
    explained = engine.run_imq("--explain images -a -q")
    assert (explained.code, explained.stderr) == (0, "")
    assert "images" in explained.stdout
    assert engine.run_imq("--output jsonl images -a").stdout.count('"repository":') == engine.run_imq(
        "images -aq"
    ).stdout.count("\n")


def test_changes_in_an_engine_have_its_own_output(engine: Engine) -> None:
    outputs = []
    lines = [line for line in IN_ENGINE_CHANGES if not (engine.of_containerd and line in OF_CONTAINERD)]
    for run in (lambda line: engine.run_line(engine.client, line), engine.run_imq):
        engine.fill()
        outputs.append([_hide_ids(_hide_times(run(line))) for line in lines])
    for line, theirs, ours in zip(lines, *outputs, strict=True):
        assert ours == theirs, line


def _hide_times(output: Output) -> Output:
    """Return an output without the seconds that passed between two runs, and the columns that they widen."""
    times = r"(Less than a second|\d+ seconds?|About a minute)(?= ago)"
    return output._replace(stdout=re.sub(r" {2,}", "  ", re.sub(times, "TIME", output.stdout)))


def _hide_ids(output: Output) -> Output:
    """Return an output without the IDs that are new each time, and without an order of what was made in one second."""
    stdout, stderr = (re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "ID", text) for text in output[1:])
    return Output(output.code, "".join(sorted(stdout.splitlines(keepends=True))), stderr)


def test_transfers_of_an_engine_have_its_own_output(engine: Engine, tmp_path: pathlib.Path) -> None:
    require_programs("docker-registry")
    with Registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/app"
        outputs = []
        for run in (lambda line: engine.run_line(engine.client, line), engine.run_imq):
            engine.fill()
            pushed = [run(line) for line in (f"tag redis:7 {name}", f"push {name}", f"push -q {name}", f"rmi {name}")]
            digest = re.findall(r"sha256:[0-9a-f]{64}", pushed[1].stdout)[-1]
            lines = [line.format(host=registry.host, digest=digest) for line in TRANSFERS]
            outputs.append([*pushed, *map(run, lines)])
        for line, theirs, ours in zip(["tag", "push", "push -q", "rmi", *TRANSFERS], *outputs, strict=True):
            assert ours == theirs, line
