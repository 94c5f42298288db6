"""A task's start and end, by each runtime: exit codes, failures in Docker's words, nothing left behind."""

import asyncio
import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from support.tasks import ALL, OUTPUT, OpenYard, frames, on_loop, start

from sampan.base import faults
from sampan.base.errors import InvalidParameter
from sampan.kernel.cgroup import Group, find_layout
from sampan.runtime import shim
from sampan.runtime.task import LogTarget, NotRunning, RuntimeFailed

pytestmark = pytest.mark.root
runtimes = pytest.mark.parametrize("runtime", ["crun", "runc"])


@runtimes
@on_loop
async def test_output_and_exit_code(yard: OpenYard, runtime: str) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "echo out; echo err >&2; exit 3", runtime=runtime)
        ended, output = await y.run(task)
        assert (ended.code, ended.oom_killed) == (3, False)
        assert frames(output) == {1: b"out\n", 2: b"err\n"}


@runtimes
@on_loop
async def test_a_short_life_is_reported_once(yard: OpenYard, runtime: str) -> None:
    async with yard() as y:
        tasks = [y.task("true", runtime=runtime) for _ in range(8)]
        started = await asyncio.gather(*(start(y, task) for task in tasks))
        for task, begun in zip(tasks, started, strict=True):
            ended = await y.exit_of(task.id)
            assert ended.code == 0
            assert ended.finished_ns > 0
            assert begun.started_ns > 0


@runtimes
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 126, "permission denied"),
    ],
)
@on_loop
async def test_what_cannot_be_run(yard: OpenYard, runtime: str, command: str, code: int, words: str) -> None:
    async with yard() as y:
        client, end = y.client()
        with pytest.raises(RuntimeFailed) as failed:
            await y.service.start(y.task(command, runtime=runtime), [end])
        assert failed.value.exit_code == code
        assert isinstance(failed.value, InvalidParameter)
        message = str(failed.value)
        assert words in message
        assert message.startswith(
            "failed to create task for container: failed to create shim task: "
            f"OCI runtime create failed: {runtime} create failed: unable to start container process: "
        )
        assert message.removesuffix(": permission denied").endswith(": unknown")
        assert message.count(words) == 1
        end[0].close()  # still ours
        assert await client.read() == b""
        await y.wait_until(lambda: not y.shims())
        assert y.left() == []
        assert y.exits == {}


@on_loop
async def test_a_failure_of_the_host_is_not_the_users(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("true", rlimits=[{"type": "RLIMIT_NOFILE", "hard": 1 << 40, "soft": 1 << 40}])
        with pytest.raises(RuntimeFailed) as failed:
            await start(y, task)
        assert failed.value.exit_code == 128
        assert not isinstance(failed.value, InvalidParameter)


@on_loop
async def test_runtimes_that_are_not_there(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        with pytest.raises(InvalidParameter, match="unknown or invalid runtime name: nosuch"):
            await start(y, y.task("true", runtime="nosuch"))
        assert y.left() == []


@on_loop
async def test_any_runtime_by_path(yard: OpenYard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = tmp_path / "my-runtime"
    wrapper.write_text('#!/bin/sh\nexec runc "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr("support.tasks.RUNTIMES", {"mine": str(wrapper), "gone": str(tmp_path / "gone")})
    async with yard() as y:
        assert y.service.available()["mine"] == str(wrapper)
        assert "gone" not in y.service.available()
        ended, output = await y.run(y.task("echo", "hello", runtime="mine"))
        assert ended.code == 0
        assert frames(output)[1] == b"hello\n"
        task = y.task("sleep", "1000", runtime="mine")
        await start(y, task)
        await y.service.pause(task.id)
        await y.service.resume(task.id)
        await y.service.delete(task.id)
        assert (await y.exit_of(task.id)).code == 137
        with pytest.raises(Exception, match='OCI runtime "gone" is not installed'):
            await start(y, y.task("true", runtime="gone"))


@on_loop
async def test_a_missing_shim_is_named(yard: OpenYard, monkeypatch: pytest.MonkeyPatch) -> None:
    async with yard() as y:
        monkeypatch.setattr(shim, "BINARY", Path("/nonexistent/sampan-shim"))
        with pytest.raises(Exception, match="container monitor /nonexistent/sampan-shim is missing"):
            await start(y, y.task("true"))
        assert y.left() == []


@on_loop
async def test_a_log_that_cannot_be_opened(yard: OpenYard, tmp_path: Path) -> None:
    async with yard() as y:
        target = LogTarget("json-file", tmp_path / "no" / "such" / "log")
        with pytest.raises(RuntimeFailed, match="failed to initialize logging driver: No such file"):
            await start(y, y.task("true", log=target))


@runtimes
@on_loop
async def test_signals(yard: OpenYard, runtime: str) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 1; done",
                      runtime=runtime)  # fmt: skip
        client, end = y.client(OUTPUT)
        await y.service.start(task, [end])
        await client.read_until(b"ready")
        await y.service.kill(task.id, signal.SIGUSR1)
        assert b"got it" in await client.read()
        assert (await y.exit_of(task.id)).code == 7
        with pytest.raises(NotRunning):
            await y.service.kill(task.id, signal.SIGTERM)


@on_loop
async def test_killed_by_a_signal_is_128_and_more(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        await y.service.kill(task.id, signal.SIGKILL)
        assert (await y.exit_of(task.id)).code == 137


@on_loop
async def test_kill_of_all_processes(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "sleep 1000 & sleep 1000 & wait; exit 5")
        await start(y, task)
        group = Group(find_layout(), task.cgroup_path)
        await y.wait_until(lambda: len(group.procs()) == 3)
        pids = await y.service.pids(task.id)
        assert pids == sorted(pids)
        await y.service.kill(task.id, signal.SIGKILL, all=True)
        assert (await y.exit_of(task.id)).code == 137
        assert await y.service.pids(task.id) == []


@runtimes
@on_loop
async def test_pause_and_resume(yard: OpenYard, runtime: str) -> None:
    async with yard() as y:
        task = y.task("cat", stdin=True, runtime=runtime)
        client, end = y.client(ALL)
        await y.service.start(task, [end])
        await y.service.pause(task.id)
        await client.send(b"hello\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.read_until(b"hello")
        await y.service.resume(task.id)
        assert b"hello" in await client.read_until(b"hello")


@on_loop
async def test_a_paused_task_can_be_deleted(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        await y.service.pause(task.id)
        await y.service.delete(task.id)
        assert (await y.exit_of(task.id)).code == 137


@runtimes
@on_loop
async def test_out_of_memory(yard: OpenYard, runtime: str) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M", runtime=runtime, memory=32 << 20)
        await start(y, task)
        ended = await y.exit_of(task.id)
        assert ended.oom_killed
        assert y.ooms == [task.id]


@on_loop
async def test_deletion_is_idempotent_and_ends_what_runs(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "trap '' TERM INT; sleep 1000 & sleep 1000")
        await start(y, task)
        await y.service.delete(task.id)
        assert (await y.exit_of(task.id)).code == 137
        await y.service.delete(task.id)
        await y.service.delete("unknown")


@on_loop
async def test_the_same_container_again(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("true")
        for _ in range(3):
            await start(y, task)
            await y.exit_of(task.id)
            del y.exits[task.id]


@on_loop
async def test_cancelled_starts_leave_nothing(yard: OpenYard) -> None:
    async with yard() as y:
        for delay_s in (0.0, 0.001, 0.005, 0.01, 0.02):
            task = y.task("sleep", "1000")
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await start(y, task)
            await y.service.delete(task.id)
            assert y.left() == []


@pytest.mark.parametrize("step", ["runtime.start.files", "runtime.start.shim"])
@on_loop
async def test_a_step_that_fails_leaves_nothing(yard: OpenYard, step: str) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        faults.arm(step)
        try:
            with pytest.raises(faults.InjectedFault):
                await start(y, task)
        finally:
            faults.disarm(step)
        assert y.left() == []
        assert not Group(find_layout(), task.cgroup_path).exists()
        assert y.exits == {}
        await start(y, task)


@on_loop
async def test_no_descriptor_reaches_the_container(yard: OpenYard) -> None:
    inheritable, other = os.pipe()
    os.set_inheritable(inheritable, True)  # a careless part of the daemon
    try:
        async with yard() as y:
            for tty in (False, True):
                ended, output = await y.run(y.task("ls", "-1", "/proc/self/fd", tty=tty))
                assert ended.code == 0
                text = output if tty else frames(output)[1]
                assert text.split() == [b"0", b"1", b"2", b"3"]  # 3 is ls's own: the directory
    finally:
        os.close(inheritable)
        os.close(other)


@on_loop
async def test_the_shim_keeps_to_itself(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        (pid,) = y.shims()
        process = Path(f"/proc/{pid}")
        assert os.getsid(pid) == pid
        assert (process / "cwd").readlink() == Path("/")
        kinds = [str(path.readlink()) for path in (process / "fd").iterdir()]
        assert kinds.count("/null") == 4
        assert not [kind for kind in kinds if kind.startswith(("/tmp", "/work")) and "exec/shim" not in kind]
        directory = y.root / "exec" / "shim" / task.id
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            os.kill(pid, number)
        await y.service.kill(task.id, signal.SIGKILL)
        assert (await y.exit_of(task.id)).code == 137


@on_loop
async def test_the_container_has_clean_signals(yard: OpenYard) -> None:
    async with yard() as y:
        _, output = await y.run(y.task("grep", "^Sig", "/proc/self/status"))
        masks = dict(line.split(b":\t") for line in frames(output)[1].splitlines())
        assert int(masks[b"SigBlk"], 16) == 0
        assert int(masks[b"SigIgn"], 16) == 0


@on_loop
async def test_bind_mounts_stay_peers_of_the_host(yard: OpenYard, tmp_path: Path) -> None:
    """The runtime's private view of the cgroup trees must not cut shared mounts off."""
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        (pid,) = y.shims()
        own = Path("/proc/self/ns/mnt").readlink()
        assert Path(f"/proc/{pid}/ns/mnt").readlink() == own
