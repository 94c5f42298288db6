"""Who reaches whom: a matrix of probes from the namespaces of a host, its neighbour and containers.

Everything is asked of an engine over its API, so that the same matrix can be taken of this engine and of
others. All scenarios stand side by side, and all probes are made at once: a packet that is dropped costs its
patience only once.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool
from support.places import Places

PARENT = "lab0"
HOST = {4: "203.0.113.1", 6: "2001:db8::1"}
OUTSIDE = {4: "203.0.113.2", 6: "2001:db8::2"}
_BRIDGE = "com.docker.network.bridge."
COLUMNS = {
    "8": "port 80 of the container, which is published",
    "u": "port 81 of the container, which is not",
    "p": "port 80 as published on every address of the host",
    "l": "port 80 as published on the host's loopback address (others ask another address of the host)",
    "g": "the host, at the address of the bridge",
    "h": "the host, at another address",
    "w": "a neighbour host",
}


@dataclass(frozen=True)
class Scenario:
    """A network to be looked at; ``options`` are its driver's."""

    name: str
    driver: str = "bridge"
    options: dict[str, str] = field(default_factory=dict)
    internal: bool = False


def _modes(mode: str) -> dict[str, str]:
    return {f"{_BRIDGE}gateway_mode_ipv{version}": mode for version in (4, 6)}


SCENARIOS = (
    Scenario("plain"),
    Scenario("no-icc", options={f"{_BRIDGE}enable_icc": "false"}),
    Scenario("no-masquerade", options={f"{_BRIDGE}enable_ip_masquerade": "false"}),
    Scenario("internal", internal=True),
    Scenario("unprotected", options=_modes("nat-unprotected")),
    Scenario("routed", options=_modes("routed")),
    Scenario("isolated", options=_modes("isolated"), internal=True),
    Scenario("trusted", options={f"{_BRIDGE}trusted_host_interfaces": PARENT}),
    Scenario("macvlan", "macvlan", {"parent": PARENT}),
    Scenario("macvlan-private", "macvlan", {"parent": PARENT, "macvlan_mode": "private"}),
    Scenario("macvlan-vepa", "macvlan", {"parent": PARENT, "macvlan_mode": "vepa"}),
    Scenario("macvlan-internal", "macvlan", internal=True),
)
IPVLAN = tuple(
    Scenario(f"ipvlan-{mode}", "ipvlan", {"parent": PARENT, "ipvlan_mode": mode})
    for mode in ("l2", "l3", "l3s")
)

Matrix = dict[str, dict[str, str]]
"""By scenario: by row (``v4 near``) what it reaches, a letter for each column or a point."""


@dataclass
class _Stand:
    """The containers of one scenario and the addresses that they were given."""

    scenario: Scenario
    port: int
    web: Container
    near: Container
    far: Container
    addresses: dict[int, str]
    gateways: dict[int, str]


def join_hosts(host: Path | None, outside: Path) -> None:
    """Make the host, where ``PARENT`` is, and its neighbour ``outside`` part of every scenario's segment."""
    inside = ["nsenter", f"--net={host}", "--"] if host is not None else []
    beyond = ["nsenter", f"--net={outside}", "--"]
    lines: dict[str, list[str]] = {"host": [], "outside": []}
    for version, length, router, member in ((4, 24, "254", "253"), (6, 64, ":fe", ":fd")):
        lines["host"].append(f"address replace {HOST[version]}/{length} dev {PARENT}")
        lines["outside"].append(f"address replace {OUTSIDE[version]}/{length} dev up0")
        for number in range(1, len(SCENARIOS) + len(IPVLAN) + 1):
            prefix = f"10.202.{number}." if version == 4 else f"fd02:{number}:"
            lines["host"].append(f"address replace {prefix}{member}/{length} dev {PARENT}")
            lines["outside"].append(f"address replace {prefix}{router}/{length} dev up0")
        lines["outside"].append(f"route replace default via {HOST[version]}")
    for words, text in ((inside, lines["host"]), (beyond, lines["outside"])):
        batch = "\n".join(f"{line} nodad" if "dev" in line and ":" in line else line for line in text)
        subprocess.run([*words, "ip", "-batch", "-"], input=batch, text=True, check=True)


def render(matrix: Matrix) -> str:
    """Return the matrix as text: a line for each row."""
    lines = []
    for scenario, rows in matrix.items():
        lines += [f"{scenario:18}{row:11}{marks}" for row, marks in rows.items()]
    return "\n".join(lines) + "\n"


def differences(first: Matrix, second: Matrix) -> list[str]:
    """Return what ``second`` answers otherwise, a line for each row."""
    return [
        f"{scenario:18}{row:11}{marks}  {second[scenario].get(row, '-')}"
        for scenario, rows in first.items()
        if scenario in second
        for row, marks in rows.items()
        if second[scenario].get(row) != marks
    ]


async def take(
    client: docker.DockerClient,
    scenarios: Iterable[Scenario],
    host: Path | None,
    outside: Path,
    *,
    image: str = "busybox",
    refused: dict[str, str] | None = None,
) -> Matrix:
    """Return the matrix of the engine behind ``client``; ``host`` is its host, ``outside`` the one beside it.

    A scenario that the engine refuses is left out; ``refused`` then has its reason.
    """
    stands: list[_Stand] = []
    made = await asyncio.to_thread(
        _open, client, scenarios, image, stands, {} if refused is None else refused
    )
    places = Places()
    try:
        return await _probe(places, stands, host, outside)
    finally:
        places.leave()
        await asyncio.to_thread(_close, client, stands, made)


def _open(
    client: docker.DockerClient,
    scenarios: Iterable[Scenario],
    image: str,
    stands: list[_Stand],
    refused: dict[str, str],
) -> list[str]:
    networks = [_network(client, Scenario("elsewhere"), 99)]
    for number, scenario in enumerate(scenarios, 1):
        try:
            networks.append(_network(client, scenario, number))
            stands.append(_stand(client, scenario, number, image))
        except docker.errors.APIError as error:
            refused[scenario.name] = error.explanation or str(error)
    return networks


def _network(client: docker.DockerClient, scenario: Scenario, number: int) -> str:
    pools = [IPAMPool(subnet=f"10.200.{number}.0/24"), IPAMPool(subnet=f"fd00:{number}::/64")]
    if scenario.options.get("parent"):  # on the parent's own segment, where the neighbour host is the router
        pools = [
            IPAMPool(subnet=f"10.202.{number}.0/24", gateway=f"10.202.{number}.254"),
            IPAMPool(subnet=f"fd02:{number}::/64", gateway=f"fd02:{number}::fe"),
        ]
    made = client.networks.create(
        scenario.name,
        scenario.driver,
        options=scenario.options,
        internal=scenario.internal,
        enable_ipv6=True,
        ipam=IPAMConfig(pool_configs=pools),
    )
    return str(made.id)


def _stand(client: docker.DockerClient, scenario: Scenario, number: int, image: str) -> _Stand:
    def run(name: str, network: str, **more: object) -> Container:
        return client.containers.run(
            image, ["sleep", "600"], name=f"{scenario.name}-{name}", network=network, detach=True, **more
        )

    port = 8000 + number
    ports = {"80/tcp": [("0.0.0.0", port), ("::", port), ("127.0.0.1", port + 100), ("::1", port + 100)]}
    web = run("web", scenario.name, ports=ports)
    near = run("near", scenario.name)
    far = run("far", "elsewhere")
    web.reload()
    shown = web.attrs["NetworkSettings"]["Networks"][scenario.name]
    addresses = {4: shown["IPAddress"], 6: shown["GlobalIPv6Address"]}
    last = {4: f"10.200.{number}.1", 6: f"fd00:{number}::1"}
    return _Stand(scenario, port, web, near, far, addresses, last)


def _close(client: docker.DockerClient, stands: list[_Stand], networks: list[str]) -> None:
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    for network in networks:
        client.networks.get(network).remove()
    stands.clear()


def _place(container: Container) -> Path:
    container.reload()
    return Path(f"/proc/{container.attrs['State']['Pid']}/ns/net")


async def _probe(places: Places, stands: list[_Stand], host: Path | None, outside: Path) -> Matrix:
    matrix: Matrix = {}
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for place, port in ((host, 7001), (outside, 7000)):
            for address in ("0.0.0.0", "::"):
                await stack.enter_async_context(places.tcp_server(place, port, address))
        rows = [row async for row in _rows(stack, places, stands, host, outside)]
        tasks = {
            (stand.scenario.name, row): [
                group.create_task(_reach(places, place, address, port)) for address, port in targets
            ]
            for stand, row, place, targets in rows
        }
    for (scenario, row), probes in tasks.items():
        marks = [letter if await probe else "." for letter, probe in zip(COLUMNS, probes, strict=True)]
        matrix.setdefault(scenario, {})[row] = "".join(marks)
    return matrix


async def _rows(
    stack: AsyncExitStack, places: Places, stands: list[_Stand], host: Path | None, outside: Path
) -> AsyncIterator[tuple[_Stand, str, Path | None, list[tuple[str, int]]]]:
    for stand in stands:
        web = _place(stand.web)
        for port in (80, 81):
            for address in ("0.0.0.0", "::"):
                await stack.enter_async_context(places.tcp_server(web, port, address))
        places_of = {"host": host, "outside": outside, "web": web}
        places_of |= {"near": _place(stand.near), "far": _place(stand.far)}
        for version in (4, 6):
            local = "127.0.0.1" if version == 4 else "::1"
            for name, place in places_of.items():
                targets = [
                    (stand.addresses[version], 80),
                    (stand.addresses[version], 81),
                    (HOST[version], stand.port),
                    (local if name == "host" else HOST[version], stand.port + 100),
                    (stand.gateways[version], 7001),
                    (HOST[version], 7001),
                    (OUTSIDE[version], 7000),
                ]
                yield stand, f"v{version} {name}", place, targets


async def _reach(places: Places, place: Path | None, address: str, port: int) -> bool:
    return bool(address) and await places.tcp(place, address, port) is not None
