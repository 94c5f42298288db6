"""Paths in containers, and where may be written, over trees of the test's own."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.base.errors import InvalidParameter
from sampan.containers.archive import absolute, check_writable, describe, resolve
from sampan.containers.container import Container, Mounted, Row
from sampan.wire.archive import go_mode
from sampan.wire.containers import ContainerConfig, HostConfig, MountPoint


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root")
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "up").symlink_to("../../../etc/passwd")
    (tmp_path / "dangling").symlink_to("/etc/../nowhere/x")
    (tmp_path / "loop").symlink_to("loop")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("a/b", "/a/b"),
        ("/a//b/../c", "/a/c"),
        ("/a/", "/a/"),
        ("/a/.", "/a/."),
        (".", "/."),
        ("/", "/"),
        ("../../x", "/x"),
    ],
)
def test_paths_are_clean_and_keep_their_end(path: str, clean: str) -> None:
    assert absolute(path) == clean


def test_links_are_followed_inside(root: int) -> None:
    assert resolve(root, "/link/passwd") == "/etc/passwd"
    assert resolve(root, "/up") == "/etc/passwd"
    assert resolve(root, "/") == "/"
    with pytest.raises(FileNotFoundError):
        resolve(root, "/dangling")
    with pytest.raises(OSError, match="symbolic links"):
        resolve(root, "/loop")


def test_the_status_of_a_path(root: int) -> None:
    found = describe(root, "/etc/passwd")
    assert (found.name, found.size, found.link_target) == ("passwd", 4, "")
    assert found.mode == 0o644
    link = describe(root, "/link")
    assert (link.mode >> 27 & 1, link.link_target) == (1, "/etc")
    assert describe(root, "/link/").mode >> 31 == 1
    assert describe(root, "/dangling").link_target == "/nowhere/x"
    assert describe(root, "/").name == "/"


@pytest.mark.parametrize(
    ("mode", "go"),
    [
        (stat.S_IFREG | 0o4755, 1 << 23 | 0o755),
        (stat.S_IFREG | 0o2711, 1 << 22 | 0o711),
        (stat.S_IFDIR | 0o1777, 1 << 31 | 1 << 20 | 0o777),
        (stat.S_IFLNK | 0o777, 1 << 27 | 0o777),
        (stat.S_IFCHR | 0o600, 1 << 26 | 1 << 21 | 0o600),
        (stat.S_IFBLK | 0o600, 1 << 26 | 0o600),
        (stat.S_IFIFO | 0o600, 1 << 25 | 0o600),
        (stat.S_IFSOCK | 0o600, 1 << 24 | 0o600),
    ],
)
def test_modes_in_the_bits_of_go(mode: int, go: int) -> None:
    assert go_mode(mode) == go


def container(*, read_only: bool, mounts: dict[str, bool]) -> Container:
    points = [
        Mounted(MountPoint(type="volume", destination=place, rw=writable), [])
        for place, writable in mounts.items()
    ]
    return Container(
        Row(
            "c" * 64,
            "name",
            0,
            "",
            None,
            "",
            [],
            ContainerConfig(),
            HostConfig(readonly_rootfs=read_only),
            {},
            points,
            "overlay2",
        )
    )


def test_what_may_be_written() -> None:
    mounted = container(read_only=True, mounts={"/rw": True, "/ro": False})
    check_writable(mounted, "/rw")
    check_writable(mounted, "/rw/below")
    for path, reason in (
        ("/ro/x", "mounted volume is marked read-only"),
        ("/", "container rootfs is marked read-only"),
        ("/rwx", "container rootfs is marked read-only"),
    ):
        with pytest.raises(InvalidParameter, match=reason):
            check_writable(mounted, path)
    check_writable(container(read_only=False, mounts={}), "/anything")
