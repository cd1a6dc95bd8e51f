"""Sessions that the command line's options describe, and the statements that they run."""

from __future__ import annotations

import os
import re
import time

from imq.grammar.errors import ImqError, StatementError, StoreError
from imq.grammar.record import TYPE_CHECKING

from .output import default_format
from .store_location import expand_home, store_root
from .terminal import raw_stream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.oci.platform import Platform
    from imq.engine.session.session import Session

    from .assertion_reports import AssertionReports
    from .options import Options
    from .output import Console


def open_session(console: Console, options: Options, *, confirms: bool = True, reads_stdin: bool = False) -> Session:
    """Open the session that the options describe.

    With `confirms`, destructive actions are confirmed first. With `reads_stdin`, statements may read standard input
    even when the statement does not come from the command line.
    """
    from imq._version import VERSION
    from imq.engine.session.context import SessionContext
    from imq.engine.session.session import Session

    environment = console.environment
    platform, root = options.value("platform"), options.value("root")
    configuration = read_configuration(options, environment)
    context = SessionContext(
        root=locate_store(options, environment, configuration.root),
        finds_source=not (root or environment.get("IMQ_ROOT") or configuration.root),
        missing_store="refuse" if root else "warn" if environment.get("IMQ_ROOT") else "pass",
        environment=environment,
        clock=time.time_ns,
        platform=_parse_platform(platform) if platform else None,
        insecure=frozenset(options.values.get("insecure", ())),
        progress=console.progress(options),
        on_network=_allow_fast_import,
        output_format=default_format(options),
        confirm=console.confirm if confirms and "yes" not in options.flags else None,
        stdin=console.stdin if reads_stdin or _leaves_stdin(options) else None,
        configuration=configuration,
        explains_plans=console.stdout.isatty() and default_format(options) == "table",
        prompt=console.prompt,
        version=VERSION,
    )
    session = Session(context)
    for setting in options.values.get("set", ()):
        name, equals, value = setting.partition("=")
        if not equals:
            raise StatementError(f"--set {setting}: the value is missing", code="option", hints=("--set NAME=VALUE",))
        session.define(name, value)
    for name in ("jobs", "catalogue", "workers"):
        if (chosen := options.value(name)) is not None:
            session.define(name, chosen)
    if (source := options.value("source")) is not None:
        session.use(source, "set by --source")
    elif environment.get("IMQ_SOURCE"):
        session.use(environment["IMQ_SOURCE"], "set by IMQ_SOURCE")
    return session


def run_text(console: Console, session: Session, text: str, options: Options, atoms: Mapping[int, int]) -> int:
    """Run statements, write each result as it arrives, and return the exit code.

    `atoms` are ranges of the text that are one value each, start to end.
    """
    path = options.value("file")
    folder = os.path.dirname(path) if path not in (None, "-") else ""
    if "explain" in options.flags:
        console.write_texts(session.explain_all(text, atoms, folder or os.curdir))
        return 0
    console.exit_code = 0
    if (familiar := read_familiar(text, session.vocabulary.tables)) is not None:
        text = familiar
        if text == "version":
            console.write_version()
        if text in ("version", "exit"):
            return 0
    reports = _report_assertions(console, session, text, options)
    try:
        for result in session.run(text, dry_run="dry_run" in options.flags, atoms=atoms, folder=folder or os.curdir):
            console.write(result, options)
            console.stdout.flush()
    except StatementError as error:
        from .accidents import explain_accident

        changed = explain_accident(error, text, options.words, raw_stream(console.stdout))
        raise changed from (error.__cause__ if changed is error else None)
    finally:
        if reports is not None:
            reports.write()
    return console.exit_code


def _report_assertions(console: Console, session: Session, text: str, options: Options) -> AssertionReports | None:
    """Return the reports of the options, which the session fills; None without such options."""
    paths = {form: path for form in ("junit", "sarif") if (path := options.value(form)) is not None}
    if not paths:
        return None
    from imq._version import VERSION

    from .assertion_reports import AssertionReports

    script = options.value("file") or ""
    reports = AssertionReports(paths, "" if script == "-" else script, text, VERSION)
    session.context = session.context.replace(
        on_assertion=lambda statement, outcome: reports.record(statement, outcome, console.display_options(options))
    )
    return reports


_FAMILIAR_WORDS = frozenset({"desc", "describe", "exit", "quit", "show", "version"})
_FAMILIAR = (
    r"(?ai)\s*(?:(?:desc(?:ribe)?|\\d\+?)\s+(?:table\s+)?(?P<table>[\w.]+)|(?P<tables>show\s+tables|\\dt?\+?)"
    r"|(?P<sources>show\s+(?:databases|sources)|\\l)|(?P<help>\\\?)|(?P<version>version)|(?P<exit>exit|quit|\\q))\s*;?\s*"
)


def read_familiar(text: str, tables: Collection[str] = ()) -> str | None:
    """Return the statement that a line of another program's shell means; None for other texts.

    `describe images` is `help images`; `version` and `exit` stand for themselves. `tables` are the known tables and
    views, which take precedence.
    """
    first = text.replace(";", " ").split(maxsplit=1)[:1]
    if not first or not (first[0].startswith("\\") or first[0].lower() in _FAMILIAR_WORDS - set(tables)):
        return None
    match = re.fullmatch(_FAMILIAR, text)
    if match is None:
        return None
    if match["table"]:
        return f"help {match['table']}"
    statements = {"tables": "help tables", "sources": "sources", "help": "help", "exit": "exit", "version": "version"}
    return next(statement for group, statement in statements.items() if match[group])


def read_configuration(options: Options, environment: Mapping[str, str]) -> Configuration:
    """Return the configuration; an empty one with `--no-config`. `help` works with a broken configuration too."""
    from imq.engine.configuration.configuration import Configuration
    from imq.engine.configuration.load import load_configuration

    if "no_config" in options.flags:
        if "config" in options.values:
            raise StatementError("--config and --no-config cannot be combined", code="option")
        return Configuration()
    try:
        return load_configuration(environment, options.value("config"))
    except ImqError:
        if _is_help(options):
            return Configuration()
        raise


def _parse_platform(text: str) -> Platform:
    from imq.engine.oci.platform import Platform

    return Platform.parse(text)


def locate_store(options: Options, environment: Mapping[str, str], configured: str) -> str:
    """Return the root of the store. `help` reads no store, so it works without a location."""
    root = options.value("root")
    try:
        return expand_home(root, environment) if root else store_root(environment, configured)
    except StoreError:
        if _is_help(options):
            return os.devnull
        raise


def _is_help(options: Options) -> bool:
    """Whether the statement is `help`."""
    return " ".join(options.words[:1]).lower().split()[:1] == ["help"]


def _leaves_stdin(options: Options) -> bool:
    """Whether the statement comes from arguments or a file, so that standard input is free for data."""
    return bool(options.words) or options.value("file") not in (None, "-")


def _allow_fast_import() -> None:
    """Let the HTTP library be imported without its optional dependencies, which only a process of imq's own may do."""
    from imq.engine.registry.http.fast_import import allow_fast_import

    allow_fast_import()
