"""Spawning, sealed copies, reaping, identity."""

import errno
import os
import signal
from pathlib import Path

import pytest

from sampan.kernel.process import kill_session, open_null, reap, sealed_copy, spawn, start_time

NULL = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def test_a_child_has_exactly_the_descriptors_it_was_given() -> None:
    reader, writer = os.pipe()
    stray = os.open("/dev/zero", os.O_RDONLY)
    pid = spawn("/bin/sh", ["sh", "-c", "kill -STOP $$"], {}, [writer, reader], null=NULL)
    try:
        os.waitpid(pid, os.WUNTRACED)  # it holds still
        links = {path.name: str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        mine = {path.name for path in Path("/proc/self/fd").iterdir() if _inheritable(int(path.name))}
        pipe = str(Path(f"/proc/self/fd/{reader}").readlink())
        expected = {"0": os.devnull, "1": os.devnull, "2": os.devnull, "3": pipe, "4": pipe}
        careless = mine - expected.keys()  # of whoever started the tests
        assert {name: link for name, link in links.items() if name not in careless} == expected
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (reader, writer, stray):
            os.close(fd)


@pytest.mark.root
def test_a_null_device_of_ones_own() -> None:
    owner = Path(os.devnull).stat().st_uid
    null = open_null()
    try:
        os.fchown(null, owner + 35, 35)
        assert os.fstat(null).st_rdev == Path(os.devnull).stat().st_rdev
        assert Path(os.devnull).stat().st_uid == owner
        assert os.write(null, b"x") == 1
        again = os.open(f"/proc/self/fd/{null}", os.O_RDWR)
        assert os.read(again, 1) == b""
        os.close(again)
    finally:
        os.close(null)


def test_order_holds_when_sources_are_among_the_targets(tmp_path: Path) -> None:
    """Low numbers are swapped: each must arrive where it was meant to."""
    files = []
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
        files.append(os.open(tmp_path / name, os.O_RDONLY))
    reader, writer = os.pipe()
    try:
        order = [writer, *reversed(files)]
        script = "cat <&4 >&3; cat <&5 >&3; cat <&6 >&3"
        pid = spawn("/bin/sh", ["sh", "-c", script], {"PATH": "/bin"}, order, null=NULL)
        os.waitpid(pid, 0)
        os.close(writer)
        with os.fdopen(reader) as output:
            assert output.read() == "cba"
    finally:
        for fd in files:
            os.close(fd)


def test_a_child_leads_a_session_with_clean_signals() -> None:
    old = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    reader, writer = os.pipe()
    try:
        look = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
        pid = spawn("/bin/grep", look, {}, [writer], null=NULL)
        assert os.getsid(pid) == pid
        os.waitpid(pid, 0)
        shell = ["sh", "-c", "grep ^Sig /proc/self/status >&3"]
        pid = spawn("/bin/sh", shell, {"PATH": "/bin"}, [writer], null=NULL)
        os.waitpid(pid, 0)
        os.close(writer)
        with os.fdopen(reader) as output:
            masks = dict(line.split(":\t") for line in output.read().splitlines())
        assert int(masks["SigBlk"], 16) == 0
        assert not int(masks["SigIgn"], 16) & 1 << (signal.SIGTERM - 1)
    finally:
        signal.signal(signal.SIGTERM, old)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_what_cannot_be_spawned() -> None:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        spawn("/nonexistent", ["x"], {}, [0], null=NULL)
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def test_a_sealed_copy_runs_and_cannot_be_changed() -> None:
    fd = sealed_copy("/bin/true")
    try:
        with pytest.raises(OSError, match="Operation not permitted") as refused:
            os.write(fd, b"x")
        assert refused.value.errno == errno.EPERM
        pid = os.posix_spawn(f"/proc/self/fd/{fd}", ["true"], {})
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        os.close(fd)


def test_sealed_copy_of_nothing() -> None:
    with pytest.raises(FileNotFoundError):
        sealed_copy("/nonexistent")


def test_reaping() -> None:
    reader, writer = os.pipe()
    pid = spawn("/bin/sh", ["sh", "-c", "read x <&3"], {"PATH": "/bin"}, [reader], null=NULL)
    os.close(reader)
    assert reap(pid) is False
    os.close(writer)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert reap(pid) is True
    assert reap(pid) is True


def test_start_time_names_a_process() -> None:
    mine = start_time(os.getpid())
    assert mine is not None
    assert mine == start_time(os.getpid())
    parent = start_time(os.getppid())
    assert parent is None or parent <= mine
    assert start_time(2**22 + 1) is None


def test_killing_a_session() -> None:
    reader, writer = os.pipe()
    pid = spawn(
        "/bin/sh", ["sh", "-c", "sleep 1000 & echo started >&3; wait"], {"PATH": "/bin"}, [writer], null=NULL
    )
    os.close(writer)
    assert os.read(reader, 99) == b"started\n"
    kill_session(pid)
    assert os.read(reader, 99) == b""  # the child in the background had it too
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    os.close(reader)


def _inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the one of the listing itself
        return False
