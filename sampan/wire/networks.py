"""Networks in the Docker Engine API's JSON: lists, inspection, and the body that creates one."""

import msgspec
from msgspec import field

from sampan.wire.containers import EndpointSettings


class IpamConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One address pool of a network; empty fields are chosen by the engine."""

    subnet: str = ""
    ip_range: str = field(default="", name="IPRange")
    gateway: str = ""
    aux_address: dict[str, str] | None = field(default=None, name="AuxiliaryAddresses")


class Ipam(msgspec.Struct, rename="pascal"):
    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IpamConfig] | None = None


class ConfigReference(msgspec.Struct, rename="pascal"):
    network: str = ""


class NetworkContainer(msgspec.Struct, rename="pascal"):
    """A container attached to an inspected network; addresses with their prefix length."""

    name: str = ""
    endpoint_id: str = field(default="", name="EndpointID")
    mac_address: str = ""
    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")


class Network(msgspec.Struct, rename="pascal"):
    """GET /networks/{id}, and each entry of GET /networks (where Containers is empty)."""

    name: str
    id: str
    created: str
    scope: str
    driver: str
    enable_ipv4: bool = field(name="EnableIPv4")
    enable_ipv6: bool = field(name="EnableIPv6")
    ipam: Ipam = field(name="IPAM")
    internal: bool
    attachable: bool
    ingress: bool
    config_from: ConfigReference
    config_only: bool
    containers: dict[str, NetworkContainer]
    options: dict[str, str]
    labels: dict[str, str]


class CreateNetwork(msgspec.Struct, rename="pascal"):
    """Body of POST /networks/create."""

    name: str = ""
    driver: str = ""
    scope: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    ipam: Ipam | None = field(default=None, name="IPAM")
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = field(default=None, name="EnableIPv6")
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    check_duplicate: bool | None = None


class ConnectContainer(msgspec.Struct, rename="pascal"):
    """Body of POST /networks/{id}/connect."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class DisconnectContainer(msgspec.Struct, rename="pascal"):
    """Body of POST /networks/{id}/disconnect; Force: also a container that is no more."""

    container: str = ""
    force: bool = False


class CreatedNetwork(msgspec.Struct, rename="pascal"):
    id: str
    warning: str = ""
