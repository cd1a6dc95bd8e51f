"""Running a docker command line from the first word to the exit code."""

from __future__ import annotations

from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .context import Desk, complain
from .detect import docker_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.cli.main import Cli

    from .commands import Command
    from .detect import Line

_SHOWN_BY_IMQ = frozenset({"dry_run", "quiet"})


def run(cli: Cli, arguments: Sequence[str], vocabulary: Iterable[str]) -> int | None:
    """Run the docker command line that the arguments are; None when they are for the language."""
    line = docker_line(arguments, vocabulary)
    if line is None:
        return None
    if line.problem is not None:
        return complain(cli.stderr, line.problem)
    if line.help is not None or line.command is None:
        cli.stdout.write(line.help or "")
        return 0
    if "version" in line.options.flags:
        cli.tell_version()
        return 0
    cli.choose_color(line.options)
    return _answered(cli, line, line.command)


def _answered(cli: Cli, line: Line, command: Command) -> int:
    """Compile the line and let it answer: as docker does, or as imq when its own options ask for that."""
    options, given = line.options, line.given
    session = cli.session(options, asks=command.asks and not given.on("force"), reads=True)
    try:
        manner = cli.manner(options).replace(no_trunc=given.on("no-trunc", default="no_trunc" in options.flags))
        streams = (cli.stdin, cli.stdout, cli.stderr)
        desk = Desk(session, streams, manner, sure="yes" in options.flags or given.on("force"))
        try:
            statements = command.work.compile(given, desk.around)
            if "explain" in options.flags:
                desk.say(session.explain(statement) for statement in statements)
                return 0
            if options.flags & _SHOWN_BY_IMQ or options.value("output") is not None:
                for statement in statements:
                    cli.write(session.execute(statement, dry_run="dry_run" in options.flags), options)
                return cli.code
            return command.work.answer(desk, given, statements)
        except Interrupted:
            raise
        except ImqError as error:
            return desk.complain(error)
    finally:
        session.close()
