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

    ``automatic``: the engine chose the subnet, so that containers cannot ask for addresses in it. ``id``:
    what an IPAM plugin calls the pool.
    """

    subnet: IpNetwork
    range: IpNetwork
    gateway: IpAddress
    reserved: dict[str, str] = field(default_factory=dict)  # auxiliary addresses by name
    automatic: bool = False
    id: str = ""

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
    ipam_driver: str = "default"
    config_only: bool = False
    config_from: str = ""

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
class Joined:
    """What a plugin gave an endpoint: the host's link ``source`` ("": none) and further routes."""

    source: str
    routes: tuple[tuple[IpNetwork, IpAddress | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One attachment of a sandbox to a network. ``ifname`` is the interface's name in the sandbox.

    The gateways are the network's, whether or not this endpoint has the default route; None where the network
    leads nowhere, or where it leads out without one (``direct``). ``extra`` are link-local addresses that
    were asked for, ``sysctls`` settings of the interface (``net.ipv4.conf.IFNAME.forwarding=1``).
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
    sysctls: tuple[str, ...] = ()
    direct: bool = False
    joined: Joined | None = None

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

    @property
    def default_routes(self) -> dict[int, IpAddress | None]:
        """The default routes that it can have, by IP version: a gateway, or None for the link itself."""
        if self.direct:
            return {address.version: None for address in self.addresses}
        return {gateway.version: gateway for gateway in self.gateways}

    @property
    def direct_versions(self) -> tuple[int, ...]:
        """The IP versions whose default route would lead to the link itself."""
        return tuple(version for version, gateway in self.default_routes.items() if gateway is None)


@dataclass(frozen=True, slots=True)
class Forward:
    """A published port: what arrives at ``host`` (0.0.0.0: any address) goes to ``target``.

    Host port 0: it is published where the container is, without translation (a routed network). ``open``:
    those who may, reach ``target`` directly.
    """

    protocol: str  # tcp, udp, sctp
    host: IpAddress
    host_port: int
    target: IpAddress
    target_port: int
    open: bool = False

    def __str__(self) -> str:
        """Write it as Docker does in messages: ``0.0.0.0:8080:172.17.0.2:80/tcp``."""
        host, target = (f"[{a}]" if a.version == 6 else str(a) for a in (self.host, self.target))
        return f"{host}:{self.host_port}:{target}:{self.target_port}/{self.protocol}"

    @property
    def by_nat(self) -> bool:
        """Whether the firewall carries it; the rest is the proxy's."""
        return self.host.version == self.target.version and self.host_port != 0


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
class Member:
    """Effect: a set of the engine's table has an element; it comes and goes with a sandbox.

    ``text`` is the element in nftables' language, ``key`` in the kernel's encoding.
    """

    set: str
    text: str
    key: bytes
    owner: str
    reason: str
    family: str = "ip"

    @property
    def rule(self) -> Rule:
        """The same as a rule."""
        return Rule("", f"element {self.set} {{ {self.text} }}", self.owner, self.reason, self.family)


@dataclass(frozen=True, slots=True)
class Parent:
    """Effect: link ``name`` exists, which interfaces of containers sit on.

    ``kind``: ``vlan`` (tag ``number`` of the link ``base``), ``dummy`` (it leads nowhere), or "" for one
    that must be there. ``alias`` marks it as ours.
    """

    name: str
    kind: str
    base: str
    number: int
    alias: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class Inside:
    """What an interface is given in its sandbox, whatever kind of link it is.

    ``direct``: IP versions whose default route leads to the link itself; ``routes``: further routes.
    """

    ifname: str
    mac: str
    mtu: int
    addresses: tuple[IpInterface, ...]
    gateways: tuple[IpAddress, ...]
    owner: str
    reason: str
    direct: tuple[int, ...] = ()
    sysctls: tuple[str, ...] = ()
    routes: tuple[tuple[IpNetwork, IpAddress | None], ...] = ()


@dataclass(frozen=True, slots=True)
class VethLink:
    """Effect: a veth pair ``host`` from ``bridge`` to an interface of the sandbox.

    ``isolated``: neighbours do not talk to each other. The bridge sees to that where the firewall cannot.
    """

    host: str
    bridge: str
    isolated: bool
    inside: Inside


@dataclass(frozen=True, slots=True)
class SubLink:
    """Effect: an interface of the sandbox on the host's link ``parent``; ``source`` is its first name."""

    source: str
    kind: str  # macvlan, ipvlan
    parent: str
    mode: str
    flag: str
    inside: Inside


@dataclass(frozen=True, slots=True)
class MovedLink:
    """Effect: a plugin's link ``source`` on the host moves into the sandbox; it comes back at the end."""

    source: str
    inside: Inside


SandboxLink = VethLink | SubLink | MovedLink


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """All that a network needs of the host, whoever is attached; ``sysctls`` are set behind ``rules``.

    ``families``: the tables of the firewall that it needs, also where it has no rule of its own in them.
    """

    bridges: tuple[Bridge, ...] = ()
    parents: tuple[Parent, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    rules: tuple[Rule, ...] = ()
    families: tuple[str, ...] = ()

    @property
    def links(self) -> list[str]:
        """The names of its links on the host."""
        return [bridge.name for bridge in self.bridges] + [parent.name for parent in self.parents]


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """All that an endpoint needs of the host and of its sandbox."""

    links: tuple[SandboxLink, ...] = ()
    members: tuple[Member, ...] = ()
