"""Showing snapshots: what a driver's mounts need is brought up first, and taken down last.

Everything here blocks and raises OSError.
"""

import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sampan.kernel.mount import Mount, is_mount_point, mount, umount
from sampan.storage.driver import NeedsAttaching, SnapshotDriver, SnapshotNotFound

_log = logging.getLogger(__name__)


def put_on(driver: SnapshotDriver, key: str) -> str:
    """Mount ``key`` unless it is mounted, and return its root; nothing stays on failure."""
    steps = driver.mounts(key)
    target = steps[-1].target
    if not is_mount_point(target):
        _bring_up(driver, key, steps)
    return target


def take_off(driver: SnapshotDriver, key: str) -> None:
    """Unmount ``key`` wherever it is mounted; one that is not, or not there, is no error."""
    try:
        steps = driver.mounts(key)
    except SnapshotNotFound:
        return
    _take_down(driver, key, steps)


@contextmanager
def underlying(driver: SnapshotDriver, key: str) -> Iterator[Sequence[Mount]]:
    """Yield the mounts of active ``key``, all but the last done: ``unpack`` writes below that one."""
    steps = driver.mounts(key)
    try:
        if len(steps) > 1 or isinstance(driver, NeedsAttaching):
            _bring_up(driver, key, steps[:-1])
        yield steps
    finally:
        if len(steps) > 1 or isinstance(driver, NeedsAttaching):
            _take_down(driver, key, steps[:-1])


def _bring_up(driver: SnapshotDriver, key: str, steps: Sequence[Mount]) -> None:
    try:
        if isinstance(driver, NeedsAttaching):
            driver.attach(key)
        for step in steps:
            _log.debug("%s", step)
            mount(step)
    except BaseException:
        _take_down(driver, key, steps)
        raise


def _take_down(driver: SnapshotDriver, key: str, steps: Sequence[Mount]) -> None:
    for step in reversed(steps):
        _unmount(step.target)
    if isinstance(driver, NeedsAttaching):
        driver.detach(key)


def _unmount(target: str) -> None:
    """Unmount everything stacked at ``target``; what is busy goes when its last user goes."""
    while is_mount_point(target):
        try:
            umount(target)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            umount(target, lazy=True)
