"""The daemon dies and comes back; steps fail half-way: nothing is lost, nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.netlab import HOST_ADDRESS, OUTSIDE, OUTSIDE_ADDRESS, Lab, command, footprint, lab_at, on_loop

from sampan.base import faults
from sampan.base.errors import HostFailure
from sampan.networks.ports import PortTaken

pytestmark = pytest.mark.root

STEPS = ("ports", "netns", "link", "address", "firewall", "files", "state")


@on_loop
async def test_living_sandboxes_are_adopted_and_others_are_taken_back(tmp_path: Path) -> None:
    first = Lab(tmp_path)
    await first.service.open()
    web = await first.open("web", "8080:80", "5353:53/udp")
    await first.open("gone", "8081:80")
    await first.open("alone", mode="none")
    lab = await first.restart()
    command("nft", "flush", "ruleset")
    keep = [lab.request(name).container for name in ("web", "alone")]
    await lab.service.open(keep)
    assert lab.service.sandbox(keep[0]) == web
    assert lab.service.sandbox(lab.request("gone").container) is None
    async with lab.tcp_server(web.sandbox_key, 80), lab.udp_server(web.sandbox_key, 53):
        assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
        assert await lab.udp(OUTSIDE, HOST_ADDRESS, 5353) == OUTSIDE_ADDRESS
        assert await lab.tcp(None, "::1", 8080) == "172.17.0.1"
    with pytest.raises(PortTaken, match=r"\(by container web\)"):
        await lab.open("late", "8080:80")
    again = await lab.open("late", "8081:80")
    assert again.networks["bridge"].ip_address == "172.17.0.3"
    assert again.networks["bridge"].network_id == web.networks["bridge"].network_id
    bound = sorted(path.name for path in (tmp_path / "run/netns").iterdir())
    living = [lab.service.sandbox(key) for key in (*keep, lab.request("late").container)]
    assert bound == sorted(Path(sandbox.sandbox_key).name for sandbox in living if sandbox)
    await lab.shut("web")
    await lab.service.close(remove=True)
    lab.leave()


@on_loop
async def test_closing_leaves_living_containers_reachable(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        web = await lab.open("web", "8080:80")
        await lab.service.close()
        async with lab.tcp_server(web.sandbox_key, 80):
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
        next_life = Lab(tmp_path)
        await next_life.service.open([lab.request("web").container])
        await lab.shut("web")
        await next_life.shut("web")
        await next_life.service.close(remove=True)
        next_life.leave()


@pytest.mark.parametrize("step", STEPS)
@on_loop
async def test_a_step_that_fails_leaves_nothing(tmp_path: Path, step: str) -> None:
    async with lab_at(tmp_path) as lab:
        before = footprint()
        faults.arm(f"networks.sandbox.{step}")
        try:
            with pytest.raises(HostFailure, match=f"injected fault at networks.sandbox.{step}"):
                await lab.open("web", "8080:80", "5353:53/udp")
        finally:
            faults.disarm(f"networks.sandbox.{step}")
        assert list((tmp_path / "run/netns").iterdir()) == []
        assert footprint().rules == before.rules
        assert lab.service.inspect("bridge").containers == {}
        again = await lab.open("web", "8080:80", "5353:53/udp")
        assert again.networks["bridge"].ip_address == "172.17.0.2"


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from support.netlab import Lab
from sampan.base import faults

async def main() -> None:
    lab = Lab(Path({folder!r}))
    await lab.service.open()
    await lab.open("before", "8081:80")
    faults.arm({point!r}, faults.KILL)
    await lab.open("web", "8080:80", "5353:53/udp")

asyncio.run(main())
"""


@pytest.mark.parametrize("step", STEPS)
@on_loop
async def test_a_daemon_killed_at_a_step_is_cleaned_up_after(tmp_path: Path, step: str) -> None:
    root = Path(__file__).resolve().parents[3]
    script = KILLED.format(
        tests=str(root / "tests"), root=str(root), folder=str(tmp_path), point=f"networks.sandbox.{step}"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)  # noqa: ASYNC221
    assert done.returncode == -signal.SIGKILL
    lab = Lab(tmp_path)
    kept = lab.request("before").container
    await lab.service.open([kept])
    try:
        before = lab.service.sandbox(kept)
        assert before is not None
        assert [str(path) for path in (tmp_path / "run/netns").iterdir()] == [before.sandbox_key]
        assert list(lab.service.inspect("bridge").containers) == [kept]
        links = [
            line.split()[0] for line in command("ip", "-br", "link", "show", "type", "veth").splitlines()
        ]
        assert len([link for link in links if link.startswith("veth")]) == 1
        async with lab.tcp_server(before.sandbox_key, 80):
            assert await lab.tcp(OUTSIDE, HOST_ADDRESS, 8081) == OUTSIDE_ADDRESS
        web = await lab.open("web", "8080:80", "5353:53/udp")
        assert web.networks["bridge"].ip_address == "172.17.0.3"
        await lab.shut("before")
    finally:
        await lab.service.close(remove=True)
        lab.leave()


@on_loop
async def test_a_link_whose_namespace_is_held_goes_all_the_same(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        web = await lab.open("web")
        endpoint = web.networks["bridge"].endpoint_id
        holder = lab.make_socket(web.sandbox_key)  # keeps the namespace alive
        await lab.service.close_sandbox(lab.request("web").container)
        await lab.service.close()
        assert f"veth{endpoint[:7]}" not in command("ip", "-br", "link")
        holder.close()
        await lab.service.open()
