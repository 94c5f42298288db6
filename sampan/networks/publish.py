"""Publishing ports: host ports are reserved, served, and follow the gateway of their container."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.links import IpAddress
from sampan.networks.addresses import parse_address
from sampan.networks.config import NetworkConfig
from sampan.networks.drivers.bridge import OPTION_HOST_IPV4, gateway_mode, trusted_interfaces
from sampan.networks.endpoint import Attachment, Held
from sampan.networks.firewall.rules import ROUTED
from sampan.networks.model import Forward
from sampan.networks.ports import HostPorts, PortRequest, PortTaken, Reservation, exposed_only, plan_ports
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
        if gateway is None or not gateway.driver.publishes:
            return {}
        await self._reserve(
            request, held, request.bindings, exposed=request.exposed, publish_all=request.publish_all
        )
        held.wiring.forwards = [reservation.forward for reservation in held.reservations]
        return _shown(request, held)

    async def _reserve(
        self,
        request: SandboxRequest,
        held: Held,
        bindings: PortMap,
        *,
        exposed: Sequence[str] = (),
        publish_all: bool = False,
    ) -> list[Reservation]:
        """Take host ports for ``bindings`` and let ``held`` hold them, up to the one that fails."""
        gateway = held.gateway()
        if gateway is None or not gateway.driver.publishes:
            raise InvalidParameter(
                f"container {request.name} is on no network that ports can be published from"
            )
        asked = gateway.network.options.get(OPTION_HOST_IPV4, "")
        default = parse_address(asked) if asked else None
        requests = plan_ports(
            bindings,
            exposed,
            publish_all=publish_all,
            default=default if isinstance(default, IPv4Address) else self._config.publish_host,
            ipv6=self.ipv6,
        )
        made: list[Reservation] = []
        for number, wanted in enumerate(requests, 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            try:
                taken = self._take(wanted, gateway, request.name)
            except PortTaken as error:
                raise PortTaken(
                    f"{_SETUP}: driver failed programming external connectivity on endpoint {request.name} "
                    f"({gateway.endpoint.id}): {error}"
                ) from error
            held.reservations += taken
            made += taken
        return made

    async def add(self, request: SandboxRequest, held: Held, bindings: PortMap) -> list[Forward]:
        """Take host ports for ``bindings`` beside those that ``held`` has; none if one of them is taken.

        Raises InvalidParameter without a network to publish from, PortTaken.
        """
        before = list(held.reservations)
        try:
            made = await self._reserve(request, held, bindings)
        except BaseException:
            await self.give_back(held, [r.forward for r in held.reservations if r not in before])
            raise
        return [reservation.forward for reservation in made]

    async def give_back(self, held: Held, forwards: Sequence[Forward]) -> None:
        """Serve some of the ports of ``held`` no longer and give them back; the others are not touched."""
        gone = set(forwards)
        proxies = [proxy for proxy in held.proxies if proxy.forward in gone]
        held.proxies = [proxy for proxy in held.proxies if proxy.forward not in gone]
        for proxy in proxies:
            await proxy.close()
        for reservation in held.reservations:
            if reservation.forward in gone:
                self._ports.release(reservation)
        held.reservations = [r for r in held.reservations if r.forward not in gone]

    def settle(self, request: SandboxRequest, held: Held) -> PortMap:
        """Let the firewall's side of ``held`` follow its ports; return what inspect shows."""
        held.wiring.forwards = [reservation.forward for reservation in held.reservations]
        return _shown(request, held)

    def _take(self, wanted: PortRequest, gateway: Attachment, name: str) -> list[Reservation]:
        """Take the host ports of one request, on addresses that lead to the container. Raises PortTaken."""
        made: list[Reservation] = []
        targets: dict[IpAddress, IpAddress] = {}
        trusted = bool(trusted_interfaces(gateway.network))
        for host in wanted.hosts:
            target = self._target(gateway, host)
            if target is None:
                continue
            if gateway_mode(gateway.network, target.version) != ROUTED:
                targets[host] = target
            elif host.version == target.version:
                any_address = type(target)(0)
                forward = Forward(wanted.protocol, any_address, 0, target, wanted.port, open=True)
                made.append(Reservation(forward, None))
        if targets:
            made += self._ports.reserve(replace(wanted, hosts=tuple(targets)), targets, name, open_=trusted)
        return made

    def _target(self, gateway: Attachment | None, host: IpAddress) -> IpAddress | None:
        """Return where the ports on ``host`` lead to: an address of its version, or IPv4 by the proxy."""
        found = {address.version: address.ip for address in gateway.endpoint.addresses} if gateway else {}
        if host.version in found:
            return found[host.version]
        return found.get(4) if self._config.userland_proxy else None

    async def follow(self, request: SandboxRequest, held: Held, ports: PortMap) -> PortMap | None:
        """Let the ports of ``held`` lead to the gateway that it has now; None: they do already.

        Otherwise they are no longer served, and ``held`` has what is to be put into the firewall. Host ports
        stay the same as long as there is a gateway of the same kind.
        """
        gateway = held.gateway()
        if gateway is None or not gateway.driver.publishes:
            if not held.reservations:
                return {} if ports else None
            await self._give_up(held)
            return {}
        if not held.reservations:
            made = await self.reserve(request, held)
            return None if made == ports else made
        targets = [self._target(gateway, reservation.forward.host) for reservation in held.reservations]
        if [reservation.forward.target for reservation in held.reservations] == targets:
            return None
        if not self._alike(held, gateway, targets):
            await self._give_up(held)
            return await self.reserve(request, held)
        await self.stop(held)
        for reservation, target in zip(held.reservations, targets, strict=True):
            if target is not None:
                reservation.forward = replace(reservation.forward, target=target)
        held.wiring.forwards = [reservation.forward for reservation in held.reservations]
        return ports

    @staticmethod
    def _alike(held: Held, gateway: Attachment, targets: Sequence[IpAddress | None]) -> bool:
        """Tell whether the ports of ``held`` can stay as they are but for the addresses that they lead to."""
        trusted = bool(trusted_interfaces(gateway.network))
        for reservation, target in zip(held.reservations, targets, strict=True):
            if target is None or target.version != reservation.forward.target.version:
                return False
            routed = gateway_mode(gateway.network, target.version) == ROUTED
            if (reservation.forward.host_port == 0, reservation.forward.open) != (routed, routed or trusted):
                return False
        return True

    async def _give_up(self, held: Held) -> None:
        await self.stop(held)
        self.release(held)
        held.reservations.clear()
        held.wiring.forwards = []

    def restore(self, held: Held, forwards: Sequence[Forward]) -> None:
        """Take the ports again that ``held`` had before the daemon went away."""
        for forward in forwards:
            if forward.host_port == 0:  # published where the container is
                held.reservations.append(Reservation(forward, None))
                held.wiring.forwards.append(forward)
                continue
            reservation = self._ports.restore(forward, held.name)
            if reservation.listener is None:
                extra = {"container": held.container, "port": str(forward)}
                _log.warning("published port is not held: another program took it", extra=extra)
            held.reservations.append(reservation)
            held.wiring.forwards.append(reservation.forward)

    async def serve(self, held: Held) -> None:
        """Serve the ports of ``held`` where NAT does not reach, unless they are served."""
        if not self._config.userland_proxy:
            return
        served = {proxy.forward for proxy in held.proxies}
        for number, reservation in enumerate(list(held.reservations), 1):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if reservation.listener is not None and reservation.forward not in served:
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


def _binding(forward: Forward) -> PortBinding:
    """Return what inspect shows of a published port; one of a routed network has no port on the host."""
    return PortBinding(str(forward.host), str(forward.host_port or ""))


def _shown(request: SandboxRequest, held: Held) -> PortMap:
    """Return every exposed port, with where it is published."""
    ports: PortMap = dict.fromkeys(sorted(exposed_only(request.bindings, request.exposed)))
    for reservation in held.reservations:
        forward = reservation.forward
        key = f"{forward.target_port}/{forward.protocol}"
        ports[key] = [*(ports.get(key) or ()), _binding(forward)]
    return ports
