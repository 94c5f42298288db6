"""Networks on the command line: ``--network``, short and long, with the older options that belong to it."""

from sampan.cli.options.addresses import parse_address, parse_mac
from sampan.cli.options.ports import is_long_form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.parser import Flags

_NOT_USER_DEFINED = ("default", "bridge", "host", "none")


def parse_network(text: str) -> "dict[str, Any]":
    """Return the attachment that a value of ``--network`` asks for, in words of our own.

    Keys: ``name``; where given ``aliases``, ``ip``, ``ip6``, ``link_local_ips``, ``mac``, ``driver_opts``,
    ``gw_priority``. Text is taken in lower case in the long form, as Docker does. Raises ValueError.
    """
    if not is_long_form(text):
        return {"name": text}
    from sampan.cli.options.csv import split_record

    network: dict[str, Any] = {"name": ""}
    for field in split_record(text):
        key, equals, value = field.lower().partition("=")
        if not equals or not key:
            raise ValueError(f"invalid field {field}")
        key, value = key.strip(), value.strip()
        match key:
            case "name":
                network["name"] = value
            case "alias":
                network.setdefault("aliases", []).append(value)
            case "ip" | "ip6":
                network[key] = parse_address(value)
            case "mac-address":
                network["mac"] = value
            case "link-local-ip":
                network.setdefault("link_local_ips", []).append(parse_address(value))
            case "driver-opt":
                option, equals, setting = value.partition("=")
                if not equals or not option:
                    raise ValueError("invalid key value pair format in driver options")
                network.setdefault("driver_opts", {})[option.strip()] = setting.strip()
            case "gw-priority":
                network["gw_priority"] = _priority(value)
            case _:
                raise ValueError(f"invalid field key {key}")
    if not network["name"]:
        raise ValueError("network name/id is not specified")
    return network


def _priority(text: str) -> int:
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"invalid gw-priority ({text}): invalid syntax")
    if not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"invalid gw-priority ({text}): value out of range")
    return int(text)


def check_link(text: str) -> str:
    """Return a value of ``--link`` as it is. Raises ValueError."""
    split_link(text)
    return text


def split_link(text: str) -> tuple[str, str]:
    """Return container and alias of ``name[:alias]``, also of the engine's own ``/name:/other/alias``.

    Raises ValueError.
    """
    if not text:
        raise ValueError("empty string specified for links")
    name, colon, alias = text.partition(":")
    if ":" in alias:
        raise ValueError(f"bad format for links: {text}")
    if not colon:
        return text, text
    if name[:1] == "/":
        return name[1:], alias.rpartition("/")[2]
    return name, alias


def is_user_defined(name: str) -> bool:
    """Tell whether ``name`` is a network of the user's, not a mode of the engine's."""
    return name not in _NOT_USER_DEFINED and not name.startswith("container:")


def endpoints(flags: "Flags") -> "tuple[str, dict[str, dict[str, Any]]]":
    """Return HostConfig.NetworkMode and NetworkingConfig.EndpointsConfig.

    ``--ip``, ``--link``, ``--network-alias`` and their kin go to the first network. One network without any
    option needs no endpoint. Raises ValueError for options that do not fit together.
    """
    networks: list[dict[str, Any]] = flags["network"] or [{"name": "default"}]
    result: dict[str, dict[str, Any]] = {}
    user_defined = [is_user_defined(network["name"]) for network in networks]
    for at, network in enumerate(networks):
        if at == 0:
            network = _with_flags(network, flags)
        endpoint = _endpoint(network)
        if network["name"] in result:
            raise ValueError(f'network "{network["name"]}" is specified multiple times')
        if endpoint or len(networks) > 1 or not flags["network"]:
            result[network["name"]] = endpoint
    if any(user_defined) and not all(user_defined):
        raise ValueError(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    return networks[0]["name"], result


# Flag, key of an attachment, and what the key is called in the message of a conflict.
_OLDER = (
    ("network-alias", "aliases", "alias"),
    ("link", "links", "links"),
    ("ip", "ip", "IPv4 address"),
    ("ip6", "ip6", "IPv6 address"),
    ("mac-address", "mac", "MAC address"),
    ("link-local-ip", "link_local_ips", "link-local IP addresses"),
)


def _with_flags(network: "dict[str, Any]", flags: "Flags") -> "dict[str, Any]":
    """Return the first network with the options that have flags of their own. Raises ValueError."""
    merged = dict(network)
    for flag, key, words in _OLDER:
        value = flags[flag]
        if not value:
            continue
        if network.get(key):
            raise ValueError(f"conflicting options: cannot specify both --{flag} and per-network {words}")
        if key != "links" or is_user_defined(network["name"]):  # else a legacy link, in HostConfig
            merged[key] = value
    return merged


def _endpoint(network: "dict[str, Any]") -> "dict[str, Any]":
    """Return an attachment as the API's EndpointSettings, empty fields left out. Raises ValueError."""
    if not network["name"].strip():
        raise ValueError("no name set for network")
    if not is_user_defined(network["name"]):
        if network.get("aliases"):
            raise ValueError("network-scoped aliases are only supported for user-defined networks")
        if network.get("links"):
            raise ValueError("links are only supported for user-defined networks")
    endpoint: dict[str, Any] = {}
    addresses = {
        name: network[key]
        for key, name in (("ip", "IPv4Address"), ("ip6", "IPv6Address"), ("link_local_ips", "LinkLocalIPs"))
        if network.get(key)
    }
    if addresses:
        endpoint["IPAMConfig"] = addresses
    for key, name in (
        ("links", "Links"),
        ("aliases", "Aliases"),
        ("driver_opts", "DriverOpts"),
        ("gw_priority", "GwPriority"),
    ):
        if network.get(key):
            endpoint[name] = network[key]
    if mac := network.get("mac"):
        endpoint["MacAddress"] = parse_mac(mac)
        if endpoint["MacAddress"] is None:
            raise ValueError(f"{mac} is not a valid mac address")
    return endpoint
