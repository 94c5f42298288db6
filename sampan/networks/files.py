"""The three files that a sandbox gives its container: hosts, hostname, resolv.conf."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure
from sampan.kernel.links import IpAddress
from sampan.networks import hosts, resolv
from sampan.networks.config import NetworkConfig
from sampan.networks.dns.service import ADDRESS as RESOLVER
from sampan.networks.request import SandboxRequest

_RESOLVER_OPTIONS: Final = ("ndots:0",)
_HOST_HOSTS: Final = Path("/etc/hosts")


def write_files(
    request: SandboxRequest,
    config: NetworkConfig,
    *,
    on_host: bool,
    ipv6: bool,
    addresses: Sequence[IpAddress],
    gateways: Sequence[str],
    resolver: bool = False,
) -> None:
    """Write the files of ``request``. ``on_host``: the sandbox is the host's namespace.

    ``ipv6``: the sandbox has ``::1``. ``addresses`` are its own. ``resolver``: names are the engine's
    resolver's business. Raises HostFailure.
    """
    try:
        _write(request.files / "hostname", f"{request.hostname}\n")
        found = _hosts(request, on_host=on_host, ipv6=ipv6, addresses=addresses, gateways=gateways)
        _write(request.files / "hosts", found)
        text = _resolv(request, config, on_host=on_host, addresses=addresses, resolver=resolver)
        _write(request.files / "resolv.conf", text)
    except OSError as error:
        raise HostFailure(f"cannot write {error.filename}: {error.strerror}") from error


def change_files(
    request: SandboxRequest,
    config: NetworkConfig,
    *,
    before: Sequence[IpAddress],
    after: Sequence[IpAddress],
    resolver: tuple[bool, bool],
) -> None:
    """Follow a change of networks in the files of a running container; ``resolver``: had it one, has it one.

    What the container itself wrote stays: its own addresses are put in or taken out of ``hosts``, and
    ``resolv.conf`` changes only if it is still what the engine wrote. Raises HostFailure.
    """
    try:
        path = request.files / "hosts"
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
        gone = [f"{address}\t" for address in before if address not in after]
        kept = [line for line in lines if not line.startswith(tuple(gone))] if gone else lines
        new = hosts.own_records(
            [address for address in after if address not in before], request.hostname, request.domainname
        )
        kept += [f"{address}\t{names}\n" for address, names in new]
        _write(path, "".join(kept))
        had, has = (
            _resolv(request, config, on_host=False, addresses=addresses, resolver=own)
            for addresses, own in zip((before, after), resolver, strict=True)
        )
        path = request.files / "resolv.conf"
        if had != has and path.read_text(encoding="utf-8", errors="surrogateescape") == had:
            _write(path, has)
    except OSError as error:
        raise HostFailure(f"cannot write {error.filename}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """Make ``text`` the content of ``path``.

    Not truncated first: ext4 writes a file out at once that is emptied and filled again (ext4(5),
    auto_da_alloc), which takes longer than all the rest of a sandbox.
    """
    data = text.encode("utf-8", "surrogateescape")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, data)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def _hosts(
    request: SandboxRequest,
    *,
    on_host: bool,
    ipv6: bool,
    addresses: Sequence[IpAddress],
    gateways: Sequence[str],
) -> str:
    extra = hosts.parse_extra_hosts(request.extra_hosts, gateways) + hosts.parse_links(request.links)
    if on_host and not extra:
        try:
            return _HOST_HOSTS.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return hosts.render_hosts([], ipv6=ipv6)
    own = hosts.own_records(addresses, request.hostname, request.domainname)
    return hosts.render_hosts([*extra, *own], ipv6=ipv6)


def _resolv(
    request: SandboxRequest,
    config: NetworkConfig,
    *,
    on_host: bool,
    addresses: Sequence[IpAddress],
    resolver: bool,
) -> str:
    return _resolv_text(
        resolv.read_host(follow_systemd=not on_host),
        tuple(request.dns or config.dns),
        tuple(request.dns_search or config.dns_search),
        tuple(request.dns_options or config.dns_options),
        on_host=on_host,
        ipv6=any(address.version == 6 for address in addresses),
        resolver=resolver,
    )


@lru_cache(maxsize=16)
def _resolv_text(
    host: resolv.Resolv,
    servers: tuple[str, ...],
    search: tuple[str, ...],
    options: tuple[str, ...],
    *,
    on_host: bool,
    ipv6: bool,
    resolver: bool,
) -> str:
    """Return the text of resolv.conf: nearly always the same for every container."""
    made = host.overridden(servers or None, search or None, options or None)
    if resolver:
        return made.for_own_resolver(RESOLVER, _RESOLVER_OPTIONS).render(resolv.HEADER)
    return (made if on_host else made.for_default_bridge(ipv6=ipv6)).render(resolv.HEADER)
