"""The resolver of a sandbox, asked from inside: its own names, and everything else by way of name servers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.netlab import Lab, lab_at, on_loop

from sampan.networks import resolv
from sampan.networks.dns import message
from sampan.wire.networks import CreateNetwork, Ipam, IpamConfig

pytestmark = pytest.mark.root
SERVER = "198.51.100.1"
FOREIGN = bytes([192, 0, 2, 1])
_PATIENCE_S = 5.0


def _question(name: str, kind: int = message.A) -> bytes:
    header = b"\0\7\1\0\0\1\0\0\0\0\0\0"
    return header + message.encode_name(name) + kind.to_bytes(2, "big") + b"\0\1"


async def _ask(lab: Lab, key: str, name: str, *, tcp: bool = False) -> tuple[int, int, bytes]:
    """Ask from the sandbox at ``key``; return code, number of answers, and the last four bytes."""
    loop = asyncio.get_running_loop()
    with lab.make_socket(key, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        async with asyncio.timeout(_PATIENCE_S):
            await loop.sock_connect(sock, ("127.0.0.11", 53))
            question = _question(name)
            await loop.sock_sendall(sock, message.frame(question) if tcp else question)
            if not tcp:
                answer = await loop.sock_recv(sock, 4096)
            else:
                frames, found = message.Frames(), list[bytes]()
                while not found:
                    found = frames.feed(await loop.sock_recv(sock, 4096))
                answer = found[0]
    assert answer[:2] == question[:2], "the asker's own id"
    truncated = 0x100 if answer[2] & 2 else 0
    return message.rcode_of(answer) | truncated, int.from_bytes(answer[6:8], "big"), answer[-4:]


class _Upstream(asyncio.DatagramProtocol):
    """A name server: ``bad.*`` is refused, ``big.*`` is too big for a datagram, all else has one address."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(self.answer(data, limit=512), addr)

    def answer(self, data: bytes, *, limit: int = 0) -> bytes:
        query = message.parse_query(data)
        self.asked.append(query.name)
        if query.name.startswith("bad"):
            return message.render_failure(query, message.REFUSED)
        return message.render_answer(
            query, [FOREIGN] * (60 if query.name.startswith("big") else 1), limit=limit
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(message.frame(self.answer(await reader.readexactly(length))))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def _upstream(address: str = SERVER) -> AsyncIterator[_Upstream]:
    server = _Upstream()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=(address, 53)
    )
    stream = await asyncio.start_server(server.serve, address, 53)
    try:
        yield server
    finally:
        transport.close()
        stream.close()


@pytest.fixture
def host_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's resolv.conf, to be written by the test."""
    path = tmp_path / "resolv.conf"
    path.write_text(f"nameserver {SERVER}\n")
    monkeypatch.setattr(resolv, "HOST_FILE", path)
    return path


async def _network(lab: Lab, name: str = "mine", **settings: Any) -> None:
    number = len(lab.service.list_networks({}))
    pool = IpamConfig(subnet=f"10.60.{number}.0/24")
    await lab.service.create_network(CreateNetwork(name=name, ipam=Ipam(config=[pool]), **settings))


async def _leave(lab: Lab, *names: str) -> None:
    for name in names:
        await lab.service.remove_network(name)


@on_loop
async def test_own_names_are_answered_here_and_others_by_the_host(tmp_path: Path, host_file: Path) -> None:
    async with lab_at(tmp_path / "lab") as lab, _upstream() as server:
        await _network(lab)
        web = await lab.open("web", mode="mine")
        await lab.open("db", mode="mine")
        for tcp in (False, True):
            assert await _ask(lab, web.sandbox_key, "DB", tcp=tcp) == (0, 1, bytes([10, 60, 3, 3]))
            assert server.asked == [], "what is ours is asked of nobody"
        for tcp in (False, True):
            assert await _ask(lab, web.sandbox_key, "example.com", tcp=tcp) == (0, 1, FOREIGN)
        assert server.asked == ["example.com"] * 2
        code, _, _ = await _ask(lab, web.sandbox_key, "big.example.com")
        assert code == 0x100, "truncated: ask by TCP"
        assert await _ask(lab, web.sandbox_key, "big.example.com", tcp=True) == (0, 60, FOREIGN)
        assert (await _ask(lab, web.sandbox_key, "bad.example.com"))[0] == message.REFUSED
        await lab.shut("web")
        await lab.shut("db")
        await _leave(lab, "mine")


@on_loop
async def test_changes_of_the_hosts_file_are_followed_at_once(tmp_path: Path, host_file: Path) -> None:
    async with lab_at(tmp_path / "lab") as lab, _upstream() as server:
        await _network(lab)
        web = await lab.open("web", mode="mine")
        host_file.write_text("# no name server at all\n")
        assert (await _ask(lab, web.sandbox_key, "example.com"))[0] == message.SERVFAIL
        host_file.write_text(f"nameserver 198.51.100.1\nnameserver {SERVER}\n# back\n")
        assert await _ask(lab, web.sandbox_key, "example.com") == (0, 1, FOREIGN)
        assert server.asked == ["example.com"]
        await lab.shut("web")
        await _leave(lab, "mine")


@on_loop
async def test_a_name_server_that_is_silent_holds_nobody_up_for_long(tmp_path: Path, host_file: Path) -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.99", 53))
    with silent:
        async with lab_at(tmp_path / "lab") as lab, _upstream():
            host_file.write_text(f"nameserver 127.0.0.99\nnameserver {SERVER}\n")
            await _network(lab)
            web = await lab.open("web", mode="mine")
            assert await _ask(lab, web.sandbox_key, "example.com") == (0, 1, FOREIGN)
            await lab.shut("web")
            await _leave(lab, "mine")


@on_loop
async def test_servers_of_its_own_are_asked_from_where_it_is(tmp_path: Path, host_file: Path) -> None:
    host_file.write_text("# none\n")
    async with lab_at(tmp_path / "lab") as lab, _upstream():
        await _network(lab)
        web = await lab.open("web", mode="mine", dns=[SERVER])
        lost = await lab.open("lost", mode="mine", dns=["127.0.0.11"])
        assert await _ask(lab, web.sandbox_key, "example.com") == (0, 1, FOREIGN)
        assert await _ask(lab, web.sandbox_key, "example.com", tcp=True) == (0, 1, FOREIGN)
        assert (await _ask(lab, lost.sandbox_key, "example.com"))[0] == message.SERVFAIL, (
            "not itself for ever"
        )
        text = (tmp_path / "lab" / "web" / "resolv.conf").read_text()
        assert "nameserver 127.0.0.11\noptions ndots:0\n" in text
        assert f"# ExtServers: [{SERVER}]\n" in text
        await lab.shut("web")
        await lab.shut("lost")
        await _leave(lab, "mine")


@on_loop
async def test_internal_networks_ask_nobody(tmp_path: Path, host_file: Path) -> None:
    async with lab_at(tmp_path / "lab") as lab, _upstream() as server:
        await _network(lab, "inside", internal=True)
        first = await lab.open("first", mode="inside")
        assert (await _ask(lab, first.sandbox_key, "example.com"))[0] == message.SERVFAIL
        assert server.asked == []
        assert (await _ask(lab, first.sandbox_key, "first"))[0] == 0
        await lab.shut("first")
        await _leave(lab, "inside")


@on_loop
async def test_a_flood_and_noise_do_not_silence_it(tmp_path: Path, host_file: Path) -> None:
    host_file.write_text("nameserver 127.0.0.98\n")
    async with lab_at(tmp_path / "lab") as lab:
        await _network(lab)
        web = await lab.open("web", mode="mine")
        with lab.make_socket(web.sandbox_key, socket.SOCK_DGRAM) as flood:
            flood.connect(("127.0.0.11", 53))
            for number in range(2000):
                noise = _question(f"n{number}.example.com") if number % 2 else b"\xff" * (number % 50)
                with suppress(OSError):
                    flood.send(noise)
        answer = None
        while answer is None:  # what the flood left no room for is asked again, as every client does
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    answer = await _ask(lab, web.sandbox_key, "web")
        assert answer[:2] == (0, 1)
        await lab.shut("web")
        await _leave(lab, "mine")


@on_loop
async def test_the_port_is_free_for_a_name_server_of_the_containers_own(
    tmp_path: Path, host_file: Path
) -> None:
    async with lab_at(tmp_path / "lab") as lab:
        await _network(lab)
        web = await lab.open("web", mode="mine")
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with lab.make_socket(web.sandbox_key, kind) as own:
                own.bind(("0.0.0.0", 53))
        await lab.shut("web")
        await _leave(lab, "mine")


@on_loop
async def test_names_are_answered_again_after_a_restart(tmp_path: Path, host_file: Path) -> None:
    async with lab_at(tmp_path / "lab") as lab:
        await _network(lab)
        web = await lab.open("web", mode="mine")
        second = await lab.restart()
        await second.service.open([web.container])
        assert (await _ask(second, web.sandbox_key, "web"))[:2] == (0, 1)
        await second.shut("web")
        await _leave(second, "mine")
        await second.service.close(remove=True)
        second.leave()
