"""Host ports: who gets which, and what is said when somebody else has it."""

import re
import socket
import subprocess
from pathlib import Path

import pytest
from support.netlab import HOST_ADDRESS, OUTSIDE, OUTSIDE_ADDRESS, Lab, lab_at, on_loop

from sampan.networks.ports import PortTaken
from sampan.wire.containers import PortBinding

pytestmark = pytest.mark.root


@on_loop
async def test_inspect_shows_what_docker_shows(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        web = await lab.open("web", "8080:80", "127.0.0.1:8081:81/udp", exposed=["443/tcp", "80"])
        assert web.ports == {
            "443/tcp": None,
            "80/tcp": [PortBinding("0.0.0.0", "8080"), PortBinding("::", "8080")],
            "81/udp": [PortBinding("127.0.0.1", "8081")],
        }
        assert list(web.ports) == ["443/tcp", "80/tcp", "81/udp"]


@on_loop
async def test_random_ports_follow_one_another(tmp_path: Path) -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    async with lab_at(tmp_path) as lab:
        one = await lab.open("one", "80")
        two = await lab.open("two", "80")
        everything = await lab.open("all", publish_all=True, exposed=["80/tcp", "53/udp"])
        assert _ports(one.ports["80/tcp"]) == {first}
        assert _ports(two.ports["80/tcp"]) == {first + 1}
        assert _ports(everything.ports["80/tcp"]) == {first + 2}
        assert all(first <= port <= last for port in _ports(everything.ports["53/udp"]))
        async with lab.tcp_server(two.sandbox_key, 80):
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, first + 1) == OUTSIDE_ADDRESS
        await lab.shut("two")


@on_loop
async def test_a_range_gives_the_first_free_port(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        with socket.create_server(("127.0.0.1", 9001)):
            ports = [await lab.open(f"c{n}", "9000-9003:80") for n in range(3)]
            assert [_ports(sandbox.ports["80/tcp"]) for sandbox in ports] == [{9000}, {9002}, {9003}]
        again = await lab.open("c3", "9000-9003:80")
        assert _ports(again.ports["80/tcp"]) == {9001}
        with pytest.raises(PortTaken, match="all ports are allocated"):
            await lab.open("c4", "9000-9003:80")


@on_loop
async def test_the_holder_of_a_taken_port_is_named(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        await lab.open("web", "8080:80")
        with pytest.raises(PortTaken) as raised:
            await lab.open("late", "8080:80")
        assert re.fullmatch(
            "failed to set up container networking: driver failed programming external connectivity on "
            r"endpoint late \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:8080 failed: port is already allocated "
            r"\(by container web\)",
            str(raised.value),
        )
        with pytest.raises(PortTaken, match=r"Bind for 127\.0\.0\.1:8080 failed: port is already allocated"):
            await lab.open("late", "127.0.0.1:8080:80")
        with pytest.raises(PortTaken, match=r"Bind for :::8080 failed"):
            await lab.open("late", "[::]:8080:80")
        assert lab.service.sandbox(lab.request("late").container) is None
        await lab.open("udp", "8080:80/udp")
        lab.service.rename(lab.request("web").container, "site")
        with pytest.raises(PortTaken, match=r"\(by container site\)"):
            await lab.open("late", "8080:80")
        await lab.shut("web")
        await lab.open("late", "8080:80")


@on_loop
async def test_a_program_that_holds_a_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("", 8090)) as held:
        words = ["sh", "-c", "read line"]
        program = subprocess.Popen(  # noqa: ASYNC220 - a test may block
            words, stdin=subprocess.PIPE, pass_fds=[held.fileno()]
        )
    async with lab_at(tmp_path) as lab:
        with program, pytest.raises(PortTaken) as raised:
            await lab.open("web", "8090:80")
        assert str(raised.value).endswith(
            "failed to bind host port for 0.0.0.0:8090:172.17.0.2:80/tcp: address already in use: "
            f"used by sh (pid {program.pid})"
        )


@on_loop
async def test_an_address_that_the_host_has_not_is_refused(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        with pytest.raises(
            PortTaken, match=r"192\.0\.2\.77:8080:172.17.0.2:80/tcp: cannot assign requested address"
        ):
            await lab.open("web", "192.0.2.77:8080:80")


@on_loop
async def test_a_published_port_is_taken_for_other_programs(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        await lab.open("web", "8080:80", "5353:53/udp")
        for kind, port in ((socket.SOCK_STREAM, 8080), (socket.SOCK_DGRAM, 5353)):
            with socket.socket(socket.AF_INET, kind) as late:
                late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
                with pytest.raises(OSError, match="Address already in use"):
                    late.bind(("0.0.0.0", port))


@on_loop
async def test_a_failure_gives_back_the_ports_taken_before_it(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        with socket.create_server(("", 9102)), pytest.raises(PortTaken):
            await lab.open("web", "9100:80", "9101:81", "9102:82")
        await lab.open("web", "9100:80", "9101:81", "9102:82")


@on_loop
async def test_a_thousand_ports(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        web = await lab.open("web", *(f"{port}:{port}" for port in range(20000, 21000)))
        assert len(web.ports) == 1000
        async with lab.tcp_server(web.sandbox_key, 20999):
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 20999) == OUTSIDE_ADDRESS
        await lab.shut("web")


@on_loop
async def test_a_udp_flow_follows_the_port_to_its_next_holder(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        client = lab.make_socket(OUTSIDE, socket.SOCK_DGRAM)
        with client:
            client.bind((OUTSIDE_ADDRESS, 40000))
            await _one_life(lab, "first", client)
            await lab.open("filler")  # takes the first one's address
            await _one_life(lab, "second", client)


async def _one_life(lab: Lab, name: str, client: socket.socket) -> None:
    sandbox = await lab.open(name, "5353:53/udp")
    async with lab.udp_server(sandbox.sandbox_key, 53):
        tries = [await lab.udp(OUTSIDE, HOST_ADDRESS, 5353, client) for _ in range(2)]
        assert tries[-1] == OUTSIDE_ADDRESS  # the flow is dropped in the background
    await lab.shut(name)


@on_loop
async def test_sctp_is_published_as_far_as_the_host_knows_it(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        sandbox = await lab.open("signal", "3868:3868/sctp")
        assert _ports(sandbox.ports["3868/sctp"]) == {3868}


def _ports(bindings: list[PortBinding] | None) -> set[int]:
    return {int(binding.host_port) for binding in bindings or ()}
