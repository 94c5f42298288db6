"""Many containers and changes at once, and what is refused in the middle of it."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.netlab import Lab, lab_at, on_loop

from sampan.base.errors import EngineError
from sampan.networks.service import Sandbox
from sampan.wire.networks import CreateNetwork

pytestmark = pytest.mark.root


async def _create(lab: Lab, **body: Any) -> str:
    made = await lab.service.create_network(msgspec.convert({"Name": "mine", **body}, CreateNetwork))
    return made.id


@on_loop
async def test_fifty_containers_connect_at_once(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        await _create(lab, IPAM={"Config": [{"Subnet": "10.5.0.0/26"}]})
        boxes = await asyncio.gather(*(lab.open(f"box{number}") for number in range(50)))
        connected = await asyncio.gather(
            *(lab.service.connect(lab.request(f"box{number}"), "mine") for number in range(50))
        )
        addresses = {sandbox.networks["mine"].ip_address for sandbox in connected}
        assert len(addresses) == 50
        async with lab.tcp_server(boxes[0].sandbox_key, 80):
            first = connected[0].networks["mine"].ip_address
            seen = await lab.tcp(boxes[49].sandbox_key, first, 80)
            assert seen == connected[49].networks["mine"].ip_address
        await asyncio.gather(
            *(lab.service.disconnect(lab.request(f"box{number}"), "mine") for number in range(50))
        )
        await lab.service.remove_network("mine")
        for number in range(50):
            await lab.shut(f"box{number}")


@on_loop
async def test_a_network_is_removed_while_containers_start(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        await _create(lab)
        work = [lab.open(f"box{number}", mode="mine") for number in range(4)]
        results = await asyncio.gather(
            *work[:2], lab.service.remove_network("mine"), *work[2:], return_exceptions=True
        )
        *_, removed, _, _ = results
        for name, result in zip(("box0", "box1", "", "box2", "box3"), results, strict=True):
            if isinstance(result, Sandbox):
                assert isinstance(removed, EngineError), "a network with a container on it stays"
                await lab.shut(name)
            else:
                assert result is None or isinstance(result, EngineError)


@on_loop
async def test_addresses_that_are_taken_or_used_up(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        await _create(
            lab, IPAM={"Config": [{"Subnet": "10.5.0.0/29", "AuxiliaryAddresses": {"printer": "10.5.0.6"}}]}
        )
        boxes = [await lab.open(f"box{number}", mode="mine") for number in range(4)]
        assert [b.networks["mine"].ip_address for b in boxes] == [f"10.5.0.{n}" for n in range(2, 6)]
        with pytest.raises(
            EngineError, match="no available IPv4 addresses on this network's address pools: mine"
        ):
            await lab.open("more", mode="mine")
        for number in range(4):
            await lab.shut(f"box{number}")
