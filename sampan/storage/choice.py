"""Which driver a storage root belongs to.

    <root>/driver       {"driver": "overlay2", "version": 1}: whose snapshots these are

The mark is made when a driver is first used here, and keeps one driver's data from being taken for another's.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.storage.catalogue import has_snapshots
from sampan.storage.driver import NO_OPTIONS, SnapshotDriver
from sampan.storage.drivers import DRIVERS

VERSION: Final = 1


class Mark(msgspec.Struct, frozen=True):
    """The content of the mark; ``version`` is that of the driver's layout on disk."""

    driver: str
    version: int


def open_driver(root: Path, wanted: str | None, options: Mapping[str, str] = NO_OPTIONS) -> SnapshotDriver:
    """Open the driver of the storage root ``root``: the one it belongs to, or ``wanted``, or the best one.

    A root without snapshots may change its driver. Raises InvalidParameter for an unknown ``wanted``, for one
    that is not the root's and for ``options`` that it does not have, HostFailure if the driver cannot work
    here or the root was made by a newer version.
    """
    by_name = {driver.name: driver for driver in DRIVERS}
    if wanted is not None and wanted not in by_name:
        raise InvalidParameter(f'driver not supported: "{wanted}" (supported: {", ".join(by_name)})')
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        mark = _read(root)
    except OSError as error:
        raise HostFailure(f"cannot open {root}: {error.strerror}") from error
    if mark is not None and mark.driver not in by_name:
        raise HostFailure(f'{root} holds data of the storage driver "{mark.driver}", which is not known here')
    if mark is not None and mark.version > VERSION:
        raise HostFailure(f"{root} has layout {mark.version}, this version knows {VERSION}")
    if mark is not None and wanted not in (None, mark.driver):
        if has_snapshots(os.path.join(root, mark.driver)):
            raise InvalidParameter(
                f'{root} holds data of the storage driver "{mark.driver}", not of "{wanted}": '
                f"choose that driver or another data root"
            )
        mark = None
    name = wanted or (mark.driver if mark is not None else _best(root, options))
    if (reason := by_name[name].supported(root, options)) is not None:
        if wanted is None:
            raise HostFailure(f"prior storage driver {name} failed: {reason}")
        raise HostFailure(f'storage driver "{name}" cannot be used: {reason}')
    driver = by_name[name](root, options)
    if mark is None:
        try:
            _write(root, Mark(name, VERSION))
        except OSError as error:
            raise HostFailure(f"cannot write to {root}: {error.strerror}") from error
    return driver


def known_options() -> dict[str, str]:
    """Return all options that some driver has, each with a line on what it does."""
    return {key: text for driver in DRIVERS for key, text in driver.options.items()}


def _best(root: Path, options: Mapping[str, str]) -> str:
    return next(driver.name for driver in DRIVERS if driver.supported(root, options) is None)


def _read(root: Path) -> Mark | None:
    try:
        with open(os.path.join(root, "driver"), "rb") as file:
            return msgspec.json.decode(file.read(), type=Mark)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise HostFailure(f"{os.path.join(root, 'driver')} cannot be read: {error}") from error


def _write(root: Path, mark: Mark) -> None:
    temporary = os.path.join(root, "driver.tmp")
    with open(temporary, "wb") as file:
        file.write(msgspec.json.encode(mark))
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, os.path.join(root, "driver"))
