"""``local``: a directory of the data root, or what its options have mounted there when it is first used.

The options are those of Docker's driver: ``type``, ``device`` and ``o``, as mount(8) has them. A mount is
made with its first user and taken away with the last.
"""

import errno
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import EngineError, HostFailure, InvalidParameter
from sampan.kernel.fs import remove_tree
from sampan.kernel.mount import Mount, is_mount_point, mount, umount
from sampan.volumes.driver import Described

_GONE: Final = ".gone-"
_DATA: Final = "_data"
# moby volume/local/local_unix.go: what is taken, and what each needs beside it
_NEEDS: Final = {"type": ("device",), "o": ("device", "type"), "device": ("type",), "size": ()}
_NETWORK_TYPES: Final = frozenset({"nfs", "nfs4", "cifs"})
_SECRET: Final = ("password=", "pass=")


class LocalDriver:
    """Keeps volumes in folders of ``root``: ``<name>/_data``."""

    name = "local"
    scope = "local"

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, name: str, options: Mapping[str, str]) -> None:
        check_options(options)
        self._make(name)

    def remove(self, name: str) -> None:
        self.sweep(self.detach(name))

    def detach(self, name: str) -> Path:
        """Move the volume out of the way, at once; return the folder to ``sweep``."""
        self.unmount(name, {}, "", last=True)
        gone = self.root / f"{_GONE}{name}.{os.urandom(6).hex()}"
        with suppress(FileNotFoundError):
            try:
                (self.root / name).rename(gone)
            except PermissionError as error:
                raise HostFailure(str(error.strerror)) from error
        return gone

    def sweep(self, folder: Path) -> None:
        """Remove what is left of a volume, or of one that was never finished."""
        try:
            remove_tree(folder)
        except OSError as error:
            raise HostFailure(f"cannot remove {folder}: {error.strerror}") from error

    def path(self, name: str) -> str:
        return str(self.root / name / _DATA)

    def folder(self, name: str) -> Path:
        """Return the folder of the volume, or of a file that is beside the volumes."""
        return self.root / name

    def mount(self, name: str, options: Mapping[str, str], user: str) -> str:
        data = self._make(name)
        if options.get("device") and not is_mount_point(data):
            self._mount(data, options)
        return str(data)

    def unmount(self, name: str, options: Mapping[str, str], user: str, *, last: bool) -> None:
        data = self.path(name)
        while last and is_mount_point(data):
            try:
                umount(data)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise HostFailure(f"error while unmounting {data}: {error.strerror}") from error
                umount(data, lazy=True)

    def describe(self, name: str) -> Described | None:
        folder = self.root / name
        return Described(name, self.path(name)) if folder.is_dir() else None

    def list_volumes(self) -> list[Described]:
        return []

    def found(self) -> list[str]:
        """Return the names of the folders that are, or once were, volumes."""
        return sorted(
            entry.name for entry in self.root.iterdir() if (entry / _DATA).is_dir() and entry.name[0] != "."
        )

    def leftovers(self) -> list[tuple[Path, str]]:
        """Return what work that was broken off left: the folder, and the volume whose removal it is or ""."""
        return [
            (entry, entry.name.removeprefix(_GONE).rpartition(".")[0] if _is_gone(entry) else "")
            for entry in sorted(self.root.iterdir())
            if entry.name.startswith(".")
        ]

    def _make(self, name: str) -> Path:
        data = self.root / name / _DATA
        try:
            data.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise HostFailure(f"mkdir {data}: {error.strerror}") from error
        return data

    def _mount(self, data: Path, options: Mapping[str, str]) -> None:
        wanted = plan_mount(options, str(data))
        try:
            mount(wanted)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            if error.errno == errno.ENODEV:
                reason = f"{reason} (the kernel has no file system {wanted.type})"
            raise HostFailure(
                f"error while mounting volume '{data}': failed to mount local volume: "
                f"mount {wanted.source}:{data}, data: {_without_secrets(wanted.options)}: {reason}"
            ) from error


def check_options(options: Mapping[str, str]) -> None:
    """Raise InvalidParameter unless ``options`` are complete and known, in Docker's words."""
    for option in options:
        if option not in _NEEDS:
            raise InvalidParameter(f'invalid option: "{option}"')
    for option, needed in _NEEDS.items():
        for other in needed if option in options else ():
            if other not in options:
                raise InvalidParameter(f'missing required option: "{other}"')
    if "size" in options:
        raise InvalidParameter("quota size requested but no quota support")


def plan_mount(options: Mapping[str, str], target: str) -> Mount:
    """Return the mount that ``options`` ask for; the server of a network file system is looked up."""
    kind = options.get("type", "")
    words = [word for word in options.get("o", "").split(",") if word]
    if kind in _NETWORK_TYPES:
        words = [_with_address(word) for word in words]
    if kind in ("none", "bind") and not {"bind", "rbind"} & set(words):
        words.insert(0, "bind")
    return Mount("none" if kind == "bind" else kind, options["device"], target, tuple(words))


def _with_address(word: str) -> str:
    key, _, host = word.partition("=")
    if key != "addr" or not host:
        return word
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EngineError(f"error resolving passed in network volume address: {host}: {error}") from error
    return f"addr={found[0][4][0]}"


def _without_secrets(options: tuple[str, ...]) -> str:
    return ",".join(
        word.partition("=")[0] + "=********" if word.startswith(_SECRET) else word for word in options
    )


def _is_gone(entry: Path) -> bool:
    return entry.name.startswith(_GONE)
