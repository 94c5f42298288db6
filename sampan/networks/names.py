"""Who is called what on which network, and the resolvers that answer for it. Event loop only."""

import socket

from sampan.kernel.threads import DedicatedThread
from sampan.networks.dns.forward import Forwarder, make_here
from sampan.networks.dns.service import ADDRESS, Resolver, Talk
from sampan.networks.dns.zone import View, Zone, parse_links
from sampan.networks.endpoint import Attachment, Held
from sampan.networks.host import HostNetworks
from sampan.networks.resolv import read_host


class Names:
    """The zones by network id. Predefined networks have none: their containers do not know each other."""

    def __init__(self) -> None:
        self._zones: dict[str, Zone] = {}
        self._talk = Talk()

    def open(self, held: Held, thread: DedicatedThread | None, host: HostNetworks) -> None:
        """Answer by the sockets that were made in the sandbox of ``held``."""
        sockets, path = held.wiring.resolver, held.wiring.path
        if sockets is None or thread is None or path is None:
            return
        if not held.dns:
            forwarder = Forwarder(_host_servers, make_here)
        else:  # what a container asks for itself is asked from where it is
            servers = [server for server in held.dns if server != ADDRESS]

            async def make_there(family: int, kind: int) -> socket.socket:
                return await thread.call(host.make_socket, path, family, kind)

            forwarder = Forwarder(lambda: servers, make_there)
        held.resolver = Resolver(sockets, forwarder, self._talk)

    async def close(self, held: Held) -> None:
        """Stop answering; idempotent."""
        resolver, held.resolver = held.resolver, None
        held.wiring.resolver = None if resolver is not None else held.wiring.resolver
        if resolver is not None:
            await resolver.close()

    def renew(self, held: Held) -> None:
        """Make the zones know the names of ``held``, and its resolver the zones that it sees."""
        views: list[View] = []
        for attached in held.attachments.values():
            if attached.names:
                zone = self._zones.setdefault(attached.network.id, Zone(attached.network.name))
                zone.add(held.container, attached.names, [a.ip for a in attached.endpoint.addresses])
                views.append(View(zone, parse_links(attached.wanted.links or ())))
        if held.resolver is not None:
            held.resolver.views = views
            held.resolver.forwards = bool(held.dns) or held.gateway() is not None

    def zone(self, network: str) -> Zone | None:
        """Return the zone of the network with the id ``network``; None if nobody is on it."""
        return self._zones.get(network)

    def remove(self, attached: Attachment, container: str) -> None:
        """Forget the names of ``container`` on one network."""
        if (zone := self._zones.get(attached.network.id)) is not None:
            zone.remove(container)

    def forget(self, held: Held) -> None:
        """Forget the names of ``held`` on all networks."""
        for attached in held.attachments.values():
            self.remove(attached, held.container)

    def drop(self, network: str) -> None:
        """Forget a network."""
        self._zones.pop(network, None)


def _host_servers() -> tuple[str, ...]:
    """Return the name servers that the host asks at this moment."""
    return read_host(follow_systemd=False).servers
