"""What clients see and say: frames, terminals, half-close, many clients, slow ones and dead ones."""

import asyncio
import hashlib
import os
import socket
import time

import pytest
from support.tasks import ALL, OUTPUT, OpenYard, frames, on_loop, start

from sampan.base.errors import HostFailure
from sampan.runtime.task import NotRunning, Streams

pytestmark = pytest.mark.root
STDIN = Streams(stdin=True, stdout=False, stderr=False)
STDOUT = Streams(stdin=False, stdout=True, stderr=False)
STDERR = Streams(stdin=False, stdout=False, stderr=True)
MEGABYTES = 24
FLOOD = f"dd if=/dev/zero bs=1M count={MEGABYTES} 2>/dev/null"


@on_loop
async def test_each_client_gets_its_streams(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "read go; echo out; echo err >&2", stdin=True)
        attached = {streams: y.client(streams) for streams in (OUTPUT, STDOUT, STDERR, STDIN)}
        await y.service.start(task, [end for _, end in attached.values()])
        await attached[STDIN][0].send(b"go\n")
        got = {streams: frames(await client.read()) for streams, (client, _) in attached.items()}
        assert got[OUTPUT] == {1: b"out\n", 2: b"err\n"}
        assert got[STDOUT] == {1: b"out\n", 2: b""}
        assert got[STDERR] == {1: b"", 2: b"err\n"}
        assert got[STDIN] == {1: b"", 2: b""}


@on_loop
async def test_half_close_reaches_the_process_and_its_answer_the_client(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "cat; echo end", stdin=True)
        client, end = y.client()
        await y.service.start(task, [end])
        await client.send(b"one\ntwo\n")
        client.end_input()
        assert frames(await client.read())[1] == b"one\ntwo\nend\n"
        assert (await y.exit_of(task.id)).code == 0


@on_loop
async def test_a_client_that_hangs_up_ends_stdin_too(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "wc -c > /tmp/count; cat /tmp/count", stdin=True)
        client, end = y.client(STDIN)
        watcher, other = y.client(OUTPUT)
        await y.service.start(task, [end, other])
        await client.send(b"x" * 100_000)
        client.close()
        assert frames(await watcher.read())[1] == b"100000\n"


@on_loop
async def test_stdin_that_is_kept_open_outlives_its_clients(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("cat", stdin=True, once=False)
        await start(y, task)
        for text in (b"first\n", b"second\n"):
            client = await y.attach(task.id)
            await client.send(text)
            assert text.strip() in await client.read_until(text)
            client.end_input()
            assert await client.read() == b""  # Docker detaches such a client
        assert y.exits == {}


@on_loop
async def test_without_open_stdin_there_is_none(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "cat; readlink /proc/self/fd/0")
        client, end = y.client()
        await client.send(b"ignored")
        await y.service.start(task, [end])
        assert frames(await client.read())[1] == b"/dev/null\n"


@on_loop
async def test_two_clients_write(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "read a; read b; echo $a $b", stdin=True, once=False)
        first, end = y.client()
        await y.service.start(task, [end])
        second = await y.attach(task.id)
        await first.send(b"one\n")
        await second.send(b"two\n")
        output = frames(await first.read())[1]
        assert sorted(output.split()) == [b"one", b"two"]
        assert frames(await second.read())[1] == output


@on_loop
async def test_much_input_is_passed_on_at_the_readers_pace(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "sleep 0.2; md5sum", stdin=True)
        client, end = y.client()
        await y.service.start(task, [end])
        text = os.urandom(4 << 20)
        await client.send(text)
        client.end_input()
        assert frames(await client.read())[1].split()[0].decode() == hashlib.md5(text).hexdigest()  # noqa: S324
        assert (await y.exit_of(task.id)).code == 0


@on_loop
async def test_a_process_that_closes_stdin_does_not_hold_clients_up(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "exec <&-; echo closed; sleep 0.3; echo end", stdin=True)
        client, end = y.client()
        await y.service.start(task, [end])
        await client.read_until(b"closed")
        await client.send(b"x" * (1 << 20))
        client.end_input()
        assert b"end" in await client.read()


@on_loop
async def test_terminal(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", tty=True, stdin=True, size=(33, 77), env=["PATH=/bin", "PS1=$ ", "TERM=dumb"])
        client, end = y.client()
        await y.service.start(task, [end])
        await client.send(b"tty; stty size\n")
        assert b"/dev/pts/0\r\n33 77\r\n" in await client.read_until(b"33 77\r\n")
        await y.service.resize(task.id, 10, 20)
        await client.send(b"stty size\n")
        assert b"10 20\r\n" in await client.read_until(b"10 20\r\n")
        await client.send(b"exit 9\n")
        assert (await y.exit_of(task.id)).code == 9
        await client.read()


@on_loop
async def test_last_words_on_a_terminal_are_not_lost(yard: OpenYard) -> None:
    async with yard() as y:
        for _ in range(5):
            task = y.task(
                "sh", "-c", "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done", tty=True
            )
            _, output = await y.run(task)
            assert output.split(b"\r\n") == [*(b"line %d" % i for i in range(400)), b""]


@on_loop
async def test_a_terminal_nobody_has_open_for_a_while(yard: OpenYard) -> None:
    async with yard() as y:
        script = "exec <&- >&- 2>&-; sleep 0.2; exec >/dev/pts/0; echo back"
        _, output = await y.run(y.task("sh", "-c", script, tty=True))
        assert output == b"back\r\n"


@on_loop
async def test_attach_to_what_runs_and_to_what_does_not(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "read x; echo $x", stdin=True)
        await start(y, task)
        client = await y.attach(task.id)
        await client.send(b"hello\n")
        assert frames(await client.read())[1] == b"hello\n"
        await y.exit_of(task.id)
        for request in (y.service.attach(task.id, ALL), y.service.resize(task.id, 1, 1)):
            with pytest.raises(NotRunning, match=f"container {task.id} is not running"):
                await request


@on_loop
async def test_hand_over_a_clients_own_connection(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("cat", stdin=True)
        await start(y, task)
        with socket.create_server(("127.0.0.1", 0)) as server:
            far = socket.create_connection(server.getsockname())
            near, _ = server.accept()
        await y.service.hand_over(task.id, near, ALL)
        assert near.fileno() == -1
        far.sendall(b"over tcp\n")
        far.shutdown(socket.SHUT_WR)
        await y.exit_of(task.id)
        far.settimeout(5)
        data = b"".join(iter(lambda: far.recv(4096), b""))
        far.close()
        assert frames(data)[1] == b"over tcp\n"


@on_loop
async def test_many_clients_get_everything(yard: OpenYard) -> None:
    async with yard() as y:
        clients = [y.client(OUTPUT) for _ in range(20)]
        task = y.task("sh", "-c", "seq 1 20000")
        await y.service.start(task, [end for _, end in clients])
        outputs = await asyncio.gather(*(client.read() for client, _ in clients))
        expected = b"".join(b"%d\n" % i for i in range(1, 20001))
        assert {frames(output)[1] for output in outputs} == {expected}


@on_loop
async def test_a_client_slower_than_the_process_gets_everything(yard: OpenYard) -> None:
    async with yard() as y:
        client, end = y.client(STDOUT)
        task = y.task("sh", "-c", FLOOD)
        await y.service.start(task, [end])
        got = 0
        loop = asyncio.get_running_loop()
        while chunk := await loop.sock_recv(client.socket, 1 << 20):
            got += len(chunk)
            await asyncio.sleep(0.001)
        assert got >= MEGABYTES << 20
        assert (await y.exit_of(task.id)).code == 0


@on_loop
async def test_a_dead_client_holds_nothing_up(yard: OpenYard) -> None:
    async with yard() as y:
        client, end = y.client(STDOUT)
        task = y.task("sh", "-c", f"{FLOOD}; echo done >&2")
        watcher, other = y.client(STDERR)
        await y.service.start(task, [end, other])
        await asyncio.sleep(0.1)
        client.close()
        assert frames(await watcher.read())[2] == b"done\n"


@pytest.mark.slow
@on_loop
async def test_a_client_that_reads_nothing_is_cut_off(yard: OpenYard) -> None:
    async with yard() as y:
        _silent, end = y.client(STDOUT)
        task = y.task("sh", "-c", f"{FLOOD}; echo done >&2")
        watcher, other = y.client(STDERR)
        begun = time.monotonic()
        await y.service.start(task, [end, other])
        assert frames(await watcher.read())[2] == b"done\n"
        assert 9 < time.monotonic() - begun < 20


@on_loop
async def test_the_exit_does_not_wait_for_clients(yard: OpenYard) -> None:
    async with yard() as y:
        client, end = y.client(STDOUT)
        task = y.task("sh", "-c", "dd if=/dev/zero bs=1k count=600 2>/dev/null")
        await y.service.start(task, [end])
        assert (await y.exit_of(task.id)).code == 0
        await y.service.delete(task.id)
        assert y.left() == []
        assert len(frames(await client.read())[1]) == 600 * 1024


@on_loop
async def test_a_stranger_with_the_pipe_does_not_hold_the_end_up(yard: OpenYard) -> None:
    """Without a pid namespace a child outlives init, and has its stdout open."""
    async with yard() as y:
        task = y.task("sh", "-c", "sleep 1000 & echo main", stdin=False)
        task = y.without_namespace(task, "pid")
        client, end = y.client(OUTPUT)
        begun = time.monotonic()
        await y.service.start(task, [end])
        assert frames(await client.read())[1] == b"main\n"
        assert (await y.exit_of(task.id)).code == 0
        assert time.monotonic() - begun < 5
        await y.service.delete(task.id)
        assert await y.service.pids(task.id) == []


@on_loop
async def test_execs(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        exec_id, client = await y.exec(task.id, "sh", "-c", "echo out; echo err >&2; exit 4")
        assert frames(await client.read()) == {1: b"out\n", 2: b"err\n"}
        assert (await y.exec_exit_of(exec_id)).code == 4
        exec_id, client = await y.exec(task.id, "cat", stdin=True)
        await client.send(b"hello")
        client.end_input()
        assert frames(await client.read())[1] == b"hello"
        assert (await y.exec_exit_of(exec_id)).code == 0


@on_loop
async def test_exec_on_a_terminal(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        exec_id, client = await y.exec(task.id, "sh", "-c", "tty; read x; stty size", tty=True, stdin=True)
        await client.read_until(b"/dev/pts/0")
        await y.service.exec_resize(task.id, exec_id, 12, 34)
        await client.send(b"\n")
        assert b"12 34\r\n" in await client.read()
        assert (await y.exec_exit_of(exec_id)).code == 0
        with pytest.raises(NotRunning):
            await y.service.exec_resize(task.id, exec_id, 1, 1)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@on_loop
async def test_many_execs_at_once(yard: OpenYard, runtime: str) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000", runtime=runtime)
        await start(y, task)
        runs = await asyncio.gather(*(y.exec(task.id, "sh", "-c", f"echo {n}; exit {n}") for n in range(16)))
        for n, (exec_id, client) in enumerate(runs):
            assert frames(await client.read())[1] == b"%d\n" % n
            assert (await y.exec_exit_of(exec_id)).code == n


@on_loop
async def test_a_detached_exec(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        for tty in (False, True):
            exec_id = await y.detached_exec(task.id, "sh", "-c", "seq 1 100000; exit 6", tty=tty)
            assert (await y.exec_exit_of(exec_id)).code == 6


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@on_loop
async def test_execs_that_cannot_be_run(yard: OpenYard, runtime: str) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000", runtime=runtime)
        await start(y, task)
        for command, code, words in (
            ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
            ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ):
            for tty in (False, True):
                with pytest.raises(HostFailure) as failed:
                    await y.exec(task.id, command, tty=tty)
                where = "OCI runtime exec failed: exec failed: unable to start container process"
                assert str(failed.value) == f"{where}: {words}: unknown"
                assert getattr(failed.value, "exit_code", 0) == code
        assert y.exec_exits == {}
        exec_id, client = await y.exec(task.id, "true")
        await client.read()
        assert (await y.exec_exit_of(exec_id)).code == 0
        files = (y.root / "exec" / "shim" / task.id).iterdir()
        assert sorted(path.name for path in files) == ["shim.sock", "task"]


@on_loop
async def test_an_exec_leaves_with_its_container(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sh", "-c", "read x; exit 3", stdin=True)
        client, end = y.client(STDIN)
        await y.service.start(task, [end])
        exec_id, _ = await y.exec(task.id, "sleep", "1000")
        await client.send(b"\n")
        assert (await y.exit_of(task.id)).code == 3
        assert (await y.exec_exit_of(exec_id)).code == 137


@on_loop
async def test_an_execs_background_child_does_not_hold_it_up(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.task("sleep", "1000")
        await start(y, task)
        exec_id, client = await y.exec(task.id, "sh", "-c", "sleep 500 & echo started")
        assert frames(await client.read())[1] == b"started\n"
        assert (await y.exec_exit_of(exec_id)).code == 0


@on_loop
async def test_a_stranger_that_writes_on_for_ever_does_not_either(yard: OpenYard) -> None:
    async with yard() as y:
        task = y.without_namespace(y.task("sh", "-c", "yes & sleep 0.05"), "pid")
        client, end = y.client(OUTPUT)
        await y.service.start(task, [end])
        assert len(await client.read()) > 0
        assert (await y.exit_of(task.id)).code == 0
        await y.service.delete(task.id)
        assert await y.service.pids(task.id) == []
