"""Runs a docker command line and returns its exit code."""

from __future__ import annotations

from imq.cli.open_session import open_session
from imq.grammar import ast
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .context import CommandContext, report_error
from .detect import parse_docker_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.cli.options import Options
    from imq.cli.output import Console
    from imq.engine.session.session import Session

    from .commands import Command
    from .detect import CommandLine

_IMQ_OUTPUT_OPTIONS = frozenset({"dry_run", "quiet"})


def run(console: Console, arguments: Sequence[str], vocabulary: Iterable[str]) -> int | None:
    """Run the arguments as a docker command line; return None when they are a statement of the language."""
    line = parse_docker_line(arguments, vocabulary)
    if line is None:
        return None
    if line.error is not None:
        return report_error(console.stderr, line.error, console.find_error_width())
    if line.help is not None or line.command is None:
        console.stdout.write(line.help or "")
        return 0
    if "version" in line.options.flags:
        console.write_version()
        return 0
    console.choose_color(line.options)
    return _run_command(console, line, line.command)


def run_in_session(
    console: Console, session: Session, options: Options, arguments: Sequence[str], vocabulary: Iterable[str]
) -> int:
    """Run a docker command line in an open session, with the options of the session and those of the line."""
    line = parse_docker_line(arguments, vocabulary)
    assert line is not None
    if line.error is not None:
        return report_error(console.stderr, line.error, console.find_error_width())
    if line.help is not None or line.command is None:
        console.write_texts((line.help or "",))
        return 0
    own = line.options
    command = line.command
    line = line.replace(options=own.replace(values={**options.values, **own.values}, flags=options.flags | own.flags))
    context = session.context
    if not command.confirms or line.flags.is_on("force"):
        session.context = context.replace(confirm=None)
    try:
        return _run_with(console, session, line, command)
    finally:
        session.context = context


def _run_command(console: Console, line: CommandLine, command: Command) -> int:
    """Compile and run a command line. With imq's own output options, the output is that of a statement."""
    confirms = command.confirms and not line.flags.is_on("force")
    session = open_session(console, line.options, confirms=confirms, reads_stdin=True)
    try:
        return _run_with(console, session, line, command)
    finally:
        session.close()


def _run_with(console: Console, session: Session, line: CommandLine, command: Command) -> int:
    options, parsed = line.options, line.flags
    display_options = console.display_options(options).replace(
        no_trunc=parsed.is_on("no-trunc", default="no_trunc" in options.flags)
    )
    streams = (console.stdin, console.stdout, console.stderr)
    context = CommandContext(
        session,
        streams,
        display_options,
        is_confirmed="yes" in options.flags or parsed.is_on("force"),
        error_columns=console.find_error_width(),
    )
    handler = command.load_handler()
    try:
        statements = handler.compile(parsed, context.compile_context)
        if "explain" in options.flags:
            for statement in statements:
                if isinstance(statement, ast.Set):
                    session.execute(statement)
                else:
                    context.write((session.explain(statement),))
            return 0
        if options.flags & _IMQ_OUTPUT_OPTIONS or options.value("output") is not None:
            for statement in statements:
                console.write(session.execute(statement, dry_run="dry_run" in options.flags), options)
            return console.exit_code
        return handler.run(context, parsed, statements)
    except Interrupted:
        raise
    except ImqError as error:
        return context.report_error(error)
