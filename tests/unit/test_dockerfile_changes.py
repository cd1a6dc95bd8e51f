"""Dockerfile instructions of `import --change`: their results and their errors, as in docker 20.10."""

from __future__ import annotations

from typing import Any

import pytest
from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.units.go_strconv import format_duration, parse_duration
from imq.grammar.errors import StatementError

SHELL = ["/bin/sh", "-c"]


def applied(*changes: str) -> dict[str, Any]:
    runtime: dict[str, Any] = {}
    apply_instructions(runtime, changes)
    return runtime


MAKES: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    # commands
    (["CMD ['nginx', '-g', 'daemon off;']"], {"Cmd": [*SHELL, "['nginx', '-g', 'daemon off;']"]}),
    (['CMD ["a",'], {"Cmd": [*SHELL, '["a",']}),
    (['CMD ["a"] b'], {"Cmd": ["a"]}),
    (["CMD []"], {"Cmd": []}),
    (["CMD"], {"Cmd": SHELL}),
    (["CMD [NaN]"], {"Cmd": [*SHELL, "[NaN]"]}),
    (["  cmd   echo   $hi  there "], {"Cmd": [*SHELL, "echo   $hi  there"]}),
    (["CMD -- x"], {"Cmd": [*SHELL, "x"]}),
    (["ENTRYPOINT a b"], {"Entrypoint": [*SHELL, "a b"]}),
    (["ENTRYPOINT []"], {}),
    (['CMD ["a"]', 'ENTRYPOINT ["b"]'], {"Cmd": ["a"], "Entrypoint": ["b"]}),
    (["CMD []", "ENTRYPOINT x"], {"Entrypoint": [*SHELL, "x"]}),
    # lines
    (["ENV a=b \\", "  # a comment", "", "c=d"], {"Env": ["a=b", "c=d"]}),
    (["ENV a=b\nENV c=d\r\n# a comment"], {"Env": ["a=b", "c=d"]}),
    (["CMD echo \\", "hello"], {"Cmd": [*SHELL, "echo hello"]}),
    (["# escape=`", "ENV a=b`", "c"], {"Env": ["a=bc"]}),
    (["# other", "# escape=`", "ENV a=b`"], {"Env": ["a=b`"]}),
    (["ENV a=b\\\\"], {"Env": ["a=b\\"]}),
    # environment and variables
    (["ENV BASE=/opt/x", "ENV HOME_X=$BASE/y"], {"Env": ["BASE=/opt/x", "HOME_X=/opt/x/y"]}),
    (["ENV a b c"], {"Env": ["a=b c"]}),
    (["ENV a=\"b c\" d='e f' g=h\\ i"], {"Env": ["a=b c", "d=e f", "g=h i"]}),
    (["ENV a=1 z=9", "ENV a=2 b=$a"], {"Env": ["a=2", "z=9", "b=1"]}),
    (["ENV x=1", "ENV a=\"$x ${x}y\" b='$x' c=\\$x d=\"\\$x\""], {"Env": ["x=1", "a=1 1y", "b=$x", "c=$x", "d=$x"]}),
    (["ENV x=1", "ENV a=${x:+alt} b=${y:+alt} c=${y:-$x} d=${y:-'p q'}"],
     {"Env": ["x=1", "a=alt", "b=", "c=1", "d=p q"]}),
    (["ENV a=$ b=$1 c=$?x d=$$"], {"Env": ["a=$", "b=", "c=x", "d="]}),
    (['ENV a="b\\nc" b=b\\nc c=\'b\\\'c'], {"Env": ["a=b\\nc", "b=bnc", "c=b\\c"]}),
    (["ENV x=k", "ENV $x=y"], {"Env": ["x=k", "k=y"]}),
    (["LABEL a b", 'LABEL "a b"="c d" a.b-c/d=1 a=2'], {"Labels": {"a": "2", "a b": "c d", "a.b-c/d": "1"}}),
    (["ENV x=1", "LABEL v=$x w='$x'"], {"Env": ["x=1"], "Labels": {"v": "1", "w": "$x"}}),
    # ports
    (["EXPOSE 8000-8002 80/TCP 53/udp 9/sctp"],
     {"ExposedPorts": {port: {} for port in ("53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp", "9/sctp")}}),
    (["EXPOSE 8080:80 1.2.3.4::81 [::1]:5:82 080"], {"ExposedPorts": {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}}}),
    (["ENV p='81 82'", "EXPOSE $p"], {"Env": ["p=81 82"], "ExposedPorts": {"81/tcp": {}, "82/tcp": {}}}),
    (["EXPOSE $nope"], {}),
    # folders and users
    (["WORKDIR /a", "WORKDIR b"], {"WorkingDir": "/a/b"}),
    (["WORKDIR a/"], {"WorkingDir": "/a"}),
    (["WORKDIR /a", "WORKDIR ../../b"], {"WorkingDir": "/b"}),
    (["WORKDIR /a/../b/"], {"WorkingDir": "/a/../b/"}),
    (['WORKDIR "/x y"'], {"WorkingDir": "/x y"}),
    (["ENV d=/z", "WORKDIR $d/e"], {"Env": ["d=/z"], "WorkingDir": "/z/e"}),
    (["ENV u=me", "USER $u:1"], {"Env": ["u=me"], "User": "me:1"}),
    (["USER a", "USER $nope"], {}),
    (["VOLUME /a /b", 'VOLUME ["/c d"]'], {"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
    (["ENV v=/v", "VOLUME $v/x"], {"Env": ["v=/v"], "Volumes": {"/v/x": {}}}),
    (["VOLUME ['/a']"], {"Volumes": {"[/a]": {}}}),
    (["ENV s=SIGTERM", "STOPSIGNAL $s"], {"Env": ["s=SIGTERM"], "StopSignal": "SIGTERM"}),
    (["STOPSIGNAL RTMIN+3"], {"StopSignal": "RTMIN+3"}),
    # checks and triggers
    (["HEALTHCHECK --interval=30s --retries=3 CMD curl -f http://x || exit 1"],
     {"Healthcheck": {"Test": ["CMD-SHELL", "curl -f http://x || exit 1"], "Interval": 30_000_000_000, "Retries": 3}}),
    (['HEALTHCHECK --timeout=1m --start-period=\'1.5s\' cmd ["a","b"]'],
     {"Healthcheck": {"Test": ["CMD", "a", "b"], "Timeout": 60_000_000_000, "StartPeriod": 1_500_000_000}}),
    (["HEALTHCHECK none"], {"Healthcheck": {"Test": ["NONE"]}}),
    (["HEALTHCHECK CMD --x y"], {"Healthcheck": {"Test": ["CMD-SHELL", "--x y"]}}),
    (["ONBUILD RUN x", "onbuild  copy --from=x   a  b"], {"OnBuild": ["RUN x", "copy --from=x   a  b"]}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "runtime"), MAKES, ids=[" ; ".join(changes) for changes, _ in MAKES])
def test_instructions_change_the_config(changes: list[str], runtime: dict[str, Any]) -> None:
    assert applied(*changes) == runtime


REFUSES = [
    (["CMD [1]"], "when using JSON array syntax, arrays must be comprised of strings only"),
    (["CMD --x=y a"], "Unknown flag: x"),
    (["HEALTHCHECK"], "HEALTHCHECK requires at least one argument"),
    (["HEALTHCHECK CMD"], "Missing command after HEALTHCHECK CMD"),
    (["HEALTHCHECK NONE x"], "HEALTHCHECK NONE takes no arguments"),
    (["HEALTHCHECK FOO x"], 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
    (["HEALTHCHECK --interval=1us CMD x"], 'Interval "interval" cannot be less than 1ms'),
    (["HEALTHCHECK --interval=1 CMD x"], 'time: missing unit in duration "1"'),
    (["HEALTHCHECK --interval=5q CMD x"], 'time: unknown unit "q" in duration "5q"'),
    (["HEALTHCHECK --interval CMD x"], "Missing a value on flag: interval"),
    (["HEALTHCHECK --interval=1s --interval=2s CMD x"], "Duplicate flag specified: interval"),
    (["HEALTHCHECK --retries=0 CMD x"], "--retries must be at least 1 (not 0)"),
    (["HEALTHCHECK --retries=x CMD x"], 'strconv.ParseInt: parsing "x": invalid syntax'),
    (["ONBUILD ONBUILD RUN x"], "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    (["ONBUILD from x"], "FROM isn't allowed as an ONBUILD trigger"),
    (["ONBUILD ENV a"], "ENV must have two arguments"),
    (["ENV"], "ENV requires at least one argument"),
    (["ENV =x"], "ENV names can not be blank"),
    (["ENV a=b c"], 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
    (["ENV a=${x"], "failed to process \"${x\": missing ':' in substitution"),
    (["ENV a=${}"], 'failed to process "${}": syntax error: bad substitution'),
    (["ENV a=${x:=b}"], 'failed to process "${x:=b}": unsupported modifier (=) in substitution'),
    (["ENV a=${x:?oops}"], 'failed to process "${x:?oops}": x: oops'),
    (["ENV a=${x?}"], 'failed to process "${x?}": x: is not allowed to be unset'),
    (["ENV a='b"], 'failed to process "\'b": unexpected end of statement while looking for matching single-quote'),
    (["EXPOSE x"], "Invalid containerPort: x"),
    (["EXPOSE 80/foo"], "Invalid proto: foo"),
    (["EXPOSE 65536"], "Invalid containerPort: 65536"),
    (["EXPOSE 90-80"], "Invalid containerPort: 90-80"),
    (["EXPOSE /tcp"], "No port specified: /tcp<empty>"),
    (["EXPOSE 1-3:1-2"], "Invalid ranges specified for container and host Ports: 1-2 and 1-3"),
    (["WORKDIR $nope"], "cannot normalize nothing"),
    (["USER"], "USER requires exactly one argument"),
    (['VOLUME [""]'], "VOLUME specified can not be an empty string"),
    (["STOPSIGNAL foo"], "Invalid signal: foo"),
    (["RUN x"], "run is not a valid change command"),
    (["ENV a=b", "FOO x"], "foo is not a valid change command"),
    (["# a comment alone"], "file with no instructions"),
    (["# escape=x", "ENV a=b"], "invalid escape token 'x' does not match ` or \\"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSES, ids=[" ; ".join(changes) for changes, _ in REFUSES])
def test_invalid_instructions_raise_dockers_errors(changes: list[str], message: str) -> None:
    with pytest.raises(StatementError) as caught:
        applied(*changes)
    assert (caught.value.code, caught.value.message) == ("instruction", message)
    assert caught.value.hints


def test_a_misspelt_instruction_gets_a_suggestion() -> None:
    with pytest.raises(StatementError) as caught:
        applied("LABLE a=b")
    assert 'did you mean "LABEL"?' in caught.value.hints


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"), (1, "1ns"), (1_500, "1.5µs"), (999_999_999, "999.999999ms"), (1_500_000_000, "1.5s"),
        (90_000_000_000, "1m30s"), (3_600_000_000_000, "1h0m0s"), (3_661_000_000_005, "1h1m1.000000005s"),
        (-90_000_000_000, "-1m30s"),
    ],
)  # fmt: skip
def test_durations_are_formatted_and_parsed_as_in_go(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text
    assert parse_duration(text) == nanoseconds
