"""Aufs's marks on disk, and layers in its format: applied and read without a kernel that has aufs."""

from pathlib import Path

import pytest
from support.layers import Layer

from sampan.kernel.mount import Mount
from sampan.storage.compare import compare_upper
from sampan.storage.driver import ChangeKind
from sampan.storage.drivers.aufs import Aufs
from sampan.storage.marks import AUFS_MARKS
from sampan.storage.stacks import aufs_writable, layers_of
from sampan.storage.tree import opened

BASE = Layer().dir("etc").add("etc/conf", b"one").add("keep", b"k").dir("gone").add("gone/x", b"x").stream()


def test_a_mount_names_its_branches() -> None:
    m = aufs_writable("/t", ["/l/2", "/l/1"], "/up")
    assert m == Mount(
        "aufs", "none", "/t", ("dio", "xino=/dev/shm/aufs.xino", "br:/up=rw:/l/2=ro+wh:/l/1=ro+wh")
    )
    assert layers_of(m) == ("/up", ["/l/2", "/l/1"])


def test_aufs_without_a_kernel_for_it(tmp_path: Path) -> None:
    if "aufs" in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has aufs")
    assert Aufs.supported(tmp_path) == (
        "this kernel has no aufs, which is no part of Linux: it needs a patched kernel"
    )


def test_marks_are_read(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in ("etc", "gone", "hidden"):
        (lower / path).mkdir(parents=True)
        (lower / path / "old").write_text("old")
    for path in ("etc", "hidden", ".wh..wh.plnk", ".wh..wh.orph"):
        (upper / path).mkdir(parents=True)
    for name in (
        ".wh..wh.aufs",
        ".wh.gone",
        "etc/.wh.old",
        "etc/.wh.never",
        "hidden/.wh..wh..opq",
        "hidden/new",
    ):
        (upper / name).touch()
    with opened(str(upper)) as new, opened(str(lower)) as old:
        found = [(d.kind, d.path) for d in compare_upper(new, old, AUFS_MARKS)]
    assert found == [
        (ChangeKind.MODIFIED, b"/etc"),
        (ChangeKind.DELETED, b"/etc/old"),
        (ChangeKind.MODIFIED, b"/hidden"),
        (ChangeKind.ADDED, b"/hidden/new"),
        (ChangeKind.DELETED, b"/hidden/old"),
        (ChangeKind.DELETED, b"/gone"),
    ]
