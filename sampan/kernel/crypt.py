"""Passwords as the C library hashes them: crypt(3) of libcrypt, by ctypes."""

import ctypes
import hmac
from typing import Final

_NAMES: Final = ("libcrypt.so.1", "libcrypt.so.2")
_WORK_SIZE: Final = 32768  # struct crypt_data of libxcrypt (crypt.h)


def _load() -> ctypes.CDLL | None:
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
            function = library.crypt_rn
        except (OSError, AttributeError):
            continue
        function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int]
        function.restype = ctypes.c_char_p
        return library
    return None


_library: Final = _load()
AVAILABLE: Final = _library is not None
"""Whether this host has a libcrypt that knows more than DES (libxcrypt)."""


def is_password(password: bytes, hashed: bytes) -> bool:
    """Tell whether ``hashed`` (``$2y$10$…``) is that of ``password``. Blocks as long as the hash is made to.

    False also for a kind of hash that libcrypt does not know.
    """
    if _library is None or b"\0" in password or b"\0" in hashed:
        return False
    work = ctypes.create_string_buffer(_WORK_SIZE)
    found = _library.crypt_rn(password, hashed, work, _WORK_SIZE)
    return bool(found) and hmac.compare_digest(found, hashed)
