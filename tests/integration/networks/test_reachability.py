"""Who reaches whom: the host, a neighbour host, containers, and a container's own published port."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from support.netlab import HOST_ADDRESS, OUTSIDE, OUTSIDE_ADDRESS, Lab, command, lab_at, on_loop

from sampan.networks.model import Network, PoolConfig
from sampan.networks.service import NetworkConfig

pytestmark = pytest.mark.root
GATEWAY = "172.17.0.1"


@on_loop
async def test_a_published_port_is_reached_from_everywhere(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        web = await lab.open("web", "8080:80")
        other = await lab.open("other")
        async with lab.tcp_server(web.sandbox_key, 80):
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
            assert await lab.tcp(None, "127.0.0.1", 8080) == GATEWAY
            assert await lab.tcp(None, "127.5.5.5", 8080) == GATEWAY
            assert await lab.tcp(None, HOST_ADDRESS, 8080) is not None
            assert await lab.tcp(None, "198.51.100.1", 8080) is not None
            assert await lab.tcp(None, GATEWAY, 8080) == GATEWAY
            assert await lab.tcp(other.sandbox_key, HOST_ADDRESS, 8080) is not None
            assert await lab.tcp(other.sandbox_key, GATEWAY, 8080) is not None
            assert await lab.tcp(web.sandbox_key, HOST_ADDRESS, 8080) is not None
            assert await lab.tcp(web.sandbox_key, GATEWAY, 8080) is not None
            assert await lab.tcp(None, "::1", 8080) == GATEWAY
            assert await lab.tcp(other.sandbox_key, web.networks["bridge"].ip_address, 80) == "172.17.0.3"
            assert await lab.tcp(None, web.networks["bridge"].ip_address, 80) == GATEWAY
        await lab.shut("web")
        await lab.shut("other")


@on_loop
async def test_a_udp_port_is_reached_from_everywhere(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        dns = await lab.open("dns", "5353:53/udp")
        other = await lab.open("other")
        async with lab.udp_server(dns.sandbox_key, 53):
            assert await lab.udp(OUTSIDE, HOST_ADDRESS, 5353) == OUTSIDE_ADDRESS
            assert await lab.udp(None, "127.0.0.1", 5353) == GATEWAY
            assert await lab.udp(None, HOST_ADDRESS, 5353) is not None
            assert await lab.udp(other.sandbox_key, HOST_ADDRESS, 5353) is not None
            assert await lab.udp(dns.sandbox_key, HOST_ADDRESS, 5353) is not None
            assert await lab.udp(None, "::1", 5353) == GATEWAY
        await lab.shut("dns")
        await lab.shut("other")


@on_loop
async def test_containers_reach_the_world_as_the_host(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        box = await lab.open("box")
        async with lab.tcp_server(OUTSIDE, 7000), lab.tcp_server(None, 7001), lab.udp_server(OUTSIDE, 7002):
            assert await lab.tcp(box.sandbox_key, OUTSIDE_ADDRESS, 7000) == HOST_ADDRESS
            assert await lab.udp(box.sandbox_key, OUTSIDE_ADDRESS, 7002) == HOST_ADDRESS
            assert await lab.tcp(box.sandbox_key, GATEWAY, 7001) == "172.17.0.2"
        await lab.shut("box")


@on_loop
async def test_masquerading_can_be_left_out(tmp_path: Path) -> None:
    async with lab_at(tmp_path, NetworkConfig(ip_masq=False)) as lab:
        box = await lab.open("box")
        async with lab.tcp_server(OUTSIDE, 7000):
            assert await lab.tcp(box.sandbox_key, OUTSIDE_ADDRESS, 7000) == "172.17.0.2"
        await lab.shut("box")


@on_loop
async def test_a_port_on_one_address_is_not_on_others(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        local = await lab.open("local", "127.0.0.1:8081:80")
        public = await lab.open("public", f"{HOST_ADDRESS}:8082:80")
        async with lab.tcp_server(local.sandbox_key, 80), lab.tcp_server(public.sandbox_key, 80):
            assert await lab.tcp(None, "127.0.0.1", 8081) == GATEWAY
            assert await lab.tcp(None, HOST_ADDRESS, 8081) is None
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8081) is None
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8082) == OUTSIDE_ADDRESS
            assert await lab.tcp(None, "127.0.0.1", 8082) is None
            assert await lab.tcp(None, "198.51.100.1", 8082) is None
        await lab.shut("local")
        await lab.shut("public")


@on_loop
async def test_a_neighbour_host_reaches_no_unpublished_port(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        web = await lab.open("web", "8080:80")
        async with lab.tcp_server(web.sandbox_key, 80), lab.tcp_server(web.sandbox_key, 81):
            address = web.networks["bridge"].ip_address
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
            assert await lab.tcp(OUTSIDE, address, 81) is None  # it has a route: everything goes by way of us
            assert await lab.tcp(OUTSIDE, address, 80) is None
        await lab.shut("web")


@on_loop
async def test_containers_neither_reach_nor_fake_the_hosts_loopback(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        box = await lab.open("box")
        inside = ("nsenter", f"--net={box.sandbox_key}", "--")
        command(*inside, "ip", "link", "set", "lo", "down")
        command(*inside, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        command(*inside, "ip", "route", "add", "127.0.0.1/32", "via", GATEWAY)
        async with lab.tcp_server(None, 7003, "127.0.0.1"):
            assert await lab.tcp(None, "127.0.0.1", 7003) == "127.0.0.1"
            assert await lab.tcp(box.sandbox_key, "127.0.0.1", 7003) is None
        await lab.shut("box")


@on_loop
async def test_without_icc_neighbours_are_cut_off_but_for_published_ports(tmp_path: Path) -> None:
    async with lab_at(tmp_path, NetworkConfig(icc=False)) as lab:
        web = await lab.open("web", "8080:80")
        other = await lab.open("other")
        async with lab.tcp_server(web.sandbox_key, 80), lab.tcp_server(OUTSIDE, 7000):
            assert await lab.tcp(other.sandbox_key, web.networks["bridge"].ip_address, 80) is None
            assert await lab.tcp(None, web.networks["bridge"].ip_address, 80) == GATEWAY
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
            assert await lab.tcp(other.sandbox_key, HOST_ADDRESS, 8080) is not None
            assert await lab.tcp(web.sandbox_key, HOST_ADDRESS, 8080) is not None
            assert await lab.tcp(other.sandbox_key, OUTSIDE_ADDRESS, 7000) == HOST_ADDRESS
        await lab.shut("web")
        await lab.shut("other")


@on_loop
async def test_without_a_bridge_filter_containers_are_reached_all_the_same(tmp_path: Path) -> None:
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not setting.exists():
        pytest.skip("this kernel has no br_netfilter")
    before = setting.read_text()
    setting.write_text("0")
    try:
        async with lab_at(tmp_path) as lab:
            await matrix_within_a_bridge(lab)
    finally:
        setting.write_text(before)


async def matrix_within_a_bridge(lab: Lab) -> None:
    web = await lab.open("web", "8080:80")
    other = await lab.open("other")
    async with lab.tcp_server(web.sandbox_key, 80):
        assert await lab.tcp(other.sandbox_key, web.networks["bridge"].ip_address, 80) == "172.17.0.3"
        for place in (other.sandbox_key, web.sandbox_key):
            assert await lab.tcp(place, HOST_ADDRESS, 8080) is not None
            assert await lab.tcp(place, GATEWAY, 8080) is not None
    await lab.shut("web")
    await lab.shut("other")


@on_loop
async def test_the_proxy_serves_alone_where_there_are_no_rules(tmp_path: Path) -> None:
    async with lab_at(tmp_path, NetworkConfig(iptables=False)) as lab:
        web = await lab.open("web", "8080:80", "8053:53/udp")
        async with lab.tcp_server(web.sandbox_key, 80), lab.udp_server(web.sandbox_key, 53):
            for place, host in (
                (OUTSIDE, HOST_ADDRESS),
                (None, "127.0.0.1"),
                (None, "::1"),
                (None, HOST_ADDRESS),
            ):
                assert await lab.tcp(place, host, 8080, b"x" * 300_000) == GATEWAY
                assert await lab.udp(place, host, 8053) == GATEWAY
        await lab.shut("web")


@on_loop
async def test_without_the_proxy_only_nat_serves(tmp_path: Path) -> None:
    async with lab_at(tmp_path, NetworkConfig(userland_proxy=False)) as lab:
        web = await lab.open("web", "8080:80")
        assert [binding.host_ip for binding in web.ports["80/tcp"] or ()] == ["0.0.0.0"]
        async with lab.tcp_server(web.sandbox_key, 80):
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
            assert await lab.tcp(None, "127.0.0.1", 8080) == GATEWAY
            assert await lab.tcp(None, "::1", 8080) is None
        await lab.shut("web")


@on_loop
async def test_networks_are_cut_off_from_each_other(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    subnet = IPv4Network("172.30.0.0/24")
    pool = PoolConfig(subnet, subnet, subnet.network_address + 1)
    lab.service._store.save_network(Network("f" * 64, "other", "bridge", "", (pool,)))
    await lab.service.open()
    web = await lab.open("web", "8080:80")
    far = await lab.open("far", mode="other")
    async with lab.tcp_server(web.sandbox_key, 80), lab.tcp_server(far.sandbox_key, 80):
        assert far.networks["other"].ip_address == "172.30.0.2"
        assert await lab.tcp(far.sandbox_key, web.networks["bridge"].ip_address, 80) is None
        assert await lab.tcp(web.sandbox_key, far.networks["other"].ip_address, 80) is None
        assert await lab.tcp(far.sandbox_key, HOST_ADDRESS, 8080) is not None
        assert await lab.tcp(None, far.networks["other"].ip_address, 80) == "172.30.0.1"
    await lab.shut("web")
    await lab.shut("far")
    await lab.service.close(remove=True)
    lab.leave()


@on_loop
async def test_without_rules_the_bridge_takes_nothing_from_the_loopback(tmp_path: Path) -> None:
    setting = Path("/proc/sys/net/ipv4/conf/docker0/route_localnet")
    async with lab_at(tmp_path, NetworkConfig(iptables=False)):
        assert setting.read_text() == "0\n"
    async with lab_at(tmp_path / "with", NetworkConfig()):
        assert setting.read_text() == "1\n"
