"""The daemon's settings in the forms that the parts of the engine take."""

from collections.abc import Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    NetmaskValueError,
    ip_address,
)
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sampan.api.system import EngineSettings
from sampan.base.errors import InvalidParameter
from sampan.containers.create import Defaults
from sampan.kernel.host import HostFacts
from sampan.networks.config import DEFAULT_POOLS, NetworkConfig
from sampan.registry.proxies import parse_proxy
from sampan.registry.settings import RegistrySettings
from sampan.runtime.seccomp_profile import DEFAULT, UNCONFINED, parse_profile

if TYPE_CHECKING:
    from sampan.daemon.config import Config

_MAX_DOMAIN: Final = 255


def network_config(config: "Config") -> NetworkConfig:
    """Return what the network service takes. Raises InvalidParameter for an address that is none."""
    if config.bridge and config.bridge != "none" and config.bip:
        raise InvalidParameter(
            "You specified -b & --bip, mutually exclusive options. Please specify only one"
        )
    if config.publish_default_host and config.ip != "0.0.0.0":  # noqa: S104
        raise InvalidParameter(
            "You specified --ip & --publish-default-host, mutually exclusive options. Please specify only one"
        )
    for address in (*config.dns, *(a for a in config.host_gateway_ip if a)):
        _address(address)
    for domain in config.dns_search:
        if domain != "." and (not domain.strip(".") or len(domain) > _MAX_DOMAIN or " " in domain):
            raise InvalidParameter(f"{domain} is not a valid domain")
    return NetworkConfig(
        bridge=config.bridge,
        bip=_interface(config.bip) if config.bip else None,
        fixed_cidr=_network(config.fixed_cidr) if config.fixed_cidr else None,
        mtu=config.mtu or 1500,
        icc=config.icc,
        ip_forward=config.ip_forward,
        ip_masq=config.ip_masq,
        iptables=config.iptables,
        userland_proxy=config.userland_proxy,
        ip=_ipv4(config.publish_default_host or config.ip),
        publish_host=_ipv4(config.publish_default_host or "0.0.0.0"),  # noqa: S104 - Docker's default
        dns=tuple(config.dns),
        dns_search=tuple(config.dns_search),
        dns_options=tuple(config.dns_opt),
        host_gateway_ip=tuple(config.host_gateway_ip),
        default_address_pools=_pools(config.default_address_pool) or DEFAULT_POOLS,
    )


def registry_settings(config: "Config") -> RegistrySettings:
    """Return what the registry client takes. Raises InvalidParameter in dockerd's words."""
    proxies = {
        "HTTP_PROXY": config.http_proxy,
        "HTTPS_PROXY": config.https_proxy,
        "NO_PROXY": config.no_proxy,
    }
    for url in (config.http_proxy, config.https_proxy):
        if url:
            parse_proxy(url)
    return RegistrySettings.parse(
        insecure=config.insecure_registry,
        mirrors=config.registry_mirror,
        max_downloads=config.max_concurrent_downloads,
        max_uploads=config.max_concurrent_uploads,
        max_attempts=config.max_download_attempts,
        proxies={name: value for name, value in proxies.items() if value},
    )


def _address(text: str) -> None:
    try:
        ip_address(text.partition("%")[0])
    except ValueError as error:
        raise InvalidParameter(f"{text} is not an ip address") from error


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise InvalidParameter(f"{text} is not an ip address") from error


def _interface(text: str) -> IPv4Interface:
    try:
        if "/" not in text:
            raise AddressValueError
        return IPv4Interface(text)
    except (AddressValueError, NetmaskValueError) as error:
        raise InvalidParameter(f"invalid CIDR address: {text}") from error


def _network(text: str) -> IPv4Network:
    return _interface(text).network


def _pools(pools: Sequence[tuple[str, int]]) -> tuple[tuple[IPv4Network, int], ...]:
    found = []
    for base, size in pools:
        network = _network(base)
        if not network.prefixlen <= size <= 30:
            raise InvalidParameter(f"invalid default address pool: base {base}, size {size}")
        found.append((network, size))
    return tuple(found)


def read_seccomp_profile(name: str) -> str:
    """Return the daemon's profile: ``builtin``, ``unconfined``, or the text of the file ``name``.

    Raises InvalidParameter.
    """
    if name in {"", DEFAULT, UNCONFINED}:
        return name or DEFAULT
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InvalidParameter(f"opening seccomp profile ({name}) failed: {error}") from error
    parse_profile(text)
    return text


def container_defaults(config: "Config", facts: HostFacts) -> Defaults:
    """Return what holds for containers that do not say it themselves."""
    return Defaults(
        runtime=config.default_runtime,
        log_driver=config.log_driver,
        log_options=dict(config.log_opt),
        shm_size=config.default_shm_size,
        cgroup_parent=config.cgroup_parent,
        cgroupns_mode=config.default_cgroupns_mode or facts.cgroupns_mode,
        ipc_mode=config.default_ipc_mode,
        init=config.init,
        init_path=config.init_path,
        no_new_privileges=config.no_new_privileges,
        ulimits=tuple(config.default_ulimit),
    )


def engine_settings(config: "Config", engine_id: str) -> EngineSettings:
    """Return what ``info`` shows of the settings."""
    warnings = [
        f"WARNING: API is accessible on http://{host.place}:{host.port} without encryption.\n"
        "         Access to the remote API is equivalent to root access on the host."
        for host in config.hosts
        if host.kind == "tcp" and not config.uses_tls
    ]
    return EngineSettings(
        id=engine_id,
        data_root=str(config.data_root),
        labels=tuple(config.label),
        debug=config.debug,
        log_driver=config.log_driver,
        runtimes=config.runtimes,
        default_runtime=config.default_runtime,
        init_path=config.init_path,
        no_new_privileges=config.no_new_privileges,
        cgroupns_mode=config.default_cgroupns_mode,
        seccomp_profile="" if config.seccomp_profile == DEFAULT else config.seccomp_profile,
        pools=tuple(config.default_address_pool),
        registries=registry_settings(config),
        warnings=tuple(warnings),
    )
