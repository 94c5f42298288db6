"""Routing on the host: turned on for containers, and turned off again if it was the engine that did it."""

from dataclasses import replace
from typing import Final

from sampan.kernel.host import boot_id
from sampan.networks import apply
from sampan.networks.firewall.rules import ENGINE
from sampan.networks.model import Sysctl
from sampan.networks.store import NetworkStore

FORWARDING: Final = Sysctl(
    "net.ipv4.ip_forward", "1", ENGINE, "packets of containers are routed between bridge and world"
)


def enable_forwarding(store: NetworkStore) -> bool:
    """Turn routing on; tell whether the host was a router without us.

    That it was none is remembered with the boot's id: after a reboot, another program may be the reason.
    """
    boot = boot_id()
    if apply.read_sysctl(FORWARDING.key) == "0":
        store.save_host_setting(FORWARDING.key, boot)
        apply.apply_sysctl(FORWARDING)
    elif store.host_setting(FORWARDING.key) not in {None, boot}:
        store.save_host_setting(FORWARDING.key, None)
    return store.host_setting(FORWARDING.key) is None


def restore_forwarding(store: NetworkStore) -> None:
    """Turn routing off if ``enable_forwarding`` turned it on."""
    if store.host_setting(FORWARDING.key) is not None:
        apply.apply_sysctl(replace(FORWARDING, value="0"))
        store.save_host_setting(FORWARDING.key, None)
