"""The command line run in this process against a scripted daemon."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import Done, Sampan
from support.fake_daemon import FakeDaemon

from sampan.cli.main import run


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as fake:
        yield fake


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/s"}


@pytest.fixture
def sampan(environment: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Sampan:
    """Return a function that runs a command line; ``stdin`` is what it can read, None: what there is."""

    def call(*args: str, stdin: bytes | None = b"") -> Done:
        if stdin is None:
            code = run(list(args), environment)
            out, err = capfd.readouterr()
            return Done(code, out, err)
        file = os.memfd_create("stdin")
        os.write(file, stdin)
        os.lseek(file, 0, os.SEEK_SET)
        before = os.dup(0)
        os.dup2(file, 0)
        os.close(file)
        try:
            code = run(list(args), environment)
        finally:
            os.dup2(before, 0)
            os.close(before)
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return call
