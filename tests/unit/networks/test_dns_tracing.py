"""Questions that are asked to see who answers, and answers read for people."""

import asyncio
from ipaddress import IPv4Address

import pytest

from sampan.base.errors import InvalidParameter
from sampan.networks.dns import message
from sampan.networks.dns.message import Malformed
from sampan.networks.dns.trace import plan_question, trace
from sampan.networks.dns.zone import View, Zone


def _views() -> list[View]:
    mine, other = Zone("mine"), Zone("other")
    mine.add("1" * 64, ["web", "www"], [IPv4Address("10.0.0.2")])
    mine.add("2" * 64, ["db", "www"], [IPv4Address("10.0.0.3")])
    return [View(other, {}), View(mine, {"store": "db"})]


@pytest.mark.parametrize(
    ("name", "kind", "source", "data"),
    [
        ("web", "A", "network mine", ["10.0.0.2"]),
        ("WEB.", "A", "network mine", ["10.0.0.2"]),
        ("store", "A", "network mine, by a link", ["10.0.0.3"]),
        ("www", "A", "network mine, shared by 2", ["10.0.0.2", "10.0.0.3"]),
        ("web", "AAAA", "network mine", []),
        ("10.0.0.3", "PTR", "network mine", ["db.mine"]),
    ],
)
def test_own_names(name: str, kind: str, source: str, data: list[str]) -> None:
    found = asyncio.run(trace(name, kind, "web", _views(), None))
    assert (found.source, found.code) == (source, "NOERROR")
    assert sorted(record.data for record in found.records) == data
    assert found.looked_in == ["other", "mine"]


def test_nobody_else_is_asked() -> None:
    found = asyncio.run(trace("example.com", "A", "web", _views(), None))
    assert (found.source, found.code, found.servers) == ("nobody", "SERVFAIL", [])


@pytest.mark.parametrize(("name", "kind"), [("a..b", "A"), ("x" * 64, "A"), ("web", "MX"), ("", "A")])
def test_what_cannot_be_asked(name: str, kind: str) -> None:
    with pytest.raises(InvalidParameter):
        plan_question(name, kind)


def test_answers_are_read_and_hostile_ones_refused() -> None:
    query, data = plan_question("web", "A")
    answer = message.render_answer(query, [bytes([10, 0, 0, 2])])
    assert message.parse_records(answer) == [(message.A, 600, "10.0.0.2")]
    assert message.parse_query(data) == query
    circle = answer[:12] + bytes([0xC0, 12]) + bytes(40)  # a name that points at itself
    for cut in range(len(answer)):
        try:
            message.parse_records(answer[:cut])
        except Malformed:
            continue
    with pytest.raises(Malformed):
        message.parse_records(circle)
