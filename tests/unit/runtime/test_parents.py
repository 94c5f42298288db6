"""Groups above containers' groups: which of them are ours, also for the next daemon."""

from pathlib import Path

import pytest

from sampan.kernel.cgroup import Hierarchy, Layout
from sampan.runtime.parents import Parents


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for tree in ("memory", "pids"):
        (tmp_path / tree).mkdir()
    return Layout(
        1, tuple(Hierarchy(str(tmp_path / tree), 1, frozenset({tree})) for tree in ("memory", "pids"))
    )


def make(layout: Layout, path: str) -> None:
    for hierarchy in layout.hierarchies:
        Path(hierarchy.mountpoint + path).mkdir(parents=True)


def exists(layout: Layout, path: str) -> bool:
    return any(Path(hierarchy.mountpoint + path).exists() for hierarchy in layout.hierarchies)


def test_what_came_with_our_containers_goes_with_them(layout: Layout, tmp_path: Path) -> None:
    make(layout, "/theirs")
    parents = Parents(tmp_path / "cgroups")
    for group in ("/ours/one", "/ours/two", "/theirs/three", "/four"):
        parents.note(layout, group)
        make(layout, group)
    for hierarchy in layout.hierarchies:
        for group in ("/ours/one", "/theirs/three"):
            Path(hierarchy.mountpoint + group).rmdir()
    parents.remove(layout)
    assert exists(layout, "/ours")  # another container is in it
    for hierarchy in layout.hierarchies:
        Path(f"{hierarchy.mountpoint}/ours/two").rmdir()
    parents.remove(layout)
    assert not exists(layout, "/ours")
    assert exists(layout, "/theirs")
    assert not (tmp_path / "cgroups").exists()


def test_the_next_daemon_knows(layout: Layout, tmp_path: Path) -> None:
    parents = Parents(tmp_path / "cgroups")
    parents.note(layout, "/ours/one")
    make(layout, "/ours/one")
    again = Parents(tmp_path / "cgroups")  # the first one was killed
    again.note(layout, "/ours/two")
    for hierarchy in layout.hierarchies:
        Path(f"{hierarchy.mountpoint}/ours/one").rmdir()
    again.remove(layout)
    assert not exists(layout, "/ours")


def test_a_broken_note_is_none(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "cgroups").write_bytes(b'["/ours"')
    parents = Parents(tmp_path / "cgroups")
    make(layout, "/ours")
    parents.remove(layout)
    assert exists(layout, "/ours")
