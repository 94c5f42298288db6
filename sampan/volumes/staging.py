"""Mounts that stand in, while a container starts, for what it is really to mount.

A path inside a volume may be a link that its user changes at any moment, so what was looked up is bound at
once and the runtime is given the bind; owners are mapped on such a bind too. All of it is taken down as soon
as the container has its own mounts.
"""

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter, NotFound, NotImplementedHere
from sampan.kernel.fs import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2
from sampan.kernel.idmap import IdRange, bind_mapped, open_mapping
from sampan.kernel.mount import bind, mounts, umount

_BENEATH: Final = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS


class Staging:
    """The binds below ``root``, a folder of the exec root: ``<container>/<number>``. Calls block."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def bind_below(self, container: str, whole: str, data: str, subpath: str) -> str:
        """Bind what ``subpath`` in the tree ``data`` of ``whole`` ("volume NAME") leads to; return where.

        Raises NotFound, InvalidParameter if it leads out of the tree, HostFailure.
        """
        root = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = openat2(root, subpath, os.O_PATH, resolve=_BENEATH)
        except OSError as error:
            raise _refusal(error, whole, subpath) from error
        finally:
            os.close(root)
        try:
            source = f"/proc/self/fd/{found}"
            target = self._place(container, is_dir=stat.S_ISDIR(os.fstat(found).st_mode))
            bind(source, target, recursive=True)
        except OSError as error:
            raise HostFailure(f"cannot mount {subpath} of {whole}: {error.strerror}") from error
        finally:
            os.close(found)
        return target

    def bind_alone(self, container: str, source: str) -> str:
        """Bind ``source`` without what is mounted below it; return where. Raises HostFailure.

        crun (1.8.1) takes the mounts below along whether it is told ``bind`` or ``rbind``.
        """
        try:
            target = self._place(container, is_dir=Path(source).is_dir())
            bind(source, target)
        except OSError as error:
            raise HostFailure(f"cannot mount {source}: {error.strerror}") from error
        return target

    def bind_mapped(
        self, container: str, source: str, uids: Sequence[IdRange], gids: Sequence[IdRange]
    ) -> str:
        """Bind ``source`` with its owners mapped; return where. Raises NotImplementedHere, HostFailure."""
        try:
            mapping = open_mapping(uids, gids)
        except OSError as error:
            raise HostFailure(f"cannot map the owners of {source}: {error.strerror}") from error
        try:
            target = self._place(container, is_dir=Path(source).is_dir())
            bind_mapped(source, target, mapping)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
                raise NotImplementedHere(
                    f"the owners of {source} cannot be mapped (idmap): "
                    "its file system, or the kernel, cannot do it"
                ) from error
            raise HostFailure(f"cannot map the owners of {source}: {error.strerror}") from error
        finally:
            os.close(mapping)
        return target

    def clear(self, container: str) -> None:
        """Take down what was bound for ``container``; idempotent."""
        folder = self._root / container
        if not folder.is_dir():
            return
        for entry in sorted(folder.iterdir()):
            with suppress(OSError):  # it was never mounted
                while True:
                    umount(entry, lazy=True)
            if entry.is_dir():
                entry.rmdir()
            else:
                entry.unlink()
        folder.rmdir()

    def clear_all(self) -> None:
        """Take down everything: nothing starts at the moment."""
        if not self._root.is_dir():
            return
        below = f"{self._root}/"
        for entry in reversed(mounts()):
            if entry.target.startswith(below):
                umount(entry.target, lazy=True)
        for folder in self._root.iterdir():
            self.clear(folder.name)

    def _place(self, container: str, *, is_dir: bool) -> str:
        folder = self._root / container
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = folder / str(len(list(folder.iterdir())))
        if is_dir:
            target.mkdir(mode=0o700)
        else:
            target.touch(mode=0o600)
        return str(target)


def _refusal(error: OSError, whole: str, subpath: str) -> Exception:
    if error.errno in (errno.EXDEV, errno.ELOOP):
        return InvalidParameter(f"subpath {subpath} leads out of {whole}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"cannot access path {subpath} of {whole}: no such file or directory")
    return HostFailure(f"cannot access path {subpath} of {whole}: {error.strerror}")
