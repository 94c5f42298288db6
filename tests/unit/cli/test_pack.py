"""The launcher's pack, in a copy of what the program needs of the package."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a checkout of the program alone."""
    for part in ("base", "cli", "client"):
        shutil.copytree(
            ROOT / "sampan" / part, tmp_path / "sampan" / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "sampan" / "__init__.py", tmp_path / "sampan")
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin" / "sampan", tmp_path / "bin")
    return tmp_path


def run(
    root: Path, *options: str, command: Sequence[str] = ("--version",)
) -> subprocess.CompletedProcess[str]:
    """Run ``sampan`` with the arguments ``command``, and with ``options`` for Python."""
    program = str(root / "bin" / "sampan")
    return subprocess.run(
        [sys.executable, "-S", "-E", "-I", *options, program, *command],
        capture_output=True,
        text=True,
        check=False,
    )


def packs(root: Path) -> list[Path]:
    return [path for path in (root / "sampan/cli/__pycache__").iterdir() if ".pack" in path.name]


def test_the_first_command_packs_for_the_next(root: Path) -> None:
    assert run(root).stdout.startswith("Sampan version ")
    assert [path.name for path in packs(root)] == [f"{sys.implementation.cache_tag}.pack"]
    second = run(root, "-v")
    assert second.stdout.startswith("Sampan version ")
    loaded = [line for line in second.stderr.splitlines() if line.startswith("import 'sampan")]
    assert len(loaded) == 1  # what every command needs was not looked for one by one
    assert "commands.version" in loaded[0]  # no common command
    assert "SourceFileLoader" in loaded[0]


def test_the_rest_of_a_common_command_comes_from_the_pack(root: Path) -> None:
    run(root)
    shown = run(root, "-v", command=("-H", "unix:///nowhere/s.sock", "ps"))
    assert "Cannot connect" in shown.stderr
    loaded = [line for line in shown.stderr.splitlines() if line.startswith("import 'sampan")]
    assert any("sampan.cli.format" in line for line in loaded)
    assert all("PackImporter" in line for line in loaded)


def test_a_changed_source_is_noticed(root: Path) -> None:
    run(root)
    source = root / "sampan" / "__init__.py"
    source.write_text(source.read_text().replace('__version__ = "', '__version__ = "99.'))
    assert run(root).stdout.startswith("Sampan version 99.")
    assert not packs(root)  # the next command makes a new one
    assert run(root).stdout.startswith("Sampan version 99.")
    assert packs(root)


@pytest.mark.parametrize("size", [0, 7, 4000, 32768])
def test_a_broken_pack_is_replaced(root: Path, size: int) -> None:
    run(root)
    (pack,) = packs(root)
    whole = pack.read_bytes()
    pack.write_bytes(whole[:size] if size < 32768 else b"\0" * size)
    assert run(root).stdout.startswith("Sampan version ")
    assert len(pack.read_bytes()) == len(whole)


def test_a_moved_program_does_not_use_it(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(root)
    moved = tmp_path_factory.mktemp("moved") / "root"
    root.rename(moved)
    assert run(moved).stdout.startswith("Sampan version ")
    assert str(root).encode() not in packs(moved)[0].read_bytes()


def test_where_nothing_can_be_written(root: Path) -> None:
    shutil.rmtree(root / "sampan/cli/__pycache__", ignore_errors=True)
    (root / "sampan/cli/__pycache__").write_text("")
    assert run(root).stdout.startswith("Sampan version ")
