"""The pool of the devicemapper driver: where it lies, how it fills up, what is left when it is unused."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.disks import SMALL_POOL, give_back, loop_files
from support.layers import Layer

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.kernel import devmapper
from sampan.kernel.loop import attach_file
from sampan.storage.drivers.devicemapper import DeviceMapper
from sampan.storage.mounting import put_on, take_off, underlying
from sampan.storage.unpack import unpack

pytestmark = pytest.mark.root

BASE = Layer().add("file", b"x").bytes()


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    if (reason := DeviceMapper.supported(tmp_path)) is not None:
        pytest.skip(reason)
    loops, devices = loop_files(), set(devmapper.names(""))
    yield
    assert loop_files() == loops
    assert set(devmapper.names("")) == devices


@pytest.fixture
def block_device(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two block devices, for data and metadata."""
    held, paths = [], []
    for name, size in (("data", 2 << 30), ("metadata", 16 << 20)):
        file = tmp_path / f"{name}.img"
        with file.open("wb") as image:
            image.truncate(size)
        fd, path = attach_file(str(file))
        held.append(fd)
        paths.append(path)
    yield paths[0], paths[1]
    for fd in held:
        os.close(fd)


def apply(driver: DeviceMapper, name: str, parent: str | None, layer: bytes = BASE) -> None:
    driver.prepare("work", parent)
    with underlying(driver, "work") as steps:
        unpack(steps, io.BytesIO(layer))
    driver.commit(name, "work")


def fill(path: Path, megabytes: int) -> None:
    with path.open("wb", 0) as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())


def test_a_pool_on_block_devices(tmp_path: Path, block_device: tuple[str, str]) -> None:
    data, metadata = block_device
    options = {"dm.datadev": data, "dm.metadatadev": metadata, "dm.basesize": "400M", "dm.fs": "xfs"}
    driver = DeviceMapper(tmp_path, options)
    apply(driver, "sha256:a", None)
    status = dict(driver.status())
    assert (status["Data file"], status["Metadata file"]) == block_device
    assert status["Backing Filesystem"] == "xfs"
    assert status["Base Device Size"] == "419.4MB"
    driver.close()
    assert devmapper.names("sampan-") == []
    again = DeviceMapper(tmp_path, options)
    assert [s.key for s in again.walk()] == ["sha256:a"]
    again.prepare("one", "sha256:a", size=600 << 20)
    root = Path(put_on(again, "one"))
    assert (root / "file").read_text() == "x"
    free = os.statvfs(root)
    assert 450 << 20 < free.f_blocks * free.f_frsize <= 600 << 20
    take_off(again, "one")
    give_back(again)


def test_a_pool_that_is_there_already(tmp_path: Path, block_device: tuple[str, str]) -> None:
    data, metadata = block_device
    sectors = (2 << 30) // 512
    devmapper.create("sampan-test-pool", sectors, "thin-pool", f"{metadata} {data} 128 0")
    try:
        options = {"dm.thinpooldev": "/dev/mapper/sampan-test-pool", "dm.basesize": "400M", "dm.fs": "ext4"}
        driver = DeviceMapper(tmp_path, options)
        apply(driver, "sha256:a", None)
        give_back(driver)
        assert devmapper.exists("sampan-test-pool")  # it is not ours
    finally:
        devmapper.remove("sampan-test-pool")


def test_a_pool_that_is_full(tmp_path: Path) -> None:
    options = {**SMALL_POOL, "dm.loopdatasize": "256M", "dm.fs": "ext4", "dm.min_free_space": "20%"}
    driver = DeviceMapper(tmp_path, options)
    apply(driver, "sha256:a", None)
    driver.prepare("one", "sha256:a")
    root = Path(put_on(driver, "one"))
    with pytest.raises(OSError, match=r"No space left|Input/output"):
        fill(root / "big", 300)
    with pytest.raises(
        HostFailure, match=r"devmapper: Thin Pool has \d+ free data blocks which is less than"
    ):
        driver.prepare("two", "sha256:a")
    take_off(driver, "one")
    driver.remove("one")
    driver.prepare("two", "sha256:a")  # there is room again
    assert (Path(put_on(driver, "two")) / "file").read_text() == "x"
    take_off(driver, "two")
    give_back(driver)


def test_sizes_and_options(tmp_path: Path) -> None:
    options = {**SMALL_POOL, "dm.fs": "ext4"}
    driver = DeviceMapper(tmp_path, options)
    apply(driver, "sha256:a", None)
    with pytest.raises(InvalidParameter, match=r"devmapper: Container size cannot be smaller than 419.4MB"):
        driver.prepare("small", "sha256:a", size=100 << 20)
    driver.close()
    with pytest.raises(InvalidParameter, match=r"Base device size 104.9MB cannot be smaller than 419.4MB"):
        DeviceMapper(tmp_path, {**options, "dm.basesize": "100M"})
    larger = DeviceMapper(tmp_path, {**options, "dm.basesize": "600M"})
    larger.prepare("one", None)
    root = Path(put_on(larger, "one"))
    free = os.statvfs(root)
    assert free.f_blocks * free.f_frsize > 500 << 20
    take_off(larger, "one")
    give_back(larger)
    for wrong, words in (
        ({"dm.fs": "reiserfs"}, "unsupported filesystem reiserfs"),
        ({"dm.nosuch": "1"}, "devicemapper: unknown option dm.nosuch"),
        ({"dm.datadev": "/dev/null"}, "dm.datadev and dm.metadatadev go together"),
        ({"dm.min_free_space": "half"}, "Invalid min_free_space half"),
        ({"dm.blocksize": "5K"}, "dm.blocksize is 64K to 1G"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            DeviceMapper(tmp_path, wrong)
    with pytest.raises(HostFailure, match="there is no device nosuch"):
        DeviceMapper(tmp_path, {"dm.thinpooldev": "nosuch"})


def test_a_snapshot_in_use_goes_down_with_its_last_user(tmp_path: Path) -> None:
    driver = DeviceMapper(tmp_path, {**SMALL_POOL, "dm.fs": "ext4"})
    driver.prepare("one", None)
    root = Path(put_on(driver, "one"))
    with (root / "file").open("w") as file:
        take_off(driver, "one")  # lazily: it is busy
        assert len(devmapper.names("sampan-")) == 2
        driver.close()
        assert len(devmapper.names("sampan-")) >= 1
        file.write("late")
    root = Path(put_on(driver, "one"))
    assert (root / "file").read_text() == "late"
    take_off(driver, "one")
    give_back(driver)
