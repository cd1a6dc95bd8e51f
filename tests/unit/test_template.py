"""Templates: the expected output is that of Go 1.24's text/template and docker 28 for the same template and data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.render.template.template import Template
from imq.grammar.errors import StatementError
from support.peers import needs_docker, render_docker_template

if TYPE_CHECKING:
    import pathlib

VALUE = {
    "a": 1.5,
    "s": "x",
    "l": ["one", "two", None, [True]],
    "m": {"b": "B", "a": None},
    "n": None,
    "t": True,
    "e": "",
    "z": [],
}

TEXT = [
    ("plain", "plain"),
    ("a  {{- 1 -}}  b", "a1b"),
    ("a {{- /* c */ -}} b", "ab"),
    ("{{1 -}}  {{- 2}}", "12"),
    ("{{/* a\n comment */}}x", "x"),
    ("{{- 1}}", "1"),
    ("{{-1}}", "-1"),
    ("{{print 1  -}}  x", "1x"),
    ("{{- -1 -}}", "-1"),
    ("{{ \n 1 \n }}", "1"),
    ("{ {1} } }}", "{ {1} } }}"),
]
CONSTANTS = [
    ("{{'a'}} {{'\\n'}} {{'\\''}} {{'é'}} {{'\\xff'}} {{'\\u30d1'}}", "97 10 39 233 255 12497"),
    ("{{0x1F}} {{0b11}} {{0o17}} {{017}} {{1_000}} {{0x_1F}} {{+5}} {{-5}}", "31 3 15 15 1000 31 5 -5"),
    ("{{1e3}} {{.5}} {{1.}} {{0x1p4}} {{0x1p-1}} {{-0.0}} {{1e1_2}}", "1000 0.5 1 16 0.5 -0 1e+12"),
    ('{{"a\\tb\\x41\\u00e9\\101\\"\\\\"}}', 'a\tbAéA"\\'),
    ("{{`raw\\n`}}", "raw\\n"),
    ("{{true}} {{false}}", "true false"),
    ("{{9223372036854775807}} {{-9223372036854775808}}", "9223372036854775807 -9223372036854775808"),
]
FIELDS = [
    ("{{.}}", "map[a:1.5 e: l:[one two <nil> [true]] m:map[a:<nil> b:B] n:<nil> s:x t:true z:[]]"),
    ("{{.s}}", "x"),
    ("{{.zz}}", "<no value>"),
    ("{{.zz.yy.xx}}", "<no value>"),
    ("{{.n}}", "<no value>"),
    ("{{.l}}", "[one two <nil> [true]]"),
    ("{{.m}}", "map[a:<nil> b:B]"),
    ("{{.m.b}}", "B"),
    ("{{(.m).b}} {{(index .l 3)}}", "B [true]"),
    ("{{print (.m).b}}", "B"),
    ("{{(index .l 2)}}", "<no value>"),
]
VARIABLES = [
    ("{{$x := 1}}{{$x}}{{$x = 2}}{{$x}}", "12"),
    ("{{$x := 1}}{{$x := 2}}{{$x}}", "2"),
    ("{{if $x := 5}}{{$x}}{{else}}{{$x}}{{end}}", "5"),
    ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
    ("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1"),
    ("{{$x := .m}}{{$x.b}}", "B"),
    ("{{with $y := .s}}{{$y}}{{.}}{{end}}", "xx"),
    ("{{($x := 1)}}{{$x}}", "11"),
    ("{{$x:=.}}{{$x.s}}", "x"),
]
BRANCHES = [
    ("{{if .s}}a{{else if .n}}b{{end}}", "a"),
    ("{{if .n}}a{{else if .s}}b{{else}}c{{end}}", "b"),
    ("{{if false}}1{{else if false}}2{{else if true}}3{{end}}", "3"),
    ("{{with .zz}}a{{else with .s}}b{{.}}{{else}}c{{end}}", "bx"),
    ("{{with .e}}a{{else}}c{{end}}", "c"),
    ("{{if 0}}T{{else}}F{{end}}", "F"),
    ("{{if 1}}T{{else}}F{{end}}", "T"),
    ("{{if 0.0}}T{{else}}F{{end}}", "F"),
    ("{{if 1.5}}T{{else}}F{{end}}", "T"),
    ("{{if ``}}T{{else}}F{{end}}", "F"),
    ("{{if `x`}}T{{else}}F{{end}}", "T"),
    ("{{if .z}}T{{else}}F{{end}}", "F"),
    ("{{if .l}}T{{else}}F{{end}}", "T"),
    ("{{if .m}}T{{else}}F{{end}}", "T"),
    ("{{if .zz}}T{{else}}F{{end}}", "F"),
    ("{{if true}}T{{else}}F{{end}}", "T"),
    ("{{if false}}T{{else}}F{{end}}", "F"),
    ("{{if 'a'}}T{{else}}F{{end}}", "T"),
]
RANGES = [
    ("{{range .l}}<{{.}}>{{end}}", "<one><two><<no value>><[true]>"),
    ("{{range $i,$e := .l}}{{$i}}={{$e}};{{end}}", "0=one;1=two;2=<no value>;3=[true];"),
    ("{{range $k,$v := .m}}{{$k}}={{$v}};{{end}}", "a=<no value>;b=B;"),
    ("{{range $e := .l}}{{$e}};{{end}}", "one;two;<no value>;[true];"),
    ("{{range .m}}<{{.}}>{{end}}", "<<no value>><B>"),
    ("{{range .n}}x{{else}}none{{end}}", "none"),
    ("{{range .zz}}x{{else}}none{{end}}", "none"),
    ("{{range .z}}x{{else}}none{{end}}", "none"),
    ("{{range 3}}{{.}}{{end}}", "012"),
    ("{{range $i := 3}}{{$i}},{{end}}", "0,1,2,"),
    ("{{range 0}}x{{else}}none{{end}}", "none"),
    ("{{range -1}}x{{else}}none{{end}}", "none"),
    ("{{range 6}}{{if eq . 2}}{{continue}}{{end}}{{if eq . 4}}{{break}}{{end}}{{.}}{{end}}", "013"),
    ("{{range $i,$e := .l}}{{$i = 9}}{{$i}}{{end}}", "9999"),
    ("{{$x := 0}}{{range $x = .l}}{{end}}{{$x}}", "[true]"),
    ("{{range 2}}{{range 3}}{{break}}{{end}}{{.}}{{end}}", "01"),
    ("{{range 3}}{{range .}}{{.}}{{else}}{{continue}}{{end}};{{end}}", "0;01;"),
]
NAMED = [
    ("{{block `b` .s}}[{{.}}]{{end}}", "[x]"),
    ("{{block `b` 3}}{{$}}{{end}}", "3"),
]
LOGIC = [
    ("{{not 1}} {{not ``}} {{not .n}} {{not .zz}}", "false true true true"),
    ("{{and 1}} {{or 0}} {{and 1 0 (index .l 99)}} {{or 0 `x` (index .l 99)}}", "1 0 0 x"),
    ("{{and false 0}} {{and 1 0}} {{and 0 true}} {{and 1 1}}", "false 0 0 1"),
    ("{{or 0 0}} {{or 1 0}} {{or 0 true}} {{or 1 1}}", "0 1 true 1"),
    ("{{0 | and 1}} {{1 | or 0}}", "0 1"),
    ("{{if and true 1 `hi` | not}}TRUE{{else}}FALSE{{end}}", "FALSE"),
]
COMPARE = [
    (
        "{{eq 1 1}} {{eq 1 2 3 1}} {{eq `a` `a`}} {{eq true true}} {{eq 1.5 1.5}} {{ne 1 2}}",
        "true true true true true true",
    ),
    ("{{eq 1 1 `x`}}", "true"),
    ("{{eq nil nil}} {{eq 1 nil}} {{eq nil `a`}} {{ne nil 1}} {{eq .zz nil}}", "true false false true true"),
    ("{{lt 1 2}} {{le 2 2}} {{gt `b` `a`}} {{ge 1.5 1.5}} {{lt `a` `B`}}", "true true true true false"),
    ("{{lt 2 1}} {{le 3 2}} {{gt 1 1}} {{ge 1.0 1.5}}", "false false false false"),
    ("{{eq .l nil}}", "false"),
]
ELEMENTS = [
    ("{{index .l 0}} {{index .l 3 0}} {{index .m `b`}} {{index `abc` 1}}", "one true B 98"),
    ("{{index .l}}", "[one two <nil> [true]]"),
    ("{{index .m `q`}}", "<no value>"),
    (
        ("{{slice `abcdef` 1 3}} {{slice `abcdef` 2}} {{slice `abcdef`}} {{slice .l 1 3}} {{slice .l 1 2 3}}"),
        "bc cdef abcdef [two <nil>] [two]",
    ),
    ("{{slice `abc` 3}}.", "."),
    ("{{len `é`}} {{len .l}} {{len .m}} {{len ``}}", "2 4 2 0"),
]
PRINT = [
    ("{{print 1 2 `a` `b` 3 nil nil .l true}}", "1 2ab3 <nil> <nil> [one two <nil> [true]] true"),
    ("{{println `a` 1 nil}}", "a 1 <nil>\n"),
    ("{{print}}|{{println}}", "|\n"),
    ("{{print nil}}", "<nil>"),
    ("{{printf `%v` .zz}}", "<nil>"),
    ("{{1 | printf `%d`}}", "1"),
    ("{{`a` | printf}}", "a"),
    ("{{printf `%d %d` 1 | print 0}}", "01 %!d(MISSING)"),
]
PRINTF = [
    ('{{printf "%d|%5d|%-5d|%05d|%+d|% d" 42 42 42 42 42 42}}', "42|   42|42   |00042|+42| 42"),
    (
        '{{printf "%x %X %#x %o %#o %O %b %c %q %U %#U" 42 42 42 42 42 42 42 65 65 65 65}}',
        "2a 2A 0x2a 52 052 0o52 101010 A 'A' U+0041 U+0041 'A'",
    ),
    ('{{printf "%.3d|%8.3d|%-8.3d|%08.3d|%.0d|%+.3d" 7 7 7 7 0 7}}', "007|     007|007     |     007||+007"),
    ('{{printf "%v %+v %#v %T" 3.0 3.0 3.0 3.0}}', "3 3 3 float64"),
    (
        '{{printf "%v %g %G %e %E %f %F" 1.5 1.5 1e21 1.5 1.5 1.5 1.5}}',
        "1.5 1.5 1E+21 1.500000e+00 1.500000E+00 1.500000 1.500000",
    ),
    ('{{printf "%x %b" 1.5 1.5}}', "0x1.8p+00 6755399441055744p-52"),
    (
        '{{printf "%v %v %v %v %v %v %v" 1e6 100000.0 123456789.0 1e-5 0.0001 1e20 0.1}}',
        "1e+06 100000 1.23456789e+08 1e-05 0.0001 1e+20 0.1",
    ),
    (
        '{{printf "%+.3g|%06.2f|%-8.2f|% f|%#g|%+v" 1234.5 1.5 1.5 1.5 1.5 1.5}}',
        "+1.23e+03|001.50|1.50    | 1.500000|1.50000|1.5",
    ),
    ('{{printf "%5.1f|%05.2f|%.0f" 1.55 1.5 2.5}}', "  1.6|01.50|2"),
    ('{{printf "%s|%-5s|%5s|%.2s|%05s" "ab" "ab" "é" "日本語" "ab"}}', "ab|ab   |    é|日本|000ab"),
    ('{{printf "%q %+q %#q" "aé\\n" "aé" "aé"}}', '"aé\\n" "a\\u00e9" `aé`'),
    ('{{printf "%x % x %X %#x %# x" "aé" "aé" "aé" "aé" "aé"}}', "61c3a9 61 c3 a9 61C3A9 0x61c3a9 0x61 0xc3 0xa9"),
    ('{{printf "%t %v %5t|" true false true}}', "true false  true|"),
    ('{{printf "%v %v %v" .l .m nil}}', "[one two <nil> [true]] map[a:<nil> b:B] <nil>"),
    (
        '{{printf "%#v %#v" .l .m}}',
        (
            '[]interface {}{"one", "two", interface {}(nil), []interface {}{true}} map[string]interface'
            ' {}{"a":interface {}(nil), "b":"B"}'
        ),
    ),
    ('{{printf "%d" .l}}', "[%!d(string=one) %!d(string=two) <nil> [%!d(bool=true)]]"),
    ('{{printf "%s" .l}}', "[one two <nil> [%!s(bool=true)]]"),
    ('{{printf "%q" .l}}', '["one" "two" <nil> [%!q(bool=true)]]'),
    ('{{printf "%5v|%-5v|" .l .l}}', "[  one   two <nil> [ true]]|[one   two   <nil> [true ]]|"),
    ('{{printf "%6.2v|" "abc"}}', "    ab|"),
    ('{{printf "%%|%5%"}}', "%|%"),
    ('{{printf "%*d|%-*d|%.*f" 5 1 5 1 2 3.14159}}', "    1|1    |3.14"),
    ('{{printf "%[2]d %[1]d" 1 2}}', "2 1"),
    ('{{printf "%T %T %T %T %T" 1 1.5 "x" true nil}}', "int float64 string bool <nil>"),
    ('{{printf "%d %s %z" "x" 3 4}}', "%!d(string=x) %!s(int=3) %!z(int=4)"),
    ('{{printf "%d" "x"}}', "%!d(string=x)"),
    ('{{printf "%s" 1}}', "%!s(int=1)"),
    ('{{printf "%d"}}', "%!d(MISSING)"),
    ('{{printf "%d" 1 2 "x"}}', "1%!(EXTRA int=2, string=x)"),
    ('{{printf "%[3]d" 1 2}}', "%!d(BADINDEX)"),
    ('{{printf "%[x]d" 1}}', "%!d(BADINDEX)"),
    ('{{printf "%*d" "a" 1}}', "%!(BADWIDTH)1"),
    ('{{printf "%.*d" -1 1}}', "%!(BADPREC)1"),
    ('{{printf "%"}}', "%!(NOVERB)"),
    ('{{printf "%!"}}', "%!!(MISSING)"),
    ('{{printf "%d %s" nil nil}}', "%!d(<nil>) %!s(<nil>)"),
    ('{{printf "%t" 1}}', "%!t(int=1)"),
    ('{{printf "%d %s" true true}}', "%!d(bool=true) %!s(bool=true)"),
]
ESCAPES = [
    ("{{html `a<b>&\"'` 1 2}}", "a&lt;b&gt;&amp;&#34;&#39;1 2"),
    ("{{html .zz}}", "&lt;no value&gt;"),
    ("{{js `a\"'<>&=\\\\é` 1}}", "a\\\"\\'\\u003C\\u003E\\u0026\\u003D\\\\\\\\é1"),
    ('{{js "\\n\\t\\u2028"}}', "\\u000A\\u0009\\u2028"),
    ("{{urlquery `a b&é/~-_.*` 1}}", "a+b%26%C3%A9%2F~-_.%2A1"),
    ("{{`http://www.example.org/` | urlquery}}", "http%3A%2F%2Fwww.example.org%2F"),
]
DOCKER = [
    ('{{json `<a>&"\\\\`}}', '"<a>&\\"\\\\\\\\"'),
    ('{{json "\\u2028\\b\\f\\x01\\x7f\\n"}}', '"\\u2028\\b\\f\\u0001\x7f\\n"'),
    ("{{json .l}} {{json nil}} {{json .zz}} {{json true}}", '["one","two",null,[true]] null null true'),
    (
        ("{{json 1}} {{json 1.0}} {{json 1.5}} {{json 1e21}} {{json 1e-7}} {{json 0.00001}} {{json 1e20}}"),
        "1 1 1.5 1e+21 1e-7 0.00001 100000000000000000000",
    ),
    ('{{json "\\xff"}}', '"\\ufffd"'),
    ("{{split `` `,`}} {{split `abc` ``}} {{split `a,b` `,`}} {{len (split `` `,`)}}", "[] [a b c] [a b] 1"),
    ("{{join (split `text:with:colon` `:`) `/`}}", "text/with/colon"),
    ("{{lower `ÀB`}} {{upper `ßa`}}", "àb ßA"),
    ("{{lower `İÀ`}} {{upper `ᾳŉſ`}} {{title `ßa ᾳ`}}", "ià ᾼŉS ßa ᾼ"),
    ("{{title `hello wOrld a_b foo-bar é1x it's`}}", "Hello WOrld A_b Foo-Bar É1x It'S"),
    ("{{pad `x` 2 3}}|{{pad `` 2 3}}|{{pad `x` 1.0 0}}|", "  x   || x|"),
    ("{{truncate `abc` 2}} {{truncate `abc` 3}} {{truncate `abc` 9}} {{truncate `` 3}}", "ab abc abc "),
]

TABLES = {
    "text": TEXT,
    "constants": CONSTANTS,
    "fields": FIELDS,
    "variables": VARIABLES,
    "branches": BRANCHES,
    "ranges": RANGES,
    "named": NAMED,
    "logic": LOGIC,
    "compare": COMPARE,
    "elements": ELEMENTS,
    "print": PRINT,
    "printf": PRINTF,
    "escapes": ESCAPES,
    "docker": DOCKER,
}
CASES = [
    pytest.param(text, expected, id=f"{table}: {text}") for table, rows in TABLES.items() for text, expected in rows
]


def render(text: str, value: object = VALUE) -> str:
    return Template.parse(text).render(value)


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_output_equals_go(text: str, expected: str) -> None:
    assert render(text) == expected


OTHERWISE = [case for case in CASES if "{{" in case.values[0] and "<{{" not in case.values[0]]


@pytest.mark.parametrize(("text", "expected"), OTHERWISE)
def test_alternative_delimiters_are_equivalent(text: str, expected: str) -> None:
    assert render(text.replace("{{", "<<").replace("}}", ">>")) == expected


DEFINED = [
    ('{{define "t"}}[{{.}}]{{end}}{{template "t" 1}}{{template "t"}}', "[1][<no value>]"),
    ('{{template "t" .s}}{{define "t"}}{{$}}{{end}}', "x"),
    ('{{define "t"}} {{end}}{{define "t"}}b{{end}}{{template "t"}}', "b"),
    ('{{define "t"}}a{{end}}{{define "t"}} {{/* c */}}{{end}}{{template "t"}}', "a"),
    ('{{define "t"}}{{with $x := .}}{{$x}}{{end}}{{end}}{{range .l}}{{template "t" .}}{{end}}', "onetwo[true]"),
    ("{{with 1}}{{$.s}}{{end}}", "x"),
    ('{{define "f"}}{{if .}}{{len .}}{{template "f" (slice . 1)}}{{end}}{{end}}{{template "f" "abc"}}', "321"),
    ('{{"\\xff"}}{{truncate "é" 1}}{{slice "é" 1}}', "\udcff\udcc3\udca9"),
    ("{{`{{`}}{{ `}}` }}", "{{}}"),
    ('{{printf "%d" .z}}{{printf "%d" .m}}', "[]map[%!d(string=a):<nil> %!d(string=b):%!d(string=B)]"),
]


@pytest.mark.parametrize(("text", "expected"), DEFINED, ids=[text for text, _ in DEFINED])
def test_output_follows_gos_rules(text: str, expected: str) -> None:
    """Cases that docker's `context inspect`, the source of the tables above, cannot express."""
    assert render(text) == expected


def test_a_template_renders_many_values() -> None:
    template = Template.parse("{{$n := .n}}{{range $i := .n}}{{$i}}{{end}};")
    assert [template.render({"n": n}) for n in (1, 3, 0)] == ["0;", "012;", ";"]


def test_failed_rendering_leaves_the_template_usable() -> None:
    template = Template.parse("{{range .}}{{index . 1}}{{end}}")
    with pytest.raises(StatementError):
        template.render([[1]])
    assert template.render([[1, 2], [3, 4]]) == "24"


READ_NOTHING = [
    text
    for text in [*(case.values[0] for case in CASES), *(text for text, _ in DEFINED)]
    if Template.parse(text).find_fields() == frozenset() and "\\n" not in text and "\\t" not in text
]


@needs_docker
@pytest.mark.parametrize("text", READ_NOTHING)
def test_output_equals_docker(tmp_path: pathlib.Path, text: str) -> None:
    written = (render(text) + "\n").encode(errors="surrogateescape")  # halves of characters join to whole ones
    assert render_docker_template(tmp_path, text) == (0, written.decode(errors="surrogateescape"))
