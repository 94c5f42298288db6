"""TLS over a connected socket, with a half-close that leaves the other direction open.

``ssl.SSLSocket`` cannot say "no more from me" and read on, which the end of ``stdin`` in an attached session
needs; an ``SSLObject`` over memory buffers can.
"""

import _socket
import contextlib
import ssl

from sampan.client.endpoint import TlsFiles
from sampan.client.errors import ClientError, ConnectionFailed
from sampan.client.wire import PIECE, Wire


def context(files: TlsFiles) -> ssl.SSLContext:
    """Return the client's TLS settings for ``files``. Raises ClientError naming the file that is unusable."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not files.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    try:
        if files.ca:
            made.load_verify_locations(files.ca)
        elif files.verify:
            made.load_default_certs()
    except OSError as error:
        raise ClientError(f"could not read CA certificate {files.ca}: {error.strerror or error}") from error
    if files.cert or files.key:
        try:
            made.load_cert_chain(files.cert, files.key or None)
        except OSError as error:
            raise ClientError(
                f"could not load X509 key pair {files.cert}, {files.key}: {error.strerror or error}"
            ) from error
    return made


class TlsWire(Wire):
    """A wire through TLS; see ``Wire`` for what each method promises."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_unsent")

    plain = False

    def __init__(self, sock: _socket.socket, settings: ssl.SSLContext, name: str) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = settings.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._unsent = b""

    @classmethod
    def connect(cls, sock: _socket.socket, name: str, files: TlsFiles, host: str) -> "TlsWire":
        """Shake hands over ``sock`` with the server ``name``. Raises ConnectionFailed or ClientError."""
        try:
            wire = cls(sock, context(files), name)
            wire._handshake()
        except OSError as error:
            sock.close()
            reason = getattr(error, "verify_message", "") or error.strerror or str(error)
            raise ConnectionFailed(f"error during connect: tls: {reason} ({host})", host) from error
        except BaseException:
            sock.close()
            raise
        return wire

    def _handshake(self) -> None:
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(self.socket.recv(PIECE))
                continue
            self._flush()
            return

    @property
    def pending(self) -> bool:
        return bool(self._kept) or self._object.pending() > 0 or self._incoming.pending > 0

    @property
    def backlog(self) -> bool:  # type: ignore[override]  # a constant for plain sockets
        return bool(self._unsent) or self._outgoing.pending > 0

    def recv(self, size: int = PIECE) -> bytes:
        while True:
            data = self._read(size)
            if data is not None:
                return data
            self._flush()
            try:
                self._feed(self.socket.recv(PIECE))
            except ConnectionResetError:
                return b""

    def recv_now(self, size: int = PIECE) -> bytes | None:
        data = self._read(size)
        if data is not None:
            return data
        try:
            self._feed(self.socket.recv(PIECE, _socket.MSG_DONTWAIT))
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""
        return self._read(size)

    def send(self, data: bytes | memoryview) -> int:
        self._push()
        if self._unsent or not data:
            return 0
        count = self._object.write(data)
        self._push()
        return count

    def sendall(self, data: bytes | memoryview) -> None:
        self._object.write(data)
        self._flush()

    def shutdown_write(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # the peer's own end has not come yet, which is the point
            self._object.unwrap()
        self._flush()

    def ended(self) -> bool:
        return self.pending or super().ended()

    def _read(self, size: int) -> bytes | None:
        if self._kept:
            data, self._kept = self._kept, b""
            return data
        try:
            return self._object.read(size)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise ConnectionFailed(f"tls: {error.reason or error}", "") from error

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _push(self) -> None:
        """Send what is encrypted as far as that goes without waiting."""
        self._unsent += self._outgoing.read()
        if self._unsent:
            self._unsent = self._unsent[super().send(self._unsent) :]

    def _flush(self) -> None:
        """Send all that is encrypted."""
        data = self._unsent + self._outgoing.read()
        self._unsent = b""
        if data:
            super().sendall(data)
