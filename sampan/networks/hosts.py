"""A container's ``hosts`` file, as Docker writes it."""

from collections.abc import Iterable, Sequence
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.kernel.links import IpAddress
from sampan.networks.addresses import parse_address

HOST_GATEWAY: Final = "host-gateway"
_IPV4: Final = (("127.0.0.1", "localhost"),)
_IPV6: Final = (
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)


def render_hosts(records: Iterable[tuple[str, str]], *, ipv6: bool) -> str:
    """Return the file's text; ``records`` are (address, names), IPv6 ones left out without ``ipv6``."""
    lines = [*_IPV4, *(_IPV6 if ipv6 else ())]
    lines += [(address, names) for address, names in records if ipv6 or ":" not in address]
    return "".join(f"{address}\t{names}\n" for address, names in lines)


def parse_extra_hosts(entries: Sequence[str], gateways: Sequence[str]) -> list[tuple[str, str]]:
    """Return (address, name) of each ``name:address``; ``host-gateway`` stands for each of ``gateways``.

    Raises InvalidParameter in Docker's words.
    """
    records: list[tuple[str, str]] = []
    for entry in entries:
        name, colon, address = entry.partition(":")
        if not colon or not name or any(c.isspace() for c in name):
            raise InvalidParameter(f'bad format for add-host: "{entry}"')
        if address == HOST_GATEWAY:
            if not gateways:
                raise InvalidParameter("unable to derive the IP value for host-gateway")
            records += [(gateway, name) for gateway in gateways]
            continue
        parsed = parse_address(address)
        if parsed is None:
            raise InvalidParameter(f'invalid IP address in add-host: "{address}"')
        records.append((str(parsed), name))
    return records


def parse_links(links: Sequence[str]) -> list[tuple[str, str]]:
    """Return (address, "alias name") of each resolved link ``name:alias:address``.

    Raises InvalidParameter if a link was not resolved to the address of a running container.
    """
    records: list[tuple[str, str]] = []
    for link in links:
        name, _, rest = link.partition(":")
        alias, _, text = rest.partition(":")
        address = parse_address(text)
        if not name or not alias or address is None:
            raise InvalidParameter(
                f"cannot link to {name or link}: the address of that container is not known"
            )
        records.append((str(address), alias if alias == name else f"{alias} {name}"))
    return records


def own_names(hostname: str, domainname: str) -> str:
    """Return the names of a container's own address: the full name, then its first label if shorter."""
    full = f"{hostname}.{domainname}" if domainname else hostname
    first, dot, _ = full.partition(".")
    return f"{full} {first}" if dot else full


def own_records(addresses: Iterable[IpAddress], hostname: str, domainname: str) -> list[tuple[str, str]]:
    """Return the records for the container's own ``addresses``."""
    names = own_names(hostname, domainname)
    return [(str(address), names) for address in addresses] if names else []
