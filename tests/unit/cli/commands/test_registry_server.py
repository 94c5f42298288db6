"""``registry serve`` and ``registry gc``: the program that takes the client's place."""

import os
from pathlib import Path
from typing import NoReturn

import pytest
from support.command_line import Sampan


class Became(Exception):
    """The process would be another one now."""


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of the program that the process becomes."""
    words: list[str] = []

    def execve(program: str, arguments: list[str], _: dict[str, str]) -> NoReturn:
        words.extend([program, *arguments])
        raise Became

    monkeypatch.setattr(os, "execve", execve)
    return words


def test_serve(become: list[str], sampan: Sampan, environment: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "sampan-registry"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    environment["PATH"] = str(tmp_path)
    flags = ("--addr", ":5001", "--delete=false", "--max-blob-size", "1g", "--upload-timeout", "2h30m")
    with pytest.raises(Became):
        sampan("registry", "serve", *flags, "--read-only")
    assert become == [
        str(program),
        "sampan-registry",
        "serve",
        "--addr=:5001",
        "--delete=false",
        "--max-blob-size=1073741824",
        "--upload-timeout=9000",
        "--read-only=true",
    ]
    become.clear()
    with pytest.raises(Became):
        sampan("registry", "gc", "--older-than", "90m", "--dry-run")
    assert become[1:] == ["sampan-registry", "gc", "--older-than=5400", "--dry-run=true"]


def test_the_program_is_missing(sampan: Sampan, environment: dict[str, str], tmp_path: Path) -> None:
    environment["PATH"] = str(tmp_path)
    done = sampan("registry", "gc")
    assert done.code == 1
    assert "sampan-registry is neither beside sampan nor on the PATH" in done.err


def test_arguments(sampan: Sampan) -> None:
    assert "accepts no arguments" in sampan("registry", "serve", "x").err
    assert 'invalid argument "x" for "--older-than" flag' in sampan("registry", "gc", "--older-than", "x").err
    assert "Be a pull-through cache" in sampan("registry", "serve", "--help").out
