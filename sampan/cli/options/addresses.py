"""Addresses on the command line: IP and MAC addresses, ``--dns``, ``--dns-search``, ``--add-host``.

They are read here, not by ``ipaddress``, whose import takes longer than a whole command.
"""

_HEX = "0123456789abcdefABCDEF"
_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def _quote(text: str) -> str:
    from sampan.cli.gotext import quote

    return quote(text)


def packed(text: str) -> bytes | None:
    """Return the 4 or 16 bytes of the IP address ``text`` (no zone, no brackets), or None if it is none."""
    return _packed6(text) if ":" in text else _packed4(text)


def _packed4(text: str) -> bytes | None:
    parts = text.split(".")
    if len(parts) != 4:
        return None
    for part in parts:
        if not (part.isascii() and part.isdigit()) or len(part) > 3 or int(part) > 255:
            return None
        if len(part) > 1 and part[0] == "0":  # octal to some, decimal to others: refused
            return None
    return bytes(map(int, parts))


def _packed6(text: str) -> bytes | None:
    head, gap, tail = text.partition("::")
    if "::" in tail or (gap and tail[:1] == ":"):
        return None
    front = _groups(head, last=not gap)
    back = _groups(tail, last=True)
    if front is None or back is None:
        return None
    missing = 16 - len(front) - len(back)
    if (gap and missing < 2) or (not gap and missing):
        return None
    return front + bytes(missing) + back


def _groups(text: str, *, last: bool) -> bytes | None:
    """Return the bytes of groups between colons; the ``last`` one of an address may be an IPv4 address."""
    if not text:
        return b""
    out = b""
    parts = text.split(":")
    for at, part in enumerate(parts):
        if "." in part and last and at == len(parts) - 1:
            four = _packed4(part)
            if four is None:
                return None
            out += four
        elif not 0 < len(part) <= 4 or any(digit not in _HEX for digit in part):
            return None
        else:
            out += int(part, 16).to_bytes(2, "big")
    return out


def render(address: bytes) -> str:
    """Return the canonical text of an address of 4 or 16 bytes; the longest run of zero groups is ``::``."""
    if len(address) == 4:
        return ".".join(map(str, address))
    groups = [int.from_bytes(address[at : at + 2], "big") for at in range(0, 16, 2)]
    best = (0, 0)  # length and negated start: the first of the longest
    for start in range(8):
        length = 0
        while start + length < 8 and groups[start + length] == 0:
            length += 1
        best = max(best, (length, -start))
    length, start = best[0], -best[1]
    if length < 2:
        return ":".join(f"{group:x}" for group in groups)
    front = ":".join(f"{group:x}" for group in groups[:start])
    return f"{front}::{':'.join(f'{group:x}' for group in groups[start + length :])}"


def parse_ip(text: str) -> str:
    """Return the canonical text of an address (``--ip``, ``--ip6``). Raises ValueError."""
    address = packed(text.strip())
    if address is None:
        raise ValueError(f"failed to parse IP: {_quote(text)}")
    return render(_unmapped(address))


def check_ip_address(text: str) -> str:
    """Return the canonical text of an address (``--dns``). Raises ValueError in Docker's words."""
    address = packed(text.strip())
    if address is None:
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return render(_unmapped(address))


def parse_address(text: str) -> str:
    """Return the canonical text of an address with an optional zone, as in the long form of ``--network``.

    Raises ValueError in the words of Go's netip.
    """
    bare, percent, zone = text.partition("%")
    address = packed(bare)
    if address is None or (percent and (not zone or len(address) == 4)):
        raise ValueError(f"ParseAddr({_quote(text)}): unable to parse IP")
    return (f"::ffff:{render(address[12:])}" if _is_mapped(address) else render(address)) + percent + zone


def _is_mapped(address: bytes) -> bool:
    return len(address) == 16 and address[:12] == b"\0" * 10 + b"\xff\xff"


def _unmapped(address: bytes) -> bytes:
    """Turn an IPv4 address in IPv6's clothes (``::ffff:192.0.2.1``) into itself."""
    return address[12:] if _is_mapped(address) else address


def parse_mac(text: str) -> str | None:
    """Return a MAC address (6, 8 or 20 bytes, by ``:``, ``-`` or ``.``) with colons; None if it is none."""
    text = text.strip()
    separator, size = (".", 4) if "." in text else ("-", 2) if "-" in text else (":", 2)
    parts = text.split(separator)
    if any(len(part) != size or any(digit not in _HEX for digit in part) for part in parts):
        return None
    digits = "".join(parts).lower()
    if len(digits) not in {12, 16, 40}:
        return None
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def check_dns_search(text: str) -> str:
    """Return a search domain, blanks and the last dot cut off; ``.`` means none. Raises ValueError."""
    domain = text.strip(" ")
    if domain == ".":
        return domain
    error = ValueError(f"{domain} is not a valid domain")
    if not any(letter in _ALNUM and not letter.isdigit() for letter in domain):
        raise error
    name = domain.rstrip("\t\n\f\r ").removesuffix(".")
    if len(name) >= 255 or not all(_is_label(label) for label in name.split(".")):
        raise error
    return name


def _is_label(text: str) -> bool:
    return (
        bool(text)
        and text[0] in _ALNUM
        and text[-1] in _ALNUM
        and all(letter in _ALNUM or letter == "-" for letter in text)
    )


def check_extra_host(text: str) -> str:
    """Return ``name:address`` for ``name=address`` or ``name:address``, as the API wants it.

    Raises ValueError.
    """
    host, separator, address = text.partition("=")
    if not separator:
        host, separator, address = text.partition(":")
    if not separator or not host or ":" in host:
        raise ValueError(f"bad format for add-host: {_quote(text)}")
    if address != "host-gateway":
        if len(address) > 2 and address[0] == "[" and address[-1] == "]":
            address = address[1:-1]
        if packed(address.strip()) is None:
            raise ValueError(f"invalid IP address in add-host: {_quote(address)}")
    return f"{host}:{address}"
