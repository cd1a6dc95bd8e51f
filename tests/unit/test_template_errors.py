"""Invalid templates: Go's messages with a position, and no exception other than StatementError."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from imq.engine.render.template.template import Template, expand_escapes
from imq.grammar.errors import StatementError, format_error
from support.peers import needs_docker, render_docker_template
from support.waiting import deadline

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

VALUE = {"s": "x", "l": ["one", "two", None, [True]], "m": {"b": "B", "a": None}, "n": None}

FAILS_RUNNING = [
    ("{{nil}}", "nil is not a command"),
    ("{{if nil}}{{end}}", "nil is not a command"),
    ("{{(nil).x}}", "nil is not a command"),
    ("{{range nil}}{{end}}", "nil is not a command"),
    ("{{1 2}}", "can't give argument to non-function 1"),
    ("{{.s 2}}", "s is not a method but has arguments"),
    ("{{.m.b 1}}", "b is not a method but has arguments"),
    ("{{3 | .s}}", "s is not a method but has arguments"),
    ("{{$x:=1}}{{$x 2}}", "can't give argument to non-function $x"),
    ("{{(1).x}}", "can't evaluate field x in type int"),
    ("{{.s.x}}", "can't evaluate field x in type string"),
    ("{{range 3.5}}{{end}}", "range can't iterate over 3.5"),
    ("{{range `abc`}}{{end}}", "range can't iterate over abc"),
    ("{{range true}}{{end}}", "range can't iterate over true"),
    ("{{range $i,$e := 3}}{{end}}", "can't use 3 to iterate over more than one variable"),
    ("{{template `x`}}", 'template "x" not defined'),
    ("{{index .l 4}}", "error calling index: reflect: slice index out of range"),
    ("{{index .l 9}}", "error calling index: index out of range: 9"),
    ("{{index .l -1}}", "error calling index: index out of range: -1"),
    ("{{index .l `x`}}", "error calling index: cannot index slice/array with type string"),
    ("{{index .l nil}}", "error calling index: cannot index slice/array with nil"),
    ("{{index .l 1.5}}", "error calling index: cannot index slice/array with type float64"),
    ("{{index .m 1}}", "error calling index: value has type int; should be string"),
    ("{{index .m nil}}", "error calling index: value is nil; should be of type string"),
    ("{{index nil 1}}", "error calling index: index of untyped nil"),
    ("{{index 1 1}}", "error calling index: can't index item of type int"),
    ("{{index `abc` 3}}", "error calling index: reflect: string index out of range"),
    ("{{slice `abc` 0 1 2}}", "error calling slice: cannot 3-index slice a string"),
    ("{{slice `abc` 2 1}}", "error calling slice: invalid slice index: 2 > 1"),
    ("{{slice `abc` 4}}", "error calling slice: index out of range: 4"),
    ("{{slice 3 1}}", "error calling slice: can't slice item of type int"),
    ("{{slice nil 1}}", "error calling slice: slice of untyped nil"),
    ("{{slice .l 0 1 2 3}}", "error calling slice: too many slice indexes: 4"),
    ("{{len 3}}", "error calling len: len of type int"),
    ("{{not}}", "wrong number of args for not: want 1 got 0"),
    ("{{not 1 2}}", "wrong number of args for not: want 1 got 2"),
    ("{{and}}", "wrong number of args for and: want at least 1 got 0"),
    ("{{eq}}", "wrong number of args for eq: want at least 1 got 0"),
    ("{{eq 1}}", "error calling eq: missing argument for comparison"),
    ("{{eq 1 1.0}}", "error calling eq: incompatible types for comparison"),
    ("{{eq 1 `1`}}", "error calling eq: incompatible types for comparison"),
    ("{{eq true 1}}", "error calling eq: incompatible types for comparison"),
    ("{{eq .m 1}}", "error calling eq: incompatible types for comparison"),
    ("{{lt true false}}", "error calling lt: invalid type for comparison"),
    ("{{lt 1 `a`}}", "error calling lt: incompatible types for comparison"),
    ("{{lt nil 1}}", "error calling lt: invalid type for comparison"),
    ("{{lt 1}}", "wrong number of args for lt: want 2 got 1"),
    ("{{lt 1 2 3}}", "wrong number of args for lt: want 2 got 3"),
    ("{{call nil}}", "error calling call: call of nil"),
    ("{{call}}", "wrong number of args for call: want at least 1 got 0"),
    ("{{lower 3}}", "expected string; found 3"),
    ("{{lower true}}", "expected string; found true"),
    ("{{lower nil}}", "cannot assign nil to string"),
    ("{{lower .l}}", "wrong type for value; expected string; got []interface {}"),
    ("{{.l | lower}}", "wrong type for value; expected string; got []interface {}"),
    ("{{lower}}", "wrong number of args for lower: want 1 got 0"),
    ("{{lower `a` `b`}}", "wrong number of args for lower: want 1 got 2"),
    ("{{lower.x}}", "wrong number of args for lower: want 1 got 0"),
    ("{{pad `x` 1.5 1}}", "expected integer; found 1.5"),
    ("{{pad `x` `1` 1}}", "expected integer; found `1`"),
    ("{{pad `a` -1 1}}", "error calling pad: strings: negative Repeat count"),
    ("{{truncate `abc` -1}}", "error calling truncate: runtime error: slice bounds out of range [:-1]"),
    ("{{printf}}", "wrong number of args for printf: want at least 1 got 0"),
    ("{{printf 1}}", "expected string; found 1"),
    ("{{1|printf}}", "wrong type for value; expected string; got int"),
    ("{{json}}", "wrong number of args for json: want 1 got 0"),
    ("{{json 1 2}}", "wrong number of args for json: want 1 got 2"),
]
FAILS_PARSING = [
    ("{{", "unclosed action"),
    ("hello{{range", "unclosed action"),
    ("{{end}}", "unexpected {{end}}"),
    ("{{else}}", "unexpected {{else}}"),
    ("{{if .x}}a{{end}}{{else}}", "unexpected {{else}}"),
    ("{{if .x}}1{{else}}2{{else}}3{{end}}", "expected end; found {{else}}"),
    ("hello{{range .x}}", "unexpected EOF"),
    ("hello{{range .x}}{{else}}", "unexpected EOF"),
    ("{{undefined}}", 'function "undefined" not defined'),
    ("{{$x}}", 'undefined variable "$x"'),
    ("{{with $x := 4}}{{end}}{{$x}}", 'undefined variable "$x"'),
    ("{{$x := 1 | $y}}", 'undefined variable "$y"'),
    ("{{template $v}}", 'unexpected "$v" in template clause'),
    ("{{template .X}}", 'unexpected ".X" in template clause'),
    ("{{with $x.Y := 4}}{{end}}", 'undefined variable "$x"'),
    ("{{printf 3, 4}}", 'unexpected "," in operand'),
    ("{{with $v, $u := 3}}{{end}}", "too many declarations in with"),
    ("{{range $u, $v, $w := 3}}{{end}}", "too many declarations in range"),
    ("{{printf (printf .).}}", "unexpected <.> in operand"),
    ("{{printf 3`x`}}", 'unexpected "`x`" in operand'),
    ("{{printf `x`.}}", "unexpected <.> in operand"),
    ("{{break}}", "{{break}} outside {{range}}"),
    ("{{range .}}{{end}} {{continue}}", "{{continue}} outside {{range}}"),
    ("{{range .}}{{else}}{{break}}{{end}}", "{{break}} outside {{range}}"),
    ("{{$x := 0}}{{$x += 1}}", 'unexpected "+" in operand'),
    ("{{$x:=.}}{{$x!2}}", "bad character U+0021 '!'"),
    ("{{$x:=.}}{{$x+2}}", "bad character U+002B '+'"),
    ("{{range $x := $y := 3}}{{end}}", 'undefined variable "$y"'),
    ("{{1.E}}", 'illegal number syntax: "1.E"'),
    ("{{true.E}}", 'unexpected . after term "true"'),
    ("{{'a'.any}}", "unexpected . after term \"'a'\""),
    ('{{"hello".guys}}', 'unexpected . after term ""hello""'),
    ("{{..E}}", 'unexpected . after term "."'),
    ("{{nil.E}}", 'unexpected . after term "nil"'),
    ("{{12|.}}", "non executable command in pipeline stage 2"),
    ("{{.|12|printf}}", "non executable command in pipeline stage 2"),
    ("{{.|true}}", "non executable command in pipeline stage 2"),
    ("{{'c'|nil}}", "non executable command in pipeline stage 2"),
    ("{{printf `%d` ( ) }}", "missing value for parenthesized pipeline"),
    ("{{()}}", "missing value for parenthesized pipeline"),
    ("{{}}", "missing value for command"),
    ("{{\n}}", "missing value for command"),
    ("{{if}}{{end}}", "missing value for if"),
    ("{{block `x`}}{{end}}", "missing value for block clause"),
    ("{{define 1}}", 'unexpected "1" in define clause'),
    ("{{if 1}}{{define `x`}}{{end}}{{end}}", "unexpected <define> in command"),
    ("{{range .}}{{else if 1}}{{end}}", "unexpected <if> in input"),
    ("{{(1}}", "unclosed left paren"),
    ("{{)}}", "unexpected right paren"),
    ("{{!}}", 'unexpected "!" in command'),
    ("{{é!}}", "bad character U+0021 '!'"),
    ('{{"a}}', "unterminated quoted string"),
    ("{{`a}}", "unterminated raw quoted string"),
    ("{{'a}}", "unterminated character constant"),
    ("{{'ab'}}", "malformed character constant: 'ab'"),
    ("{{''}}", "invalid syntax"),
    ('{{"\\q"}}', "invalid syntax"),
    ("{{'\\q'}}", "invalid syntax"),
    ('{{"\\400"}}', "invalid syntax"),
    ('{{"\\ud800"}}', "invalid syntax"),
    ("{{3x}}", 'bad number syntax: "3x"'),
    ("{{1e400}}", 'illegal number syntax: "1e400"'),
    ("{{99999999999999999999}}", 'integer overflow: "99999999999999999999"'),
    ("{{/* a}}", "unclosed comment"),
    ("{{/* a */ 1}}", "comment ends before closing delimiter"),
    ("{{x: 1}}", "expected :="),
    ("{{range 1}}{{block `a` .}}{{break}}{{end}}{{end}}", "{{break}} outside {{range}}"),
    ("{{define `a`}}x{{end}}{{define `a`}}y{{end}}", 'multiple definition of template "a"'),
]


@pytest.mark.parametrize(("text", "message"), FAILS_RUNNING, ids=[text for text, _ in FAILS_RUNNING])
def test_execution_errors_equal_go(text: str, message: str) -> None:
    template = Template.parse(text)
    with pytest.raises(StatementError) as caught:
        template.render(VALUE)
    error = caught.value
    assert re.match(r'template parsing error: template: :1:\d+: executing "\w*" at <', error.message)
    assert error.message.endswith(f">: {message}")
    assert error.span is not None
    assert text[error.span.start : error.span.end] in error.message


@pytest.mark.parametrize(("text", "message"), FAILS_PARSING, ids=[text for text, _ in FAILS_PARSING])
def test_parse_errors_equal_go(text: str, message: str) -> None:
    with pytest.raises(StatementError) as caught:
        Template.parse(text)
    error = caught.value
    assert error.code == "template"
    line = text.count("\n", 0, error.span.start if error.span else 0) + 1
    assert error.message.startswith(f"template parsing error: template: :{line}: {message}")
    assert error.span is not None
    assert 0 <= error.span.start <= error.span.end <= len(text)
    assert format_error(error).startswith("error[template]: template parsing error: ")


REFUSED = [text for text, _ in FAILS_RUNNING if Template.parse(text).find_fields() == frozenset()]


@needs_docker
@pytest.mark.parametrize("text", [*REFUSED, *(text for text, _ in FAILS_PARSING)])
def test_docker_fails_for_the_same_templates(tmp_path: pathlib.Path, text: str) -> None:
    code, _ = render_docker_template(tmp_path, text)
    assert code != 0


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("{{.ID}} {{undefined 1}}", "undefined"),
        ("a {{if .x}} b", "if"),
        ("a {{ $x }}", "$x"),
        ("{{.A}}<<.B}}", "}"),
        ("{{.A}}<<.B", "<<"),
        ("{{.A>>", ">"),
        ("{{printf 3`x`}}", "`x`"),
        ("{{1 | 2}}", "2"),
        ("{{.A}} {{.B.C | lower 1}}", "lower"),
        ("{{ 12ab }}", "12ab"),
    ],
)
def test_errors_have_a_position(text: str, position: str) -> None:
    with pytest.raises(StatementError) as caught:
        Template.parse(text).render({})
    span = caught.value.span
    assert span is not None
    assert text[span.start : span.end] == position


def test_a_misspelt_function_gets_a_suggestion() -> None:
    with pytest.raises(StatementError) as caught:
        Template.parse("{{uper .ID}}")
    assert caught.value.hints == ('did you mean "upper"?',)


DEEP = 20_000


@pytest.mark.parametrize(
    "text",
    [
        "{{" + "(" * DEEP + "1" + ")" * DEEP + "}}",
        "{{if 1}}" * DEEP + "{{end}}" * DEEP,
        "{{range 1}}" * DEEP,
        "{{with 1}}{{else}}" * DEEP,
        '{{block "a" .}}' * DEEP,
        "{{" * DEEP,
        "{{/*" * DEEP,
        "{{1}}" * DEEP + "{{",
        '{{"' * DEEP,
        "{{$x:=1}}" * DEEP + "{{$y}}",
        "{{" + ".a" * DEEP + "!}}",
        "{{" + "1" * DEEP + "}}",
        "{{0x" + "1" * DEEP + "}}",
        "{{" + "1 | " * DEEP + "}}",
        "{{" + " " * DEEP + "!}}",
        "{{- " * DEEP,
        "\n" * DEEP + "{{- 1 -}}" + "\n" * DEEP + "{{",
        '{{"' + "\\n" * DEEP + '\\q"}}',
        "{{'" + "\\\\" * DEEP,
    ],
    ids=range(19),
)
def test_long_and_deep_texts_are_refused_quickly(text: str) -> None:
    with deadline(), pytest.raises(StatementError):
        Template.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        '{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}',
        '{{define "a"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}',
        '{{define "a"}}{{template "b" .}}{{end}}{{define "b"}}{{template "a" .}}{{end}}{{template "a" 1}}',
    ],
)
def test_endless_recursion_is_an_error(text: str) -> None:
    template = Template.parse(text)
    assert template.find_fields() in (None, frozenset())
    with pytest.raises(StatementError, match="maximum template depth"):
        template.render(1)


def test_deep_data_is_an_error() -> None:
    value: object = 1
    for _ in range(sys.getrecursionlimit() * 2):
        value = [value]
    for text in ("{{.}}", "{{json .}}", '{{printf "%d" .}}'):
        with pytest.raises(StatementError, match="nested too deeply"):
            Template.parse(text).render(value)


def test_deepest_allowed_nesting_renders() -> None:
    depth = 40
    text = "{{if 1}}" * depth + "{{" + "(" * depth + "1" + ")" * depth + "}}" + "{{end}}" * depth
    assert Template.parse(text).render(None) == "1"
    assert Template.parse("{{if 0}}" + "{{else if 0}}" * 5000 + "{{else}}x{{end}}").render(None) == "x"


def test_the_analysis_of_many_calls_terminates() -> None:
    call = '{{define "tN"}}{{template "tM" .A}}{{template "tM" .B}}{{end}}'
    calls = [call.replace("N", str(n)).replace("M", str(n + 1)) for n in range(40)]
    template = Template.parse('{{template "t0" .}}{{define "t40"}}{{.}}{{end}}' + "".join(calls))
    fields = template.find_fields()
    assert fields
    assert {path[0] for path in fields} == {"a", "b"}


WORDS = [
    "{{", "}}", "<<", ">>", "{{- ", " -}}", ".", ".A", ".s", ".l", "$", "$x", ":=", "=", ",", "|", "(", ")", " ", " ",
    "if", "else", "end", "range", "with", "define", "template", "block", "break", "continue", "nil", "true",
    "printf", "print", "index", "slice", "len", "and", "or", "not", "eq", "lt", "json", "split", "join", "title",
    "lower", "pad", "truncate", "html", "js", "urlquery", "call",
    '"%d"', '"%[2]*.[1]*v"', '"%-08.3q"', '"x"', "`y`", "'z'",
    "0", "1", "-2", "3.5", "0x1p-2", "1e3", "/*", "*/", "\n", "text",
]  # fmt: skip
PIECES = st.lists(st.sampled_from(WORDS), max_size=40).map("".join)
SPACED = st.lists(st.sampled_from(WORDS[5:]), max_size=8).map(lambda words: "{{" + " ".join(words) + "}}")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("Aslx"), inner), max_leaves=8
)


def answer(ask: Callable[[], object]) -> object:
    """Return the result of a call; None for a StatementError, which can be formatted."""
    try:
        return ask()
    except StatementError as error:
        failure = error
    assert format_error(failure).startswith("error[template")
    return None


@settings(max_examples=600, deadline=None)
@given(text=st.text() | PIECES | SPACED | st.lists(SPACED, max_size=4).map("".join), value=VALUES)
@example(text="{{.", value=None)
@example(text="{{printf .s}}", value={"s": "%[", "A": 0})
@example(text='{{printf "%c%q%U" .A .A .A}}', value={"A": 1 << 80})
@example(text="{{range .A}}{{end}}", value={"A": -1})
@example(text="{{index .A .l}}{{index .A .s}}", value={"A": {"x": 1}, "l": [], "s": {}})
@example(text="{{json .}}{{js .}}{{truncate .s 1}}", value={"s": "\ud800"})
@example(text='{{printf "%99999999d" 1}}', value=None)
@example(text='{{pad "0" 0 .}}', value=None)
def test_any_text_is_a_template_or_a_statement_error(text: str, value: object) -> None:
    expand_escapes(text)
    template = answer(lambda: Template.parse(text))
    if isinstance(template, Template):
        template.find_fields()
        answer(lambda: template.render_heading("/".join))
        answer(lambda: template.render(value))


@settings(max_examples=300, deadline=None)
@given(template=st.text(alphabet="%#0+- 123.*[]vdsqxtfegcUT%", max_size=12), values=st.lists(SCALARS, max_size=3))
def test_any_format_string_can_be_printed(template: str, values: list[object]) -> None:
    value = {"f": template, "v": [*values, 1, 2]}
    assert isinstance(Template.parse("{{printf .f (index .v 0) (index .v 1)}}").render(value), str)
