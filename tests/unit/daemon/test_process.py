"""The daemon among other processes: pid file, lock, word to the service manager, stacks, its log."""

import asyncio
import json
import logging
import os
import socket
from pathlib import Path

import pytest

from sampan.base.errors import HostFailure
from sampan.daemon.log import JsonFormatter, TextFormatter
from sampan.daemon.process import PidFile, ServiceManager, dump_stacks, lock_data_root


def test_the_pid_file_refuses_a_second_daemon(tmp_path: Path) -> None:
    path = tmp_path / "run" / "sampan.pid"
    mine = PidFile(path)
    assert path.read_text() == str(os.getpid())
    path.write_text(str(os.getppid()))
    with pytest.raises(HostFailure, match=f"process with PID {os.getppid()} is still running"):
        PidFile(path)
    mine.remove()
    assert path.exists(), "it is another's now"
    for stale in ("", "nonsense", str(2**22 + 1)):
        path.write_text(stale)
        PidFile(path).remove()
        assert not path.exists()


def test_the_data_root_belongs_to_one_daemon(tmp_path: Path) -> None:
    lock = lock_data_root(tmp_path / "data")
    with pytest.raises(HostFailure, match=f"is in use by another daemon \\(PID {os.getpid()}\\)"):
        lock_data_root(tmp_path / "data")
    os.close(lock)
    os.close(lock_data_root(tmp_path / "data"))
    (tmp_path / "file").touch()
    with pytest.raises(HostFailure, match="cannot use the data root"):
        lock_data_root(tmp_path / "file")


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().tell("READY=1")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        told = ServiceManager()
        assert "NOTIFY_SOCKET" not in os.environ
        told.tell("READY=1")
        assert manager.recv(100) == b"READY=1"
    told.tell("STOPPING=1")  # nobody listens any more


def test_stacks_show_threads_and_tasks(tmp_path: Path) -> None:
    async def scene() -> Path:
        waiting = asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="a waiting task")
        await asyncio.sleep(0)
        path = dump_stacks(tmp_path)
        waiting.cancel()
        return path

    text = asyncio.run(scene()).read_text()
    assert "thread MainThread:" in text
    assert "task a waiting task:" in text


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("sampan.x", logging.WARNING, "x.py", 1, message, args, None)
    made.created = 1_500_000_000.25
    made.__dict__.update(extra)
    return made


def test_log_lines_are_logrus_text() -> None:
    line = TextFormatter().format(record('it "broke" on %s', "x", container="abc", path="/a b"))
    assert line == (
        'time="2017-07-14T02:40:00.25Z" level=warning msg="it \\"broke\\" on x" container=abc path="/a b"'
    )


def test_log_lines_are_json_on_demand() -> None:
    found = json.loads(JsonFormatter().format(record("broke", container="abc", folder=Path("/a"))))
    assert found == {
        "time": "2017-07-14T02:40:00.25Z",
        "level": "warning",
        "msg": "broke",
        "container": "abc",
        "folder": "/a",
    }


def test_tracebacks_are_logged() -> None:
    made = record("broke")
    try:
        raise ValueError("inner")
    except ValueError as error:
        made.exc_info = (type(error), error, error.__traceback__)
    assert "\nTraceback" in TextFormatter().format(made)
    assert "ValueError: inner" in json.loads(JsonFormatter().format(made))["traceback"]
