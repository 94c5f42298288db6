"""What a network, an endpoint and a plan are.

A plan is a list of effects as values: each carries its owner and its reason, so that it can be shown without
being applied. Drivers make plans (pure), ``apply`` performs them.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from sampan.kernel.links import IpAddress, IpInterface

BRIDGE: Final = "bridge"
HOST: Final = "host"
NONE: Final = "none"
PREDEFINED: Final = frozenset({BRIDGE, HOST, NONE})


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """An IPv4 prefix of a network: where addresses are leased (``range``), and the gateway's own."""

    subnet: IPv4Network
    range: IPv4Network
    gateway: IPv4Address
    reserved: dict[str, str] = field(default_factory=dict)  # auxiliary addresses by name

    @property
    def interface(self) -> IPv4Interface:
        """The gateway's address with the prefix length of the subnet."""
        return IPv4Interface((self.gateway, self.subnet.prefixlen))


@dataclass(frozen=True, slots=True)
class Network:
    """A segment that endpoints attach to; ``options`` are Docker's ``com.docker.network.*``."""

    id: str
    name: str
    driver: str
    created: str
    pools: tuple[PoolConfig, ...] = ()
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def predefined(self) -> bool:
        """Whether the engine made it: such a network cannot be removed, and has no DNS of its own."""
        return self.name in PREDEFINED


def link_name(endpoint_id: str) -> str:
    """Return the name of the host's end of an endpoint's link."""
    return f"veth{endpoint_id[:7]}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One attachment of a sandbox to a network. ``ifname`` is the interface's name in the sandbox."""

    id: str
    container: str
    address: IPv4Interface | None
    gateway: IPv4Address | None
    mac: str
    ifname: str = "eth0"

    @property
    def link(self) -> str:
        """The name of the host's end of the link."""
        return link_name(self.id)


@dataclass(frozen=True, slots=True)
class Forward:
    """A published port: what arrives at ``host`` (0.0.0.0: any address) goes to ``target``."""

    protocol: str  # tcp, udp, sctp
    host: IpAddress
    host_port: int
    target: IPv4Address
    target_port: int

    def __str__(self) -> str:
        """Write it as Docker does in messages: ``0.0.0.0:8080:172.17.0.2:80/tcp``."""
        host = f"[{self.host}]" if self.host.version == 6 else str(self.host)
        return f"{host}:{self.host_port}:{self.target}:{self.target_port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Bridge:
    """Effect: bridge ``name`` exists, is up and has ``addresses``. ``alias`` marks it as ours."""

    name: str
    addresses: tuple[IpInterface, ...]
    mtu: int
    alias: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sysctl:
    """Effect: the kernel setting ``key`` (``net.ipv4.ip_forward``) has ``value``."""

    key: str
    value: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Effect: one statement of nftables' language in the engine's table; ``chain`` "" adds to no chain."""

    chain: str
    statement: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class VethLink:
    """Effect: a veth pair from ``bridge`` to ``ifname`` in the sandbox, with address and route."""

    host: str
    bridge: str
    ifname: str
    mac: str
    mtu: int
    address: IPv4Interface
    gateway: IPv4Address | None
    isolated: bool
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """All that a network needs of the host, whoever is attached; ``sysctls`` are set behind ``rules``."""

    bridges: tuple[Bridge, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """All that an endpoint needs of the host and of its sandbox."""

    links: tuple[VethLink, ...] = ()
