"""Publishing ports: host ports are reserved, served, and follow the gateway of their container."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sampan.kernel.links import IpAddress
from sampan.networks.addresses import parse_address
from sampan.networks.config import NetworkConfig
from sampan.networks.drivers.bridge import OPTION_HOST_IPV4
from sampan.networks.endpoint import Attachment, Held
from sampan.networks.model import Forward
from sampan.networks.ports import HostPorts, PortTaken, exposed_only, plan_ports
from sampan.networks.proxy import PortProxy
from sampan.networks.request import SandboxRequest
from sampan.wire.containers import PortBinding, PortMap

_log = logging.getLogger(__name__)
_SETUP: Final = "failed to set up container networking"
_TURN: Final = 64  # ports bound or served before other work of the event loop gets its turn


class Publisher:
    """The published ports of all sandboxes. Used from the event loop; what the firewall does is elsewhere."""

    def __init__(self, config: NetworkConfig) -> None:
        self.ipv6 = False
        self._config = config
        self._ports = HostPorts(listen=config.userland_proxy)

    async def reserve(self, request: SandboxRequest, held: Held) -> PortMap:
        """Take the host ports of ``request`` for the gateway of ``held``; return what inspect shows.

        Without a gateway nothing is published. Raises PortTaken.
        """
        gateway = held.gateway()
        target = _target(gateway)
        if gateway is None or target is None:
            return {}
        ports: PortMap = dict.fromkeys(sorted(exposed_only(request.bindings, request.exposed)))
        asked = gateway.network.options.get(OPTION_HOST_IPV4, "")
        default = parse_address(asked) if asked else None
        requests = plan_ports(
            request.bindings,
            request.exposed,
            publish_all=request.publish_all,
            default=default if default is not None and default.version == 4 else self._config.ip,
            ipv6=self.ipv6 and self._config.userland_proxy,
        )
        for number, wanted in enumerate(requests, 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            try:
                taken = self._ports.reserve(wanted, target, request.name)
            except PortTaken as error:
                raise PortTaken(
                    f"{_SETUP}: driver failed programming external connectivity on endpoint {request.name} "
                    f"({gateway.endpoint.id}): {error}"
                ) from error
            held.reservations += taken
            key = f"{wanted.port}/{wanted.protocol}"
            shown = [PortBinding(str(r.forward.host), str(r.forward.host_port)) for r in taken]
            ports[key] = [*(ports[key] or ()), *shown]
        held.wiring.forwards = [reservation.forward for reservation in held.reservations]
        return ports

    async def follow(self, request: SandboxRequest, held: Held, ports: PortMap) -> PortMap | None:
        """Let the ports of ``held`` lead to the gateway that it has now; None: they do already.

        Otherwise they are no longer served, and ``held`` has what is to be put into the firewall. Host ports
        stay the same as long as there is a gateway.
        """
        target = _target(held.gateway())
        if target is None:
            if not held.reservations:
                return {} if ports else None
            await self.stop(held)
            self.release(held)
            held.reservations.clear()
            held.wiring.forwards = []
            return {}
        if not held.reservations:
            made = await self.reserve(request, held)
            return None if made == ports else made
        if all(reservation.forward.target == target for reservation in held.reservations):
            return None
        await self.stop(held)
        for reservation in held.reservations:
            reservation.forward = replace(reservation.forward, target=target)
        held.wiring.forwards = [reservation.forward for reservation in held.reservations]
        return ports

    def restore(self, held: Held, forwards: Sequence[Forward]) -> None:
        """Take the ports again that ``held`` had before the daemon went away."""
        for forward in forwards:
            reservation = self._ports.restore(forward, held.name)
            if reservation.listener is None:
                extra = {"container": held.container, "port": str(forward)}
                _log.warning("published port is not held: another program took it", extra=extra)
            held.reservations.append(reservation)
            held.wiring.forwards.append(reservation.forward)

    async def serve(self, held: Held) -> None:
        """Serve the ports of ``held`` where NAT does not reach, unless they are served."""
        if not self._config.userland_proxy or held.proxies:
            return
        for number, reservation in enumerate(list(held.reservations), 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if reservation.listener is not None:
                held.proxies.append(PortProxy(reservation.listener, reservation.forward))

    async def stop(self, held: Held) -> None:
        """Serve no longer."""
        proxies, held.proxies = held.proxies, []
        for proxy in proxies:
            await proxy.close()

    async def close(self, held: Held) -> None:
        """Serve no longer and let go of the sockets; in the firewall the ports stay."""
        await self.stop(held)
        self.release(held)

    def release(self, held: Held) -> None:
        """Give the host ports back."""
        for reservation in held.reservations:
            self._ports.release(reservation)

    def rename(self, old: str, new: str) -> None:
        """Let the ports of the container ``old`` be held by ``new``."""
        self._ports.rename(old, new)


def _target(gateway: Attachment | None) -> IpAddress | None:
    """Return the address that ports lead to: IPv4 where there is one."""
    if gateway is None:
        return None
    addresses = gateway.endpoint.addresses
    return addresses[0].ip if addresses else None
