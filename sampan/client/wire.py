"""A connected byte stream to a daemon: plain sockets here, TLS in ``tls``, ssh in ``ssh``.

The raw ``_socket`` is used because ``socket`` costs as much as a whole short command at import (it brings
``enum`` and ``selectors``). Nothing here knows HTTP.
"""

import _socket
import posix

from sampan.client.errors import ClientError, ConnectionFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sampan.client.endpoint import Endpoint

PIECE: "Final" = 262144


class Wire:
    """A plain stream socket, read and written by one owner.

    ``send`` and ``recv_now`` never wait, so that a loop over ``poll`` can serve both directions; the others
    do. A connection that was reset reads as ended.
    """

    __slots__ = ("_kept", "socket")

    plain = True
    """Whether the bytes on the descriptor are those of the stream, so that the kernel may move them."""

    backlog = False
    """Whether bytes that ``send`` took still wait to be sent (never here: the kernel has them)."""

    def __init__(self, sock: _socket.socket) -> None:
        self.socket = sock
        self._kept = b""

    @property
    def pending(self) -> bool:
        """Whether bytes can be read although ``poll`` does not see them."""
        return bool(self._kept)

    def fileno(self) -> int:
        return self.socket.fileno()

    def unread(self, data: bytes) -> None:
        """Give ``data`` back, to be read first."""
        self._kept = data + self._kept

    def recv(self, size: int = PIECE) -> bytes:
        """Return what is there, up to ``size`` bytes, waiting for at least one; b"" is the end."""
        if self._kept:
            data, self._kept = self._kept, b""
            return data
        try:
            return self.socket.recv(size)
        except ConnectionResetError:
            return b""

    def recv_now(self, size: int = PIECE) -> bytes | None:
        """Return what is there, b"" at the end, None when there is nothing yet."""
        if self._kept:
            return self.recv(size)
        try:
            return self.socket.recv(size, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def send(self, data: bytes | memoryview) -> int:
        """Send as much of ``data`` as fits now and return how much. Raises OSError when the peer is gone."""
        try:
            return self.socket.send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of ``data``, waiting as long as that takes. Raises OSError when the peer is gone."""
        self.socket.sendall(data, _socket.MSG_NOSIGNAL)

    def send_file(self, fd: int, count: int) -> int:
        """Send up to ``count`` bytes of a file from where it stands, and return how many; 0 is its end.

        Raises BlockingIOError when nothing fits now, OSError when the peer is gone.
        """
        self.socket.settimeout(0)
        try:
            return posix.sendfile(self.fileno(), fd, None, count)
        finally:
            self.socket.settimeout(None)

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come; reading goes on."""
        try:
            self.socket.shutdown(_socket.SHUT_WR)
        except OSError as error:
            import errno  # a tenth of a millisecond that other commands need not spend

            if error.errno not in {errno.ENOTCONN, errno.EPIPE}:
                raise

    def ended(self) -> bool:
        """Return whether an idle connection is no use any more: closed by the peer, or bytes out of turn."""
        try:
            self.socket.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        self.socket.close()


def dial(endpoint: "Endpoint", timeout: float | None = None) -> Wire:
    """Connect to ``endpoint`` within ``timeout`` seconds (None: as long as the kernel tries).

    Raises ConnectionFailed, with the OSError as its cause, or ClientError when TLS files are unusable.
    """
    if endpoint.kind == "ssh":
        from sampan.client.ssh import dial_ssh

        return dial_ssh(endpoint)
    try:
        sock = _connect(endpoint, timeout)
    except OSError as error:
        raise ConnectionFailed(describe(endpoint, error), endpoint.host) from error
    if endpoint.tls is None:
        return Wire(sock)
    from sampan.client.tls import TlsWire

    return TlsWire.connect(sock, endpoint.address, endpoint.tls, endpoint.host)


def describe(endpoint: "Endpoint", error: OSError) -> str:
    """Say in one sentence why ``endpoint`` could not be reached."""
    if isinstance(error, PermissionError):
        return (
            f"permission denied while trying to connect to the Sampan daemon socket at {endpoint.host}: "
            "connect: permission denied"
        )
    if isinstance(error, _socket.gaierror):
        return (
            f"error during connect: lookup {endpoint.address}: {(error.strerror or 'no such host').lower()}"
        )
    return f"Cannot connect to the Sampan daemon at {endpoint.host}. Is sampand running?"


def _connect(endpoint: "Endpoint", timeout: float | None) -> _socket.socket:
    if endpoint.kind == "unix":
        if len(endpoint.address.encode()) > 107:
            raise ClientError(f"the path of the socket is too long for the kernel: {endpoint.address}")
        return _open(_socket.AF_UNIX, endpoint.address, timeout)
    last: OSError | None = None
    places = _socket.getaddrinfo(endpoint.address, endpoint.port, 0, _socket.SOCK_STREAM)
    for family, _kind, _proto, _name, place in places:
        try:
            sock = _open(family, place, timeout)
        except OSError as error:
            last = last or error
            continue
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        return sock
    raise last or OSError(f"no address of {endpoint.address}")


def _open(family: int, place: object, timeout: float | None) -> _socket.socket:
    sock = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(place)  # type: ignore[arg-type]  # an address of the family
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock
