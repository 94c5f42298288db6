"""The groups above the containers' groups: those that came with our containers go with them.

A group that was there before belongs to somebody else. Which ones are ours outlives the daemon, in one file:
a daemon that was killed leaves them to the next.
"""

import logging
from contextlib import suppress
from pathlib import Path, PurePosixPath

import msgspec

from sampan.kernel.cgroup import Group, Layout, remove_if_empty

_log = logging.getLogger(__name__)


class Parents:
    """Remembers the groups above containers' groups in ``file``: a JSON list of paths. Blocking."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ours: dict[str, bool] = {}
        self._load()

    def note(self, layout: Layout, group: str) -> None:
        """Take note of the group above ``group``, which is about to be made. Raises OSError."""
        parent = str(PurePosixPath("/", group).parent)
        if parent == "/" or parent in self._ours:
            return
        self._ours[parent] = not Group(layout, parent).exists()
        if self._ours[parent]:
            self._save()

    def remove(self, layout: Layout) -> None:
        """Remove those of our groups in which nothing is left, also what another daemon noted meanwhile."""
        self._load()
        for parent in [path for path, ours in self._ours.items() if ours]:
            try:
                if remove_if_empty(layout, parent):
                    del self._ours[parent]
            except OSError as error:
                _log.debug("group stays", extra={"cgroup": parent, "reason": str(error)})
        self._save()

    def _load(self) -> None:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            self._ours |= dict.fromkeys(msgspec.json.decode(self._file.read_bytes(), type=list[str]), True)

    def _save(self) -> None:
        kept = [path for path, ours in self._ours.items() if ours]
        if not kept:
            self._file.unlink(missing_ok=True)
            return
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(kept))
        fresh.replace(self._file)
