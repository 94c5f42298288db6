"""A daemon on another machine, reached through the ``ssh`` command: ``-H ssh://[user@]host[:port][/socket]``.

``ssh`` runs ``docker system dial-stdio`` over there, which copies between its own stdio and the daemon's
socket; its stdin and stdout are one end of a socket pair, the other end is the wire. ``docker`` is what a
remote host has under that name, be it Docker's client or a link to ours.
"""

import os
import shlex
import socket
from urllib.parse import SplitResult, unquote, urlsplit

from sampan.client.endpoint import Endpoint
from sampan.client.errors import ClientError, ConnectionFailed
from sampan.client.wire import Wire


def parse_ssh(url: str) -> tuple[list[str], str]:
    """Return the arguments for ``ssh`` (options, ``--``, host) and the remote socket's path ("": default).

    Raises ClientError in Docker's words.
    """
    parts = _split(url)
    if not parts.scheme:
        raise ClientError("invalid SSH URL: no scheme provided")
    if parts.scheme != "ssh":
        raise ClientError(f"invalid SSH URL: incorrect scheme: {parts.scheme}")
    if not parts.hostname:
        raise ClientError("invalid SSH URL: hostname is empty")
    if parts.password is not None:
        raise ClientError("invalid SSH URL: plain-text password is not supported")
    if parts.query:
        raise ClientError(f'invalid SSH URL: query parameters are not allowed: "{parts.query}"')
    if parts.fragment:
        raise ClientError(f'invalid SSH URL: fragments are not allowed: "{parts.fragment}"')
    args = ["-l", unquote(parts.username)] if parts.username else []
    args += ["-p", str(parts.port)] if parts.port else []
    return [*args, "--", parts.hostname], unquote(parts.path)


def remote_command(path: str) -> str:
    """Return what the shell over there shall run for the daemon's socket at ``path``."""
    host = ["--host", f"unix://{path}"] if path.strip("/") else []
    return shlex.join(["docker", *host, "system", "dial-stdio"])


def dial_ssh(endpoint: Endpoint) -> Wire:
    """Start ``ssh`` and return the wire through it. Raises ConnectionFailed, ClientError."""
    args, path = parse_ssh(endpoint.host)
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            os.posix_spawnp(
                "ssh",
                ["ssh", "-o", "ConnectTimeout=30", "-T", *args, remote_command(path)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1),
                ],
                setpgroup=0,  # a Ctrl-C at the terminal is for the container, not for the way to it
            )
        except OSError as error:
            ours.close()
            raise ConnectionFailed(f"cannot run ssh: {error.strerror}", endpoint.host) from error
    return Wire(ours)


def _split(url: str) -> SplitResult:
    if any(c < " " or c == "\x7f" for c in url):
        raise ClientError("invalid SSH URL: net/url: invalid control character in URL")
    at = url.find("%")
    while at >= 0:
        if not all(c in "0123456789abcdefABCDEF" for c in url[at + 1 : at + 3]) or len(url) < at + 3:
            raise ClientError(f'invalid SSH URL: invalid URL escape "{url[at : at + 3]}"')
        at = url.find("%", at + 1)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for a port that is none
    except ValueError as error:
        raise ClientError(f"invalid SSH URL: {error}") from error
    return parts
