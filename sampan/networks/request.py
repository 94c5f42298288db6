"""What a container wants of the networks, and whether that can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sampan.base.errors import Forbidden, InvalidParameter, prefixed
from sampan.networks import hosts
from sampan.networks.addresses import check_link_name, parse_address, parse_mac
from sampan.networks.model import Network
from sampan.networks.ports import exposed_only, plan_ports
from sampan.wire.containers import EndpointSettings, PortMap

OPTION_IFNAME: Final = "com.docker.network.endpoint.ifname"
OPTION_SYSCTLS: Final = "com.docker.network.endpoint.sysctls"
_SYSCTL_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """The network side of a container; ``files`` is where hosts, hostname and resolv.conf are written.

    ``mode`` is ``bridge``, ``default``, ``host``, ``none`` or a network's name or id; it counts where
    ``endpoints``, by name or id, are empty, unless ``detached``: then it was taken off every network.
    ``links`` are resolved by the caller: ``name:alias:address``; ``reaches`` are the ports that they lead
    to, as (address, ``80/tcp``). Empty dns fields stand for the daemon's
    settings.
    """

    container: str
    name: str
    hostname: str
    domainname: str
    mode: str
    endpoints: Mapping[str, EndpointSettings]
    exposed: Sequence[str]
    bindings: PortMap
    publish_all: bool
    dns: Sequence[str]
    dns_search: Sequence[str]
    dns_options: Sequence[str]
    extra_hosts: Sequence[str]
    mac_address: str
    links: Sequence[str]
    files: Path = field(default_factory=Path)
    detached: bool = False
    reaches: Sequence[tuple[str, str]] = ()

    def settings(self, network: Network) -> EndpointSettings:
        """Return what was asked for on ``network``, by its name or id."""
        found = self.endpoints.get(network.name) or self.endpoints.get(network.id)
        if found is None and self.mode not in {network.name, "default"}:
            found = self.endpoints.get(self.mode)
        return found or EndpointSettings()


def check_request(request: SandboxRequest, networks: Sequence[Network]) -> None:
    """Raise InvalidParameter, in Docker's words, if ``request`` cannot be met on ``networks``."""
    names = [network.name for network in networks]
    if len(networks) > 1 and "none" in names:
        raise InvalidParameter(
            "container cannot be connected to multiple networks with one of the networks in private "
            "(none) mode"
        )
    if len(networks) > 1 and "host" in names:
        raise InvalidParameter(
            "container sharing network namespace with another container or host cannot be connected to any "
            "other network"
        )
    for network in networks:
        try:
            check_endpoint(request.settings(network), network)
        except InvalidParameter as error:
            raise prefixed(f"invalid config for network {network.name}", error) from error
    plan_ports(request.bindings, request.exposed, publish_all=request.publish_all, ipv6=True)
    exposed_only(request.bindings, request.exposed)
    hosts.parse_extra_hosts(request.extra_hosts, ["0.0.0.0"])  # noqa: S104 - any address: the form is checked
    for server in request.dns:
        if parse_address(server.partition("%")[0]) is None:
            raise InvalidParameter(f'invalid DNS server address: "{server}"')
    if request.mac_address:
        parse_mac(request.mac_address)
    for text in (request.hostname, request.domainname, *request.dns_search, *request.dns_options):
        if not text.isprintable():
            raise InvalidParameter(f"invalid character in {text!r}")


def check_endpoint(settings: EndpointSettings, network: Network) -> None:
    """Raise InvalidParameter, with every complaint in Docker's words, if ``settings`` cannot be met."""
    if network.config_only:
        raise Forbidden("cannot create endpoint on configuration-only network")
    errors: list[str] = []
    wanted = settings.ipam_config
    if wanted is not None:
        fixed = [(4, wanted.ipv4_address), (6, wanted.ipv6_address)]
        for version, text in fixed:
            if text:
                errors += _fixed_errors(text, version, network)
        for text in wanted.link_local_ips or ():
            address = parse_address(text)
            if address is None or not address.is_link_local:
                errors.append(f"invalid link-local IP address: {text}")
    if settings.aliases and network.predefined:
        errors.append("network-scoped aliases are only supported for user-defined networks")
    errors += [f"invalid alias: {alias!r}" for alias in settings.aliases or () if not alias.isprintable()]
    for link in settings.links or ():
        linked, _, alias = link.partition(":")
        if not linked or ":" in alias:
            errors.append(f"bad format for links: {link}")
    options = settings.driver_opts or {}
    errors += [complaint for text in endpoint_sysctls(settings) if (complaint := _sysctl_error(text))]
    if errors:
        mark = "* " if len(errors) > 1 else ""
        raise InvalidParameter("invalid endpoint settings:\n" + "\n".join(mark + text for text in errors))
    if settings.mac_address:
        parse_mac(settings.mac_address)
    if ifname := options.get(OPTION_IFNAME):
        check_link_name(ifname)


def endpoint_sysctls(settings: EndpointSettings) -> tuple[str, ...]:
    """Return the settings of the interface that are asked for: ``net.ipv4.conf.IFNAME.forwarding=1``."""
    text = (settings.driver_opts or {}).get(OPTION_SYSCTLS, "")
    return tuple(text.split(",")) if text else ()


def _sysctl_error(text: str) -> str:
    key, equals, value = text.partition("=")
    parts = key.split(".", 4)
    # The command line lowers the letters of IFNAME.
    fits = len(parts) == 5 and parts[0] == "net" and parts[1] in {"ipv4", "ipv6", "mpls"}
    fits = fits and bool(equals) and value.isprintable() and parts[3] in {"IFNAME", "ifname"}
    if fits and all(part and _SYSCTL_NAME.issuperset(part) for part in (parts[2], parts[4])):
        return ""
    return (
        f"unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as "
        "'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
    )


def _fixed_errors(text: str, version: int, network: Network) -> list[str]:
    address = parse_address(text)
    if address is None or address.version != version:
        return [f"invalid IPv{version} address: {text}"]
    if network.predefined:
        return ["user-specified IP address is supported on user-defined networks only"]
    pools = [pool for pool in network.pools if pool.subnet.version == version and not pool.automatic]
    if not pools:
        return [
            "user specified IP address is supported only when connecting to networks with user configured "
            "subnets"
        ]
    if not any(address in pool.subnet for pool in pools):
        return [f"no configured subnet or ip-range contain the IP address {address}"]
    return []
