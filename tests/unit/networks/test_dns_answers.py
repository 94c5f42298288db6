"""What a resolver says to datagrams: answers that were given before, and askers that go on and on."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from sampan.networks.dns import message
from sampan.networks.dns.forward import Forwarder
from sampan.networks.dns.service import Resolver, ResolverSockets, Talk
from sampan.networks.dns.zone import View, Zone

_WEB, _DB = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
_PATIENCE_S = 5.0


def _zone() -> Zone:
    zone = Zone("mine")
    zone.add("1" * 64, ["web", "both"], [_WEB])
    zone.add("2" * 64, ["db", "both"], [_DB])
    return zone


def _bound(kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    made.settimeout(0)
    return made


def _resolver(zone: Zone, talk: Talk) -> tuple[Resolver, tuple[str, int]]:
    sockets = ResolverSockets(_bound(socket.SOCK_DGRAM), _bound(socket.SOCK_STREAM))
    sockets.tcp.listen()
    resolver = Resolver(sockets, Forwarder(list), talk)
    resolver.views = [View(zone, {})]
    return resolver, sockets.udp.getsockname()


@contextmanager
def _client(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(_PATIENCE_S)
        client.connect(address)
        yield client


def _ask(address: tuple[str, int], questions: list[bytes]) -> list[bytes]:
    with _client(address) as client:
        return [answer for question in questions if client.send(question) and (answer := client.recv(4096))]


def _question(name: str, ident: int, kind: int = message.A) -> bytes:
    return message.render_query(name, kind, ident)


def test_an_answer_of_before_is_given_with_what_is_the_askers_own() -> None:
    async def ask() -> None:
        zone = _zone()
        resolver, address = _resolver(zone, Talk())
        plain = b"\0\1\0\0" + b"\0\1\0\0\0\0\0\0" + message.encode_name("web") + b"\0\1\0\1"  # not to recurse
        asked = [_question("web", 1), _question("web", 0xFFFE), plain, _question("web", 4, message.AAAA)]
        for _ in range(2):
            answers = await asyncio.to_thread(_ask, address, asked)
            assert [answer[:2] for answer in answers] == [question[:2] for question in asked]
            assert answers == [resolver.answer(question, tcp=False) for question in asked]
            assert [answer[2] & 1 for answer in answers] == [1, 1, 0, 1]
            assert [answer[11] for answer in answers] == [1, 1, 0, 1], "who speaks EDNS is answered so"
        zone.add("1" * 64, ["web"], [IPv4Address("10.0.0.9")])
        renewed = (await asyncio.to_thread(_ask, address, asked[:1]))[0]
        assert message.parse_records(renewed) == [(message.A, message.TTL_S, "10.0.0.9")]
        zone.remove("1" * 64)
        gone = (await asyncio.to_thread(_ask, address, asked[:1]))[0]
        assert message.rcode_of(gone) == message.SERVFAIL, "nobody knows it, and nobody is asked"
        await resolver.close()

    asyncio.run(ask())


def test_shared_names_take_turns_every_time() -> None:
    async def ask() -> None:
        resolver, address = _resolver(_zone(), Talk())
        answers = await asyncio.to_thread(_ask, address, [_question("both", 7)] * 100)
        orders = {tuple(record[2] for record in message.parse_records(answer)) for answer in answers}
        assert orders == {(str(_WEB), str(_DB)), (str(_DB), str(_WEB))}
        await resolver.close()

    asyncio.run(ask())


def test_askers_that_go_on_and_on_let_others_have_their_turn() -> None:
    async def ask() -> None:
        talk = Talk()
        resolvers, addresses = zip(*[_resolver(_zone(), talk) for _ in range(2)], strict=True)
        questions = [_question("web", number) for number in range(3000)]
        alone = await asyncio.to_thread(_ask, addresses[0], questions)
        assert [answer[:2] for answer in alone] == [question[:2] for question in questions]
        turns = 0
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(asyncio.to_thread(_ask, each, questions)) for each in addresses]
            while not all(task.done() for task in asking):
                await asyncio.sleep(0)
                turns += 1
        assert turns > 100
        assert [task.result() for task in asking] == [alone, alone]
        for resolver in resolvers:
            await resolver.close()

    asyncio.run(ask())


def test_one_may_be_closed_in_the_middle_of_being_asked() -> None:
    async def ask() -> None:
        resolver, address = _resolver(_zone(), Talk())
        with _client(address) as client:
            for number in range(200):
                client.send(_question("web", number))
            await asyncio.sleep(0)
            await resolver.close()
            await asyncio.sleep(0)

    asyncio.run(ask())
