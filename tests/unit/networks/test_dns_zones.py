"""Who is called what, and who sees it."""

from ipaddress import ip_address

from support.dns import question

from sampan.networks.dns import message
from sampan.networks.dns.message import parse_query
from sampan.networks.dns.zone import View, Zone, find, parse_links, resolve

WEB, DB, DB2 = "172.18.0.2", "172.18.0.3", "172.18.0.4"


def _ask(name: str, views: list[View], kind: int = message.A) -> list[str] | None:
    found = resolve(parse_query(question(name, kind)), views)
    if found is None or kind not in (message.A, message.AAAA):
        return found if found is None else [data.hex() for data in found]
    return sorted(str(ip_address(data)) for data in found)


def _zone(name: str = "back") -> Zone:
    zone = Zone(name)
    zone.add("c1", ["web", "www", "aaaaaaaaaaaa"], [ip_address(WEB)])
    zone.add("c2", ["db", "store"], [ip_address(DB), ip_address("fd00::3")])
    zone.add("c3", ["db2", "store"], [ip_address(DB2)])
    return zone


def test_names_aliases_and_short_ids() -> None:
    views = [View(_zone(), {})]
    for name in ("web", "WWW", "aaaaaaaaaaaa", "web.back", "Web.BACK"):
        assert _ask(name, views) == [WEB]
    assert _ask("store", views) == [DB, DB2]
    assert _ask("nobody", views) is None
    assert _ask("web.front", views) is None


def test_what_exists_without_such_an_address_is_not_asked_of_others() -> None:
    views = [View(_zone(), {})]
    assert _ask("web", views, message.AAAA) == []
    assert _ask("db", views, message.AAAA) == ["fd00::3"]
    assert _ask("db", views, 15) == []  # MX
    assert _ask("nobody", views, message.AAAA) is None
    chaos = question("web")[:-2] + b"\0\3"
    assert resolve(parse_query(chaos), views) is None


def test_shared_aliases_take_turns() -> None:
    query = parse_query(question("store"))
    views = [View(_zone(), {})]
    firsts = {(resolve(query, views) or [b""])[0] for _ in range(200)}
    assert len(firsts) == 2


def test_pointers_name_the_network() -> None:
    views = [View(_zone(), {})]
    name = ip_address(DB).reverse_pointer
    assert _ask(name, views, message.PTR) == [message.encode_name("db.back").hex()]
    assert _ask(ip_address("fd00::3").reverse_pointer, views, message.PTR) is not None
    assert _ask(ip_address("8.8.8.8").reverse_pointer, views, message.PTR) is None
    assert _ask("db", views, message.PTR) is None
    long = Zone("n" * 70)
    long.add("c", ["x"], [ip_address("10.0.0.1")])
    assert _ask(ip_address("10.0.0.1").reverse_pointer, [View(long, {})], message.PTR) == []


def test_a_name_is_known_on_its_own_network_only() -> None:
    front = Zone("front")
    front.add("c9", ["web"], [ip_address("172.19.0.9")])
    assert _ask("web", [View(front, {}), View(_zone(), {})]) == ["172.19.0.9"], (
        "the first network that knows it"
    )
    assert _ask("web.back", [View(front, {}), View(_zone(), {})]) == [WEB]
    assert _ask("db", [View(front, {})]) is None


def test_dots_in_names() -> None:
    zone = Zone("a.b")
    zone.add("c", ["x.y"], [ip_address(WEB)])
    views = [View(zone, {})]
    assert _ask("x.y", views) == [WEB]
    assert _ask("x.y.a.b", views) == [WEB]
    assert _ask("x.y.b", views) is None
    assert find("", views) == ()
    assert find(".", views) == ()


def test_links_are_names_of_ones_own() -> None:
    links = parse_links(["DB:store", "web", "gone:db"])
    assert links == {"store": "db", "web": "web", "db": "gone"}
    views = [View(_zone(), links)]
    assert _ask("store", views) == [DB], "a link goes before an alias"
    assert _ask("db", views) == [DB], "a link to nobody hides nothing"
    assert _ask("store.back", views) == [DB]


def test_who_leaves_is_forgotten() -> None:
    zone = _zone()
    zone.remove("c2")
    zone.remove("c2")
    views = [View(zone, {})]
    assert _ask("db", views) is None
    assert _ask("store", views) == [DB2]
    assert _ask(ip_address(DB).reverse_pointer, views, message.PTR) is None
    zone.add("c3", ["renamed"], [ip_address(DB2)])
    assert _ask("store", views) is None
    assert _ask("renamed", views) == [DB2]
