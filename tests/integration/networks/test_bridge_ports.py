"""What a port of a bridge may say and to whom, and how a container's interface is set up."""

import socket
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.netlab import HOST_ADDRESS, OUTSIDE, OUTSIDE_ADDRESS, Lab, command, lab_at, on_loop

from sampan.base.errors import HostFailure
from sampan.networks.service import NetworkConfig
from sampan.wire.containers import EndpointIPAMConfig, EndpointSettings
from sampan.wire.networks import CreateNetwork

pytestmark = pytest.mark.root
BRIDGE = "com.docker.network.bridge."


async def _create(lab: Lab, name: str = "mine", **body: Any) -> None:
    await lab.service.create_network(msgspec.convert({"Name": name, **body}, CreateNetwork))


def _inside(key: str, *words: str) -> str:
    return command("nsenter", f"--net={key}", "--", *words)


async def _speaks(lab: Lab, place: str, source: str, host: str, port: int) -> bool:
    """Tell whether ``host`` answers ``place`` when that speaks as ``source``."""
    with lab.make_socket(place, ipv6=":" in host) as client:
        client.bind((source, 0))
        return await lab.tcp(place, host, port, client=client) is not None


def _forged_arp(sender_mac: str, sender: str, asked: str) -> bytes:
    """Return an ARP reply that says that ``sender`` is at ``sender_mac``, to everybody."""
    mac = bytes.fromhex(sender_mac.replace(":", ""))
    header = b"\xff" * 6 + mac + struct.pack(">HHHBBH", 0x0806, 1, 0x0800, 6, 4, 2)
    return header + mac + socket.inet_aton(sender) + b"\xff" * 6 + socket.inet_aton(asked)


@on_loop
async def test_containers_speak_as_themselves(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        await _create(
            lab, EnableIPv6=True, IPAM={"Config": [{"Subnet": "10.5.0.0/24"}, {"Subnet": "fd05::/64"}]}
        )
        web, evil, other = [await lab.open(name, mode="mine") for name in ("web", "evil", "other")]
        for address in ("10.5.0.99/24", "fd05::99/64"):
            _inside(evil.sandbox_key, "ip", "address", "add", address, "dev", "eth0", "nodad")
        async with lab.tcp_server(web.sandbox_key, 80), lab.tcp_server(web.sandbox_key, 80, "::"):
            assert await _speaks(lab, evil.sandbox_key, "10.5.0.3", "10.5.0.2", 80)
            assert await _speaks(lab, evil.sandbox_key, "fd05::3", "fd05::2", 80)
            assert not await _speaks(lab, evil.sandbox_key, "10.5.0.99", "10.5.0.2", 80)
            assert not await _speaks(lab, evil.sandbox_key, "fd05::99", "fd05::2", 80)
            assert await lab.tcp(other.sandbox_key, "10.5.0.2", 80) == "10.5.0.4"
            before = _inside(other.sandbox_key, "ip", "neighbour", "show", "10.5.0.2")
            with lab.make_packet_socket(evil.sandbox_key, "eth0") as packets:
                packets.send(_forged_arp(evil.networks["mine"].mac_address, "10.5.0.2", "10.5.0.4"))
            assert await lab.tcp(other.sandbox_key, "10.5.0.2", 80) == "10.5.0.4"
            assert (
                _inside(other.sandbox_key, "ip", "neighbour", "show", "10.5.0.2").split()[:4]
                == before.split()[:4]
            )
            _inside(evil.sandbox_key, "ip", "link", "set", "eth0", "address", "02:42:0a:05:00:77")
            assert not await _speaks(lab, evil.sandbox_key, "10.5.0.3", "10.5.0.2", 80)
        for name in ("web", "evil", "other"):
            await lab.shut(name)


@on_loop
async def test_a_network_can_let_containers_say_what_they_want(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        await _create(
            lab,
            IPAM={"Config": [{"Subnet": "10.5.0.0/24"}]},
            Options={"sampan.network.bridge.allow_spoofing": "true"},
        )
        web, free = await lab.open("web", mode="mine"), await lab.open("free", mode="mine")
        _inside(free.sandbox_key, "ip", "address", "add", "10.5.0.99/24", "dev", "eth0")
        async with lab.tcp_server(web.sandbox_key, 80):
            assert await _speaks(lab, free.sandbox_key, "10.5.0.99", "10.5.0.2", 80)
        await lab.shut("web")
        await lab.shut("free")


@on_loop
async def test_links_pass_where_containers_may_not_talk_to_each_other(tmp_path: Path) -> None:
    async with lab_at(tmp_path, NetworkConfig(icc=False)) as lab:
        web = await lab.open("web")
        address = web.networks["bridge"].ip_address
        linked = await lab.open(
            "linked", links=[f"web:web:{address}"], reaches=[(address, "80/tcp"), (address, "53/udp")]
        )
        other = await lab.open("other")
        async with (
            lab.tcp_server(web.sandbox_key, 80),
            lab.tcp_server(web.sandbox_key, 81),
            lab.udp_server(web.sandbox_key, 53),
            lab.tcp_server(linked.sandbox_key, 90),
        ):
            assert await lab.tcp(linked.sandbox_key, address, 80) == linked.networks["bridge"].ip_address
            assert await lab.udp(linked.sandbox_key, address, 53) == linked.networks["bridge"].ip_address
            assert await lab.tcp(linked.sandbox_key, address, 81) is None
            assert await lab.tcp(other.sandbox_key, address, 80) is None
            with lab.make_socket(web.sandbox_key) as backwards:  # from the port that answers come from
                backwards.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                backwards.bind((address, 53))
                assert (
                    await lab.tcp(web.sandbox_key, linked.networks["bridge"].ip_address, 90, client=backwards)
                    is None
                )
        for name in ("web", "linked", "other"):
            await lab.shut(name)


@on_loop
async def test_a_port_on_the_loopback_address_is_not_for_other_hosts(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        web = await lab.open("web", "127.0.0.1:8081:80", "127.0.0.1:8053:53/udp")
        inside = ("ip", "netns", "exec", OUTSIDE.name)
        command(*inside, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        command(*inside, "ip", "route", "add", "127.0.0.1/32", "via", HOST_ADDRESS)
        command(*inside, "ip", "rule", "add", "pref", "1", "to", "127.0.0.1", "lookup", "main")
        command(*inside, "ip", "rule", "del", "pref", "0")
        command(*inside, "ip", "rule", "add", "pref", "2", "lookup", "local")
        try:
            async with lab.tcp_server(web.sandbox_key, 80), lab.udp_server(web.sandbox_key, 53):
                assert await lab.tcp(None, "127.0.0.1", 8081) is not None
                with lab.make_socket(OUTSIDE) as client:
                    client.bind((OUTSIDE_ADDRESS, 0))
                    assert await lab.tcp(OUTSIDE, "127.0.0.1", 8081, client=client) is None
        finally:
            command(*inside, "ip", "rule", "add", "pref", "0", "lookup", "local")
            command(*inside, "ip", "rule", "del", "pref", "1")
            command(*inside, "ip", "rule", "del", "pref", "2")
        await lab.shut("web")


@on_loop
async def test_ports_of_ipv6_are_carried_by_nat(tmp_path: Path) -> None:
    command("ip", "address", "add", "2001:db8::1/64", "dev", "lab0", "nodad")
    command("ip", "-n", "outside", "address", "replace", "2001:db8::2/64", "dev", "up0", "nodad")
    async with lab_at(tmp_path) as lab:
        await _create(lab, EnableIPv6=True, EnableIPv4=False)
        web = await lab.open("web", "8080:80", "[2001:db8::1]:8082:82", mode="mine")
        six = web.networks["mine"].global_ipv6_address
        assert web.networks["mine"].ip_address == ""
        assert [(b.host_ip, b.host_port) for b in web.ports["80/tcp"] or ()] == [("::", "8080")]
        async with lab.tcp_server(web.sandbox_key, 80, "::"), lab.tcp_server(web.sandbox_key, 82, "::"):
            assert await lab.tcp(OUTSIDE, "2001:db8::1", 8080) == "2001:db8::2", (
                "the client's own address is seen"
            )
            assert await lab.tcp(OUTSIDE, "2001:db8::1", 8082) == "2001:db8::2"
            assert await lab.tcp(None, "::1", 8080) is not None
            assert await lab.tcp(web.sandbox_key, "2001:db8::1", 8080) is not None
            assert await lab.tcp(None, "127.0.0.1", 8080) is None
            assert await lab.tcp(OUTSIDE, six, 80) is None
        lab = await lab.restart()
        await lab.service.open([web.container])
        async with lab.tcp_server(web.sandbox_key, 80, "::"):
            assert await lab.tcp(OUTSIDE, "2001:db8::1", 8080) == "2001:db8::2"
        await lab.shut("web")
        await lab.service.close(remove=True)
        lab.leave()
    command("ip", "address", "del", "2001:db8::1/64", "dev", "lab0")


@on_loop
async def test_an_interface_as_it_was_asked_for(tmp_path: Path) -> None:
    sysctls = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.ifname.forwarding=0"
    options = {
        "com.docker.network.endpoint.sysctls": sysctls,
        "com.docker.network.endpoint.ifname": "lan.7",
    }
    wanted = EndpointSettings(
        driver_opts=options, ipam_config=EndpointIPAMConfig(link_local_ips=["169.254.8.8", "fe80::88"])
    )
    async with lab_at(tmp_path) as lab:
        await _create(lab, "first", Options={"com.docker.network.container_iface_prefix": "net"})
        await _create(lab, "second")
        preferred = EndpointSettings(gw_priority=5)
        endpoints = {"bridge": wanted, "first": EndpointSettings(), "second": preferred}
        box = await lab.open("box", "8080:80", mode="bridge", endpoints=endpoints)
        key = box.sandbox_key
        names = [line.split("@")[0] for line in _inside(key, "ip", "-br", "link").splitlines()]
        assert names[1:] == ["lan.7", "net0", "eth0"]
        assert _inside(key, "ip", "route").startswith(
            f"default via {box.networks['second'].gateway} dev eth0"
        )
        shown = _inside(key, "ip", "-br", "address", "show", "lan.7")
        assert "169.254.8.8/16" in shown
        assert _inside(key, "cat", "/proc/sys/net/ipv4/conf/lan.7/log_martians") == "1\n"
        assert _inside(key, "cat", "/proc/sys/net/ipv4/conf/lan.7/forwarding") == "0\n"
        refused = EndpointSettings(
            driver_opts={"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.nope=1"}
        )
        with pytest.raises(HostFailure, match=r"unable to set sysctl net.ipv4.conf.IFNAME.nope=1"):
            await lab.open("bad", endpoints={"bridge": refused})
        await lab.shut("box")


@pytest.mark.parametrize("mode", ["routed", "nat-unprotected", "isolated"])
@on_loop
async def test_ports_as_modes_show_them(tmp_path: Path, mode: str) -> None:
    async with lab_at(tmp_path) as lab:
        options = {f"{BRIDGE}gateway_mode_ipv4": mode}
        await _create(lab, Options=options, Internal=mode == "isolated")
        web = await lab.open("web", "8080:80", mode="mine")
        shown = [(binding.host_ip, binding.host_port) for binding in web.ports.get("80/tcp") or ()]
        assert (
            shown
            == {
                "routed": [("0.0.0.0", ""), ("::", "8080")][:1],
                "nat-unprotected": [("0.0.0.0", "8080"), ("::", "8080")],
                "isolated": [],
            }[mode]
        )
        await lab.shut("web")
