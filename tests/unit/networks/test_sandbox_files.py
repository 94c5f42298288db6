"""hosts and resolv.conf, against what Docker writes."""

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.networks import hosts, resolv


def test_hosts_as_docker_writes_them() -> None:
    for row in table("engine/etc_hosts"):
        records = [(address, name) for address, name in row["records"]]
        assert hosts.render_hosts(records, ipv6=row["ipv6"]) == row["text"]


def test_resolv_conf_as_docker_writes_it() -> None:
    for row in table("engine/resolv_conf"):
        source = "" if row["network"] == "none" else "/etc/resolv.conf"
        made = resolv.parse_resolv(row["host_file"], source)
        if row["network"] == "none":
            made = made.overridden(row.get("dns"), row.get("dns_search"), row.get("dns_opt"))
            made = made.with_required(row.get("required_options", ()))
        else:
            options = (row.get("dns") or None, row.get("dns_search") or None, row.get("dns_opt") or None)
            made = made.overridden(*options)
        if row["network"] == "default bridge":
            made = made.for_default_bridge(ipv6=row["ipv6"])
        elif row["network"] == "own":
            made = made.for_own_resolver("127.0.0.11", row.get("required_options", ()))
            upstreams = [{"address": u.address, "from_host": u.from_host} for u in made.upstreams]
            assert upstreams == row["forward_to"]
        assert made.render() == row["text"], row


def test_unknown_directives_stay_and_bad_servers_are_named() -> None:
    made = resolv.parse_resolv(
        "# x\n; y\nsortlist 1.2.3.4\nnameserver nowhere\nnameserver 1.1.1.1 #c\nsearch a\ndomain b\n"
    )
    assert made.render() == (
        "nameserver 1.1.1.1\nsearch b\nsortlist 1.2.3.4\n\n# Based on host file: ''\n"
        "# Invalid nameservers: [nowhere]\n# Overrides: []\n"
    )


def test_overrides_replace_what_the_host_has() -> None:
    made = resolv.parse_resolv(
        "nameserver 1.1.1.1\nsearch host.example\noptions ndots:3\n", "/etc/resolv.conf"
    )
    made = made.overridden(["127.0.0.1"], ["."], ["ndots:5", "rotate"]).for_default_bridge(ipv6=False)
    assert made.render() == (
        "nameserver 127.0.0.1\noptions ndots:5 rotate\n\n# Based on host file: '/etc/resolv.conf' (legacy)\n"
        "# Overrides: [nameservers search options]\n# Option ndots from: override\n"
    )


def test_extra_hosts() -> None:
    entries = ["db:10.0.0.1", "six:fd00::1", "me:host-gateway", "mapped:::ffff:10.0.0.2"]
    assert hosts.parse_extra_hosts(entries, ["172.17.0.1", "fd00::9"]) == [
        ("10.0.0.1", "db"),
        ("fd00::1", "six"),
        ("172.17.0.1", "me"),
        ("fd00::9", "me"),
        ("10.0.0.2", "mapped"),
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("db", 'bad format for add-host: "db"'),
        (":10.0.0.1", 'bad format for add-host: ":10.0.0.1"'),
        ("a b:10.0.0.1", 'bad format for add-host: "a b:10.0.0.1"'),
        ("a\nb:10.0.0.1", "bad format for add-host"),
        ("db:10.0.0", 'invalid IP address in add-host: "10.0.0"'),
        ("db:", 'invalid IP address in add-host: ""'),
    ],
)
def test_bad_extra_hosts(entry: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        hosts.parse_extra_hosts([entry], [])


def test_links_must_be_resolved() -> None:
    assert hosts.parse_links(["db:database:172.17.0.3", "web:web:172.17.0.4"]) == [
        ("172.17.0.3", "database db"),
        ("172.17.0.4", "web"),
    ]
    with pytest.raises(
        InvalidParameter, match="cannot link to db: the address of that container is not known"
    ):
        hosts.parse_links(["db:database"])


@pytest.mark.parametrize(
    ("hostname", "domainname", "names"),
    [("web", "", "web"), ("web", "example.org", "web.example.org web"), ("web.a.b", "", "web.a.b web")],
)
def test_own_names(hostname: str, domainname: str, names: str) -> None:
    assert hosts.own_names(hostname, domainname) == names
