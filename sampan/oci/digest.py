"""Digests: the hash of exact bytes, written ``algorithm:encoded``."""

import hashlib
from collections.abc import Callable
from typing import Final, Self

from sampan.base.errors import InvalidParameter

CANONICAL: Final = "sha256"
_HEX: Final = frozenset("0123456789abcdef")
_LOWER_OR_DIGIT: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ENCODED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=_-")
_SIZES: Final = {
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
}  # hexadecimal digits of the algorithms we can check


class InvalidDigest(InvalidParameter):
    """A text is no digest we can check; ``algorithm`` and ``encoded`` are set if it is well formed."""

    def __init__(self, message: str, algorithm: str = "", encoded: str = "") -> None:
        super().__init__(message)
        self.algorithm = algorithm
        self.encoded = encoded


def split_digest(text: str) -> tuple[str, str]:
    """Return ``(algorithm, encoded)`` of a well-formed digest, whether its algorithm is known or not.

    Raises InvalidDigest. Spec: OCI image-spec v1.1, descriptor.md, "Digests".
    """
    algorithm, colon, encoded = text.partition(":")
    if not colon or not encoded or not _ENCODED.issuperset(encoded) or not _is_algorithm(algorithm):
        raise InvalidDigest("invalid checksum digest format")
    return algorithm, encoded


def _is_algorithm(text: str) -> bool:
    """True for words of ``[a-z0-9]`` joined by single ``+``, ``.``, ``_`` or ``-``."""
    for separator in "+._":
        text = text.replace(separator, "-")
    return all(word and _LOWER_OR_DIGIT.issuperset(word) for word in text.split("-"))


class Digest(str):
    """A digest whose algorithm is one of sha256, sha384, sha512 and whose length fits it.

    Raises InvalidDigest (with go-digest's messages) for any other text. Encoders want it as ``str(digest)``.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        algorithm, _, encoded = text.partition(":")
        size = _SIZES.get(algorithm)
        if size is None:
            raise InvalidDigest("unsupported digest algorithm", *split_digest(text))
        if encoded and len(encoded) != size:
            raise InvalidDigest("invalid checksum digest length")
        if not encoded or not _HEX.issuperset(encoded):
            raise InvalidDigest("invalid checksum digest format")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes | memoryview, algorithm: str = CANONICAL) -> Self:
        """Return the digest of ``data``."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @classmethod
    def sha256(cls, hexadecimal: str) -> Self:
        """Return the sha256 digest with these 64 hexadecimal digits."""
        return cls(f"sha256:{hexadecimal}")

    @property
    def algorithm(self) -> str:
        """``sha256``, ``sha384`` or ``sha512``."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hexadecimal digits."""
        return self.partition(":")[2]

    def hasher(self) -> "Hasher":
        """Return a fresh hash of this digest's algorithm."""
        return Hasher(self.algorithm)


class Hasher:
    """A running hash that ends as a Digest. ``update`` releases the GIL for all but tiny inputs."""

    __slots__ = ("_algorithm", "_hash", "update")

    def __init__(self, algorithm: str = CANONICAL) -> None:
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self.update: Callable[[bytes | memoryview], None] = self._hash.update

    def digest(self) -> Digest:
        """Return the digest of what was hashed so far."""
        return Digest(f"{self._algorithm}:{self._hash.hexdigest()}")


def is_identifier(text: str) -> bool:
    """True for 64 lower-case hexadecimal digits: an id without its algorithm."""
    return len(text) == 64 and _HEX.issuperset(text)
