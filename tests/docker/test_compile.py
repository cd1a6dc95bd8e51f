"""Docker's command lines: which lines are docker's, and the statement that each compiles to."""

from __future__ import annotations

from datetime import UTC

import pytest
from imq.docker.commands import COMMANDS, GROUPS, find_command
from imq.docker.context import CompileContext
from imq.docker.detect import parse_docker_line
from imq.docker.flags import Flag, parse_flags
from imq.docker.messages import docker_error
from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar._lalr_tables import WORDS
from imq.grammar.errors import Conflict, ImqError, SeveralNames
from imq.grammar.unparser import unparse

NOW = 1_719_792_000_000_000_000  # 2024-07-01T00:00:00Z
TAGS = {"redis": ("redis:7", "redis:latest")}
CONTEXT = CompileContext(NOW, UTC, lambda name: TAGS.get(name, ()))
VOCABULARY = {*(word for word in WORDS if word.isalpha()), *TABLES, *UNAVAILABLE_TABLES, "union", "except", "intersect"}

DISK_USAGE_FIELDS = "repository, tag, id, created, size, shared_size, unique_size, containers"
SEARCH_FIELDS = "name, description, stars, official, automated"
REFERENCE = 'path_match(name, "{0}") or path_match(repository, "{0}")'.format
LINES = [
    ("images", "images"),
    ("image ls", "images"),
    ("image list -a", "images"),
    ("images --no-trunc", "images"),
    ("images -q", "images select id as ids"),
    ("images -aq", "images select id as ids"),
    ("images -q=false", "images"),
    ("images --quiet=true --quiet=0", "images"),
    ("images --digests", "images select repository, tag, digest, id, created, size"),
    ("images --format {{.Size}}", 'images format "{{.Size}}"'),
    ("images -q --format {{.Size}}", 'images format "{{.Size}}"'),
    ("images --format=json", "images select repository, tag, digest, id, created, size as jsonl"),
    ("images --format table", "images"),
    ("images --format table -q", "images select id as ids"),
    ("images redis", f"images where {REFERENCE('redis')}"),
    ("images red*:7 -f reference=team/*", f"images where {REFERENCE('team/*')} or {REFERENCE('red*:7')}"),
    ("images -f dangling=true", "images where dangling"),
    ("images -fdangling=1", "images where dangling"),
    ("images -f=dangling=true", "images where dangling"),
    ("images --filter=dangling=false", "images where name is known"),
    ("images --filter dangling=0", "images where name is known"),
    ("images -f before=redis:7", "images where created < created of redis:7"),
    ("images -f before=a -f before=b", "images where created < created of a and created < created of b"),
    ("images -f since=93f976cf844e", "images where created > created of 93f976cf844e"),
    ("images -f label=env", "images where label.env is known"),
    ("images -f label=env=prod", 'images where label.env = "prod"'),
    ("images -f label=env=", 'images where label.env = ""'),
    ("images -f label=a=b=c", 'images where label.a = "b=c"'),
    ("images -f label=a.b-c/d=e", 'images where label."a.b-c/d" = "e"'),
    ("images -f LABEL=a -f label=b", "images where label.a is known and label.b is known"),
    ("images -f label!=a=b -f label!=c", 'images where not label.a = "b" and not label.c is known'),
    ("images -f until=24h", 'images where created < "2024-06-30T00:00:00Z"'),
    ("images -f until=2024-01-31", 'images where created < "2024-01-31T00:00:00Z"'),
    (
        "images -f until=24h -f until=2024-01-31 -f until=24h",
        'images where created < "2024-06-30T00:00:00Z" and created < "2024-01-31T00:00:00Z"',
    ),
    ("images -f label=a -f label=a", "images where label.a is known"),
    ("images -f since=a -f since=b", "images where created > created of a and created > created of b"),
    ("images -f dangling=true -f dangling=1 -f dangling=x", "images where dangling"),
    ("images --filter=", "images"),
    ("images -- redis", f"images where {REFERENCE('redis')}"),
    ("commit a b:1", 'commit "a" as "b:1"'),
    ("commit -p=false -a me a b:1", 'commit "a" as "b:1" with author = "me", pause = "false"'),
    ("run redis:7", 'run "redis:7"'),
    (
        "run -d --rm --name web -e A=1 -v /srv:/data:ro -m 512m --cpus 1.5 --network host redis:7 sh -c exit",
        (
            'run "redis:7" run "sh", "-c", "exit" with name = "web", cpu_limit = "1.5", env = "A=1",'
            ' mount = "/srv:/data:ro", auto_remove = "true", detach = "true", memory_limit = "536870912B",'
            ' network_mode = "host"'
        ),
    ),
    ("run -h box redis:7 -h x", 'run "redis:7" run "-h", "x" with hostname = "box"'),
    ("create --name web redis:7 sleep 5", 'create "web" from "redis:7" run "sleep", "5"'),
    ("inspect --type container a", "inspect container, a"),
    ("create redis:7", 'create from "redis:7"'),
    ("exec web ls -l", 'exec container, "web" run "ls", "-l"'),
    (
        "exec -it -u 1:2 -e A=1 web sh",
        'exec container, "web" run "sh" with env = "A=1", user = "1:2", stdin = "true", terminal = "true"',
    ),
    ("start a b", 'start "a", "b"'),
    ("stop -t 5 web", 'stop "web" with timeout = "5"'),
    ("kill -s HUP web", 'kill "web" with signal = "HUP"'),
    ("wait web", 'wait "web"'),
    ("rm -f web", 'rm container, "web" force'),
    ("container rm web", 'rm container, "web"'),
    ("container prune -f", "prune containers"),
    ("logs --tail 3 web", 'logs of "web" select time, stream, text'),
    ("login", "login"),
    ("login -u me --password-stdin a.example:5000", 'login a.example:5000 as "me" from stdin'),
    ("login a.example --username=me -p hidden", 'login a.example as "me"'),
    ("logout", "logout"),
    ("logout https://a.example/v2/", "logout https://a.example/v2/"),
    ("history redis:7", "history of redis:7 order by index desc select image, created, created_by, size, comment"),
    ("image history -q redis:7", "history of redis:7 order by index desc select image"),
    ("rmi --platform linux/arm64,linux/amd64 a:1", "rm a:1 platform linux/arm64, linux/amd64"),
    ("rmi a b", "rm a, b"),
    ("image rm -f a", "rm a force"),
    ("image remove a --force --no-prune", "rm a force"),
    (
        "image prune --filter until=24h --filter until=24h",
        'rm images where dangling and not in use and created <= "2024-06-30T00:00:00Z" order by created force',
    ),
    ("image prune", "rm images where dangling and not in use order by created force"),
    ("image prune -a", "rm images where not in use order by created force"),
    ("image prune -af", "rm images where not in use order by created force"),
    ("image prune --filter dangling=false", "rm images where not in use order by created force"),
    (
        "image prune --filter until=24h --filter label=a",
        (
            'rm images where dangling and not in use and created <= "2024-06-30T00:00:00Z" and label.a is known'
            " order by created force"
        ),
    ),
    (
        "image prune -a --filter label!=a --filter label!=b=c",
        'rm images where not in use and not (label.a is known and label.b = "c") order by created force',
    ),
    ("tag a b:1", "tag a as b:1"),
    ("image tag a b:1", "tag a as b:1"),
    ("pull alpine", "pull alpine"),
    ("image pull mongo:3.3.11", "pull mongo:3.3.11"),
    ("pull -q --platform linux/arm64 alpine", "pull alpine platform linux/arm64"),
    ("pull alpine --platform=linux/arm64 --disable-content-trust=false", "pull alpine platform linux/arm64"),
    ("push team/app:1", "push team/app:1"),
    ("push -a team/app", 'push images where repository = "team/app" and tag is known'),
    ("save a:1 b:1", 'save a:1, b:1 to "-" force'),
    ("save -o f.tar a:1", 'save a:1 to "f.tar" force'),
    ("image save redis a:1 --output=f.tar", 'save redis:7, redis:latest, a:1 to "f.tar" force'),
    ("load", 'load "-"'),
    ("load -qi f.tar", 'load "f.tar"'),
    ("image load --input f.tar", 'load "f.tar"'),
    ("import f.tar a:1", 'import "f.tar" as a:1'),
    ("import -", 'import "-"'),
    ("import f.tar -m hi -c ENV=1 -c USER=2", 'import "f.tar" change "ENV=1", "USER=2" message "hi"'),
    ("image inspect a b", "inspect a; inspect b"),
    ("inspect -f {{.Id}} a", 'inspect a format "{{.Id}}"'),
    ("inspect --type image -s a", "inspect a"),
    ("pull -a alpine", "pull tags of alpine all"),
    ("pull -aq --platform linux/arm64 a.example/b", "pull tags of a.example/b all platform linux/arm64"),
    ("search redis", f"search of redis limit 25 select {SEARCH_FIELDS}"),
    ("search --limit 3 --no-trunc team/app", f"search of team/app limit 3 select {SEARCH_FIELDS}"),
    (
        "search registry.local:5000/team/app",
        f"search of team/app in registry.local:5000 limit 25 select {SEARCH_FIELDS}",
    ),
    ("search docker.io/redis", f"search of redis limit 25 select {SEARCH_FIELDS}"),
    (
        "search -f stars=3 -f stars=10 --filter is-official=true -f is-automated=false redis",
        f"search of redis where stars >= 10 and official and not automated limit 25 select {SEARCH_FIELDS}",
    ),
    ("search -f stars=0 redis", f"search of redis limit 25 select {SEARCH_FIELDS}"),
    ("system df", "usage"),
    (
        "system df -v",
        (
            f"images limit 1 per id select {DISK_USAGE_FIELDS}; containers select image, id, command, created, status,"
            " started, finished, exit_code, health, name, mounts, size_rw; volumes select name, containers, size"
        ),
    ),
    ("system df -v --format json", f"images limit 1 per id select {DISK_USAGE_FIELDS}"),
]

STATEMENTS = [
    "",
    "images where dangling",
    "images count",
    "images as json",
    "images of redis:7",
    "images in store",
    "images order by size desc limit 3",
    "images except newest 3 per repository",
    "images union images",
    "images; images",
    "images a b",
    "history",
    "history of redis:7",
    "history where size > 1MB",
    "pull redis:7 platform linux/arm64",
    "pull redis:7, alpine",
    "pull",
    "push images where label.env = prod",
    "push team/app:1 to registry.local:5000/team/app:1",
    "save images where in use to used.tar",
    "save redis:7 to f.tar",
    "tag images where label.arch is known as x",
    "tag redis:7 as team/cache:stable",
    "load images.tar",
    "import ./rootfs as team/base:1",
    "inspect redis:7 format {{.Id}}",
    "inspect images where dangling",
    "rm images where dangling",
    "rm a",
    "prune",
    "-f images",
    "--help images",
    "-- images",
]

REFUSED = [
    ("images --nope", "option", "unknown flag: --nope"),
    ("images --filters x=y", "option", 'did you mean "--filter"?'),
    ("images -qz", "option", "unknown shorthand flag: 'z' in -qz"),
    ("images -f", "option", "flag needs an argument: 'f' in -f"),
    ("images --filter", "option", "flag needs an argument: --filter"),
    ("images -f foo", "option", 'invalid argument "foo" for "-f, --filter" flag: bad format of filter'),
    ("images -q=maybe", "option", 'invalid argument "maybe" for "-q, --quiet" flag: strconv.ParseBool'),
    ("images -a a b", "arguments", "'imq images' requires at most 1 argument"),
    ("rmi", "arguments", "'imq rmi' requires at least 1 argument"),
    ("image tag a", "arguments", "'imq image tag' requires 2 arguments"),
    ("image prune x", "arguments", "'imq image prune' accepts no arguments"),
    ("image lss", "unknown-command", "unknown command: imq image lss"),
    ("search --limit=x y", "option", 'invalid argument "x" for "--limit" flag: strconv.ParseInt'),
    ("images -f foo=1", "filter", "Invalid filter 'foo'"),
    ("images -f dangling=maybe", "filter", "Invalid filter 'dangling=[maybe]'"),
    ("images -f dangling=true -f dangling=0", "filter", "Invalid filter 'dangling=[true 0]'"),
    ("images -f until=soon", "filter", 'failed to parse value as time or duration: "soon"'),
    ("image prune --filter reference=x", "filter", "Invalid filter 'reference'"),
    ("image prune --filter until=1h --filter until=2h", "filter", "more than one until filter specified"),
    ("pull -a alpine:3", "reference", "tag can't be used with --all-tags/-a"),
    ("pull Foo:bar", "reference", "repository name (library/Foo) must be lowercase"),
    (
        "tag a Foo",
        "reference",
        'Error parsing reference: "Foo" is not a valid repository/tag: invalid reference format',
    ),
    ("tag a b@sha256:" + "0" * 64, "reference", "refusing to create a tag with a digest reference"),
    ("import http://x/y", "unavailable", "imq does not fetch archives from the web"),
    ("inspect --type network a", "not-found", "No such network: a"),
    ("inspect --type thing a", "option", 'unknown type: "thing"'),
    ("search --filter stars=many redis", "filter", "Invalid filter 'stars=[many]'"),
    ("search -f is-official=perhaps redis", "filter", "Invalid filter 'is-official=[perhaps]'"),
    ("search -f dangling=true redis", "filter", "Invalid filter 'dangling'"),
    ("search --limit 101 redis", "limit", "Limit 101 is outside the range of [1, 100]"),
    ("search --limit=-1 redis", "limit", "Limit -1 is outside the range of [1, 100]"),
    ("search https://x/redis", "operand", "should not have a scheme"),
]


def compile_line(line: str) -> list[object]:
    parsed = parse_docker_line(line.split(" ") if line else [], VOCABULARY)
    assert parsed is not None
    if parsed.error is not None:
        raise parsed.error
    assert parsed.command is not None
    return list(parsed.command.load_handler().compile(parsed.flags, CONTEXT))


def test_a_prune_spares_images_with_any_label_where_the_engine_does() -> None:
    parsed = parse_docker_line(["image", "prune", "-a", "--filter", "label!=a", "--filter", "label!=b=c"], VOCABULARY)
    assert parsed is not None
    assert parsed.command is not None
    newer = CONTEXT.replace(spares_any_label=lambda: True)
    (statement,) = parsed.command.load_handler().compile(parsed.flags, newer)
    expected = 'rm images where not in use and not label.a is known and not label.b = "c" order by created force'
    assert unparse(statement) == expected


@pytest.mark.parametrize(("line", "statement"), LINES)
def test_a_line_compiles_to_a_statement(line: str, statement: str, tmp_path: object) -> None:
    statements = compile_line(line)
    assert "; ".join(map(unparse, statements)) == statement
    session = Session(SessionContext(str(tmp_path), {}, lambda: NOW, UTC))
    assert list(session.parse(statement)) == statements or '"' in statement  # some quotes are optional


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_is_not_a_docker_line(statement: str) -> None:
    assert parse_docker_line(statement.split(" ") if statement else [], VOCABULARY) is None
    assert parse_docker_line([statement], VOCABULARY) is None or statement in ("pull", "history", "prune")


@pytest.mark.parametrize(("line", "code", "part"), REFUSED)
def test_errors_have_the_words_of_docker(line: str, code: str, part: str) -> None:
    with pytest.raises(ImqError) as caught:
        compile_line(line)
    assert caught.value.code == code
    assert part in "\n".join([caught.value.message, *caught.value.hints])


def test_options_of_imq_are_valid_anywhere() -> None:
    line = parse_docker_line(
        ["--root", "/a", "images", "--jobs=2", "--dry-run", "-q", "redis", "--set", "x=1"], VOCABULARY
    )
    assert line is not None
    assert line.flags.arguments == ("redis",)
    assert (line.options.values, line.options.flags) == (
        {"root": ("/a",), "jobs": ("2",), "set": ("x=1",)},
        {"dry_run"},
    )


def test_paths_may_contain_any_character() -> None:
    line = parse_docker_line(["import", "my (root).tar", "a:1", "-m", "two words"], VOCABULARY)
    assert line is not None
    assert line.flags.arguments == ("my (root).tar", "a:1")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.names[0])
def test_every_command_has_a_usage_text(command: object) -> None:
    for name in command.names:  # type: ignore[attr-defined]
        if " " in name and name.split()[0] not in GROUPS:
            continue
        line = parse_docker_line([*name.split(), "--help"], VOCABULARY)
        assert line is not None
        assert line.help is not None
        assert line.help.startswith(f"Usage:  imq {name}")
        assert all(f"--{flag.name}" in line.help for flag in command.flags)  # type: ignore[attr-defined]


def test_no_two_commands_share_a_name() -> None:
    names = [name for command in COMMANDS for name in command.names]
    assert len(names) == len(set(names))
    assert all(find_command(name) is not None for name in names)


def test_flags_may_be_joined_and_follow_the_arguments() -> None:
    flags = (Flag("all", "a"), Flag("filter", "f", "list"), Flag("human", "H", default_on=True))
    parsed = parse_flags(flags, ["x", "-af", "one", "--filter=two", "-fthree", "-f=four", "-H=false", "--", "-a"])
    assert parsed.error is None
    assert parsed.arguments == ("x", "-a")
    assert parsed.get_all("filter") == ("one", "two", "three", "four")
    assert (parsed.is_on("all"), parsed.is_on("human", default=True), parsed.get_last("filter")) == (
        True,
        False,
        "four",
    )


def test_a_conflict_of_a_source_keeps_its_words() -> None:
    used = Conflict("unable to remove 0123: a container uses the image")
    assert docker_error(used, "app:1") is used
    named = docker_error(SeveralNames("unable to remove 0123: the image has several names (a, b)"), "0123")
    assert "must be forced" in named.message
