"""The small init that ``--init`` puts into a container as process 1: which program of the host it is."""

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure
from sampan.oci.spec import OciMount

IN_CONTAINER: Final = "/sbin/docker-init"
# moby daemon/config/config_linux.go, LookupInitPath; then PATH
_DIRECTORIES: Final = (
    "/usr/local/libexec/docker",
    "/usr/libexec/docker",
    "/usr/local/lib/docker",
    "/usr/lib/docker",
)
_PROGRAMS: Final = ("docker-init", "tini-static", "catatonit", "tini", "dumb-init")
_PT_INTERP: Final = 3  # elf.h


def init_mount(path: Path) -> OciMount:
    """Return the mount that brings the init at ``path`` into a container."""
    return OciMount(IN_CONTAINER, "bind", str(path), ("bind", "ro"))


@lru_cache(maxsize=1)
def find_init() -> Path:
    """Return an init of the host that runs in any container: one that needs no libraries.

    Raises HostFailure if there is none. Blocks.
    """
    for path in _candidates():
        with suppress(OSError):
            if not needs_libraries(path):
                return path
    raise HostFailure(
        'exec: "docker-init": executable file not found in $PATH; install tini or catatonit '
        "(statically linked) to use --init"
    )


def _candidates() -> Iterator[Path]:
    import shutil

    for program in _PROGRAMS:
        for directory in _DIRECTORIES:
            path = Path(directory, program)
            if path.exists():
                yield path.resolve()
        if found := shutil.which(program, path=os.environ.get("PATH") or os.defpath):
            yield Path(found).resolve()


def needs_libraries(path: Path) -> bool:
    """Whether the ELF program at ``path`` is linked dynamically (has an interpreter). Raises OSError."""
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:4] != b"\x7fELF" or header[4] != 2:
            return True
        order = "<" if header[5] == 1 else ">"
        (offset,) = struct.unpack_from(f"{order}Q", header, 32)
        size, count = struct.unpack_from(f"{order}HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    kinds = (struct.unpack_from(f"{order}I", table, at)[0] for at in range(0, len(table) - 3, size or 1))
    return _PT_INTERP in kinds
