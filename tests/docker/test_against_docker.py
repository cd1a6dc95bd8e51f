"""The same command lines to docker and to imq, over the same images: the same texts, errors and exit codes.

Left out are the hints that imq adds below an error (they are indented), and what docker's newer clients say more than
the older ones: `response from daemon`, and a name once more.
Where docker's own order is random (names of one image, what a removal touches) lines are compared sorted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.images import library
from support.servers import Registry, needed

if TYPE_CHECKING:
    import pathlib

TWO_NAMES = "939d4e2e81fe"
"""The image that has two names, which docker lists in any order."""
NAMES = (
    "redis:7",
    "redis:latest",
    "team/app",
    "edge/agent:1",
    "plain:1",
    "registry.local:5000/team/app:1",
    "4aa281d47c51",
)
"""What both hold. Left out are an image without a time of creation, whose age docker counts from 1970, and a name with
a digest, which no archive keeps."""

QUESTIONS = [
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
"""A blank within an argument is written `_`."""

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


class Answer(NamedTuple):
    """What a program answered: its exit code and both streams."""

    code: int
    stdout: str
    stderr: str


class Both:
    """Docker and imq over the same images, in one folder."""

    def __init__(self, client: list[str], folder: pathlib.Path) -> None:
        self.client = client
        self.imq = [sys.executable, "-m", "imq"]
        self.folder = folder
        self.environment = {**os.environ, "TZ": "UTC", "IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}
        self.environment.pop("DOCKER_CONFIG", None)

    def asked(self, program: list[str], line: str) -> Answer:
        words = [word.replace("_", " ") for word in line.split(" ")]
        done = subprocess.run(
            [*program, *words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            check=False,
        )  # fmt: skip
        return settled(line, Answer(done.returncode, done.stdout.decode(), done.stderr.decode()))

    def done(self, program: list[str], *words: str, given: bytes = b"") -> bytes:
        """Run what must not fail, and return what it wrote."""
        return subprocess.run(
            [*program, *words], cwd=self.folder, env=self.environment, input=given, capture_output=True, check=True
        ).stdout

    def answer_alike(self, line: str) -> None:
        assert self.asked(self.imq, line) == self.asked(self.client, line), line


def settled(line: str, answer: Answer) -> Answer:
    """Return an answer without what must differ."""
    errors = [
        text.replace("Error response from daemon: ", "Error: ") if text.startswith("Error response") else text
        for text in answer.stderr.splitlines()
        if not text.startswith("  ")
    ]
    errors = [text for text in errors if not re.match(r"\S+: \S+ in all|total: |[0-9a-f]{12}: ", text)]  # progress
    errors = [text if text.startswith("Error: ") else f"Error: {text}" for text in errors if text]
    errors = [re.sub(r"no such image: \S+: | \(\S+\)(?= must be lowercase)", "", text) for text in errors]
    errors = [text.removesuffix(":latest") for text in errors]
    lines = re.sub(r"(?m)^(Total reclaimed space:).*", r"\1", answer.stdout).splitlines(keepends=True)
    lines = [text for text in lines if not re.match(r"[0-9a-f]{12}: ", text)]  # how far layers have come
    if line.startswith("load"):  # docker tells all ids or none, as the last image of the archive has a name or not
        lines = [text for text in lines if "Loaded image ID" not in text]
    if line.startswith(("rmi", "image rm", "image prune", "load")) or answer.stdout.count(TWO_NAMES) > 1:
        lines.sort()
    if "registry.local" in answer.stdout.lower():
        lines.sort()
    return Answer(answer.code, "".join(lines), "\n".join(errors))


@pytest.fixture(scope="module")
def both(docker: list[str], tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Docker with what `imq save` writes of the library, and imq with the library less what docker was not given."""
    folder = tmp_path_factory.mktemp("docker")
    library(folder / "store")
    two = Both(docker, folder)
    (folder / "archive.tar").write_bytes(two.done(two.imq, "save", *NAMES))
    two.done(docker, "load", "-i", "archive.tar")
    two.done(two.imq, "rmi", "-f", "reproducible:1", "d3a42c551b35")
    return two


@pytest.mark.parametrize("line", QUESTIONS)
def test_questions(both: Both, line: str) -> None:
    both.answer_alike(line)


def test_pulling(both: Both, tmp_path: pathlib.Path) -> None:
    needed("docker-registry")
    with Registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/app"
        both.done(both.client, "tag", "redis:7", name)
        digest = re.findall(r"sha256:[0-9a-f]{64}", both.done(both.client, "push", name).decode())[-1]
        both.done(both.client, "rmi", name)
        for line in TRANSFERS:
            both.answer_alike(line.format(host=registry.host, digest=digest))


def test_pushing(both: Both, tmp_path: pathlib.Path) -> None:
    needed("docker-registry")
    with Registry(tmp_path / "registry") as registry:
        for line in (f"tag redis:7 {registry.host}/a", f"push -q {registry.host}/a"):
            both.answer_alike(line)
        ours, theirs = (both.asked(program, f"push {registry.host}/a") for program in (both.imq, both.client))
        digests = r"sha256:[0-9a-f]{64} size: \d+"
        assert re.sub(digests, "", ours.stdout) == re.sub(digests, "", theirs.stdout)
        for program in (both.client, both.imq):
            both.done(program, "rmi", f"{registry.host}/a")


def test_changes(both: Both) -> None:
    for line in CHANGES:
        both.answer_alike(line)


def test_archives_go_both_ways(both: Both) -> None:
    for writer, reader in ((both.client, both.imq), (both.imq, both.client)):
        both.done(writer, "load", "-i", "archive.tar")
        both.done(reader, "rmi", "-f", "redis:7")
        saved = both.done(writer, "save", "redis:7")
        assert both.done(reader, "load", given=saved) == b"Loaded image: redis:7\n"
