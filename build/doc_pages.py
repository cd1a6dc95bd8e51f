"""What is made for people and editors of what the project declares: the cookbook, docker's commands, the manual page.

`python build/generate_docs.py` writes them; a test fails when one of them is stale.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
import tomllib
from datetime import UTC
from typing import TYPE_CHECKING, Any

from imq.cli.options import OPTIONS
from imq.cli.shell_completion import SCRIPTS
from imq.docker.commands import COMMANDS
from imq.docker.context import Around
from imq.docker.detect import docker_line
from imq.editors.token_patterns import PATTERNS
from imq.engine.actions import VERBS
from imq.engine.catalog.clauses import CLAUSES
from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.predicates import PREDICATES
from imq.engine.catalog.settings import SETTINGS
from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES
from imq.engine.render.formats import FORMATS
from imq.grammar._lalr_tables import WORDS
from imq.grammar.errors import ImqError
from imq.grammar.unparser import write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imq.docker.commands import Command

CHECKOUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir)
TASKS = os.path.join(CHECKOUT, "tests", "tasks", "tasks.toml")
NOW = 1_719_792_000_000_000_000
"""The moment (2024-07-01) at which docker's lines are compiled: filters that count from now say a date."""

# ---- the cookbook

COOKBOOK = """\
# Cookbook

Made by `build/generate_docs.py` from `tests/tasks/tasks.toml`; not to be edited. What people do today with pipelines of docker,
skopeo, jq, xargs and curl, each as one sentence. The tests run every one of them: those of the first part on a store,
those of the second against a real registry; actions as a dry run. In a shell a sentence goes between quotes, and
`--dry-run` shows what an action would do. `imq help NAME` tells of every word.
"""
PARTS = (
    ("What is here", "On images of the store.", lambda task: "waits" not in task and not task.get("registry")),
    (
        "What registries have",
        (
            "Registries are asked; what is not asked for is not fetched. `explain` before a sentence says how many"
            " requests it takes."
        ),
        lambda task: task.get("registry"),
    ),
    (
        "What waits",
        (
            "These sentences are refused by name, with the reason, until there is something to answer them:"
            " `containers` of an engine that runs some, the `insides` of images (files and packages), `registries`."
        ),
        lambda task: "waits" in task,
    ),
)


def cookbook() -> str:
    """Return the text of `dsl/docs/COOKBOOK.md`."""
    with open(TASKS, "rb") as file:
        tasks: list[dict[str, Any]] = tomllib.load(file)["task"]
    parts = [COOKBOOK]
    for title, about, belongs in PARTS:
        chosen = [task for task in tasks if belongs(task)]
        if chosen:
            parts += [f"## {title}\n", textwrap.fill(about, 120) + "\n", *map(_recipe, chosen)]
    return "\n".join(parts)


def _recipe(task: dict[str, Any]) -> str:
    said = [textwrap.fill(task["task"], 120)]
    if "waits" in task:
        said.append(f"It waits for: {task['waits']}.")
    if "refused" in task:
        said.append(f"It is refused where it would do harm (`{task['refused']}`).")
    return "\n".join([*said, "", "```", task["imq"].strip(), "```", ""])


# ---- for those who come from docker

FROM_DOCKER = """\
# For those who come from docker

Made by `build/generate_docs.py` from the declarations in `dsl/docker/`; not to be edited.

`imq` takes the place of `docker` in the command lines below: the same flags, filters, placeholders, texts and exit
codes, held against a real dockerd by the tests. They run no daemon, and are compiled to sentences of imq's language,
which `imq --explain …` shows. So a line that is nearly right can be taken up as a sentence and said further.

What is different everywhere:

- There is no daemon and no root: images lie in a folder of yours (`--root`, `$IMQ_ROOT`). Docker's own images are not
  in it: `docker save a:1 | imq load` brings them over, `imq save a:1 | docker load` back.
- A wrong command line ends with exit code 2 and a registry that fails with 3, where docker has 125 and 1. What the
  daemon would refuse ends with 1, as in docker.
- A creation time that is missing, zero or the epoch is unknown: shown as `N/A`, and no `until` matches it.
- imq's options may stand in every line: `--dry-run` lists what would be done, `--output FORM` answers in a form of
  imq's, `--explain` says how it would run, `--yes` does not ask.
- There are no containers, networks and volumes: `run`, `ps`, `build` and their like are not here.
"""
WORTH = """\
## What docker cannot say

| with docker | with imq |
|---|---|
"""
BEYOND = (
    (
        "docker images \\| grep team \\| awk '{print $3}' \\| xargs docker rmi",
        'rm images where repository like "team/*"',
    ),
    ("a loop that sorts by date and keeps three", "rm images where repository = team/app except newest 3"),
    ("docker images --format '{{.Size}}', then sort -h", "images order by size desc limit 10"),
    ("docker inspect of each image, then jq", "images where label.env = prod and user is unknown"),
    ("docker history of each image", "images where any layers where size > 100MB"),
    ("docker manifest inspect, then jq", "platforms of redis:7 where not attestation"),
    (
        "curl of /v2/redis/tags/list with a token, then sort -V",
        "tags of redis where version >= 7 order by version desc",
    ),
    ("docker pull of all, to see which are new", "images where outdated"),
)


def from_docker() -> str:
    """Return the text of `dsl/docs/FROM-DOCKER.md`."""
    parts = [FROM_DOCKER, "## Command by command\n", *map(_command, COMMANDS)]
    rows = (f"| `{line}` | `{sentence}` |" for line, sentence in BEYOND)
    return "\n".join([*parts, WORTH + "\n".join(rows) + "\n"])


def _command(command: Command) -> str:
    parts = [f"### {', '.join(f'imq {name}' for name in command.names)}\n", f"{command.doc}.\n"]
    if command.flags:
        names = (f"`-{flag.letter}` `--{flag.name}`" if flag.letter else f"`--{flag.name}`" for flag in command.flags)
        parts.append(textwrap.fill(f"Flags: {', '.join(names)}.", 120, break_on_hyphens=False) + "\n")
    if command.examples:
        rows = (f"| `imq {line}` | {_compiled(line)} |" for line in command.examples)
        parts.append("\n".join(["| docker's line | is the sentence |", "|---|---|", *rows]) + "\n")
    if command.differs:
        parts.append(textwrap.fill(f"Beside docker: {command.differs}", 120) + "\n")
    return "\n".join(parts)


def _compiled(line: str) -> str:
    words = {*(word for word in WORDS if word.isalpha()), *TABLES, *UNAVAILABLE_TABLES, "union", "except", "intersect"}
    found = docker_line(line.split(), words)
    assert found is not None, line
    assert found.command is not None, line
    assert found.problem is None, line
    try:
        statements = found.command.work.compile(found.given, Around(NOW, UTC, lambda _: ()))
    except ImqError as error:
        return f"refused: {error.message}"
    return f"`{'; '.join(map(write, statements))}`"


# ---- the manual page

SAID = (
    ("What is left of a name", "images where dangling"),
    ("The large ones, largest first", "images where size > 1GB order by size desc"),
    ("One of another platform", "pull redis:7 platform linux/arm64"),
    ("What a removal would take", "dry run rm images where older than 90d and not in use"),
    ("What a registry has", "tags of redis where version >= 7 order by version desc limit 5"),
)
ENVIRONMENT = (
    ("IMQ_ROOT", "the store, when no --root is said"),
    ("IMQ_CONFIG", "the configuration file, when no --config is said"),
    ("IMQ_SOURCE", "where to ask, when no --source is said"),
    ("DOCKER_CONFIG", "the folder of docker's config.json, with credentials of registries"),
    ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "proxies"),
    ("NO_COLOR", "anything: nothing is coloured"),
    ("PAGER", "shows answers that are longer than the screen"),
    ("IMQ_TRACEBACK", "anything: a fault of imq itself is shown whole"),
)
CODES = (
    ("0", "done"),
    ("1", "an assert does not hold, or some items of an action failed"),
    ("2", "the statement is wrong, or a removal was not confirmed"),
    ("3", "something that it needs failed: a registry, the disk"),
    ("130", "interrupted"),
)
FILES = (
    ("~/.local/share/imq", "the store: an OCI image layout, and an index that can be made anew"),
    ("~/.config/imq/config.toml", "the configuration of the user, which goes before"),
    ("/etc/imq/config.toml", "the one of the machine; `imq help configuration' tells of the keys"),
)


def manual() -> str:
    """Return the text of `dsl/docs/imq.1`, in roff."""
    lines = [
        '.\\" Made by build/generate_docs.py from the declarations; not to be edited.',
        '.TH IMQ 1 "" "imq" "User Commands"',
        ".SH NAME",
        "imq \\- ask questions of container images, and act on the answers",
        ".SH SYNOPSIS",
        *(f".B imq\n{rest}\n.br" for rest in ("[\\fIOPTION\\fR...] [\\fISTATEMENT\\fR]",)),
        *(
            f".B imq\n{rest}\n.br"
            for rest in (
                "[\\fIOPTION\\fR...] \\-f \\fIFILE\\fR",
                "help [\\fITOPIC\\fR]",
                "\\fICOMMAND\\fR of docker's [\\fIARGUMENT\\fR...]",
                f"completion {_or(SCRIPTS)}",
            )
        ),
        ".SH DESCRIPTION",
        _roff(
            "imq answers questions about container images, in its own store and in registries, and does what is to"
            " be done with the answers: one sentence in place of a pipeline. Without a statement it reads one from"
            " standard input, and on a terminal it is interactive."
        ),
        ".PP",
        _roff(
            "Every action is planned first: --dry-run lists what will be done, confirmation shows the same list, and"
            " exactly that list is done."
        ),
        ".SH OPTIONS",
        *_entries(_option_entries()),
        ".SH STATEMENTS",
        *_entries((clause.syntax, clause.doc) for clause in CLAUSES.values()),
        ".SH TABLES",
        *_entries((table.name, table.doc) for table in TABLES.values()),
        ".SH VERBS",
        *_entries((verb.name, f"{verb.doc} Such as: {verb.example}") for verb in VERBS.values()),
        ".SH CONDITIONS",
        *_entries((f"{phrase.words} {phrase.parameter}".strip(), phrase.doc) for phrase in PREDICATES.values()),
        ".SH FUNCTIONS",
        *_entries((one.name, one.doc) for one in FUNCTIONS.values() if not one.is_internal),
        *_entries((one.name, one.doc) for one in AGGREGATES.values()),
        ".SH OUTPUT FORMS",
        *_entries((form.name, form.doc) for form in FORMATS.values()),
        ".SH SETTINGS",
        *_entries((one.name, f"{one.doc} (at first {one.default})") for one in SETTINGS.values()),
        ".SH DOCKER'S COMMAND LINES",
        _roff("They work with imq in place of docker; imq COMMAND --help tells of the flags of each."),
        *_entries((", ".join(command.names), command.doc) for command in COMMANDS),
        ".SH EXIT STATUS",
        *_entries(CODES),
        ".SH ENVIRONMENT",
        *_entries(ENVIRONMENT),
        ".SH FILES",
        *_entries(FILES),
        ".SH EXAMPLES",
        *(f".PP\n{_roff(about)}:\n.PP\n.nf\n.RS\nimq '{_roff(sentence)}'\n.RE\n.fi" for about, sentence in SAID),
        ".SH SEE ALSO",
        ".BR docker (1),\n.BR podman (1),\n.BR skopeo (1)",
    ]
    return "\n".join(lines) + "\n"


def _option_entries() -> Iterator[tuple[str, str]]:
    yield "-f FILE", "run the statements of a script; - is standard input"
    for option in OPTIONS:
        yield ", ".join(f"{name} {option.takes}".rstrip() for name in option.names), option.doc


def _entries(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for title, about in rows:
        yield f".TP\n\\fB{_roff(title)}\\fR\n{_roff(about)}"


def _or(words: Iterable[str]) -> str:
    return " | ".join(words)


def _roff(text: str) -> str:
    """Return a text as roff shows it: its signs as they are, and no line that would be a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("'", "\\(aq")
    escaped = escaped.replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", escaped)


# ---- the grammar for editors

SCOPES = {
    "comment": "comment.line.number-sign",
    "template": "string.interpolated",
    "string": "string.quoted",
    "variable": "variable.other",
    "number": "constant.numeric",
    "function": "support.function",
    "verb": "keyword.other.verb",
    "table": "entity.name.type.table",
    "keyword": "keyword.control",
    "operator": "keyword.operator",
}


def textmate() -> str:
    """Return the TextMate grammar, which editors read (VS Code, Sublime Text, bat)."""
    patterns = [{"name": f"{SCOPES[kind]}.imq", "match": f"(?i){found}"} for kind, found in PATTERNS.items()]
    document = {"name": "imq", "scopeName": "source.imq", "fileTypes": ["imq"], "patterns": patterns}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


PAGES = {
    "docs/COOKBOOK.md": cookbook,
    "docs/FROM-DOCKER.md": from_docker,
    "docs/imq.1": manual,
    "editors/imq.tmLanguage.json": textmate,
}
"""What is made, by the paths of the files in `dsl/`."""
