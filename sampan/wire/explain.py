"""What ``/sampan/networks/explain`` and ``/sampan/networks/trace`` answer."""

import msgspec


class ExplainedAddress(msgspec.Struct, rename="pascal"):
    """An address or a route; State: ``ok``, ``missing``, or ``extra`` (nobody of the engine's wants it)."""

    text: str
    state: str


class ExplainedInterface(msgspec.Struct, rename="pascal"):
    """An interface; Peer: the other end of it and where that is, Of: the bridge that it is a port of."""

    name: str
    kind: str
    index: int
    state: str
    up: bool = False
    mac: str = ""
    mtu: int = 0
    peer: str = ""
    of: str = ""
    owner: str = ""
    reason: str = ""
    addresses: list[ExplainedAddress] = []


class ExplainedNamespace(msgspec.Struct, rename="pascal"):
    """A network namespace by its inode (``ls -l /proc/PID/ns/net``), and where it is bound."""

    owner: str
    inode: int
    path: str
    interfaces: list[ExplainedInterface] = []
    routes: list[ExplainedAddress] = []


class ExplainedRule(msgspec.Struct, rename="pascal"):
    """A rule or an element of a set or map; Kernel: how the kernel writes the rule."""

    table: str
    chain: str
    statement: str
    owner: str
    reason: str
    state: str
    kernel: str = ""


class ExplainedSetting(msgspec.Struct, rename="pascal"):
    """A kernel setting; Actual is empty where it does not exist."""

    key: str
    wanted: str
    actual: str
    owner: str
    reason: str
    state: str


class ExplainedName(msgspec.Struct, rename="pascal"):
    """A record of the engine's resolver."""

    network: str
    name: str
    addresses: list[str]
    container: str


class Reachable(msgspec.Struct, rename="pascal"):
    """Whether Who reaches To, and why."""

    who: str
    to: str
    allowed: bool
    why: str


class Explained(msgspec.Struct, rename="pascal"):
    """Everything between a container, a network or a published port and the rest of the world.

    Differences are what is not as it shall be; empty when all is well.
    """

    kind: str
    name: str
    id: str
    namespaces: list[ExplainedNamespace]
    rules: list[ExplainedRule]
    settings: list[ExplainedSetting]
    names: list[ExplainedName]
    reach: list[Reachable]
    differences: list[str]


class TracedServer(msgspec.Struct, rename="pascal"):
    """A name server that was asked."""

    server: str
    outcome: str
    milliseconds: float


class TracedRecord(msgspec.Struct, rename="pascal"):
    """A record of an answer."""

    type: str
    data: str
    ttl: int


class Traced(msgspec.Struct, rename="pascal"):
    """How a question of a container is answered. Source: the network whose record it is, or a server."""

    name: str
    type: str
    container: str
    looked_in: list[str]
    source: str
    code: str
    records: list[TracedRecord]
    servers: list[TracedServer]
    milliseconds: float
