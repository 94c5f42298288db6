"""The rules of ``docker rmi``: which names go, whether the image goes, and what stands against it.

Pure decisions over the store and the users of images; ``service`` carries them out.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Flag, auto
from typing import Final, Protocol

from sampan.base.errors import Conflict
from sampan.base.ids import short_id
from sampan.images.errors import ImageConflict
from sampan.images.store import ImageStore
from sampan.oci.reference import Reference


class ImageUsers(Protocol):
    """Who uses images: the containers."""

    def containers_of(self, image_id: str) -> list[tuple[str, bool]]:
        """Return ID and "is it running" of each container of the image."""

    def users_of_images(self, ignoring: Collection[str] = ()) -> Mapping[str, int]:
        """Return how many containers, but for those of ``ignoring``, each image has, by ID; 0 is left out."""


class NoUsers:
    """Nobody uses any image."""

    def containers_of(self, image_id: str) -> list[tuple[str, bool]]:
        """Return nothing."""
        return []

    def users_of_images(self, ignoring: Collection[str] = ()) -> Mapping[str, int]:
        """Return nothing."""
        return {}


class Against(Flag):
    """What can stand against deleting an image."""

    CHILDREN = auto()
    RUNNING = auto()
    NAMES = auto()
    STOPPED = auto()


HARD: Final = Against.CHILDREN | Against.RUNNING
SOFT: Final = Against.NAMES | Against.STOPPED


def is_id_prefix(image_id: str, text: str) -> bool:
    """True if ``text`` is the beginning of the ID, with or without its algorithm."""
    return image_id.startswith(text) or image_id.partition(":")[2].startswith(text)


def is_single(references: Sequence[Reference]) -> bool:
    """True if all names are of one repository, with at most one tag among them; False if there are none."""
    if len(references) <= 1:
        return len(references) == 1
    tagged = [reference for reference in references if not reference.digest]
    if len(tagged) > 1:
        return False
    single = tagged[0] if tagged else references[0]
    return {reference.name for reference in references if reference.digest} == {single.name}


def check_name_removal(
    store: ImageStore, users: ImageUsers, image_id: str, typed: str, *, force: bool
) -> None:
    """Raise Conflict if taking this name away would leave containers with an image that has none."""
    if force or not is_single(store.references(image_id)):
        return
    for container_id, _ in users.containers_of(image_id):
        raise Conflict(
            f'conflict: unable to remove repository reference "{typed}" (must force) - container '
            f"{short_id(container_id)} is using its referenced image {short_id(image_id)}"
        )


def digests_left_behind(store: ImageStore, image_id: str, removed: Reference) -> list[Reference]:
    """Return the names by digest that go with ``removed``, if that was the last tag of its repository."""
    if removed.digest:
        return []
    same = [reference for reference in store.references(image_id) if reference.name == removed.name]
    if any(not reference.digest for reference in same):
        return []
    return same


def conflict(store: ImageStore, users: ImageUsers, image_id: str, kinds: Against) -> ImageConflict | None:
    """Return what, of ``kinds``, stands against deleting the image."""
    if Against.CHILDREN in kinds and store.children(image_id):
        return ImageConflict(image_id, "image has dependent child images", hard=True)
    containers = users.containers_of(image_id)
    running = next((container_id for container_id, runs in containers if runs), None)
    if Against.RUNNING in kinds and running is not None:
        reason = f"image is being used by running container {short_id(running)}"
        return ImageConflict(image_id, reason, hard=True, used=True)
    if Against.NAMES in kinds and store.references(image_id):
        return ImageConflict(image_id, "image is referenced in multiple repositories", hard=False)
    stopped = next((container_id for container_id, runs in containers if not runs), None)
    if Against.STOPPED in kinds and stopped is not None:
        reason = f"image is being used by stopped container {short_id(stopped)}"
        return ImageConflict(image_id, reason, hard=False, used=True)
    return None


def is_dangling(store: ImageStore, image_id: str) -> bool:
    """True if the image has neither names nor children."""
    return not store.references(image_id) and not store.children(image_id)
