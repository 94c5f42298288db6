"""File systems that a program provides: ``fuse.NAME`` is mounted by running ``NAME -o OPTIONS TARGET``.

The program goes into the background once it is mounted and lives as long as the mount: it outlives whoever
mounted, and unmounting ends it. Blocks, and raises OSError.
"""

import errno
import os
from collections.abc import Sequence
from typing import Final

from sampan.kernel.commands import find_command, spawn_and_wait

FUSE: Final = "fuse."
_MESSAGE_LIMIT: Final = 4096


def find_program(type_: str) -> str | None:
    """Return the path of the program that provides the file system ``type_``, None if it is not there."""
    return find_command(type_.removeprefix(FUSE))


def mount_fuse(type_: str, target: str, options: Sequence[str]) -> None:
    """Mount the file system ``type_`` at ``target``.

    OSError ENOENT: the program is not installed; EIO, with the program's own last words: it would not.
    """
    program = find_program(type_)
    if program is None:
        raise OSError(errno.ENOENT, f"the program {type_.removeprefix(FUSE)} is not installed", target)
    said = os.memfd_create("stderr", os.MFD_CLOEXEC)
    try:
        status = spawn_and_wait(
            [program, *(("-o", ",".join(options)) if options else ()), target],
            said,
        )
        if status:
            words = os.pread(said, _MESSAGE_LIMIT, 0).decode(errors="replace").strip().splitlines()
            raise OSError(errno.EIO, words[-1] if words else f"ended with {status}", target)
    finally:
        os.close(said)
