"""Shell completion: each real shell runs the script that imq prints for it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
from imq.cli.shell_completion import SCRIPTS, read_line
from support import servers
from support.images import write_library

CASES = {
    "imq im": {"images", "image", "import"},
    "imq images where repo": {"repository"},
    "imq images order": {"order"},
    "imq images or": {"order"},
    "imq images --forma": {"--format"},
    "imq --outp": {"--output"},
    "imq --output jso": {"json", "jsonl"},
    "imq image li": {"list"},
    "imq images --filter lab": {"label=", "label!="},
    "imq images --filter before=team": {"before=team/app:1", "before=team/app:2"},
    "imq rm team/app:": {"team/app:1", "team/app:2"},
    "imq rmi edge": {"edge/agent:1"},
    "imq images where tag = late": {"latest"},
    "imq images where label.mainta": {"label.maintainer"},
    "imq images where label.env = pr": {"prod"},
    "imq tags of registry.local:5000/te": {"registry.local:5000/team/app"},
    "imq images in regi": {"registry.local:5000"},
    "imq --source regi": {"registry.local:5000"},
    "imq save redis:7 to arch": {"archive.tar"},
    "imq help rena": {"rename"},
    "imq help retent": {"retention"},
    "imq dem": {"demo"},
    "imq completion z": {"zsh"},
    "imq load -i arch": {"archive.tar"},
    "imq --no-config rm redis:l": {"redis:latest"},
    "imq 'images where repo": {"images where repository"},
    "imq 'images or": {"images order by"},
    "imq nonsense where ": set(),
    "imq images whre nam": set(),
}
"""What is offered behind a command line, in a folder with a file `archive.tar`."""


class Place(NamedTuple):
    folder: pathlib.Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("completing")
    write_library(folder / "store")
    (folder / "archive.tar").write_bytes(b"")
    (folder / "bin").mkdir()
    program = folder / "bin" / "imq"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m imq "$@"\n')
    program.chmod(0o755)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if key in ("LANG", "TMPDIR")}
    return Place(folder, {**kept, "PATH": path, "IMQ_ROOT": str(folder / "store"), "HOME": str(folder), "TERM": "dumb"})


def run(place: Place, *words: str, given: str = "") -> str:
    done = subprocess.run(
        words, cwd=place.folder, env=place.environment, input=given, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def complete_word(line: str, candidate: str, breaks: str) -> str:
    """Return the word that bash completes to: it replaces the text after the last break."""
    typed = read_line(line)
    cut = 0 if typed.quote else max(typed.word.rfind(sign) for sign in breaks) + 1
    return typed.word[:cut] + candidate.replace("\\", "")


def test_bash(place: Place) -> None:
    asked = "".join(
        f"COMP_LINE={quoted(line)}; COMP_POINT=${{#COMP_LINE}}; COMPREPLY=(); _imq\n"
        "printf '%s\\n' \"${COMPREPLY[@]}\" --\n"
        for line in CASES
    )
    shown = run(place, "bash", "--norc", "-c", f'compopt() {{ :; }}; eval "$(imq completion bash)"\n{asked}')
    answers = [set(part.strip("\n").split("\n")) - {""} for part in shown.split("--\n")[:-1]]
    assert len(answers) == len(CASES)
    for (line, wanted), answer in zip(CASES.items(), answers, strict=True):
        found = {complete_word(line, one, "=:") for one in answer}
        assert found >= wanted if wanted else not found, line


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_fish(place: Place) -> None:
    servers.require_programs("fish")
    lines = list(CASES)
    script = "imq completion fish | source\n"
    script += "".join(f'complete -C "{line}"\necho ==\n' for line in lines)
    shown = run(place, "fish", "--no-config", "-c", script)
    answers = [{line.partition("\t")[0] for line in part.splitlines()} for part in shown.split("==\n")[:-1]]
    assert len(answers) == len(lines)
    for line, answer in zip(lines, answers, strict=True):
        wanted = CASES[line]
        assert answer >= wanted if wanted else not answer, line
    described = [line for line in shown.splitlines() if line.startswith("repository\t")]
    assert described[0].startswith("repository\tthe name without its tag")


def test_zsh(place: Place) -> None:
    """Type into a zsh on a terminal and read the completion."""
    servers.require_programs("zsh")
    typed = {
        "imq images where repo": "imq images where repository",
        "imq rm redis:l": "imq rm redis:latest",
        "imq 'images where repo": "imq 'images where repository",
        "imq images --filter before=plain": "imq images --filter before=plain:1",
    }
    script = (
        "zmodload zsh/zpty; zpty z zsh -f -i\n"
        'zpty -w z "PS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u"\n'
        "zpty -w z 'eval \"$(imq completion zsh)\"'\n"
        "zpty -w z 'show() { print -r -- \"<<$BUFFER>>\"; BUFFER=; zle .accept-line; }; zle -N show; bindkey ^X show'\n"
        "zpty -w z 'print rea''dy'; zpty -r -m z all '*ready*'\n"
    )
    for line in typed:
        script += f"zpty -w -n z {quoted(line)}$'\\t\\x18'; zpty -r -m z got '*>>*'; print -r -- \"$got\"\n"
    shown = run(place, "zsh", "-f", "-c", script)
    for line, wanted in typed.items():
        assert f"<<{wanted}" in shown, (line, shown)


def test_completion_prints_no_errors(place: Place) -> None:
    for words in (["bash"], [], ["bash", "imq 'images", "'"], ["zsh", "imq images where \\"], ["fish", "imq \udc80"]):
        done = subprocess.run(
            [sys.executable, "-m", "imq", "__complete", *words], env=place.environment, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), words


def test_completion_creates_no_store(place: Place, tmp_path: pathlib.Path) -> None:
    environment = {**place.environment, "IMQ_ROOT": str(tmp_path / "none")}
    words = [sys.executable, "-m", "imq", "__complete", "bash", "imq rm re"]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "none").exists()


def test_scripts_are_printed_for_the_supported_shells(place: Place) -> None:
    for shell, script in SCRIPTS.items():
        assert run(place, "imq", "completion", shell) == script
        if shutil.which(shell):
            run(place, shell, "-n", given=script)
    for words in ([], ["csh"], ["bash", "zsh"]):
        done = subprocess.run(
            ["imq", "completion", *words], env=place.environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "error[option]" in done.stderr
        assert "bash, zsh, fish" in done.stderr
