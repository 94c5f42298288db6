"""Directories for layers: elsewhere than where files were just removed, and always there in the end."""

from pathlib import Path

import pytest

from sampan.storage import groups
from sampan.storage.groups import Groups


@pytest.mark.parametrize("choosy", [True, False])
def test_a_directory_is_empty_and_private(tmp_path: Path, *, choosy: bool) -> None:
    Groups(choosy=choosy).make(str(tmp_path / "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert list((tmp_path / "new").iterdir()) == []
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_it_is_made_even_where_no_place_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_SLOW_NS", -1)
    found = Groups(choosy=True)
    found.freed(tmp_path.stat().st_ino)
    found.make(str(tmp_path / "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_SLOW_NS", -1)
    (tmp_path / "new-3").mkdir()
    (tmp_path / "new-3" / "in the way").touch()
    with pytest.raises(OSError, match="new"):
        Groups(choosy=True).make(str(tmp_path / "new"))
    assert {path.name for path in tmp_path.iterdir()} == {"new", "new-3"}
