"""Overlay mounts of any number of layers, below paths with any characters."""

import os
from pathlib import Path

import pytest

from sampan.kernel.mount import Mount, bind, is_mount_point, mount, mounts, umount
from sampan.storage.overlay import readonly_mount, writable_mount

pytestmark = pytest.mark.root


def stack(folder: Path, count: int) -> tuple[list[str], str, str, str]:
    """Make ``count`` layers (uppermost first, by short links) and directories upper, work and target."""
    layers = []
    (folder / "l").mkdir(parents=True)
    for number in reversed(range(count)):
        layer = folder / f"layer{number}" / "diff"
        layer.mkdir(parents=True)
        (layer / f"file{number}").write_text(str(number))
        (layer / "last").write_text(str(number))
        (folder / "l" / str(number)).symlink_to(layer)
        layers.append(str(folder / "l" / str(number)))
    for name in ("upper", "work", "target"):
        (folder / name).mkdir()
    return layers, str(folder / "upper"), str(folder / "work"), str(folder / "target")


@pytest.mark.parametrize("count", [1, 30, 150, 300, 500])
def test_layers(tmp_path: Path, count: int) -> None:
    folder = tmp_path / "a-name-that-is-not-short" / "and-another-one" / ("x" * 50)
    layers, upper, work, target = stack(folder, count)
    mount(writable_mount(target, layers, upper, work))
    try:
        assert len(list(Path(target).iterdir())) == count + 1
        assert (Path(target) / "last").read_text() == str(count - 1)
        (Path(target) / "new").write_text("x")
        assert (Path(upper) / "new").exists()
    finally:
        umount(target)
    mount(readonly_mount(target, layers))
    try:
        assert (Path(target) / "last").read_text() == str(count - 1)
        with pytest.raises(OSError, match="Read-only"):
            (Path(target) / "other").write_text("x")
    finally:
        umount(target)
    assert not is_mount_point(target)


def test_more_layers_than_the_kernel_stacks(tmp_path: Path) -> None:
    layers, upper, work, target = stack(tmp_path, 501)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the count is all there is to it
    with pytest.raises(OSError, match=r"limit is 500|Invalid argument"):
        mount(writable_mount(target, layers, upper, work))
    assert not is_mount_point(target)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("count", [2, 150])
@pytest.mark.parametrize("name", ["with:colon", "with space", "with,comma", "back\\slash", "all\\:,=of them"])
def test_characters_that_mean_something_in_options(tmp_path: Path, name: str, count: int) -> None:
    layers, upper, work, target = stack(tmp_path / name, count)
    mount(writable_mount(target, layers, upper, work))
    try:
        assert (Path(target) / "last").read_text() == str(count - 1)
        assert any(m.target == target and m.type == "overlay" for m in mounts())
        (Path(target) / "new").write_text("x")
        assert (Path(upper) / "new").exists()
    finally:
        umount(target)


def test_bind_mounts_and_their_flags(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    bind(source, target, readonly=True)
    try:
        with pytest.raises(OSError, match="Read-only"):
            (tmp_path / "target/x").write_text("x")
        (tmp_path / "source/x").write_text("x")
    finally:
        umount(target)
    for word, shown in (("rprivate", ""), ("shared", "shared:")):
        mount(Mount("none", source, target, ("rbind", "nosuid", "noexec", word)))
        try:
            [found] = [m for m in mounts() if m.target == target]
            assert {"nosuid", "noexec"} <= set(found.options.split(","))
            assert [p for p in found.propagation if not p.startswith(shown or "-")] == []
            assert bool(found.propagation) == bool(shown)
        finally:
            umount(target)
    with pytest.raises(OSError, match="Invalid argument"):
        umount(target)
