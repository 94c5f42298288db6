"""Networks whose driver, or whose addresses, are a plugin's business: the calls that are theirs.

Built-in drivers only make plans; a plugin acts, and is asked here and nowhere else. Event loop only.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sampan.base.errors import EngineError
from sampan.base.plugins import PluginFolders
from sampan.base.tasks import Tasks
from sampan.base.threads import blocking
from sampan.kernel.links import IpAddress
from sampan.networks.driver import NetworkDriver
from sampan.networks.drivers import DRIVERS
from sampan.networks.drivers.plugin import PluginDriver
from sampan.networks.endpoint import Attachment, Held, addresses_of, asked_addresses, asked_mac, endpoint_of
from sampan.networks.ipam.leases import AddressPools, Leased
from sampan.networks.ipam.plugin import IpamPlugin, PluginPools
from sampan.networks.model import Forward, Network, PoolConfig
from sampan.networks.ports import plan_ports
from sampan.networks.request import SandboxRequest
from sampan.networks.store import SandboxRow
from sampan.wire.networks import CreateNetwork, Ipam

_log = logging.getLogger(__name__)
_DEFAULT: Final = ("", "default")


class NetworkPlugins:
    """The drivers by name, plugins among them once they are used, and the IPAM plugins."""

    def __init__(self, folders: PluginFolders | None = None) -> None:
        self.drivers: dict[str, NetworkDriver] = dict(DRIVERS)
        self._folders = folders or PluginFolders()
        self._ipam: dict[str, IpamPlugin] = {}
        self._replayed: set[str] = set()
        self._tasks = Tasks("network plugins")

    async def close(self) -> None:
        """Wait for what is on its way to plugins."""
        await self._tasks.close()

    def driver_of(self, network: Network) -> NetworkDriver:
        """Return the driver of a network that is there; a plugin is looked for when it is called."""
        return self.drivers.setdefault(network.driver, PluginDriver(network.driver, self._folders))

    async def find(self, name: str) -> NetworkDriver:
        """Return the driver ``name`` for a new network. Raises NotFound in Docker's words, PluginFailed."""
        if name not in self.drivers:
            driver = PluginDriver(name, self._folders)
            await blocking(driver.connect)
            self.drivers[name] = driver
        return self.drivers[name]

    # Networks

    async def create(self, network: Network) -> None:
        """Let the plugin of ``network``, if it is one, make it. Raises PluginFailed."""
        driver = self.driver_of(network)
        if isinstance(driver, PluginDriver):
            await blocking(driver.create, network)

    async def remove(self, network: Network) -> None:
        """Let plugins remove ``network`` and take its pools back; what they refuse is only logged."""
        driver = self.driver_of(network)
        try:
            if isinstance(driver, PluginDriver):
                await blocking(driver.remove, network)
        except EngineError as error:
            _log.warning("network not removed", extra={"network": network.name, "error": str(error)})
        if network.ipam_driver not in _DEFAULT:
            await blocking(self._ipam_of(network.ipam_driver).release_pools, network.pools)

    async def request_pools(self, body: CreateNetwork) -> list[PoolConfig] | None:
        """Return the pools that an IPAM plugin gives to the network of ``body``; None without a plugin."""
        ipam = body.ipam or Ipam()
        if ipam.driver in _DEFAULT or body.config_only:
            return None
        plugin = self._ipam_of(ipam.driver)
        await blocking(plugin.connect)
        ipv4 = body.enable_ipv4 is not False
        return await blocking(plugin.request_pools, ipam, ipv4=ipv4, ipv6=bool(body.enable_ipv6))

    async def release_pools(self, driver: str, pools: Sequence[PoolConfig]) -> None:
        """Give back the pools of a network that could not be made."""
        await blocking(self._ipam_of(driver).release_pools, pools)

    def pools_of(self, network: Network) -> AddressPools:
        """Return what leases the addresses of ``network``."""
        if network.ipam_driver in _DEFAULT or network.config_only:
            return AddressPools(network)
        plugin = self._ipam_of(network.ipam_driver)

        def release(pool: str, address: str) -> None:
            self._tasks.begin(blocking(plugin.release, pool, address), name=f"release {address}")

        return PluginPools(network, release)

    # Endpoints

    async def lease(
        self, request: SandboxRequest, network: Network, held: Held, others: Iterable[Held]
    ) -> Leased | None:
        """Return the addresses that a plugin gives an endpoint of ``network``; None: the engine gives them.

        Raises PluginFailed in its words.
        """
        if network.ipam_driver in _DEFAULT:
            return None
        plugin, wanted = self._ipam_of(network.ipam_driver), request.settings(network)
        await self._replay(plugin, network, others)
        first, second = asked_addresses(wanted)
        return await blocking(plugin.lease, network, first, second, asked_mac(request, wanted, held))

    async def _replay(self, plugin: IpamPlugin, network: Network, others: Iterable[Held]) -> None:
        """Tell a plugin that keeps nothing what ``network`` has, once in the engine's life."""
        if network.id in self._replayed:
            return
        self._replayed.add(network.id)
        if await blocking(plugin.connect):
            attachments = [held.attachments.get(network.id) for held in others]
            leased: list[IpAddress] = addresses_of(each for each in attachments if each is not None)
            await blocking(plugin.replay, network, leased)

    async def join(self, request: SandboxRequest, attached: Attachment, sandbox_key: str) -> bool:
        """Let a plugin make the endpoint and its link; return whether there is one. Raises PluginFailed."""
        driver = attached.driver
        if not isinstance(driver, PluginDriver):
            return False
        wanted = plan_ports(request.bindings, request.exposed, publish_all=False, ipv6=False)
        exposed = [(port.port, port.protocol) for port in wanted]
        options: Mapping[str, str] = attached.wanted.driver_opts or {}
        attached.endpoint = await blocking(
            driver.join, attached.network, attached.endpoint, sandbox_key, options, exposed
        )
        return True

    async def publish(self, request: SandboxRequest, attached: Attachment) -> None:
        """Tell the plugin that has the default route which ports are asked for. Raises PluginFailed."""
        driver, endpoint = attached.driver, attached.endpoint
        if not isinstance(driver, PluginDriver) or not endpoint.addresses:
            return
        target = endpoint.addresses[0].ip
        wanted = plan_ports(request.bindings, request.exposed, publish_all=request.publish_all, ipv6=False)
        forwards = [
            Forward(port.protocol, host, port.first, target, port.port)
            for port in wanted
            for host in port.hosts
        ]
        if forwards:
            await blocking(driver.publish, attached.network, endpoint, forwards)

    async def leave(self, attached: Attachment) -> None:
        """Let a plugin take an endpoint back."""
        if isinstance(attached.driver, PluginDriver) and attached.endpoint.joined is not None:
            await blocking(attached.driver.leave, attached.network, attached.endpoint)

    def forget(self, row: SandboxRow, networks: Mapping[str, Network]) -> None:
        """Let plugins take back what a container had that ended while the engine was away."""
        for name, settings in row.sandbox.networks.items():
            network = next((network for network in networks.values() if network.name == name), None)
            if network is None:
                continue
            driver = self.driver_of(network)
            endpoint = endpoint_of(row.sandbox.container, settings, row.interfaces.get(name, ""))
            if isinstance(driver, PluginDriver):
                self._tasks.begin(blocking(driver.leave, network, endpoint), name=f"leave {name}")
            if network.ipam_driver not in _DEFAULT:
                pools = self.pools_of(network)
                pools.give_back(endpoint.address, endpoint.address6)

    def _ipam_of(self, name: str) -> IpamPlugin:
        return self._ipam.setdefault(name, IpamPlugin(name, self._folders))
