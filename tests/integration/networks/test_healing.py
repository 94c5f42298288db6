"""What somebody takes away on the host comes back by itself: links, addresses, rules, settings, names."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.dns import question
from support.netlab import HOST_ADDRESS, OUTSIDE, OUTSIDE_ADDRESS, Lab, command, lab_at, on_loop, publish

from sampan.networks import watch
from sampan.networks.service import NetworkConfig
from sampan.networks.store import Sandbox
from sampan.wire import networks as wire
from sampan.wire.containers import EndpointSettings

pytestmark = pytest.mark.root
_WITHIN_S = 10.0  # much more than it takes: a slow machine is no failure
_QUIET_S = 0.4


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``holds``; fail if that does not come to be."""
    async with asyncio.timeout(_WITHIN_S):
        while not await holds():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _served(lab: Lab) -> AsyncIterator[tuple[Sandbox, Callable[[], Awaitable[bool]]]]:
    """Yield a container on a network of the user's with published ports, and whether all of it works."""
    await lab.service.create_network(wire.CreateNetwork(name="mine"))
    web = await lab.open("web", "8080:80", mode="mine")
    key = web.sandbox_key

    async def works() -> bool:
        return (
            await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
            and await lab.tcp(None, "127.0.0.1", 8080) is not None
            and await lab.tcp(key, OUTSIDE_ADDRESS, 7000) == HOST_ADDRESS
        )

    async with lab.tcp_server(key, 80), lab.tcp_server(OUTSIDE, 7000):
        yield web, works
    await lab.shut("web")
    await lab.service.remove_network("mine")


def _bridge(lab: Lab) -> str:
    return f"br-{lab.service.find('mine').id[:12]}"


def _macs() -> set[tuple[str, str]]:
    """Return the bridges of the host with their MAC addresses."""
    lines = command("ip", "-br", "link", "show", "type", "bridge").splitlines()
    return {(line.split()[0], line.split()[2]) for line in lines}


def _inside(sandbox: Sandbox) -> str:
    """Return what the container sees of its interface, but for the numbers that the kernel gives."""
    net = f"--net={sandbox.sandbox_key}"
    shown = command("nsenter", net, "ip", "-br", "address", "show", "dev", "eth0").partition("@")[0::2]
    words = [shown[0].split()[0], *shown[1].split()[2:]]
    links = command("nsenter", net, "ip", "link", "show", "dev", "eth0").split("link/ether ")[1].split()[0]
    return " ".join((*words[:2], links, command("nsenter", net, "ip", "route")))


_TAKEN = {
    "all rules": "nft flush ruleset",
    "the table": "nft delete table ip sampan",
    "the rules of a table": "nft flush table ip sampan",
    "the published ports": "nft flush map ip sampan ports_any",
    "what is wanted by a map": 'nft delete element ip sampan from_bridge {{ "{bridge}" }}',
    "a rule of others in it": "nft insert rule ip sampan forward drop",
    "the default bridge": "ip link del docker0",
    "the bridge": "ip link del {bridge}",
    "the bridge, down": "ip link set {bridge} down",
    "the address": "ip address flush dev {bridge}",
    "the link": "ip link del {veth}",
    "the link, from inside": "nsenter --net={key} ip link del eth0",
    "the link's bridge": "ip link set {veth} nomaster",
    "the link, down": "ip link set {veth} down",
    "routing": "sysctl -qw net.ipv4.ip_forward=0",
    "loopback": "sysctl -qw net.ipv4.conf.{bridge}.route_localnet=0",
    "everything": "nft flush ruleset; ip link del docker0; ip link del {bridge}; ip link del {veth}; "
    "sysctl -qw net.ipv4.ip_forward=0",
}


@pytest.mark.parametrize("taken", _TAKEN)
@on_loop
async def test_what_is_taken_away_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, taken: str
) -> None:
    async with lab_at(tmp_path) as lab, _served(lab) as (web, works):
        assert await works()
        before = _inside(web)
        rules = command("nft", "list", "ruleset")
        macs = _macs()
        endpoint = web.networks["mine"].endpoint_id
        words = {"bridge": _bridge(lab), "veth": f"veth{endpoint[:7]}", "key": web.sandbox_key}
        caplog.set_level(logging.WARNING)
        command("sh", "-ec", _TAKEN[taken].format(**words))

        async def told() -> bool:
            return any("had drifted" in record.getMessage() for record in caplog.records)

        await _until(told)
        await _until(works)
        assert _inside(web) == before
        assert command("nft", "list", "ruleset") == rules
        assert _macs() == macs
        assert all(record.lost for record in caplog.records), caplog.text  # type: ignore[attr-defined]


@on_loop
async def test_the_resolver_of_a_container_is_reached_again(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab, _served(lab) as (web, _):
        for change in ("nft flush ruleset", "nft delete table ip sampan_dns"):
            command("nsenter", f"--net={web.sandbox_key}", "sh", "-c", change)

            async def answered() -> bool:
                loop = asyncio.get_running_loop()
                with lab.make_socket(web.sandbox_key, kind=socket.SOCK_DGRAM) as asking:
                    asking.connect(("127.0.0.11", 53))
                    try:
                        await loop.sock_sendall(asking, question("web"))
                        async with asyncio.timeout(0.2):
                            return len(await loop.sock_recv(asking, 512)) > 30
                    except (TimeoutError, OSError):
                        return False

            await _until(answered)


@on_loop
async def test_what_the_engine_does_itself_is_no_drift(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_XTABLES_LOCK", tmp_path / "none")  # the machine's other users have it, too
    looks = 0
    async with lab_at(tmp_path) as lab:
        healing = lab.service._healing
        assert healing is not None
        await asyncio.sleep(_QUIET_S)  # the look at the beginning

        async def counted() -> bool:
            nonlocal looks
            looks += 1
            return await healing.heal()

        healing._watch._look = counted
        with caplog.at_level(logging.WARNING):
            async with _served(lab) as (_, works):
                assert await works()
                await asyncio.gather(*(lab.open(f"c{n}", f"{8100 + n}:80", mode="mine") for n in range(8)))
                assert not await healing.heal()
                await asyncio.gather(*(lab.shut(f"c{n}") for n in range(8)))
            await asyncio.sleep(_QUIET_S)
        assert looks == 0, "nothing that the engine does makes it look at the host"
        assert not [record for record in caplog.records if "drift" in record.getMessage()]


@on_loop
async def test_a_bridge_of_the_administrators_is_theirs_to_make(tmp_path: Path) -> None:
    command("sh", "-c", "ip link add mybr type bridge && ip address add 10.99.0.1/24 dev mybr")
    make = "ip link add mybr type bridge; ip address add 10.99.0.1/24 dev mybr; ip link set mybr up"
    try:
        async with lab_at(tmp_path, NetworkConfig(bridge="mybr")) as lab:
            web = await lab.open("web", "8080:80")
            async with lab.tcp_server(web.sandbox_key, 80):
                command("sh", "-ec", f"ip link del mybr; sleep 0.3; {make}")

                async def works() -> bool:
                    return await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS

                healing = lab.service._healing
                assert healing is not None
                await healing.heal()
                await _until(works)
            await lab.shut("web")
    finally:
        command("ip", "link", "del", "mybr")


@on_loop
async def test_what_was_lost_while_nobody_watched(tmp_path: Path) -> None:
    first = Lab(tmp_path)
    await first.service.open()
    web = await first.open("web", "8080:80")
    lab = await first.restart()
    command("sh", "-ec", f"nft flush ruleset; ip link del docker0; ip link del veth{_endpoint(web)[:7]}")
    await lab.service.open([web.container])
    async with lab.tcp_server(web.sandbox_key, 80):

        async def works() -> bool:
            return await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS

        await _until(works)
    await lab.shut("web")
    await lab.service.close(remove=True)
    lab.leave()


def _endpoint(sandbox: Sandbox) -> str:
    return sandbox.networks["bridge"].endpoint_id


@on_loop
async def test_containers_come_and_go_while_it_looks(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        for name in ("mine", "yours"):
            await lab.service.create_network(wire.CreateNetwork(name=name))
        await lab.service.settle()
        before = command("nft", "list", "ruleset")
        healing = lab.service._healing
        assert healing is not None

        async def live(name: str, port: int) -> None:
            request = lab.request(name, "mine", bindings=publish(f"{port}:80"))
            await lab.service.open_sandbox(request)
            both = replace(request, endpoints={"mine": EndpointSettings(), "yours": EndpointSettings()})
            await lab.service.connect(both, "yours")
            await lab.service.change_ports(
                both, publish(f"{port + 100}:80"), lab.service.forwards(both.container)
            )
            await lab.service.disconnect(request, "yours")
            await lab.shut(name)

        async def look() -> list[bool]:
            return [await healing.heal() for _ in range(60)]

        async with asyncio.TaskGroup() as group:
            looked = group.create_task(look())
            for number in range(10):
                group.create_task(live(f"c{number}", 8300 + number))
        assert not any(looked.result()), "nothing is missing while it is on its way"
        assert command("nft", "list", "ruleset") == before, "nothing is put back that went on purpose"
        for name in ("mine", "yours"):
            await lab.service.remove_network(name)
