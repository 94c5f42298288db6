"""Daemons and shims that are killed: tasks go on, ends are known, nothing is leaked."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from support.tasks import ALL, OUTPUT, OpenYard, Yard, frames, log_lines, on_loop, start

from sampan.base.errors import HostFailure
from sampan.kernel.cgroup import Group, find_layout
from sampan.kernel.process import become_subreaper
from sampan.runtime.task import Exit, NotRunning, Started

pytestmark = pytest.mark.root
SCRIPT = Path(__file__).parents[2] / "support" / "short_lived.py"


@pytest.fixture(autouse=True)
def reaper() -> Iterator[None]:
    """Be the parent of orphaned shims, and leave no zombie."""
    become_subreaper()
    yield
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def spawn_daemon(y: Yard, *wishes: Mapping[str, object]) -> subprocess.Popen[bytes]:
    """Start a process that starts tasks as a daemon would."""
    tests = SCRIPT.parents[1]
    command = [sys.executable, str(SCRIPT), str(y.root), str(y.rootfs), y.group, json.dumps(wishes)]
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def killed_daemon(y: Yard, *wishes: Mapping[str, object]) -> list[list[str]]:
    """Have a daemon start tasks, kill it, and return their ids, each with that of its exec."""
    with spawn_daemon(y, *wishes) as daemon:
        assert daemon.stdout is not None
        started: list[list[str]] = json.loads(daemon.stdout.readline())
        daemon.kill()
    return started


@on_loop
async def test_a_task_outlives_its_daemon(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        log = tmp_path / "log"
        script = "i=0; while read x; do i=$((i+1)); echo $i $x; done; exit 11"
        wish = {"args": ["sh", "-c", script], "stdin": True, "log": str(log)}
        ((container, _),) = killed_daemon(y, wish)
        found = await y.service.restore(container)
        assert isinstance(found, Started)
        first, second = await y.attach(container), await y.attach(container, OUTPUT)
        await first.send(b"hello\n")
        await first.read_until(b"1 hello\n")
        exec_id, client = await y.exec(container, "echo", "from exec")
        assert frames(await client.read())[1] == b"from exec\n"
        assert (await y.exec_exit_of(exec_id)).code == 0
        first.end_input()
        assert frames(await second.read())[1] == b"1 hello\n"
        assert (await y.exit_of(container)).code == 11
        assert [line["log"] for line in log_lines(log)] == ["1 hello\n"]


@on_loop
async def test_terminals_outlive_it_too(yard: OpenYard) -> None:
    async with yard() as y:
        wish = {"args": ["sh", "-c", "read x; stty size; exit 5"], "tty": True, "stdin": True}
        ((container, _),) = killed_daemon(y, wish)
        assert isinstance(await y.service.restore(container), Started)
        client = await y.attach(container)
        await y.service.resize(container, 44, 55)
        await client.send(b"go\n")
        assert b"44 55\r\n" in await client.read()
        assert (await y.exit_of(container)).code == 5


@on_loop
async def test_an_end_without_a_daemon_is_remembered(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        log = tmp_path / "log"
        wish = {
            "args": ["sh", "-c", "sleep 0.3; seq 1 5000; exit 42"],
            "log": str(log),
            "exec": ["sleep", "1000"],
        }
        ((container, exec_id),) = killed_daemon(y, wish)
        await y.wait_until(lambda: (y.root / "exec" / "shim" / container / "exit").exists())
        await y.wait_until(lambda: len(_alive(y.shims())) == 0)
        found = await y.service.restore(container)
        assert isinstance(found, Exit)
        assert found.code == 42
        assert y.exits == {}
        assert (await y.exec_exit_of(exec_id)).code == 137
        assert [line["log"] for line in log_lines(log)] == [f"{n}\n" for n in range(1, 5001)]
        with pytest.raises(NotRunning):
            await y.service.attach(container, ALL)


@on_loop
async def test_an_execs_end_without_a_daemon_is_remembered(yard: OpenYard) -> None:
    async with yard() as y:
        wish = {"args": ["sleep", "1000"], "exec": ["sh", "-c", "sleep 0.3; exit 9"]}
        ((container, exec_id),) = killed_daemon(y, wish)
        file = y.root / "exec" / "shim" / container / f"exec-{exec_id}.exit"
        await y.wait_until(file.exists)
        assert isinstance(await y.service.restore(container), Started)
        assert (await y.exec_exit_of(exec_id)).code == 9
        assert not file.exists()


@on_loop
async def test_what_is_unknown(yard: OpenYard) -> None:
    async with yard() as y:
        assert await y.service.restore("0" * 64) is None


@on_loop
async def test_a_second_service_after_a_close(yard: OpenYard) -> None:
    """A daemon that stops in an orderly way leaves its tasks running as well."""
    async with yard() as y:
        task = y.task("cat", stdin=True)
        client, end = y.client()
        await y.service.start(task, [end])
        await y.service.close()
        await client.send(b"still here\n")
        await client.read_until(b"still here\n")
        y.service = y.new_service()
        assert isinstance(await y.service.restore(task.id), Started)
        await y.service.kill(task.id, signal.SIGKILL)
        assert (await y.exit_of(task.id)).code == 137


@on_loop
async def test_a_killed_shim_ends_its_task(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "sleep 1000 & sleep 1000")
        await start(y, task)
        exec_id, _ = await y.exec(task.id, "sleep", "1000")
        os.kill(y.shims()[0], signal.SIGKILL)
        ended = await y.exit_of(task.id)
        assert (ended.code, ended.oom_killed) == (137, False)
        await y.wait_until(lambda: not Group(find_layout(), task.cgroup_path).procs())
        with pytest.raises(NotRunning):
            await y.service.kill(task.id, signal.SIGTERM)
        await y.service.delete(task.id)
        assert y.exec_exits.get(exec_id, []) == []


@on_loop
async def test_a_shim_killed_while_the_daemon_was_away(yard: OpenYard) -> None:
    async with yard() as y:
        ((container, _),) = killed_daemon(y, {"args": ["sleep", "1000"]})
        for pid in y.shims():
            os.kill(pid, signal.SIGKILL)
        await y.wait_until(lambda: not _alive(y.shims()))
        found = await y.service.restore(container)
        assert isinstance(found, Exit)
        assert found.code == 137


@on_loop
async def test_a_shim_killed_while_it_starts(yard: OpenYard) -> None:
    async with yard() as y:
        for delay_s in (0.0, 0.002, 0.004, 0.008):
            task = y.task("sleep", "1000")
            starting = asyncio.gather(start(y, task), return_exceptions=True)
            await y.wait_until(lambda: len(y.shims()) == 1)
            await asyncio.sleep(delay_s)
            for pid in y.shims():
                os.kill(pid, signal.SIGKILL)
            (outcome,) = await starting
            if isinstance(outcome, Started):
                assert (await y.exit_of(task.id)).code == 137
            else:
                assert isinstance(outcome, HostFailure)
                assert "was killed while it started" in str(outcome)
            await y.service.delete(task.id)
            assert y.left() == []
            assert not Group(find_layout(), task.cgroup_path).exists()


@on_loop
async def test_deletion_without_restore(yard: OpenYard) -> None:
    async with yard() as y:
        ((container, _),) = killed_daemon(y, {"args": ["sh", "-c", "trap '' TERM; sleep 1000"]})
        await y.service.delete(container)
        assert y.left() == []
        assert y.exits == {}


@pytest.mark.slow
@on_loop
async def test_daemons_killed_at_any_moment(yard: OpenYard) -> None:
    """Whatever a kill interrupts, the next daemon finds every task or its end, and can clean up."""
    async with yard() as y:
        seen = 0
        await y.service.close()  # others take its place
        for round_ in range(10):
            daemon = spawn_daemon(y, *[{"args": ["sh", "-c", "sleep 0.05; exit 3"]}] * 50)
            folder = y.root / "exec" / "shim"
            wanted = 1 + round_ % 4
            await y.wait_until(partial(_holds, folder, wanted))
            await asyncio.sleep(0.002 * (round_ % 3))
            with daemon:
                daemon.kill()
            y.service = y.new_service()
            for container in sorted(path.name for path in folder.iterdir()):
                found = await y.service.restore(container)
                if isinstance(found, Started):
                    found = await y.exit_of(container)
                assert found is None or found.code in (3, 128, 137)
                seen += isinstance(found, Exit) and found.code == 3
                await y.service.delete(container)
            assert y.left() == []
            await y.service.close()
        y.service = y.new_service()
        assert seen > 0


def _holds(folder: Path, count: int) -> bool:
    return len(list(folder.iterdir())) >= count


def _alive(pids: list[int]) -> list[int]:
    """Return those of ``pids`` that are no zombies."""
    states = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}
    return [pid for pid, state in states.items() if state != "Z"]
