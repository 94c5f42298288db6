"""``--sysctl``: kernel parameters of a container's own namespaces."""

from collections.abc import Mapping
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.runtime.namespaces import container_of, is_host
from sampan.wire.containers import HostConfig

# runc libcontainer/configs/validate: what lies in an IPC namespace
_IPC: Final = frozenset(
    f"kernel.{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
_OWN_FIELDS: Final = {"kernel.domainname": "domainname", "kernel.hostname": "hostname"}
# What Docker sets in a network namespace of a container's own (moby daemon/oci_linux.go)
NETWORK_DEFAULTS: Final[Mapping[str, str]] = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


def check_sysctls(host: HostConfig) -> None:
    """Raise InvalidParameter for a parameter that is not the container's alone."""
    for key in host.sysctls or {}:
        name = key.replace("/", ".")
        if name in _OWN_FIELDS:
            if name == "kernel.domainname" and not is_host(host.uts_mode):
                continue
            raise InvalidParameter(
                f'sysctl "{key}" is not allowed as it conflicts with the OCI "{_OWN_FIELDS[name]}" field'
            )
        if name in _IPC or name.startswith("fs.mqueue."):
            if is_host(host.ipc_mode):
                raise InvalidParameter(f'sysctl "{key}" is not allowed in the hosts ipc namespace')
        elif name.startswith("net."):
            if is_host(host.network_mode):
                raise InvalidParameter(f'sysctl "{key}" not allowed in host network namespace')
        else:
            raise InvalidParameter(f'sysctl "{key}" is not in a separate kernel namespace')


def plan_sysctls(host: HostConfig, domainname: str, *, own_network: bool) -> dict[str, str]:
    """Return the parameters of a container: Docker's defaults, the NIS domain, then its own."""
    planned = dict(NETWORK_DEFAULTS) if own_network and container_of(host.network_mode) is None else {}
    if domainname and not is_host(host.uts_mode):
        planned["kernel.domainname"] = domainname
    return planned | (host.sysctls or {})
