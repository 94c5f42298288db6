"""Loading real images on real storage: every layout, every tool's archives, full disks and sudden ends."""

import asyncio
import bz2
import gzip
import io
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from support.image_archives import config, docker_old, tar
from support.image_lab import Lab
from support.shared import shared
from support.trees import describe

from sampan.base.errors import EngineError, HostFailure
from sampan.images.errors import ImageNotFound
from sampan.kernel.mount import Mount, mount, umount

pytestmark = pytest.mark.root


def image_ids(made: Path) -> dict[str, str]:
    rows = [line.split("\t") for line in (made / "images.tsv").read_text().splitlines()[1:]]
    return {row[0]: row[2] for row in rows}


@pytest.mark.parametrize("layout", ["docker", "oci"])
def test_every_image_in_both_layouts(lab: Lab, made: Path, layout: str) -> None:
    for name, image_id in image_ids(made).items():
        path = made / f"{name.replace(':', '_')}.{layout}.tar"
        assert f"Loaded image: {name}\n" in lab.load(path, platform="linux/amd64")
        assert lab.images.find(name).id == image_id


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_packed_archives(lab: Lab, made: Path, pack: Callable[[bytes], bytes]) -> None:
    lab.load(pack((made / "torture_latest.docker.tar").read_bytes()))
    assert lab.images.find("torture").id == image_ids(made)["torture:latest"]


@pytest.mark.parametrize("driver", ["overlay2", "vfs"])
@pytest.mark.parametrize("layout", ["docker", "oci"])
def test_torture(tmp_path: Path, made: Path, driver: str, layout: str) -> None:
    lab = Lab(tmp_path, driver)
    lab.load(made / f"torture_latest.{layout}.tar")
    chain_id = lab.images.find("torture").chain_id

    async def tree() -> dict[str, dict[str, object]]:
        await lab.storage.prepare("container", chain_id)
        try:
            return describe(await lab.storage.mount("container"))
        finally:
            await lab.storage.remove("container")

    found = asyncio.run(tree())
    expected = json.loads((made / "torture.expected.json").read_text())
    for path, entry in found.items():
        entry.pop("links", None)
        for key in ("mtime_ns", "mode"):
            if key not in expected.get(path, {}):
                entry.pop(key, None)
    assert found == expected
    lab.remove_all()
    assert lab.left() == []
    lab.state.close()


def test_a_real_old_archive(lab: Lab) -> None:
    path = shared("data/images/docker-save/alpine-3.10.4.docker.tar.gz")
    assert lab.load(path) == "Loaded image ID: sha256:" + lab.images.list(all=True, filters={})[0].id[
        7:
    ] + "\n" or ("Loaded image: " in lab.load(path))
    found = lab.images.list(all=True, filters={})[0]
    assert lab.images.find(found.id).config.cmd == ["/bin/sh"]
    assert lab.images.history(found.id)[-1].size > 5_000_000


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_archives_of_skopeo(lab: Lab, made: Path, tmp_path: Path, transport: str) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    source = f"oci:{made}/torture_latest:latest"
    target = f"{transport}:{tmp_path}/archive.tar:some/where:tag"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", source, target], check=True, capture_output=True
    )
    assert lab.load(tmp_path / "archive.tar") == "Loaded image: some/where:tag\n"
    assert lab.images.find("some/where:tag").id == image_ids(made)["torture:latest"]
    (tmp_path / "archive.tar").unlink()


def test_one_image_for_several_platforms(lab: Lab, made: Path) -> None:
    lab.load(made / "alpine_latest.oci.tar", platform="linux/arm64")
    arm = lab.images.find("alpine")
    assert arm.architecture == "arm64"
    lab.load(made / "alpine_latest.oci.tar", platform="linux/amd64")
    assert lab.images.find("alpine").architecture == "amd64"
    blobs = {path.name for path in (lab.root / "content" / "blobs" / "sha256").iterdir()}
    with tarfile.open(made / "alpine_latest.oci.tar") as archive:
        inside = {Path(name).name for name in archive.getnames() if name.startswith("blobs/sha256/")}
    assert inside <= blobs  # whole, both platforms


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A data root on a disk of 6 MiB."""
    root = tmp_path / "small"
    root.mkdir()
    mount(Mount("tmpfs", "tmpfs", str(root), ("size=6m",)))
    yield root
    umount(str(root))


def test_disk_full(small_disk: Path, made: Path) -> None:
    lab = Lab(small_disk)
    with pytest.raises(HostFailure, match="No space left on device"):
        lab.load(made / "alpine_latest.docker.tar")
    assert lab.left() == []
    layers = [tar([(f"file{n}", os.urandom(2200 << 10))]) for n in range(2)]
    with pytest.raises(EngineError, match="No space left on device"):
        lab.load(docker_old((config(layers), layers, ["big:1"])))
    assert lab.left() == []
    lab.load(made / "torture_latest.docker.tar")
    lab.remove_all()
    assert lab.left() == []
    lab.state.close()


LOADER = """
import sys
from pathlib import Path
from support.image_lab import Lab
lab = Lab(Path(sys.argv[1]))
print("ready", flush=True)
lab.load(Path(sys.argv[2]))
print("done", flush=True)
"""


def test_killed_at_any_moment(lab: Lab, made: Path) -> None:
    """The image is whole or absent after a kill, and the next load completes it."""
    moments = random.Random(3)  # noqa: S311 - the same moments at every run
    path = made / "alpine_latest.docker.tar"
    image_id = image_ids(made)["alpine:latest"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", LOADER, str(lab.root), str(path)], env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            process.wait(moments.uniform(0, 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        lab.reopen()
        try:
            image = lab.images.find("alpine")
        except ImageNotFound:
            assert lab.left() == []
        else:
            assert image.id == image_id
            assert lab.storage.exists(image.chain_id or "")
        lab.load(path)
        assert lab.images.find("alpine").id == image_id
        lab.remove_all()
        assert lab.left() == []


HEAVY = """
import sys
from pathlib import Path
from support.image_lab import Lab
def peak():
    return Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
lab = Lab(Path(sys.argv[1]))
before = peak()
lab.load(Path(sys.argv[2]))
print(before, peak())
lab.remove_all()
"""


@pytest.mark.parametrize("packed", [False, True])
def test_memory_does_not_grow_with_the_image(tmp_path: Path, packed: bool) -> None:
    """A layer of 300 MiB takes no more memory than one of 3 MiB."""
    text = b"a line of text of some length, said again and again\n" * 20_000
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("big")
        member.size = 300 * len(text)
        archive.addfile(member, io.BytesIO(text * 300))
    plain = buffer.getvalue()
    layer = gzip.compress(plain, 1) if packed else plain
    path = tmp_path / "big.tar"
    path.write_bytes(docker_old((config([plain]), [layer], ["big:1"])))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, str(tmp_path / "root"), str(path)],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    before, peak = (int(number) / 1024 for number in done.stdout.split())
    assert peak - before < 40
    assert peak < 100
    path.unlink()


def test_bootstrap_busybox(lab: Lab) -> None:
    said: list[str] = []
    first = asyncio.run(lab.images.bootstrap("busybox", lambda line: said.append(line.stream)))
    assert said[-1] == "Created image: busybox:latest\n"
    assert asyncio.run(lab.images.bootstrap("busybox", lambda line: None)) == first

    async def root() -> Path:
        await lab.storage.prepare("container", lab.images.find("busybox").chain_id)
        return await lab.storage.mount("container")

    script = "id -un; awk 'BEGIN { print 6 * 7 }'; ls -ld /tmp"
    try:
        command = ["chroot", str(asyncio.run(root())), "/bin/sh", "-c", script]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    finally:
        asyncio.run(lab.storage.remove("container"))
    name, answer, folder = done.stdout.splitlines()
    assert (name, answer) == ("root", "42")
    assert folder.startswith("drwxrwxrwt")
