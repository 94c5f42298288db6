"""The registry of network drivers."""

from typing import Final

from sampan.networks.driver import NetworkDriver
from sampan.networks.drivers.bridge import BridgeDriver
from sampan.networks.drivers.simple import HostDriver, NullDriver
from sampan.networks.drivers.sublink import IpvlanDriver, MacvlanDriver

_ALL: Final[tuple[NetworkDriver, ...]] = (
    BridgeDriver(),
    HostDriver(),
    IpvlanDriver(),
    MacvlanDriver(),
    NullDriver(),
)
DRIVERS: Final[dict[str, NetworkDriver]] = {driver.name: driver for driver in _ALL}
"""Drivers by the name that users give (``docker network create -d``)."""
