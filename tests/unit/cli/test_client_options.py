"""Where the engine is, moments and versions against Docker's tables."""

import pytest
from support.shared import table

from sampan.base.ids import short_id
from sampan.cli import versions
from sampan.cli.options import hosts
from sampan.cli.options.moments import parse_moment

NOW_NS = 1577934245 * 10**9
READERS = {
    "host": hosts.parse_host,
    "address": hosts.parse_address,
    "tcp": lambda text: hosts.parse_tcp(text, "tcp://127.0.0.1:2376"),
}


@pytest.mark.parametrize("row", table("client/host"), ids=str)
def test_hosts(row):
    read = READERS[row["what"]]
    if "output" in row:
        assert read(row["input"]) == row["output"]
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared below
        read(row["input"])
    if isinstance(row["error"], str):
        assert str(caught.value) == row["error"]


def test_no_host_means_the_default():
    assert hosts.parse_host("", tls=True) == "tcp://localhost:2376"
    assert hosts.parse_host("", default="unix:///run/x.sock") == "unix:///run/x.sock"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("tcp://a:b", 'parse "tcp://a:b": invalid port ":b" after host'),
        ("tcp://a b:1", 'parse "tcp://a b:1": invalid character " " in host name'),
        ("foo://", "invalid bind address format: foo://"),
        ("unix://unix://unix://x", "invalid proto, expected unix: unix://x"),
    ],
)
def test_bad_hosts_are_refused_in_dockers_words(text, error):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared below
        hosts.parse_host(text)
    assert str(caught.value) == error


@pytest.mark.parametrize("row", table("client/ssh_url"), ids=str)
def test_ssh_hosts(row):
    if "error" in row:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared below
            hosts.SshTarget(row["url"])
        assert str(caught.value) == row["error"]
        return
    target = hosts.SshTarget(row["url"])
    spec = {name: getattr(target, name) for name in ("user", "host", "port", "path")}
    assert {name: value for name, value in spec.items() if value} == row["spec"]
    assert target.arguments(*row["remote"]) == row["args"]


@pytest.mark.parametrize("row", table("client/since_until"), ids=str)
def test_moments(row):
    if row.get("error"):
        with pytest.raises(ValueError, match=r"^(parsing time|failed to parse value) "):
            parse_moment(row["input"], NOW_NS, 0)
    else:
        assert parse_moment(row["input"], NOW_NS, 0) == row["sent"]


def test_a_time_without_a_zone_is_local():
    assert parse_moment("2006-01-02T15:04:05", NOW_NS, 3600) == "1136210645.000000000"
    assert parse_moment("2006-01-02T15:04:05+02:00", NOW_NS, 3600) == "1136207045.000000000"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "2006-01-02T15:04:0Z",
            'parsing time "2006-01-02T15:04:0Z" as "2006-01-02T15:04:05Z07:00": cannot parse "0Z" as "05"',
        ),
        ("2006-02-29", 'parsing time "2006-02-29": day out of range'),
        ("2006-13-01", 'parsing time "2006-13-01": month out of range'),
        ("x", 'failed to parse value as time or duration: "x"'),
    ],
)
def test_a_bad_moment_is_refused_in_dockers_words(text, error):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared below
        parse_moment(text, NOW_NS, 0)
    assert str(caught.value) == error


@pytest.mark.parametrize("row", table("client/short_id"), ids=str)
def test_short_ids(row):
    assert short_id(row["id"]) == row["short"]


@pytest.mark.parametrize("row", table("client/version_compare"), ids=str)
def test_versions_are_ordered(row):
    assert versions.compare(row["a"], row["b"]) == row["order"]
