"""Finding an init that runs in every container."""

import struct
from pathlib import Path

import pytest

from sampan.base.errors import HostFailure
from sampan.runtime import init
from sampan.runtime.init import find_init, needs_libraries


def elf(path: Path, *kinds: int, magic: bytes = b"\x7fELF") -> Path:
    header = (
        magic + bytes([2, 1]) + bytes(26) + struct.pack("<QQIHHH", 64, 0, 0, 64, 56, len(kinds)) + bytes(6)
    )
    path.write_bytes(header + b"".join(struct.pack("<I", kind) + bytes(52) for kind in kinds))
    path.chmod(0o755)
    return path


def test_program_headers(tmp_path: Path) -> None:
    assert not needs_libraries(elf(tmp_path / "static", 1, 1, 6))
    assert needs_libraries(elf(tmp_path / "dynamic", 6, 3, 1))
    assert needs_libraries(elf(tmp_path / "script", 1, magic=b"#!/b"))
    (tmp_path / "short").write_bytes(b"\x7fELF")
    assert needs_libraries(tmp_path / "short")


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(init, "_DIRECTORIES", (str(tmp_path / "libexec"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("libexec", "bin"):
        (tmp_path / name).mkdir()
    find_init.cache_clear()
    return tmp_path


def test_order(search: Path) -> None:
    elf(search / "bin/catatonit", 1)
    elf(search / "bin/docker-init", 3, 1)  # would not run without its libraries
    elf(search / "libexec/tini", 1)
    assert find_init() == search / "bin/catatonit"
    find_init.cache_clear()
    elf(search / "libexec/docker-init", 1)
    assert find_init() == search / "libexec/docker-init"
    find_init.cache_clear()


@pytest.mark.usefixtures("search")
def test_none() -> None:
    with pytest.raises(HostFailure, match='exec: "docker-init": executable file not found'):
        find_init()
    find_init.cache_clear()
