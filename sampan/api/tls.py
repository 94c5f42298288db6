"""TLS under a connection, with a half-close that works.

asyncio's own TLS transport cannot close one direction and go on in the other (``eof_received`` is ignored),
so what a process writes after its input has ended would be lost. Here an ``SSLObject`` over two memory
buffers sits on the plain transport: a client's close_notify is an end of input, ours an end of output.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from sampan.base.errors import InvalidParameter

_log = logging.getLogger(__name__)
_HANDSHAKE_S: Final = 30.0
_RECORD: Final = 1 << 16
_NOT_TLS: Final = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


def server_context(cert: str, key: str, authority: str, *, verify: bool) -> ssl.SSLContext:
    """Return the context of a listener, from paths of PEM files.

    ``verify`` asks clients for a certificate of ``authority``. Raises InvalidParameter.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidParameter(
            f'could not load X509 key pair (cert: "{cert}", key: "{key}"): {error.strerror or error}'
        ) from error
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(authority)
        except (OSError, ssl.SSLError) as error:
            raise InvalidParameter(
                f'could not read CA certificate "{authority}": {error.strerror or error}'
            ) from error
    return context


class TLSTransport(asyncio.Transport):
    """What the protocol above writes to: plain bytes, made into records on the transport below."""

    def __init__(self, below: "TLSProtocol") -> None:
        super().__init__()
        self._below = below

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``."""
        self._below.write(data)

    def write_eof(self) -> None:
        """Say that nothing more will be sent (close_notify)."""
        self._below.write_eof()

    def can_write_eof(self) -> bool:
        """Tell that the sending side can be closed alone."""
        return True

    def close(self) -> None:
        """Close once everything is sent."""
        self._below.write_eof()
        self._below.raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._below.raw.abort()

    def is_closing(self) -> bool:
        """Tell whether the connection is closed or about to be."""
        return self._below.raw.is_closing()

    def pause_reading(self) -> None:
        """Give the protocol above no more bytes."""
        self._below.pause()

    def resume_reading(self) -> None:
        """Go on giving the protocol above bytes."""
        self._below.resume()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._below.raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return facts of the connection; never the socket, on which nobody else could speak."""
        return default if name == "socket" else self._below.raw.get_extra_info(name, default)


class TLSProtocol(asyncio.Protocol):
    """The protocol on the plain transport; makes ``above`` when the handshake is done."""

    raw: asyncio.Transport

    def __init__(self, context: ssl.SSLContext, above: Callable[[], asyncio.Protocol]) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._make_above = above
        self._above: asyncio.Protocol | None = None
        self._transport = TLSTransport(self)
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._sent_eof = False
        self._got_eof = False

    # What the plain transport tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake, for a while."""
        self.raw = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(_HANDSHAKE_S, self.raw.abort)

    def data_received(self, data: bytes) -> None:
        """Take records from the client."""
        self._incoming.write(data)
        if self._above is None and not self._shake_hands():
            return
        self._pump()

    def eof_received(self) -> bool:
        """Take note of an end without close_notify."""
        if self._above is None:
            return False
        self._end_of_input()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Pass the end on."""
        self._stop_timer()
        if self._above is not None:
            self._above.connection_lost(error)

    def pause_writing(self) -> None:
        """Pass the back-pressure on."""
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """Pass the end of back-pressure on."""
        if self._above is not None:
            self._above.resume_writing()

    # What the transport above asks for.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``; what comes after our close_notify is dropped."""
        if self._sent_eof or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()

    def write_eof(self) -> None:
        """Send close_notify, once."""
        if self._sent_eof or self._above is None:
            return
        self._sent_eof = True
        with suppress(ssl.SSLError):  # the client's close_notify is not here yet, or it goes on sending
            self._tls.unwrap()
        self._flush()

    def pause(self) -> None:
        """Stop reading."""
        self._paused = True
        self.raw.pause_reading()

    def resume(self) -> None:
        """Go on reading, with what is here already."""
        if self._paused:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._pump)
            self.raw.resume_reading()

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()
            if error.reason == "HTTP_REQUEST":
                self.raw.write(_NOT_TLS)
            _log.info("TLS handshake failed", extra={"reason": error.reason or str(error)})
            self.raw.close()
            return False
        self._stop_timer()
        self._flush()
        self._above = self._make_above()
        self._above.connection_made(self._transport)
        return True

    def _pump(self) -> None:
        """Give the protocol above what has been decrypted."""
        while self._above is not None and not (self._paused or self._got_eof or self.raw.is_closing()):
            try:
                data = self._tls.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                if not self._sent_eof:
                    self._fail(error)
                    return
                data = b""
            if not data:
                self._end_of_input()
                break
            self._above.data_received(data)
        self._flush()

    def _end_of_input(self) -> None:
        if self._got_eof or self._above is None:
            return
        self._got_eof = True
        if not self._above.eof_received():
            self._transport.close()

    def _fail(self, error: ssl.SSLError) -> None:
        _log.info("TLS connection failed", extra={"reason": error.reason or str(error)})
        self._flush()
        self.raw.abort()

    def _flush(self) -> None:
        if self._outgoing.pending and not self.raw.is_closing():
            self.raw.write(self._outgoing.read())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
