"""Identifiers of engine objects: 64 hexadecimal digits, shown as their first 12."""

import os
from typing import Final

SHORT: Final = 12


def new_id() -> str:
    """Return a random id of 64 lower-case hexadecimal digits.

    Docker never makes an id whose first 12 digits are all decimal (such a hostname would look like a number).
    """
    while True:
        candidate = os.urandom(32).hex()
        if not candidate[:SHORT].isdecimal():
            return candidate


def short_id(identifier: str) -> str:
    """Return the 12 digits that people see; an algorithm prefix (``sha256:``) is dropped."""
    return identifier.rpartition(":")[2][:SHORT]
