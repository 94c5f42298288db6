import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.layers import Layer
from support.loops import on_loop
from support.trees import describe

from sampan.base import faults
from sampan.base.errors import Conflict, HostFailure, InvalidParameter, NotFound
from sampan.base.outflow import in_memory
from sampan.kernel.mount import is_mount_point, mounts, umount
from sampan.storage.driver import Change
from sampan.storage.service import StorageService

pytestmark = pytest.mark.root

BASE = Layer().dir("etc").add("etc/conf", b"conf").add("file", b"file").bytes()


@pytest.fixture
def base(storage: StorageService) -> str:
    storage.apply("sha256:base", None, io.BytesIO(BASE))
    return "sha256:base"


@on_loop
async def test_the_life_of_a_container(storage: StorageService, base: str) -> None:
    await storage.prepare("box", base)
    root = await storage.mount("box")
    assert await storage.mount("box") == root
    (root / "etc/new").write_text("n")
    (root / "file").unlink()
    want = [Change("/etc", 0), Change("/etc/new", 1), Change("/file", 2)]
    assert await storage.changes("box") == want
    assert (await storage.usage("box")).size == 1
    await storage.unmount("box")
    await storage.unmount("box")
    assert not is_mount_point(root)
    assert await storage.changes("box") == want
    with pytest.raises(Conflict, match="children"):
        await storage.remove(base)
    await storage.mount("box")
    await storage.remove("box")
    await storage.remove("box")
    await storage.unmount("box")
    assert not storage.exists("box")
    with pytest.raises(NotFound, match="box"):
        await storage.mount("box")
    await storage.remove(base)
    assert list(storage.driver.walk()) == []


@on_loop
async def test_what_the_engine_puts_in_is_no_change(storage: StorageService, base: str) -> None:
    await storage.prepare("box", base)
    root = await storage.mount("box")
    (root / "etc/hosts").touch()
    (root / "dev").mkdir()
    ignore = ["/etc/hosts", "/dev", "/proc"]
    assert await storage.changes("box", ignore=ignore) == []
    (root / "dev/null").touch()
    assert await storage.changes("box", ignore=ignore) == [Change("/dev", 1), Change("/dev/null", 1)]
    with tarfile.open(fileobj=io.BytesIO(b"".join(storage.diff("box", base, ignore=ignore)))) as tar:
        assert "etc/hosts" not in tar.getnames()
        assert "dev/null" in tar.getnames()
    await storage.remove("box")


@on_loop
async def test_many_containers_at_once(storage: StorageService, base: str) -> None:
    async def live(name: str) -> None:
        await storage.prepare(name, base)
        root = await storage.mount(name)
        (root / "mine").write_text(name)
        assert await storage.changes(name) == [Change("/mine", 1)]
        await storage.unmount(name)
        root = await storage.mount(name)
        assert (root / "mine").read_text() == name
        await storage.remove(name)

    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(live(f"box{number}"))
    assert [s.key for s in storage.driver.walk()] == [base]


@on_loop
async def test_calls_for_one_key_wait_for_each_other(storage: StorageService, base: str) -> None:
    await storage.prepare("box", base)
    results = await asyncio.gather(
        storage.mount("box"),
        storage.usage("box"),
        storage.remove("box"),
        storage.mount("box"),
        storage.prepare("box", base),
        storage.mount("box"),
        return_exceptions=True,
    )
    assert isinstance(results[3], NotFound)
    assert [r for n, r in enumerate(results) if isinstance(r, BaseException) and n != 3] == []
    await storage.remove("box")


def test_a_layer_is_applied_by_several_threads_at_once(storage: StorageService) -> None:
    barrier = threading.Barrier(4)

    def apply() -> int:
        barrier.wait()
        return storage.apply("sha256:same", None, io.BytesIO(BASE)).size

    with ThreadPoolExecutor(4) as pool:
        sizes = [f.result() for f in [pool.submit(apply) for _ in range(4)]]
    assert sizes == [8] * 4
    assert [s.key for s in storage.driver.walk()] == ["sha256:same"]


def test_an_applied_layer_is_not_applied_again_but_read_to_the_end(
    storage: StorageService, base: str
) -> None:
    source = io.BytesIO(b"not even a tar")
    assert storage.apply(base, None, source).size == 8
    assert source.read() == b""


def test_a_missing_parent(storage: StorageService) -> None:
    with pytest.raises(NotFound, match="sha256:none"):
        storage.apply("sha256:a", "sha256:none", io.BytesIO(BASE))


@on_loop
async def test_export_mounts_only_as_long_as_it_must(storage: StorageService, base: str) -> None:
    await storage.prepare("box", base)
    for key in ("box", base):
        pieces = in_memory(storage.export(key))
        first = next(pieces)
        with tarfile.open(fileobj=io.BytesIO(first + b"".join(pieces))) as tar:
            assert tar.getnames() == ["etc", "etc/conf", "file"]
    root = await storage.mount("box")
    pieces = in_memory(storage.export("box"))
    next(pieces)
    pieces.close()
    assert is_mount_point(root)
    pieces = in_memory(storage.export("box"))
    next(pieces)
    await storage.unmount("box")
    assert is_mount_point(root)
    list(pieces)
    assert not is_mount_point(root)
    await storage.remove("box")


@on_loop
async def test_a_busy_container_is_unmounted_all_the_same(storage: StorageService, base: str) -> None:
    await storage.prepare("box", base)
    root = await storage.mount("box")
    with (root / "file").open() as file:
        await storage.unmount("box")
        assert not is_mount_point(root)
        assert file.read() == "file"
        assert (await storage.mount("box")) == root
    await storage.remove("box")


@on_loop
async def test_a_mount_that_fails_leaves_nothing(storage: StorageService, base: str) -> None:
    await storage.prepare("box", base)
    target = Path(storage.driver.mounts("box")[-1].target)
    target.rmdir()
    with pytest.raises(HostFailure, match=r"cannot mount snapshot box: .*No such file or directory"):
        await storage.mount("box")
    target.mkdir()
    await storage.mount("box")
    await storage.remove("box")


@on_loop
async def test_another_process_finds_everything(storage: StorageService, base: str, tmp_path: Path) -> None:
    await storage.prepare("box", base)
    root = await storage.mount("box")
    (root / "x").write_text("x")
    again = StorageService(tmp_path / "root")
    assert again.name == storage.name
    assert await again.mount("box") == root
    assert sum(1 for m in mounts() if m.target == str(root)) == 1
    assert await again.changes("box") == [Change("/x", 1)]
    assert again.recover(["box"]) == []
    assert is_mount_point(root)
    assert again.recover([base]) == ["box"]
    assert not is_mount_point(root)
    assert again.recover([]) == [base]


@pytest.mark.parametrize("point", ["storage.create", "storage.apply", "storage.commit", "storage.remove"])
def test_a_fault_at_every_step(storage: StorageService, base: str, point: str) -> None:
    def work() -> None:
        storage.apply("sha256:b", base, Layer().add("b").stream())
        asyncio.run(storage.remove("sha256:b"))

    faults.arm(point)
    try:
        with pytest.raises(faults.InjectedFault):
            work()
    finally:
        faults.disarm(point)
    if point == "storage.remove":
        assert storage.driver.sweep() != []
    assert [s.key for s in storage.driver.walk()] == [base]
    storage.apply("sha256:b", base, Layer().add("b").stream())
    assert storage.recover(["sha256:b"]) == []


KILLED = """
import asyncio, io, sys
from pathlib import Path
from sampan.base import faults
from sampan.storage.service import StorageService
root, driver, point, layer = sys.argv[1:]
storage = StorageService(Path(root), driver=driver)
faults.arm(point, faults.KILL)
storage.apply("sha256:b", "sha256:base", io.BytesIO(Path(layer).read_bytes()))
asyncio.run(storage.remove("sha256:b"))
"""


@pytest.mark.parametrize("point", ["storage.create", "storage.apply", "storage.commit", "storage.remove"])
def test_a_kill_at_every_step(storage: StorageService, base: str, point: str, tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(Layer().add("b", b"b").add("etc/conf", b"new").bytes())
    arguments = [str(tmp_path / "root"), storage.name, point, str(tmp_path / "layer.tar")]
    result = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert result.returncode == -signal.SIGKILL
    again = StorageService(tmp_path / "root")
    assert {s.key for s in again.driver.walk()} <= {base, "sha256:b"} | {
        s.key for s in again.driver.walk() if s.key.startswith("apply-")
    }
    assert again.recover([base, "sha256:b"]) != []
    assert {s.key for s in again.driver.walk()} == {base}
    assert again.recover([base]) == []
    again.apply("sha256:b", base, Layer().add("b", b"b").stream())


@on_loop
async def test_a_root_belongs_to_one_driver(storage: StorageService, tmp_path: Path) -> None:
    root = tmp_path / "root"
    other = "vfs" if storage.name == "overlay2" else "overlay2"
    assert StorageService(root).name == storage.name
    await storage.prepare("box", None)
    with pytest.raises(InvalidParameter, match=f'holds data of the storage driver "{storage.name}"'):
        StorageService(root, driver=other)
    await storage.remove("box")
    assert StorageService(root, driver=other).name == other
    assert StorageService(root).name == other


def test_unknown_drivers_and_strange_roots(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match='driver not supported: "overlay"'):
        StorageService(tmp_path, driver="overlay")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "driver").write_text('{"driver":"zfs9","version":1}')
    with pytest.raises(HostFailure, match='storage driver "zfs9"'):
        StorageService(tmp_path)
    (tmp_path / "driver").write_text('{"driver":"vfs","version":99}')
    with pytest.raises(HostFailure, match="layout 99"):
        StorageService(tmp_path)
    (tmp_path / "driver").write_text("?")
    with pytest.raises(HostFailure, match="cannot be read"):
        StorageService(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(HostFailure, match="cannot open"):
        StorageService(tmp_path / "file")


@on_loop
async def test_what_info_and_inspect_show(storage: StorageService, base: str) -> None:
    await storage.prepare("box", base)
    status = dict(storage.status())
    assert status["Backing Filesystem"] not in ("", "<unknown>")
    data = storage.graph_data("box")
    if storage.name in ("overlay2", "fuse-overlayfs"):
        if storage.name == "overlay2":
            assert status["Native Overlay Diff"] == "true"
        assert set(data) == {"LowerDir", "MergedDir", "UpperDir", "WorkDir"}
        root = await storage.mount("box")
        assert data["MergedDir"] == str(root)
        (root / "x").write_text("x")
        assert (Path(data["UpperDir"]) / "x").read_text() == "x"
        assert (Path(data["LowerDir"]) / "file").read_text() == "file"
    else:
        assert data == {}
    assert storage.graph_data("none") == {}
    await storage.remove("box")


def test_archives_of_gnu_tar(storage: StorageService, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "dir").mkdir(parents=True)
    (source / "dir" / ("n" * 120)).write_text("long")
    (source / "link").symlink_to("t" * 150)
    os.link(source / "dir" / ("n" * 120), source / "hard")
    os.setxattr(source / "dir", "user.note", b"note")
    os.utime(source / "dir", ns=(0, 1_600_000_000_123_456_789))
    with (source / "sparse").open("wb") as file:
        file.truncate(50_000_000)
        for offset in range(0, 40_000_000, 1_000_000):
            file.seek(offset)
            file.write(b"island")
    want = describe(source)
    for number, options in enumerate(
        [
            ["--format=posix", "--xattrs", "--xattrs-include=*"],
            *(
                ["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse", f"--sparse-version={v}"]
                for v in ("0.0", "0.1", "1.0")
            ),
            ["--format=gnu", "--sparse"],
        ]
    ):
        data = subprocess.run(
            ["tar", *options, "-cf", "-", "-C", str(source), "."], check=True, stdout=subprocess.PIPE
        ).stdout
        key = f"sha256:{number}"
        storage.apply(key, None, io.BytesIO(data))

        async def look(key: str = key) -> dict[str, dict[str, object]]:
            await storage.prepare("look", key)
            try:
                root = await storage.mount("look")
                assert (root / "sparse").stat().st_blocks * 512 < 10_000_000
                return describe(root)
            finally:
                await storage.remove("look")

        found = asyncio.run(look())
        if "--format=gnu" in options:  # it knows neither attributes nor parts of seconds
            for entry in (*found.values(), *want.values()):
                entry.pop("xattrs", None)
                entry["mtime_ns"] = int(str(entry["mtime_ns"])) // 10**9
        if storage.name == "fuse-overlayfs":  # it counts only the hard links that it has met so far
            for entry in (*found.values(), *want.values()):
                entry.pop("links", None)
        assert found == want


def test_unmounting_by_others_is_noticed(storage: StorageService, base: str) -> None:
    async def run() -> None:
        await storage.prepare("box", base)
        root = await storage.mount("box")
        umount(root)
        assert (await storage.mount("box") / "file").read_text() == "file"
        await storage.remove("box")

    asyncio.run(run())
