"""`docker inspect` and `imq inspect` of the same images: Go's zero values, types, errors and order of keys."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.images import Image, docker_archive, layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LAYERS = [layer({"file": b"abc"})]
FULL = {
    "Hostname": "h", "User": "u", "AttachStdin": True, "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    "Env": ["A=1", "B=2"], "Cmd": ["x"], "ArgsEscaped": True, "Image": "sha256:abc", "Volumes": {"/b": {}, "/a": {}},
    "WorkingDir": "/w", "Entrypoint": ["e", "f"], "OnBuild": ["RUN x"], "Labels": {"b": "<&>", "a": "\u2028é"},
    "StopSignal": "SIGINT", "StopTimeout": 0, "Shell": ["/bin/bash", "-c"],
    "Healthcheck": {"Test": ["CMD", "a"], "Interval": 30_000_000_000, "Timeout": 1_500_000_000, "StartPeriod": 1_500,
                    "Retries": 3},
}  # fmt: skip
IMAGES = {
    "plain:1": Image(LAYERS, labels={"a": "b"}, env=["PATH=/bin"], settings={"Cmd": ["sh"]}),
    "bare:1": Image(LAYERS, settings={"Cmd": ["sh"]}),
    "none:1": Image(LAYERS, changes={"config": None}),
    "nulls:1": Image(LAYERS, created=None, settings={"Labels": None, "Env": None, "Volumes": None}),
    "empty:1": Image(
        LAYERS, created="2024-03-01T10:00:00.120+02:00", labels={}, settings={"Env": [], "Healthcheck": {}}
    ),
    "full:1": Image(
        LAYERS,
        settings=FULL,
        changes={
            "author": "me",
            "comment": "c",
            "variant": "v8",
            "docker_version": "20.10.1",
            "container": "abc",
            "container_config": {"Cmd": ["q"], "Hostname": "zz"},
            "os.version": "10.0.1",
        },
    ),
}
TEMPLATES = [
    '{{index .Config.Labels "missing"}}',
    "{{.DockerVersion}}|{{.Parent}}|{{.Comment}}|{{.Author}}|{{.Container}}|{{.Variant}}|{{.OsVersion}}|{{.VirtualSize}}",
    "{{.Config.Hostname}}",
    "{{.Config.Labels}} {{.Config.Env}} {{.Config.ExposedPorts}} {{.Config.Volumes}} {{.Config.OnBuild}}",
    "{{.Config.Healthcheck}}",
    "{{with .Config.Healthcheck}}{{.Interval}} {{.Timeout}} {{.StartPeriod}} {{.Retries}}{{else}}none{{end}}",
    "{{.Config.Healthcheck.Interval}}",
    "{{json .Config}}",
    "{{json .ContainerConfig}}",
    "{{json .Config.Labels}} {{json .Config.Env}} {{json .Config.Healthcheck}}",
    "{{.Id}} {{json .Config}}",
    "{{.Id}} {{.Config.Entrypoint}} {{.Config.Labels}} {{.Config.Cmd}}",
    '{{.Id}} {{index .Config.Labels "x"}}',
    "{{.Id}} {{len .Config.Env}}",
    "{{.ID}} {{.ContainerConfig}} {{.RootFS}} {{.GraphDriver.Nope}}",
    "{{.Created}} {{json .RepoTags}} {{json .RepoDigests}} {{json .RootFS}}",
    "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{else}}no{{end}}",
    "{{range $k, $v := .Config.ExposedPorts}}{{$k}} {{$v}};{{else}}no{{end}}",
    '{{join .Config.Entrypoint " "}}|{{if .Config.Entrypoint}}y{{else}}n{{end}}|{{len .Config.Labels}}',
    '{{if eq .Config.User ""}}root{{else}}{{.Config.User}}{{end}} {{gt .Size 1}} {{printf "%+v" .RootFS}}',
    "{{.Config.Labels.a}}",
    "{{.Config.StopTimeout}} {{.Config.Image}}",
    "{{.Nope}}",
    "{{.Config.Nope}}",
    "{{$x := .Config}}{{$x.Cmd}} {{$x.Nope}}",
    '{{define "part"}}{{.Nope}}{{end}}{{template "part" .Config}}',
    "{{index .Config.Cmd 7}}",
    "{{.Os}}/{{.Architecture}} {{.Manifests}}",
]


class Output(NamedTuple):
    """The output of a program, without wording that differs between docker versions."""

    code: int
    stdout: str
    stderr: list[str]


class Both:
    """Docker and imq with the same images."""

    def __init__(self, docker: list[str], folder: Path) -> None:
        self.programs = {"docker": docker, "imq": [sys.executable, "-m", "imq"]}
        self.environment = {**os.environ, "TZ": "UTC", "IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}
        for name, image in IMAGES.items():
            archive = folder / f"{image.id[7:19]}.tar"
            docker_archive(archive, [(image, [name])])
            for program in self.programs:
                assert self.run(program, "load", "-qi", str(archive)).code == 0

    def run(self, program: str, *words: str) -> Output:
        run = subprocess.run(
            [*self.programs[program], *words], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            check=False,
        )  # fmt: skip
        errors = [line for line in run.stderr.decode().splitlines() if not line.startswith("  ")]
        errors = [re.sub(r"^Error( response from daemon)?: (no such image: \S+: )?", "", line) for line in errors]
        errors = [re.sub(r"such object: ", "such image: ", line) for line in errors]
        return Output(run.returncode, run.stdout.decode(), [line.removesuffix(":latest") for line in errors])

    def assert_same(self, *words: str) -> None:
        assert self.run("imq", *words) == self.run("docker", *words), words


@pytest.fixture(scope="module")
def both(docker: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    yield Both(docker, tmp_path_factory.mktemp("inspecting"))
    subprocess.run([*docker, "rmi", "-f", *IMAGES], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("names", [list(IMAGES), [*reversed(IMAGES)], ["nope", "nulls:1"]], ids="+".join)
def test_templates_have_the_same_output(both: Both, template: str, names: Sequence[str]) -> None:
    both.assert_same("inspect", "-f", template, *names)


@pytest.mark.parametrize("name", ["plain:1", "bare:1"])
def test_a_missing_label_and_fields_of_the_daemon_are_empty(both: Both, name: str) -> None:
    template = '[{{index .Config.Labels "missing"}}] [{{.DockerVersion}}] [{{.Config.Hostname}}]'
    assert both.run("imq", "inspect", "-f", template, name) == (0, "[] [] []\n", [])


@pytest.mark.parametrize("template", ["{{.Id", "{{nope .Id}}", "{{if}}", "{{end}}", "x\n{{.Id"])
def test_invalid_templates_have_the_same_error(both: Both, template: str) -> None:
    both.assert_same("inspect", "-f", template, "plain:1")


@pytest.mark.parametrize("words", [["-f", "{{.Id}}"], ["-f", "{{.Os}}", "--type=image"], ["-f", "json"], []])
def test_a_missing_image_has_the_same_output(both: Both, words: list[str]) -> None:
    """Docker still writes a newline or an empty list."""
    both.assert_same("inspect", *words, "nope")


@pytest.mark.parametrize("name", IMAGES)
def test_the_document_begins_with_that_of_docker(both: Both, name: str) -> None:
    """Additions of imq follow. The paths of layers and the time of the tag are ignored."""
    daemon_fields = r'"GraphDriver":{.*?}(?=,"RootFS")|"LastTagTime":"[^"]*"'
    mine, theirs = (
        re.sub(daemon_fields, "", both.run(program, "inspect", "-f", "json", name).stdout)
        for program in ("imq", "docker")
    )
    assert mine.partition(',"Descriptor":')[0] == theirs.removesuffix("}]\n")


HEADINGS = [
    '{{if eq .Tag "1"}}one{{else}}other{{end}}\t{{.ID}}',
    '{{if ne .Repository "<none>"}}{{.Repository}}{{else}}-{{end}}\t{{.Tag}}',
    '{{if or (eq .Tag "<none>") (eq .Repository "<none>")}}dangling{{else}}{{.Repository}}{{end}}',
    "{{if gt (len .Tag) 2}}long{{else}}short{{end}}",
    '{{if lt .Tag "5"}}old{{else if not .Tag}}none{{else}}new{{end}}',
    "{{with .Tag}}{{.}}{{end}} {{if .Digest}}digest{{end}}",
    '{{$tag := .Tag}}{{if eq $tag "1"}}one{{else}}{{$tag}}{{end}}',
    '{{eq .Tag "1"}} {{not .Tag}}',
]


@pytest.mark.parametrize("template", HEADINGS)
def test_headings_of_tables_with_conditions(both: Both, template: str) -> None:
    mine, theirs = (
        both.run(program, "images", "--format", f"table {template}", "plain") for program in ("imq", "docker")
    )
    assert mine == theirs
