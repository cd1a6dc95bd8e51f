"""The command line: from arguments to an exit code."""

from __future__ import annotations

import gc
import os
import sys

from imq.grammar.errors import ImqError, StatementError
from imq.grammar.record import TYPE_CHECKING

from .docker_words import DOCKER_COMMANDS, list_keywords
from .options import first_word, read_options
from .output import Console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from .options import Options

USAGE = """\
imq queries container images and acts on the results

  imq images where dangling                        images without a tag
  imq images where size '>' 1GB order by size desc
  imq pull redis:7 platform linux/arm64            another platform's image
  imq rm images where older than 90d --dry-run     lists what it would remove
  imq 'tags of redis where version >= 7 limit 5'   tags of a registry

usage: imq [OPTION…] STATEMENT    default: standard input, or a session
       imq [OPTION…] -f FILE      run a script
       imq help [TOPIC]           also: --help (-h), --version (-v) [--json]
       imq COMMAND …              docker's command lines: imq image ls --help
       imq demo                   a sample store; imq completion bash|zsh|fish

  --root DIR        the store             --source SOURCE   default source
  --output FORMAT   json, csv, tree, …    -q, --quiet       IDs only
  --dry-run         list actions only     --explain         show the plan
  --yes             do not confirm        --no-trunc        do not truncate
  --platform P      os/arch[/variant]     --jobs N, --workers N|URL  of layers
  --set NAME=VALUE  setting, variable     --insecure HOST   allow plain http
  --config FILE     or --no-config        --catalogue URL   of PostgreSQL
  --color WHEN      auto, always, never   --no-progress     lines, not bars
  --spreadsheet     escape csv formulas   --junit, --sarif FILE  of asserts
"""
_DOCKER_GROUPS = ("container", "image", "system", "volume")
"""Those of them that a subcommand follows."""
_MONITOR = "__container_monitor"
"""The hidden command by which the frozen executable runs itself as the monitor of a container."""
_SCANNER = "__layer_scanner"
"""The hidden command by which the frozen executable runs itself as a scan process."""
_STARTING = ("run", "start", "restart")
"""First words of statements and docker's command lines that start containers."""
_FEWEST_EXPANDED = 3
"""The least words of a command line with a verb and the names of two files."""


class Cli:
    """One run of the command line."""

    def __init__(self, stdin: TextIO, stdout: TextIO, stderr: TextIO, environment: Mapping[str, str]) -> None:
        self._console = Console(stdin, stdout, stderr, environment)

    def main(self, arguments: Sequence[str]) -> int:
        """Run and return the exit code. Nothing is raised: every exception is written to standard error."""
        try:
            code = self._run_completion(arguments)
            if code is None and _runs_container(arguments):
                code = self._run_container(arguments)
            if code is None and _docker_command(arguments) == "commit":
                from imq.docker.direct_commit import commit_directly

                code = commit_directly(self._console, arguments)
            if code is None:
                self._refuse_expanded_pattern(arguments)
                code = self._run_docker(arguments)
            if code is None:
                code = self._run(read_options(arguments))
            self._console.stdout.flush()
        except BrokenPipeError:
            return 141
        except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001 - the process ends here
            return self._console.report_failure(problem)
        return code

    def _run_completion(self, arguments: Sequence[str]) -> int | None:
        """Write a completion script or completions; None for other arguments."""
        start = first_word(arguments)
        word, rest = arguments[start : start + 1], arguments[start + 1 :]
        if word not in (["completion"], ["__complete"]):
            return None
        from .shell_completion import complete_line, completion_script

        if word == ["completion"]:
            self._console.stdout.write(completion_script(rest))
        else:
            self._console.stdout.writelines(complete_line(self._console, rest))
        return 0

    def _run_container(self, arguments: Sequence[str]) -> int | None:
        """Run a container as directly as possible, and return its exit code; None when it needs a session."""
        from imq.docker.direct_run import run_directly
        from imq.engine.containers.launcher import stop_forking

        code = run_directly(self._console, arguments)
        if code is None:
            stop_forking()
        return code

    def _refuse_expanded_pattern(self, arguments: Sequence[str]) -> None:
        """Raise `StatementError` when a shell replaced a `*` by the names of files."""
        words = arguments[first_word(arguments) :]
        if len(words) < _FEWEST_EXPANDED:
            return
        from .accidents import refuse_expanded_pattern

        refuse_expanded_pattern(words)

    def _run_docker(self, arguments: Sequence[str]) -> int | None:
        """Run a docker command line and return its exit code; None for other arguments."""
        start = first_word(arguments)
        if start == len(arguments) or arguments[start] not in DOCKER_COMMANDS:
            return None
        keywords = list_keywords()
        if arguments[start] not in _DOCKER_GROUPS and any(
            word in keywords for word in arguments[start + 1 : start + 2]
        ):
            return None  # `images where …` begins most queries: no docker module is loaded for it
        from imq.docker.run import run

        return run(self._console, arguments, keywords)

    def _run(self, options: Options) -> int:
        console = self._console
        if "help" in options.flags:
            console.stdout.write(console.wrap(_command_help(options.words)) or USAGE)
            return 0
        if "version" in options.flags:
            console.write_version(components="json" in options.flags)
            return 0
        console.choose_color(options)
        if options.words[:1] == ("demo",):
            from .demo import run_demo

            return run_demo(console, options)
        if (text := _help_text(options)) is not None:
            console.write_texts((console.wrap(text),))
            return 0
        from .open_session import open_session, run_text

        session = open_session(console, options)
        try:
            statement, atoms = self._read_statement(options)
            if statement is None:
                from imq.repl.repl import Repl

                return Repl(console, session, options).run()
            console.in_shell = bool(options.words)
            return run_text(console, session, statement, options, atoms)
        finally:
            session.close()

    def _read_statement(self, options: Options) -> tuple[str | None, dict[int, int]]:
        """Return the statements to run and the ranges in them that are one value each; None on a terminal."""
        path = options.value("file")
        if path is not None:
            if options.words:
                raise StatementError(f'-f cannot be combined with a statement: "{options.words[0]}"', code="option")
            return self._read_script(path), {}
        if len(options.words) == 1:
            return options.words[0], {}
        if options.words:
            text, atoms = "", {}
            for word in options.words:
                text += " " if text else ""
                if any(char.isspace() for char in word):
                    atoms[len(text)] = len(text) + len(word)
                text += word or '""'
            return text, atoms
        if self._console.stdin.isatty():
            return None, {}
        return self._read_script("-"), {}

    def _read_script(self, path: str) -> str:
        """Return the text of a script; `-` is standard input. Invalid UTF-8 is reported when it is parsed."""
        from imq.engine.session.script_loader import read_script

        if path == "-":
            return read_script(self._console.stdin, "on standard input")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as source:
                return read_script(source, path)
        except OSError as problem:
            raise ImqError(f"cannot read {path}: {problem.strerror}", code="script") from None


def _command_help(words: Sequence[str]) -> str:
    """Return the page of the table or verb that a command line begins with; "" for others."""
    names = " ".join(words).lower().split()
    if not names:
        return ""
    from imq.engine.help.help import format_help

    try:
        return format_help(tuple(names[:1]))
    except StatementError:
        return ""


def _help_text(options: Options) -> str | None:
    """Return the text of `help` and `help TOPIC` without a session, which takes longer to open.

    None for other statements and for unknown topics: the session reports those with their position.
    """
    words = " ".join(options.words).lower().split()
    is_plain = all(word.replace("_", "").isalpha() for word in words)
    needs_session = options.values.keys() - {"root"} or options.flags - {"no_config", "no_progress"}
    if words[:1] != ["help"] or not is_plain or needs_session:
        return None
    from imq.engine.help.help import format_help

    try:
        return format_help(tuple(words[1:]))
    except StatementError:
        return None


def _starts_containers(arguments: Sequence[str]) -> bool:
    """Whether the arguments are a statement, or a command line of docker, that starts a container."""
    words = " ".join(arguments[first_word(arguments) :][:2]).split(maxsplit=2)[:2]
    return bool(words) and words[words[0] == "container" and len(words) > 1] in _STARTING


def _runs_container(arguments: Sequence[str]) -> bool:
    """Whether the arguments may be a command line of docker that runs a container."""
    return _docker_command(arguments) == "run"


def _docker_command(arguments: Sequence[str]) -> str:
    """Return the first word of the arguments, or the second after `container`; "" without one."""
    words = arguments[first_word(arguments) :]
    return next(iter(words[words[:1] == ["container"] :]), "")


def _may_detach(arguments: Sequence[str]) -> bool:
    """Whether the container may go on for long after the command: its monitor should take little memory then."""
    letters = (word for word in arguments if word.startswith("-") and not word.startswith("--"))
    return any(word.startswith("--detach") for word in arguments) or any("d" in word for word in letters)


def run() -> None:
    """Run the command line of this process: the entry point `imq`."""
    if sys.argv[1:2] == [_MONITOR]:
        from imq.engine.containers.launcher import main

        main()
    if sys.argv[1:] == [_SCANNER]:
        from imq.engine.workers.scan_process import main as run_scanner

        run_scanner()
    if _starts_containers(sys.argv[1:]):
        from imq.engine.containers import launcher

        forks = _runs_container(sys.argv[1:]) and os.geteuid() == 0 and not _may_detach(sys.argv[1:])
        (launcher.fork_monitors if forks else launcher.start_launcher)()
    # most objects stay: collecting them took 3 of 45 ms at the start, and 0.1 s in a plan of 90,000 images
    gc.set_threshold(500_000, 100)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed: without this, the next file opened would get its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
        getattr(sys, name).reconfigure(encoding="utf-8", errors="surrogateescape")  # in any locale
    code = Cli(sys.stdin, sys.stdout, sys.stderr, os.environ).main(sys.argv[1:])
    os._exit(code)  # everything is flushed and closed; an orderly exit of the interpreter takes 10 ms
