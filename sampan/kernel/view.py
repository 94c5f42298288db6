"""A container's whole tree, mounts included, in a mount namespace that nobody else sees.

The namespace holds nothing but that tree: what is mounted on the host can still be unmounted there. It lives
as long as the view's descriptors; no process and no thread stays in it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from sampan.kernel.fs import RESOLVE_IN_ROOT, openat2
from sampan.kernel.libc import check, syscall
from sampan.kernel.mount import Mount, bind, mount, umount
from sampan.kernel.threads import DedicatedThread

CLONE_NEWNS: Final = 0x00020000  # linux/sched.h
# /proc/self is the main thread's: only thread-self follows the thread that reads it.
_OWN: Final = "/proc/thread-self/ns/mnt"


@dataclass(frozen=True, slots=True)
class Bind:
    """What is to be seen at ``target``, an existing path of the tree that is resolved inside it."""

    source: str
    target: str


class View:
    """The tree at ``path`` with ``binds`` on it; ``root`` is a descriptor (``O_PATH``) of its root.

    Blocking, a few ms; a context manager. Raises OSError.
    """

    def __init__(self, path: str, binds: Sequence[Bind]) -> None:
        self.root = -1
        self._namespace = -1
        thread = DedicatedThread("view")
        try:
            thread.run(self._build, path, binds)
        except BaseException:
            self.close()
            raise
        finally:
            thread.close()

    def _build(self, path: str, binds: Sequence[Bind]) -> None:
        """Make the namespace; the calling thread is in it from then on, with the tree as its root."""
        check(syscall("unshare", CLONE_NEWNS), "unshare the mount namespace")
        self._namespace = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        mount(Mount("", "none", "/", ("rprivate",)))
        bind(path, path, recursive=True)
        for wanted in binds:
            self._bind(path, wanted)
        os.chdir(path)
        # pivot_root(2): "." twice puts the old root over the new one, from where it is taken off
        check(syscall("pivot_root", b".", b"."), f"pivot_root to {path}")
        umount("/", lazy=True)
        self.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    @staticmethod
    def _bind(path: str, wanted: Bind) -> None:
        root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            target = openat2(root, wanted.target, os.O_PATH, resolve=RESOLVE_IN_ROOT)
        finally:
            os.close(root)
        try:
            bind(wanted.source, f"/proc/self/fd/{target}", recursive=True)
        finally:
            os.close(target)

    def close(self) -> None:
        """Drop the view; its mounts go with it."""
        for fd in (self.root, self._namespace):
            if fd >= 0:
                os.close(fd)
        self.root = self._namespace = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
