"""The rows of networks and sandboxes survive a restart."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from sampan.base.state import StateDB
from sampan.networks.config import NetworkConfig
from sampan.networks.defaults import HostView, predefined
from sampan.networks.model import Forward, Network
from sampan.networks.store import NetworkStore, PortRow, Sandbox, SandboxRow
from sampan.wire.containers import EndpointSettings, PortBinding


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    store = NetworkStore(state)
    networks = predefined({}, NetworkConfig(), HostView((), (), ()), in_use=False)
    store.replace_predefined(networks)
    forwards = [
        Forward("tcp", host, 8080, IPv4Address("172.17.0.2"), 80) for host in (IPv4Address(0), IPv6Address(0))
    ]
    sandbox = Sandbox(
        "c", "s", "/run/x", {"bridge": EndpointSettings()}, {"80/tcp": [PortBinding("", "8080")]}
    )
    store.save_sandbox(SandboxRow("web", sandbox, [PortRow.of(forward) for forward in forwards]))
    store.save_sandbox(SandboxRow("gone", Sandbox("d", "s", "", {}, {}), []))
    store.remove_sandbox("d")
    store.save_host_setting("net.ipv4.ip_forward", "boot")
    again = NetworkStore(state)
    assert again.networks == {network.id: network for network in networks}
    assert list(again.sandboxes) == ["c"]
    assert again.sandboxes["c"].sandbox == sandbox
    assert [port.forward() for port in again.sandboxes["c"].ports] == forwards
    assert again.host_setting("net.ipv4.ip_forward") == "boot"
    again.save_host_setting("net.ipv4.ip_forward", None)
    assert again.host_setting("net.ipv4.ip_forward") is None
    state.close()


def test_predefined_networks_that_are_wanted_no_more_go(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    store = NetworkStore(state)
    networks = predefined({}, NetworkConfig(), HostView((), (), ()), in_use=False)
    store.replace_predefined(networks)
    store.replace_predefined([network for network in networks if network.name != "bridge"])
    assert {network.name for network in NetworkStore(state).networks.values()} == {"host", "none"}
    state.close()


def test_a_row_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    state.put("sandboxes", "c", b'{"name": 5}')
    assert NetworkStore(state).sandboxes == {}
    state.close()


def test_networks_are_found_by_name(tmp_path: Path) -> None:
    state = StateDB(tmp_path / "state.db")
    store = NetworkStore(state)
    mine = Network("a" * 64, "mine", "bridge", "")
    store.save_network(mine)
    assert store.named("mine") == [mine]
    renewed = replace(mine, options={"a": "b"})
    store.save_network(renewed)
    assert store.named("mine") == [renewed] == NetworkStore(state).named("mine")
    store.remove_network(mine.id)
    assert store.named("mine") == store.named("never") == []
    state.close()
