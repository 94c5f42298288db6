"""Addresses from a plugin: Docker's IPAM plugin protocol. Calls block.

The plugin keeps the leases; here is only what a network and an endpoint have of them. Source: moby,
libnetwork/ipams/remote and libnetwork/network.go.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network
from typing import Any, Final

from sampan.base.errors import EngineError, InvalidParameter, NotFound
from sampan.base.plugins import Plugin, PluginFailed, PluginFolders, PluginNotFound
from sampan.kernel.links import IpAddress, IpInterface
from sampan.networks.ipam.leases import AddressPools, Leased
from sampan.networks.model import Network, PoolConfig
from sampan.wire.networks import Ipam, IpamConfig

_log = logging.getLogger(__name__)
_INTERFACE: Final = "IpamDriver"
_GATEWAY: Final = "com.docker.network.gateway"
_MAC: Final = "com.docker.network.endpoint.macaddress"
_KIND: Final = "RequestAddressType"


class IpamPlugin:
    """The plugin ``name``; it is looked for when it is first called."""

    def __init__(self, name: str, folders: PluginFolders) -> None:
        self.name = name
        self._folders = folders
        self._plugin: Plugin | None = None
        self._space = ""
        self._wants_mac = False

    def connect(self) -> bool:
        """Shake hands; return whether it must be told again what it gave. Raises NotFound, PluginFailed."""
        missing = f'could not find plugin {self.name}: plugin "{self.name}" not found'
        try:
            plugin = Plugin(self.name, self._folders.find(self.name))
        except PluginNotFound as error:
            raise NotFound(missing) from error
        if _INTERFACE not in plugin.activate():
            raise NotFound(missing)
        able = plugin.call(f"{_INTERFACE}.GetCapabilities", {})
        self._wants_mac = bool(able.get("RequiresMACAddress"))
        spaces = plugin.call(f"{_INTERFACE}.GetDefaultAddressSpaces", {})
        self._space = str(spaces.get("LocalDefaultAddressSpace") or "")
        self._plugin = plugin
        return bool(able.get("RequiresRequestReplay"))

    def request_pools(self, ipam: Ipam, *, ipv4: bool, ipv6: bool) -> list[PoolConfig]:
        """Return the pools that the plugin gives a network, gateways and auxiliary addresses leased in them.

        Raises InvalidParameter if the settings are none, PluginFailed in the plugin's words; nothing stays
        leased.
        """
        wanted: dict[int, list[IpamConfig]] = {4: [], 6: []}
        for config in ipam.config or ():
            try:
                wanted[ip_network(config.subnet).version if config.subnet else 4].append(config)
            except ValueError as error:
                raise InvalidParameter(f"invalid subnet {config.subnet}: {error}") from error
        families = [version for version, has in ((4, ipv4), (6, ipv6)) if has]
        made: list[PoolConfig] = []
        try:
            for version in families:
                for config in wanted[version] or [IpamConfig()]:
                    self._request_pool(config, ipam.options or {}, version, made)
        except BaseException:
            self.release_pools(made)
            raise
        return made

    def _request_pool(
        self, config: IpamConfig, options: Mapping[str, str], version: int, made: list[PoolConfig]
    ) -> None:
        answer = self._call(
            "RequestPool",
            AddressSpace=self._space,
            Pool=config.subnet,
            SubPool=config.ip_range,
            Options=dict(options),
            V6=version == 6,
        )
        number = str(answer.get("PoolID") or "")
        try:
            subnet = ip_network(str(answer.get("Pool")), strict=False)
        except ValueError as error:
            raise PluginFailed(f"{_INTERFACE}.RequestPool: plugin {self.name}: {error}") from error
        data = answer.get("Data")
        given = str(data.get(_GATEWAY) or "") if isinstance(data, dict) else ""
        leased = ip_network(config.ip_range) if config.ip_range else subnet
        reserved, held = dict(config.aux_address or {}), []
        try:
            if not given:
                given = str(self._request(number, config.gateway, {_KIND: _GATEWAY}))
                held.append(str(_interface(given).ip))
            for address in reserved.values():
                self._request(number, address, {})
                held.append(address)
            gateway = _interface(given).ip
        except BaseException:
            for address in held:
                self.release(number, address)
            self._quietly("ReleasePool", PoolID=number)
            raise
        made.append(PoolConfig(subnet, leased, gateway, reserved, not config.subnet, number))

    def release_pools(self, pools: Sequence[PoolConfig]) -> None:
        """Give the pools of a network back; what the plugin does not want back is only logged."""
        for pool in pools:
            for address in (str(pool.gateway), *pool.reserved.values()):
                self.release(pool.id, address)
            self._quietly("ReleasePool", PoolID=pool.id)

    def lease(self, network: Network, ipv4: IpAddress | None, ipv6: IpAddress | None, mac: str) -> Leased:
        """Lease an address of each family that ``network`` has; both or none. Raises PluginFailed."""
        options = {_MAC: mac} if self._wants_mac and mac else {}
        found: dict[int, IpInterface] = {}
        try:
            for pool in network.in_use:
                version = pool.subnet.version
                asked = ipv4 if version == 4 else ipv6
                if version not in found and (asked is None or asked in pool.subnet):
                    found[version] = self._request(pool.id, str(asked or ""), options)
        except BaseException:
            for address in found.values():
                self.release(_pool_of(network, address.ip), str(address.ip))
            raise
        first, second = found.get(4), found.get(6)
        return (
            first if isinstance(first, IPv4Interface) else None,
            second if isinstance(second, IPv6Interface) else None,
        )

    def release(self, pool: str, address: str) -> None:
        """End a lease; what the plugin does not want back is only logged."""
        self._quietly("ReleaseAddress", PoolID=pool, Address=address)

    def replay(self, network: Network, leased: Sequence[IpAddress]) -> None:
        """Tell a plugin that keeps nothing what it gave to ``network`` and its endpoints."""
        for pool in network.in_use:
            self._quietly(
                "RequestPool",
                AddressSpace=self._space,
                Pool=str(pool.subnet),
                SubPool="" if pool.range == pool.subnet else str(pool.range),
                Options=network.ipam_options or {},
                V6=pool.subnet.version == 6,
            )
            for address in (pool.gateway, *(ip for ip in leased if ip in pool.subnet)):
                self._quietly("RequestAddress", PoolID=pool.id, Address=str(address), Options={})

    def _request(self, pool: str, address: str, options: Mapping[str, str]) -> IpInterface:
        answer = self._call("RequestAddress", PoolID=pool, Address=address, Options=dict(options))
        return _interface(str(answer.get("Address") or ""))

    def _quietly(self, method: str, **document: Any) -> None:
        try:
            self._call(method, **document)
        except EngineError as error:
            _log.warning("the IPAM plugin refuses", extra={"plugin": self.name, "error": str(error)})

    def _call(self, method: str, **document: Any) -> dict[str, Any]:
        if self._plugin is None:
            self.connect()
        if self._plugin is None:
            raise NotFound(f'plugin "{self.name}" not found')
        return self._plugin.call(f"{_INTERFACE}.{method}", document)


class PluginPools(AddressPools):
    """The pools of a network whose addresses a plugin leases; ``release`` is called with pool and address."""

    def __init__(self, network: Network, release: Callable[[str, str], None]) -> None:
        super().__init__(network)
        self._network = network
        self._release = release

    def give_back(self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> None:
        """Let the plugin have the addresses back."""
        for address in (ipv4, ipv6):
            if address is not None:
                self._release(_pool_of(self._network, address.ip), str(address.ip))

    def adopt(self, ipv4: IPv4Interface | None, ipv6: IPv6Interface | None) -> None:
        """Nothing to do: the plugin knows."""


def _pool_of(network: Network, address: IpAddress) -> str:
    return next((pool.id for pool in network.in_use if address in pool.subnet), "")


def _interface(text: str) -> IpInterface:
    try:
        return ip_interface(text)
    except ValueError as error:
        raise PluginFailed(f"{_INTERFACE}: not an address with its prefix length: {text!r}") from error
