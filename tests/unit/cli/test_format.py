"""Output of lists and of inspect against Docker's tables."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.shared import table

from sampan.cli.columns import align, align_columns, ellipsis
from sampan.cli.format import KINDS, FormatError, Formatter, render_inspect, render_object, template_text
from sampan.cli.rows import container, history, stats
from sampan.cli.rows.base import Options, printed_time, short_id

NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def aged(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item of a table with its age made a time of creation."""
    return {**item, "Created": NOW - item["age_seconds"]} if "age_seconds" in item else item


@pytest.mark.parametrize("row", table("format/lists"), ids=str)
def test_lists(row: dict[str, Any]) -> None:
    options = {name: row[name] for name in ("quiet", "size", "digests") if name in row}
    items = [aged(item) for item in row["items"]]

    def output() -> str:
        return Formatter(row["list"], row["format"], now=NOW, **options).render(items)

    if "error" in row:
        with pytest.raises(FormatError) as caught:
            output()
        assert str(caught.value) == row["error"]
    else:
        assert output() == row["output"]


@pytest.mark.parametrize("row", table("format/ps_columns"), ids=str)
def test_columns_of_ps(row: dict[str, Any]) -> None:
    shown = container.Row(row["item"], Options(trunc=row["trunc"], now=NOW))
    assert shown.columns[row["column"]](shown) == row["text"]


@pytest.mark.parametrize("row", table("format/history_columns"), ids=str)
def test_columns_of_history(row: dict[str, Any]) -> None:
    shown = history.Row(aged(row["item"]), Options(human=row["human"], now=NOW))
    assert shown.columns[row["column"]](shown) == row["text"]


@pytest.mark.parametrize("row", table("format/stats_columns"), ids=str)
def test_columns_of_stats(row: dict[str, Any]) -> None:
    shown = stats.Row(row["stats"], Options(trunc=False, now=NOW))
    assert shown.columns[row["column"]](shown) == row["text"]


@pytest.mark.parametrize("row", table("format/ports"), ids=str)
def test_ports(row: dict[str, Any]) -> None:
    assert container.ports_text(row["ports"]) == row["text"]


@pytest.mark.parametrize("row", table("format/ellipsis"), ids=str)
def test_ellipsis(row: dict[str, Any]) -> None:
    assert ellipsis(row["text"], row["width"]) == row["output"]


@pytest.mark.parametrize("row", table("format/directive"), ids=str)
def test_directives(row: dict[str, Any]) -> None:
    assert template_text(row["format"]) == row["template"]
    assert row["format"].startswith("table") is row["table"]
    assert (row["format"] == "json") is row["json"]


@pytest.mark.parametrize("row", table("format/inspect"), ids=str)
def test_inspect(row: dict[str, Any]) -> None:
    if "error_contains" in row:
        with pytest.raises(FormatError) as caught:
            render_inspect(row["items"], row["template"] or "")
        assert row["error_contains"] in str(caught.value)
    else:
        assert render_inspect(row["items"], row["template"] or "") == row["output"]


@pytest.mark.parametrize("row", table("client/short_id"), ids=str)
def test_short_ids(row: dict[str, Any]) -> None:
    assert short_id(row["id"]) == row["short"]


CONTAINER = {
    "Id": "f00dfeedf00dfeed",
    "Names": ["/web", "/db/link"],
    "Image": "nginx",
    "Command": "nginx -g 'daemon off;'",
    "Created": NOW - 125,
    "State": "running",
    "Status": "Up 2 minutes (healthy)",
    "Ports": [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
    ],
    "Labels": {"b.x-y": "<2>", "a": "1"},
    "NetworkSettings": {"Networks": {"bridge": {}}},
}


def test_the_usual_table_of_ps() -> None:
    assert Formatter("container", now=NOW).render([CONTAINER]) == (
        "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS                   "
        "PORTS                                     NAMES\n"
        'f00dfeedf00d   nginx     "nginx -g \'daemon of…"   2 minutes ago   Up 2 minutes (healthy)   '
        "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp   web\n"
    )


def test_an_empty_list_has_a_header() -> None:
    assert Formatter("container").render([]) == (
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    )


def test_everything_is_shown_when_asked_for() -> None:
    shown = Formatter("container", "table {{.ID}}\t{{.Names}}\t{{.Command}}", trunc=False, now=NOW)
    assert shown.render([CONTAINER]) == (
        "CONTAINER ID       NAMES         COMMAND\n"
        "f00dfeedf00dfeed   web,db/link   \"nginx -g 'daemon off;'\"\n"
    )


def test_a_row_as_json() -> None:
    assert Formatter("container", "json", now=NOW).render([CONTAINER]) == (
        '{"Command":"\\"nginx -g \'daemon of…\\"","CreatedAt":"2023-11-14 22:11:15 +0000 UTC",'
        '"HealthStatus":"healthy","ID":"f00dfeedf00d","Image":"nginx","Labels":"a=1,b.x-y=\\u003c2\\u003e",'
        '"LocalVolumes":"0","Mounts":"","Names":"web","Networks":"bridge","Platform":null,'
        '"Ports":"0.0.0.0:8080-\\u003e80/tcp, [::]:8080-\\u003e80/tcp","RunningFor":"2 minutes ago",'
        '"Size":"0B","State":"running","Status":"Up 2 minutes (healthy)"}\n'
    )


def test_a_whole_row_can_be_written() -> None:
    assert Formatter("container", "{{.}}", now=NOW).render([CONTAINER]).startswith("map[Command:")


def test_labels_by_name() -> None:
    assert Formatter("container", 'table {{.Label "b.x-y"}}').render([CONTAINER]) == "x y\n<2>\n"
    with pytest.raises(FormatError, match="wrong number of args for Label: want 1 got 0"):
        Formatter("container", "{{.Label}}").render([CONTAINER])


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(FormatError) as caught:
        Formatter("container", "{{.Foo}}").render([CONTAINER])
    assert str(caught.value) == (
        'template parsing error: template: :1:2: executing "" at <.Foo>: '
        "can't evaluate field Foo in type *formatter.ContainerContext"
    )


def test_ps_asks_first_what_a_template_needs() -> None:
    assert Formatter("container", "{{.Size}}").uses("Size")
    assert Formatter("container", "{{if .Size}}{{.ID}}{{end}}").uses("Size")
    assert Formatter("container", "json").uses("Size")
    assert not Formatter("container", "table {{.ID}}").uses("Size")
    assert not Formatter("container").uses("Size")
    assert Formatter("container", size=True).uses("Size")
    with pytest.raises(FormatError, match=r"^failed to parse template: template: :1: unclosed action$"):
        Formatter("container", "{{").uses("Size")
    with pytest.raises(
        FormatError, match=r'^failed to execute template: template: :1:2: executing "" at <\.Foo>'
    ):
        Formatter("container", "{{.Foo}}").uses("Size")


@pytest.mark.parametrize(
    "source", ["table {{.ID}}\t{{.Names}}\t{{.Ports}}\t{{.Size}}", "{{.ID}}\t{{.Names}}"]
)
def test_both_ways_to_make_plain_columns_look_the_same(source: str) -> None:
    plain = Formatter("container", source, now=NOW).render([CONTAINER, CONTAINER])
    by_engine = Formatter("container", source + "{{print}}", now=NOW).render([CONTAINER, CONTAINER])
    assert plain == by_engine


def test_raw_rows() -> None:
    assert Formatter("container", "raw", size=True, now=NOW).render([CONTAINER]) == (
        'container_id: f00dfeedf00d\nimage: nginx\ncommand: "nginx -g \'daemon of…"\n'
        "created_at: 2023-11-14 22:11:15 +0000 UTC\nstate: running\nstatus: Up 2 minutes (healthy)\n"
        "names: web\nlabels: a=1,b.x-y=<2>\nports: 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\nsize: 0B\n\n"
    )
    assert Formatter("image", "raw", quiet=True).render([{"Id": "sha256:abc"}]) == "image_id: abc\n"


def test_images_have_a_row_for_each_name() -> None:
    image = {
        "Id": "sha256:0123456789abcdef",
        "RepoTags": ["alpine:3", "docker.io/library/alpine:latest", "localhost:5000/a/b:x"],
        "RepoDigests": ["alpine@sha256:aa", "other@sha256:bb"],
        "Created": NOW - 3600,
        "Size": 7_654_321,
        "SharedSize": -1,
        "Containers": -1,
    }
    template = (
        "{{.Repository}} {{.Tag}} {{.Digest}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}} {{.Size}}"
    )
    assert Formatter("image", template, digests=True, now=NOW).render([image]).splitlines() == [
        "alpine 3 sha256:aa N/A N/A N/A 7.65MB",
        "alpine latest sha256:aa N/A N/A N/A 7.65MB",
        "localhost:5000/a/b x <none> N/A N/A N/A 7.65MB",
        "other <none> sha256:bb N/A N/A N/A 7.65MB",
    ]
    assert (
        Formatter("image", "table {{.Repository}}:{{.Tag}}", digests=True, now=NOW)
        .render([image])
        .startswith("REPOSITORY:TAG         DIGEST\nalpine:3               sha256:aa\n")
    )


def test_history_in_numbers() -> None:
    item = {"Id": "<missing>", "Created": NOW, "CreatedBy": "x" * 50, "Size": 1234567, "Comment": ""}
    assert Formatter("history", human=False).render([item]) == (
        f"IMAGE       CREATED AT             CREATED BY{' ' * 38}SIZE      COMMENT\n"
        f"<missing>   2023-11-14T22:13:20Z   {'x' * 44}…   1234567   \n"
    )


def test_disk_usage() -> None:
    usage = {
        "LayersSize": 1000,
        "Images": [
            {"Size": 600, "SharedSize": 100, "Containers": 1},
            {"Size": 400, "SharedSize": 0, "Containers": 0},
        ],
        "Containers": [{"SizeRw": 10, "State": "running"}, {"SizeRw": 30, "State": "exited"}],
        "Volumes": [{"UsageData": {"Size": 5, "RefCount": 0}}, {"UsageData": {"Size": -1, "RefCount": 1}}],
        "BuildCache": [{"Size": 8, "InUse": True, "Shared": False}, {"Size": 2}],
    }
    assert Formatter("disk").render([usage]) == (
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"
        "Images          2         1         1kB       500B (50%)\n"
        "Containers      2         1         40B       30B (75%)\n"
        "Local Volumes   2         1         5B        5B (100%)\n"
        "Build Cache     2         1         10B       2B\n"
    )


def test_changes_of_a_container() -> None:
    assert Formatter("diff", "{{.Type}} {{.Path}}").render([{"Path": "/a", "Kind": 1}]) == "A /a\n"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_usual_table(kind: str) -> None:
    lines = Formatter(kind, now=NOW).render([])
    assert lines.isupper() or kind == "disk"


def test_columns_follow_their_neighbours() -> None:
    assert align("a\tb\tc\nlonger than ten\tx\ty\n\nalone\nz\tw\n") == (
        "a                 b         c\nlonger than ten   x         y\n\nalone\nz         w\n"
    )
    assert align("你好\tx\nab\ty\n") == "你好      x\nab        y\n"


def test_columns_are_aligned_as_their_text_is() -> None:
    for cells in (
        [["A", "longer than ten"], ["B", ""], ["C", "z"]],
        [["A", "你好"], ["B", "x…"]],
        [["A", "one\ttwo"], ["B", "x"]],
        [["A", "one\ntwo"], ["B", "x"]],
        [["A"]],
    ):
        text = "".join("\t".join(row) + "\n" for row in zip(*cells, strict=True))
        assert align_columns(cells) == align(text)


def test_times_are_printed_as_go_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed_time("2016-01-01T00:00:00.120Z") == "2016-01-01 00:00:00.12 +0000 UTC"
    assert printed_time("2016-01-01T02:00:00+02:00") == "2016-01-01 02:00:00 +0200 +0200"
    monkeypatch.setenv("TZ", "XST-2")
    time.tzset()
    assert printed_time("2016-01-01T02:00:00+02:00") == "2016-01-01 02:00:00 +0200 XST"


INSPECTED = {
    "Id": "abc",
    "State": {"Status": "running"},
    "Config": {"Cmd": ["sh"], "Entrypoint": None, "Labels": {"a": "1"}},
    "HostConfig": {"Binds": None, "CapAdd": None, "Memory": 5, "PortBindings": {"80/tcp": None}},
    "Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b"}],
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostPort": "8080"}]},
        "Networks": {"n": {"IPAddress": "1.2.3.4"}},
    },
}


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("{{.HostConfig.Binds}} {{.HostConfig.Init}} {{.HostConfig.Sysctls}}", "[] <nil> map[]"),
        ("{{if .State.Health}}x{{else}}none{{end}}", "none"),
        ('{{index .Config.Labels "a"}}|{{index .Config.Labels "b"}}|{{.Config.Labels.c}}', "1||<no value>"),
        ("{{range .Mounts}}{{.Name}}:{{.Source}}{{end}}", ":/a"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        (
            "{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{$e.IPAddress}} {{$e.Aliases}}{{end}}",
            "n 1.2.3.4 []",
        ),
        ("{{.NetworkSettings.Ports}} {{.HostConfig.PortBindings}}", "map[80/tcp:[{8080}]] map[80/tcp:[]]"),
        ("{{json .Config}}", '{"Cmd":["sh"],"Entrypoint":null,"Labels":{"a":"1"}}'),
        ("{{json .HostConfig.PortBindings}}", '{"80/tcp":null}'),
        ("{{.NetworkSettings.Networks.x.IPAddress}}", "<no value>"),
        ("{{len .Mounts}} {{.Config.Cmd}} {{.HostConfig.Memory}}", "1 [sh] 5"),
        ('{{join .Config.Entrypoint " "}}', ""),
    ],
)
def test_templates_over_an_inspected_container(template: str, output: str) -> None:
    assert render_inspect([INSPECTED], template) == output + "\n"


def test_a_field_that_is_not_there_is_named() -> None:
    with pytest.raises(FormatError) as caught:
        render_inspect([INSPECTED], "{{.State.Health.Status}}")
    assert str(caught.value) == (
        'template parsing error: template: :1:8: executing "" at <.State.Health.Status>: '
        'map has no entry for key "Health"'
    )


def test_one_object_under_a_template() -> None:
    assert render_object({"A": {"B": 1}}, "{{.A.B}}") == "1"
    assert render_object({"A": 1}, "json") == '{"A":1}'
    assert render_object({"A": 1}, "{{.B}}") == "<no value>"
    with pytest.raises(FormatError, match=r"can't evaluate field B in type system\.dockerInfo"):
        render_object({"A": 1}, "{{.B}}", "system.dockerInfo")
