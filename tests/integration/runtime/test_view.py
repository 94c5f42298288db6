"""The mount namespace in which crun is run: what it leaves out, and what containers see all the same."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tasks import OpenYard, Yard, frames, on_loop

from sampan.kernel.libc import check, syscall
from sampan.kernel.mount import Mount, MountInfo, bind, mount, mounts, umount
from sampan.kernel.mount_view import open_view
from sampan.kernel.threads import DedicatedThread
from sampan.runtime.task import TaskSpec

pytestmark = pytest.mark.root


@contextmanager
def tmpfs(path: Path) -> Iterator[Path]:
    """Mount an empty file system at ``path`` for the block."""
    path.mkdir(parents=True, exist_ok=True)
    mount(Mount("tmpfs", "tmpfs", str(path)))
    try:
        yield path
    finally:
        umount(path, lazy=True)


def table_of(view: int) -> list[MountInfo]:
    """Return the mount table that a process in the namespace ``view`` has."""

    def enter() -> None:
        check(syscall("unshare", 0x200), "unshare")  # CLONE_FS: setns wants no shared working directory
        check(syscall("setns", view, 0), "setns")

    thread = DedicatedThread("test view", enter)
    try:
        return thread.run(mounts, thread=True)
    finally:
        thread.close()


def with_binds(task: TaskSpec, *binds: dict[str, Any]) -> TaskSpec:
    document = json.loads(task.spec)
    document["mounts"] += [{"type": "bind", "options": ["rbind"], **entry} for entry in binds]
    return replace(task, spec=json.dumps(document).encode())


def test_a_view_has_what_is_needed_and_the_host_keeps_all(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "other"), tmpfs(tmp_path / "needed"), tmpfs(tmp_path / "needed/below"):
        before = {info.target for info in mounts()}
        view = open_view([str(tmp_path / "needed")], "/dev/pts")
        try:
            seen = {info.target for info in table_of(view)}
        finally:
            os.close(view)
        assert {"/", "/proc", str(tmp_path / "needed")} <= seen
        assert not {str(tmp_path / "other"), str(tmp_path / "needed/below"), "/dev/pts"} & seen
        assert before == {info.target for info in mounts()}


@on_loop
async def test_a_directory_comes_with_what_is_mounted_below(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        await y.run(y.task("true"))  # the view is older than the mounts
        with tmpfs(tmp_path / "shown/below"), tmpfs(tmp_path / "apart") as apart:
            (tmp_path / "shown/below/deep").write_text("deep ")
            (apart / "file").write_text("file\n")
            task = with_binds(
                y.task("cat", "/data/below/deep", "/file"),
                {"destination": "/data", "source": str(tmp_path / "shown")},
                {"destination": "/file", "source": str(apart / "file")},
            )
            assert await output(y, task) == b"deep file\n"


@on_loop
async def test_a_file_on_another_mount_is_the_right_one(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        (tmp_path / "apart").mkdir()
        (tmp_path / "apart/file").write_text("below\n")
        (tmp_path / "plain").write_text("plain\n")
        (tmp_path / "link").symlink_to("apart/file")
        entry = {"destination": "/file", "source": str(tmp_path / "apart/file")}
        assert await output(y, with_binds(y.task("cat", "/file"), entry)) == b"below\n"
        with tmpfs(tmp_path / "apart"):
            (tmp_path / "apart/file").write_text("above\n")
            link = {"destination": "/file", "source": str(tmp_path / "link")}
            assert await output(y, with_binds(y.task("cat", "/file"), entry)) == b"above\n"
            assert await output(y, with_binds(y.task("cat", "/file"), link)) == b"above\n"
        bind(tmp_path / "plain", tmp_path / "apart/file")
        try:
            assert await output(y, with_binds(y.task("cat", "/file"), entry)) == b"plain\n"
        finally:
            umount(tmp_path / "apart/file")


@on_loop
async def test_the_root_file_system_is_mounted_after_the_view(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        await y.run(y.task("true"))
        task = y.task("cat", "/hello")
        with tmpfs(tmp_path / "root") as root:
            shutil.copytree(y.rootfs, root, symlinks=True, dirs_exist_ok=True)
            (root / "hello").write_text("hello\n")
            document = json.loads(task.spec)
            document["root"]["path"] = str(root)
            assert await output(y, replace(task, spec=json.dumps(document).encode())) == b"hello\n"


async def output(yard: Yard, task: TaskSpec) -> bytes:
    """Run ``task`` and return what it printed; all of it."""
    _, printed = await yard.run(task)
    return b"".join(frames(printed).values())
