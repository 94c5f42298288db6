"""Finding the OCI runtimes, and the copy that crun is run from."""

import os
from pathlib import Path

import pytest

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.runtime import runtimes
from sampan.runtime.runtimes import Runtimes


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("crun", "odd"):
        (folder / name).write_bytes(f"\x7fELF program {name}".encode())
        (folder / name).chmod(0o755)
    (folder / "plain-file").write_bytes(b"")
    monkeypatch.setattr(runtimes, "SEARCH_PATH", f"/nonexistent:{folder}")
    return folder


def test_names_and_paths(programs: Path, tmp_path: Path) -> None:
    known = Runtimes(
        {"crun": "crun", "odd": f"{programs}/odd", "runc": "", "file": "plain-file"}, "crun", tmp_path
    )
    assert known.available() == {"crun": f"{programs}/crun", "odd": f"{programs}/odd"}
    assert known.find("").name == "crun"
    assert known.find("odd").path() == f"{programs}/odd"
    with pytest.raises(InvalidParameter, match="unknown or invalid runtime name: nosuch"):
        known.find("nosuch")
    with pytest.raises(HostFailure, match='OCI runtime "runc" is not installed: there is no runc'):
        known.find("runc").path()


def test_the_default_is_known_without_being_listed(programs: Path, tmp_path: Path) -> None:
    assert Runtimes({}, "crun", tmp_path).available() == {"crun": f"{programs}/crun"}


def test_only_crun_is_copied_and_anew_after_an_upgrade(programs: Path, tmp_path: Path) -> None:
    known = Runtimes({"odd": "odd"}, "crun", tmp_path)
    assert known.find("odd").descriptor() is None
    first = known.find("crun").descriptor()
    assert first is not None
    assert first == known.find("crun").descriptor()
    assert os.pread(first, 99, 0) == b"\x7fELF program crun"
    (programs / "new").write_bytes(b"\x7fELF newer crun")
    (programs / "new").chmod(0o755)
    (programs / "new").replace(programs / "crun")
    second = known.find("crun").descriptor()
    assert second is not None
    assert os.pread(second, 99, 0) == b"\x7fELF newer crun"
    known.close()


def test_a_script_around_crun_is_run_by_its_path(programs: Path, tmp_path: Path) -> None:
    (programs / "crun").write_bytes(b"#!/bin/sh\nexec real-crun")
    known = Runtimes({}, "crun", tmp_path)
    assert known.find("crun").descriptor() is None
    assert known.find("crun").crun
    known.close()


def test_what_is_known_of_each(programs: Path, tmp_path: Path) -> None:
    known = Runtimes({"runc": "/usr/sbin/runc", "odd": "odd"}, "crun", tmp_path)
    assert [known.find(name).plain for name in ("crun", "runc", "odd")] == [True, True, False]


def test_a_command_that_fails_is_quoted(programs: Path, tmp_path: Path) -> None:
    (programs / "odd").write_text('#!/bin/sh\necho "no such container: $4" >&2; exit 1\n')
    known = Runtimes({"odd": "odd"}, "crun", tmp_path)
    with pytest.raises(HostFailure, match="odd delete failed: no such container: box"):
        known.find("odd").run("delete", "box")
