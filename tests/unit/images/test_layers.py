"""Layers: decompressed and hashed beside the unpacking, verified before anything is committed."""

import asyncio
import gzip
import threading
from io import BytesIO
from typing import BinaryIO

import pytest
from support.image_archives import FakeApplied, FakeStorage, digest, layer

from sampan.base.errors import HostFailure
from sampan.images.compression import Limits
from sampan.images.errors import InvalidArchive, TooLarge, WrongDigest
from sampan.images.layers import Layers, Readable
from sampan.oci.digest import Digest

TAR = layer("file")
DIFF = Digest.of(TAR)


class Blob:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.digest = Digest.of(data)
        self.size = len(data)

    def open(self) -> BinaryIO:
        return BytesIO(self.data)


def ensure(
    storage: FakeStorage, data: bytes, diff_id: Digest = DIFF, limits: Limits | None = None
) -> int | None:
    async def main() -> int | None:
        return await Layers(storage, limits).ensure(diff_id, None, diff_id, Blob(data))

    before = threading.active_count()
    try:
        return asyncio.run(main())
    finally:
        assert threading.active_count() <= before + 1  # the pool may have grown, a layer's own thread has not


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_unpack(pack: type[bytes]) -> None:
    storage = FakeStorage()
    assert ensure(storage, pack(TAR)) == 4
    assert ensure(storage, pack(TAR)) is None
    assert storage.snapshots == {DIFF: (None, ["file"])}


def test_layers_longer_than_the_queue() -> None:
    storage = FakeStorage()
    data = TAR + bytes(40 << 20)
    assert ensure(storage, gzip.compress(data, 1), Digest.of(data)) == 4


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (layer("other"), WrongDigest),
        (gzip.compress(layer("other")), WrongDigest),
        (gzip.compress(TAR)[:-4], InvalidArchive),
        (gzip.compress(TAR)[:40] + b"xxxx" + gzip.compress(TAR)[44:], InvalidArchive),
    ],
)
def test_wrong_layers(data: bytes, error: type[Exception]) -> None:
    storage = FakeStorage()
    with pytest.raises(error):
        ensure(storage, data)
    assert not storage.snapshots


def test_bombs() -> None:
    data = TAR + bytes(40 << 20)
    with pytest.raises(TooLarge):
        ensure(FakeStorage(), gzip.compress(data, 1), Digest.of(data), Limits(floor=1 << 20, ratio=50))


def test_storage_that_stops_in_the_middle() -> None:
    class Full(FakeStorage):
        def apply(self, chain_id: str, parent: str | None, tar: Readable) -> FakeApplied:
            assert len(tar.read(100)) <= 100
            raise HostFailure("no space left on device")

    data = TAR + bytes(40 << 20)
    with pytest.raises(HostFailure, match="no space left"):
        ensure(Full(), gzip.compress(data, 1), Digest.of(data))


def test_leases_keep_snapshots() -> None:
    storage = FakeStorage()

    async def main() -> None:
        layers = Layers(storage)
        await layers.ensure("one", None, DIFF, Blob(TAR))
        await layers.ensure("two", "one", DIFF, Blob(TAR))
        async with layers.leased(["one"]):
            assert await layers.drop(["two", "one"], lambda _: False) == ["two"]
        assert await layers.drop(["two", "one"], lambda chain_id: chain_id == "one") == []
        assert await layers.drop(["two", "one"], lambda _: False) == ["one"]

    asyncio.run(main())
    assert not storage.snapshots


def test_progress() -> None:
    shown: list[tuple[int, int]] = []
    started = threading.Event()

    class Slow(FakeStorage):
        def apply(self, chain_id: str, parent: str | None, tar: Readable) -> FakeApplied:
            tar.read(10)
            assert started.wait(10)
            return super().apply(chain_id, parent, BytesIO(TAR))

    def show(current: int, total: int) -> None:
        shown.append((current, total))
        started.set()

    async def main() -> None:
        await Layers(Slow()).ensure(DIFF, None, DIFF, Blob(TAR), show)

    asyncio.run(main())
    assert shown[0] == (10, len(TAR))
    assert shown[-1] == (len(TAR), len(TAR))
    assert digest(TAR) == DIFF
