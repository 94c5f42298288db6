"""The engine in process: ``sampan.Engine``, without a daemon or a socket."""

import asyncio
from pathlib import Path

import pytest
from support.images import busybox_archive

import sampan
from sampan.base.errors import NotFound
from sampan.wire.requests import CommandFailed

pytestmark = pytest.mark.root


def test_a_life_in_process(tmp_path: Path) -> None:
    async def life() -> None:
        async with sampan.Engine(data_root=tmp_path / "data", exec_root=tmp_path / "exec") as engine:
            assert await engine.load(busybox_archive()) == ["Loaded image: busybox:latest"]
            assert [image["RepoTags"] for image in await engine.images()] == [["busybox:latest"]]
            assert await engine.run("busybox", ["echo", "hello"]) == b"hello\n"
            with pytest.raises(CommandFailed, match="returned 3: oops"):
                await engine.run("busybox", ["sh", "-c", "echo oops >&2; exit 3"])
            web = await engine.create(
                "busybox", ["sh", "-c", "echo up; sleep 1000"], name="web", env={"A": "1"}
            )
            await engine.start(web)
            assert await engine.exec(web, ["sh", "-c", "echo $A; exit 7"]) == (7, b"1\n")
            assert [piece async for piece in engine.logs("web")] == [(1, b"up\n")]
            assert (await engine.inspect("web"))["State"]["Status"] == "running"
        async with sampan.Engine(data_root=tmp_path / "data", exec_root=tmp_path / "exec") as engine:
            assert [c["State"] for c in await engine.containers()] == ["running"]  # it outlived its engine
            await engine.kill("web")
            assert await engine.wait("web") == 137
            await engine.remove("web")
            with pytest.raises(NotFound, match="No such container: web"):
                await engine.inspect("web")

    asyncio.run(life())
