"""The engine's resolver: one pair of sockets in each sandbox that has names, served by the event loop.

The sockets are made in the sandbox's namespace on a random port, and the namespace sends 127.0.0.11:53 there,
so that a container may still run a name server of its own. They must be closed before the namespace is
dropped, which they would keep alive.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.tasks import Tasks
from sampan.kernel.nft import RulesetEvents
from sampan.networks.dns import message
from sampan.networks.dns.forward import Forwarder
from sampan.networks.dns.message import Malformed, Query
from sampan.networks.dns.trace import trace
from sampan.networks.dns.zone import View, resolve
from sampan.wire.explain import Traced

_log = logging.getLogger(__name__)
ADDRESS: Final = "127.0.0.11"
_DATAGRAM: Final = 4096  # a question is never longer
_TURN: Final = 32  # connections taken before others of the event loop get their turn
_TURN_S: Final = 0.0002  # and datagrams answered
# Who asks again so long after is waited for awake (docs/adr/0008); whoever is sooner has the same processor.
_TALK_S: Final = (0.000045, 0.00015)
_AWAKE_S: Final = 0.00006 if (os.cpu_count() or 1) > 1 else 0.0
_ASKING: Final = 256  # questions of one sandbox that are being forwarded
_CONNECTIONS: Final = 32
_IDLE_S: Final = 10.0
_REMEMBERED: Final = 256  # answers of one sandbox, of some hundred bytes each
_SHORT: Final = 512  # a longer question is not remembered
_SETTLED: Final = (b"\0\1\0\0", b"\0\1\0\1")


@dataclass(slots=True)
class ResolverSockets:
    """The sockets of a resolver, made in the sandbox; ``rules`` tells when its firewall was changed there."""

    udp: socket.socket
    tcp: socket.socket
    rules: RulesetEvents | None = None

    def close(self) -> None:
        """Close all of them."""
        self.udp.close()
        self.tcp.close()
        if self.rules is not None:
            self.rules.close()


@dataclass(slots=True)
class Talk:
    """Whose socket the last datagram was answered at, and since when that one is left alone.

    The resolvers of an event loop share it.
    """

    udp: socket.socket | None = None
    since: float = 0.0


class Resolver:
    """Answers the questions of one sandbox. ``forwards``: what its networks do not know others are asked."""

    def __init__(self, sockets: ResolverSockets, forwarder: Forwarder, talk: Talk) -> None:
        self.forwards = True
        self._views: Sequence[View] = ()
        self._state: list[int] = []
        self._answers: dict[bytes, bytes] = {}
        self._sockets = sockets
        self._forwarder = forwarder
        self._tasks = Tasks("dns")
        self._asking = 0
        self._connections = 0
        self._talk = talk
        self._next: asyncio.Handle | None = None  # turn, if somebody is in the middle of asking
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sockets.udp, self._receive)
        self._loop.add_reader(sockets.tcp, self._accept)

    @property
    def views(self) -> Sequence[View]:
        """Its networks in the order of asking."""
        return self._views

    @views.setter
    def views(self, views: Sequence[View]) -> None:
        self._views = views
        self._answers.clear()

    def watch(self, disturbed: Callable[[], None]) -> None:
        """Call ``disturbed`` when somebody changes the firewall that leads questions here."""
        rules = self._sockets.rules
        if rules is not None:

            def read() -> None:
                if rules.read():
                    disturbed()

            self._loop.add_reader(rules.fileno(), read)

    async def close(self) -> None:
        """Stop answering and close the sockets."""
        if self._sockets.rules is not None:
            self._loop.remove_reader(self._sockets.rules.fileno())
        self._loop.remove_reader(self._sockets.udp)
        self._loop.remove_reader(self._sockets.tcp)
        self._sockets.close()
        self._talk.udp = None
        if self._next is not None:
            self._next.cancel()
        await self._tasks.close()

    async def trace(self, name: str, kind: str, container: str) -> Traced:
        """Answer a question and tell who did. Raises InvalidParameter for what cannot be asked."""
        return await trace(name, kind, container, self.views, self._forwarder if self.forwards else None)

    def answer(self, data: bytes, *, tcp: bool) -> bytes | Query:
        """Return the answer to ``data`` (b"": none may be given), or its question if others must be asked."""
        try:
            query = message.parse_query(data)
        except Malformed as error:
            return message.render_refusal(data, error.rcode)
        records = resolve(query, self.views)
        if records is None:
            return query
        return message.render_answer(query, records, limit=0 if tcp else query.size)

    def _receive(self) -> None:
        """Answer the datagrams that have come; if one asker alone goes on and on, those that follow, too."""
        shortest, longest = _TALK_S
        talks = shortest < time.monotonic() - self._talk.since < longest
        self._take_turn(_AWAKE_S if talks else 0.0)

    def _take_turn(self, awake_s: float) -> None:
        """Answer datagrams; as long as the next one comes while it is waited for, wait ``awake_s`` for it."""
        udp, talk, clock = self._sockets.udp, self._talk, time.monotonic
        if talk.udp is not udp:
            awake_s = 0.0
        now = clock()
        end, until, waited = now + _TURN_S, now + awake_s, True
        while now < end:
            try:
                data, sender = udp.recvfrom(_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                if (now := clock()) >= until:
                    talk.since = now
                    return
                waited = True
                continue
            except OSError as error:  # an ICMP error of an earlier answer
                _log.debug("datagram lost", extra={"error": str(error)})
                now = clock()
                continue
            awake_s, waited = awake_s if waited else 0.0, False
            known = self._answers.get(data[2:]) if self._still() else None
            answer = data[:2] + known if known is not None else self.answer(data, tcp=False)
            if isinstance(answer, Query):
                self._forward_datagram(answer, data, sender)
            elif answer:
                with contextlib.suppress(OSError):
                    udp.sendto(answer, sender)
                if known is None:
                    self._remember(data, answer)
                talk.udp = udp
            now = clock()
            until = now + awake_s
        talk.since = now
        if awake_s:
            self._next = self._loop.call_soon(self._take_turn, awake_s)

    def _still(self) -> bool:
        """Tell whether answers of before are those of now; forget them if they are not."""
        state = [view.zone.version for view in self._views]
        if state == self._state:
            return True
        self._state = state
        self._answers.clear()
        return False

    def _remember(self, question: bytes, answer: bytes) -> None:
        """Keep ``answer`` for the next time; several addresses come in another order each time.

        Source: RFC 1035 4.1.1: the numbers of questions and answers are at 4 and 6.
        """
        if len(self._answers) < _REMEMBERED and len(question) <= _SHORT and answer[4:8] in _SETTLED:
            self._answers[question[2:]] = answer[2:]

    def _forward_datagram(self, query: Query, data: bytes, sender: tuple[str, int]) -> None:
        if self._asking >= _ASKING or not self.forwards:
            with contextlib.suppress(OSError):
                self._sockets.udp.sendto(message.render_failure(query, message.SERVFAIL), sender)
            return
        self._asking += 1  # before the task runs: a flood comes in one turn
        self._tasks.spawn(self._forward(query, data, sender), name="forward")

    async def _forward(self, query: Query, data: bytes, sender: tuple[str, int]) -> None:
        try:
            answer = message.truncate(await self._ask(query, data, tcp=False), query)
        finally:
            self._asking -= 1
        with contextlib.suppress(OSError):
            self._sockets.udp.sendto(answer, sender)

    async def _ask(self, query: Query, data: bytes, *, tcp: bool) -> bytes:
        answer = await self._forwarder.ask(query, data, tcp=tcp) if self.forwards else None
        return answer if answer is not None else message.render_failure(query, message.SERVFAIL)

    def _accept(self) -> None:
        for _ in range(_TURN):
            try:
                connection, _ = self._sockets.tcp.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.debug("connection not accepted", extra={"error": str(error)})
                return
            if self._connections >= _CONNECTIONS:
                connection.close()
                continue
            connection.settimeout(0)
            self._connections += 1
            self._tasks.spawn(self._serve(connection), name="dns over tcp")

    async def _serve(self, connection: socket.socket) -> None:
        frames = message.Frames()
        with connection:
            try:
                while True:
                    async with asyncio.timeout(_IDLE_S):
                        data = await self._loop.sock_recv(connection, _DATAGRAM)
                    if not data:
                        return
                    for question in frames.feed(data):
                        answer = self.answer(question, tcp=True)
                        if isinstance(answer, Query):
                            answer = await self._ask(answer, question, tcp=True)
                        async with asyncio.timeout(_IDLE_S):
                            await self._loop.sock_sendall(connection, message.frame(answer))
            except (OSError, TimeoutError):
                return
            finally:
                self._connections -= 1
