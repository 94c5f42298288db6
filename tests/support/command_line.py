"""What a test that runs a command line is given: how it is called, and how it ended."""

from dataclasses import dataclass
from typing import Protocol


@dataclass
class Done:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


class Sampan(Protocol):
    """Runs ``sampan`` with ``args``; ``stdin`` is what it can read, None: what there is."""

    def __call__(self, *args: str, stdin: bytes | None = b"") -> Done: ...
