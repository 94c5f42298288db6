"""What can go wrong with volumes, in Docker's words."""

from collections.abc import Sequence

from sampan.base.errors import Conflict, NotFound


class VolumeNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")


class VolumeExists(Conflict):
    def __init__(self, operation: str, name: str) -> None:
        super().__init__(f"{operation} {name}: volume name must be unique")


class VolumeInUse(Conflict):
    """``users`` are ids of containers, or what else works on the volume at the moment."""

    def __init__(self, operation: str, name: str, users: Sequence[str]) -> None:
        super().__init__(f"{operation} {name}: volume is in use - [{', '.join(users)}]")


class DriverNotFound(NotFound):
    def __init__(self, driver: str) -> None:
        super().__init__(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
