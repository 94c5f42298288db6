"""Digests against go-digest's table."""

from typing import Any

import pytest
from support.shared import table

from sampan.oci.digest import Digest, Hasher, InvalidDigest, is_identifier

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.mark.parametrize("row", table("oci/digest"), ids=lambda row: repr(row["input"]))
def test_table(row: dict[str, Any]) -> None:
    if "error" not in row:
        digest = Digest(row["input"])
        assert (digest, digest.algorithm, digest.encoded) == (row["input"], row["algorithm"], row["encoded"])
        return
    with pytest.raises(InvalidDigest) as caught:
        Digest(row["input"])
    assert str(caught.value) == row["error"]
    if "encoded" in row:
        assert (caught.value.algorithm, caught.value.encoded) == (row["algorithm"], row["encoded"])


def test_known_hashes() -> None:
    assert Digest.of(b"hello") == f"sha256:{HELLO}"
    assert Digest.sha256(HELLO) == Digest.of(b"hello")
    assert Digest.of(b"", "sha512").startswith("sha512:cf83e1357eefb8bd")
    hasher = Digest.of(b"", "sha512").hasher()
    hasher.update(b"")
    assert hasher.digest() == Digest.of(b"", "sha512")


def test_running_hash() -> None:
    hasher = Hasher()
    hasher.update(b"hel")
    hasher.update(memoryview(b"lo"))
    assert hasher.digest() == Digest.of(b"hello")


@pytest.mark.parametrize(
    "text", ["sha256:", "SHA256:" + HELLO, "sha256", f"sha256+:{HELLO}", f"sha256:{HELLO}\n"]
)
def test_bad(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest(text)


def test_identifier() -> None:
    assert is_identifier(HELLO)
    assert not is_identifier(HELLO.upper())
    assert not is_identifier(HELLO[:-1])
