"""What the network service keeps over a restart: networks and open sandboxes, one row each.

Leases and published ports have no rows of their own: they are read off the sandboxes, so they cannot
contradict them.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

import msgspec

from sampan.base.state import StateDB
from sampan.networks.model import Forward, Network, PoolConfig
from sampan.wire.containers import EndpointSettings, PortMap

_log = logging.getLogger(__name__)
_NETWORKS: Final = "networks"
_SANDBOXES: Final = "sandboxes"
_HOST: Final = "network_host"
_LEAVING: Final = "network_links_leaving"
VERSION: Final = 1


class Sandbox(msgspec.Struct):
    """An open sandbox as the rest of the engine sees it; ``sandbox_key`` is its namespace's path or ""."""

    container: str
    sandbox_id: str
    sandbox_key: str
    networks: dict[str, EndpointSettings]
    ports: PortMap


class PortRow(msgspec.Struct):
    """A published port, addresses as text."""

    protocol: str
    host: str
    host_port: int
    target: str
    target_port: int
    open: bool = False

    @classmethod
    def of(cls, forward: Forward) -> "PortRow":
        """Return the row of ``forward``."""
        host, target = str(forward.host), str(forward.target)
        return cls(forward.protocol, host, forward.host_port, target, forward.target_port, forward.open)

    def forward(self) -> Forward:
        """Return what the row describes."""
        host, target = ip_address(self.host), ip_address(self.target)
        return Forward(self.protocol, host, self.host_port, target, self.target_port, self.open)


class Reach(msgspec.Struct, frozen=True):
    """A port of another container that a legacy link leads to."""

    address: str
    protocol: str
    port: int


class SandboxRow(msgspec.Struct):
    """A sandbox with what is needed to close it again, or to adopt it after a restart.

    ``interfaces`` are names in the sandbox by network name, ``sources`` those that plugins' links had on the
    host; ``dns`` the name servers that were asked for, ``reaches`` what legacy links let it reach.
    """

    name: str
    sandbox: Sandbox
    ports: list[PortRow]
    version: int = VERSION
    interfaces: dict[str, str] = {}
    dns: list[str] = []
    sources: dict[str, str] = {}
    reaches: list[Reach] = []


class PoolRow(msgspec.Struct):
    """An address pool, addresses as text."""

    subnet: str
    range: str
    gateway: str
    reserved: dict[str, str] = {}
    automatic: bool = False
    id: str = ""

    @classmethod
    def of(cls, pool: PoolConfig) -> "PoolRow":
        """Return the row of ``pool``."""
        return cls(
            str(pool.subnet), str(pool.range), str(pool.gateway), pool.reserved, pool.automatic, pool.id
        )

    def pool(self) -> PoolConfig:
        """Return what the row describes."""
        subnet, leased = ip_network(self.subnet), ip_network(self.range)
        return PoolConfig(subnet, leased, ip_address(self.gateway), self.reserved, self.automatic, self.id)


class NetworkRow(msgspec.Struct):
    """A network as it is kept."""

    id: str
    name: str
    driver: str
    created: str
    pools: list[PoolRow] = []
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    ipv4: bool = True
    ipv6: bool = False
    ipam_options: dict[str, str] | None = None
    ipam_driver: str = "default"
    config_only: bool = False
    config_from: str = ""
    version: int = VERSION

    @classmethod
    def of(cls, network: Network) -> "NetworkRow":
        """Return the row of ``network``."""
        plain = {name: getattr(network, name) for name in _PLAIN}
        return cls(pools=[PoolRow.of(pool) for pool in network.pools], **plain)

    def network(self) -> Network:
        """Return what the row describes."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return Network(pools=tuple(row.pool() for row in self.pools), **plain)


_PLAIN: Final = tuple(name for name in NetworkRow.__struct_fields__ if name not in {"pools", "version"})


class NetworkStore:
    """The rows, with their memory image in ``networks`` and ``sandboxes`` (by id and by container)."""

    def __init__(self, state: StateDB) -> None:
        self._state = state
        self._encoder = msgspec.json.Encoder()
        rows = self._load(_NETWORKS, NetworkRow)
        self.networks: dict[str, Network] = {}
        self._named: defaultdict[str, list[Network]] = defaultdict(list)
        for key, row in rows:
            self._remember(key, row.network())
        self.sandboxes: dict[str, SandboxRow] = dict(self._load(_SANDBOXES, SandboxRow))

    def replace_predefined(self, networks: Sequence[Network]) -> None:
        """Make ``networks`` the predefined ones: what differs is saved, others are forgotten."""
        for network in networks:
            if self.networks.get(network.id) != network:
                self.save_network(network)
        wanted = {network.id for network in networks}
        for network in [n for n in self.networks.values() if n.predefined and n.id not in wanted]:
            self.remove_network(network.id)

    def named(self, name: str) -> list[Network]:
        """Return the networks called ``name``."""
        return self._named.get(name, [])

    def save_network(self, network: Network) -> None:
        """Keep ``network``; over a power cut once ``sync`` has returned."""
        self._state.put(_NETWORKS, network.id, self._encoder.encode(NetworkRow.of(network)))
        self._forget(network.id)
        self._remember(network.id, network)

    def remove_network(self, network: str) -> None:
        """Forget the network with the id ``network``."""
        if network in self.networks:
            self._state.delete(_NETWORKS, network)
            self._forget(network)

    def save_leaving(self, links: Iterable[str]) -> None:
        """Remember that ``links`` of a network that is kept no more are to go."""
        for link in links:
            self._state.put(_LEAVING, link, b"")

    def forget_leaving(self, links: Iterable[str]) -> None:
        """Forget ``links``: they are gone."""
        for link in links:
            self._state.delete(_LEAVING, link)

    def leaving(self) -> set[str]:
        """Return the names of links whose going no engine has seen to the end."""
        return set(self._state.load(_LEAVING))

    def sync(self) -> None:
        """Wait until what was stored would survive a power cut. Blocks; for any thread."""
        self._state.sync()

    def _remember(self, key: str, network: Network) -> None:
        self.networks[key] = network
        self._named[network.name].append(network)

    def _forget(self, key: str) -> None:
        if (network := self.networks.pop(key, None)) is not None:
            same = self._named[network.name]
            same.remove(network)
            if not same:
                del self._named[network.name]

    def save_sandbox(self, row: SandboxRow) -> None:
        """Keep an open sandbox."""
        self.sandboxes[row.sandbox.container] = row
        self._state.put(_SANDBOXES, row.sandbox.container, self._encoder.encode(row))

    def remove_sandbox(self, container: str) -> None:
        """Forget the sandbox of ``container``."""
        if self.sandboxes.pop(container, None) is not None:
            self._state.delete(_SANDBOXES, container)

    def host_setting(self, key: str) -> str | None:
        """Return the value that the kernel setting ``key`` had before the engine changed it."""
        value = self._state.load(_HOST).get(key)
        return value.decode() if value is not None else None

    def save_host_setting(self, key: str, value: str | None) -> None:
        """Remember (None: forget) what the kernel setting ``key`` was before."""
        if value is None:
            self._state.delete(_HOST, key)
        else:
            self._state.put(_HOST, key, value.encode())

    def _load(self, table: str, kind: type[Any]) -> Iterator[tuple[str, Any]]:
        decoder = msgspec.json.Decoder(kind)
        for key, document in self._state.load(table).items():
            try:
                yield key, decoder.decode(document)
            except msgspec.MsgspecError:
                _log.exception("unreadable row left out", extra={"table": table, "row": key})
