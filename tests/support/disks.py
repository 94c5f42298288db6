"""File systems of the tests' own: on loop devices over sparse files, and what drivers need around them."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sampan.kernel.commands import find_command
from sampan.kernel.loop import attach_file
from sampan.kernel.mount import Mount, mount, umount
from sampan.storage.driver import HoldsHost, SnapshotDriver
from sampan.storage.drivers import DRIVERS

MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "ext4-quota": ("mkfs.ext4", "-q", "-F", "-O", "quota,project"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
    "xfs-quota": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
OPTIONS = {"ext4-quota": ("prjquota",), "xfs-quota": ("pquota",)}


@dataclass(frozen=True)
class Place:
    """A driver, the file system that its root lies on ("": whatever carries the tests), and its options."""

    driver: str
    disk: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.driver}@{self.disk}" if self.disk else self.driver

    @property
    def kind(self) -> type[SnapshotDriver]:
        return next(d for d in DRIVERS if d.name == self.driver)


SMALL_POOL = {"dm.basesize": "400M", "dm.loopdatasize": "4G", "dm.loopmetadatasize": "32M"}

PLACES = (
    Place("overlay2"),
    Place("overlay2", "xfs-quota"),
    Place("overlay2", "ext4-quota"),
    Place("btrfs", "btrfs"),
    Place("zfs", "zfs"),
    Place("aufs"),
    Place("fuse-overlayfs"),
    Place("vfs"),
    Place("vfs", "xfs"),
    Place("devicemapper", options={**SMALL_POOL, "dm.fs": "ext4"}),
)
"""Every driver in the surroundings that it is meant for: ``tests/contract`` runs each case in each."""


@contextmanager
def disk(kind: str, folder: Path, size: int = 2 << 30) -> Iterator[Path]:
    """Yield the root of a fresh file system ``kind``; skip the test where none can be made."""
    if kind == "zfs":
        with zpool(folder, size) as root:
            yield root
        return
    program, *arguments = MKFS[kind]
    if find_command(program) is None:
        pytest.skip(f"{program} is not installed")
    image, root = folder / f"{kind}.img", folder / kind
    with image.open("wb") as file:
        file.truncate(size)
    root.mkdir()
    subprocess.run([str(find_command(program)), *arguments, str(image)], check=True, capture_output=True)
    fd, device = attach_file(str(image))
    try:
        mount(Mount(kind.partition("-")[0], device, str(root), OPTIONS.get(kind, ())))
    except OSError as error:
        pytest.skip(f"{kind} cannot be mounted: {error.strerror}")
    finally:
        os.close(fd)
    try:
        yield root
    finally:
        umount(root)
        image.unlink()


@contextmanager
def zpool(folder: Path, size: int) -> Iterator[Path]:
    """Yield the root of a fresh zfs pool; skip the test where there is no zfs."""
    zpool = shutil.which("zpool")
    if zpool is None or not Path("/dev/zfs").exists():
        pytest.skip("zfs: there is no zpool command or no module")
    image, root = folder / "zfs.img", folder / "zfs"
    with image.open("wb") as file:
        file.truncate(size)
    name = f"sampan{uuid.uuid4().hex[:8]}"
    command = [zpool, "create", "-O", "acltype=posix", "-O", "xattr=sa", "-m", str(root), name, str(image)]
    subprocess.run(command, check=True)
    try:
        yield root
    finally:
        subprocess.run([zpool, "destroy", "-f", name], check=True)
        image.unlink()


class Disks:
    """The file systems of a test session, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._roots: dict[str, Path] = {}
        self._missing: dict[str, str] = {}
        self._open: list[Iterator[Path]] = []

    def root(self, kind: str) -> Path:
        """Return a new, empty directory on the file system ``kind``."""
        if kind in self._missing:
            pytest.skip(self._missing[kind])
        if kind not in self._roots:
            held = _held(kind, self._folder)
            try:
                self._roots[kind] = next(held)
            except pytest.skip.Exception as reason:
                self._missing[kind] = str(reason)
                raise
            self._open.append(held)
        directory = self._roots[kind] / uuid.uuid4().hex[:12]
        directory.mkdir()
        return directory

    def close(self) -> None:
        for held in reversed(self._open):
            for _ in held:
                pass


def _held(kind: str, folder: Path) -> Iterator[Path]:
    with disk(kind, folder) as root:
        yield root


def give_back(driver: SnapshotDriver) -> None:
    """Remove every snapshot of ``driver``, and what it holds of the host."""
    for snapshot in reversed(list(driver.walk())):
        driver.remove(snapshot.key)
    if isinstance(driver, HoldsHost):
        driver.close()


def loop_files() -> set[str]:
    """Return the files that are loop devices."""
    return {path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")}


def helpers() -> set[str]:
    """Return the pids of programs that provide file systems."""
    return {
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/comm")
        if _read(path) == "fuse-overlayfs" and _read(path.parent / "cmdline")
    }


def _read(path: Path) -> str:
    try:
        return path.read_text().strip("\0\n")
    except OSError:
        return ""
