"""Watches on a folder."""

from pathlib import Path

import pytest

from sampan.kernel.inotify import CREATE, DELETE, IGNORED, MODIFY, Inotify


def test_events_of_a_folder(tmp_path: Path) -> None:
    with Inotify() as watches:
        number = watches.add(tmp_path, CREATE | MODIFY | DELETE)
        assert watches.read() == []
        (tmp_path / "ä.log").write_bytes(b"x")
        seen = [(event.watch, event.mask, event.name) for event in watches.read()]
        assert seen == [(number, CREATE, "ä.log"), (number, MODIFY, "ä.log")]
        watches.remove(number)
        watches.remove(number)
        assert [event.mask for event in watches.read()] == [IGNORED]
    watches.close()


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with Inotify() as watches, pytest.raises(FileNotFoundError):
        watches.add(tmp_path / "none", MODIFY)
