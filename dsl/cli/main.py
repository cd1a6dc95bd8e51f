"""The command line: options, statements, streams and exit codes. Only this file and the REPL touch the world."""

from __future__ import annotations

import gc
import os
import sys
import time

from imq.grammar.errors import ImqError, Interrupted, NeedsConfirmation, StatementError, StoreError, draw
from imq.grammar.record import TYPE_CHECKING

from .options import Options, first_word, read_options
from .terminal import bare, shielded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.progress import Progress
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Result, RowSet
    from imq.engine.session.session import Session

USAGE = """\
imq asks questions of container images, and acts on the answers

  imq images where dangling                        those without a tag
  imq images where size '>' 1GB order by size desc
  imq pull redis:7 platform linux/arm64            one of another platform
  imq rm images where older than 90d --dry-run     lists what would go
  imq 'tags of redis where version >= 7 limit 5'   what a registry has

usage: imq [OPTION…] STATEMENT    without: standard input, else interactive
       imq [OPTION…] -f FILE      a script
       imq help [TOPIC]           the language
       imq COMMAND …              docker's command lines: imq image ls --help
       imq completion SHELL       what bash, zsh or fish has to read

  --root DIR        the store             --source SOURCE   where to ask
  --output FORM     json, csv, tree, …    -q, --quiet       ids alone
  --dry-run         list, and do nothing  --explain         how it would run
  --yes             do not ask            --no-trunc        whole ids and texts
  --platform P      os/arch[/variant]     --jobs N          layers at once
  --set NAME=VALUE  setting, variable     --insecure HOST   allow plain http
  --config FILE     read this one         --no-config       read none
  --color WHEN      auto, always, never   --no-progress     lines, not bars
  --spreadsheet     no formulas in csv    --version [--json]     -h, --help
"""
_DOCKER = frozenset({
    "commit", "history", "image", "images", "import", "inspect", "load", "login", "logout", "pull", "push", "rmi",
    "save", "search", "system", "tag",
})  # fmt: skip
"""The first words of docker's command lines."""
_GROUPS = ("image", "system")
"""Those of them that a word of the command follows."""
_DUMB = frozenset({"", "dumb", "unknown"})
"""Values of $TERM of terminals that only write line after line; the first is that of none."""
_SHELLS = frozenset("<>()[]{}*?&|;$#!~`'\"\\")
"""Signs that a shell takes for its own."""
_SETS = ("union", "except", "intersect")
"""The keywords that the grammar tells by their place, and not by their word."""


class Cli:
    """One run of imq, on three streams and an environment that are given to it."""

    def __init__(self, stdin: TextIO, stdout: TextIO, stderr: TextIO, environment: Mapping[str, str]) -> None:
        self.stdin = stdin
        self.stdout = shielded(stdout)
        self.stderr = shielded(stderr)
        self.environment = environment
        self.pager: str | None = None  # its command line, "" for none; None: as the environment says
        self._code = 0
        self._color = "auto"
        self._in_shell = False

    def main(self, arguments: Sequence[str]) -> int:
        """Run and return the exit code. Nothing is raised: every problem is drawn on the error stream."""
        try:
            code = self._shell(arguments)
            if code is None:
                code = self._docker(arguments)
            if code is None:
                code = self._main(read_options(arguments))
            self.stdout.flush()
        except BrokenPipeError:
            return 141
        except (Exception, KeyboardInterrupt) as problem:  # noqa: BLE001 - whatever it is, it is told
            return self.failed(problem)
        return code

    def failed(self, problem: BaseException) -> int:
        """Draw whatever ended a statement and return its exit code; a fault of imq is raised when it is looked for."""
        match problem:
            case ImqError():
                return self.fail(problem)
            case KeyboardInterrupt():
                return self.fail(Interrupted("interrupted"))
            case MemoryError():
                hints = ("ask for less at once, or allow more memory: ulimit -v",)
                return self.fail(ImqError("there is not enough memory for this", code="memory", hints=hints))
            case RuntimeError() if "can't start new thread" in str(problem):
                hints = ("allow more processes or memory: ulimit -u, ulimit -v",)
                return self.fail(ImqError("the system allows no further thread", code="memory", hints=hints))
            case OSError():
                place = f"{problem.filename}: " if isinstance(problem.filename, str) and problem.strerror else ""
                return self.fail(ImqError(f"{place}{problem.strerror or problem}", code="system"))
            case _:
                pass
        if self.environment.get("IMQ_TRACEBACK"):
            raise problem
        why = f"{type(problem).__name__}: {problem}"
        hints = ("this is a fault of imq; IMQ_TRACEBACK=1 shows where, for a report",)
        return self.fail(ImqError(why, code="internal", hints=hints))

    def fail(self, error: ImqError) -> int:
        """Draw an error and return its exit code."""
        self._flush()
        if self._in_shell and isinstance(error, StatementError) and error.meant:
            error.meant = _for_shell(error.meant)
        head, _, rest = draw(error).encode("utf-8", "backslashreplace").decode().partition(":")
        try:
            if self.colored(self.stderr):
                bare(self.stderr).write("\x1b[1;31m")
                self.stderr.write(f"{head}:")
                bare(self.stderr).write("\x1b[0m")
                self.stderr.write(f"{rest}\n")
            else:
                self.stderr.write(f"{head}:{rest}\n")
            self.stderr.flush()
        except OSError:
            pass  # nobody is listening any more
        return error.exit_code

    def _flush(self) -> None:
        try:
            self.stdout.flush()
        except OSError:
            pass

    def colored(self, stream: TextIO) -> bool:
        """Whether to colour what goes to a stream."""
        if self._color != "auto":
            return self._color == "always"
        return stream.isatty() and not self.environment.get("NO_COLOR") and not self.dumb

    @property
    def dumb(self) -> bool:
        """Whether the terminal, as far as anybody says, can neither colour nor move its cursor."""
        return self.environment.get("TERM", "") in _DUMB

    def _shell(self, arguments: Sequence[str]) -> int | None:
        """Answer a shell that completes words, or a person who wants it to; None when the arguments are for neither."""
        start = first_word(arguments)
        word, rest = arguments[start : start + 1], arguments[start + 1 :]
        if word not in (["completion"], ["__complete"]):
            return None
        from .shell_completion import completions, script

        if word == ["completion"]:
            self.stdout.write(script(rest))
        else:
            self.stdout.writelines(completions(self, rest))
        return 0

    def _docker(self, arguments: Sequence[str]) -> int | None:
        """Run a docker command line and return its exit code; None when the arguments are none."""
        start = first_word(arguments)
        if start == len(arguments) or arguments[start] not in _DOCKER:
            return None
        from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES
        from imq.grammar._lalr_tables import WORDS

        words = {*(word for word in WORDS if word.isalpha()), *TABLES, *UNAVAILABLE_TABLES, *_SETS}
        if arguments[start] not in _GROUPS and any(word in words for word in arguments[start + 1 : start + 2]):
            return None  # `images where …`: what most questions begin with is told without loading more
        from imq.docker.run import run

        return run(self, arguments, words)

    def _main(self, options: Options) -> int:
        if "help" in options.flags:
            self.stdout.write(USAGE)
            return 0
        if "version" in options.flags:
            self.tell_version(whole="json" in options.flags)
            return 0
        self.choose_color(options)
        if (told := self._help(options)) is not None:
            self._write_all((told,))
            return 0
        session = self.session(options)
        try:
            text, wholes = self._statement(options)
            if text is None:
                from imq.repl.repl import Repl

                return Repl(self, session, options).run()
            self._in_shell = bool(options.words)
            return self.run_text(session, text, options, wholes)
        finally:
            session.close()

    @staticmethod
    def _help(options: Options) -> str | None:
        """Return what `help` and `help TOPIC` tell, without a session; None for any other statement, and when in doubt.

        A topic that there is not is refused by the session, which shows where.
        """
        words = " ".join(options.words).lower().split()
        plain = all(word.replace("_", "").isalpha() for word in words)
        matters = options.values.keys() - {"root"} or options.flags - {"no_config", "no_progress"}
        if words[:1] != ["help"] or not plain or matters:
            return None
        from imq.engine.help.help import format_help

        try:
            return format_help(tuple(words[1:]))
        except StatementError:
            return None

    def tell_version(self, *, whole: bool = False) -> None:
        """Write the version; the whole: what imq is made of, as a CycloneDX bill of materials."""
        from imq._version import VERSION

        if whole:
            import json

            from imq.sbom import bill_of_materials

            self.stdout.write(json.dumps(bill_of_materials(), indent=2, ensure_ascii=False) + "\n")
            return
        self.stdout.write(f"imq {VERSION}\n")

    def choose_color(self, options: Options) -> None:
        """Colour as the options say; `StatementError` when they say something else."""
        self._color = options.value("color") or "auto"
        if self._color not in ("auto", "always", "never"):
            raise StatementError(
                f'--color cannot be "{self._color}"', code="option", hints=("it may be: auto, always, never",)
            )

    def _statement(self, options: Options) -> tuple[str | None, dict[int, int]]:
        """Return the text to run and its stretches that are one word; None when a person is to be asked."""
        path = options.value("file")
        if path is not None:
            if options.words:
                raise StatementError(
                    f'"{options.words[0]}": a statement and -f cannot be given together', code="option"
                )
            return self._read_script(path), {}
        if len(options.words) == 1:
            return options.words[0], {}
        if options.words:
            text, wholes = "", {}
            for word in options.words:
                text += " " if text else ""
                if any(sign.isspace() for sign in word):
                    wholes[len(text)] = len(text) + len(word)
                text += word or '""'
            return text, wholes
        if self.stdin.isatty():
            return None, {}
        return self._read_script("-"), {}

    def _read_script(self, path: str) -> str:
        """Return the text of a script; `-` is standard input. A byte that is no UTF-8 is refused where it stands."""
        from imq.engine.session.script_loader import read_script

        if path == "-":
            return read_script(self.stdin, "on standard input")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as source:
                return read_script(source, path)
        except OSError as problem:
            raise ImqError(f"cannot read {path}: {problem.strerror}", code="script") from None

    def session(self, options: Options, *, asks: bool = True, reads: bool = False) -> Session:
        """Open the session that the options describe.

        `asks`: what destroys is confirmed before. `reads`: standard input is there to be read though no words are.
        """
        from imq.engine.oci.platform import Platform
        from imq.engine.session.context import SessionContext
        from imq.engine.session.session import Session

        platform, named = options.value("platform"), options.value("root")
        configuration = self._configuration(options)
        world = SessionContext(
            root=expand_home(named, self.environment) if named else store_root(self.environment, configuration.root),
            missing_store="refuse" if named else "warn" if self.environment.get("IMQ_ROOT") else "pass",
            environment=self.environment,
            clock=time.time_ns,
            platform=Platform.parse(platform) if platform else None,
            insecure=frozenset(options.values.get("insecure", ())),
            progress=self._progress(options),
            on_network=_start_quickly,
            output_format=self._default_form(options),
            confirm=self._confirm if asks and "yes" not in options.flags else None,
            stdin=self.stdin if reads or self._is_elsewhere(options) else None,
            configuration=configuration,
            prompt=self._ask,
        )
        session = Session(world)
        for setting in options.values.get("set", ()):
            name, equals, value = setting.partition("=")
            if not equals:
                raise StatementError(f"--set {setting}: a value is missing", code="option", hints=("--set NAME=VALUE",))
            session.define(name, value)
        if (jobs := options.value("jobs")) is not None:
            session.define("jobs", jobs)
        if (source := options.value("source")) is not None:
            session.use(source)
        return session

    def _configuration(self, options: Options) -> Configuration:
        """Return what the configuration files say; nothing when none is to be read, or when help is asked for."""
        from imq.engine.configuration.configuration import Configuration
        from imq.engine.configuration.load import load_configuration

        if "no_config" in options.flags:
            if "config" in options.values:
                raise StatementError("--config and --no-config cannot be given together", code="option")
            return Configuration()
        try:
            return load_configuration(self.environment, options.value("config"))
        except ImqError:
            if " ".join(options.words[:1]).lower().split()[:1] == ["help"]:
                return Configuration()
            raise

    @staticmethod
    def _is_elsewhere(options: Options) -> bool:
        """Whether the statement comes from words or a file, so that standard input holds something else."""
        return bool(options.words) or options.value("file") not in (None, "-")

    def _progress(self, options: Options) -> Progress:
        from .progress_bars import progress_on

        bars = "no_progress" not in options.flags and self.stderr.isatty() and not self.dumb
        return progress_on(bare(self.stderr), bars=bars)

    def _confirm(self, planned: RowSet) -> bool:
        """Show what will be done and ask; without a terminal, refuse and say how to go on."""
        rows = list(planned.rows)
        planned = planned.replace(rows=rows)
        count = len(rows) - len(planned.errors)
        if not (self.stdin.isatty() and self.stderr.isatty()):
            raise NeedsConfirmation(
                f"{count} thing{' is' if count == 1 else 's are'} to be done for good, and nobody is there to ask:"
                " nothing was done",
                hints=("to see them: --dry-run", "to do them: --yes"),
            )
        from imq.engine.render.formats import write_rows

        self._flush()
        shown = planned.replace(output=planned.output.replace(form=None, template=None))
        texts = write_rows(shown, self.manner(Options({}, frozenset(), ())))
        if self._pages():
            self._write_all(texts)
            self.stdout.flush()
        else:
            self.stderr.writelines(texts)
        self.stderr.write(f"{_freed(planned)}Do this? [y/N] ")
        self.stderr.flush()
        return self.stdin.readline().strip().lower() in ("y", "yes")

    def _ask(self, prompt: str, hidden: bool) -> str:
        """Ask on the terminal, what is `hidden` without an echo; refuse when there is none."""
        if not (self.stdin.isatty() and self.stderr.isatty()):
            raise StatementError(
                "Cannot perform an interactive login from a non TTY device",
                code="needs-terminal",
                hints=("the password may come from elsewhere: login HOST as USER from FILE, or from stdin",),
            )
        self._flush()
        if not hidden:
            self.stderr.write(prompt)
            self.stderr.flush()
            return self.stdin.readline().strip()
        import warnings
        from getpass import GetPassWarning, getpass

        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            try:
                return getpass(prompt, self.stderr)
            except GetPassWarning:
                why = "this terminal cannot hide what is typed"
                raise ImqError(why, code="needs-terminal") from None
            except EOFError:
                raise Interrupted("no password was given") from None

    def run_text(self, session: Session, text: str, options: Options, wholes: Mapping[int, int]) -> int:
        """Run statements and write their answers; return the exit code."""
        path = options.value("file")
        folder = os.path.dirname(path) if path not in (None, "-") else ""
        if "explain" in options.flags:
            self._write_all(session.explain_all(text, wholes, folder or os.curdir))
            return 0
        self._code = 0
        dry_run = "dry_run" in options.flags
        for result in session.run(text, dry_run=dry_run, wholes=wholes, folder=folder or os.curdir):
            self.write(result, options)
            self.stdout.flush()
        return self._code

    def manner(self, options: Options) -> DisplayOptions:
        """Return how values are shown now."""
        from imq.engine.render.values import DisplayOptions

        whole, spreadsheet = "no_trunc" in options.flags, "spreadsheet" in options.flags
        return DisplayOptions(time.time_ns(), None, whole, spreadsheet)

    @property
    def code(self) -> int:
        """The exit code that what was written so far makes: the worst of all."""
        return self._code

    def write(self, result: Result, options: Options) -> None:
        """Write one answer."""
        from imq.engine.render.formats import write_documents, write_rows
        from imq.engine.result import Failure, Message, RowSet

        default = self._default_form(options)
        if isinstance(result, Message):
            self._write_all((result.text,))
            self._code = max(self._code, result.exit_code)
            return
        if isinstance(result, Failure):
            self._code = max(self._code, self.fail(result.error))
            return
        if isinstance(result, RowSet):
            self._write_all(write_rows(result, self.manner(options), default))
        else:
            self._write_all(write_documents(result, default))
        for error in result.errors:
            self.fail(error)
        self._code = max(self._code, result.exit_code)

    @staticmethod
    def _default_form(options: Options) -> str:
        """Return the form of answers that ask for none."""
        from imq.engine.render.formats import get_format

        return "ids" if "quiet" in options.flags else get_format(options.value("output") or "table").name

    def _write_all(self, texts: Iterable[str]) -> None:
        """Write an answer; what is longer than the terminal's screen goes through the pager."""
        if self._pages():
            from imq.engine.render.text_table import escape_controls

            from .pager import page, pager_of

            command = pager_of(self.environment) if self.pager is None else self.pager
            page(map(escape_controls, texts), bare(self.stdout), command, self.environment)
            return
        for text in texts:
            self.stdout.write(text)

    def _pages(self) -> bool:
        """Whether a person sits before a screen that a pager can use."""
        if self.pager == "" or self.dumb:
            return False
        return self.stdout.isatty() and self.stdin.isatty()


def _for_shell(sentence: str) -> str:
    """Return the command line that says a sentence: in quotes where the shell would make something else of it."""
    if _SHELLS.isdisjoint(sentence):
        return f"imq {sentence}"
    from shlex import quote

    return f"imq {quote(sentence)}"


def _freed(planned: RowSet) -> str:
    """Return what removals free, as they are planned; nothing when no size is known."""
    from imq.engine.units.size import human_size

    names = [heading.name for heading in planned.columns]
    if "size" not in names:
        return ""
    sizes = [row[names.index("size")] for row in planned.rows]
    return f"This frees {human_size(sum(size for size in sizes if isinstance(size, int)))}. "


def _start_quickly() -> None:
    """Load the HTTP library the short way, which a process that is imq alone may take."""
    from imq.engine.registry.http.lean import import_requests

    import_requests()


def expand_home(root: str, environment: Mapping[str, str]) -> str:
    """Return a root of which the shell left a `~` at its beginning, as of `--root=~/images`, as it was meant."""
    if root != "~" and not root.startswith("~/"):
        return root
    return os.path.join(_home(environment, f"the store {root}"), root[2:])


def store_root(environment: Mapping[str, str], configured: str) -> str:
    """Return where the store is when no option says it: $IMQ_ROOT, what is configured, else the XDG data folder."""
    if root := environment.get("IMQ_ROOT") or configured:
        return expand_home(root, environment)
    data = environment.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.join(_home(environment, "the store"), ".local", "share")
    return os.path.join(data, "imq")


def _home(environment: Mapping[str, str], what: str) -> str:
    """Return the user's home folder; raise `StoreError` when none is known."""
    from imq.engine.units.paths import home_folder

    home = home_folder(environment)
    if not home:
        raise StoreError(
            f"{what} lies in the home folder of the user, and none is known: HOME is not set to a path, and user "
            f"{os.getuid()} has no entry in the passwd database",
            code="no-home",
            hints=("say where the store is with --root DIR or IMQ_ROOT",),
        )
    return home


def run() -> None:
    """Run the command line of this process: the entry point `imq`."""
    gc.set_threshold(50_000)  # nearly all that is made while starting stays: looking it through costs 3 ms of 45
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, and nothing that is opened later may take its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
        getattr(sys, name).reconfigure(encoding="utf-8", errors="surrogateescape")  # whatever the locale
    code = Cli(sys.stdin, sys.stdout, sys.stderr, os.environ).main(sys.argv[1:])
    os._exit(code)  # all is written and closed: taking the interpreter down in order would cost 10 ms for nothing
