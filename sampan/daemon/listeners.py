"""The listening sockets: made before the engine is, so that clients wait rather than fail while it starts."""

import asyncio
import grp
import logging
import os
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.daemon.hosts import Host

_log = logging.getLogger(__name__)
_BACKLOG: Final = 1024
_FIRST_FD: Final = 3  # sd_listen_fds(3)
_DEFAULT_GROUP: Final = "docker"
_MODE: Final = 0o660


class Listener:
    """One listening socket; ``path`` is that of a unix socket which is ours to remove."""

    def __init__(self, host: Host, plain: socket.socket, path: Path | None = None) -> None:
        self.host = host
        self.socket = plain
        self._path = path
        self._inode = path.stat().st_ino if path is not None else 0
        self._server: asyncio.Server | None = None

    async def serve(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Accept connections, each with a new ``protocol``."""
        loop = asyncio.get_running_loop()
        if self.socket.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(protocol, sock=self.socket, backlog=_BACKLOG)
        else:
            self._server = await loop.create_server(protocol, sock=self.socket, backlog=_BACKLOG)
        _log.info("API listen on %s", self.host.place, extra={"host": str(self.host)})

    def close(self) -> None:
        """Accept no more, and remove the socket's file."""
        if self._server is not None:
            self._server.close()
        self.socket.close()
        if self._path is not None:
            with suppress(OSError):
                if self._path.stat().st_ino == self._inode:  # nobody else took the place
                    self._path.unlink()


def open_listeners(hosts: Sequence[Host], group: str) -> list[Listener]:
    """Listen on every one of ``hosts``. Raises HostFailure, and then listens on none."""
    opened: list[Listener] = []
    try:
        for host in hosts:
            opened += _open(host, group)
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open(host: Host, group: str) -> list[Listener]:
    if host.kind == "fd":
        return _inherited(host)
    if host.kind == "unix":
        return [_unix(host, group)]
    return _tcp(host)


def _unix(host: Host, group: str) -> Listener:
    path = Path(host.place)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise HostFailure(f"can't create unix socket {path}: there is a file of that name")
            path.unlink()
        plain.bind(str(path))
        # until here nobody but root can connect: that needs write permission, which the umask takes away
        os.chown(path, 0, _group_id(group))
        path.chmod(_MODE)
        plain.listen(_BACKLOG)
    except OSError as error:
        plain.close()
        raise HostFailure(f"can't create unix socket {path}: {error.strerror or error}") from error
    except BaseException:
        plain.close()
        raise
    return Listener(host, plain, path)


def _group_id(name: str) -> int:
    wanted = name or _DEFAULT_GROUP
    try:
        return int(wanted) if wanted.isdigit() else grp.getgrnam(wanted).gr_gid
    except KeyError as error:
        if name:
            raise InvalidParameter(
                f"could not change group of the socket to {name}: group {name} not found"
            ) from error
        _log.debug("group %s not found: the socket is root's alone", wanted)
        return 0


def _tcp(host: Host) -> list[Listener]:
    try:
        found = socket.getaddrinfo(
            host.place, host.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except OSError:
        found = []
    if not found:  # AI_ADDRCONFIG hides what a namespace with loopback alone has
        try:
            found = socket.getaddrinfo(host.place, host.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise HostFailure(f"failed to load listeners: {host}: {error.strerror or error}") from error
    opened: list[Listener] = []
    for family, kind, protocol, _, address in found:
        try:
            plain = socket.socket(family, kind, protocol)
        except OSError:
            continue  # an address family that this kernel lacks
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit it
            if family == socket.AF_INET6:
                plain.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            plain.bind(address)
            plain.listen(_BACKLOG)
        except OSError as error:
            plain.close()
            for listener in opened:
                listener.close()
            raise HostFailure(
                f"failed to load listeners: listen {host}: {error.strerror or error}"
            ) from error
        opened.append(Listener(Host("tcp", str(address[0]), int(plain.getsockname()[1])), plain))
    return opened


def _inherited(host: Host) -> list[Listener]:
    """Return the sockets that systemd passed (socket activation), or the one whose number is given."""
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    numbers = range(_FIRST_FD, _FIRST_FD + count)
    if host.place != "*":
        numbers = range(int(host.place), int(host.place) + 1) if int(host.place) in numbers else range(0)
    if not numbers:
        raise HostFailure(
            "no sockets found via socket activation: make sure the service was started by systemd"
        )
    for variable in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(variable, None)  # the message was for us, not for what we start
    opened = []
    for number in numbers:
        plain = socket.socket(fileno=number)
        plain.set_inheritable(False)
        name = plain.getsockname()
        unix = plain.family == socket.AF_UNIX
        opened.append(Listener(Host("unix", name) if unix else Host("tcp", name[0], name[1]), plain))
    return opened
