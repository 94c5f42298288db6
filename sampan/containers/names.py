"""Container names: what Docker accepts, and one made up when the user gives none."""

import random
from collections.abc import Container
from typing import Final

from sampan.base.errors import InvalidParameter

_FIRST: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST: Final = _FIRST | frozenset("_.-")

_MOODS: Final = (
    "able amber bold brave breezy bright brisk calm candid clever cosy daring deft eager early fair "
    "fleet fond free fresh gentle glad golden grand happy hardy humble jolly keen kind lively loyal "
    "lucid lucky mellow merry mild nimble noble patient placid plucky polite proud quick quiet ready "
    "serene sharp sleek smart snug sober solid steady stout sunny sure swift tidy trim trusty upbeat "
    "vivid warm wise witty zesty "
).split()
_PEOPLE: Final = (
    "allen antonelli babbage backus bartik bell berners borg cantor cerf chandra church clarke codd "
    "curie davies diffie dijkstra easley elion engelbart erdos euler faraday feinler fermat feynman "
    "floyd galois gauss germain goldberg goodall hamilton hamming hellman hilbert hoare hopper hypatia "
    "johnson joy kahn kay kernighan kleene knuth kowalevski lamarr lamport leavitt lichterman liskov "
    "lovelace mcnulty meitner merkle minsky moore naur newton noether pascal perlman postel ritchie "
    "rivest sammet shannon sinoussi spence stroustrup swartz tesla thompson torvalds turing vaughan "
    "villani wiles wilkes wilson wing wirth wozniak yalow yonath "
).split()


def check_name(name: str) -> str:
    """Return ``name`` without its one leading slash.

    Raises InvalidParameter unless it is ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``.
    """
    bare = name.removeprefix("/")
    if len(bare) < 2 or bare[0] not in _FIRST or not _REST.issuperset(bare):
        raise InvalidParameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


def invent_name(taken: Container[str]) -> str:
    """Return a name ``mood_person`` that is not in ``taken``."""
    chooser = random.SystemRandom()
    while True:
        name = f"{chooser.choice(_MOODS)}_{chooser.choice(_PEOPLE)}"
        if name not in taken:
            return name
        if (numbered := f"{name}{chooser.randrange(10, 10**6)}") not in taken:
            return numbered
