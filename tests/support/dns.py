"""DNS questions as resolver libraries send them."""

import struct

from sampan.networks.dns import message


def question(
    name: str, kind: int = message.A, *, ident: int = 7, edns: int = 0, flags: int = 0x0100
) -> bytes:
    """Return a question as a resolver library sends it."""
    data = struct.pack(">HHHHHH", ident, flags, 1, 0, 0, 1 if edns else 0)
    data += (message.encode_name(name) if name else b"\0") + struct.pack(">HH", kind, message.IN)
    return data + (b"\0" + struct.pack(">HHIH", message.OPT, edns, 0, 0) if edns else b"")
