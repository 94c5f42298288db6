"""What a network, an endpoint and a plan are.

A plan is a list of effects as values: each carries its owner and its reason, so that it can be shown without
being applied. Drivers make plans (pure), ``apply`` performs them.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final

from sampan.kernel.links import IpAddress, IpInterface, IpNetwork

BRIDGE: Final = "bridge"
HOST: Final = "host"
NONE: Final = "none"
PREDEFINED: Final = frozenset({BRIDGE, HOST, NONE})


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """A prefix of a network: where addresses are leased (``range``), and the gateway's own.

    ``automatic``: the engine chose the subnet, so that containers cannot ask for addresses in it.
    """

    subnet: IpNetwork
    range: IpNetwork
    gateway: IpAddress
    reserved: dict[str, str] = field(default_factory=dict)  # auxiliary addresses by name
    automatic: bool = False

    @property
    def interface(self) -> IpInterface:
        """The gateway's address with the prefix length of the subnet."""
        return with_prefix(self.gateway, self.subnet.prefixlen)


def with_prefix(address: IpAddress, length: int) -> IpInterface:
    """Return ``address`` with the prefix length of its network."""
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, length))
    return IPv6Interface((address, length))


@dataclass(frozen=True, slots=True)
class Network:
    """A segment that endpoints attach to; ``options`` are Docker's ``com.docker.network.*``.

    ``pools`` holds what was asked for, also of a family that the network does not have: ``in_use`` are those
    that count.
    """

    id: str
    name: str
    driver: str
    created: str
    pools: tuple[PoolConfig, ...] = ()
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ipv4: bool = True
    ipv6: bool = False
    ipam_options: dict[str, str] | None = None

    @property
    def predefined(self) -> bool:
        """Whether the engine made it: such a network cannot be removed, and has no DNS of its own."""
        return self.name in PREDEFINED

    @property
    def in_use(self) -> tuple[PoolConfig, ...]:
        """The pools of the families that the network has."""
        return tuple(pool for pool in self.pools if (self.ipv4 if pool.subnet.version == 4 else self.ipv6))


def link_name(endpoint_id: str) -> str:
    """Return the name of the host's end of an endpoint's link."""
    return f"veth{endpoint_id[:7]}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One attachment of a sandbox to a network. ``ifname`` is the interface's name in the sandbox.

    The gateways are the network's, whether or not this endpoint has the default route; None where the network
    leads nowhere. ``extra`` are link-local addresses that were asked for.
    """

    id: str
    container: str
    address: IPv4Interface | None
    gateway: IPv4Address | None
    mac: str
    ifname: str = "eth0"
    address6: IPv6Interface | None = None
    gateway6: IPv6Address | None = None
    extra: tuple[IpInterface, ...] = ()

    @property
    def link(self) -> str:
        """The name of the host's end of the link."""
        return link_name(self.id)

    @property
    def addresses(self) -> tuple[IpInterface, ...]:
        """The addresses that were leased, IPv4 first."""
        return tuple(address for address in (self.address, self.address6) if address is not None)

    @property
    def gateways(self) -> tuple[IpAddress, ...]:
        """Where a default route would lead, by family."""
        return tuple(gateway for gateway in (self.gateway, self.gateway6) if gateway is not None)


@dataclass(frozen=True, slots=True)
class Forward:
    """A published port: what arrives at ``host`` (0.0.0.0: any address) goes to ``target``."""

    protocol: str  # tcp, udp, sctp
    host: IpAddress
    host_port: int
    target: IpAddress
    target_port: int

    def __str__(self) -> str:
        """Write it as Docker does in messages: ``0.0.0.0:8080:172.17.0.2:80/tcp``."""
        host, target = (f"[{a}]" if a.version == 6 else str(a) for a in (self.host, self.target))
        return f"{host}:{self.host_port}:{target}:{self.target_port}/{self.protocol}"

    @property
    def by_nat(self) -> bool:
        """Whether the firewall carries it; the rest is the proxy's."""
        return self.host.version == self.target.version == 4


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
    """Effect: one statement of nftables' language in the engine's table; ``chain`` "" adds to no chain.

    The table exists once for each ``family``, ``ip`` or ``ip6``.
    """

    chain: str
    statement: str
    owner: str
    reason: str
    family: str = "ip"


@dataclass(frozen=True, slots=True)
class VethLink:
    """Effect: a veth pair from ``bridge`` to ``ifname`` in the sandbox, with addresses and default routes."""

    host: str
    bridge: str
    ifname: str
    mac: str
    mtu: int
    addresses: tuple[IpInterface, ...]
    gateways: tuple[IpAddress, ...]
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
