"""What a volume may be called."""

from typing import Final

from sampan.base.errors import InvalidParameter

_FIRST: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_REST: Final = _FIRST | frozenset("_.-")
_LONGEST: Final = 255 - len(".gone-.") - 12  # with what stands around it while it is removed


def check_name(name: str) -> None:
    """Raise InvalidParameter unless ``name`` may be that of a local volume, in Docker's words."""
    if len(name) < 2 or name[0] not in _FIRST or not _REST.issuperset(name):
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > _LONGEST:
        raise InvalidParameter(f"create {name}: a volume's name has at most {_LONGEST} characters")
