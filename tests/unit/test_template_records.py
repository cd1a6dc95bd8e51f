"""Templates for records of the engine: names, sizes, unknown values, the fields that are read, heading rows."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import pytest
from imq.engine.catalog.tables import DataType
from imq.engine.render.formats import write_rows
from imq.engine.render.template.template import Template, expand_escapes, split_table_directive
from imq.engine.render.values import DisplayOptions
from imq.engine.result import Column, RowSet
from imq.engine.units.size import Size
from imq.grammar.ast import Output
from imq.grammar.errors import UnknownName
from support.peers import needs_docker, render_docker_template

if TYPE_CHECKING:
    import pathlib


class Image:
    """A record like those of the engine: fields by lower-case name, a size with its own string, a method."""

    def __init__(self) -> None:
        self.fields = {
            "id": "sha256:1",
            "repository": "redis",
            "size": Size(142_000_000),
            "author": None,
            "layers": [Size(1), 2],
        }

    def lookup(self, name: str) -> object:
        if name == "label":
            return lambda key: {"env": "prod"}.get(key, "")
        return self.fields[name]

    def data(self) -> dict[str, object]:
        return self.fields


def render(text: str, value: object) -> str:
    return Template.parse(text).render(value)


RECORDS = [
    ("{{.ID}} {{.Repository}}", "sha256:1 redis"),
    ("{{.size}} {{.SIZE}} {{$.Size}}", "142MB 142MB 142MB"),
    ('{{printf "%d %s %v %5.1s|" .Size .Size .Size .Size}}', "142000000 142MB 142MB     1|"),
    ("{{gt .Size 100}} {{lt .Size 100}} {{eq .Size 142000000}}", "true false true"),
    ('{{eq .Size "142MB"}} {{lower .Size}} {{len .Size}}', "true 142mb 5"),
    ("{{truncate .Size 3}}|{{pad .Size 1 1}}", "142| 142MB "),
    ("{{json .Size}} {{json .Layers}} {{.Layers}}", "142000000 [1,2] [1B 2]"),
    ("{{json .}}", '{"id":"sha256:1","repository":"redis","size":142000000,"author":null,"layers":[1,2]}'),
    ("{{.}}", "map[author:<nil> id:sha256:1 layers:[1B 2] repository:redis size:142MB]"),
    ('{{.Label "env"}}|{{.Label "x"}}|{{"env" | .Label}}', "prod||prod"),
    ('{{index . "id"}}|{{index . "no"}}', "sha256:1|<no value>"),
    ("{{range $k, $v := .}}{{$k}},{{end}}", "author,id,layers,repository,size,"),
]


@pytest.mark.parametrize(("text", "expected"), RECORDS, ids=[text for text, _ in RECORDS])
def test_reads_records(text: str, expected: str) -> None:
    assert render(text, Image()) == expected


UNKNOWN = [
    ("{{.Author}}", "<no value>"),
    ("[{{upper .Author}}{{.Author | lower}}]", "[]"),
    ("{{len .Author}}{{join .Author `,`}}{{range .Author}}x{{end}}", "0"),
    ("{{.Author.Name}} {{index .Author `k`}}", "<no value> <no value>"),
    ("{{lt .Author 1}} {{ge .Author 1}} {{eq .Author 1}} {{ne .Author 1}}", "false false false true"),
]


@pytest.mark.parametrize(("text", "expected"), UNKNOWN, ids=[text for text, _ in UNKNOWN])
def test_an_unknown_value_does_not_stop_a_listing(text: str, expected: str) -> None:
    """Docker's records have empty strings and lists for unknown values; None behaves like these."""
    assert render(text, Image()) == expected


def test_an_unknown_field_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName) as caught:
        render("a {{.Repositry}}", Image())
    error = caught.value
    assert error.code == "template-field"
    assert error.message == (
        'template parsing error: template: :1:4: executing "" at <.Repositry>: can\'t evaluate field Repositry'
    )
    assert error.span is not None
    assert "a {{.Repositry}}"[error.span.start : error.span.end] == ".Repositry"
    assert error.hints[0] == 'did you mean "repository"?'


def test_an_exact_name_wins_over_one_in_another_case() -> None:
    assert render("{{.Name}} {{.name}} {{.NAME}}", {"name": 1, "Name": 2}) == "2 1 1"


def test_value_with_its_own_json() -> None:
    class Moment(int):
        def json_value(self) -> str:
            return "2024-01-31T00:00:00Z"

    assert render("{{json .}}", {"created": Moment(5)}) == '{"created":"2024-01-31T00:00:00Z"}'


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_represent(number: float) -> None:
    assert render("[{{json .}}]", [1, number]) == "[]"


FIELD_PATHS = [
    ("plain", set()),
    ("{{.ID}} {{.Config.User}} {{$.Name}}", {("id",), ("config", "User"), ("name",)}),
    ("{{.ID}}{{.id}}", {("id",)}),
    ("{{range .Layers}}{{.Size}}{{$.ID}}{{end}}", {("layers",), ("layers", "Size"), ("id",)}),
    ("{{range $i, $l := .L}}{{$i}}{{$l.Size}}{{else}}{{.Tag}}{{end}}", {("l",), ("l", "Size"), ("tag",)}),
    ("{{with .Config}}{{.User}}{{else with .Os}}{{end}}", {("config",), ("config", "User"), ("os",)}),
    ("{{if .A}}{{.B}}{{else}}{{.C}}{{end}}", {("a",), ("b",), ("c",)}),
    ('{{index .Labels "a.b"}}{{(index .L 0).X}}', {("labels", "a.b"), ("l", "X")}),
    ('{{index .Labels .Key}}{{.Label "x"}}', {("labels",), ("key",), ("label",)}),
    ('{{or .A .B | printf "%s" .C}}', {("a",), ("b",), ("c",)}),
    ("{{$x := .}}{{$x.ID}}{{$y := .M}}{{$y.N}}", {("id",), ("m", "N")}),
    ("{{$x := .A}}{{range .L}}{{$x = .}}{{end}}{{$x.F}}", {("a", "F"), ("l",)}),
    ('{{template "t" .}}{{define "t"}}{{.Q}}{{end}}', {("q",)}),
    ('{{block "t" .M}}{{.Q}}{{$.R}}{{end}}', {("m", "Q"), ("m", "R")}),
    ('{{define "t"}}{{.A}}{{template "t" .Next}}{{end}}{{template "t" .}}', {("a",), ("next",)}),
    ("{{json .}}", None),
    ("{{.}}", None),
    ("{{$}}", None),
    ("{{with .}}{{.ID}}{{end}}", None),
    ("{{range .}}{{end}}", None),
    ("{{$x := .}}{{json $x}}", None),
    ('{{template "t" .}}{{define "t"}}{{.}}{{end}}', None),
    ('{{define "t"}}{{template "t" .}}{{end}}{{template "t" .}}', None),
    ("{{. | json}}", None),
    ("{{or .A .}}", None),
    ('{{index . "id"}}', {("id",)}),
    ("{{index . .Key}}", None),
]


@pytest.mark.parametrize(("text", "expected"), FIELD_PATHS, ids=[text for text, _ in FIELD_PATHS])
def test_find_fields_returns_every_field_that_can_be_read(text: str, expected: set[tuple[str, ...]] | None) -> None:
    assert Template.parse(text).find_fields() == expected


HEADINGS = [
    ("{{.ID}}\t{{.Config.User}}", "ID\tCONFIG USER"),
    ("{{json .ID}} {{upper .id}} {{title .A}} {{lower .A}} {{truncate .ID 1}} {{split .A `:`}}", "ID ID A A ID A"),
    ("{{join (split .A `:`) `/`}} {{pad .A 1 2}}|", "A  A  |"),
    ('{{printf "%-6s|%.1f|%5d|%q" .Tag .Size .Size .ID}}', 'TAG   |SIZE| SIZE|"ID"'),
    ("{{range $i, $l := .Layers}}{{$i}} {{.Size}}{{end}}", "LAYERS LAYERS SIZE"),
    ("{{if eq .Tag `x`}}{{.Tag}}{{else}}none{{end}} {{with .Os}}{{.}}{{end}}", "none OS"),
    ("{{if ne .Tag `x`}}a{{end}}{{if not .Tag}}b{{end}}{{if gt (len .Tag) 2}}c{{end}} {{ne .A .B}}", "ac true"),
    ("{{if gt .Size 100}}big{{else}}small{{end}}", "big"),
    ("{{index .Labels `env`}} {{len .Tags}} {{slice .ID 0 3}} {{or .A .B}}", "LABELS TAGS ID A"),
    ("{{print .A .B}} {{eq 1 1}} {{html .A}}", "AB true A"),
    ("{{.}}|{{json .}}|{{$}}|{{with .}}{{.ID}}{{end}}", "|||ID"),
]


@pytest.mark.parametrize(("text", "expected"), HEADINGS, ids=[text for text, _ in HEADINGS])
def test_headings_have_titles_for_fields(text: str, expected: str) -> None:
    assert Template.parse(text).render_heading(lambda path: " ".join((path[0], *path[1:])).upper()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("table {{.ID}}\\t{{.Size}}", (True, "{{.ID}}\\t{{.Size}}")),
        ("table", (True, "")),
        ("table{{.ID}}", (True, "{{.ID}}")),
        ("tables {{.ID}}", (False, "tables {{.ID}}")),
        ("  {{.ID}} ", (False, "{{.ID}}")),
    ],
)
def test_split_table(text: str, expected: tuple[bool, str]) -> None:
    assert split_table_directive(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\\tb\\n", "a\tb\n"),
        ('{{.ID}}\\t{{join .L "\\n"}}\\n', '{{.ID}}\t{{join .L "\\n"}}\n'),
        ('<<printf "\\t">>\\t', '<<printf "\\t">>\t'),
        ("\\t{{", "\\t{{"),
        ("none", "none"),
    ],
)
def test_expand_escapes_outside_of_actions(text: str, expected: str) -> None:
    assert expand_escapes(text) == expected


ROW = {"Name": "default", "Error": "", "Description": "Current DOCKER_HOST based configuration"}


@needs_docker
@pytest.mark.parametrize(
    "text",
    [
        "{{.Name}}\\t{{.Name}}\\n",
        "table {{.Name}}\\t{{.Error}}\\t{{.Description}}",
        'table {{upper .Name}}|{{json .Name}}|{{pad .Name 2 2}}|{{printf "%-12s" .Name}}|{{truncate .Name 3}}',
        "table {{.Name}}\\t{{.Name}}\\t{{.Name}}{{.Name}}\\tx",
        "table {{.Error}}\\t{{.Name}}",
        "table{{.Name}}",
        " {{.Name}} ",
        "  table   {{.Name}}",
    ],
)
def test_tables_equal_docker(tmp_path: pathlib.Path, text: str) -> None:
    headings = tuple(Column(name, name.upper(), DataType.TEXT) for name in ROW)
    written = write_rows(RowSet(headings, [tuple(ROW.values())], Output(template=text)), DisplayOptions(0, UTC))
    code, shown = render_docker_template(tmp_path, text)
    assert code == 0
    assert "".join(written).splitlines() == [line.rstrip() for line in shown.splitlines()]
