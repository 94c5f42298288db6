"""The files of one log: the present one and its rotated ancestors, opened so that rotation cannot confuse.

``path`` is written to; on rotation it becomes ``path.1``, which may then be compressed to ``path.1.gz`` while
the plain file still lies beside it. Everything here blocks.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from sampan.logs.driver import LogDriver

_COPY: Final = 1 << 20
_GZIP: Final = 31  # zlib.h, windowBits: a gzip header and the largest window
_MOST: Final = 1000  # a rotated file beyond any max-file in use


class LogFile:
    """An open log file and how far it has been read.

    ``present`` tells the file that is still written to; a ``packed`` one is unpacked, into a file without a
    name in ``directory``, when it is first read.
    """

    def __init__(self, file: IO[bytes], *, present: bool = False, packed: bool = False) -> None:
        status = os.fstat(file.fileno())
        self.inode = status.st_ino
        self.offset = 0
        self.present = present
        self.packed = packed
        self._file = file
        self._unpacked = not packed

    @property
    def changed_ns(self) -> int:
        """When the file was last written to."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    @property
    def size(self) -> int:
        """How many bytes of log it has now."""
        return os.fstat(self._descriptor()).st_size

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; empty at the end of what is there now."""
        descriptor = self._descriptor()
        if self.present and os.fstat(descriptor).st_size < self.offset:
            self.offset = 0  # cut short in place
        data = os.pread(descriptor, size, self.offset)
        self.offset += len(data)
        return data

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes from ``offset`` on, wherever reading stands."""
        return os.pread(self._descriptor(), length, offset)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _descriptor(self) -> int:
        if not self._unpacked:
            packed, self._unpacked = self._file, True
            with packed:
                self._file = _unpack(packed)
        return self._file.fileno()


def open_log(path: Path, driver: LogDriver, *, tail: int, since_ns: int | None) -> list[LogFile]:
    """Open the files of the log at ``path``, oldest first, standing where the last ``tail`` records begin.

    A ``tail`` of -1 means all, 0 only what is yet to come. Files whose last change was before ``since_ns``
    are left out. The present file is the last in the list, unless there is none.
    """
    files: list[LogFile] = []
    try:
        wanted = tail
        for log in _newest_first(path):
            if not log.present and since_ns is not None and log.changed_ns < since_ns:
                log.close()
                break
            files.append(log)
            if tail == 0:
                log.offset = log.size
                break
            if tail > 0:
                log.offset, found = driver.find_tail(log.read_at, log.size, wanted)
                wanted -= found
                if wanted <= 0:
                    break
    except BaseException:
        close_all(files)
        raise
    files.reverse()
    return files


def open_successors(path: Path, log: LogFile) -> list[LogFile]:
    """Return the files that came after ``log``, oldest first, up to the present one.

    Empty while ``log`` is itself the present file, or while there is none.
    """
    newer: list[LogFile] = []
    last_ns = log.changed_ns
    for candidate in _newest_first(path):
        # gzip gives its file the times of the one that it packed
        older = candidate.changed_ns <= last_ns if candidate.packed else candidate.changed_ns < last_ns
        if candidate.inode == log.inode or (older and not candidate.present):
            candidate.close()
            break
        newer.append(candidate)
    newer.reverse()
    if newer and not newer[-1].present:  # between the two steps of a rotation
        close_all(newer)
        return []
    return newer


def close_all(files: list[LogFile]) -> None:
    """Close every file of the list."""
    for log in files:
        log.close()


def _newest_first(path: Path) -> Iterator[LogFile]:
    seen: set[int] = set()
    for number in range(_MOST):
        opened = _open(path, present=True) if number == 0 else _open_rotated(path, number)
        if opened is None:
            if number:
                return
        elif opened.inode in seen:  # rotation pushed a file that we have on to this number
            opened.close()
        else:
            seen.add(opened.inode)
            yield opened


def _open_rotated(path: Path, number: int) -> LogFile | None:
    plain = path.with_name(f"{path.name}.{number}")
    for _ in range(2):  # compression may end between the first look and the second
        if (found := _open(plain)) or (found := _open(plain.with_name(f"{plain.name}.gz"), packed=True)):
            return found
    return None


def _open(path: Path, *, present: bool = False, packed: bool = False) -> LogFile | None:
    try:
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return LogFile(file, present=present, packed=packed)


def _unpack(packed: IO[bytes]) -> IO[bytes]:
    """Return the content of a gzip file; of a damaged one, what comes before the damage."""
    import tempfile  # brings a dozen modules with it, for what few logs need

    directory = Path(f"/proc/self/fd/{packed.fileno()}").readlink().parent
    unpacked = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        machine = zlib.decompressobj(_GZIP)
        while data := packed.read(_COPY):
            while data:
                with suppress(zlib.error):
                    unpacked.write(machine.decompress(data, _COPY))
                    data = machine.unconsumed_tail
                    if machine.eof:  # gzip files may be put one behind the other
                        data, machine = machine.unused_data, zlib.decompressobj(_GZIP)
                    continue
                return unpacked
    except BaseException:
        unpacked.close()
        raise
    return unpacked
