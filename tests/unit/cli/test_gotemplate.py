"""Templates against Go's own tables: syntax, execution, comparison, printf."""

from typing import Any

import pytest
from support.shared import table

from sampan.cli.gotemplate import Template, TemplateError
from sampan.cli.gotemplate.printf import sprintf


def run(text: str, data: Any = None, *, strict: bool = False) -> str:
    return Template(text).render(data, strict=strict)


def message(text: str, data: Any = None, *, strict: bool = False) -> str:
    with pytest.raises(TemplateError) as caught:
        run(text, data, strict=strict)
    return str(caught.value)


@pytest.mark.parametrize("row", table("format/syntax"), ids=str)
def test_syntax(row: dict[str, Any]) -> None:
    if row["valid"]:
        Template(row["template"])
    else:
        with pytest.raises(TemplateError):
            Template(row["template"])


@pytest.mark.parametrize("row", table("format/syntax_errors"), ids=str)
def test_syntax_errors(row: dict[str, Any]) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(row["template"])
    assert row["error_contains"].replace("NAME", "") in str(caught.value)
    assert str(caught.value).startswith("template: :")


@pytest.mark.parametrize("row", table("format/template"), ids=str)
def test_execution(row: dict[str, Any]) -> None:
    if row.get("error"):
        message(row["template"], row["data"])
    else:
        assert run(row["template"], row["data"]) == row["output"]


@pytest.mark.parametrize("row", table("format/compare"), ids=str)
def test_comparison(row: dict[str, Any]) -> None:
    data = {"Uthree": 3, "Ufour": 4, "NegOne": -1, "Three": 3}
    text = f"{{{{if {row['expr']}}}}}yes{{{{else}}}}no{{{{end}}}}"
    if row.get("error"):
        message(text, data)
    else:
        assert run(text, data) == ("yes" if row["value"] else "no")


@pytest.mark.parametrize("row", table("format/printf"), ids=str)
def test_printf(row: dict[str, Any]) -> None:
    assert sprintf(row["verb"], [row["value"]]) == row["text"]


@pytest.mark.parametrize("row", table("format/functions"), ids=str)
def test_functions_of_docker(row: dict[str, Any]) -> None:
    if "output" in row:
        assert run(row["template"], row["data"]) == row["output"]
    else:
        assert row.get("error_contains", "") in message(row["template"], row["data"])


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("%[2]d %[1]s", ["a", 1], "1 a"),
        ("%*d", [5, 42], "   42"),
        ("%-*d|", [5, 42], "42   |"),
        ("%.*f", [2, 1.0], "1.00"),
        ("%d %d", [1], "1 %!d(MISSING)"),
        ("%[5]d", [1], "%!d(BADINDEX)"),
        ("%*d", ["x", 1], "%!(BADWIDTH)1"),
        ("%d", ["x"], "%!d(string=x)"),
        ("%s", [1], "%!s(int=1)"),
        ("%v %v", [[1, "a", None], {"b": 1.5, "a": True}], "[1 a <nil>] map[a:true b:1.5]"),
        ("%#v", [["a", 1]], '[]interface {}{"a", 1}'),
        ("%T %T %T", [[], {}, 1.0], "[]interface {} map[string]interface {} float64"),
        ("%5t|%-6v|", [True, False], " true|false |"),
        ("%v", [1e20], "1e+20"),
        ("%v", [123456789.0], "1.23456789e+08"),
        ("%v", [0.00001], "1e-05"),
        ("%6.2f%%", [3.14159], "  3.14%"),
        ("%x %X % x", ["hi", "hi", "hi"], "6869 6869 68 69"),
        ("%q", [["a b", "c"]], '["a b" "c"]'),
        ("%d", [[1, 2]], "[1 2]"),
        ("%s", [None], "%!s(<nil>)"),
        ("%v", [None], "<nil>"),
    ],
)
def test_more_of_printf(template: str, values: list[Any], text: str) -> None:
    assert sprintf(template, values) == text


@pytest.mark.parametrize(
    ("text", "data", "error"),
    [
        ("{{.Foo}}", "x", "can't evaluate field Foo in type string"),
        ("{{.A.Foo}}", {"A": 1}, "can't evaluate field Foo in type interface {}"),
        ("{{.A.Foo}}", {"A": None}, "nil pointer evaluating interface {}.Foo"),
        ("{{index .A 3}}", {"A": [1]}, "error calling index: index out of range: 3"),
        ("{{truncate 3 3}}", {}, "expected string; found 3"),
        ("{{upper .A}}", {"A": 1}, "wrong type for value; expected string; got int"),
        ("{{upper}}", {}, "wrong number of args for upper: want 1 got 0"),
        ("{{template `x`}}", {}, 'template "x" not defined'),
        ("{{range .}}{{end}}", "x", "range can't iterate over x"),
        ("{{3 | 4}}", {}, "non executable command in pipeline stage 2"),
        ("{{.A 1}}", {"A": 2}, "A is not a method but has arguments"),
        ("{{call .A}}", {"A": 2}, "error calling call: non-function 2 of type int"),
        ("{{lt 1 `a`}}", {}, "error calling lt: incompatible types for comparison"),
        ("{{lt true false}}", {}, "error calling lt: invalid type for comparison"),
        ("{{eq .}}", {}, "error calling eq: missing argument for comparison"),
        ("{{join . `,`}}", 5, "error calling join: expected slice, got int"),
    ],
)
def test_messages(text: str, data: Any, error: str) -> None:
    assert message(text, data).endswith(error)


def test_an_error_tells_where_it_is() -> None:
    assert message("{{.State.Health.Status}}", {"State": {}}, strict=True) == (
        'template: :1:8: executing "" at <.State.Health.Status>: map has no entry for key "Health"'
    )
    assert message("é\n{{ .A }}é{{index .B 9}}", {"A": 1, "B": []}) == (
        'template: :2:12: executing "" at <index .B 9>: error calling index: index out of range: 9'
    )
    assert message("{{define `t`}}{{.X.Y}}{{end}}{{template `t` .}}", {"X": 1}).startswith(
        'template: :1:18: executing "t" at <.X.Y>: can\'t evaluate field Y'
    )


def test_a_template_without_an_end_is_stopped() -> None:
    assert "exceeded maximum template depth" in message(
        "{{define `t`}}{{template `t`}}{{end}}{{template `t`}}"
    )


@pytest.mark.parametrize(
    "text", ["{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "{{if 1}}" * 3000 + "{{end}}" * 3000]
)
def test_a_bottomless_template_is_refused(text: str) -> None:
    assert message(text) == "template: :1: max expression depth exceeded"


def test_definitions() -> None:
    assert run("{{define `t`}}<{{.}}>{{end}}{{template `t` 1}}{{template `t`}}") == "<1><<no value>>"
    assert "multiple definition" in message("{{define `t`}}a{{end}}{{define `t`}}b{{end}}")


@pytest.mark.parametrize(
    ("text", "data", "output"),
    [
        ("{{range $i, $e := .}}{{if $i}},{{end}}{{$e}}{{end}}", ["a", "b"], "a,b"),
        ("{{range $k, $v := .}}{{$k}}={{$v}};{{end}}", {"b": 1, "a": 2}, "a=2;b=1;"),
        ("{{range .}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}", [1, 2, 3], "1"),
        ("{{range 3}}{{.}}{{end}}", None, "012"),
        (
            "{{json .}}",
            {"b": "<é\u2028>", "a": [1, 1.5, None, True]},
            '{"b":"<é\\u2028>","a":[1,1.5,null,true]}',
        ),
        ("{{json .}}", 1e21, "1e+21"),
        ("{{json .}}", 1e20, "100000000000000000000"),
        ("{{title .}}", "hello wOrld_x it's", "Hello WOrld_x It'S"),
        ("{{pad . 2 1}}|", "x", "  x |"),
        ("{{pad . 2 1}}|", "", "|"),
        ("{{split . `:`}}", "a:b", "[a b]"),
        ("{{index (split . `:`) 1}}", "a:b", "b"),
        ("{{println .}}", "x", "x\n"),
        ("{{print 1 `a` 2}}", None, "1a2"),
        ("{{len .}}", "é", "2"),
        ("{{with .A}}{{.}}{{else}}none{{end}}", {"A": []}, "none"),
        ("{{if .A}}a{{else if .B}}b{{else}}c{{end}}", {"A": 0, "B": 1}, "b"),
        ("{{$x := .A}}{{range .B}}{{$x}}{{$.A}}{{end}}", {"A": 1, "B": [0]}, "11"),
        ("a {{- 1 -}} b", None, "a1b"),
        ("{{(index . 0).A}}", [{"A": 3}], "3"),
        ("{{. | printf `%s-%s` `a`}}", "b", "a-b"),
        ("{{eq nil .A}}", {"A": None}, "true"),
        ("{{'x'}} {{0x10}} {{1e3}} {{-1_000}}", None, "120 16 1000 -1000"),
        (r"{{`a\n`}}{{" r'"\u00e9\x41\t"' "}}", None, "a\\né" + "A\t"),
    ],
)
def test_more_of_execution(text: str, data: Any, output: str) -> None:
    assert run(text, data) == output
