"""Asking as a container would, and telling who answers."""

import os
import time
from collections.abc import Sequence

from sampan.base.errors import InvalidParameter
from sampan.networks.addresses import parse_address
from sampan.networks.dns import message
from sampan.networks.dns.forward import Forwarder, Tried
from sampan.networks.dns.message import Malformed, Query
from sampan.networks.dns.zone import View, find, resolve
from sampan.wire.explain import Traced, TracedRecord, TracedServer

_KINDS = {number: name for name, number in message.TYPES.items()} | {message.CNAME: "CNAME"}


def plan_question(name: str, kind: str) -> tuple[Query, bytes]:
    """Return the question about ``name``, an address for PTR. Raises InvalidParameter."""
    if kind not in message.TYPES:
        raise InvalidParameter(f"invalid type {kind!r}: it is one of {', '.join(message.TYPES)}")
    asked = name
    if kind == "PTR" and (address := parse_address(name)) is not None:
        asked = address.reverse_pointer
    ident = int.from_bytes(os.urandom(2), "big")
    try:
        data = message.render_query(asked.rstrip("."), message.TYPES[kind], ident)
        return message.parse_query(data), data
    except ValueError as error:
        raise InvalidParameter(f"not a name: {name!r}") from error


async def trace(
    name: str, kind: str, container: str, views: Sequence[View], forwarder: Forwarder | None
) -> Traced:
    """Answer the question about ``name`` by ``views``, else by ``forwarder`` (None: nobody else is asked).

    Raises InvalidParameter for what cannot be asked.
    """
    query, data = plan_question(name, kind)
    started = time.perf_counter()
    tried: list[Tried] = []
    records = resolve(query, views)
    if records is not None:
        answer: bytes | None = message.render_answer(query, records)
        source = _own_source(query, views)
    else:
        answer = await forwarder.ask(query, data, tcp=False, tell=tried.append) if forwarder else None
        source = next((f"server {each.server}" for each in tried if _answered(each, answer)), "nobody")
    milliseconds = (time.perf_counter() - started) * 1000
    code = message.rcode_of(answer) if answer is not None else message.SERVFAIL
    return Traced(
        name=name,
        type=kind,
        container=container,
        looked_in=[view.zone.name for view in views],
        source=source,
        code=message.RCODES.get(code, str(code)),
        records=_records(answer),
        servers=[TracedServer(each.server, each.outcome, round(each.ms, 3)) for each in tried],
        milliseconds=round(milliseconds, 3),
    )


def _answered(tried: Tried, answer: bytes | None) -> bool:
    return answer is not None and tried.outcome == message.RCODES.get(message.rcode_of(answer))


def _own_source(query: Query, views: Sequence[View]) -> str:
    """Return whose record answers ``query``: the first network that knows the name."""
    for view in views:
        if resolve(query, [view]) is not None:
            linked = ", by a link" if view.links and query.name in view.links else ""
            count = len(find(query.name, [view]))
            shared = f", shared by {count}" if count > 1 else ""
            return f"network {view.zone.name}{linked}{shared}"
    return "nobody"


def _records(answer: bytes | None) -> list[TracedRecord]:
    try:
        found = message.parse_records(answer) if answer is not None else []
    except Malformed:
        return []
    return [TracedRecord(_KINDS.get(kind, str(kind)), text, ttl) for kind, ttl, text in found]
