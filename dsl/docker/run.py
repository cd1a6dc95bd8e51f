"""Running a docker command line from the first word to the exit code."""

from __future__ import annotations

from imq.cli.open_session import open_session
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .context import Desk, complain
from .detect import docker_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.cli.output import Console

    from .commands import Command
    from .detect import Line

_SHOWN_BY_IMQ = frozenset({"dry_run", "quiet"})


def run(console: Console, arguments: Sequence[str], vocabulary: Iterable[str]) -> int | None:
    """Run the docker command line that the arguments are; None when they are for the language."""
    line = docker_line(arguments, vocabulary)
    if line is None:
        return None
    if line.problem is not None:
        return complain(console.stderr, line.problem)
    if line.help is not None or line.command is None:
        console.stdout.write(line.help or "")
        return 0
    if "version" in line.options.flags:
        console.write_version()
        return 0
    console.choose_color(line.options)
    return _answered(console, line, line.command)


def _answered(console: Console, line: Line, command: Command) -> int:
    """Compile the line and let it answer: as docker does, or as imq when its own options ask for that."""
    options, given = line.options, line.given
    session = open_session(console, options, confirms=command.asks and not given.on("force"), reads_stdin=True)
    try:
        manner = console.display_options(options).replace(
            no_trunc=given.on("no-trunc", default="no_trunc" in options.flags)
        )
        streams = (console.stdin, console.stdout, console.stderr)
        desk = Desk(session, streams, manner, sure="yes" in options.flags or given.on("force"))
        try:
            statements = command.work.compile(given, desk.around)
            if "explain" in options.flags:
                desk.say(session.explain(statement) for statement in statements)
                return 0
            if options.flags & _SHOWN_BY_IMQ or options.value("output") is not None:
                for statement in statements:
                    console.write(session.execute(statement, dry_run="dry_run" in options.flags), options)
                return console.exit_code
            return command.work.answer(desk, given, statements)
        except Interrupted:
            raise
        except ImqError as error:
            return desk.complain(error)
    finally:
        session.close()
