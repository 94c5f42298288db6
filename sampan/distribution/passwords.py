"""Who may use the registry: the names and bcrypt hashes of an htpasswd file."""

import asyncio
import base64
import binascii
import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Final

from sampan.base.errors import InvalidParameter
from sampan.base.threads import blocking
from sampan.kernel.crypt import AVAILABLE, is_password

_log = logging.getLogger(__name__)
_BCRYPT: Final = re.compile(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_NOBODY: Final = b"$2y$10$" + b"." * 53  # what a name that is not there is compared with: it takes as long
_CHECKS: Final = 2  # at a time: guessing must not take every thread


class Passwords:
    """The users in the file ``path``, which may change while the server runs.

    Raises InvalidParameter if it cannot be read: every line must be ``name:hash`` with a bcrypt hash, as
    ``htpasswd -B`` writes it.
    """

    def __init__(self, path: Path) -> None:
        if not AVAILABLE:
            raise InvalidParameter("--htpasswd needs libxcrypt (libcrypt.so.1), which this host lacks")
        self._path = path
        self._stamp = _stamp(path)
        self._users = _read(path)
        self._salt = os.urandom(16)
        self._good: dict[bytes, None] = {}  # hashes of credentials that were right
        self._room = asyncio.Semaphore(_CHECKS)

    async def allows(self, authorization: str) -> bool:
        """Tell whether the value of an Authorization header names a user and gives the right password."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            name, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        self._refresh()
        hashed = self._users.get(name)
        key = hashlib.sha256(self._salt + (hashed or b"") + name + colon + password).digest()
        if key in self._good:
            return True
        async with self._room:
            right = await blocking(is_password, password, hashed or _NOBODY)
        if right and hashed is not None:
            self._good[key] = None
            return True
        return False

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._users = _read(self._path)
            self._good.clear()
        except InvalidParameter as error:
            _log.error("the passwords stay as they were", extra={"reason": str(error)})


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> dict[bytes, bytes]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InvalidParameter(f"cannot read {path}: {error.strerror}") from error
    users = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        name, colon, hashed = text.partition(b":")
        if not name or not colon or _BCRYPT.fullmatch(hashed) is None:
            raise InvalidParameter(
                f"{path}, line {number}: not NAME:HASH with a bcrypt hash, as `htpasswd -B` writes it"
            )
        users[name] = hashed
    return users
