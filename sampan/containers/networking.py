"""The networks of a container: those it shall be on, kept in its row, and changing them while it lives."""

from collections.abc import Mapping
from typing import Final

from sampan.base.errors import EngineError, Forbidden, InvalidParameter, NotFound
from sampan.containers.container import Container, Status
from sampan.containers.launch import Launcher
from sampan.containers.store import ContainerStore
from sampan.networks import liveports
from sampan.networks.errors import AlreadyConnected, NotConnected
from sampan.networks.model import PREDEFINED
from sampan.networks.service import NetworksService
from sampan.wire.containers import EndpointSettings, HostConfig, PortMap

_SHARED: Final = (
    "container sharing network namespace with another container or host cannot be connected to any other "
    "network"
)
_HOST: Final = "container cannot be disconnected from host network or connected to host network"


def wanted_endpoints(
    given: Mapping[str, EndpointSettings | None],
    host: HostConfig,
    networks: NetworksService,
    *,
    mac_address: str = "",
) -> dict[str, EndpointSettings]:
    """Return the attachments that a create request asks for, by the names of the networks.

    The network of the mode is one of them, unless that is only the default and others are given. Legacy links
    belong to the endpoint where the mode is a network of the user's. A network that is not there (yet) is
    missed by the start only. Raises InvalidParameter.
    """

    def known(name: str) -> tuple[str, str]:
        try:
            network = networks.find(name)
        except NotFound:
            return name, ""
        return network.name, network.id

    mode = host.network_mode
    if mode.startswith("container:"):
        return {}
    if mode in ("host", "none") and {name for name in given if name != "default"} - {mode}:
        raise InvalidParameter(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    main, main_id = known(mode)
    wanted: dict[str, EndpointSettings] = {}
    if not given or main != "bridge":
        wanted[main] = EndpointSettings(network_id=main_id)
    for name, settings in given.items():
        full, network_id = (main, main_id) if name == "default" else known(name)
        wanted[full] = _only_wanted(settings, network_id)
    if main in wanted:
        endpoint = wanted[main]
        if mac_address and endpoint.mac_address and endpoint.mac_address != mac_address:
            raise InvalidParameter(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main "
                "network"
            )
        endpoint.mac_address = endpoint.mac_address or mac_address
        if host.links and main not in PREDEFINED:
            endpoint.links = [*(endpoint.links or ()), *host.links]
    return wanted


def _only_wanted(settings: EndpointSettings | None, network_id: str) -> EndpointSettings:
    """Return what can be asked for: clients send back what they were shown."""
    asked = settings or EndpointSettings()
    return EndpointSettings(
        ipam_config=asked.ipam_config,
        links=asked.links,
        aliases=asked.aliases,
        mac_address=asked.mac_address,
        driver_opts=asked.driver_opts,
        gw_priority=asked.gw_priority,
        network_id=network_id,
    )


class Networking:
    """Attaches containers to networks and detaches them, running or not."""

    def __init__(self, store: ContainerStore, networks: NetworksService, launcher: Launcher) -> None:
        self._store = store
        self._networks = networks
        self._launcher = launcher

    async def connect(self, container: Container, name: str, settings: EndpointSettings | None) -> None:
        """Attach the container to network ``name``, now and at every later start.

        Raises NotFound, InvalidParameter, Forbidden, and what the network cannot do; nothing changes then.
        """
        async with container.lock:
            network = self._networks.find(name)
            row = container.row
            self._check_mode(container)
            if container.state.status in (Status.REMOVING, Status.DEAD):
                raise Forbidden(f"container {container.id} is marked for removal and cannot be connected")
            if network.name in row.endpoints and not row.detached:
                raise AlreadyConnected(container.name, network.name)
            before, detached = row.endpoints, row.detached
            row.endpoints = {**before, network.name: _only_wanted(settings, network.id)}
            row.detached = False
            try:
                request = self._launcher.sandbox_request(container, links=False)
                self._networks.check_connect(request, network)
                if row.acquired and container.state.pid:
                    self._launcher.show_sandbox(container, await self._networks.connect(request, network.id))
            except BaseException:
                row.endpoints, row.detached = before, detached
                raise
            self._store.save(container, durable=True)

    async def disconnect(self, container: Container, name: str) -> None:
        """Detach the container from network ``name``. Raises NotFound, Forbidden if it is not attached."""
        network_name = self._name(name)
        async with container.lock:
            row = container.row
            if row.host.network_mode == "host" and network_name == "host":
                raise InvalidParameter(_HOST)
            self._check_mode(container)
            if network_name not in row.endpoints:
                raise NotConnected(container.id, network_name)
            before = row.endpoints
            row.endpoints = {key: value for key, value in before.items() if key != network_name}
            row.detached = not row.endpoints
            try:
                if row.acquired and container.state.pid:
                    request = self._launcher.sandbox_request(container, links=False)
                    sandbox = await self._networks.disconnect(request, network_name)
                    self._launcher.show_sandbox(container, sandbox)
            except BaseException:
                row.endpoints, row.detached = before, False
                raise
            self._store.save(container, durable=True)

    async def change_ports(self, container: Container, add: PortMap, remove: PortMap) -> PortMap:
        """Publish more ports of the container, or fewer, now and at every later start; return all of them.

        Its process goes on. Raises InvalidParameter, PortTaken with the holder's name; nothing changes then.
        """
        async with container.lock:
            row = container.row
            mode = row.host.network_mode
            if mode.startswith("container:") or mode in ("host", "none"):
                raise InvalidParameter(
                    f"container {container.name} in network mode {mode} publishes no ports"
                )
            before = row.host.port_bindings
            runs = row.acquired and container.state.pid
            forwards = self._networks.forwards(container.id) if runs else []
            bindings, gone = liveports.removed(before or {}, forwards, remove)
            row.host.port_bindings = liveports.added(bindings, add)
            try:
                request = self._launcher.sandbox_request(container, links=False)
                self._networks.check(request)
                if runs:
                    sandbox = await self._networks.change_ports(request, add, gone)
                    self._launcher.show_sandbox(container, sandbox)
            except BaseException:
                row.host.port_bindings = before
                raise
            self._store.save(container, durable=True)
            return row.network.ports if runs else row.host.port_bindings

    def rename(self, container: Container) -> None:
        """Let the container be known by its name on all its networks."""
        if (sandbox := self._networks.rename(container.id, container.name)) is not None:
            self._launcher.show_sandbox(container, sandbox)
            self._store.save(container)

    def _name(self, name: str) -> str:
        """Return the name of a network; of one that is gone, what the user typed."""
        try:
            return self._networks.find(name).name
        except EngineError:
            if not any(name in container.row.endpoints for container in self._store):
                raise
            return name

    @staticmethod
    def _check_mode(container: Container) -> None:
        mode = container.row.host.network_mode
        if mode.startswith("container:") or mode == "host":
            raise InvalidParameter(_SHARED)
