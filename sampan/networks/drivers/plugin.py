"""A network driver that is a plugin: another process, asked over Docker's network plugin protocol.

It says in ``join`` which link of the host becomes the container's interface; the engine moves it there,
gives it its addresses and routes, and moves it back before ``leave``. Calls block. Source: moby,
libnetwork/drivers/remote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, Final

from sampan.base.errors import EngineError, HostFailure, NotFound
from sampan.base.ids import short_id
from sampan.base.plugins import Plugin, PluginFailed, PluginFolders, PluginNotFound
from sampan.kernel.links import IpAddress, IpNetwork
from sampan.networks.addresses import check_link_name, parse_mac
from sampan.networks.drivers.options import interface_prefix
from sampan.networks.model import (
    Endpoint,
    EndpointPlan,
    Forward,
    Inside,
    Joined,
    MovedLink,
    Network,
    NetworkPlan,
)

_INTERFACE: Final = "NetworkDriver"
_BACK: Final = ("Leave", "DeleteEndpoint")
_NEXT_HOP: Final = 0  # RouteType of a StaticRoute; the other one is a route to the link itself
_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}


class PluginDriver:
    """The plugin ``name`` as a driver; it is looked for when it is first called."""

    own_namespace = True
    addresses = True
    shares_mac = False
    publishes = False
    subnets = 64
    deferred = False
    needs: tuple[str, ...] = ()

    def __init__(self, name: str, folders: PluginFolders) -> None:
        self.name = name
        self._folders = folders
        self._plugin: Plugin | None = None

    def connect(self) -> None:
        """Shake hands with the plugin. Raises NotFound in Docker's words if there is none, PluginFailed."""
        try:
            plugin = Plugin(self.name, self._folders.find(self.name))
        except PluginNotFound as error:
            raise _not_found(self.name) from error
        if _INTERFACE not in plugin.activate():
            raise _not_found(self.name)
        scope = str(plugin.call(f"{_INTERFACE}.GetCapabilities", {}).get("Scope") or "")
        if scope not in {"local", "global"}:
            raise PluginFailed(f"invalid capability: expecting 'local' or 'global', got {scope}")
        self._plugin = plugin

    def check_options(self, options: Mapping[str, str], *, internal: bool) -> None:
        """Take everything: they are the plugin's."""

    def leads_out(self, network: Network) -> bool:
        """Tell whether containers have a default route by this network."""
        return not network.internal

    def routes_directly(self, network: Network) -> bool:
        """It does not: it has gateways, or says so when a container joins."""
        return False

    def plan_network(self, network: Network) -> NetworkPlan:
        """Return the empty plan: what the host needs is the plugin's business."""
        return NetworkPlan()

    def plan_endpoint(self, network: Network, endpoint: Endpoint, *, default_route: bool) -> EndpointPlan:
        """Return the link that the plugin made for ``endpoint``, once the container has joined."""
        joined = endpoint.joined
        if joined is None or not joined.source:
            return EndpointPlan()
        inside = Inside(
            ifname=endpoint.ifname,
            mac=endpoint.mac,
            mtu=0,
            addresses=(*endpoint.addresses, *endpoint.extra),
            gateways=endpoint.gateways if default_route else (),
            owner=f"container {short_id(endpoint.container)}",
            reason=f"its attachment to network {network.name}",
            sysctls=endpoint.sysctls,
            routes=joined.routes,
        )
        return EndpointPlan((MovedLink(joined.source, inside),))

    # What it does itself

    def create(self, network: Network) -> None:
        """Make ``network``. Raises NotFound if there is no such plugin, PluginFailed in its words."""
        self.connect()
        data: dict[int, list[dict[str, Any]]] = {4: [], 6: []}
        for pool in network.in_use:
            entry: dict[str, Any] = {"AddressSpace": "LocalDefault", "Pool": str(pool.subnet)}
            entry["Gateway"] = str(pool.interface)
            entry["AuxAddresses"] = pool.reserved
            data[pool.subnet.version].append(entry)
        options: dict[str, Any] = {
            "com.docker.network.enable_ipv4": network.ipv4,
            "com.docker.network.enable_ipv6": network.ipv6,
            "com.docker.network.generic": network.options,
        }
        if network.internal:
            options["com.docker.network.internal"] = True
        self._call("CreateNetwork", NetworkID=network.id, Options=options, IPv4Data=data[4], IPv6Data=data[6])

    def remove(self, network: Network) -> None:
        """Remove ``network``. Raises PluginFailed."""
        self._call("DeleteNetwork", NetworkID=network.id)

    def join(
        self,
        network: Network,
        endpoint: Endpoint,
        sandbox_key: str,
        options: Mapping[str, str],
        exposed: Sequence[tuple[int, str]],
    ) -> Endpoint:
        """Make ``endpoint`` and let its container join; return it with what the plugin says.

        Raises PluginFailed in the plugin's words, HostFailure if what it says cannot be; nothing is left
        then.
        """
        ids = {"NetworkID": network.id, "EndpointID": endpoint.id}
        interface = {
            "Address": str(endpoint.address or ""),
            "AddressIPv6": str(endpoint.address6 or ""),
            "MacAddress": endpoint.mac,
        }
        ports = [{"Proto": _PROTOCOLS[protocol], "Port": port} for port, protocol in exposed]
        wanted = {**options, "com.docker.network.endpoint.exposedports": ports}
        made = self._call("CreateEndpoint", **ids, Interface=interface, Options=wanted).get("Interface")
        undo = ["DeleteEndpoint"]
        try:
            endpoint = _changed(endpoint, made if isinstance(made, dict) else {})
            answer = self._call("Join", **ids, SandboxKey=sandbox_key, Options=dict(options))
            undo = [*_BACK]
            try:
                return _joined(endpoint, network, answer)
            except (ValueError, EngineError) as error:
                raise HostFailure(f"{_INTERFACE}.Join: plugin {self.name}: {error}") from error
        except BaseException:
            self.leave(network, endpoint, undo)
            raise

    def leave(self, network: Network, endpoint: Endpoint, methods: Sequence[str] = _BACK) -> None:
        """Let the container of ``endpoint`` leave and remove the endpoint, whatever there is of it."""
        for method in methods:
            try:
                self._call(method, NetworkID=network.id, EndpointID=endpoint.id)
            except EngineError:
                continue  # it never joined, or the plugin is gone and its links with it

    def publish(self, network: Network, endpoint: Endpoint, forwards: Sequence[Forward]) -> None:
        """Tell the plugin which ports of ``endpoint``, which has the default route, are asked for."""
        ports = [
            {
                "Proto": _PROTOCOLS[forward.protocol],
                "IP": str(forward.target),
                "Port": forward.target_port,
                "HostIP": str(forward.host),
                "HostPort": forward.host_port,
                "HostPortEnd": forward.host_port,
            }
            for forward in forwards
        ]
        options = {"com.docker.network.portmap": ports}
        try:
            self._call(
                "ProgramExternalConnectivity", NetworkID=network.id, EndpointID=endpoint.id, Options=options
            )
        except PluginFailed as error:
            if "status 404" not in str(error):  # the call is younger than the protocol
                raise

    def _call(self, method: str, **document: Any) -> dict[str, Any]:
        if self._plugin is None:
            self.connect()
        if self._plugin is None:
            raise _not_found(self.name)
        return self._plugin.call(f"{_INTERFACE}.{method}", document)


def _not_found(name: str) -> NotFound:
    return NotFound(f'could not find plugin {name} in v1 plugin registry: plugin "{name}" not found')


def _changed(endpoint: Endpoint, interface: Mapping[str, Any]) -> Endpoint:
    """Return ``endpoint`` with what the plugin chose for it. Raises HostFailure."""
    try:
        first, second = interface.get("Address"), interface.get("AddressIPv6")
        address = ip_interface(str(first)) if first else endpoint.address
        address6 = ip_interface(str(second)) if second else endpoint.address6
        mac = parse_mac(str(interface["MacAddress"])) if interface.get("MacAddress") else endpoint.mac
    except (ValueError, EngineError) as error:
        raise HostFailure(f"{_INTERFACE}.CreateEndpoint: {error}") from error
    if endpoint.address is not None and address != endpoint.address:
        raise HostFailure(f"driver modified interface address: {address}")
    return replace(
        endpoint,
        address=address if isinstance(address, IPv4Interface) else None,
        address6=address6 if isinstance(address6, IPv6Interface) else None,
        mac=mac,
    )


def _joined(endpoint: Endpoint, network: Network, answer: Mapping[str, Any]) -> Endpoint:
    """Return ``endpoint`` with the answer to Join. Raises ValueError, EngineError."""
    names = answer.get("InterfaceName")
    names = names if isinstance(names, dict) else {}
    source = str(names.get("SrcName") or "")
    if source:
        check_link_name(source)
    routes: list[tuple[IpNetwork, IpAddress | None]] = []
    listed = answer.get("StaticRoutes")
    for route in listed if isinstance(listed, list) else ():
        direct = int(route.get("RouteType") or 0) != _NEXT_HOP
        hop = None if direct else ip_address(str(route["NextHop"]))
        routes.append((ip_network(str(route["Destination"])), hop))
    gateway, gateway6 = (
        ip_address(str(answer[key])) if answer.get(key) else None for key in ("Gateway", "GatewayIPv6")
    )
    ifname = endpoint.ifname
    if prefix := str(names.get("DstPrefix") or ""):
        ifname = ifname.replace(interface_prefix(network), prefix, 1)
    ifname = str(names.get("DstName") or "") or ifname
    check_link_name(ifname)
    return replace(
        endpoint,
        gateway=gateway if isinstance(gateway, IPv4Address) else None,
        gateway6=gateway6 if isinstance(gateway6, IPv6Address) else None,
        ifname=ifname,
        joined=Joined(source, tuple(routes)),
    )
