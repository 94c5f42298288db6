"""The address pools of ``network create``: which range, gateway and address belongs to which subnet.

The rules and the words are docker/cli's (cli/command/network/create.go); pools are in the order of
``--subnet``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def pools(
    subnets: list[str], ranges: list[str], gateways: list[str], reserved: "dict[str, str]"
) -> "list[dict[str, Any]]":
    """Return IPAM.Config, ``reserved`` being ``{name: address}``. Raises ValueError."""
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise ValueError("every ip-range or gateway must have a corresponding subnet")
    made: dict[str, dict[str, Any]] = {}
    for subnet in subnets:
        if any(_holds(subnet, other) or _holds(other, subnet) for other in made):
            raise ValueError("multiple overlapping subnet configuration is not supported")
        made[subnet] = {"Subnet": subnet}
    for text in ranges:
        for subnet in _matching(subnets, text, "range"):
            if "IPRange" in made[subnet]:
                held = made[subnet]["IPRange"]
                raise ValueError(
                    f"cannot configure multiple ranges ({text}, {held}) on the same subnet ({subnet})"
                )
            made[subnet]["IPRange"] = text
    for text in gateways:
        for subnet in _matching(subnets, text, "gateway"):
            if "Gateway" in made[subnet]:
                held = made[subnet]["Gateway"]
                raise ValueError(
                    f"cannot configure multiple gateways ({text}, {held}) for the same subnet ({subnet})"
                )
            made[subnet]["Gateway"] = text
    for name, text in reserved.items():
        for subnet in _matching(subnets, text, "aux-address"):
            made[subnet].setdefault("AuxiliaryAddresses", {})[name] = text
    return list(made.values())


def _matching(subnets: list[str], text: str, what: str) -> list[str]:
    found = [subnet for subnet in subnets if _holds(subnet, text)]
    if not found:
        raise ValueError(f"no matching subnet for {what} {text}")
    return found


def _holds(subnet: str, text: str) -> bool:
    """Tell whether an address or the address of a prefix is in ``subnet``. Raises ValueError."""
    from ipaddress import ip_address, ip_network

    try:
        network = ip_network(subnet, strict=False)
        if "/" not in subnet:
            raise ValueError
    except ValueError:
        raise ValueError(f"invalid subnet: invalid CIDR address: {subnet}") from None
    try:
        address = ip_address(text.partition("/")[0])
    except ValueError:
        raise ValueError(
            f"invalid CIDR address: {text}" if "/" in text else f"invalid address: {text}"
        ) from None
    return address.version == network.version and address in network
