"""Networks whose driver or whose addresses are a plugin's."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.netlab import Lab, command, lab_at, on_loop
from support.network_plugin import IpamPlugin, NetworkPlugin

from sampan.base.errors import HostFailure, NotFound
from sampan.wire.networks import CreateNetwork

pytestmark = pytest.mark.root


async def _create(lab: Lab, **body: Any) -> str:
    made = await lab.service.create_network(msgspec.convert({"Name": "mine", **body}, CreateNetwork))
    return made.id


def _inside(key: str, *words: str) -> str:
    return command("nsenter", f"--net={key}", "--", *words)


@on_loop
async def test_a_network_of_a_plugin(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        with NetworkPlugin(tmp_path / "wires.sock") as plugin:
            pool = {"Config": [{"Subnet": "10.44.0.0/24"}]}
            network = await _create(lab, Driver="wires", IPAM=pool, Options={"colour": "red"})
            (asked,) = plugin.called("CreateNetwork")
            assert asked["IPv4Data"][0]["Gateway"] == "10.44.0.1/24"
            assert asked["Options"]["com.docker.network.generic"] == {"colour": "red"}
            box = await lab.open("box", "8080:80", mode="mine")
            key = box.sandbox_key
            assert "10.44.0.2/24" in _inside(key, "ip", "-br", "address", "show", "plug0")
            assert "02:42:0a:2c:00:02" in _inside(key, "ip", "link", "show", "plug0")
            routes = _inside(key, "ip", "route")
            assert "default via 10.44.0.1 dev plug0" in routes
            assert "198.18.0.0/15 dev plug0 scope link" in routes
            assert plugin.called("Join")[0]["SandboxKey"] == key
            (published,) = plugin.called("ProgramExternalConnectivity")
            assert published["Options"]["com.docker.network.portmap"][0]["HostPort"] == 8080
            async with lab.tcp_server(key, 80):
                assert await lab.tcp(None, "10.44.0.2", 80) == "10.44.0.1"
            await lab.shut("box")
            assert [call for call, _ in plugin.calls[-2:]] == ["Leave", "DeleteEndpoint"]
            await lab.service.remove_network(network)
            assert plugin.called("DeleteNetwork") == [{"NetworkID": network}]
        assert "plug" not in command("ip", "-br", "link")


@on_loop
async def test_what_a_plugin_refuses_leaves_nothing(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        with pytest.raises(NotFound, match='plugin "wires" not found'):
            await _create(lab, Driver="wires")
        with NetworkPlugin(tmp_path / "wires.sock") as plugin:
            plugin.refuse.add("CreateNetwork")
            with pytest.raises(HostFailure, match=r"NetworkDriver.CreateNetwork: it does not want to"):
                await _create(lab, Driver="wires")
            assert [network.name for network in lab.service.list_networks({})] == ["bridge", "none", "host"]
            plugin.refuse.clear()
            await _create(lab, Driver="wires")
            for call in ("CreateEndpoint", "Join"):
                plugin.refuse = {call}
                with pytest.raises(HostFailure, match=rf"NetworkDriver.{call}: it does not want to"):
                    await lab.open("box", mode="mine")
            plugin.refuse.clear()
            first = await lab.open("box", mode="mine")
            assert first.networks["mine"].ip_address.endswith(".2"), "no address was lost"
            await lab.shut("box")


@on_loop
async def test_a_sandbox_of_a_plugin_survives_the_engine(tmp_path: Path) -> None:
    with NetworkPlugin(tmp_path / "wires.sock") as plugin:
        lab = Lab(tmp_path)
        await lab.service.open()
        await _create(lab, Driver="wires")
        box = await lab.open("box", mode="mine")
        await lab.open("gone", mode="mine")
        left = len(plugin.called("Leave"))
        lab = await lab.restart()
        await lab.service.open([box.container])
        async with lab.tcp_server(box.sandbox_key, 80):
            assert await lab.tcp(None, box.networks["mine"].ip_address, 80) is not None
        await lab.shut("box")
        await lab.service.close(remove=True)
        assert len(plugin.called("Leave")) == left + 2
        lab.leave()


@on_loop
async def test_addresses_of_a_plugin(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        with pytest.raises(NotFound, match='plugin "leaser" not found'):
            await _create(lab, IPAM={"Driver": "leaser"})
        with IpamPlugin(tmp_path / "leaser.sock") as plugin:
            network = await _create(lab, IPAM={"Driver": "leaser", "Options": {"tier": "gold"}})
            assert plugin.called("RequestPool")[0]["Options"] == {"tier": "gold"}
            shown = lab.service.inspect("mine").ipam
            assert (shown.driver, shown.options) == ("leaser", {"tier": "gold"})
            assert (shown.config or [])[0].gateway == "10.33.255.254"
            box, other = await lab.open("box", mode="mine"), await lab.open("other", mode="mine")
            assert [b.networks["mine"].ip_address for b in (box, other)] == ["10.33.255.253", "10.33.255.252"]
            assert box.networks["mine"].ip_prefix_len == 16
            async with lab.tcp_server(box.sandbox_key, 80):
                assert await lab.tcp(other.sandbox_key, "10.33.255.253", 80) == "10.33.255.252"
            for call in ("RequestAddress", "RequestPool"):
                plugin.refuse = {call}
                with pytest.raises(HostFailure, match=rf"IpamDriver.{call}: it does not want to"):
                    await _create(
                        lab, Name="second", IPAM={"Driver": "leaser", "Config": [{"Subnet": "10.34.0.0/16"}]}
                    )
            plugin.refuse = {"RequestAddress"}
            with pytest.raises(HostFailure, match="it does not want to"):
                await lab.open("third", mode="mine")
            plugin.refuse.clear()
            await lab.shut("box")
            await lab.shut("other")
            await lab.service.remove_network(network)
            await lab.service._plugins.close()
            assert (plugin.leased, plugin.pools) == (set(), set())
