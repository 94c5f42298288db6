"""Networks come and go faster than the kernel's bridges: what was answered holds all the same."""

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest
from support.netlab import Lab, command, lab_at, on_loop

from sampan.base import faults
from sampan.base.errors import EngineError, HostFailure
from sampan.networks.model import Network
from sampan.wire.networks import CreateNetwork

pytestmark = pytest.mark.root
_NAMED = {
    "Options": {"com.docker.network.bridge.name": "mybr"},
    "IPAM": {"Config": [{"Subnet": "10.5.0.0/24"}]},
}


async def _create(lab: Lab, **body: object) -> Network:
    await lab.service.create_network(msgspec.convert({"Name": "mine", **body}, CreateNetwork))
    return lab.service.find("mine")


def _links() -> set[str]:
    return {line.split()[0].partition("@")[0] for line in command("ip", "-br", "link").splitlines()}


@on_loop
async def test_a_bridge_follows_the_answer_and_goes_behind_it(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        rules = command("nft", "list", "ruleset")
        bridge = f"br-{(await _create(lab)).id[:12]}"
        await lab.service.settle()
        assert bridge in _links()
        assert bridge in command("nft", "list", "ruleset")
        await lab.service.remove_network("mine")
        await lab.service.settle()
        assert bridge not in _links()
        assert command("nft", "list", "ruleset") == rules


@on_loop
async def test_a_network_that_is_removed_at_once_is_never_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with lab_at(tmp_path) as lab:
        caplog.clear()
        for _ in range(20):
            await _create(lab)
            await lab.service.remove_network("mine")
        await lab.service.settle()
        assert not [record for record in caplog.records if record.getMessage() == "create bridge"]
        healing = lab.service._healing
        assert healing is not None
        assert not await healing.heal(), "nothing is missing, and nothing is too much"


@on_loop
async def test_names_and_subnets_are_free_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with lab_at(tmp_path) as lab:
        healing = lab.service._healing
        assert healing is not None
        subnets: set[str] = set()
        for _ in range(4):
            await _create(lab, **_NAMED)
            box = await lab.open("box", mode="mine")
            assert box.networks["mine"].ip_address == "10.5.0.2"
            assert not await healing.heal(), "what is on its way is no drift"
            await lab.shut("box")
            await lab.service.remove_network("mine")
            assert not await healing.heal(), "what goes is no drift"
            subnets |= {str(pool.subnet) for pool in (await _create(lab)).pools}
            await lab.service.settle()
            await lab.service.remove_network("mine")
        assert len(subnets) == 1, "the prefix of a bridge that goes is not taken"
        await lab.service.settle()
        assert not {link for link in _links() if link.startswith(("br-", "mybr"))}
        assert not [record for record in caplog.records if "drift" in record.getMessage()]


@pytest.mark.parametrize("step", ["bridge", "firewall"])
@on_loop
async def test_what_cannot_be_made_is_said_and_made_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    point = f"networks.create.{step}"
    async with lab_at(tmp_path) as lab:
        healing = lab.service._healing
        assert healing is not None
        rules, before = command("nft", "list", "ruleset"), _links()
        faults.arm(point)
        try:
            await _create(lab)
            with pytest.raises(HostFailure) as failure:
                await lab.open("box", mode="mine")
            await lab.service.settle()
            assert (command("nft", "list", "ruleset"), _links()) == (rules, before), "nothing is left of it"
            await healing.heal()
        finally:
            faults.disarm(point)
        reason = f"injected fault at {point}"
        assert str(failure.value) == (
            f"failed to set up container networking: network mine cannot be used: {reason}"
        )
        said = [record for record in caplog.records if record.getMessage() == "network cannot be used"]
        assert [record.error for record in said] == [reason], "once"  # type: ignore[attr-defined]
        await healing.heal()
        box = await lab.open("box", mode="mine")
        assert box.networks["mine"].ip_address
        await lab.shut("box")
        await lab.service.remove_network("mine")


@on_loop
async def test_a_broken_network_can_be_removed(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        faults.arm("networks.create.bridge")
        try:
            await _create(lab)
            await lab.service.settle()
        finally:
            faults.disarm("networks.create.bridge")
        await lab.service.remove_network("mine")
        with pytest.raises(EngineError, match="not found"):
            await lab.open("box", mode="mine")


@on_loop
async def test_what_can_be_known_is_refused_at_once(tmp_path: Path) -> None:
    command("ip", "link", "add", "mybr", "type", "veth", "peer", "name", "mypeer")
    try:
        async with lab_at(tmp_path) as lab:
            with pytest.raises(
                HostFailure, match=r"^cannot use mybr for network mine: it exists and is no bridge$"
            ):
                await _create(lab, **_NAMED)
            assert lab.service.list_networks({"name": ["mine"]}) == []
    finally:
        command("ip", "link", "del", "mybr")


@on_loop
async def test_bridges_that_a_killed_engine_left_are_removed(tmp_path: Path) -> None:
    mark = f"sampan network {'ab' * 32}"
    command(
        "sh",
        "-ec",
        f"ip link add br-left type bridge; ip link set br-left alias '{mark}';"
        f"ip link add br-used type bridge; ip link set br-used alias '{mark}';"
        "ip link add br-other type bridge",
    )
    try:
        async with lab_at(tmp_path) as killed:
            killed.service._store.save_leaving(["br-left", "br-other"])
        async with lab_at(tmp_path) as lab:
            assert "br-left" not in _links()
            assert {"br-used", "br-other"} <= _links(), "another engine's, or somebody else's"
            assert not lab.service._store.leaving()
    finally:
        command("sh", "-c", "ip link del br-used; ip link del br-other")


@on_loop
async def test_many_networks_come_and_go_at_once(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        before = command("nft", "list", "ruleset")
        names = [f"net{number}" for number in range(12)]
        made = await asyncio.gather(*(lab.service.create_network(CreateNetwork(name=name)) for name in names))
        await asyncio.gather(*(lab.open(f"box-{name}", mode=name) for name in names[:4]))
        await lab.service.settle()
        assert {f"br-{network.id[:12]}" for network in made} <= _links()
        await asyncio.gather(*(lab.shut(f"box-{name}") for name in names[:4]))
        await asyncio.gather(*(lab.service.remove_network(name) for name in names))
        await lab.service.settle()
        assert command("nft", "list", "ruleset") == before
