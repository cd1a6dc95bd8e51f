"""Docker's commands for containers: `run`, `create`, `exec`, `start`, `stop`, `logs`, `rm` and others."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import ImqError, Interrupted, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .context import Handler
from .creation_flags import list_creation_values
from .direct_run import NOT_EXECUTED, NOT_RUN
from .filters import compare_moment, join_conditions, prune_conditions
from .options import literals, make_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.containers.log_file import LogLine

    from .context import CommandContext, CompileContext, Outcome
    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]

_WORD = "container"
_VARIABLES = {"env-file": "env_file", "env": "env"}
_PULLS = ("always", "missing", "never")


def _require_engine(parsed: ParsedFlags, compile_context: CompileContext) -> None:
    """Raise `StatementError` for a flag that only engines support, when the containers are those of the store."""
    if parsed.engine_error is not None and not compile_context.in_engine:
        raise parsed.engine_error


def _compile_pull(parsed: ParsedFlags) -> Statements:
    """Return the pull of --pull, for `missing` too: then it is run when the image is missing."""
    policy = parsed.get_last("pull")
    if policy and policy not in _PULLS:
        raise StatementError(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"', code="option"
        )
    if policy in ("", "never"):
        return ()
    return (ast.ActionStatement("pull", literals(parsed.arguments[:1])),)


def _run_with_pull(
    context: CommandContext, parsed: ParsedFlags, statements: Statements
) -> tuple[list[Outcome], tuple[ImqError, ...]]:
    """Run an action, before it a pull with --pull always, and with --pull missing when the image is missing."""
    *pulls, act = statements
    assert isinstance(act, ast.ActionStatement)
    if parsed.get_last("pull") == "missing":
        try:
            return context.run_action(act)
        except NotFound as problem:
            if problem.code != "no-such-image":
                raise
    for pull in pulls:
        assert isinstance(pull, ast.ActionStatement)
        _, errors = context.run_action(pull)
        if errors:
            return [], errors
    return context.run_action(act)


def compile_run(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the statement of `docker run`."""
    _require_engine(parsed, compile_context)
    image, *words = parsed.arguments
    run = (ast.Option("run", literals(words)),) if words else ()
    options = (*run, *make_with(list_creation_values(parsed)))
    return (*_compile_pull(parsed), ast.ActionStatement("run", literals((image,)), options=options))


def run_run(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Run the container; return its exit code, and with -d write its ID."""
    try:
        outcomes, errors = _run_with_pull(context, parsed, statements)
    except Interrupted:
        raise
    except ImqError as error:
        context.report_error(error)
        return NOT_RUN
    for problem in errors:
        if problem.code != "container-failed":
            context.report_error(problem)
        return int(getattr(problem, "exit_status", NOT_RUN))
    if parsed.is_on("detach"):
        context.write(f"{outcome.note}\n" for outcome in outcomes)
    return 0


def compile_create(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the statement of `docker create`."""
    _require_engine(parsed, compile_context)
    image, *words = parsed.arguments
    run = (ast.Option("run", literals(words)),) if words else ()
    pairs = [pair for pair in list_creation_values(parsed) if pair[0] != "name"]
    options = (ast.Option("from", literals((image,))), *run, *make_with(pairs))
    name = parsed.get_last("name")
    return (*_compile_pull(parsed), ast.ActionStatement("create", literals((name,)) if name else (), options=options))


def run_create(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Create the container and write its ID."""
    outcomes, errors = _run_with_pull(context, parsed, statements)
    context.write(f"{outcome.note}\n" for outcome in outcomes if not outcome.error)
    return context.report_errors(errors)


def compile_exec(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
    """Return the statement of `docker exec`."""
    container, *words = parsed.arguments
    pairs = [(name, text) for flag, name in _VARIABLES.items() for text in parsed.get_all(flag)]
    pairs += [(name, parsed.get_last(name)) for name in ("user", "workdir") if parsed.get_all(name)]
    switches = (("detach", "detach"), ("interactive", "stdin"), ("tty", "terminal"), ("privileged", "privileged"))
    pairs += [(name, "true") for flag, name in switches if parsed.is_on(flag)]
    options = (ast.Option("run", literals(words)), *make_with(pairs))
    return (ast.ActionStatement("exec", (ast.Literal(_WORD), *literals((container,))), options=options),)


def run_exec(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Run the program and return its exit code; of one in the background, only whether it was started."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    _, errors = context.run_action(act)
    for error in errors:
        code = 1 if error.code == "exec" else context.report_error(error)
        if parsed.is_on("detach"):
            return 1
        return NOT_EXECUTED if error.code == "no-such-user" else int(getattr(error, "exit_status", code))
    return 0


def _make_compiler(
    verb: str, read: Callable[[ParsedFlags], Sequence[tuple[str, str]]] = lambda _: (), *, marked: bool = False
) -> Callable[[ParsedFlags, CompileContext], Statements]:
    """Return the compiler of a command whose arguments are containers. `marked`: the statement says so."""

    def compile_(parsed: ParsedFlags, _compile_context: CompileContext) -> Statements:
        references = literals(parsed.arguments)
        if marked:
            references = (ast.Literal(_WORD), *references)
        options = make_with(read(parsed))
        if marked and parsed.is_on("force"):
            options = (*options, ast.Option("force"))
        return (ast.ActionStatement(verb, references, options=options),)

    return compile_


def _read_stopping(parsed: ParsedFlags) -> list[tuple[str, str]]:
    timeout = parsed.get_last("timeout") or parsed.get_last("time")
    pairs = [("timeout", timeout)] if timeout else []
    return [*pairs, *(("signal", text) for text in parsed.get_all("signal")[-1:])]


def _make_runner(line: Callable[[str, Outcome], str]) -> Callable[[CommandContext, ParsedFlags, Statements], int]:
    """Return the runner of a command that writes a line for each container, as the user named it."""

    def run(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
        (act,) = statements
        assert isinstance(act, ast.ActionStatement)
        context.session.context = context.session.context.replace(confirm=None)  # docker does not prompt
        try:
            outcomes, errors = context.run_action(act)
        except NotFound as error:
            outcomes, errors = [], (error,)
        done = [outcome for outcome in outcomes if not outcome.error]
        failed = {outcome.target for outcome in outcomes if outcome.error}
        names = [name for name in parsed.arguments if name not in failed]
        if len(names) != len(done):
            names = [outcome.target for outcome in done]
        context.write(f"{line(name, outcome)}\n" for name, outcome in zip(names, done, strict=True))
        is_failure = context.report_errors(errors) != 0
        if parsed.is_on("force") and all(isinstance(error, NotFound) for error in errors):
            return 0  # docker reports a container that it does not find, and goes on
        return int(is_failure)

    return run


def run_rename(context: CommandContext, _parsed: ParsedFlags, statements: Statements) -> int:
    """Run the statement of `container rename`, which writes nothing."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    _, errors = context.run_action(act)
    return context.report_errors(errors)


def _read_attaching(parsed: ParsedFlags) -> list[tuple[str, str]]:
    switches = (("attach", "attach"), ("interactive", "stdin"))
    pairs = [(name, "true") for flag, name in switches if parsed.is_on(flag)]
    return [*pairs, *(("detach_keys", text) for text in parsed.get_all("detach-keys")[-1:])]


def _read_attachment(parsed: ParsedFlags) -> list[tuple[str, str]]:
    pairs = [("stdin", "false")] if parsed.is_on("no-stdin") else []
    return [*pairs, *(("detach_keys", text) for text in parsed.get_all("detach-keys")[-1:])]


def run_attached(context: CommandContext, _parsed: ParsedFlags, statements: Statements) -> int:
    """Pass the streams of the container on; return its exit code."""
    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    _, errors = context.run_action(act)
    for error in errors:
        if error.code != "container-failed":  # it was not started, and docker has no exit code of the program
            context.report_error(error)
            return 1
        return int(getattr(error, "exit_status", 1))
    return 0


def run_start(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Start the containers and write their names, or with -a and -i pass the streams of one on."""
    if parsed.is_on("attach") or parsed.is_on("interactive"):
        return run_attached(context, parsed, statements)
    return _make_runner(_write_name)(context, parsed, statements)


def _write_name(name: str, _outcome: Outcome) -> str:
    return name


def _write_exit_code(_name: str, outcome: Outcome) -> str:
    return (outcome.note or "").rpartition(" ")[2]


def compile_prune(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the statement of `docker container prune`."""
    filters, _ = prune_conditions(parsed.get_all("filter"), compile_context.now, compile_context.zone)
    return (ast.ActionStatement("prune", query=ast.Query("containers", where=join_conditions([filters]))),)


def run_prune(context: CommandContext, _parsed: ParsedFlags, statements: Statements) -> int:
    """Prompt unless -f is set, remove the stopped containers, and write their names and the reclaimed space."""
    from imq.engine.render.docker import format_reclaimed_space

    (act,) = statements
    assert isinstance(act, ast.ActionStatement)
    if not context.confirm_removal("This will remove all stopped containers."):
        return 0
    outcomes, errors = context.run_action(act)
    done = [outcome for outcome in outcomes if not outcome.error]
    if done:
        context.write(("Deleted Containers:\n", *(f"{outcome.target}\n" for outcome in done), "\n"))
    context.write((format_reclaimed_space(sum(outcome.size or 0 for outcome in done)),))
    return context.report_errors(errors)


_LOG_FIELDS = ("time", "stream", "text")


def compile_logs(parsed: ParsedFlags, compile_context: CompileContext) -> Statements:
    """Return the query of `docker logs`."""
    conditions: list[ast.Expr | None] = []
    for flag, operator in (("since", ">="), ("until", "<")):
        if text := parsed.get_last(flag):
            conditions.append(compare_moment("time", operator, text, compile_context.now, compile_context.zone))
    if parsed.is_on("follow") and compile_context.in_engine:
        raise StatementError("logs of an engine are not followed", code="option")
    query = ast.Query(
        "logs",
        literals(parsed.arguments),
        where=join_conditions(conditions),
        select=tuple(ast.Column(ast.Field((name,))) for name in _LOG_FIELDS),
    )
    return (ast.QueryStatement(query),)


def run_logs(context: CommandContext, parsed: ParsedFlags, statements: Statements) -> int:
    """Write the lines of standard output and standard error to these streams; with -f, those to come too."""
    from imq.engine.containers.log_file import LogLine

    printer = _LogPrinter(context, with_times=parsed.is_on("timestamps"))
    if _is_of_store(context):
        _write_log(context, parsed, printer)
        return 0
    tail = parsed.get_last("tail")
    result = context.run_query(statements[0])
    rows = list(result.rows)
    if tail.isdecimal():
        rows = rows[len(rows) - min(int(tail), len(rows)) :]
    for time, stream, text in rows:
        printer.write(LogLine(int(str(time or 0)), str(stream), f"{text}\n"))
    printer.flush()
    return context.report_errors(result.errors)


def _is_of_store(context: CommandContext) -> bool:
    """Whether the container is one of the store: its log is a file, with the bytes that the program wrote."""
    from imq.engine.session.state import DEFAULT_SOURCE

    return not context.session.is_of_engine and context.session.state.current_source == DEFAULT_SOURCE


class _LogPrinter:
    """Writes the lines of a log, or parts of them, to the streams of a command. A line without an end gets none."""

    def __init__(self, context: CommandContext, *, with_times: bool) -> None:
        self._streams = {"stdout": context.stdout, "stderr": context.stderr}
        self._with_times = with_times
        self._unfinished: set[str] = set()
        self._last = context.stdout

    def write(self, line: LogLine) -> None:
        """Write a line, or the next part of one."""
        from imq.engine.containers.log_file import format_log_time

        target = self._streams[line.stream] if line.stream in self._streams else self._streams["stdout"]
        if target is not self._last:
            self.flush()  # both may be the same terminal
            self._last = target
        is_start = line.stream not in self._unfinished
        target.write(f"{format_log_time(line.time)} {line.text}" if self._with_times and is_start else line.text)
        if line.text.endswith("\n"):
            self._unfinished.discard(line.stream)
        else:
            self._unfinished.add(line.stream)

    def flush(self) -> None:
        """Pass on what has been written."""
        self._last.flush()


def _write_log(context: CommandContext, parsed: ParsedFlags, printer: _LogPrinter) -> None:
    """Write the log of a container of the store; with -f, also what is added until the container ends."""
    from collections import deque
    from itertools import islice

    from imq.engine.containers.factory import make_containers
    from imq.engine.containers.log_file import read_log
    from imq.engine.units.time import parse_until

    containers = make_containers(context.session.store, "", {})
    container = containers.find(parsed.arguments[0])
    path, inputs = containers.log_path(container), context.compile_context
    since, until = (
        parse_until(text, inputs.now, inputs.zone) if (text := parsed.get_last(flag)) else None
        for flag in ("since", "until")
    )

    def is_in_range(line: LogLine) -> bool:
        return (since is None or line.time >= since) and (until is None or line.time < until)

    count = 0

    def read_counted() -> Iterator[LogLine]:
        nonlocal count
        for line in read_log(path):
            count += 1
            if is_in_range(line):
                yield line

    tail = parsed.get_last("tail")
    for line in deque(read_counted(), int(tail)) if tail.isdecimal() else read_counted():
        printer.write(line)
    printer.flush()
    if not parsed.is_on("follow"):
        return

    def is_running() -> bool:
        try:
            return containers.read_state(container.id).is_running
        except ImqError:
            return False  # it was removed when it ended

    for line in islice(read_log(path, is_running), count, None):
        if is_in_range(line):
            printer.write(line)
            printer.flush()


RUN = Handler(compile_run, run_run)
CREATE = Handler(compile_create, run_create)
EXEC = Handler(compile_exec, run_exec)
START = Handler(_make_compiler("start", _read_attaching), run_start)
ATTACH = Handler(_make_compiler("attach", _read_attachment), run_attached)
STOP = Handler(_make_compiler("stop", _read_stopping), _make_runner(_write_name))
RESTART = Handler(_make_compiler("restart", _read_stopping), _make_runner(_write_name))
KILL = Handler(
    _make_compiler("kill", lambda parsed: [("signal", text) for text in parsed.get_all("signal")[-1:]]),
    _make_runner(_write_name),
)
WAIT = Handler(_make_compiler("wait"), _make_runner(_write_exit_code))
PAUSE = Handler(_make_compiler("pause"), _make_runner(_write_name))
UNPAUSE = Handler(_make_compiler("unpause"), _make_runner(_write_name))
REMOVE = Handler(_make_compiler("rm", marked=True), _make_runner(_write_name))
RENAME = Handler(_make_compiler("rename", marked=True), run_rename)
PRUNE = Handler(compile_prune, run_prune)
LOGS = Handler(compile_logs, run_logs)
